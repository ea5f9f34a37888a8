/* Deaths of local workers. The supervisor knows why a process ended, the transport knows when
 * the last of what it sent has arrived. Its tasks are settled when both have reported, or the
 * second report is overdue, so that finished work counts and errors name the signal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/coordinator/internal.h"
#include "transport/base/clock.h"

enum { OVERDUE_NS = 1000000000 };

static coordinator_death *death_of(tine_coordinator *c, uint32_t pid) {
    coordinator_death *d;
    LIST_FOREACH (d, &c->deaths, entry)
        if (d->pid == pid) return d;
    d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->pid = pid;
    d->due = tine_clock_ns() + OVERDUE_NS;
    LIST_INSERT_HEAD(&c->deaths, d, entry);
    return d;
}

void tine_coordinator_death_reason(tine_coordinator *c, uint32_t pid, const char *why) {
    coordinator_death *d = death_of(c, pid);
    if (d) snprintf(d->why, sizeof d->why, "%s", why);
}

static void death_free(coordinator_death *d) {
    LIST_REMOVE(d, entry);
    free(d->reason);
    free(d->log);
    free(d);
}

/* The local worker of this process id; 0: none has joined. */
static tine_peer peer_of_pid(tine_coordinator *c, uint32_t pid) {
    tine_worker_info info[64];
    tine_worker_info *all = info;
    size_t n = tine_scheduler_workers(c->scheduler, info, 64);
    tine_peer found = 0;
    if (n > 64) {
        all = calloc(n, sizeof *all);
        if (!all) return 0;
        n = tine_scheduler_workers(c->scheduler, all, n);
    }
    for (size_t i = 0; i < n && found == 0; i++)
        if (all[i].token && all[i].token[0] != 0 && all[i].pid == pid) found = all[i].peer;
    if (all != info) free(all);
    return found;
}

/* What a HELLO says of its sender is only a claim. A peer counts as a local worker if this process
 * has started such a worker and no other connection is it already; where the kernel says which
 * process has connected, that has to be this worker's. The death of a local worker is waited for,
 * and it is killed when it is disconnected. */
bool tine_coordinator_is_local(tine_coordinator *c, tine_peer peer, const tine_hello *h) {
    const tine_transport *t = c->link.transport;
    uint32_t pid = t->ops->pid ? t->ops->pid(t, peer) : 0;
    if (!h || !h->token[0] || (pid && pid != h->pid)) return false;
    return (!c->known_local || c->known_local(h->pid, h->token)) && peer_of_pid(c, h->pid) == 0;
}

void tine_coordinator_know_local(tine_coordinator *c,
                                 bool (*known)(uint32_t pid, const char *token)) {
    c->known_local = known;
}

void tine_coordinator_admit(tine_coordinator *c, bool (*admits)(const char *token)) {
    c->admits = admits;
}

void tine_coordinator_peer_lost(tine_coordinator *c, tine_peer peer, const char *reason) {
    tine_worker_info info;
    coordinator_death *d = NULL;
    if (tine_scheduler_worker(c->scheduler, peer, &info) && info.token && info.token[0] != 0)
        d = death_of(c, info.pid);
    if (!d || d->lost != 0) {
        tine_scheduler_peer_lost(c->scheduler, peer, reason);
        return;
    }
    d->lost = peer;
    snprintf(d->transport_reason, sizeof d->transport_reason, "%s", reason);
}

static tine_run_log *run_log_copy(const tine_run_log *log) {
    tine_run_log *copy = log ? malloc(sizeof *copy) : NULL;
    if (copy) memcpy((void *)copy, (const void *)log, sizeof *copy);
    return copy;
}

void tine_coordinator_worker_died(tine_coordinator *c, uint32_t pid, const char *reason,
                                  const tine_run_log *log) {
    tine_coordinator_lock(c);
    coordinator_death *d = death_of(c, pid);
    if (d && !d->reason) {
        d->reason = strdup(reason);
        d->log = run_log_copy(log);
    }
    tine_link_wake(&c->link);
    tine_coordinator_unlock(c);
}

static bool is_complete(const coordinator_death *d) { return d->reason && d->lost != 0; }

static void settle_death(tine_coordinator *c, coordinator_death *d) {
    tine_peer peer = d->lost != 0 ? d->lost : peer_of_pid(c, d->pid);
    const char *reason = d->why[0] ? d->why : d->reason ? d->reason : d->transport_reason;
    tine_worker_info info;
    if (!d->reason && c->unreachable && tine_scheduler_worker(c->scheduler, peer, &info))
        c->unreachable(info.pid, info.token);
    if (peer != 0) tine_scheduler_worker_died(c->scheduler, peer, reason, d->log);
    if (peer != 0 && d->lost == 0) tine_link_drop(&c->link, peer, false, reason);
    death_free(d);
}

int64_t tine_coordinator_deaths_due(const tine_coordinator *c) {
    int64_t due = INT64_MAX;
    const coordinator_death *d;
    LIST_FOREACH (d, &c->deaths, entry) {
        if (is_complete(d)) return 0;
        if (d->due < due) due = d->due;
    }
    return due;
}

void tine_coordinator_settle_deaths(tine_coordinator *c, int64_t now) {
    for (coordinator_death *d = LIST_FIRST(&c->deaths), *next; d; d = next) {
        next = LIST_NEXT(d, entry);
        if (is_complete(d) || now >= d->due) settle_death(c, d);
    }
}

void tine_coordinator_on_unreachable(tine_coordinator *c,
                                     void (*fn)(uint32_t pid, const char *token)) {
    c->unreachable = fn;
}

void tine_coordinator_deaths_free(tine_coordinator *c) {
    while (!LIST_EMPTY(&c->deaths)) death_free(LIST_FIRST(&c->deaths));
}

void tine_coordinator_start_failed(tine_coordinator *c, unsigned failures, const char *reason) {
    tine_coordinator_lock(c);
    c->start_failures = failures;
    snprintf(c->start_reason, sizeof c->start_reason, "%s", reason);
    tine_link_wake(&c->link);
    tine_coordinator_unlock(c);
}
