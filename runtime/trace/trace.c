/* Recording. See trace.h.
 *
 * The store is one anonymous mapping, of which only what is written takes memory. A mutex guards
 * it: recording is off in ordinary runs, a worker has one thread that records, and the lock makes
 * taking the store while others record simple. */
#include "runtime/trace/trace.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "runtime/value/state.h"
#include "runtime/trace/trace_format.h"

atomic_bool tine_trace_on;

/* Guards everything in `store`. Nothing else is locked while it is held. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    tine_trace_stored *records; /* TINE_TRACE_EVENTS; mapped at the first start, kept */
    size_t n;
    uint64_t lost;
    char lanes[TINE_TRACE_LANES][TINE_TRACE_NAME_MAX + 3];
    size_t n_lanes;
} store;

static _Thread_local unsigned lane_of_thread; /* + 1; 0: none yet */
static _Thread_local bool guest;

int64_t tine_trace_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void copy_name(char *to, const char *name) {
    size_t n = name ? strnlen(name, TINE_TRACE_NAME_MAX) : 0;
    if (n) memcpy(to, name, n);
    to[n] = 0;
}

/* Threads past the last lane share it. Under the lock. */
static unsigned lane(void) {
    if (lane_of_thread == 0) {
        if (store.n_lanes < TINE_TRACE_LANES) {
            char *name = store.lanes[store.n_lanes++];
            bool main_thread = gettid() == getpid();
            if (main_thread)
                copy_name(name, "main");
            else
                snprintf(name, TINE_TRACE_NAME_MAX, "thread %zu", store.n_lanes);
        }
        lane_of_thread = (unsigned)store.n_lanes;
    }
    return lane_of_thread - 1;
}

static void record(uint8_t type, uint64_t a, uint64_t b, const char *name) {
    pthread_mutex_lock(&lock);
    if (!store.records || store.n >= TINE_TRACE_EVENTS) {
        store.lost++;
    } else {
        tine_trace_stored *r = &store.records[store.n++];
        r->type = type;
        r->lane = (uint8_t)lane();
        r->a = a;
        r->b = b;
        copy_name(r->name, name);
    }
    pthread_mutex_unlock(&lock);
}

void tine_trace_slice_(tine_trace_kind kind, int64_t begin, const char *name) {
    record((uint8_t)kind, (uint64_t)begin, (uint64_t)tine_trace_now(), name);
}

void tine_trace_point_(tine_trace_point point, uint64_t id, uint64_t other, const char *name) {
    if (point == TINE_TRACE_POINT_LINK)
        record((uint8_t)point, id, other, "");
    else
        record((uint8_t)point, (uint64_t)tine_trace_now(), id, name);
}

void tine_trace_thread_name(const char *name) {
    pthread_mutex_lock(&lock);
    copy_name(store.lanes[lane()], name);
    pthread_mutex_unlock(&lock);
}

void tine_trace_guest(void) {
    static atomic_uint guests;
    char name[32];
    snprintf(name, sizeof name, "worker thread %u", atomic_fetch_add(&guests, 1) + 1);
    tine_trace_thread_name(name);
    guest = true;
}

static bool store_map(void) {
    if (store.records) return true;
    size_t size = TINE_TRACE_EVENTS * sizeof *store.records;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) return false;
    store.records = p;
    return true;
}

tine_error tine_trace_record(bool on) {
    bool mapped = true;
    if (guest) return TINE_OK;
    pthread_mutex_lock(&lock);
    if (on) {
        store.n = 0;
        store.lost = 0;
        mapped = store_map();
    }
    pthread_mutex_unlock(&lock);
    if (!mapped) return tine_error_set(TINE_ENOMEM, "no memory to record a trace");
    atomic_store(&tine_trace_on, on);
    return TINE_OK;
}

tine_error tine_trace_take(tine_payload **out) {
    pthread_mutex_lock(&lock);
    tine_error e = guest ? tine_trace_batch_write(out, NULL, 0, 0, NULL, 0)
                         : tine_trace_batch_write(out, store.records, store.n, store.lost,
                                                  store.lanes, store.n_lanes);
    if (!e && !guest) {
        if (store.n > 0)
            madvise(store.records, TINE_TRACE_EVENTS * sizeof *store.records, MADV_DONTNEED);
        store.n = 0;
        store.lost = 0;
    }
    pthread_mutex_unlock(&lock);
    return e ? tine_error_set(e, "no memory for the recorded trace") : TINE_OK;
}
