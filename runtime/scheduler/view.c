/* What error sentences, the trace and observers show of the scheduler. Nothing here affects a
 * decision. */
#include "runtime/scheduler/internal.h"

#include <string.h>

#include "transport/base/text.h"

void tine_scheduler_time(tine_scheduler *s, int64_t now) { s->now = now; }

/* The oldest task that does not wait. One that waited has resumed, as far as is known here, once
 * its forks have ended. */
static const sched_task *sched_worker_current(const sched_worker *w) {
    const sched_task *t, *resumed = NULL;
    TAILQ_FOREACH (t, &w->running, run_link) {
        if (t->state != SCHED_RUNNING || t->ahead) continue;
        if (!t->suspended) return t;
        if (!resumed && LIST_EMPTY(&t->children)) resumed = t;
    }
    return resumed;
}

static void sched_worker_describe(const sched_worker *w, tine_worker_info *out) {
    const sched_task *t = sched_worker_current(w);
    *out = (tine_worker_info){.peer = w->peer,
                              .epoch = w->epoch,
                              .pid = w->pid,
                              .rank = w->rank,
                              .host = w->host,
                              .token = w->token,
                              .kernel = w->kernel,
                              .labels = w->group->labels,
                              .n_labels = w->group->n_labels,
                              .slots = w->group->slots_text,
                              .tasks_done = w->tasks_done,
                              .running = w->outstanding,
                              .suspended = w->suspended,
                              .ending = w->closed & SCHED_CLOSED_ENDING,
                              .task = t ? tine_scheduler_task_name(t) : NULL,
                              .task_id = t ? t->id : 0,
                              .since = !t                       ? 0
                                       : t->started > w->turned ? t->started
                                                                : w->turned,
                              .joined = w->joined,
                              .bytes_in = w->bytes_in,
                              .bytes_out = w->bytes_out,
                              .memory = w->memory};
}

size_t tine_scheduler_workers(const tine_scheduler *s, tine_worker_info *out, size_t room) {
    size_t n = 0;
    const sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link) {
        if (n < room) sched_worker_describe(w, &out[n]);
        n++;
    }
    return n;
}

bool tine_scheduler_task_worker(const tine_scheduler *s, uint64_t task, tine_worker_info *out) {
    const sched_task *t = tine_scheduler_task_find(s, task);
    if (!t || t->state != SCHED_RUNNING) return false;
    const sched_worker *w = t->worker; /* what it runs would be looked for among all its tasks */
    *out = (tine_worker_info){.peer = w->peer, .pid = w->pid, .host = w->host, .token = w->token};
    return true;
}

bool tine_scheduler_worker(const tine_scheduler *s, tine_peer peer, tine_worker_info *out) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    if (!p || !p->worker) return false;
    sched_worker_describe(p->worker, out);
    return true;
}

static const char *sched_task_state(const sched_task *t) {
    if (t->abandoned) return "cancelled";
    if (t->state == SCHED_WAITING || t->state == SCHED_TURN || t->ahead) return "waiting";
    return !t->worker ? "ready" : t->suspended ? "suspended" : "running";
}

size_t tine_scheduler_tasks(const tine_scheduler *s, tine_task_info *out, size_t room) {
    size_t n = 0;
    for (size_t i = 0; i < tine_scheduler_task_slots(s); i++) {
        const sched_task *t = tine_scheduler_task_at(s, i);
        if (t->state == SCHED_FREE || t->state == SCHED_KEPT || n++ >= room) continue;
        out[n - 1] = (tine_task_info){.id = t->id,
                                      .parent = t->parent ? t->parent->id : 0,
                                      .worker = t->worker ? t->worker->epoch : 0,
                                      .attempt = t->attempt,
                                      .state = sched_task_state(t),
                                      .name = tine_scheduler_task_name(t),
                                      .forked = t->forked};
    }
    return n;
}

size_t tine_scheduler_functions(const tine_scheduler *s, tine_function_info *out, size_t room) {
    size_t n = 0;
    const sched_callable *c;
    TAILQ_FOREACH (c, &s->all, all_link) {
        if (n++ >= room) continue;
        out[n - 1] = (tine_function_info){.name = c->display,
                                          .label = c->label ? c->label : "",
                                          .ready = c->ready.n,
                                          .running = c->running,
                                          .done = c->done,
                                          .failed = c->failed,
                                          .run_ns = c->run_ns,
                                          .mean_ns = c->mean_ns};
    }
    return n;
}

/* The first line, cut between two characters. */
static void sched_failure_text(char *to, size_t size, const char *from) {
    size_t n = strcspn(from, "\n"), whole = 0, next;
    if (n >= size) n = size - 1;
    while (whole < n && (next = tine_utf8_sequence(from + whole, n - whole))) whole += next;
    memcpy(to, from, whole);
    to[whole] = 0;
}

void tine_scheduler_failed(tine_scheduler *s, const char *name, tine_error status,
                           const char *text) {
    tine_failure_info *f = &s->failures[s->n_failures++ % SCHED_FAILURES];
    f->at = s->now;
    f->status = status;
    sched_failure_text(f->name, sizeof f->name, name);
    sched_failure_text(f->text, sizeof f->text, text ? text : "");
}

size_t tine_scheduler_failures(const tine_scheduler *s, tine_failure_info *out, size_t room) {
    size_t n = s->n_failures < SCHED_FAILURES ? s->n_failures : SCHED_FAILURES;
    for (size_t i = 0; i < n && i < room; i++)
        out[i] = s->failures[(s->n_failures - 1 - i) % SCHED_FAILURES];
    return n;
}
