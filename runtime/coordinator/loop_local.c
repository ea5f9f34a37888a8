/* Deaths of local workers. The supervisor knows why a process ended, the transport knows when the
 * last of what it sent has arrived; its tasks are settled when both have spoken, or the second is
 * overdue, so that finished work counts and errors name the signal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/coordinator/loop_internal.h"
#include "transport/base/clock.h"

enum { OVERDUE_NS = 1000000000 };

static tine_death *death_of(tine_loop *l, uint32_t pid) {
    for (tine_death *d = l->deaths; d; d = d->next)
        if (d->pid == pid) return d;
    tine_death *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->pid = pid;
    d->due = tine_clock_ns() + OVERDUE_NS;
    d->next = l->deaths;
    l->deaths = d;
    return d;
}

static void death_free(tine_death *d) {
    free(d->reason);
    free(d);
}

void tine_loop_peer_lost(tine_loop *l, tine_peer peer, const char *reason) {
    tine_worker_info info;
    tine_death *d = NULL;
    if (tine_scheduler_worker(l->scheduler, peer, &info) && info.token && info.token[0] != 0)
        d = death_of(l, info.pid);
    if (!d) {
        tine_scheduler_peer_lost(l->scheduler, peer, reason);
        return;
    }
    d->lost = peer;
    snprintf(d->transport_reason, sizeof d->transport_reason, "%s", reason);
}

void tine_loop_worker_died(tine_loop *l, uint32_t pid, const char *reason) {
    tine_loop_lock(l);
    tine_death *d = death_of(l, pid);
    if (d && !d->reason) d->reason = strdup(reason);
    l->transport->ops->wake(l->transport);
    tine_loop_unlock(l);
}

static tine_peer peer_of(tine_loop *l, uint32_t pid) {
    tine_worker_info info[64];
    tine_worker_info *all = info;
    size_t n = tine_scheduler_workers(l->scheduler, info, 64);
    tine_peer found = 0;
    if (n > 64) {
        all = calloc(n, sizeof *all);
        if (!all) return 0;
        n = tine_scheduler_workers(l->scheduler, all, n);
    }
    for (size_t i = 0; i < n && found == 0; i++)
        if (all[i].token && all[i].token[0] != 0 && all[i].pid == pid) found = all[i].peer;
    if (all != info) free(all);
    return found;
}

int64_t tine_loop_settle_deaths(tine_loop *l, int64_t now) {
    int64_t next = INT64_MAX;
    for (tine_death **at = &l->deaths; *at;) {
        tine_death *d = *at;
        if ((!d->reason || d->lost == 0) && now < d->due) {
            next = d->due < next ? d->due : next;
            at = &d->next;
            continue;
        }
        tine_peer peer = d->lost != 0 ? d->lost : peer_of(l, d->pid);
        const char *reason = d->reason ? d->reason : d->transport_reason;
        tine_worker_info info;
        if (!d->reason && l->stray && tine_scheduler_worker(l->scheduler, peer, &info))
            l->stray(info.pid, info.token);
        if (peer != 0) tine_scheduler_peer_lost(l->scheduler, peer, reason);
        if (peer != 0 && d->lost == 0) l->transport->ops->drop(l->transport, peer, false, reason);
        *at = d->next;
        death_free(d);
    }
    return next;
}

void tine_loop_on_stray(tine_loop *l, void (*fn)(uint32_t pid, const char *token)) {
    l->stray = fn;
}

void tine_loop_deaths_free(tine_loop *l) {
    while (l->deaths) {
        tine_death *d = l->deaths;
        l->deaths = d->next;
        death_free(d);
    }
}

void tine_loop_workers_gone(tine_loop *l, const char *reason) {
    tine_loop_lock(l);
    l->gone = true;
    tine_scheduler_workers_gone(l->scheduler, reason);
    tine_loop_push(l);
    l->transport->ops->wake(l->transport);
    tine_loop_unlock(l);
}
