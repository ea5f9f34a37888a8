/* The program's futures: a context (runtime/api/context.h) over the simulated scheduler, so that
 * tine_fork, tine_promise_new, tine_then and the others run as they are.
 *
 * It is either as the coordinator's: results are arguments by reference before they are there, and
 * a lock is taken. Or as a worker's: results are arguments by value, and promises that another
 * thread completes come through a mailbox. */
#include "context.h"

#include <stdlib.h>

#include "runtime/api/cancel.h"
#include "runtime/api/promise.h"

struct sim_context {
    tine_context context; /* first */
    tine_object_owner owner;
    sim_world *world;
    bool locked;
    tine_idmap forks;     /* by ticket: their futures */
    tine_idmap callbacks; /* that are due, by number */
    uint64_t n_callbacks;
};

typedef struct due_callback {
    void (*fn)(void *arg);
    void *arg;
} due_callback;

static sim_context *context_of(tine_context *c) { return (sim_context *)c; }

/* The one that runs: values know their owner alone. */
static sim_context *current;

static void on_retained(tine_object_owner *o, tine_object id) {
    (void)o;
    tine_scheduler_object_retain(current->world->scheduler, id);
}

static void on_released(tine_object_owner *o, tine_object id) {
    (void)o;
    tine_scheduler_object_release(current->world->scheduler, id);
}

/* ---- the lock ---- */

static void context_lock(tine_context *c) {
    if (context_of(c)->locked) sim_fail("a thread that has the context's lock takes it");
    context_of(c)->locked = true;
}

static void context_unlock(tine_context *c) {
    if (!context_of(c)->locked) sim_fail("a lock is given back that is not taken");
    context_of(c)->locked = false;
}

static void context_check_locked(tine_context *c) {
    if (!c->mailbox && !context_of(c)->locked) sim_fail("a context is used without its lock");
}

static void context_no_lock(tine_context *c) { (void)c; }

/* ---- forks ---- */

/* What a call's arguments are: ints, objects, and lists of these. */
typedef struct sim_sum {
    uint64_t of_ints;
    tine_object refs[SIM_MAX_ARGS];
    size_t n_refs;
} sim_sum;

static void sum_add(sim_sum *s, const tine_value *v) {
    if (v->object) {
        if (s->n_refs == SIM_MAX_ARGS) sim_fail("a call has too many results as arguments");
        s->refs[s->n_refs++] = v->object;
    } else if (v->kind == TINE_LIST) {
        for (size_t i = 0; i < v->list.n; i++) sum_add(s, v->list.items[i]);
    } else if (v->kind == TINE_INT) {
        s->of_ints += (uint64_t)v->i;
    } else {
        sim_fail("a call has an argument of kind %d", (int)v->kind);
    }
}

static tine_value *stand_in(void *ctx, tine_object id) {
    (void)ctx;
    return tine_value_of_object(id, NULL);
}

/* The payload as the simulated workers read it. The first two arguments are the program's seed and
 * depth. */
static tine_payload *payload_of(tine_payload *encoded, sim_call *call) {
    const tine_decoder d = {.value = stand_in};
    tine_arguments a;
    sim_sum sum = {0};
    if (tine_payload_call(encoded, &d, &a)) sim_fail("a call cannot be read");
    call->seed = (uint64_t)a.positional[0]->i;
    call->depth = (uint32_t)a.positional[1]->i;
    for (size_t i = 2; i < a.n_positional; i++) sum_add(&sum, a.positional[i]);
    tine_arguments_fini(&a);
    tine_payload *p = sim_payload(sum.of_ints, call->seed, call->depth, call->seed / 8 % 4 == 0,
                                  sum.refs, sum.n_refs);
    sim_body body = sim_body_of(p);
    body.adds = SIM_ADDS;
    sim_body_set(p, &body);
    return p;
}

static tine_error context_submit(tine_context *c, tine_future *f, void *parent,
                                 const tine_target *target, uint32_t flags, tine_payload *encoded,
                                 const tine_terms *terms) {
    sim_context *x = context_of(c);
    sim_world *w = x->world;
    sim_call call = {0};
    (void)parent;
    context_check_locked(c);
    if (tine_future_is_done(f)) sim_fail("a fork is submitted that has ended");
    tine_payload *p = payload_of(encoded, &call);
    sim_body body = sim_body_of(p);
    if (sim_repeatable(&w->traits, call.seed)) flags |= TINE_REPEATABLE;
    tine_terms some = {.name = terms ? terms->name : NULL,
                       .label = sim_label(&w->traits, target->name, call.seed),
                       .resources = sim_resources(&w->traits, target->name, &body),
                       .priority = terms ? terms->priority : 0};
    uint64_t ticket = sim_ticket(w);
    tine_error e = tine_scheduler_fork(w->scheduler, ticket, 0, target, flags, p, &some, &f->task);
    tine_payload_unref(p);
    if (e != (w->stopped ? TINE_ESTATE : TINE_OK)) sim_fail("a fork gave %d", (int)e);
    if (e != TINE_OK) return tine_error_set(e, "the simulated program has been shut down");
    if (!c->ops->reference) tine_scheduler_result_want(w->scheduler, f->task);
    tine_idmap_put(&x->forks, ticket, tine_ref_future_(f));
    return TINE_OK;
}

static tine_error context_cancel(tine_context *c, tine_future *f, tine_error status,
                                 const char *why, uint64_t grace_ns) {
    context_check_locked(c);
    bool open =
        tine_scheduler_cancel(context_of(c)->world->scheduler, f->task, status, why, grace_ns);
    return open ? TINE_OK : TINE_ESTATE;
}

bool sim_context_complete(sim_world *w, const tine_scheduler_action *a) {
    sim_context *x = w->context;
    tine_future *f = x ? tine_idmap_remove(&x->forks, a->ticket) : NULL;
    if (!f) return false;
    tine_value *value = NULL;
    if (a->payload) value = tine_int((int64_t)sim_promises_result(w, f, a->payload));
    x->context.ops->lock(&x->context);
    if (a->object && f->reference)
        tine_scheduler_object_release(w->scheduler, a->object); /* the reference has a handle */
    else if (a->object)
        f->reference = tine_value_of_object(a->object, &x->owner);
    f->value = value;
    for (uint32_t i = 0; a->payload && i < a->payload->n_refs; i++)
        tine_scheduler_object_release(w->scheduler, a->payload->refs[i]);
    tine_payload_unref(a->payload);
    tine_future_complete(f, a->status, NULL, a->text);
    x->context.ops->unlock(&x->context);
    tine_future_unref(f);
    return true;
}

static const tine_value *context_reference(tine_context *c, tine_future *f) {
    sim_context *x = context_of(c);
    context_check_locked(c);
    if (f->reference || tine_future_is_done(f) || x->world->stopped) return f->reference;
    tine_object id = tine_scheduler_result(x->world->scheduler, f->task);
    if (id) f->reference = tine_value_of_object(id, &x->owner);
    return f->reference;
}

static tine_error context_admit(tine_context *c, bool may_wait) {
    (void)may_wait;
    context_check_locked(c);
    return TINE_OK;
}

static void context_completed(tine_context *c) { context_check_locked(c); }

/* ---- later ---- */

static void context_defer(tine_context *c, void (*fn)(void *arg), void *arg, void *parent) {
    sim_context *x = context_of(c);
    sim_world *w = x->world;
    due_callback *due = malloc(sizeof *due);
    (void)parent;
    context_check_locked(c);
    *due = (due_callback){fn, arg};
    tine_idmap_put(&x->callbacks, ++x->n_callbacks, due);
    sim_push(&w->queue, w->now, w->now + sim_promises_delay(w), EV_CALLBACK, x->n_callbacks);
}

void sim_context_call(sim_world *w, size_t number) {
    due_callback *due = tine_idmap_remove(&w->context->callbacks, number);
    due->fn(due->arg);
    free(due);
}

static void mailbox_wake(void *ctx) {
    sim_world *w = ctx;
    sim_push(&w->queue, w->now, w->now + sim_promises_delay(w), EV_MAIL, 0);
}

void sim_context_mail(sim_world *w) {
    if (w->context->context.mailbox) tine_mailbox_run(w->context->context.mailbox);
}

/* ---- life ---- */

static void context_free(tine_context *c) { context_of(c)->world->context_freed = true; }

static const tine_context_ops as_program = {.lock = context_lock,
                                            .unlock = context_unlock,
                                            .admit = context_admit,
                                            .submit = context_submit,
                                            .cancel = context_cancel,
                                            .reference = context_reference,
                                            .completed = context_completed,
                                            .defer = context_defer,
                                            .free = context_free};
static const tine_context_ops as_worker = {.lock = context_no_lock,
                                           .unlock = context_no_lock,
                                           .admit = context_admit,
                                           .submit = context_submit,
                                           .cancel = context_cancel,
                                           .defer = context_defer};

void sim_context_begin(sim_world *w, bool of_worker) {
    sim_context *x = calloc(1, sizeof *x);
    x->world = w;
    x->owner = (tine_object_owner){on_retained, on_released};
    x->context.ops = of_worker ? &as_worker : &as_program;
    x->context.owner = &x->owner;
    atomic_store(&x->context.refs, 1);
    if (of_worker) x->context.mailbox = tine_mailbox_new(mailbox_wake, w);
    w->context = current = x;
    if (of_worker)
        tine_current.context = &x->context;
    else
        tine_context_install(&x->context);
}

tine_context *sim_context_of(const sim_world *w) { return &w->context->context; }

void sim_context_end(sim_world *w) {
    sim_context *x = w->context;
    tine_context *c = &x->context;
    if (x->forks.n || x->callbacks.n || c->n_held || c->held_bytes || !LIST_EMPTY(&c->held) ||
        c->deadlines.n || !LIST_EMPTY(&c->promises))
        sim_fail("left over in the context: %zu forks, %zu callbacks, %zu held with %zu bytes, %zu "
                 "deadlines",
                 x->forks.n, x->callbacks.n, c->n_held, c->held_bytes, c->deadlines.n);
    tine_timers_fini(&c->deadlines);
    tine_context_unref(c);
    if (c->ops->free && !w->context_freed) sim_fail("a future is left over");
    tine_current.context = NULL;
    tine_context_install(NULL);
    tine_idmap_fini(&x->forks);
    tine_idmap_fini(&x->callbacks);
    free(x);
    w->context = current = NULL;
}
