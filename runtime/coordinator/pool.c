/* What the program does with all workers together: lists them and their tasks, ends one, and waits
 * until nothing is pending. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/api/held.h"
#include "runtime/coordinator/internal.h"
#include "transport/base/clock.h"
#include "transport/base/process.h"

/* ---- workers ---- */

/* The memory of a process of this host is read at once. Other workers are asked for theirs, and
 * their last answer is given. */
static uint64_t worker_memory(tine_coordinator *c, const tine_worker_info *info) {
    if (info->token[0] || info->pid == (uint32_t)getpid())
        return tine_process_memory_of((int)info->pid);
    tine_coordinator_memory_want(c, tine_clock_coarse_ns());
    return info->memory;
}

static void worker_status(tine_coordinator *c, const tine_worker_info *info, int64_t now,
                          tine_worker_status *out) {
    *out = (tine_worker_status){.id = info->epoch,
                                .pid = (int)info->pid,
                                .rank = info->rank,
                                .running = (int)info->running,
                                .suspended = (int)info->suspended,
                                .tasks_done = info->tasks_done,
                                .state = info->ending      ? "ending"
                                         : info->task      ? "running"
                                         : info->suspended ? "waiting"
                                                           : "idle",
                                .memory = worker_memory(c, info),
                                .bytes_received = info->bytes_in,
                                .bytes_sent = info->bytes_out,
                                .seconds =
                                    now > info->joined ? 1e-9 * (double)(now - info->joined) : 0};
    snprintf(out->host, sizeof out->host, "%s", info->host);
    snprintf(out->kernel, sizeof out->kernel, "%s", info->kernel);
    snprintf(out->task, sizeof out->task, "%s", info->task ? info->task : "");
    size_t at = 0;
    for (uint32_t i = 0; i < info->n_labels && at < sizeof out->labels; i++)
        at += (size_t)snprintf(out->labels + at, sizeof out->labels - at, "%s%s", i > 0 ? "," : "",
                               info->labels[i]);
    snprintf(out->slots, sizeof out->slots, "%s", info->slots);
}

size_t tine_coordinator_list_workers(tine_coordinator *c, tine_worker_status *out, size_t room) {
    tine_coordinator_lock(c);
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0);
    tine_worker_info *all = out && room > 0 && n > 0 ? malloc(n * sizeof *all) : NULL;
    if (all) tine_scheduler_workers(c->scheduler, all, n);
    for (size_t i = 0; all && i < n && i < room; i++)
        worker_status(c, &all[i], tine_clock_coarse_ns(), &out[i]);
    if (c->memory_wanted && c->blocked) tine_link_wake(&c->link);
    bool failed = !all && out && room > 0 && n > 0;
    tine_coordinator_unlock(c);
    free(all);
    if (failed) tine_error_set(TINE_ENOMEM, "no memory to list %zu workers", n);
    return failed ? 0 : n;
}

void tine_coordinator_on_worker_end(tine_coordinator *c,
                                    void (*fn)(uint32_t pid, const char *token, int flags)) {
    c->end_worker = fn;
}

/* With the lock. */
static tine_error worker_of_id(tine_coordinator *c, uint32_t id, tine_worker_info *out) {
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0), i = 0;
    tine_worker_info *all = calloc(n + 1, sizeof *all);
    if (!all) return tine_error_set(TINE_ENOMEM, "no memory for a list of %zu workers", n);
    tine_scheduler_workers(c->scheduler, all, n);
    while (i < n && all[i].epoch != id) i++;
    *out = all[i];
    free(all);
    return i < n ? TINE_OK
                 : tine_error_set(TINE_EINVAL, "there is no worker with the id %u now", id);
}

/* One that would come back (tine_options::rejoin) does not after a STOP. */
static void end_remote_now(tine_coordinator *c, tine_peer peer) {
    const tine_message stop = {.type = TINE_MSG_STOP};
    (void)tine_link_send(&c->link, peer, &stop);
    tine_link_drop(&c->link, peer, false, "the program ended it");
}

static tine_error end_worker_locked(tine_coordinator *c, uint32_t id, int flags) {
    tine_worker_info w;
    if (c->stopping) return tine_coordinator_over();
    tine_error e = worker_of_id(c, id, &w);
    if (e) return e;
    if (tine_coordinator_cannot_end(c))
        return tine_error_set(TINE_EINVAL,
                              "worker %u is a thread or a rank, which cannot be ended alone: use "
                              "an endpoint of ipc:// or tcp://",
                              id);
    if (tine_coordinator_has_ended(c, &w))
        return tine_error_set(TINE_EINVAL, "worker %u has ended: its process, pid %u, is gone", id,
                              w.pid);
    bool local = c->end_worker && tine_coordinator_restarts(c, &w);
    if (flags & TINE_WORKER_REPLACE && !local)
        return tine_error_set(TINE_EINVAL,
                              "worker %u (pid %u, host %.64s) was not started by this program: "
                              "restart it where it runs",
                              id, w.pid, w.host);
    if (local) {
        c->end_worker(w.pid, w.token, flags);
        tine_scheduler_worker_replaced(c->scheduler, id, flags & TINE_WORKER_REPLACE);
    }
    if (!(flags & TINE_WORKER_NOW))
        tine_scheduler_worker_end(c->scheduler, id);
    else if (!local)
        end_remote_now(c, w.peer);
    tine_coordinator_push(c);
    return TINE_OK;
}

tine_error tine_coordinator_end_worker(tine_coordinator *c, uint32_t id, int flags) {
    if (flags & ~(TINE_WORKER_NOW | TINE_WORKER_REPLACE))
        return tine_error_set(TINE_EINVAL, "tine_worker_end: the flags %#x are unknown", flags);
    tine_coordinator_lock(c);
    tine_error e = end_worker_locked(c, id, flags);
    tine_coordinator_unlock(c);
    return e;
}

/* ---- tasks ---- */

static void task_status(const tine_task_info *info, int64_t now, tine_task_status *out) {
    *out =
        (tine_task_status){.id = info->id,
                           .parent = info->parent,
                           .worker = info->worker,
                           .attempt = (int)info->attempt,
                           .state = info->state,
                           .seconds = now > info->forked ? 1e-9 * (double)(now - info->forked) : 0};
    snprintf(out->name, sizeof out->name, "%s", info->name);
}

/* With the lock. Those that the scheduler has, then those that are held. */
static size_t list_tasks(tine_coordinator *c, tine_task_info *all, size_t n, tine_task_status *out,
                         size_t room) {
    int64_t now = tine_clock_coarse_ns();
    tine_scheduler_tasks(c->scheduler, all, n);
    for (size_t i = 0; i < n && i < room; i++) task_status(&all[i], now, &out[i]);
    size_t at = n;
    for (const struct held_fork *h = NULL; (h = tine_held_fork_next(&c->context, h)); at++) {
        tine_task_info held = {.state = "waiting", .attempt = 1};
        held.name = tine_held_fork_name(h, &held.forked);
        if (at < room) task_status(&held, now, &out[at]);
    }
    return at;
}

size_t tine_coordinator_list_tasks(tine_coordinator *c, tine_task_status *out, size_t room) {
    tine_coordinator_lock(c);
    size_t n = tine_scheduler_tasks(c->scheduler, NULL, 0);
    tine_task_info *all = calloc(n + 1, sizeof *all);
    n = all ? list_tasks(c, all, n, out, out ? room : 0) : 0;
    tine_coordinator_unlock(c);
    if (!all) tine_error_set(TINE_ENOMEM, "no memory to list the tasks");
    free(all);
    return n;
}

tine_error tine_coordinator_count(tine_coordinator *c, tine_counts *out) {
    tine_coordinator_lock(c);
    const tine_scheduler_stats *s = tine_scheduler_stats_get(c->scheduler);
    *out = (tine_counts){.forked = s->forked,
                         .completed = s->completed,
                         .failed = s->failed,
                         .retried = s->retried,
                         .waiting = s->waiting + c->context.n_held,
                         .ready = s->ready,
                         .running = s->running,
                         .suspended = s->suspended,
                         .objects = s->objects,
                         .pending_bytes = s->ready_bytes + c->context.held_bytes};
    tine_coordinator_unlock(c);
    return TINE_OK;
}

/* ---- waiting for all ---- */

static bool nothing_is_pending(void *arg) {
    const tine_coordinator *c = arg;
    return c->n_open == 0 && c->context.n_held == 0 && STAILQ_EMPTY(&c->callbacks) &&
           !c->calling_back;
}

tine_error tine_coordinator_drain(tine_coordinator *c, double seconds) {
    tine_coordinator_lock(c);
    tine_error e = tine_coordinator_until(c, nothing_is_pending, c, tine_wait_deadline(seconds));
    size_t open = c->n_open + c->context.n_held;
    tine_coordinator_unlock(c);
    if (e != TINE_ETIMEDOUT) return e;
    return tine_error_set(e, "%zu fork%s pending after %g s", open, open == 1 ? " is" : "s are",
                          seconds);
}
