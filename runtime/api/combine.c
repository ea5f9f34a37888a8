/* Futures that follow from others: all of several, the first of several, and a value that has
 * futures inside. The same record serves the three.
 *
 * A future can come to wait for one that is newer only through a value that it is completed with,
 * so circles are looked for there, along the waiters of the future. */
#include <stdlib.h>

#include "runtime/api/context.h"
#include "runtime/api/held.h"
#include "runtime/api/promise.h"
#include "runtime/api/stream.h"

/* When the result is completed early, the other futures are forgotten. Those whose waiters are due
 * at that moment still refer to the record: the last of them frees it. */
typedef struct gather {
    tine_future *result; /* a reference */
    tine_value *value;   /* holds the futures */
    bool any;            /* the result is that of the first; else the value with all results */
    size_t missing, n;
    struct gather_part {
        tine_waiter waiter;
        struct gather *gather;
        tine_future *future; /* held by the value */
    } parts[];
} gather;

static void gather_free(gather *g) {
    tine_future_unref(g->result);
    tine_value_unref(g->value);
    free(g);
}

static const tine_value *gathered_result(tine_future *f, void *ctx) {
    (void)ctx;
    const tine_value *v = NULL;
    return tine_future_value_of(f, &v) == TINE_OK ? v : NULL;
}

static int has_stayed(tine_future *f, void *ctx) {
    (void)ctx;
    return tine_future_has_stayed(f);
}

static void complete_resolved(tine_future *result, const tine_value *value) {
    if (tine_value_futures(value, has_stayed, NULL)) {
        result->unresolved = tine_value_ref(value);
        tine_future_complete(result, TINE_OK, NULL, NULL);
        return;
    }
    tine_value *v = tine_value_resolve(value, gathered_result, NULL);
    if (v)
        tine_future_complete_value(result, v);
    else
        tine_future_complete(result, tine_last_error(), NULL, tine_error_text());
    tine_value_unref(v);
}

static void gather_forget(gather *g) {
    for (size_t i = 0; i < g->n; i++) {
        if (!g->parts[i].waiter.listed) continue;
        tine_future_forget(g->parts[i].future, &g->parts[i].waiter);
        g->missing--;
    }
}

static void gather_part_done(tine_waiter *w, tine_future *f) {
    gather *g = ((struct gather_part *)w)->gather;
    g->missing--;
    if (!tine_future_is_done(g->result)) {
        if (g->any || f->status != TINE_OK)
            tine_future_complete_as(g->result, f);
        else if (g->missing == 0)
            complete_resolved(g->result, g->value);
    }
    if (g->missing > 0 && tine_future_is_done(g->result)) gather_forget(g);
    if (g->missing == 0) gather_free(g);
}

/* Of more parts one is taken to be done some time. */
enum { WALKED_MAX = 64 };

/* The first of several waits for all of them in so far as each could help it. */
static tine_future *gather_dependent(const tine_waiter *w) {
    const gather *g = ((const struct gather_part *)w)->gather;
    if (!g->any) return g->result;
    if (g->n > WALKED_MAX) return NULL;
    for (size_t i = 0; i < g->n; i++)
        if (!g->parts[i].future->walked) return NULL;
    return g->result;
}

/* The first that decides the result already; NULL: none. */
static tine_future *decided_by(const tine_future_list *l, bool any) {
    for (size_t i = 0; i < l->n; i++)
        if (tine_future_is_done(l->items[i]) && (any || l->items[i]->status != TINE_OK))
            return l->items[i];
    return NULL;
}

static tine_error gather_begin(tine_future *result, tine_value *value, const tine_future_list *l,
                               size_t missing, bool any) {
    gather *g = malloc(sizeof *g + missing * sizeof *g->parts);
    if (!g) return tine_error_set(TINE_ENOMEM, "no memory to wait for %zu futures", missing);
    g->result = tine_ref_future_(result);
    result->follows = true;
    g->value = tine_value_ref(value);
    g->any = any;
    g->n = 0;
    g->missing = missing;
    for (size_t i = 0; i < l->n; i++) {
        if (tine_future_is_done(l->items[i])) continue;
        struct gather_part *part = &g->parts[g->n++];
        const tine_waiter waiter = {.fn = gather_part_done, .dependent = gather_dependent};
        *part = (struct gather_part){waiter, g, l->items[i]};
        tine_future_await(l->items[i], &part->waiter);
    }
    return TINE_OK;
}

/* With the lock. Each future in value is of this context, or done. */
static void complete_by(tine_future *result, tine_value *value, bool any) {
    tine_future_list l = {0};
    size_t missing = 0;
    tine_error e = tine_future_list_add(&l, value);
    for (size_t i = 0; i < l.n; i++) {
        tine_future_observe(l.items[i]); /* the result reports the first failure, for all */
        missing += !tine_future_is_done(l.items[i]);
    }
    tine_future *first = decided_by(&l, any);
    if (e == TINE_OK && first)
        tine_future_complete_as(result, first);
    else if (e == TINE_OK && missing == 0)
        complete_resolved(result, value);
    else if (e == TINE_OK)
        e = gather_begin(result, value, &l, missing, any);
    if (e != TINE_OK) tine_future_complete(result, e, NULL, tine_error_text());
    tine_future_list_fini(&l);
}

/* ---- circles ---- */

/* A look may visit a few futures and waiters for nothing. More come off the `circle_steps` of the
 * context, which grow with the number of waiters there ever were and may fall as far below 0 as
 * STEPS_ONCE, some tens of milliseconds. So n promises cost in proportion to n, whatever waits for
 * them. What a look that ends early does not find waits for ever. */
enum { STEPS_FREE = 64, STEPS_ONCE = 1 << 20 };

static tine_error walk_to(tine_future_list *l, tine_future *f) {
    if (!f || f->walked || tine_future_is_done(f)) return TINE_OK;
    tine_error e = tine_future_list_push(l, f);
    f->walked = e == TINE_OK;
    return e;
}

/* What waits for f: its values, where it is a stream, the call whose turn comes after it, and what
 * has it among its arguments, or follows from it. */
static tine_error walk_from(tine_future_list *l, tine_future *f, size_t *left) {
    const tine_waiter *w;
    tine_future *value;
    tine_error e = f->held ? walk_to(l, tine_held_fork_follower(f->held)) : TINE_OK;
    for (uint64_t item = 0; e == TINE_OK && *left > 0 && (value = tine_stream_awaited(f, &item));
         --*left)
        e = walk_to(l, value);
    TAILQ_FOREACH (w, &f->waiters, entry) {
        if (e != TINE_OK || *left == 0) break;
        --*left;
        if (w->dependent) e = walk_to(l, w->dependent(w));
    }
    return e;
}

static int is_walked(tine_future *f, void *ctx) {
    if (tine_future_is_done(f) || !f->walked) return 0;
    *(tine_future **)ctx = f;
    return 1;
}

static int may_wait(tine_future *f, void *ctx) {
    return f == ctx || (f->follows && !tine_future_is_done(f));
}

static tine_error circle(const tine_future *f, const tine_future *found) {
    if (found->held)
        return tine_error_set(TINE_EDEADLK,
                              "a future cannot be completed with a value that holds the future of "
                              "task \"%s\", which waits for it: neither would ever be done",
                              tine_held_fork_name(found->held, NULL));
    return tine_error_set(TINE_EDEADLK,
                          "a future cannot be completed with a value that holds %s: it would wait "
                          "for itself",
                          found == f ? "its own future" : "a future that waits for it");
}

tine_error tine_future_no_circle(tine_future *f, const tine_value *v) {
    tine_future_list l = {0};
    tine_future *found = NULL;
    if (!tine_value_futures(v, may_wait, f)) return TINE_OK;
    int64_t *steps = &f->context->circle_steps;
    size_t left = (size_t)(*steps + STEPS_ONCE) + STEPS_FREE;
    tine_error e = walk_to(&l, f);
    for (size_t i = 0; i < l.n && left > 0 && e == TINE_OK; i++, left -= left > 0)
        e = walk_from(&l, l.items[i], &left);
    if ((int64_t)left - STEPS_ONCE < *steps) *steps = (int64_t)left - STEPS_ONCE;
    if (e == TINE_OK && tine_value_futures(v, is_walked, &found)) e = circle(f, found);
    for (size_t i = 0; i < l.n; i++) l.items[i]->walked = false;
    tine_future_list_fini(&l);
    return e;
}

void tine_future_settle(tine_context *c, tine_future *f, tine_value *v) {
    (void)c;
    tine_error e = tine_future_no_circle(f, v);
    if (e == TINE_OK)
        complete_by(f, v, false);
    else
        tine_future_complete(f, e, NULL, tine_error_text());
}

static tine_future *combine(tine_context *c, tine_future *const *f, size_t n, bool any) {
    for (size_t i = 0; i < n; i++)
        if (f[i] && f[i]->context && f[i]->context != c) {
            tine_future_foreign();
            return NULL;
        }
    tine_value *list = tine_list_of_futures(f, n);
    if (!list) return NULL;
    tine_future *result = tine_future_new(c);
    if (result) {
        c->ops->lock(c);
        complete_by(result, list, any);
        c->ops->unlock(c);
        tine_pool_adopt(&result->handle);
    }
    tine_release_value_(list);
    return result;
}

static tine_future *combine_checked(const char *name, tine_future *const *f, size_t n, bool any) {
    if ((n > 0 && !f) || (n == 0 && any)) {
        tine_error_set(TINE_EINVAL, "%s needs %s", name, f ? "at least one future" : "futures");
        return NULL;
    }
    tine_context *c = tine_context_acquire();
    tine_future *result = c ? combine(c, f, n, any) : NULL;
    tine_context_release(c);
    return result;
}

tine_future *tine_when_all(tine_future *const *f, size_t n) {
    return combine_checked("tine_when_all", f, n, false);
}

tine_future *tine_when_any(tine_future *const *f, size_t n) {
    return combine_checked("tine_when_any", f, n, true);
}
