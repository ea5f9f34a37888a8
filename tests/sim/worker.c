/* A simulated worker process: an executor and the programs of its tasks; one of them computes at a
 * time. The executor's contract is checked here: objects that arguments and results reference are
 * present, each fork completes once, nothing is left over. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { SIM_MAX_KEPT = 4 };

typedef struct sim_task sim_task;

typedef struct sim_child {
    uint64_t ticket;
    bool done;
    sim_answer answer;
    bool lost; /* it failed for a reason outside the program */
    tine_payload *payload;
    sim_stream stream;
} sim_child;

struct sim_task {
    uint64_t id;
    sim_frame frame;
    bool started, queued, blocked, starved, fetching, wait_all, have_self, cancelled;
    bool yields; /* it was refused once */
    sim_object self, args[2];
    bool have_args;
    uint32_t fork_at; /* calls of the current FORK step made so far */
    uint32_t yielded;
    int64_t ran;
    tine_executor_task given;
    sim_child children[SIM_MAX_CHILDREN];
    sim_task *next, *all_prev, *all_next;
};

struct sim_worker {
    tine_run_log log;
    sim_world *world;
    size_t index;
    tine_executor *executor;
    sim_task *first, *last; /* runnable */
    sim_task *all;
    sim_task *computing;
    tine_idmap tickets; /* to the task */
    bool stopped, killed;
    /* held beyond the tasks that gave them: must stay, with the same value */
    sim_object kept[SIM_MAX_KEPT];
    size_t n_kept;
};

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

/* ---- objects ---- */

static uint64_t object_value(sim_worker *s, tine_object id) {
    tine_payload *p = NULL;
    const char *class_name = NULL;
    if (!tine_executor_fetch(s->executor, id, &p, &class_name))
        sim_fail("worker %zu: object %#llx is missing", s->index, (unsigned long long)id);
    if (!class_name != !tine_object_is_module(id))
        sim_fail("object %#llx has the wrong class", (unsigned long long)id);
    uint64_t value = sim_body_of(p).value;
    for (uint32_t i = 0; i < p->n_refs; i++)
        if (!tine_object_is_module(p->refs[i])) value = sim_mix(value, object_value(s, p->refs[i]));
    return value;
}

static sim_object object_of(sim_worker *s, tine_object id) {
    bool module = tine_object_is_module(id);
    return (sim_object){.id = id, .module = module, .value = module ? 0 : object_value(s, id)};
}

/* ---- tasks ---- */

static void make_runnable(sim_worker *s, sim_task *t) {
    if (t->queued) return;
    t->queued = true;
    t->next = NULL;
    *(s->last ? &s->last->next : &s->first) = t;
    s->last = t;
}

static sim_task ended; /* stands for tasks that ended without waiting for all their forks */

static void task_free(sim_worker *s, sim_task *t) {
    for (uint32_t i = 0; i < t->frame.forked; i++) {
        if (t->children[i].done) continue;
        tine_idmap_remove(&s->tickets, t->children[i].ticket);
        tine_idmap_put(&s->tickets, t->children[i].ticket, &ended);
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

static void release_oldest(sim_worker *s) {
    sim_object oldest = s->kept[0];
    if (!s->stopped && !oldest.module && object_value(s, oldest.id) != oldest.value)
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
    if (s->n_kept == SIM_MAX_KEPT) release_oldest(s);
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

static void finish(sim_worker *s, sim_task *t, tine_error status, const sim_op *op,
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
    task_free(s, t);
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
                       .priority = (int32_t)(call->seed / 8 % 5) - 2,
                       .failure_retries = (uint32_t)(call->seed / 64 % 2),
                       .stream = call->stream};
    const tine_terms *terms = call->seed % 4 == 0 || some.label || call->stream ? &some : NULL;
    tine_error e = tine_executor_fork(s->executor, t->id, ticket, &target, call->flags, p, terms);
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
        sim_world_counts(s->world)->starved++;
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
        uint64_t item = sim_stream_take(&c->stream);
        if (item) tine_executor_pull(s->executor, c->ticket, item);
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
            .id = g->target.object, .value = object_value(s, g->target.object), .module = true};
    }
    sim_body body = sim_body_of(g->payload);
    sim_frame_start(&t->frame, body.seed, body.depth, t->args, (int)g->payload->n_refs,
                    t->have_self ? &t->self : NULL);
    t->started = true;
    return true;
}

/* Some values before each step, and the rest before it returns. False: it may yield no more now. */
static bool yield_some(sim_worker *s, sim_task *t, const sim_op *op) {
    uint32_t n = sim_items(sim_world_traits(s->world), t->frame.seed);
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

/* One step; false: the task does not continue now. */
static bool step(sim_worker *s, sim_task *t) {
    if (t->cancelled && !t->fetching) {
        finish(s, t, TINE_ECANCELED, NULL, "it was cancelled");
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
    case SIM_FAIL: finish(s, t, TINE_EFAILED, NULL, "the program fails here"); return false;
    case SIM_RETURN: finish(s, t, TINE_OK, &op, NULL); return false;
    }
    if (waited == LOST) finish(s, t, TINE_ELOST, NULL, "a fork is lost");
    if (waited == WAITED) t->frame.step++;
    return waited == WAITED;
}

/* ---- actions ---- */

static void unblock(sim_worker *s, sim_task *t) {
    if (!t->blocked) return;
    t->blocked = false;
    make_runnable(s, t);
}

static void on_yield(sim_worker *s, const tine_executor_action *a) {
    sim_task *t = tine_idmap_get(&s->tickets, a->ticket);
    if (!t) sim_fail("worker %zu: a value of a stream that has ended", s->index);
    for (uint32_t i = 0; a->payload && i < a->payload->n_refs; i++)
        if (!tine_object_is_module(a->payload->refs[i])) object_value(s, a->payload->refs[i]);
    sim_child *c = t->children;
    while (t != &ended && c->ticket != a->ticket) c++;
    if (t != &ended) sim_stream_arrived(&c->stream, a->item, a->payload);
    sim_world_counts(s->world)->arrived++;
    tine_payload_unref(a->payload);
    if (t != &ended && !t->starved && !t->fetching) unblock(s, t);
}

static void on_pull(sim_worker *s, uint64_t task) {
    sim_task *t = s->all;
    while (t && t->id != task) t = t->all_next;
    if (!t) sim_fail("worker %zu: a task that has ended may yield again", s->index);
    if (!t->starved && !t->fetching) unblock(s, t);
}

/* A failure that its program does not have. EINVAL and EUNKNOWN are those of a root that could not
 * run where it should, which a task depends on. */
static bool is_outside(const tine_executor_action *a) {
    return a->status == TINE_ELOST || a->status == TINE_ECANCELED || a->status == TINE_ETIMEDOUT ||
           a->status == TINE_EINVAL ||
           (a->status == TINE_EUNKNOWN && strstr(a->text, "cannot run where its fork says"));
}

static void on_complete(sim_worker *s, const tine_executor_action *a) {
    sim_task *t = tine_idmap_remove(&s->tickets, a->ticket);
    if (!t)
        sim_fail("worker %zu: fork %llu completed twice", s->index, (unsigned long long)a->ticket);
    if (t == &ended) {
        tine_payload_unref(a->payload);
        return;
    }
    sim_child *c = t->children;
    while (c->ticket != a->ticket) c++;
    if (c->done)
        sim_fail("worker %zu: fork %llu completed twice", s->index, (unsigned long long)a->ticket);
    c->done = true;
    c->payload = a->payload;
    c->answer.status = a->status;
    sim_stream_ended(&c->stream, sim_world_traits(s->world), a->status);
    sim_world_counts(s->world)->streams += c->stream.window > 0;
    c->lost = is_outside(a);
    if (!a->status)
        c->answer.value = sim_body_of(a->payload).value;
    else if (!a->text || !*a->text)
        sim_fail("an error without a text");
    for (uint32_t i = 0; a->payload && i < a->payload->n_refs; i++)
        if (!tine_object_is_module(a->payload->refs[i])) object_value(s, a->payload->refs[i]);
    if (!t->starved && !t->fetching) unblock(s, t);
}

static void on_object(sim_worker *s, const tine_executor_action *a) {
    for (sim_task *t = s->all, *next; t; t = next) {
        next = t->all_next;
        if (!t->fetching || t->given.target.object != a->object) continue;
        t->fetching = false;
        if (a->status)
            finish(s, t, a->status, NULL, a->text);
        else
            unblock(s, t);
    }
}

static void on_credit(sim_worker *s) {
    for (sim_task *t = s->all; t; t = t->all_next) {
        if (!t->starved) continue;
        t->starved = false;
        unblock(s, t);
    }
}

/* As a task whose waits fail: it ends at its next step. One that fetches goes on until then. */
static void on_cancel(sim_worker *s, uint64_t task) {
    sim_task *t = s->all;
    while (t && t->id != task) t = t->all_next;
    if (!t) sim_fail("worker %zu: a task that has ended is cancelled", s->index);
    sim_world_counts(s->world)->told++;
    t->cancelled = true;
    t->starved = false;
    if (!t->fetching) unblock(s, t);
}

static void on_stop(sim_worker *s) {
    s->stopped = true;
    on_credit(s);
    for (sim_task *t = s->all; t; t = t->all_next)
        if (t->yields && !t->fetching) unblock(s, t);
}

static bool drain(sim_worker *s) {
    tine_executor_action a;
    bool any = false;
    while (!s->killed && tine_executor_next(s->executor, &a)) {
        any = true;
        switch (a.kind) {
        case TINE_EXECUTOR_SEND: s->killed = !sim_to_scheduler(s->world, s, &a.message); break;
        case TINE_EXECUTOR_COMPLETE: on_complete(s, &a); break;
        case TINE_EXECUTOR_YIELD: on_yield(s, &a); break;
        case TINE_EXECUTOR_PULL: on_pull(s, a.ticket); break;
        case TINE_EXECUTOR_OBJECT: on_object(s, &a); break;
        case TINE_EXECUTOR_CREDIT: on_credit(s); break;
        case TINE_EXECUTOR_CANCEL: on_cancel(s, a.ticket); break;
        case TINE_EXECUTOR_STOP:
            if (a.status && !strstr(a.text, "shutting down"))
                sim_fail("worker %zu got an unexpected STOP: %s", s->index, a.text);
            on_stop(s);
            break;
        case TINE_EXECUTOR_FORGET:
        case TINE_EXECUTOR_TRACE: break;
        }
    }
    return any;
}

static sim_task *next_task(sim_worker *s) {
    sim_task *t = s->first;
    if (t) {
        s->first = t->next;
        if (!s->first) s->last = NULL;
        t->queued = false;
        return t;
    }
    tine_executor_task given;
    if (!tine_executor_start(s->executor, &given)) return NULL;
    t = calloc(1, sizeof *t);
    t->id = given.task;
    if (given.known == t->id)
        tine_run_log_begin(&s->log, t->id);
    else
        sim_world_counts(s->world)->local++;
    t->given = given;
    t->all_next = s->all;
    if (s->all) s->all->all_prev = t;
    s->all = t;
    return t;
}

void sim_worker_pump(sim_worker *s) {
    while (!s->killed) {
        drain(s);
        if (s->computing || s->killed) return;
        sim_task *t = next_task(s);
        if (t) {
            tine_run_log_run(&s->log, t->given.known);
            while (step(s, t)) {
            }
            if (!s->computing) tine_run_log_run(&s->log, 0);
            continue;
        }
        while (!s->all && s->n_kept > 0) release_oldest(s);
        tine_executor_flush(s->executor);
        if (!drain(s)) return;
    }
}

void sim_worker_message(sim_worker *s, const tine_message *m) {
    tine_executor_message(s->executor, m, sim_now(s->world));
    sim_worker_pump(s);
}

void sim_worker_resume(sim_worker *s) {
    sim_task *t = s->computing;
    s->computing = NULL;
    make_runnable(s, t);
    sim_worker_pump(s);
}

/* ---- life ---- */

sim_worker *sim_worker_new(sim_world *w, size_t index, uint32_t pid, bool foreign, bool labelled,
                           size_t stays) {
    static const char *const functions[] = {"f3", "f0", "f1"}, *const other[] = {"f2"},
                             *const classes[] = {"C"}, *const labels[] = {"k", "l"};
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .pid = pid,
                        .rank = -1,
                        .host = "sim",
                        .functions = foreign ? other : functions,
                        .classes = classes,
                        .n_functions = foreign ? 1 : 3,
                        .labels = labels,
                        .n_classes = foreign ? 0 : 1,
                        .n_labels = labelled ? 2 : 0};
    sim_worker *s = calloc(1, sizeof *s);
    s->world = w;
    s->index = index;
    if (tine_executor_new(&s->executor, &hello, stays)) sim_fail("no executor");
    return s;
}

void sim_worker_free(sim_worker *s) {
    if (!s) return;
    for (const sim_task *t = s->all; t; t = t->all_next)
        sim_world_counts(s->world)->lost_local += t->given.known != t->id;
    while (s->all) task_free(s, s->all);
    tine_idmap_fini(&s->tickets);
    tine_executor_free(s->executor);
    free(s);
}

size_t sim_worker_index(const sim_worker *s) { return s->index; }
const tine_run_log *sim_worker_log(const sim_worker *s) { return &s->log; }
uint32_t sim_worker_epoch(const sim_worker *s) { return tine_executor_epoch(s->executor); }

void sim_worker_check_idle(const sim_worker *s, uint32_t window) {
    tine_executor_stats stats;
    tine_executor_stats_get(s->executor, &stats);
    if (s->all || s->computing) sim_fail("worker %zu: a task never ended", s->index);
    if (s->stopped) return;
    if (stats.tasks || stats.ready || stats.forks || stats.objects)
        sim_fail("worker %zu keeps %zu tasks (%zu ready), %zu forks, %zu objects", s->index,
                 stats.tasks, stats.ready, stats.forks, stats.objects);
    uint32_t least = window - (window >= 4 ? window / 4 - 1 : 0);
    if (tine_executor_epoch(s->executor) && (stats.window < least || stats.window > window))
        sim_fail("worker %zu has credit for %u forks of %u", s->index, stats.window, window);
}
