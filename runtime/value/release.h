/* When a user's release callback (tine_tensor_wrap) runs: on the thread that drops the last
 * reference, but never while that thread holds a lock of Tine's, or drives the transport: the
 * callback might wait for a thread that waits for these. Such a thread holds releases back and runs
 * them afterwards. */
#ifndef TINE_RUNTIME_VALUE_RELEASE_H
#define TINE_RUNTIME_VALUE_RELEASE_H

#include <stdbool.h>

typedef struct tine_due_release {
    struct tine_due_release *next;
    void (*release)(void *ctx);
    void *ctx;
} tine_due_release;

void tine_releases_hold(void); /* may be nested */
void tine_releases_run(void);  /* ends a hold; the outermost runs the releases that are due */
bool tine_releases_due(void);  /* on this thread */
/* fn(ctx) is called on this thread when the first release becomes due during a hold. fn NULL: no
 * call. */
void tine_releases_notify(void (*fn)(void *ctx), void *ctx);
/* Takes the releases that are due on this thread, for another to run. NULL: none. */
tine_due_release *tine_releases_take(void);
void tine_releases_run_list(tine_due_release *list);
/* Runs r->release now or later, and frees r. */
void tine_release_due(tine_due_release *r);

#endif
