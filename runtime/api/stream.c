/* Streams: tine_yield, and tine_next at the other end.
 *
 * Each value is a future of its own, made when it arrives or when it is asked for, whichever comes
 * first; so it is waited for, decoded and fetched like a result. At most as many as the option
 * `stream` says have not been asked for. A value that was asked for and has arrived makes room for
 * another; the worker is told of the room once half of the window is free.
 *
 * A stream whose last reference in the program is released is cancelled: its task would wait for
 * ever. The same holds for a fork with the option `owned`, which is like a stream only in that. The
 * context has a reference until the task is done, so the program's last release is the one that
 * leaves one reference. The cancellation is deferred while this thread holds a lock. */
#include "runtime/api/stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/api/cancel.h"
#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "runtime/value/release.h"
#include "transport/base/assert.h"
#include "transport/base/idmap.h"

typedef struct tine_stream {
    uint64_t window;
    uint64_t next;    /* number of the value that is asked for next, from 1 */
    uint64_t low;     /* all below have arrived and were asked for */
    uint64_t taken;   /* values that have arrived and were asked for */
    uint64_t pulled;  /* the worker was told that it may yield up to this one */
    tine_idmap items; /* by number: values that have arrived or were asked for, but not both */
} tine_stream;

static tine_stream *stream_of(const tine_future *f) { return f->extra ? f->extra->stream : NULL; }

tine_error tine_stream_begin(tine_future *f, uint32_t window) {
    if (window > TINE_STREAM_MAX)
        return tine_error_set(TINE_EINVAL,
                              "tine_fork_options: at most %d values may be ahead in a "
                              "stream",
                              TINE_STREAM_MAX);
    tine_stream *s = calloc(1, sizeof *s);
    if (!s) return tine_error_set(TINE_ENOMEM, "no memory for a stream");
    s->window = s->pulled = window;
    s->next = s->low = 1;
    f->extra->stream = s;
    f->handle.kind = TINE_HANDLE_STREAM;
    return TINE_OK;
}

void tine_stream_free(tine_stream *s) {
    if (!s) return;
    for (uint64_t item = s->low; s->items.n > 0; item++)
        tine_future_unref(tine_idmap_remove(&s->items, item));
    tine_idmap_fini(&s->items);
    free(s);
}

/* ---- values ---- */

/* Borrowed from the map. NULL without memory. */
static tine_future *stream_item(tine_future *f, uint64_t item) {
    tine_stream *s = stream_of(f);
    tine_future *value = tine_idmap_get(&s->items, item);
    if (value) return value;
    value = tine_future_new(f->context);
    if (value) tine_idmap_put(&s->items, item, value);
    if (value) value->follows = true;
    return value;
}

/* It has arrived and was asked for. */
static void stream_take(tine_future *f, uint64_t item) {
    tine_stream *s = stream_of(f);
    tine_idmap_remove(&s->items, item);
    while (s->low < s->next && !tine_idmap_get(&s->items, s->low)) s->low++;
    s->taken++;
    if (tine_future_is_done(f) || s->taken + s->window - s->pulled < (s->window + 1) / 2) return;
    s->pulled = s->taken + s->window;
    f->context->ops->pull(f->context, f, s->pulled);
}

/* One that was asked for may have been cancelled meanwhile: it is taken all the same, so that the
 * task goes on. */
void tine_stream_arrived(tine_future *f, uint64_t item, tine_error status, tine_payload *payload,
                         const char *text) {
    tine_stream *s = stream_of(f);
    tine_future *value = s ? stream_item(f, item) : NULL;
    bool asked = value && item < s->next;
    if (!value || tine_future_is_done(value))
        tine_future_payload_free(f, payload);
    else
        tine_future_complete(value, status, payload, text);
    if (!asked) return;
    stream_take(f, item);
    tine_future_unref(value);
}

static void stream_end_item(tine_future *f, tine_future *value) {
    tine_future_observe(f);
    if (f->status == TINE_OK)
        tine_future_complete(value, TINE_ENDED, NULL, "the stream has ended");
    else
        tine_future_complete(value, f->status, NULL, f->text);
}

tine_future *tine_stream_awaited(const tine_future *f, uint64_t *item) {
    const tine_stream *s = stream_of(f);
    if (s && *item < s->low) *item = s->low - 1;
    while (s && ++*item <= s->next) { /* some thread may wait for the last */
        tine_future *value = tine_idmap_get(&s->items, *item);
        if (value && !tine_future_is_done(value)) return value;
    }
    return NULL;
}

void tine_stream_ended(tine_future *f) {
    tine_future *value;
    for (uint64_t item = 0; (value = tine_stream_awaited(f, &item));) {
        tine_idmap_remove(&stream_of(f)->items, item);
        stream_end_item(f, value);
        tine_future_unref(value);
    }
}

/* The next value, a new reference; takes it where `take`. NULL without memory. */
static tine_future *stream_next(tine_future *f, bool take) {
    tine_stream *s = stream_of(f);
    tine_future *value = tine_idmap_get(&s->items, s->next);
    if (!value && tine_future_is_done(f)) {
        value = tine_future_new(f->context);
        if (value) stream_end_item(f, value);
        return value;
    }
    value = stream_item(f, s->next);
    if (!value) return NULL;
    tine_ref_future_(value);
    if (!take) return value;
    s->next++;
    if (!tine_future_is_done(value)) return value;
    tine_future_unref(value);
    stream_take(f, s->next - 1);
    return value;
}

/* ---- taking ---- */

static tine_error stream_check(const tine_future *f) {
    if (tine_forked()) return tine_forked_refuse();
    if (!f) return tine_error_null("the stream is NULL");
    if (!stream_of(f) && tine_future_is_done(f) && f->status != TINE_OK)
        return tine_future_status((tine_future *)f); /* its fork was refused */
    if (!stream_of(f))
        return tine_error_set(TINE_EINVAL, "the future is no stream: fork it with the option "
                                           "`stream`, the number of values that may be ahead");
    if (f->context != tine_context_current() && !tine_future_is_done(f))
        return tine_future_foreign();
    return TINE_OK;
}

tine_future *tine_next_future(tine_future *f) {
    if (stream_check(f) != TINE_OK) return NULL;
    tine_context *c = f->context;
    c->ops->lock(c);
    tine_future *value = stream_next(f, true);
    c->ops->unlock(c);
    if (value) tine_pool_adopt(&value->handle);
    return value;
}

static tine_error stream_timed_out(tine_future *f, double seconds) {
    char *state = f->context->ops->describe ? f->context->ops->describe(f->context, f) : NULL;
    tine_error_set(TINE_ETIMEDOUT, "the stream had no value within %g s%s%s", seconds,
                   state ? ": " : "", state ? state : "");
    free(state);
    return TINE_ETIMEDOUT;
}

/* With the lock: waits for the next value, and takes it once it is there. Another thread may take
 * it first. */
static tine_error stream_await(tine_future *f, double seconds, tine_future **out) {
    tine_context *c = f->context;
    int64_t deadline = tine_wait_deadline(seconds);
    for (;;) {
        tine_future *value = stream_next(f, false);
        if (!value) return TINE_ENOMEM;
        bool there = tine_future_is_done(value);
        tine_error e = there ? TINE_OK : c->ops->wait(c, &value, 1, TINE_WAIT_ALL, deadline);
        tine_future_unref(value);
        if (e == TINE_ETIMEDOUT) return stream_timed_out(f, seconds);
        if (e != TINE_OK) return e;
        if (!there) continue;
        *out = stream_next(f, true);
        return *out ? TINE_OK : TINE_ENOMEM;
    }
}

tine_error tine_next(tine_future *f, tine_value **out) { return tine_next_for(f, INFINITY, out); }

tine_error tine_next_for(tine_future *f, double seconds, tine_value **out) {
    tine_future *value = NULL;
    if (out) *out = NULL;
    tine_error e = stream_check(f);
    if (e == TINE_OK && isnan(seconds))
        e = tine_error_set(TINE_EINVAL, "the seconds to wait are NaN");
    if (e != TINE_OK) return e;
    tine_context *c = f->context;
    c->ops->lock(c);
    e = stream_await(f, seconds, &value);
    c->ops->unlock(c);
    if (e == TINE_OK) e = tine_wait(value, out);
    if (e == TINE_ENDED) tine_current.failure.seen = true; /* no NULL comes from it */
    tine_future_unref(value);
    return e;
}

/* ---- releasing ---- */

static void stream_abandon(void *future) {
    tine_future *f = future;
    tine_context *c = f->context;
    c->ops->lock(c);
    if (!tine_future_is_done(f) && !f->reference && atomic_load(&f->handle.refs) == 2)
        (void)tine_future_cancel(c, f, TINE_ECANCELED,
                                 stream_of(f) ? "its stream was released before its end"
                                              : "its future was released before it was done",
                                 f->extra->grace_ns);
    c->ops->unlock(c);
    if (atomic_fetch_sub(&f->handle.refs, 1) == 1) tine_future_free(&f->handle);
}

/* The last reference of the program is given up under the lock: the context has another one. */
static void stream_release(tine_handle *h) {
    tine_future *f = (tine_future *)h;
    uint32_t refs = atomic_load(&h->refs);
    while (refs != 2 || tine_future_is_done(f) || tine_forked()) {
        TINE_ASSERT(refs, >, 0);
        if (!atomic_compare_exchange_weak(&h->refs, &refs, refs - 1)) continue;
        if (refs == 1) tine_future_free(h);
        return;
    }
    tine_due_release *due = malloc(sizeof *due);
    if (!due) {
        atomic_fetch_sub(&h->refs, 1); /* not cancelled: its values are not taken */
        return;
    }
    *due = (tine_due_release){.release = stream_abandon, .ctx = f};
    tine_release_due(due);
}

__attribute__((constructor)) static void stream_register(void) {
    tine_stream_release = stream_release;
}

/* ---- yielding ---- */

static tine_error stream_yield(tine_context *c, void *attempt, const tine_value *v) {
    tine_value *settled = tine_value_ref(v);
    tine_payload *payload = NULL;
    tine_error e = tine_value_settle(&settled);
    if (e == TINE_OK) e = tine_payload_of_value(settled, &c->encoder, &payload);
    if (e == TINE_OK) e = c->ops->yield(c, attempt, payload);
    tine_payload_unref(payload);
    tine_value_unref(settled);
    return e;
}

tine_error tine_yield(tine_task *task, const tine_value *v) {
    if (!v) return tine_error_null("tine_yield: the value is NULL");
    if (!task) return tine_error_set(TINE_EINVAL, "tine_yield: the task is NULL");
    tine_context *c = tine_context_current();
    if (!task->attempt) return TINE_OK; /* a call in the program itself */
    if (!c) return TINE_ESTATE;
    return stream_yield(c, task->attempt, v);
}
