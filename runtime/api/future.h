/* Futures. One is completed exactly once, by its context, with the lock held; its waiters are
 * then called in the order in which they began to wait. The result stays encoded until it is
 * asked for. */
#ifndef TINE_RUNTIME_API_FUTURE_H
#define TINE_RUNTIME_API_FUTURE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "runtime/wire/payload.h"
#include "runtime/value/pool.h"
#include "runtime/value/value.h"

struct tine_context;

/* Embedded in the record that waits. fn is called once, with the context's lock held, after the
 * waiter was taken off the list. The waiters of a future that is completed inside fn are called
 * after fn has returned: chains of dependent futures of any length need no stack. */
typedef struct tine_waiter {
    TAILQ_ENTRY(tine_waiter) entry;
    bool listed;         /* it is on a future's list */
    tine_future *future; /* while fn is due: holds a reference */
    void (*fn)(struct tine_waiter *w, tine_future *f);
    /* the future that cannot be done before those that are walked are; NULL, or gives NULL: none */
    tine_future *(*dependent)(const struct tine_waiter *w);
} tine_waiter;

TAILQ_HEAD(tine_waiter_list, tine_waiter);

enum {
    TINE_FUTURE_SMALL = 256, /* the most bytes of a small result */
    TINE_FUTURE_INSIDE = 24  /* ... that takes no memory beside the future's */
};

struct tine_future {
    tine_handle handle;
    atomic_uchar done;
    atomic_bool observed; /* some call has waited for it, or taken its result */
    bool follows;         /* it waits for others, or did */
    bool walked;          /* by the look for a circle: see combine.c */
    tine_error status;
    uint16_t n_small; /* bytes in `small`; 0: the result is not small, or decoded */
    struct tine_context *context;
    /* Stands for the result in the arguments of forks, or names the object from which the result is
     * fetched; NULL: it is not needed, or the result cannot be referred to. */
    tine_value *reference;
    /* The result with futures in it, which are done: their results take their places when it is
     * taken, because some have stayed at workers. NULL otherwise. */
    tine_value *unresolved;
    /* the result, until it is decoded; NULL if it has stayed at a worker; kept where it holds
     * handles on objects (its refs) */
    tine_payload *payload;
    /* A small result until it is decoded, in place of `payload`: a million results that nobody has
     * taken yet would hold the frames that they came in, 550 bytes each. */
    union {
        uint8_t inside[TINE_FUTURE_INSIDE];
        uint8_t *beside;
    } small;
    tine_value *value; /* decoded */
    char *text;        /* of a failure */
    struct tine_waiter_list waiters;
    uint64_t flow; /* id of its flow in the trace */
    /* Of a fork. Once it is submitted: the coordinator's task, or on a worker the task that made it
     * and its own ticket. */
    uint64_t task, ticket;
    struct held_fork *held;          /* while it waits for its arguments */
    struct tine_future_extra *extra; /* NULL: none */
};

/* A pending future of context c; one reference, in no pool. NULL: no memory. */
tine_future *tine_future_new(struct tine_context *c);
/* With the lock. Takes over `payload`; copies `text`. The context then drops the reference of
 * its own. */
void tine_future_complete(tine_future *f, tine_error status, tine_payload *payload,
                          const char *text);
/* Drops a result that f was to have, and the handles that come with it. Accepts NULL. */
void tine_future_payload_free(tine_future *f, tine_payload *p);
/* Drops a reference of the library's own: tine_release would remove the reference of a task's pool.
 * Accepts NULL. */
static inline void tine_future_unref(tine_future *f) { tine_handle_unref((tine_handle *)f); }
/* Its failure will not be logged when it is released. */
static inline void tine_future_observe(tine_future *f) {
    atomic_store_explicit(&f->observed, true, memory_order_relaxed);
}
static inline bool tine_future_is_done(const tine_future *f) {
    return atomic_load_explicit(&((tine_future *)f)->done, memory_order_acquire) != 0;
}
/* With the lock; only while it is not done. */
void tine_future_await(tine_future *f, tine_waiter *w);
/* Takes a waiter off the list; accepts one that is not on it. */
void tine_future_forget(tine_future *f, tine_waiter *w);
/* With the lock, when done: its status; sets the error sentence on failure. */
tine_error tine_future_status(tine_future *f);
/* With the lock, when done: whether its value is to be fetched before it can be decoded. */
bool tine_future_has_stayed(const tine_future *f);
/* Without the lock, when done: gets the result, and the results that it mentions, from the workers
 * at which they have stayed. May block. */
tine_error tine_future_fetch(tine_future *f);
/* With the lock, when done and fetched: decodes at the first call. `out` is borrowed from f. Sets
 * the error sentence on failure. */
tine_error tine_future_value_of(tine_future *f, const tine_value **out);

/* With the lock: completes f with a value (a reference is taken), or as `from`, which is done. */
void tine_future_complete_value(tine_future *f, const tine_value *v);
void tine_future_complete_as(tine_future *f, tine_future *from);

/* ---- waiting for several ---- */

typedef enum tine_wait_mode {
    TINE_WAIT_ALL,
    TINE_WAIT_ANY,
    TINE_WAIT_FAILURE /* one has failed, or all are done */
} tine_wait_mode;

/* Counts what a wait still misses, so that each completion costs the same however many futures
 * there are. The context's lock is held by all calls. */
typedef struct tine_wait_set {
    tine_wait_mode mode;
    size_t missing;          /* 0: the wait is over */
    void (*over)(void *ctx); /* called once when it becomes so; may be NULL */
    void *ctx;
    struct tine_wait_entry {
        tine_waiter waiter;
        struct tine_wait_set *set;
    } * entries, few[8];
} tine_wait_set;

/* Whether a wait for these is over without waiting. */
bool tine_wait_is_over(tine_future *const *f, size_t n, tine_wait_mode mode);
/* ENOMEM with a sentence. */
tine_error tine_wait_begin(tine_wait_set *set, tine_future *const *f, size_t n, tine_wait_mode mode,
                           void (*over)(void *ctx), void *ctx);
void tine_wait_end(tine_wait_set *set, tine_future *const *f, size_t n);
/* When a wait of so many seconds ends (monotonic ns); INT64_MAX: never. */
int64_t tine_wait_deadline(double seconds);

/* The futures in values, in the order of one walk; borrowed from the values. Zeroed is empty. */
typedef struct tine_future_list {
    tine_future **items;
    size_t n, room;
} tine_future_list;

/* ENOMEM with a sentence. */
tine_error tine_future_list_push(tine_future_list *l, tine_future *f);
/* Appends the futures in v. ENOMEM with a sentence. */
tine_error tine_future_list_add(tine_future_list *l, const tine_value *v);
void tine_future_list_fini(tine_future_list *l);

#endif
