/* The programs of a simulated worker's tasks, step by step. */
#include <stdlib.h>
#include <string.h>

#include "worker.h"

/* ---- payloads ---- */

tine_payload *sim_payload(uint64_t value, uint64_t seed, uint32_t depth, bool large,
                          const tine_object *refs, size_t n_refs) {
    sim_body body = {.value = value, .seed = seed, .depth = depth};
    tine_payload *p = tine_payload_new(large ? SIM_SMALL_BODY * 2 : sizeof body, 0, n_refs);
    memset(p->body, 0, p->body_size);
    memcpy(p->body, &body, sizeof body);
    if (n_refs) memcpy(p->refs, refs, n_refs * sizeof *refs);
    return p;
}

sim_body sim_body_of(const tine_payload *p) {
    sim_body body;
    memcpy(&body, p->body, sizeof body);
    return body;
}

void sim_body_set(tine_payload *p, const sim_body *body) { memcpy(p->body, body, sizeof *body); }

/* ---- objects ---- */

uint64_t sim_object_value(sim_worker *s, tine_object id) {
    tine_payload *p = NULL;
    const char *class_name = NULL;
    if (!tine_executor_fetch(s->executor, id, &p, &class_name))
        sim_fail("worker %zu: object %#llx is missing", s->index, (unsigned long long)id);
    if (!class_name != !tine_object_is_module(id))
        sim_fail("object %#llx has the wrong class", (unsigned long long)id);
    uint64_t value = sim_body_of(p).value;
    for (uint32_t i = 0; i < p->n_refs; i++)
        if (!tine_object_is_module(p->refs[i]))
            value = sim_mix(value, sim_object_value(s, p->refs[i]));
    return value;
}

static sim_object object_of(sim_worker *s, tine_object id) {
    bool module = tine_object_is_module(id);
    return (sim_object){.id = id, .module = module, .value = module ? 0 : sim_object_value(s, id)};
}

/* ---- tasks ---- */

void sim_task_runnable(sim_worker *s, sim_task *t) {
    if (t->queued) return;
    t->queued = true;
    t->next = NULL;
    *(s->last ? &s->last->next : &s->first) = t;
    s->last = t;
}

sim_task sim_ended;

void sim_task_free(sim_worker *s, sim_task *t) {
    for (uint32_t i = 0; i < t->frame.forked; i++) {
        if (t->children[i].done) continue;
        tine_idmap_remove(&s->tickets, t->children[i].ticket);
        tine_idmap_put(&s->tickets, t->children[i].ticket, &sim_ended);
    }
    for (uint32_t i = 0; i < t->frame.forked; i++) {
        tine_payload_unref(t->children[i].payload);
    }
    *(t->all_prev ? &t->all_prev->all_next : &s->all) = t->all_next;
    if (t->all_next) t->all_next->all_prev = t->all_prev;
    free(t);
}

static void block(sim_worker *s, sim_task *t) {
    t->blocked = true;
    sim_world_counts(s->world)->suspended++;
    tine_executor_suspend(s->executor, t->id);
}

void sim_release_oldest(sim_worker *s) {
    sim_object oldest = s->kept[0];
    if (!s->stopped && !oldest.module && sim_object_value(s, oldest.id) != oldest.value)
        sim_fail("worker %zu: a held object has changed", s->index);
    if (!s->stopped) object_of(s, oldest.id);
    tine_executor_release(s->executor, &oldest.id, 1);
    memmove(s->kept, s->kept + 1, --s->n_kept * sizeof *s->kept);
}

/* Some tasks keep their newest object, as a module's state does. */
static void keep(sim_worker *s, const sim_task *t) {
    if (t->frame.n_objects == 0 || sim_mix(t->id, 77) % 3) return;
    sim_object o = t->frame.objects[t->frame.n_objects - 1];
    for (size_t i = 0; i < s->n_kept; i++)
        if (s->kept[i].id == o.id) return;
    if (s->stopped || (!o.module && !o.id)) return;
    if (s->n_kept == SIM_MAX_KEPT) sim_release_oldest(s);
    tine_executor_hold(s->executor, &o.id, 1);
    s->kept[s->n_kept++] = o;
}

/* What it has not taken to the end, nobody will. */
static void leave_streams(sim_worker *s, sim_task *t) {
    for (uint32_t i = 0; i < t->frame.forked; i++) {
        sim_child *c = &t->children[i];
        if (c->done || !c->stream.window ||
            !tine_executor_cancel(s->executor, c->ticket, UINT64_MAX))
            continue;
        tine_idmap_remove(&s->tickets, c->ticket);
        c->done = c->lost = true;
    }
}

void sim_task_finish(sim_worker *s, sim_task *t, tine_error status, const sim_op *op,
                     const char *text) {
    tine_payload *p = NULL;
    if (!status) {
        tine_object ref = op->ref >= 0 ? t->frame.objects[op->ref].id : 0;
        p = sim_payload(op->value, 0, 0, op->large, &ref, op->ref >= 0);
    }
    sim_world_counts(s->world)->tasks++;
    keep(s, t);
    leave_streams(s, t);
    tine_executor_done(s->executor, t->id, status, p, text, (uint64_t)t->ran + 100);
    tine_payload_unref(p);
    sim_task_free(s, t);
}

/* False: the window is used up. */
static bool fork_one(sim_worker *s, sim_task *t, const sim_call *call) {
    tine_object refs[2];
    for (int i = 0; i < call->n_args; i++) refs[i] = t->frame.objects[call->args[i]].id;
    tine_target target = {call->name, call->method,
                          call->module >= 0 ? t->frame.objects[call->module].id : 0};
    tine_payload *p =
        sim_payload(0, call->seed, call->depth, call->large, refs, (size_t)call->n_args);
    uint64_t ticket = sim_ticket(s->world);
    tine_terms some = {.name = "nested",
                       .label = sim_label(sim_world_traits(s->world), call->name, call->seed),
                       .resources =
                           sim_resources(sim_world_traits(s->world), call->name,
                                         &(sim_body){.seed = call->seed, .depth = call->depth}),
                       .priority = (int32_t)(call->seed / 8 % 5) - 2,
                       .failure_retries = (uint32_t)(call->seed / 64 % 2),
                       .stream = call->stream};
    uint32_t flags = call->flags;
    if (sim_world_traits(s->world)->deadlocks && target.object && sim_is_single(target.object))
        flags |= TINE_MODULE_SINGLE;
    bool asks = call->seed % 4 == 0 || some.label || some.resources || call->stream;
    const tine_terms *terms = asks ? &some : NULL;
    tine_error e = tine_executor_fork(s->executor, t->id, ticket, &target, flags, p, terms);
    tine_payload_unref(p);
    if (e == TINE_EAGAIN) return false;
    sim_child *c = &t->children[t->frame.forked++];
    *c = (sim_child){.ticket = ticket, .stream = sim_stream_of(call)};
    if (e) {
        c->done = c->lost = true;
        return true;
    }
    tine_idmap_put(&s->tickets, ticket, t);
    return true;
}

static bool fork_all(sim_worker *s, sim_task *t, const sim_op *op) {
    sim_frame before = t->frame;
    before.forked -= t->fork_at;
    for (; t->fork_at < op->n_calls; t->fork_at++) {
        sim_call call;
        sim_frame_call(&before, sim_world_traits(s->world), t->fork_at, &call);
        if (fork_one(s, t, &call)) continue;
        t->starved = true;
        tine_executor_stats stats;
        tine_executor_stats_get(s->executor, &stats);
        *(stats.window ? &sim_world_counts(s->world)->full
                       : &sim_world_counts(s->world)->starved) += 1;
        block(s, t);
        return false;
    }
    t->fork_at = 0;
    return true;
}

typedef enum sim_waited { WAITED, BLOCKED, LOST } sim_waited;

static sim_waited wait_one(sim_worker *s, sim_task *t) {
    sim_child *c = &t->children[t->frame.waited];
    if (!c->done) {
        bool takes = !sim_world_traits(s->world)->deadlocks || c->stream.seed % 8;
        uint64_t item = takes ? sim_stream_take(&c->stream) : 0;
        if (item) tine_executor_pull(s->executor, c->ticket, item);
        t->awaited = c->ticket;
        block(s, t);
        return BLOCKED;
    }
    if (c->lost) return LOST;
    if (c->payload && c->payload->n_refs) {
        c->answer.object = object_of(s, c->payload->refs[0]);
        c->answer.has_object = true;
    }
    sim_frame_learn(&t->frame, &c->answer);
    return WAITED;
}

static void put_one(sim_worker *s, sim_task *t, const sim_op *op) {
    tine_object ref = op->ref >= 0 ? t->frame.objects[op->ref].id : 0, id = 0;
    tine_payload *p = sim_payload(op->value, 0, 0, op->large, &ref, op->ref >= 0);
    tine_error e = tine_executor_put(s->executor, t->id, op->module ? "C" : NULL, p, &id);
    tine_payload_unref(p);
    if (e && !s->stopped) sim_fail("put failed: %d", e);
    sim_world_counts(s->world)->objects++;
    sim_frame_add(
        &t->frame,
        (sim_object){.id = id, .value = sim_put_value(&t->frame, op), .module = op->module});
}

static bool begin(sim_worker *s, sim_task *t) {
    const tine_executor_task *g = &t->given;
    /* A worker decodes the arguments before it fetches the module: once the task has begun they may
     * be dropped, if it was abandoned. */
    for (uint32_t i = 0; i < g->payload->n_refs && !t->have_args; i++)
        t->args[i] = object_of(s, g->payload->refs[i]);
    t->have_args = true;
    if (g->target.object && !t->have_self) {
        tine_payload *p = NULL;
        const char *class_name = NULL;
        if (!tine_executor_fetch(s->executor, g->target.object, &p, &class_name)) {
            t->fetching = true;
            block(s, t);
            return false;
        }
        t->have_self = true;
        t->self = (sim_object){
            .id = g->target.object, .value = sim_object_value(s, g->target.object), .module = true};
    }
    sim_body body = sim_body_of(g->payload);
    uint64_t sum = body.value;
    for (uint32_t i = 0; i < g->payload->n_refs; i++) sum += t->args[i].value;
    sim_frame_start(&t->frame, body.seed, body.depth, t->args,
                    body.adds ? 0 : (int)g->payload->n_refs, t->have_self ? &t->self : NULL);
    if (body.adds) sim_frame_sum(&t->frame, sum, body.adds);
    t->started = true;
    return true;
}

/* Some values before each step, and the rest before it returns. False: it may yield no more now. */
static bool yield_some(sim_worker *s, sim_task *t, const sim_op *op) {
    uint32_t n = t->frame.grain ? 0 : sim_items(sim_world_traits(s->world), t->frame.seed);
    if (op->kind != SIM_RETURN && n > t->frame.step) n = t->frame.step;
    while (t->yielded < n) {
        uint64_t item = t->yielded + 1;
        bool refers = item % 2 == 0 && t->frame.n_objects > 0;
        tine_payload *p =
            sim_payload(sim_item(t->frame.seed, item), 0, 0, item % 3 == 0,
                        &t->frame.objects[refers ? t->frame.n_objects - 1 : 0].id, refers);
        tine_error e = tine_executor_yield(s->executor, t->id, p);
        tine_payload_unref(p);
        if (e == TINE_EAGAIN) {
            sim_world_counts(s->world)->refused_yields++;
            t->yields = true;
            block(s, t);
            return false;
        }
        if (e && !s->stopped) sim_fail("a yield failed: %d", (int)e);
        sim_world_counts(s->world)->yielded++;
        t->yielded++;
    }
    return true;
}

/* Cancels one of its open forks, for which it has no answer then. */
static void cancel_some(sim_worker *s, sim_task *t) {
    if (!sim_world_traits(s->world)->cancels || !t->frame.forked || t->fork_at ||
        !sim_one_in(sim_random(s->world), 6))
        return;
    sim_child *c = &t->children[sim_below(sim_random(s->world), t->frame.forked)];
    if (c->done) return;
    uint64_t grace = sim_one_in(sim_random(s->world), 2) ? 0 : UINT64_MAX;
    if (!tine_executor_cancel(s->executor, c->ticket, grace)) return;
    tine_idmap_remove(&s->tickets, c->ticket);
    c->done = c->lost = true;
    sim_world_counts(s->world)->forks_cancelled++;
}

void sim_answer_ping(sim_worker *s, tine_message *pong, uint64_t *ids, size_t room) {
    if (!sim_world_traits(s->world)->quiet || s->computing || s->first ||
        tine_executor_has_ready(s->executor) || tine_executor_reaches(s->executor)) {
        pong->received = pong->sent = 0;
        return;
    }
    pong->ids = ids;
    for (const sim_task *t = s->all; t && pong->n_ids < room; t = t->all_next) {
        bool vague = t->awaited % 16 == 1; /* as one that waits for what follows from a fork */
        if (t->awaited || t->starved) ids[pong->n_ids++] = vague ? 0 : t->awaited;
    }
    sim_world_counts(s->world)->quiet++;
}

bool sim_task_step(sim_worker *s, sim_task *t) {
    if (t->cancelled && !t->fetching) {
        sim_task_finish(s, t, TINE_ECANCELED, NULL, "it was cancelled");
        return false;
    }
    if (!t->started && !begin(s, t)) return false;
    cancel_some(s, t);
    sim_op op;
    /* a FORK step that ran out of credit continues where it stopped */
    sim_frame before = t->frame;
    before.forked -= t->fork_at;
    sim_frame_next(&before, sim_world_traits(s->world), &op);
    if (!yield_some(s, t, &op)) return false;
    sim_waited waited = WAITED;
    switch (op.kind) {
    case SIM_COMPUTE:
        t->ran += op.ns;
        t->frame.step++;
        s->computing = t;
        sim_wake_at(s->world, s, sim_now(s->world) + op.ns);
        return false;
    case SIM_FORK:
        if (!fork_all(s, t, &op)) return false;
        break;
    case SIM_WAIT: waited = wait_one(s, t); break;
    case SIM_WAIT_ALL:
        while (t->frame.waited < t->frame.forked && waited == WAITED) waited = wait_one(s, t);
        break;
    case SIM_PUT:
        put_one(s, t, &op);
        if (s->stopped) waited = LOST;
        break;
    case SIM_FAIL:
        sim_task_finish(s, t, TINE_EFAILED, NULL, "the program fails here");
        return false;
    case SIM_RETURN: sim_task_finish(s, t, TINE_OK, &op, NULL); return false;
    }
    if (waited == LOST) sim_task_finish(s, t, TINE_ELOST, NULL, "a fork is lost");
    if (waited == WAITED) t->frame.step++;
    return waited == WAITED;
}
