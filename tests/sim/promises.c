/* The program's futures: promises, forks that take futures, what tine_then, tine_when_all and
 * tine_when_any give. Each is a node; a step makes one more, completes a promise, or cancels
 * something. nodes.c has what must hold. */
#include <stdlib.h>

#include "runtime/api/cancel.h"
#include "nodes.h"
#include "runtime/api/promise.h"

static const char *const node_names[] = {"promise", "fork", "then", "all", "any"};

int64_t sim_promises_delay(sim_world *w) {
    sim_rng *r = &w->promises->random;
    return (int64_t)sim_below(r, sim_one_in(r, 4) ? 100000 : 2000);
}

/* As another thread than the worker's. */
static void elsewhere_begin(sim_world *w) {
    w->counts->promises_remote++;
    tine_current.context = NULL;
}
static void elsewhere_end(sim_world *w) { tine_current.context = sim_context_of(w); }

/* ---- what a node depends on ---- */

static bool depends_on(const sim_promises *p, size_t i, size_t on) {
    if (i == on) return true;
    for (size_t j = 0; j < p->nodes[i].n_deps; j++)
        if (depends_on(p, p->nodes[i].deps[j], on)) return true;
    return false;
}

/* Adds up to `most` nodes with up to `leaves` numbers to those that n follows from; n itself need
 * not be among the nodes yet. Returns how many numbers there are. */
static size_t choose_deps(sim_promises *p, node *n, size_t most, size_t leaves) {
    size_t self = sim_node_index(n), taken = 0, end = n->n_deps + most;
    for (size_t tries = 0; tries < 2 * most && n->n_deps < end && p->n > 0; tries++) {
        size_t i = sim_below(&p->random, p->n);
        const node *d = &p->nodes[i];
        if (d->dropped || taken + d->leaves > leaves || depends_on(p, i, self)) continue;
        n->deps[n->n_deps++] = i;
        taken += d->leaves;
    }
    return taken;
}

static size_t futures_of(const sim_promises *p, const node *n, size_t from, tine_future **out) {
    size_t count = 0;
    for (size_t j = from; j < n->n_deps; j++) out[count++] = p->nodes[n->deps[j]].future;
    return count;
}

/* Of a promise or a callback: its own number, and futures. */
static tine_value *value_of(const sim_promises *p, const node *n) {
    tine_future *f[MAX_DEPS];
    size_t count = futures_of(p, n, n->from, f);
    if (count == 0) return tine_int((int64_t)n->own);
    tine_value *own = tine_int((int64_t)n->own), *others = tine_list_of_futures(f, count);
    tine_value *list = tine_list_of((tine_value *[]){own, others}, 2);
    tine_release(own);
    tine_release(others);
    return list;
}

/* ---- making ---- */

static node *node_new(sim_world *w, node_kind kind) {
    sim_promises *p = w->promises;
    node *n = &p->nodes[p->n];
    *n = (node){.kind = kind, .world = w};
    sim_trace(w, "node %zu: %s", p->n, node_names[kind]);
    if (kind == NODE_PROMISE || kind == NODE_THEN) {
        n->own = sim_next(&p->random);
        n->leaves = 1 + OTHER_LEAVES;
    }
    return n;
}

/* Its future is made: some are counted, and of these some are not kept. */
static void node_add(sim_world *w, node *n) {
    sim_promises *p = w->promises;
    if (!n->future) sim_fail("no future: %s", tine_error_message());
    p->n++;
    tine_future_observe(n->future);
    if (sim_one_in(&p->random, 3)) return;
    n->counts = true;
    if (tine_on_done(n->future, sim_node_on_done, n)) sim_fail("no callback");
    if (n->called || !sim_one_in(&p->random, 8) || n->kind == NODE_PROMISE) return;
    n->dropped = true;
    tine_release(n->future);
}

static void make_promise(sim_world *w) {
    node *n = node_new(w, NODE_PROMISE);
    n->promise = tine_promise_new(&n->future);
    if (!n->promise && w->stopped && tine_last_error() == TINE_ESTATE) return;
    w->counts->promises++;
    node_add(w, n);
}

static void make_fork(sim_world *w) {
    static const char *const names[] = {"f0", "f1", "f3"};
    sim_promises *p = w->promises;
    node *n = node_new(w, NODE_FORK);
    choose_deps(p, n, 1 + sim_below(&p->random, 3), SIM_MAX_ARGS);
    n->call = (sim_call){.seed = sim_next(&p->random) >> 1,
                         .depth = (uint32_t)sim_below(&p->random, 3),
                         .module = -1,
                         .adds = SIM_ADDS};
    n->call.name = names[n->call.seed % 3];
    n->leaves = 1;
    tine_argument args[3 + MAX_DEPS] = {TINE_ARGUMENT(n->call.name),
                                        TINE_ARGUMENT((int64_t)n->call.seed),
                                        TINE_ARGUMENT((int64_t)n->call.depth)};
    tine_future *f[MAX_DEPS];
    size_t count = futures_of(p, n, 0, f), n_args = 3;
    bool list = sim_one_in(&p->random, 3), held = false;
    tine_value *values = list ? tine_list_of_futures(f, count) : NULL;
    for (size_t j = 0; j < count; j++) {
        const node *d = &p->nodes[n->deps[j]];
        held |= d->kind == NODE_PROMISE && !tine_done(f[j]);
        w->counts->awaits_several += j > 0 && held;
        if (!list) args[n_args++] = TINE_ARGUMENT(f[j]);
    }
    if (list) args[n_args++] = TINE_ARGUMENT(values);
    tine_fork_options o = {.name = "of a promise", .priority = (int)(n->call.seed % 3)};
    if (sim_one_in(&p->random, 4)) o.deadline = 1000. * (double)(1 + sim_below(&p->random, 16));
    n->future = tine_fork_with_args(&o, args, n_args);
    tine_release(values);
    w->counts->awaits += held;
    node_add(w, n);
}

static tine_value *then_call(tine_future *f, void *arg) {
    node *n = arg;
    sim_promises *p = n->world->promises;
    if (!tine_done(f) || n->taken) sim_fail("a callback is called early, or twice");
    n->taken = true;
    if (tine_wait(f, NULL)) { /* a failure passes through, or not */
        n->given = tine_last_error();
        if (n->own % 2) return NULL;
        n->n_deps = 0;
    } else if (n->own % 5 == 0) {
        n->given = TINE_EFAILED;
        return NULL;
    }
    n->given = TINE_OK;
    n->from = n->n_deps;
    if (n->own % 3 == 0) choose_deps(p, n, 2, OTHER_LEAVES);
    return value_of(p, n);
}

static void make_then(sim_world *w) {
    sim_promises *p = w->promises;
    node *n = node_new(w, NODE_THEN);
    choose_deps(p, n, 1, SIM_MAX_ARGS);
    if (n->n_deps == 0) return;
    w->counts->thens++;
    /* it may be called at once */
    n->future = tine_then(p->nodes[n->deps[0]].future, then_call, n);
    node_add(w, n);
}

static void make_several(sim_world *w, bool any) {
    sim_promises *p = w->promises;
    tine_future *f[MAX_DEPS];
    node *n = node_new(w, any ? NODE_ANY : NODE_ALL);
    n->leaves = choose_deps(p, n, 1 + sim_below(&p->random, 4), SIM_MAX_ARGS);
    size_t count = futures_of(p, n, 0, f);
    if (any && count == 0) return;
    *(any ? &w->counts->anys : &w->counts->alls) += 1;
    n->future = any ? tine_when_any(f, count) : tine_when_all(f, count);
    node_add(w, n);
}

/* ---- completing and cancelling ---- */

static void check_given(const node *n, tine_error e, bool taken, bool late, bool remote) {
    tine_error wanted = taken ? TINE_ESTATE : late && !remote ? TINE_ECANCELED : TINE_OK;
    if (e != wanted)
        sim_fail("a promise gave %d (%s), not %d", (int)e, tine_error_message(), (int)wanted);
    if (!e && !remote && !tine_done(n->future) && n->n_deps == 0)
        sim_fail("a promise was completed, and its future is not done");
}

/* One that waits for n; n where there is none. */
static const node *one_that_waits(const sim_promises *p, const node *n) {
    const size_t self = sim_node_index(n);
    for (size_t i = self + 1; i < p->n; i++) {
        const node *d = &p->nodes[i];
        bool waits = d->kind == NODE_FORK || d->kind == NODE_ALL;
        for (size_t j = 0; waits && !d->dropped && !tine_done(d->future) && j < d->n_deps; j++)
            if (d->deps[j] == self) return d;
    }
    return n;
}

static void complete_promise(sim_world *w, node *n) {
    sim_promises *p = w->promises;
    sim_counts *c = w->counts;
    bool taken = n->taken, late = tine_done(n->future), remote = false;
    tine_error e;
    if (!taken && !late && sim_one_in(&p->random, 4)) {
        const node *waits = one_that_waits(p, n);
        tine_value *circle = tine_list_of_futures(&waits->future, 1);
        if (tine_promise_set(n->promise, circle) != TINE_EDEADLK)
            sim_fail("a promise took the future of node %zu", sim_node_index(waits));
        tine_release(circle);
        c->promises_refused += waits != n;
    }
    remote = p->of_worker && sim_one_in(&p->random, 2);
    if (!taken) n->taken = true;
    if (sim_one_in(&p->random, 4)) {
        if (!taken) n->given = TINE_EIO;
        if (remote) elsewhere_begin(w);
        e = tine_promise_fail(n->promise, TINE_EIO, "the seed says so");
        c->promises_failed += !taken && !late;
    } else {
        if (!taken && !late && sim_one_in(&p->random, 2)) choose_deps(p, n, 2, OTHER_LEAVES);
        tine_value *v = value_of(p, n);
        if (remote) elsewhere_begin(w);
        e = tine_promise_set(n->promise, v);
        tine_release(v);
        c->promises_set += !taken && !late;
        c->promises_of_futures += !taken && n->n_deps > 0;
    }
    if (remote) elsewhere_end(w);
    c->promises_again += taken;
    c->promises_late += !taken && late;
    check_given(n, e, taken, late, remote);
}

static void release_promise(sim_world *w, node *n) {
    bool remote = w->promises->of_worker && sim_one_in(&w->promises->random, 2);
    w->counts->promises_released += !n->taken && !tine_done(n->future);
    if (!n->taken) n->given = TINE_ECANCELED;
    n->taken = true;
    if (remote) elsewhere_begin(w);
    tine_release(n->promise);
    if (remote) elsewhere_end(w);
    n->promise = NULL;
}

static node *some_node(sim_promises *p, bool promise) {
    for (int tries = 0; tries < 8 && p->n > 0; tries++) {
        node *n = &p->nodes[sim_below(&p->random, p->n)];
        if (promise ? n->promise != NULL : !n->dropped) return n;
    }
    return NULL;
}

static void use_promise(sim_world *w) {
    node *n = some_node(w->promises, true);
    if (!n) return;
    if (sim_one_in(&w->promises->random, 5))
        release_promise(w, n);
    else
        complete_promise(w, n);
}

static void cancel_one(sim_world *w) {
    node *n = some_node(w->promises, false);
    if (!n) return;
    bool done = tine_done(n->future), held = n->future->held;
    tine_error e = tine_cancel(n->future, 0);
    if (e != (done ? TINE_ESTATE : TINE_OK) && e != TINE_ESTATE)
        sim_fail("a cancel gave %d: %s", (int)e, tine_error_message());
    if (e) return;
    sim_trace(w, "node %zu is cancelled", sim_node_index(n));
    n->cancelled = true;
    w->counts->futures_cancelled++;
    w->counts->awaits_cancelled += held;
}

/* As if the clock were at the first deadline. */
static void expire_one(sim_world *w) {
    sim_promises *p = w->promises;
    tine_context *c = sim_context_of(w);
    int64_t due = tine_timers_next(&c->deadlines);
    if (due == INT64_MAX) return;
    for (size_t i = 0; i < p->n; i++) {
        const tine_future *f = p->nodes[i].future;
        if (f && !tine_done(f) && f->extra && f->extra->deadline.at == 1)
            p->nodes[i].expired = true;
    }
    c->ops->lock(c);
    if (!tine_deadlines_run(c, due)) sim_fail("a deadline did not pass");
    c->ops->unlock(c);
    w->counts->fork_deadlines++;
}

void sim_promises_step(sim_world *w) {
    sim_promises *p = w->promises;
    uint64_t draw = sim_below(&p->random, 20);
    bool room = p->n < MAX_NODES;
    if (draw < 4 && room)
        make_promise(w);
    else if (draw < 9 && room)
        make_fork(w);
    else if (draw < 11 && room)
        make_then(w);
    else if (draw < 13 && room)
        make_several(w, draw == 11);
    else if (draw < 18)
        use_promise(w);
    else if (draw == 18)
        cancel_one(w);
    else
        expire_one(w);
}

/* ---- the run ---- */

void sim_promises_plan(sim_world *w) {
    sim_promises *p = w->promises = calloc(1, sizeof *p);
    p->random.state = sim_mix(w->seed, 83);
    p->of_worker = sim_one_in(&p->random, 2);
    sim_context_begin(w, p->of_worker);
    uint64_t span = sim_one_in(&p->random, 3) ? 100000 : 3000000;
    for (uint64_t n = 4 + sim_below(&p->random, 60); n-- > 0;)
        sim_push(&w->queue, w->now, (int64_t)sim_below(&p->random, span), EV_PROMISE, 0);
}

void sim_promises_stop(sim_world *w) {
    if (!w->promises) return;
    tine_context *c = sim_context_of(w);
    w->promises->ended = true;
    c->ops->lock(c);
    tine_promises_cancel(c, "the simulated program was shut down");
    c->ops->unlock(c);
}

static void release_nodes(sim_world *w) {
    sim_promises *p = w->promises;
    for (size_t i = 0; i < p->n; i++) {
        node *n = &p->nodes[i];
        if (sim_node_is_pending(n) || !n->seen)
            sim_fail("stalled: node %zu was never completed", i);
        if (n->counts && n->called != 1) sim_fail("node %zu: its callback was not called", i);
        if (!n->dropped) tine_release(n->future);
        n->future = NULL;
    }
}

/* A thread completes a promise whose worker has ended. */
static void end_worker(sim_world *w) {
    tine_context *c = sim_context_of(w);
    tine_future *f;
    tine_promise *late = tine_promise_new(&f);
    tine_value *v = tine_int(1);
    tine_promises_cancel(c, "the simulated worker has ended");
    tine_mailbox_close(c);
    elsewhere_begin(w);
    if (late && (!tine_done(f) || tine_promise_set(late, v) != TINE_ECANCELED))
        sim_fail("a promise was completed without its worker");
    tine_release(late);
    elsewhere_end(w);
    tine_release(f);
    tine_release(v);
}

bool sim_promises_finish(sim_world *w) {
    sim_promises *p = w->promises;
    if (!p) return false;
    sim_promises_look(w);
    if (p->phase == RUNS) {
        sim_nodes_check_pending(p);
        if (sim_one_in(&p->random, 2)) sim_promises_stop(w);
        for (size_t i = 0; i < p->n; i++) {
            if (!p->nodes[i].promise) continue;
            w->counts->promises_open += !tine_done(p->nodes[i].future);
            release_promise(w, &p->nodes[i]);
        }
        p->phase = BREAKS;
        return true;
    }
    if (p->phase == BREAKS) {
        release_nodes(w);
        p->phase = OVER;
        return true;
    }
    if (p->of_worker) end_worker(w);
    sim_context_end(w);
    free(p);
    w->promises = NULL;
    return false;
}
