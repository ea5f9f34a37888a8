/* Completers: futures in the order in which they are done. Each future has one waiter, which moves
 * it to a queue, so that taking one costs the same however many there are. A call that finds the
 * queue empty waits for `signal`, a future that the next completion completes: so it needs nothing
 * of a context but its wait. */
#include "runtime/api/completer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"

typedef struct completer_entry {
    tine_waiter waiter;
    tine_completer *completer;
    tine_future *future; /* a reference */
    size_t index;
    LIST_ENTRY(completer_entry) open; /* until it is done */
    STAILQ_ENTRY(completer_entry) done;
} completer_entry;

struct tine_completer {
    tine_handle handle;
    tine_context *context; /* a reference; its lock guards all below */
    size_t n, left;        /* added, and not taken yet */
    LIST_HEAD(, completer_entry) open;
    STAILQ_HEAD(, completer_entry) done;
    tine_future *signal; /* NULL: no thread waits */
    int fd;              /* -1: not asked for */
};

/* The counter of the eventfd is 1 while the queue is not empty, else 0. */
static void completer_fd_set(const tine_completer *c, bool readable) {
    uint64_t one = 1;
    if (c->fd < 0) return;
    ssize_t done = readable ? write(c->fd, &one, sizeof one) : read(c->fd, &one, sizeof one);
    (void)done; /* it cannot be full or empty */
}

static void entry_queue(completer_entry *e) {
    tine_completer *c = e->completer;
    if (STAILQ_EMPTY(&c->done)) completer_fd_set(c, true);
    STAILQ_INSERT_TAIL(&c->done, e, done);
    tine_future *signal = c->signal;
    c->signal = NULL;
    if (!signal) return;
    tine_future_complete_value(signal, tine_none());
    tine_future_unref(signal);
}

static void entry_done(tine_waiter *w, tine_future *f) {
    (void)f;
    completer_entry *e = (completer_entry *)w;
    LIST_REMOVE(e, open);
    entry_queue(e);
}

static void entry_free(completer_entry *e) {
    tine_future_unref(e->future);
    free(e);
}

static tine_error add_locked(tine_completer *c, tine_future *f) {
    completer_entry *e = malloc(sizeof *e);
    if (!e) return tine_error_set(TINE_ENOMEM, "no memory for a completer");
    *e = (completer_entry){{.fn = entry_done}, c, tine_ref_future_(f), c->n++, {0}, {0}};
    c->left++;
    if (tine_future_is_done(f)) {
        tine_future_observe(f);
        entry_queue(e);
    } else {
        LIST_INSERT_HEAD(&c->open, e, open);
        tine_future_await(f, &e->waiter);
    }
    return TINE_OK;
}

static tine_error add_checked(tine_completer *c, tine_future *f) {
    if (!f) return tine_error_null("the future for a completer is NULL");
    if (!tine_future_is_done(f) && f->context != c->context) return tine_future_foreign();
    return add_locked(c, f);
}

/* ---- making and freeing ---- */

static tine_completer *completer_make(tine_context *context, tine_future *const *f, size_t n) {
    tine_error e = TINE_OK;
    tine_completer *c = calloc(1, sizeof *c);
    if (!c) {
        tine_error_set(TINE_ENOMEM, "no memory for a completer");
        return NULL;
    }
    c->handle = (tine_handle){.refs = 1, .kind = TINE_HANDLE_COMPLETER};
    c->context = context;
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    c->fd = -1;
    LIST_INIT(&c->open);
    STAILQ_INIT(&c->done);
    context->ops->lock(context);
    for (size_t i = 0; i < n && e == TINE_OK; i++) e = add_checked(c, f[i]);
    context->ops->unlock(context);
    if (e == TINE_OK) return c;
    tine_completer_free(c);
    return NULL;
}

tine_completer *tine_as_completed(tine_future *const *f, size_t n) {
    if (n > 0 && !f) {
        tine_error_set(TINE_EINVAL, "tine_as_completed: the array of futures is NULL");
        return NULL;
    }
    tine_context *context = tine_context_acquire();
    tine_completer *c = context ? completer_make(context, f, n) : NULL;
    tine_context_release(context);
    if (c) tine_pool_adopt(&c->handle);
    return c;
}

void tine_completer_free(tine_completer *c) {
    tine_context *context = c->context;
    context->ops->lock(context);
    for (completer_entry *e; (e = LIST_FIRST(&c->open));) {
        LIST_REMOVE(e, open);
        tine_future_forget(e->future, &e->waiter);
        entry_free(e);
    }
    while (!STAILQ_EMPTY(&c->done)) {
        completer_entry *e = STAILQ_FIRST(&c->done);
        STAILQ_REMOVE_HEAD(&c->done, done);
        entry_free(e);
    }
    context->ops->unlock(context);
    tine_future_unref(c->signal);
    if (c->fd >= 0) close(c->fd);
    tine_context_unref(context);
    free(c);
}

tine_completer *tine_ref_completer_(tine_completer *c) {
    tine_handle_ref((tine_handle *)c);
    return c;
}

void tine_release_completer_(tine_completer *c) {
    if (!c) return;
    tine_pool_forget(&c->handle);
    tine_handle_unref(&c->handle);
}

/* ---- using ---- */

static tine_error completer_check(const tine_completer *c) {
    if (tine_forked()) return tine_forked_refuse();
    return c ? TINE_OK : tine_error_null("the completer is NULL");
}

tine_error tine_completer_add(tine_completer *c, tine_future *f) {
    tine_error e = completer_check(c);
    if (e != TINE_OK) return e;
    tine_context *context = c->context;
    context->ops->lock(context);
    e = add_checked(c, f);
    context->ops->unlock(context);
    return e;
}

/* With the lock: waits until one more is done. */
static tine_error completer_await(tine_completer *c, double seconds, int64_t deadline) {
    if (tine_context_current() != c->context) return tine_future_foreign();
    if (!c->signal) c->signal = tine_future_new(c->context);
    tine_future *signal = tine_ref_future_(c->signal);
    if (!signal) return TINE_ENOMEM;
    tine_error e = c->context->ops->wait(c->context, &signal, 1, TINE_WAIT_ALL, deadline);
    tine_future_unref(signal);
    if (e != TINE_ETIMEDOUT) return e;
    return tine_error_set(e, "no further one of %zu futures was done within %g s", c->n, seconds);
}

static void completer_take(tine_completer *c, size_t *index) {
    completer_entry *e = STAILQ_FIRST(&c->done);
    STAILQ_REMOVE_HEAD(&c->done, done);
    if (STAILQ_EMPTY(&c->done)) completer_fd_set(c, false);
    c->left--;
    if (index) *index = e->index;
    entry_free(e);
}

tine_error tine_completer_next(tine_completer *c, double seconds, size_t *index) {
    if (index) *index = 0;
    tine_error e = completer_check(c);
    if (e != TINE_OK) return e;
    if (isnan(seconds)) return tine_error_set(TINE_EINVAL, "the seconds to wait are NaN");
    int64_t deadline = tine_wait_deadline(seconds);
    tine_context *context = c->context;
    context->ops->lock(context);
    while (e == TINE_OK && STAILQ_EMPTY(&c->done))
        e = c->left > 0 ? completer_await(c, seconds, deadline)
                        : tine_error_set(TINE_ENDED, "the completer has given out every future");
    if (e == TINE_OK) completer_take(c, index);
    if (e == TINE_ENDED) tine_current.failure.seen = true; /* no NULL comes from it */
    context->ops->unlock(context);
    return e;
}

int tine_completer_fd(tine_completer *c) {
    if (completer_check(c) != TINE_OK) return -1;
    if (tine_current.task) {
        tine_error_set(TINE_ESTATE, "a task has no event loop of its own: use tine_completer_next");
        return -1;
    }
    tine_context *context = c->context;
    context->ops->lock(context);
    if (c->fd < 0) {
        c->fd = eventfd(!STAILQ_EMPTY(&c->done), EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->fd < 0) tine_error_set(TINE_EIO, "cannot make an eventfd: %s", strerror(errno));
    }
    context->ops->unlock(context);
    return c->fd;
}
