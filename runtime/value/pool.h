/* Pools: who owns what a task makes.
 *
 * Inside a task every function that makes a value gives its reference to the task's pool,
 * tine_release takes it back out, and the rest is dropped when the task returns. So code inside
 * tasks may ignore ownership and cannot leak. */
#ifndef TINE_RUNTIME_VALUE_POOL_H
#define TINE_RUNTIME_VALUE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/tine.h"

typedef struct tine_handle {
    _Atomic uint32_t refs;
    /* Where in a pool it was put last, from 1: a hint, because a value can be in the pools of
     * several tasks. */
    uint32_t slot;
    uint16_t pools; /* how many slots of pools it is in; stays at its maximum once there */
    uint8_t kind;   /* TINE_HANDLE_… */
    uint8_t units;  /* of a value: of its memory (block.h) */
} tine_handle;      /* the first member of every value, future, promise and completer */
enum {
    TINE_HANDLE_VALUE,
    TINE_HANDLE_FUTURE,
    TINE_HANDLE_PROMISE,
    TINE_HANDLE_COMPLETER,
    TINE_HANDLE_STREAM, /* a future that its release cancels; see tine_stream_release */
    TINE_HANDLE_STATIC  /* never freed and never counted */
};

/* References that the task took with tine_ref are noted, but not dropped at its end: a module's
 * state may keep them. A noted reference is passed to the caller only when the task returns the
 * value and owns no other reference to it, as in `return tine_ref(tine_arg(task, 0))`. */
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

static inline void tine_pool_init(tine_pool *p) {
    p->slots = NULL;
    p->n = p->room = 0;
}
/* These act on the running task's pool, and do nothing where there is none. */

/* Takes over the reference on a new handle. */
void tine_pool_adopt(tine_handle *h);
void tine_pool_note(tine_handle *h); /* a reference was taken with tine_ref */
/* A task's result: true when the reference that goes with it is one that the task took with
 * tine_ref, and false when the caller has to take one. */
bool tine_pool_gives(tine_handle *h);
/* The reference on a handle has another owner now: the pool forgets it. */
void tine_pool_forget(tine_handle *h);
void tine_pool_drain(tine_pool *p); /* releases all that is left, frees the slots */
/* References of the library's own: of a list, a task or a future. No pool notes them, and to drop
 * one does not, as tine_release does, take the maker's out of the pool. Both accept NULL. */
void tine_handle_ref(tine_handle *h);
void tine_handle_unref(tine_handle *h);
/* As tine_handle_unref, for a stream. */
extern void (*tine_stream_release)(tine_handle *h);
/* Frees a future, promise or completer whose last reference was dropped: set by a constructor in
 * api/, which is above this folder. A pointer in each of them would cost 16 bytes. */
extern void (*tine_future_free)(tine_handle *h);

#endif
