/* Futures: see future.h. */
#include "runtime/api/future.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/api/context.h"
#include "transport/base/assert.h"
#include "transport/base/vector.h"

tine_future *tine_future_new(struct tine_context *c) {
    tine_future *f = malloc(sizeof *f); /* glibc's calloc bypasses the thread's cache */
    if (!f) {
        tine_error_set(TINE_ENOMEM, "no memory for a future");
        return NULL;
    }
    *f = (tine_future){.handle = {.refs = 1, .kind = TINE_HANDLE_FUTURE}, .context = c};
    if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return f;
}

tine_future *tine_ref_future_(tine_future *f) {
    if (f) atomic_fetch_add_explicit(&f->handle.refs, 1, memory_order_relaxed);
    return f;
}

void tine_release_future_(const tine_future *borrowed) {
    tine_future *f = (tine_future *)borrowed;
    if (!f) return;
    tine_pool_forget(&f->handle);
    tine_future_unref(f);
}

void tine_future_free(tine_future *f) {
    TINE_ASSERT_TRUE(!f->waiters);
    tine_object_owner *owner = f->context ? f->context->owner : NULL;
    for (uint32_t i = 0; owner && f->payload && i < f->payload->n_refs; i++)
        owner->released(owner, f->payload->refs[i]);
    tine_payload_unref(f->payload);
    tine_value_unref(f->value);
    if (f->text) free(f->text);
    if (f->context) tine_context_unref(f->context);
    free(f);
}

/* Waiters whose future is done and that have not been called yet. */
static _Thread_local struct {
    tine_waiter *head, **tail;
    bool calling;
} due;

static void call_due(void) {
    due.calling = true;
    while (due.head) {
        tine_waiter *w = due.head;
        due.head = w->next;
        if (!due.head) due.tail = &due.head;
        tine_future *f = w->future; /* fn may free or reuse w */
        w->next = NULL;
        w->future = NULL;
        w->fn(w, f);
        tine_future_unref(f);
    }
    due.calling = false;
}

void tine_future_complete(tine_future *f, tine_error status, tine_payload *payload,
                          const char *text) {
    TINE_ASSERT(atomic_load_explicit(&f->done, memory_order_relaxed), ==, 0);
    f->status = status;
    f->payload = payload;
    f->text = text ? strdup(text) : NULL;
    atomic_store_explicit(&f->done, 1, memory_order_release);
    if (!f->waiters) return;
    if (!due.head) due.tail = &due.head;
    *due.tail = f->waiters;
    for (tine_waiter *w = f->waiters; w; w = w->next) {
        w->future = tine_ref_future_(f);
        due.tail = &w->next;
    }
    f->waiters = NULL;
    if (!due.calling) call_due();
}

void tine_future_await(tine_future *f, tine_waiter *w) {
    tine_waiter **at = &f->waiters;
    while (*at) at = &(*at)->next;
    w->next = NULL;
    *at = w;
}

void tine_future_forget(tine_future *f, tine_waiter *w) {
    for (tine_waiter **at = &f->waiters; *at; at = &(*at)->next) {
        if (*at != w) continue;
        *at = w->next;
        w->next = NULL;
        return;
    }
}

tine_error tine_future_value_of(tine_future *f, const tine_value **out) {
    if (f->status != TINE_OK)
        return tine_error_set(f->status, "%s", f->text ? f->text : tine_error_name(f->status));
    if (!f->value) {
        tine_error e = tine_payload_value(f->payload, &f->context->decoder, &f->value);
        if (e != TINE_OK) return e;
        if (f->payload->n_refs == 0) {
            tine_payload_unref(f->payload);
            f->payload = NULL;
        }
    }
    *out = f->value;
    return TINE_OK;
}

static int list_append(tine_future *f, void *ctx) {
    tine_future_list *l = ctx;
    tine_future **items = tine_grow(l->items, &l->room, l->n + 1, sizeof *items);
    if (!items) return -1;
    l->items = items;
    l->items[l->n++] = f;
    return 0;
}

tine_error tine_future_list_add(tine_future_list *l, const tine_value *v) {
    return tine_value_futures(v, list_append, l) == 0
               ? TINE_OK
               : tine_error_set(TINE_ENOMEM, "no memory to look for futures in a value");
}

void tine_future_list_fini(tine_future_list *l) {
    if (l->items) free(l->items);
    *l = (tine_future_list){0};
}
