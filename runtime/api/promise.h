/* Promises, as a context and its event loop see them; tine.h has the users' view.
 *
 * A promise is completed with the lock of its context. A worker's context has no lock, because it
 * is one thread: there a promise that another thread completes or releases goes to the worker's
 * mailbox, from which the worker's loop takes it. The mailbox outlives the worker for as long as
 * there are promises of it. */
#ifndef TINE_RUNTIME_API_PROMISE_H
#define TINE_RUNTIME_API_PROMISE_H

#include "runtime/api/future.h"

typedef struct tine_mailbox tine_mailbox;

/* wake(ctx) is called on the thread that puts something in. Ends the process without memory. */
tine_mailbox *tine_mailbox_new(void (*wake)(void *ctx), void *ctx);
/* On the worker's thread: completes and frees what other threads have sent. */
void tine_mailbox_run(tine_mailbox *m);
/* The worker ends, after tine_promises_cancel: from now on no other thread touches c. */
void tine_mailbox_close(struct tine_context *c);

/* With the lock: completes every promise that is open with ECANCELED, and no more can be made. */
void tine_promises_cancel(struct tine_context *c, const char *why);
/* On the worker's thread: whether a promise of c is open, or was completed by another thread. */
bool tine_promises_open(const struct tine_context *c);
void tine_promise_free(tine_promise *p); /* for tine_handle_unref */

/* Whether v holds a pending future of another context: nothing of c can wait for it. */
bool tine_value_is_foreign(const tine_value *v, struct tine_context *c);
/* With the lock: completes f with v, once the futures inside v are done. Those are of c. A circle
 * fails it. */
void tine_future_settle(struct tine_context *c, tine_future *f, tine_value *v);
/* With the lock: EDEADLK with a sentence where v holds f, or a future that waits for f. ENOMEM. */
tine_error tine_future_no_circle(tine_future *f, const tine_value *v);

#endif
