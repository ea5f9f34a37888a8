/* When a user's release callback (tine_tensor_wrap) runs: on whatever thread drops the last
 * reference, but never while that thread holds something of Tine's that another may be waiting for
 * inside a call of Tine's. Such a thread says so, and what comes due meanwhile is run when it has
 * let go. */
#ifndef TINE_RUNTIME_VALUE_RELEASE_H
#define TINE_RUNTIME_VALUE_RELEASE_H

#include <stdbool.h>

typedef struct tine_due_release {
    struct tine_due_release *next;
    void (*release)(void *ctx);
    void *ctx;
} tine_due_release;

void tine_releases_hold(void); /* may be nested */
void tine_releases_run(void);  /* ends a hold; the outermost runs what is due */
bool tine_releases_due(void);  /* on this thread */
/* fn(ctx) is called on this thread whenever the first one becomes due while it holds; NULL: nothing
 * is. */
void tine_releases_notify(void (*fn)(void *ctx), void *ctx);
/* What is due on this thread, taken off it, for another to run. NULL: nothing. */
tine_due_release *tine_releases_take(void);
void tine_releases_run_list(tine_due_release *list);
/* Runs r->release now or later, and frees r. */
void tine_release_due(tine_due_release *r);

#endif
