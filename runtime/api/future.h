/* Futures. One is completed exactly once, by its context, with its lock held; what was waiting for
 * it is then told in the order in which it began to wait. The result stays encoded until somebody
 * asks for it. */
#ifndef TINE_RUNTIME_API_FUTURE_H
#define TINE_RUNTIME_API_FUTURE_H

#include <stdatomic.h>

#include "runtime/wire/payload.h"
#include "runtime/value/state.h"

struct tine_context;

/* Embedded in whatever waits. fn is called once, with the context's lock held; the waiter is off
 * the list by then. A completion inside fn is told to its own waiters after fn has returned: chains
 * of dependent futures of any length need no stack. */
typedef struct tine_waiter {
    struct tine_waiter *next;
    tine_future *future; /* while fn is due: holds a reference */
    void (*fn)(struct tine_waiter *w, tine_future *f);
} tine_waiter;

struct tine_future {
    tine_handle handle;
    atomic_uchar done;
    tine_error status;
    struct tine_context *context;
    /* the result, until it is decoded; kept where it holds handles on objects (its refs) */
    tine_payload *payload;
    tine_value *value; /* decoded */
    char *text;        /* of a failure */
    tine_waiter *waiters;
    uint64_t ticket; /* what its context knows it by, once it is handed over */
    uint64_t flow;   /* arrow id in the trace */
};

/* A pending future of context c; one reference, in no pool. NULL: no memory. */
tine_future *tine_future_new(struct tine_context *c);
/* With the lock. Takes over `payload`; copies `text`. Drops nothing: the context then releases its
 * own reference. */
void tine_future_complete(tine_future *f, tine_error status, tine_payload *payload,
                          const char *text);
/* Drops a reference of the library's own: tine_release would take the maker's out of a task's pool.
 * Accepts NULL. */
static inline void tine_future_unref(tine_future *f) { tine_handle_unref((tine_handle *)f); }
static inline bool tine_future_is_done(const tine_future *f) {
    return atomic_load_explicit(&((tine_future *)f)->done, memory_order_acquire) != 0;
}
/* With the lock; only while it is not done. */
void tine_future_await(tine_future *f, tine_waiter *w);
void tine_future_forget(tine_future *f,
                        tine_waiter *w); /* no longer waiting; accepts one that is not there */
/* With the lock, when done: decodes at the first call. `out` is borrowed from f. Sets the error
 * sentence on failure. */
tine_error tine_future_value_of(tine_future *f, const tine_value **out);

#endif
