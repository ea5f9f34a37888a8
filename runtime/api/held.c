/* Forks that are held until the futures among their arguments are done, or until the calls before
 * them of a module with one instance are. */
#include "runtime/api/held.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/api/cancel.h"
#include "transport/base/clock.h"
#include "transport/base/text.h"

/* A fork that is held until `missing` futures in its arguments are done. When one of its futures
 * fails, so does its result, at once; also one whose result need not be here. The record stays
 * until all of them are done, because they refer to it; what it holds is let go before. */
typedef struct held_fork {
    tine_future *result;
    tine_arguments arguments;
    tine_fork_target to; /* its texts lie behind the dependencies */
    char *method;        /* "class.method"; NULL: a function */
    void *parent;        /* NULL once it has failed */
    bool failed;
    /* of calls of a module with one instance: the one before, which this one waits for, and the
     * next one */
    struct held_fork *before, *next;
    LIST_ENTRY(held_fork) single, entry;
    int64_t since;
    size_t bytes; /* of the arguments, without what the futures will be */
    size_t missing;
    size_t refs; /* of the dependencies that are not done, and one while it is held */
    size_t n;    /* of dependencies */
    struct dependency {
        tine_waiter waiter;
        struct held_fork *fork;
        bool missing; /* one of those */
    } dependencies[];
} held_fork;

static void held_fork_unref(held_fork *h) {
    if (--h->refs == 0) free(h);
}

/* It is held no more. The record stays for its waiters. */
static void held_fork_end(held_fork *h) {
    tine_arguments_fini(&h->arguments);
    tine_future_unref(h->result);
    h->result = NULL;
    tine_value_unref(h->to.module);
    free(h->method);
    held_fork_unref(h);
}

static void held_fork_count(held_fork *h) {
    tine_context *c = h->result->context;
    c->n_held++;
    c->held_bytes += h->bytes;
    LIST_INSERT_HEAD(&c->held, h, entry);
    if (h->parent) c->ops->hold(c, h->parent, h->bytes);
}

static void held_fork_uncount(held_fork *h) {
    tine_context *c = h->result->context;
    c->n_held--;
    c->held_bytes -= h->bytes;
    LIST_REMOVE(h, entry);
    if (h->parent) c->ops->unhold(c, h->parent, h->bytes);
    h->parent = NULL;
    h->result->held = NULL;
}

static size_t arguments_bytes(const tine_arguments *a) {
    size_t bytes = 0;
    for (size_t i = 0; i < a->n_positional; i++) bytes += tine_value_bytes(a->positional[i]);
    for (size_t i = 0; i < a->n_named; i++) bytes += tine_value_bytes(a->named[i]);
    return bytes;
}

held_fork *tine_held_fork_last(const tine_context *c, const tine_fork_target *to) {
    held_fork *h = to->flags & TINE_MODULE_SINGLE ? LIST_FIRST(&c->held_singles) : NULL;
    while (h && h->to.target.object != to->target.object) h = LIST_NEXT(h, single);
    return h;
}

/* Takes h out of the order of its module's calls. Returns the call that follows it. */
static held_fork *held_fork_leave(held_fork *h) {
    held_fork *next = h->next;
    if (h->to.flags & TINE_MODULE_SINGLE && h->result->held) LIST_REMOVE(h, single);
    h->next = NULL;
    if (next) next->before = NULL;
    return next;
}

/* All arguments are there, or one has failed. */
static void held_fork_submit(held_fork *h) {
    tine_context *c = h->result->context;
    tine_error e = tine_arguments_resolve(&h->arguments, tine_result_value);
    if (e == TINE_OK) e = tine_fork_submit(c, h->result, h->parent, &h->to, &h->arguments);
    h->result->held = NULL;
    if (e != TINE_OK) tine_fork_fail(h->result, e);
    held_fork_uncount(h);
}

/* h waits for one thing less. A loop, not recursion: a long row of calls of one module may wait for
 * one another. */
static void held_fork_release(held_fork *h) {
    while (h && --h->missing == 0) {
        held_fork *next = held_fork_leave(h);
        if (!h->failed) held_fork_submit(h);
        held_fork_end(h);
        h = next;
    }
}

/* The completion may fail the one before it as well: it is not referred to after that. */
static void held_fork_fail(held_fork *h, tine_error status, const char *text) {
    held_fork *before = h->before, *next = held_fork_leave(h);
    h->failed = true;
    held_fork_uncount(h);
    if (before) before->next = next; /* which waits for that one from now on */
    if (before && next) next->before = before;
    h->before = NULL;
    tine_future_complete(h->result, status, NULL, text);
    held_fork_release(before ? h : next);
}

static const char *fork_name(const held_fork *h) {
    const tine_terms *terms = &h->to.terms;
    if (h->to.has_terms && terms->name && *terms->name) return terms->name;
    return h->method ? h->method : h->to.target.name;
}

const held_fork *tine_held_fork_next(const tine_context *c, const held_fork *h) {
    return h ? LIST_NEXT(h, entry) : LIST_FIRST(&c->held);
}

const char *tine_held_fork_name(const held_fork *h, int64_t *since) {
    if (since) *since = h->since;
    return fork_name(h);
}

char *tine_held_fork_describe(const held_fork *h) {
    return tine_text_format("task \"%s\" waits for %s", fork_name(h),
                            h->before && h->missing == 1 ? "earlier calls of its module"
                                                         : "its arguments");
}

tine_future *tine_held_fork_follower(const held_fork *h) {
    return h->next ? h->next->result : NULL;
}

void tine_held_fork_cancel(tine_future *f, tine_error status, const char *why) {
    char text[256 + 2 * TINE_MAX_NAME];
    snprintf(text, sizeof text, "task \"%s\" was cancelled while it waited for its arguments: %s",
             fork_name(f->held), why);
    held_fork_fail(f->held, status, text);
}

static void dependency_done(tine_waiter *w, tine_future *f) {
    const struct dependency *d = (struct dependency *)w;
    held_fork *h = d->fork;
    if (f->status != TINE_OK && h->result && h->result->held == h)
        held_fork_fail(h, f->status, f->text);
    if (d->missing) held_fork_release(h);
    held_fork_unref(h);
}

static tine_future *dependency_result(const tine_waiter *w) {
    return ((const struct dependency *)w)->fork->result;
}

static void held_fork_await(held_fork *h, tine_future *f) {
    struct dependency *d = &h->dependencies[h->n++];
    *d = (struct dependency){.waiter = {.fn = dependency_done, .dependent = dependency_result},
                             .fork = h,
                             .missing = !f->reference};
    tine_future_await(f, &d->waiter);
    h->refs++;
}

tine_error tine_held_fork_begin(tine_future *result, const tine_fork_target *to,
                                tine_arguments *arguments, const tine_future_list *futures,
                                size_t missing, held_fork *before) {
    size_t texts = tine_target_size(&to->target);
    held_fork *h = malloc(sizeof *h + futures->n * sizeof *h->dependencies + texts +
                          tine_terms_size(&to->terms));
    if (!h) return tine_error_set(TINE_ENOMEM, "no memory for a fork");
    *h = (held_fork){.result = tine_ref_future_(result),
                     .to = *to,
                     .parent = tine_context_parent(),
                     .since = tine_clock_coarse_ns(),
                     .missing = missing + (before != NULL),
                     .refs = 1};
    h->to.module = tine_value_ref(to->module);
    h->to.target = tine_target_copy((char *)&h->dependencies[futures->n], &to->target);
    h->to.terms = tine_terms_copy((char *)&h->dependencies[futures->n] + texts, &to->terms);
    const tine_target *t = &h->to.target;
    h->method = t->method ? tine_text_format("%s.%s", t->name, t->method) : NULL;
    tine_arguments_move(&h->arguments, arguments);
    h->bytes = arguments_bytes(&h->arguments);
    held_fork_count(h);
    result->held = h;
    result->follows = true;
    h->before = before;
    if (before) before->next = h;
    if (to->flags & TINE_MODULE_SINGLE) LIST_INSERT_HEAD(&result->context->held_singles, h, single);
    for (size_t i = 0; i < futures->n; i++)
        if (!tine_future_is_done(futures->items[i])) held_fork_await(h, futures->items[i]);
    return TINE_OK;
}
