/* What must hold: where tasks are sent, what observers see, and that nothing is left at the end. */
#include <string.h>

#include "runtime/coordinator/snapshot.h"
#include "runtime/wire/wire.h"
#include "world.h"

/* A worker that joins later runs nothing else before. */
static void check_initialised(sim_world *w, seat *s, const tine_message *m) {
    bool is = w->init_seed && sim_body_of(m->payload).seed == w->init_seed;
    w->counts->initialised += is;
    if (is && s->init_task) sim_fail("a worker runs the initialiser twice");
    if (is)
        s->init_task = m->task;
    else if (s->fresh && !s->foreign)
        sim_fail("a worker runs a task before the initialiser");
}

/* It is sent where it may run. */
static void check_place(sim_world *w, size_t index, const tine_message *m) {
    const char *label = sim_label(&w->traits, m->target.name, sim_body_of(m->payload).seed);
    w->counts->labelled += label != NULL;
    if (label && !w->seats[index].labelled) sim_fail("a task is sent where its label is not");
    sim_body body = sim_body_of(m->payload);
    const char *takes = sim_resources(&w->traits, m->target.name, &body);
    w->counts->taking += takes != NULL;
    if (takes && !w->seats[index].labelled) sim_fail("a task is sent where no slots are");
    for (size_t i = 0; i < w->n_roots; i++) {
        if (w->roots[i].task != m->task) continue;
        w->counts->taking_of += w->roots[i].takes && w->roots[i].of_results;
        w->counts->holding += w->roots[i].holds;
        if (w->roots[i].holds && !w->seats[index].labelled)
            sim_fail("root %zu is sent where no slots are", i);
        if (!w->roots[i].place) continue;
        w->counts->pinned++;
        if (w->roots[i].place != m->epoch) sim_fail("root %zu is sent to another worker", i);
    }
}

static bool has_instance(const sim_world *w, uint32_t epoch) {
    tine_worker_info info;
    for (size_t i = 0; i < w->n_seats; i++)
        if (tine_scheduler_worker(w->scheduler, i + 1, &info) && info.epoch == epoch)
            return !info.ending;
    return false;
}

/* Calls of a module with one instance come in the order of their forks, one at a time, to the same
 * worker until that is lost. */
static void check_turn(sim_world *w, const tine_message *m) {
    size_t i = 0, j = 0;
    while (i < w->n_roots && (w->roots[i].task != m->task || !w->roots[i].single)) i++;
    if (i == w->n_roots) return;
    while (w->handles[j].object.id != w->roots[i].single) j++;
    handle *h = &w->handles[j];
    tine_worker_info info;
    w->counts->turns++;
    if (i + 1 < h->called) sim_fail("root %zu runs after root %zu", i, h->called - 1);
    if (i + 1 > h->called && h->called &&
        tine_scheduler_task_worker(w->scheduler, w->roots[h->called - 1].task, &info))
        sim_fail("root %zu runs while root %zu does", i, h->called - 1);
    if (h->epoch && h->epoch != m->epoch) {
        if (has_instance(w, h->epoch)) sim_fail("root %zu runs elsewhere", i);
        w->counts->renewed++;
    }
    h->called = i + 1;
    h->epoch = m->epoch;
}

static void count_task(sim_world *w, const tine_message *m) {
    const char *text;
    for (uint32_t i = 0; i < m->payload->n_refs; i++) {
        if (tine_scheduler_object_payload(w->scheduler, m->payload->refs[i], NULL)) continue;
        w->counts->ahead +=
            tine_scheduler_object_error(w->scheduler, m->payload->refs[i], &text) == TINE_EAGAIN;
        break;
    }
    for (size_t i = 0; i < w->n_roots; i++)
        w->counts->again += w->roots[i].result && w->roots[i].result == m->object;
}

void sim_begin(sim_world *w, uint64_t task, const tine_payload *call) {
    uint64_t seed = sim_body_of(call).seed;
    if (sim_repeatable(&w->traits, seed) || seed == w->init_seed) return;
    if (tine_idmap_get(&w->begun, task))
        sim_fail("task %llx, which is not repeatable, begins twice", (unsigned long long)task);
    tine_idmap_put(&w->begun, task, w);
}

void sim_check_task(sim_world *w, size_t index, const tine_message *m) {
    tine_worker_info info;
    if (tine_scheduler_worker(w->scheduler, index + 1, &info) && info.ending)
        sim_fail("a task is sent to a worker that ends");
    if (w->seats[index].held) sim_fail("a task is sent to a worker that gets none");
    if (w->seats[index].silent) sim_fail("a task is sent to a worker that is silent");
    count_task(w, m);
    check_place(w, index, m);
    check_turn(w, m);
    check_initialised(w, &w->seats[index], m);
}

void sim_check_deadlock(sim_world *w, const char *text) {
    sim_trace(w, "a deadlock: %s", text);
    if (!w->stalls) sim_fail("a deadlock is found in a program that ends: %s", text);
    if (!text || !strstr(text, "can never be done")) sim_fail("a deadlock without a sentence");
    w->deadlocked = true;
    w->counts->deadlocks++;
}

void sim_check_end(sim_world *w) {
    tine_scheduler_check(w->scheduler);
    for (size_t i = 0; i < w->n_roots; i++)
        if (!w->roots[i].done) sim_fail("stalled: root %zu never completed", i);
    if (w->init_ticket) sim_fail("stalled: the initialiser never completed");
    for (size_t i = 0; i < w->n_roots; i++) {
        sim_check_taken(w, i);
        if (w->roots[i].wanted && w->roots[i].result && !w->stopped)
            sim_fail("stalled: the result of root %zu was never fetched", i);
        if (w->roots[i].result) tine_scheduler_object_release(w->scheduler, w->roots[i].result);
    }
    for (size_t i = 0; i < w->n_handles; i++) sim_release(w, i);
    tine_scheduler_stats stats = *tine_scheduler_stats_get(w->scheduler);
    w->counts->stale += stats.stale;
    w->counts->retried += stats.retried;
    if (stats.waiting || stats.ready || stats.running || stats.suspended || stats.ready_bytes ||
        stats.objects)
        sim_fail("left over in the scheduler: %llu ready, %llu running, %llu suspended, %llu "
                 "bytes, %llu objects",
                 (unsigned long long)stats.ready, (unsigned long long)stats.running,
                 (unsigned long long)stats.suspended, (unsigned long long)stats.ready_bytes,
                 (unsigned long long)stats.objects);
    for (size_t i = 0; i < w->n_seats; i++)
        if (w->seats[i].worker) sim_worker_check_idle(w->seats[i].worker, w->window);
}

/* What an observer is sent can be read, and fits what is known here. */
void sim_observe(sim_world *w) {
    tine_snapshot_place place = {.endpoint = "sim", .host = "sim", .now = w->now};
    tine_payload *p = NULL;
    tine_value *v = NULL;
    if (tine_snapshot_encode(w->scheduler, &place, &p) || tine_payload_value(p, NULL, &v))
        sim_fail("no snapshot: %s", tine_error_message());
    const tine_scheduler_stats *s = tine_scheduler_stats_get(w->scheduler);
    const tine_value *workers = tine_get(v, "workers");
    int64_t tasks = 0;
    if (tine_length(workers) != s->workers)
        sim_fail("%zu of %u workers are in the snapshot", tine_length(workers), s->workers);
    for (size_t i = 0; i < s->workers; i++) {
        const tine_value *row = tine_at(workers, i);
        if (tine_as_float(tine_get(row, "age")) > tine_as_float(tine_get(row, "seconds")))
            sim_fail("a task is older than its worker");
        tasks += tine_as_int(tine_get(row, "running"));
    }
    if (tasks > (int64_t)(s->running + s->waiting + s->suspended))
        sim_fail("too many tasks are shown");
    w->counts->snapshots++;
    tine_value_unref(v);
    tine_payload_unref(p);
}
