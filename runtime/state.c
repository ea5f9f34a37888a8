/* The running thread's or task's state: its last error and the pool that owns what it makes. Makers hand their reference to the
 * pool, tine_release takes it back out, and what is left goes when the task returns; so code inside tasks may ignore ownership
 * and cannot leak. A handle knows its place in the pool, so taking it
 * out needs no search as a rule. */
#include "runtime/state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/value.h"
#include "transport/assert.h"

_Thread_local tine_state tine_current;

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static _Thread_local bool exit_known;

static void at_thread_exit(void *unused) {
    (void)unused;
    tine_failure_fini(&tine_current.failure);
}

static void make_exit_key(void) { TINE_ASSERT(pthread_key_create(&exit_key, at_thread_exit), ==, 0); }

/* The sentence of a thread that ends is freed with it. */
static void watch_thread_exit(void) {
    if (exit_known) return;
    exit_known = true;
    pthread_once(&exit_once, make_exit_key);
    (void)pthread_setspecific(exit_key, &exit_key);
}

tine_error tine_error_setv(tine_error e, const char *format, va_list ap) {
    watch_thread_exit();
    char *text = NULL; /* the format may quote the sentence that it replaces, so that one is freed last */
    if (vasprintf(&text, format, ap) < 0) text = NULL;
    tine_failure_fini(&tine_current.failure);
    tine_current.failure = (tine_failure){e, text};
    return e;
}

tine_error tine_error_set(tine_error e, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    tine_error_setv(e, format, ap);
    va_end(ap);
    return e;
}

void tine_failure_fini(tine_failure *f) {
    free(f->text);
    *f = (tine_failure){0};
}

void tine_error_clear(void) { tine_failure_fini(&tine_current.failure); }

tine_error tine_last_error(void) { return tine_current.failure.code; }

const char *tine_error_message(void) {
    const tine_failure *f = &tine_current.failure;
    if (f->text) return f->text;
    return f->code == TINE_OK ? "no error" : f->code == TINE_ENOMEM ? "no memory" : tine_error_name(f->code);
}

const char *tine_error_name(tine_error e) {
    static const char *const names[] = {
        [TINE_OK] = "OK",
        [TINE_EINVAL] = "EINVAL",
        [TINE_ENOMEM] = "ENOMEM",
        [TINE_EUNKNOWN] = "EUNKNOWN",
        [TINE_EFAILED] = "EFAILED",
        [TINE_ELOST] = "ELOST",
        [TINE_ETIMEDOUT] = "ETIMEDOUT",
        [TINE_ECANCELED] = "ECANCELED",
        [TINE_EAGAIN] = "EAGAIN",
        [TINE_EPROTO] = "EPROTO",
        [TINE_EIO] = "EIO",
        [TINE_ESTATE] = "ESTATE",
    };
    return (size_t)e < sizeof names / sizeof *names ? names[e] : "an unknown error";
}

/* A value can lie in the pools of several tasks, on several threads, and twice in one: hence the atomic accesses, the hint that is
 * checked, and the count, without which every release of what lies in no pool would search. */
static void set_slot(tine_handle *h, uint32_t slot) { __atomic_store_n(&h->slot, slot, __ATOMIC_RELAXED); }

static void count_place(tine_handle *h, bool more) {
    uint16_t n = __atomic_load_n(&h->pools, __ATOMIC_RELAXED);
    while (n < UINT16_MAX && !__atomic_compare_exchange_n(&h->pools, &n, (uint16_t)(more ? n + 1 : n - 1),
                                                          true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

void tine_pool_adopt(tine_handle *h) {
    tine_pool *p = tine_current.pool;
    if (!p || h->kind == TINE_HANDLE_STATIC) return;
    if (p->n == p->room) {
        uint32_t room = p->room ? 2 * p->room : 16;
        tine_handle **slots = realloc(p->slots, room * sizeof *slots);
        if (!slots) return; /* without memory the reference is the caller's alone: at worst it leaks */
        p->slots = slots;
        p->room = room;
    }
    p->slots[p->n++] = h;
    set_slot(h, p->n);
    count_place(h, true);
}

/* The place of a handle in this pool, from 1; 0: it is not there. */
static uint32_t find_slot(const tine_pool *p, const tine_handle *h) {
    if (__atomic_load_n(&h->pools, __ATOMIC_RELAXED) == 0) return 0;
    uint32_t slot = __atomic_load_n(&h->slot, __ATOMIC_RELAXED);
    if (slot > 0 && slot <= p->n && p->slots[slot - 1] == h) return slot;
    for (slot = p->n; slot > 0 && p->slots[slot - 1] != h; slot--)
        ;
    return slot;
}

void tine_pool_forget(tine_handle *h) {
    tine_pool *p = tine_current.pool;
    uint32_t slot = p && h->kind != TINE_HANDLE_STATIC ? find_slot(p, h) : 0;
    if (slot == 0) return;
    p->slots[slot - 1] = NULL;
    count_place(h, false);
    while (p->n > 0 && p->slots[p->n - 1] == NULL) p->n--; /* make, use, release in a loop needs one slot */
}

void tine_pool_drain(tine_pool *p) {
    while (p->n > 0) {
        tine_handle *h = p->slots[--p->n];
        if (!h) continue;
        count_place(h, false);
        tine_handle_unref(h);
    }
    free(p->slots);
    *p = (tine_pool){0};
}

void tine_handle_unref(tine_handle *h) {
    if (!h || h->kind == TINE_HANDLE_STATIC) return;
    if (h->kind == TINE_HANDLE_VALUE) {
        uint32_t before = atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel);
        TINE_ASSERT(before, >, 0);
        if (before == 1) tine_value_free((tine_value *)h);
        return;
    }
    tine_pool *pool = tine_current.pool;
    tine_current.pool = NULL; /* tine_release would take the maker's reference out of it */
    tine_release_future_((const tine_future *)h);
    tine_current.pool = pool;
}
