/* A simulated worker process: an executor and the programs of its tasks; one of them computes at a
 * time. The executor's contract is checked here: objects that arguments and results reference are
 * present, each fork completes once, nothing is left over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

/* ---- actions ---- */

static void unblock(sim_worker *s, sim_task *t) {
    if (!t->blocked) return;
    t->blocked = false;
    t->awaited = 0;
    sim_task_runnable(s, t);
}

static void on_yield(sim_worker *s, const tine_executor_action *a) {
    sim_task *t = tine_idmap_get(&s->tickets, a->ticket);
    if (!t) sim_fail("worker %zu: a value of a stream that has ended", s->index);
    for (uint32_t i = 0; a->payload && i < a->payload->n_refs; i++)
        if (!tine_object_is_module(a->payload->refs[i])) sim_object_value(s, a->payload->refs[i]);
    sim_child *c = t->children;
    while (t != &sim_ended && c->ticket != a->ticket) c++;
    if (t != &sim_ended) sim_stream_arrived(&c->stream, a->item, a->payload);
    sim_world_counts(s->world)->arrived++;
    tine_payload_unref(a->payload);
    if (t != &sim_ended && !t->starved && !t->fetching) unblock(s, t);
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
           a->status == TINE_EDEADLK || a->status == TINE_EINVAL ||
           (a->status == TINE_EUNKNOWN && strstr(a->text, "cannot run where its fork says"));
}

static void on_complete(sim_worker *s, const tine_executor_action *a) {
    sim_task *t = tine_idmap_remove(&s->tickets, a->ticket);
    if (!t)
        sim_fail("worker %zu: fork %llu completed twice", s->index, (unsigned long long)a->ticket);
    if (t == &sim_ended) {
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
        if (!tine_object_is_module(a->payload->refs[i])) sim_object_value(s, a->payload->refs[i]);
    if (!t->starved && !t->fetching) unblock(s, t);
}

static void on_object(sim_worker *s, const tine_executor_action *a) {
    for (sim_task *t = s->all, *next; t; t = next) {
        next = t->all_next;
        if (!t->fetching || t->given.target.object != a->object) continue;
        t->fetching = false;
        if (a->status)
            sim_task_finish(s, t, a->status, NULL, a->text);
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

/* Some only fetch, and some know nothing of it. */
static void on_reachable(sim_worker *s) {
    sim_rng *r = sim_random(s->world);
    char url[40] = "";
    if (sim_one_in(r, 5)) return;
    if (!sim_one_in(r, 5)) snprintf(url, sizeof url, "tcp://127.0.0.1:%zu", s->index + 1);
    tine_executor_reachable(s->executor, url, s->secret = sim_next(r));
}

tine_payload *sim_worker_kept(const sim_worker *s, tine_object id, uint64_t secret) {
    if (secret != s->secret) sim_fail("worker %zu is asked with another secret", s->index);
    return tine_idmap_get(&s->shared, id);
}

static void on_keep(sim_worker *s, const tine_executor_action *a) {
    if (tine_idmap_get(&s->shared, a->object)) sim_fail("a result is kept twice");
    tine_idmap_put(&s->shared, a->object, tine_payload_ref(a->payload));
}

static void on_pass(sim_worker *s, const tine_executor_action *a) {
    tine_message m = {.type = TINE_MSG_OBJECT, .object = a->object, .payload = a->payload};
    if (!sim_pass(s->world, s, a->ticket, &m))
        tine_executor_not_passed(s->executor, a->object, a->ticket);
}

static bool drain(sim_worker *s) {
    tine_executor_action a;
    uint64_t ids[256];
    bool any = false;
    while (!s->killed && tine_executor_next(s->executor, &a)) {
        any = true;
        switch (a.kind) {
        case TINE_EXECUTOR_SEND:
            if (a.message.type == TINE_MSG_PONG) sim_answer_ping(s, &a.message, ids, 256);
            s->killed = !sim_to_scheduler(s->world, s, &a.message);
            break;
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
        case TINE_EXECUTOR_REACHABLE: on_reachable(s); break;
        case TINE_EXECUTOR_KEEP: on_keep(s, &a); break;
        case TINE_EXECUTOR_REACH: sim_reach(s->world, s, a.object, a.ticket, a.text); break;
        case TINE_EXECUTOR_PASS: on_pass(s, &a); break;
        case TINE_EXECUTOR_FORGET:
            tine_payload_unref(tine_idmap_remove(&s->shared, a.object));
            break;
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
    if (given.known == t->id) {
        tine_run_log_begin(&s->log, t->id);
        sim_begin(s->world, t->id, given.payload);
    } else {
        sim_world_counts(s->world)->local++;
    }
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
            while (sim_task_step(s, t)) {
            }
            if (!s->computing) tine_run_log_run(&s->log, 0);
            continue;
        }
        while (!s->all && s->n_kept > 0) sim_release_oldest(s);
        tine_executor_flush(s->executor);
        if (!drain(s)) return;
    }
}

/* Results stay as well where the scheduler has not asked for it: a worker may keep any. Not where
 * messages are counted. */
static void keep_anyway(sim_worker *s, const tine_message *m) {
    if (sim_world_traits(s->world)->quiet) return;
    tine_message taken = {.type = TINE_MSG_REACH, .object = m->object, .seq = m->task};
    if (m->type == TINE_MSG_TASK && m->object && sim_one_in(sim_random(s->world), 2))
        tine_executor_message(s->executor, &taken, sim_now(s->world));
}

/* Likewise results are passed to others that may wait for them. */
static void pass_anyway(sim_worker *s, const tine_message *m) {
    if (sim_world_traits(s->world)->quiet || m->type != TINE_MSG_TASK) return;
    for (uint64_t number = 1; number <= sim_seats(s->world); number++) {
        const uint64_t pair[] = {m->task, number};
        tine_message pass = {.type = TINE_MSG_PASS, .ids = pair, .n_ids = 2};
        if (number != s->index + 1 && sim_one_in(sim_random(s->world), 12))
            tine_executor_message(s->executor, &pass, sim_now(s->world));
    }
}

void sim_worker_message(sim_worker *s, const tine_message *m) {
    keep_anyway(s, m);
    tine_executor_message(s->executor, m, sim_now(s->world));
    pass_anyway(s, m);
    sim_worker_pump(s);
}

void sim_worker_reached(sim_worker *s, const tine_message *m) {
    tine_executor_reached(s->executor, m->object, m->payload, m->text, m->seq);
    sim_worker_pump(s);
}

bool sim_worker_passed(sim_worker *s, const tine_message *m) {
    bool awaited = tine_executor_passed(s->executor, m);
    sim_worker_pump(s);
    return awaited;
}

void sim_worker_parted(sim_worker *s, uint64_t number) {
    tine_executor_not_passed(s->executor, 0, number);
    sim_worker_pump(s);
}

void sim_worker_leave(sim_worker *s) {
    tine_executor_leave(s->executor);
    sim_worker_pump(s);
}

void sim_worker_resume(sim_worker *s) {
    sim_task *t = s->computing;
    s->computing = NULL;
    sim_task_runnable(s, t);
    sim_worker_pump(s);
}

/* ---- life ---- */

sim_worker *sim_worker_new(sim_world *w, size_t index, uint32_t pid, bool foreign, bool labelled,
                           size_t stays, size_t queued) {
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
                        .n_labels = labelled ? 2 : 0,
                        .slots = labelled ? "r=2,q=3,p=1" : ""};
    sim_worker *s = calloc(1, sizeof *s);
    s->world = w;
    s->index = index;
    if (tine_executor_new(&s->executor, &hello, stays, queued)) sim_fail("no executor");
    return s;
}

void sim_worker_free(sim_worker *s) {
    if (!s) return;
    for (const sim_task *t = s->all; t; t = t->all_next)
        sim_world_counts(s->world)->lost_local += t->given.known != t->id;
    while (s->all) sim_task_free(s, s->all);
    tine_idmap_fini(&s->tickets);
    for (size_t i = 0; i < s->shared.room; i++)
        if (s->shared.entries[i].id) tine_payload_unref(s->shared.entries[i].item);
    tine_idmap_fini(&s->shared);
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
    if (s->shared.n) sim_fail("worker %zu shares %zu results", s->index, s->shared.n);
    if (stats.tasks || stats.ready || stats.forks || stats.objects)
        sim_fail("worker %zu keeps %zu tasks (%zu ready), %zu forks, %zu objects", s->index,
                 stats.tasks, stats.ready, stats.forks, stats.objects);
    uint32_t least = window - (window >= 4 ? window / 4 - 1 : 0);
    if (tine_executor_epoch(s->executor) && (stats.window < least || stats.window > window))
        sim_fail("worker %zu has credit for %u forks of %u", s->index, stats.window, window);
}
