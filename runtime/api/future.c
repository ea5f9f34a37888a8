/* Futures: see future.h. */
#include "runtime/api/future.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/api/cancel.h"
#include "runtime/api/completer.h"
#include "runtime/api/context.h"
#include "runtime/api/promise.h"
#include "runtime/api/stream.h"
#include "transport/base/assert.h"
#include "transport/base/block.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "transport/base/vector.h"

/* Looks for circles may visit so much for each waiter there ever was. */
enum { CIRCLE_STEPS = 16 };

/* Without this log line the failure would not be reported. Cancellations by a shutdown are
 * expected. */
static void log_unobserved(const tine_future *f) {
    if (f->status == TINE_OK || f->status == TINE_ECANCELED || f->status == TINE_ENDED ||
        f->observed)
        return;
    tine_log(TINE_LOG_WARN, "a future that failed was released before any call waited for it: %s",
             f->text ? f->text : tine_error_name(f->status));
}

void tine_future_payload_free(tine_future *f, tine_payload *p) {
    tine_object_owner *owner = f->context ? f->context->owner : NULL;
    for (uint32_t i = 0; owner && p && i < p->n_refs; i++) owner->released(owner, p->refs[i]);
    tine_payload_unref(p);
}

/* ---- small results ---- */

static void future_small_drop(tine_future *f) {
    if (f->n_small > TINE_FUTURE_INSIDE) free(f->small.beside);
    f->n_small = 0;
}

/* False: there is no memory. */
static bool future_small_keep(tine_future *f, const uint8_t *body, size_t size) {
    uint8_t *to = f->small.inside;
    if (size > TINE_FUTURE_INSIDE) to = f->small.beside = malloc(size);
    if (!to) return false;
    memcpy(to, body, size);
    f->n_small = (uint16_t)size;
    return true;
}

static uint8_t *future_small(tine_future *f) {
    return f->n_small > TINE_FUTURE_INSIDE ? f->small.beside : f->small.inside;
}

static void future_free(tine_future *f) {
    TINE_ASSERT_TRUE(TAILQ_EMPTY(&f->waiters));
    log_unobserved(f);
    future_small_drop(f);
    tine_future_payload_free(f, f->payload);
    tine_value_unref(f->value);
    tine_value_unref(f->reference);
    tine_value_unref(f->unresolved);
    if (f->text) free(f->text);
    tine_future_extra_free(f->extra);
    if (f->context) tine_context_unref(f->context);
    tine_block_free(f, sizeof *f);
}

static void shared_handle_free(tine_handle *h) {
    switch (h->kind) {
    case TINE_HANDLE_PROMISE: tine_promise_free((tine_promise *)h); break;
    case TINE_HANDLE_COMPLETER: tine_completer_free((tine_completer *)h); break;
    default: future_free((tine_future *)h);
    }
}

__attribute__((constructor)) static void future_register(void) {
    tine_future_free = shared_handle_free;
}

tine_future *tine_future_new(struct tine_context *c) {
    tine_future *f = tine_block_new(sizeof *f);
    if (!f) {
        tine_error_set(TINE_ENOMEM, "no memory for a future");
        return NULL;
    }
    *f = (tine_future){.handle = {.refs = 1, .kind = TINE_HANDLE_FUTURE}, .context = c};
    TAILQ_INIT(&f->waiters);
    if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return f;
}

tine_future *tine_ref_future_(tine_future *f) {
    tine_handle_ref((tine_handle *)f);
    return f;
}

void tine_release_future_(const tine_future *borrowed) {
    tine_future *f = (tine_future *)borrowed;
    if (!f) return;
    tine_pool_forget(&f->handle);
    tine_future_unref(f);
}

/* Waiters whose future is done and that have not been called yet. */
static _Thread_local struct {
    struct tine_waiter_list waiters;
    bool calling;
} due;

static void call_due(void) {
    due.calling = true;
    for (tine_waiter *w; (w = TAILQ_FIRST(&due.waiters));) {
        TAILQ_REMOVE(&due.waiters, w, entry);
        tine_future *f = w->future; /* fn may free or reuse w */
        w->future = NULL;
        w->fn(w, f);
        tine_future_unref(f);
    }
    due.calling = false;
}

/* What a function waits for is released when it returns, and needs no copy. */
static tine_decoder future_decoder(const tine_context *c) {
    tine_decoder d = c->decoder;
    if (tine_current.task) d.copy_below = 0;
    return d;
}

static tine_error future_decode_small(tine_future *f) {
    tine_payload p = {.body = future_small(f), .body_size = f->n_small};
    tine_error e = tine_payload_value(&p, NULL, &f->value);
    if (e == TINE_OK) future_small_drop(f);
    return e;
}

static tine_error future_decode(tine_future *f) {
    if (f->n_small) return future_decode_small(f);
    const tine_decoder d = future_decoder(f->context);
    tine_error e = tine_payload_value(f->payload, &d, &f->value);
    if (e == TINE_OK && f->payload->n_refs == 0) {
        tine_payload_unref(f->payload);
        f->payload = NULL;
    }
    return e;
}

/* Takes over p, which may be NULL. */
static void future_keep(tine_future *f, tine_payload *p) {
    bool small = p && p->n_refs == 0 && p->n_buffers == 0 && p->body_size > 0 &&
                 p->body_size <= TINE_FUTURE_SMALL;
    if (small && future_small_keep(f, p->body, p->body_size))
        tine_payload_unref(p);
    else
        f->payload = p;
}

void tine_future_complete(tine_future *f, tine_error status, tine_payload *payload,
                          const char *text) {
    TINE_ASSERT(atomic_load_explicit(&f->done, memory_order_relaxed), ==, 0);
    f->status = status;
    future_keep(f, payload);
    f->text = text ? strdup(text) : NULL;
    atomic_store_explicit(&f->done, 1, memory_order_release);
    if (f->handle.kind == TINE_HANDLE_STREAM) tine_stream_ended(f);
    if (TAILQ_EMPTY(&f->waiters)) return;
    tine_future_observe(f);
    tine_waiter *w;
    TAILQ_FOREACH (w, &f->waiters, entry) {
        w->listed = false;
        w->future = tine_ref_future_(f);
    }
    if (!due.calling) TAILQ_INIT(&due.waiters);
    TAILQ_CONCAT(&due.waiters, &f->waiters, entry);
    if (!due.calling) call_due();
}

void tine_future_complete_value(tine_future *f, const tine_value *v) {
    f->value = tine_value_ref(v);
    tine_future_complete(f, TINE_OK, NULL, NULL);
}

bool tine_future_has_stayed(const tine_future *f) {
    return f->status == TINE_OK && !f->value && !f->n_small &&
           (!f->payload || f->payload->n_refs > 0);
}

void tine_future_complete_as(tine_future *f, tine_future *from) {
    const tine_value *v;
    bool small = from->n_small && future_small_keep(f, future_small(from), from->n_small);
    if (from->status == TINE_OK && !small && !from->value && !from->payload) {
        f->reference = tine_value_ref(from->reference);
        f->unresolved = tine_value_ref(from->unresolved);
    }
    if (from->status != TINE_OK)
        tine_future_complete(f, from->status, NULL, from->text);
    else if (small || f->reference || f->unresolved)
        tine_future_complete(f, TINE_OK, NULL, NULL);
    else if (tine_future_value_of(from, &v) == TINE_OK)
        tine_future_complete_value(f, v);
    else
        tine_future_complete(f, tine_last_error(), NULL, tine_error_text());
}

void tine_future_await(tine_future *f, tine_waiter *w) {
    if (f->context) f->context->circle_steps += CIRCLE_STEPS;
    w->listed = true;
    TAILQ_INSERT_TAIL(&f->waiters, w, entry);
}

void tine_future_forget(tine_future *f, tine_waiter *w) {
    if (!w->listed) return;
    w->listed = false;
    TAILQ_REMOVE(&f->waiters, w, entry);
}

tine_error tine_future_status(tine_future *f) {
    tine_future_observe(f);
    if (f->status == TINE_OK) return TINE_OK;
    return tine_error_set(f->status, "%s", f->text ? f->text : tine_error_name(f->status));
}

/* Puts may mention results in turn. */
static tine_error fetch_mentioned(tine_context *c, const tine_payload *p, int depth) {
    tine_error e = TINE_OK;
    for (uint32_t i = 0; i < p->n_refs && e == TINE_OK && depth < TINE_MAX_DEPTH; i++) {
        tine_payload *mentioned;
        char *class_name;
        if (tine_object_is_module(p->refs[i])) continue;
        e = c->ops->object_payload(c, p->refs[i], &mentioned, &class_name);
        if (e != TINE_OK) break;
        free(class_name);
        e = fetch_mentioned(c, mentioned, depth + 1);
        tine_payload_unref(mentioned);
    }
    return e;
}

static tine_error fetch_result(tine_context *c, tine_future *f) {
    tine_payload *payload;
    char *class_name;
    tine_error e = c->ops->object_payload(c, f->reference->object, &payload, &class_name);
    if (e != TINE_OK) return e;
    free(class_name);
    const tine_decoder d = future_decoder(c);
    c->ops->lock(c);
    if (!f->value) e = tine_payload_value(payload, &d, &f->value);
    c->ops->unlock(c);
    tine_payload_unref(payload);
    return e;
}

static const tine_value *resolved_result(tine_future *f, void *ctx) {
    (void)ctx;
    const tine_value *v = NULL;
    return tine_future_value_of(f, &v) == TINE_OK ? v : NULL;
}

static tine_error fetch_unresolved(tine_context *c, tine_future *f) {
    tine_future_list inside = {0};
    tine_error e = tine_future_list_add(&inside, f->unresolved);
    for (size_t i = 0; i < inside.n && e == TINE_OK; i++) e = tine_future_fetch(inside.items[i]);
    tine_future_list_fini(&inside);
    if (e != TINE_OK) return e;
    c->ops->lock(c);
    if (!f->value) f->value = tine_value_resolve(f->unresolved, resolved_result, NULL);
    if (!f->value) e = tine_last_error();
    c->ops->unlock(c);
    return e;
}

/* What is encoded stays until the value is decoded, which only calls that take the result do. */
tine_error tine_future_fetch(tine_future *f) {
    tine_context *c = f->context;
    if (!c || !c->ops->reference || f->status != TINE_OK) return TINE_OK;
    c->ops->lock(c);
    bool there = !tine_future_has_stayed(f);
    tine_payload *payload = there ? NULL : tine_payload_ref(f->payload);
    c->ops->unlock(c);
    if (there) return TINE_OK;
    if (!payload) return f->unresolved ? fetch_unresolved(c, f) : fetch_result(c, f);
    tine_error e = fetch_mentioned(c, payload, 0);
    tine_payload_unref(payload);
    return e;
}

tine_error tine_future_value_of(tine_future *f, const tine_value **out) {
    tine_error failed = tine_future_status(f);
    if (failed != TINE_OK) return failed;
    tine_error e = f->value ? TINE_OK : future_decode(f);
    if (e == TINE_OK) *out = f->value;
    return e;
}

/* ---- waiting for several ---- */

static void wait_entry_done(tine_waiter *w, tine_future *f) {
    tine_wait_set *set = ((struct tine_wait_entry *)w)->set;
    if (set->missing == 0) return;
    set->missing = set->mode == TINE_WAIT_FAILURE && f->status != TINE_OK ? 0 : set->missing - 1;
    if (set->missing == 0 && set->over) set->over(set->ctx);
}

bool tine_wait_is_over(tine_future *const *f, size_t n, tine_wait_mode mode) {
    size_t done = 0;
    bool failed = false;
    for (size_t i = 0; i < n; i++) {
        if (!tine_future_is_done(f[i])) continue;
        done++;
        failed |= f[i]->status != TINE_OK;
    }
    return mode == TINE_WAIT_ANY ? done > 0 : done == n || (mode == TINE_WAIT_FAILURE && failed);
}

tine_error tine_wait_begin(tine_wait_set *set, tine_future *const *f, size_t n, tine_wait_mode mode,
                           void (*over)(void *ctx), void *ctx) {
    bool few = n <= sizeof set->few / sizeof *set->few;
    size_t pending = 0;
    set->mode = mode;
    set->missing = 0;
    set->over = over;
    set->ctx = ctx;
    set->entries = few ? set->few : malloc(n * sizeof *set->entries);
    if (!set->entries) return tine_error_set(TINE_ENOMEM, "no memory to wait for %zu futures", n);
    for (size_t i = 0; i < n; i++) {
        set->entries[i] = (struct tine_wait_entry){.waiter.fn = wait_entry_done, .set = set};
        if (tine_future_is_done(f[i])) continue;
        tine_future_await(f[i], &set->entries[i].waiter);
        pending++;
    }
    if (!tine_wait_is_over(f, n, mode)) set->missing = mode == TINE_WAIT_ANY ? 1 : pending;
    return TINE_OK;
}

void tine_wait_end(tine_wait_set *set, tine_future *const *f, size_t n) {
    if (!set->entries) return;
    for (size_t i = 0; i < n; i++) tine_future_forget(f[i], &set->entries[i].waiter);
    if (set->entries != set->few) free(set->entries);
    set->entries = NULL;
}

int64_t tine_wait_deadline(double seconds) {
    int64_t now = tine_clock_ns();
    if (!(seconds < 9e9)) return INT64_MAX;
    return seconds <= 0 ? now : now + (int64_t)(seconds * 1e9);
}

/* ---- lists of futures ---- */

tine_error tine_future_list_push(tine_future_list *l, tine_future *f) {
    tine_future **items = tine_grow(l->items, &l->room, l->n + 1, sizeof *items);
    if (!items) return tine_error_set(TINE_ENOMEM, "no memory for a list of futures");
    l->items = items;
    l->items[l->n++] = f;
    return TINE_OK;
}

static int list_append(tine_future *f, void *list) {
    return tine_future_list_push(list, f) ? -1 : 0;
}

tine_error tine_future_list_add(tine_future_list *l, const tine_value *v) {
    return tine_value_futures(v, list_append, l) == 0 ? TINE_OK : TINE_ENOMEM;
}

void tine_future_list_fini(tine_future_list *l) {
    if (l->items) free(l->items);
    *l = (tine_future_list){0};
}
