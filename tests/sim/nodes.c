/* What a node stands for, which follows from the nodes that it depends on: the sum of the numbers
 * in its value, or a failure that has a cause. */
#include "nodes.h"

static bool has_status(sim_world *w, const node *n, tine_error status, bool all) {
    sim_promises *p = w->promises;
    bool some = false, every = true;
    for (size_t j = 0; j < n->n_deps; j++) {
        node *d = &p->nodes[n->deps[j]];
        sim_node_see(w, d);
        bool has = d->seen && d->status == status;
        some |= has;
        every &= has;
    }
    return all ? every : some;
}

static uint64_t sum_of(const sim_world *w, const node *n) {
    uint64_t sum = n->own;
    for (size_t j = n->from; j < n->n_deps; j++) sum += w->promises->nodes[n->deps[j]].value;
    return sum;
}

static uint64_t number_of(const sim_answer *a) {
    return a->has_object && !a->object.module ? sim_mix(a->value, a->object.value) : a->value;
}

/* What a fork gives; false: its arguments cannot be there. The result of another fork can be before
 * that one is done: it goes from worker to worker, and what tells of it may be late, or lost. */
static bool expect_fork(sim_world *w, const node *n, sim_answer *out) {
    sim_call call = n->call;
    for (size_t j = 0; j < n->n_deps; j++) {
        node *d = &w->promises->nodes[n->deps[j]];
        sim_node_see(w, d);
        bool there = d->seen && !d->status;
        if (!there && (d->kind != NODE_FORK || w->promises->of_worker)) return false;
        if (!there && (!expect_fork(w, d, out) || out->status)) return false;
        call.sum += there ? d->value : number_of(out);
    }
    *out = sim_expect(&w->traits, &call, NULL);
    return true;
}

/* For a reason outside of the program. */
static bool is_outside(const sim_world *w, tine_error e) {
    if (w->stopped && (e == TINE_ECANCELED || e == TINE_ESTATE)) return true;
    if (e == TINE_ELOST && (w->faults || w->traits.cancels || w->any_cancelled)) return true;
    return w->any_misplaced && (e == TINE_ELOST || e == TINE_EUNKNOWN || e == TINE_EINVAL);
}

static bool fork_may_fail(sim_world *w, const node *n) {
    sim_answer a;
    return is_outside(w, n->status) || (expect_fork(w, n, &a) && a.status == n->status);
}

/* Its failure has a cause. */
static bool may_fail(sim_world *w, const node *n) {
    if (n->cancelled && n->status == TINE_ECANCELED) return true;
    if (n->expired && n->status == TINE_ETIMEDOUT) return true;
    if (w->promises->ended && n->kind == NODE_PROMISE && n->status == TINE_ECANCELED) return true;
    if (has_status(w, n, n->status, false)) return true;
    switch (n->kind) {
    case NODE_FORK: return fork_may_fail(w, n);
    case NODE_PROMISE:
    case NODE_THEN: return n->taken && n->given == n->status;
    default: return false;
    }
}

/* The sum of a value's numbers; false: results are in it that are not here. */
static bool sum_value(const tine_value *v, uint64_t *sum) {
    if (v->object || v->kind == TINE_FUTURE) return false;
    if (v->kind == TINE_INT) *sum += (uint64_t)v->i;
    for (size_t i = 0; v->kind == TINE_LIST && i < v->list.n; i++)
        if (!sum_value(v->list.items[i], sum)) return false;
    return true;
}

/* Of several that are done, a node of when_any has the result of one. */
static uint64_t any_value(sim_world *w, const node *n) {
    const tine_future *f = n->future;
    uint64_t sum = 0;
    bool here = f->value && sum_value(f->value, &sum);
    for (size_t j = 0; j < n->n_deps; j++) {
        const node *d = &w->promises->nodes[n->deps[j]];
        if (!d->seen || d->status) continue;
        bool same = f->unresolved ? f->unresolved == d->future->unresolved
                                  : f->reference == d->future->reference;
        if (here ? d->value == sum : same) return d->value;
    }
    sim_fail("when_any gave the result of none");
}

static void check_value(sim_world *w, node *n) {
    uint64_t sum = 0;
    sim_answer a;
    bool early = n->kind == NODE_FORK ? !expect_fork(w, n, &a) || a.status
                                      : !has_status(w, n, TINE_OK, n->kind != NODE_ANY);
    if (early) sim_fail("node %zu is done before what it follows from", sim_node_index(n));
    if (n->kind == NODE_FORK) {
        n->value = number_of(&a);
    } else {
        if ((n->kind == NODE_PROMISE || n->kind == NODE_THEN) && (!n->taken || n->given))
            sim_fail("a future has a value that it was not given");
        n->value = n->kind == NODE_ANY ? any_value(w, n) : sum_of(w, n);
    }
    if (n->future->value && sum_value(n->future->value, &sum) && sum != n->value)
        sim_fail("node %zu has a wrong value", sim_node_index(n));
}

/* What it is, once it is done. */
void sim_node_see(sim_world *w, node *n) {
    if (n->seen || !tine_done(n->future)) return;
    n->status = n->future->status;
    size_t i = sim_node_index(n);
    if (!n->status) check_value(w, n);
    n->seen = true;
    sim_trace(w, "node %zu is done: %d", i, (int)n->status);
    if (n->cancelled && n->status != TINE_ECANCELED)
        sim_fail("node %zu was cancelled, and its status is %d", i, (int)n->status);
    if (n->status && !may_fail(w, n))
        sim_fail("node %zu failed without a cause: %d %s", i, (int)n->status, n->future->text);
    bool of_fork = n->kind == NODE_FORK && n->status && has_status(w, n, n->status, false);
    w->counts->awaits_failed += of_fork;
}

void sim_node_on_done(tine_future *f, void *arg) {
    node *n = arg;
    if (n->called++) sim_fail("a future completed twice");
    if (f != n->future || !tine_done(f)) sim_fail("a callback is called early");
    sim_node_see(n->world, n);
    if (n->dropped) n->future = NULL;
}

uint64_t sim_promises_result(sim_world *w, const tine_future *f, const tine_payload *payload) {
    node *n = w->promises->nodes;
    sim_answer a;
    while (n->future != f) n++;
    if (!expect_fork(w, n, &a))
        sim_fail("node %zu ran before its arguments were there", sim_node_index(n));
    if (a.status || sim_body_of(payload).value != a.value)
        sim_fail("node %zu: a wrong value", sim_node_index(n));
    return number_of(&a);
}

/* Not done, although what it follows from decides it. */
static bool is_late(const sim_promises *p, const node *n) {
    size_t done = 0, failed = 0;
    for (size_t j = 0; j < n->n_deps; j++) {
        const tine_future *f = p->nodes[n->deps[j]].future;
        done += tine_done(f);
        failed += tine_done(f) && f->status;
    }
    if (n->kind == NODE_ANY) return done > 0;
    if (n->kind == NODE_ALL || (n->kind == NODE_FORK && n->future->held))
        return failed > 0 || done == n->n_deps;
    return false;
}

void sim_promises_look(sim_world *w) {
    sim_promises *p = w->promises;
    for (size_t i = 0; p && i < p->n; i++) {
        node *n = &p->nodes[i];
        if (n->future && !n->dropped) sim_node_see(w, n);
        if (n->future && !tine_done(n->future) && is_late(p, n))
            sim_fail("node %zu waits for what it has", i);
    }
}

bool sim_node_is_pending(const node *n) { return n->dropped ? !n->called : !tine_done(n->future); }

/* It waits for a promise that is open, or for a node that does. */
static bool may_be_open(const sim_promises *p, const node *n) {
    bool all = n->n_deps > 0;
    if (n->kind == NODE_PROMISE && !n->taken) return true;
    for (size_t j = 0; j < n->n_deps; j++) {
        bool open = sim_node_is_pending(&p->nodes[n->deps[j]]);
        if (open && n->kind != NODE_ANY) return true;
        all &= open;
    }
    return n->kind == NODE_ANY && all;
}

void sim_nodes_check_pending(const sim_promises *p) {
    for (size_t i = 0; i < p->n; i++)
        if (sim_node_is_pending(&p->nodes[i]) && !may_be_open(p, &p->nodes[i]))
            sim_fail("stalled: node %zu was never completed", i);
}
