/* Recording. See trace.h.
 *
 * The store is one anonymous mapping; only written pages take memory. A mutex guards it. It is
 * hardly ever contended: recording is off in ordinary runs, and a worker has one recording
 * thread. */
#include "runtime/trace/trace.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/trace/format.h"
#include "runtime/value/error.h"

atomic_bool tine_trace_on;

/* Guards everything in `store`. Nothing else is locked while it is held. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    tine_trace_stored *records; /* `room` of them, used as a ring */
    size_t room, n;             /* n: recorded since the start or the last take */
    char threads[TINE_TRACE_THREADS][TINE_TRACE_NAME_MAX + 3];
    size_t n_threads;
} store;

static size_t capacity = TINE_TRACE_EVENTS; /* under the lock */

static _Thread_local unsigned thread_index; /* + 1; 0: none yet */
static _Thread_local bool inproc_worker;

static void trace_name_copy(char *to, const char *name) {
    size_t n = name ? strnlen(name, TINE_TRACE_NAME_MAX) : 0;
    if (n) memcpy(to, name, n);
    to[n] = 0;
}

/* The index of this thread among the recording ones; past the last they share one. Under the
 * lock. */
static unsigned trace_thread(void) {
    if (thread_index == 0) {
        if (store.n_threads < TINE_TRACE_THREADS) {
            char *name = store.threads[store.n_threads++];
            bool main_thread = gettid() == getpid();
            if (main_thread)
                trace_name_copy(name, "main");
            else
                snprintf(name, TINE_TRACE_NAME_MAX, "thread %zu", store.n_threads);
        }
        thread_index = (unsigned)store.n_threads;
    }
    return thread_index - 1;
}

static void trace_record_add(uint8_t type, uint64_t a, uint64_t b, const char *name,
                             uint64_t bytes) {
    pthread_mutex_lock(&lock);
    if (store.records) {
        tine_trace_stored *r = &store.records[store.n++ % store.room];
        r->type = type;
        r->thread = (uint8_t)trace_thread();
        r->a = a;
        r->b = b;
        r->bytes = bytes;
        trace_name_copy(r->name, name);
    }
    pthread_mutex_unlock(&lock);
}

void tine_trace_slice_(tine_trace_kind kind, int64_t begin, const char *name, uint64_t bytes) {
    trace_record_add((uint8_t)kind, (uint64_t)begin, (uint64_t)tine_clock_ns(), name, bytes);
}

void tine_trace_marker_(tine_trace_marker marker, uint64_t id, const char *name) {
    trace_record_add((uint8_t)marker, (uint64_t)tine_clock_ns(), id, name, 0);
}

void tine_trace_thread_name(const char *name) {
    pthread_mutex_lock(&lock);
    trace_name_copy(store.threads[trace_thread()], name);
    pthread_mutex_unlock(&lock);
}

void tine_trace_inproc_worker(void) {
    static atomic_uint workers;
    char name[32];
    snprintf(name, sizeof name, "worker thread %u", atomic_fetch_add(&workers, 1) + 1);
    tine_trace_thread_name(name);
    inproc_worker = true;
}

/* Under the lock. The mapping is kept from start to start unless its size changes. */
static bool trace_store_map(void) {
    size_t room = capacity, size = room * sizeof *store.records;
    if (store.records && store.room == room) return true;
    if (store.records) munmap(store.records, store.room * sizeof *store.records);
    store.records = NULL;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) return false;
    store.records = p;
    store.room = room;
    return true;
}

void tine_trace_capacity(size_t events) {
    pthread_mutex_lock(&lock);
    capacity = events;
    pthread_mutex_unlock(&lock);
}

tine_error tine_trace_record(bool on) {
    bool mapped = true;
    if (inproc_worker) return TINE_OK;
    pthread_mutex_lock(&lock);
    if (on) {
        store.n = 0;
        mapped = trace_store_map();
    }
    pthread_mutex_unlock(&lock);
    if (!mapped) return tine_error_set(TINE_ENOMEM, "no memory to record a trace");
    atomic_store(&tine_trace_on, on);
    return TINE_OK;
}

/* Takes from the end of the array, so that what is left begins at its start, as in a ring that has
 * not been full. The order of the events that are left does not matter. */
tine_error tine_trace_take(tine_payload **out) {
    pthread_mutex_lock(&lock);
    size_t held = store.n < store.room ? store.n : store.room;
    size_t n = held < TINE_TRACE_BATCH ? held : TINE_TRACE_BATCH;
    tine_error e = inproc_worker
                       ? tine_trace_batch_write(out, NULL, 0, 0, NULL, 0)
                       : tine_trace_batch_write(out, store.records + held - n, n, store.n - held,
                                                store.threads, store.n_threads);
    if (!e && !inproc_worker) {
        store.n = held - n;
        if (held > 0 && store.n == 0)
            madvise(store.records, store.room * sizeof *store.records, MADV_DONTNEED);
    }
    pthread_mutex_unlock(&lock);
    return e ? tine_error_set(e, "no memory to encode the recorded trace") : TINE_OK;
}
