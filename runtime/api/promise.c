/* Promises: see promise.h. The first call that completes a promise takes it. A shutdown may still
 * complete its future first: then the call fails. */
#include "runtime/api/promise.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "transport/base/memory.h"
#include "transport/base/text.h"

struct tine_promise {
    tine_handle handle;
    tine_future *future;   /* a reference */
    tine_context *context; /* to be compared only, where the mailbox is closed */
    tine_mailbox *mailbox; /* a reference; NULL: the context has a lock */
    bool listed;           /* in context->promises */
    LIST_ENTRY(tine_promise) entry;
    atomic_bool taken;
    /* what it is completed with; in the mailbox a reference goes with it */
    bool due;
    tine_error status;
    tine_value *value;
    char *text;
    STAILQ_ENTRY(tine_promise) mail;
};

struct tine_mailbox {
    pthread_mutex_t lock; /* of all below; no other lock is taken while it is held */
    size_t refs;
    bool closed;
    STAILQ_HEAD(, tine_promise) mail;
    atomic_bool any;
    void (*wake)(void *ctx);
    void *ctx;
};

/* ---- completing; with the context's lock ---- */

static void promise_settle(tine_promise *p) {
    if (!p->due) return;
    p->due = false;
    if (!tine_future_is_done(p->future)) {
        if (p->status == TINE_OK)
            tine_future_settle(p->context, p->future, p->value);
        else
            tine_future_complete(p->future, p->status, NULL, p->text);
        if (p->context->ops->completed) p->context->ops->completed(p->context);
    }
    tine_value_unref(p->value);
    free(p->text);
    p->value = NULL;
    p->text = NULL;
}

static void promise_break(tine_promise *p) {
    if (atomic_exchange(&p->taken, true)) return;
    p->due = true;
    p->status = TINE_ECANCELED;
    p->text = strdup("the promise was released before it was completed");
}

/* ---- the mailbox ---- */

tine_mailbox *tine_mailbox_new(void (*wake)(void *ctx), void *ctx) {
    tine_mailbox *m = tine_must_alloc(sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    m->refs = 1;
    m->wake = wake;
    m->ctx = ctx;
    STAILQ_INIT(&m->mail);
    return m;
}

/* With its lock, which it gives back. */
static void mailbox_unref(tine_mailbox *m) {
    bool last = --m->refs == 0;
    pthread_mutex_unlock(&m->lock);
    if (!last) return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* False: the worker has ended, and its promises with it. */
static bool mailbox_put(tine_mailbox *m, tine_promise *p) {
    pthread_mutex_lock(&m->lock);
    bool open = !m->closed;
    if (open) {
        STAILQ_INSERT_TAIL(&m->mail, p, mail);
        atomic_store(&m->any, true);
        m->wake(m->ctx);
    }
    pthread_mutex_unlock(&m->lock);
    return open;
}

static tine_promise *mailbox_take(tine_mailbox *m) {
    pthread_mutex_lock(&m->lock);
    tine_promise *p = STAILQ_FIRST(&m->mail);
    if (p) STAILQ_REMOVE_HEAD(&m->mail, mail);
    if (!p) atomic_store(&m->any, false);
    pthread_mutex_unlock(&m->lock);
    return p;
}

void tine_mailbox_run(tine_mailbox *m) {
    if (!atomic_load_explicit(&m->any, memory_order_acquire)) return;
    for (tine_promise *p; (p = mailbox_take(m));) {
        promise_settle(p);
        tine_handle_unref(&p->handle);
    }
}

void tine_mailbox_close(tine_context *c) {
    tine_mailbox *m = c->mailbox;
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    STAILQ_HEAD(, tine_promise) mail = STAILQ_HEAD_INITIALIZER(mail);
    STAILQ_CONCAT(&mail, &m->mail);
    for (tine_promise *p; (p = LIST_FIRST(&c->promises));) {
        LIST_REMOVE(p, entry);
        p->listed = false;
        p->future->context = NULL;
    }
    c->mailbox = NULL;
    mailbox_unref(m);
    while (!STAILQ_EMPTY(&mail)) { /* their futures are done: tine_promises_cancel was called */
        tine_promise *p = STAILQ_FIRST(&mail);
        STAILQ_REMOVE_HEAD(&mail, mail);
        tine_handle_unref(&p->handle);
    }
}

/* ---- making and freeing ---- */

static tine_error promise_list(tine_context *c, tine_promise *p) {
    c->ops->lock(c);
    bool ended = c->promises_ended;
    if (!ended) LIST_INSERT_HEAD(&c->promises, p, entry);
    p->listed = !ended;
    c->ops->unlock(c);
    return ended ? tine_error_set(TINE_ESTATE, "Tine has been shut down") : TINE_OK;
}

static tine_promise *promise_make(tine_context *c) {
    tine_promise *p = calloc(1, sizeof *p);
    tine_future *f = p ? tine_future_new(c) : NULL;
    if (!f) {
        free(p);
        tine_error_set(TINE_ENOMEM, "no memory for a promise");
        return NULL;
    }
    p->handle = (tine_handle){.refs = 1, .kind = TINE_HANDLE_PROMISE};
    p->future = f;
    p->context = c;
    if (promise_list(c, p) != TINE_OK) {
        tine_future_unref(f);
        free(p);
        return NULL;
    }
    p->mailbox = c->mailbox;
    if (p->mailbox) {
        pthread_mutex_lock(&p->mailbox->lock);
        p->mailbox->refs++;
        pthread_mutex_unlock(&p->mailbox->lock);
    }
    return p;
}

tine_promise *tine_promise_new(tine_future **future) {
    if (!future) {
        tine_error_set(TINE_EINVAL, "tine_promise_new: the pointer to the future is NULL");
        return NULL;
    }
    *future = NULL;
    tine_context *c = tine_context_acquire();
    tine_promise *p = c ? promise_make(c) : NULL;
    tine_context_release(c);
    if (!p) return NULL;
    *future = tine_ref_future_(p->future);
    tine_pool_adopt(&p->future->handle);
    tine_pool_adopt(&p->handle);
    return p;
}

/* Another thread than the worker's must not touch its context. */
static bool promise_is_remote(const tine_promise *p) {
    return p->mailbox && tine_current.context != p->context;
}

static void promise_delete(tine_promise *p) {
    if (p->mailbox) {
        pthread_mutex_lock(&p->mailbox->lock);
        mailbox_unref(p->mailbox);
    }
    tine_future_unref(p->future);
    tine_value_unref(p->value);
    free(p->text);
    free(p);
}

void tine_promise_free(tine_promise *p) {
    if (tine_forked()) return;  /* what waits for it belongs to the parent */
    if (promise_is_remote(p)) { /* which frees it again, where it is not remote */
        p->handle.refs = 1;
        if (mailbox_put(p->mailbox, p)) return;
    } else if (p->listed) {
        tine_context *c = p->context;
        c->ops->lock(c);
        promise_break(p);
        promise_settle(p);
        LIST_REMOVE(p, entry);
        c->ops->unlock(c);
    }
    promise_delete(p);
}

tine_promise *tine_ref_promise_(tine_promise *p) {
    tine_handle_ref((tine_handle *)p);
    return p;
}

void tine_release_promise_(tine_promise *p) {
    if (!p) return;
    tine_pool_forget(&p->handle);
    tine_handle_unref(&p->handle);
}

void tine_promises_cancel(tine_context *c, const char *why) {
    tine_promise *p;
    c->promises_ended = true;
    LIST_FOREACH (p, &c->promises, entry)
        if (!tine_future_is_done(p->future))
            tine_future_complete(p->future, TINE_ECANCELED, NULL, why);
}

bool tine_promises_open(const tine_context *c) {
    const tine_promise *p;
    LIST_FOREACH (p, &c->promises, entry)
        if (!tine_future_is_done(p->future)) return true;
    return false;
}

/* ---- completing ---- */

/* Takes over `text`. */
static tine_error promise_take(tine_promise *p, tine_error status, const tine_value *v,
                               char *text) {
    if (atomic_exchange(&p->taken, true)) {
        free(text);
        return tine_error_set(TINE_ESTATE, "the promise has been completed before");
    }
    p->status = status;
    p->value = tine_value_ref(v);
    p->text = text;
    p->due = true;
    return TINE_OK;
}

static tine_error promise_post(tine_promise *p, tine_error status, const tine_value *v,
                               char *text) {
    tine_error e = promise_take(p, status, v, text);
    if (e != TINE_OK) return e;
    tine_handle_ref(&p->handle);
    if (mailbox_put(p->mailbox, p)) return TINE_OK;
    tine_handle_unref(&p->handle);
    return tine_error_set(TINE_ECANCELED, "the worker of the promise has ended");
}

/* Takes over `text`. */
static tine_error promise_complete(tine_promise *p, tine_error status, const tine_value *v,
                                   char *text) {
    if (promise_is_remote(p)) return promise_post(p, status, v, text);
    tine_context *c = p->context;
    c->ops->lock(c);
    bool late = tine_future_is_done(p->future);
    tine_error e = TINE_OK;
    if (v && !late && !atomic_load(&p->taken)) e = tine_future_no_circle(p->future, v);
    if (e == TINE_OK) e = promise_take(p, status, v, text);
    if (e == TINE_OK) promise_settle(p);
    c->ops->unlock(c);
    if (e == TINE_OK && late)
        e = tine_error_set(TINE_ECANCELED, "the promise was cancelled before");
    return e;
}

static tine_error promise_check(const tine_promise *p) {
    if (tine_forked()) return tine_forked_refuse();
    return p ? TINE_OK : tine_error_null("the promise to complete is NULL");
}

static int belongs_elsewhere(tine_future *f, void *context) {
    return !tine_future_is_done(f) && f->context != context;
}

bool tine_value_is_foreign(const tine_value *v, tine_context *c) {
    return tine_value_futures(v, belongs_elsewhere, c) != 0;
}

static int is_its_own(tine_future *f, void *future) { return f == future; }

tine_error tine_promise_set(tine_promise *p, const tine_value *v) {
    tine_error e = promise_check(p);
    if (e != TINE_OK) return e;
    if (!v) {
        e = tine_error_null("tine_promise_set: the value is NULL");
        (void)promise_complete(p, e, NULL, strdup(tine_error_text()));
        return e;
    }
    if (tine_value_is_foreign(v, p->context)) return tine_future_foreign();
    if (tine_value_futures(v, is_its_own, p->future))
        return tine_error_set(TINE_EDEADLK, "a promise cannot be completed with a value that holds "
                                            "its own future: it would wait for itself");
    return promise_complete(p, TINE_OK, v, NULL);
}

tine_error tine_promise_fail(tine_promise *p, tine_error code, const char *format, ...) {
    va_list ap;
    tine_error e = promise_check(p);
    if (e != TINE_OK) return e;
    if (code <= TINE_OK || code >= TINE_ENDED || !format)
        return tine_error_set(TINE_EINVAL, "tine_promise_fail needs an error and a sentence");
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    return promise_complete(p, code, NULL, text);
}
