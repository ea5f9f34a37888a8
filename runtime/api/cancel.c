/* tine_cancel, and deadlines: see cancel.h. The context's event loop looks at deadlines. */
#include "runtime/api/cancel.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "runtime/api/stream.h"
#include "transport/base/text.h"

tine_error tine_future_cancel(tine_context *c, tine_future *f, tine_error status, const char *why,
                              uint64_t grace_ns) {
    char text[256];
    tine_error e = TINE_OK;
    if (f->held) {
        tine_held_fork_cancel(f, status, why);
    } else if (f->task) {
        e = c->ops->cancel(c, f, status, why, grace_ns);
    } else {
        snprintf(text, sizeof text, "the future was cancelled: %s", why);
        tine_future_complete(f, status, NULL, text);
        for (size_t i = 0; f->extra && i < f->extra->forks.n; i++) {
            tine_future *fork = f->extra->forks.items[i];
            if (!tine_future_is_done(fork))
                (void)tine_future_cancel(c, fork, status, why, grace_ns);
        }
    }
    if (c->ops->completed) c->ops->completed(c);
    return e;
}

bool tine_future_take_back(tine_future *f) {
    tine_context *c = f ? f->context : NULL;
    return c && c->ops->take_back && !tine_future_is_done(f) && !f->held && f->task &&
           c->ops->take_back(c, f);
}

tine_error tine_future_add_forks(tine_future *f, tine_future *const *forks, size_t n) {
    f->extra = calloc(1, sizeof *f->extra);
    tine_future **items = f->extra ? calloc(n + 1, sizeof *items) : NULL;
    if (!items) return tine_error_set(TINE_ENOMEM, "no memory for a fork on %zu workers", n);
    for (size_t i = 0; i < n; i++) items[i] = tine_ref_future_(forks[i]);
    f->extra->forks = (tine_future_list){.items = items, .n = n};
    f->extra->grace_ns = UINT64_MAX;
    return TINE_OK;
}

void tine_future_extra_free(tine_future_extra *x) {
    if (!x) return;
    tine_stream_free(x->stream);
    for (size_t i = 0; i < x->forks.n; i++) tine_future_unref(x->forks.items[i]);
    tine_future_list_fini(&x->forks);
    free(x->name);
    free(x);
}

static tine_error cancel_done(void) {
    return tine_error_set(TINE_ESTATE, "the future cannot be cancelled: it is done");
}

static tine_error cancel_locked(tine_context *c, tine_future *f, int flags) {
    if (tine_future_is_done(f)) return cancel_done();
    uint64_t grace_ns = f->extra ? f->extra->grace_ns : UINT64_MAX;
    if (flags & TINE_CANCEL_FORCE) grace_ns = 0;
    tine_error e = tine_future_cancel(c, f, TINE_ECANCELED, "tine_cancel was called", grace_ns);
    return e == TINE_ESTATE ? cancel_done() : e;
}

tine_error tine_cancel(tine_future *f, int flags) {
    if (tine_forked()) return tine_forked_refuse();
    if (!f) return tine_error_null("the future to cancel is NULL");
    if (flags & ~TINE_CANCEL_FORCE)
        return tine_error_set(TINE_EINVAL, "tine_cancel: the flags %#x are unknown",
                              (unsigned)flags);
    if (tine_future_is_done(f)) return cancel_done();
    tine_context *c = f->context;
    if (tine_context_current() != c) return tine_future_foreign();
    c->ops->lock(c);
    tine_error e = cancel_locked(c, f, flags);
    c->ops->unlock(c);
    return e;
}

bool tine_cancelled(const tine_task *task) {
    tine_context *c = tine_current.context;
    return task && task->attempt && c && c->ops->cancelled && c->ops->cancelled(c, task->attempt);
}

/* ---- deadlines ---- */

static void deadline_future_done(tine_waiter *w, tine_future *f) {
    tine_timers_remove(&f->context->deadlines, &((tine_future_extra *)w)->deadline);
}

void tine_deadline_watch(tine_context *c, tine_future *f) {
    tine_future_extra *x = f->extra;
    if (x->seconds == 0 || tine_future_is_done(f)) return;
    x->deadline.owner = f;
    x->waiter.fn = deadline_future_done;
    tine_future_await(f, &x->waiter);
    tine_timers_add(&c->deadlines, &x->deadline);
    /* the loop may sleep longer */
    if (tine_timers_first(&c->deadlines) == &x->deadline && c->ops->completed) c->ops->completed(c);
}

bool tine_deadlines_run(tine_context *c, int64_t now) {
    bool any = false;
    while (tine_timers_next(&c->deadlines) <= now) {
        char why[96];
        tine_future *f = tine_timers_first(&c->deadlines)->owner;
        tine_future_extra *x = f->extra;
        any = true;
        tine_timers_remove(&c->deadlines, &x->deadline);
        tine_future_forget(f, &x->waiter);
        locale_t before = tine_text_locale_enter();
        snprintf(why, sizeof why, "it was not done within %g s of its fork, its deadline",
                 x->seconds);
        tine_text_locale_leave(before);
        /* a result that is here already is kept */
        (void)tine_future_cancel(c, f, TINE_ETIMEDOUT, why, x->grace_ns);
    }
    return any;
}
