/* What the program asks of all workers together: who they are, and that nothing is pending. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/coordinator/internal.h"

static void worker_status(const tine_worker_info *info, tine_worker_status *out) {
    *out = (tine_worker_status){.id = info->epoch,
                                .pid = (int)info->pid,
                                .rank = info->rank,
                                .running = (int)info->running,
                                .suspended = (int)info->suspended,
                                .tasks_done = info->tasks_done};
    snprintf(out->host, sizeof out->host, "%s", info->host);
    snprintf(out->kernel, sizeof out->kernel, "%s", info->kernel);
    size_t at = 0;
    for (uint32_t i = 0; i < info->n_labels && at < sizeof out->labels; i++)
        at += (size_t)snprintf(out->labels + at, sizeof out->labels - at, "%s%s", i > 0 ? "," : "",
                               info->labels[i]);
}

size_t tine_coordinator_list_workers(tine_coordinator *c, tine_worker_status *out, size_t room) {
    tine_coordinator_lock(c);
    size_t n = tine_scheduler_workers(c->scheduler, NULL, 0);
    tine_worker_info *all = out && room > 0 && n > 0 ? malloc(n * sizeof *all) : NULL;
    if (all) tine_scheduler_workers(c->scheduler, all, n);
    for (size_t i = 0; all && i < n && i < room; i++) worker_status(&all[i], &out[i]);
    bool failed = !all && out && room > 0 && n > 0;
    tine_coordinator_unlock(c);
    free(all);
    if (failed) tine_error_set(TINE_ENOMEM, "no memory to list %zu workers", n);
    return failed ? 0 : n;
}

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
