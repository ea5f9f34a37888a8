/* What belongs to the running thread, or inside a task to that task: its last error, the pool that
 * owns what it makes, the task, and the context (coordinator or worker) that its calls go to. A
 * fiber switch swaps the whole struct. */
#ifndef TINE_RUNTIME_VALUE_STATE_H
#define TINE_RUNTIME_VALUE_STATE_H

#include <stdarg.h>

#include "runtime/tine.h"

typedef struct tine_handle {
    _Atomic uint32_t refs;
    /* where in a pool it was put last, from 1: a hint, because a value can lie in pools of several
     * tasks */
    uint32_t slot;
    uint16_t pools; /* in how many places of pools it lies; sticks at its maximum */
    uint8_t kind;   /* TINE_HANDLE_… */
} tine_handle;      /* the first member of every value and future */
enum {
    TINE_HANDLE_VALUE,
    TINE_HANDLE_FUTURE,
    TINE_HANDLE_STATIC /* lives for ever: never counted */
};

/* The references that a task's makers gave out and that tine_release has not taken back: dropped
 * when the task returns. Those that the task took with tine_ref are noted too, but left alone: they
 * may be kept in a module's state. Only when the task returns a value of which it owns no other, as
 * in `return tine_ref(tine_arg(task, 0))`, is such a reference what it gives its caller. */
typedef struct tine_pool_slot {
    tine_handle *handle; /* NULL: taken back */
    bool noted;
} tine_pool_slot;

enum { TINE_POOL_FEW = 8 };

typedef struct tine_pool { /* zeroed is empty; not to be moved */
    tine_pool_slot *slots; /* `few`, or allocated */
    uint32_t n, room;
    tine_pool_slot few[TINE_POOL_FEW];
} tine_pool;

typedef struct tine_failure { /* one error with its sentence; text is malloc'ed or NULL */
    tine_error code;
    char *text;
} tine_failure;

struct tine_context; /* context.h */

typedef struct tine_state {
    tine_failure failure;
    tine_pool *pool;              /* NULL outside tasks: references are the caller's */
    tine_task *task;              /* NULL outside tasks */
    struct tine_context *context; /* NULL: the process's own (coordinator) */
} tine_state;

extern _Thread_local tine_state tine_current;

/* Sets the last error, printf-like; returns `e` so that `return tine_error_set(…)` reads well. */
tine_error tine_error_set(tine_error e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
tine_error tine_error_setv(tine_error e, const char *format, va_list ap);
void tine_error_clear(void);
void tine_failure_fini(tine_failure *f);

static inline void tine_pool_init(tine_pool *p) {
    p->slots = NULL;
    p->n = p->room = 0;
}
/* Gives the maker's reference of a new handle to the current pool, if there is one. */
void tine_pool_adopt(tine_handle *h);
void tine_pool_note(tine_handle *h); /* a reference was taken with tine_ref */
/* A task's result: true when the reference that goes with it is one that the task took with
 * tine_ref, and false when the caller has to take one. */
bool tine_pool_gives(tine_handle *h);
/* The maker's reference is given back (or passed on to another owner): the pool forgets it. Nothing
 * if it is in none. */
void tine_pool_forget(tine_handle *h);
void tine_pool_drain(tine_pool *p); /* releases all that is left, frees the slots */
/* Drops a reference that a list, task or future held: unlike tine_release, the maker's in the pool
 * stays. Accepts NULL. */
void tine_handle_unref(tine_handle *h);

#endif
