/* Gathering the profile: workers get TRACE to record, then TRACE to send what they recorded and,
 * where they are on other hosts, PINGs that compare their clocks with the coordinator's;
 * everything is written into one file on the coordinator's clock. A worker that computes answers
 * afterwards. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/coordinator/internal.h"
#include "transport/base/log.h"
#include "runtime/trace/trace.h"
#include "transport/base/clock.h"

/* Questions to each remote worker's clock: the shortest round trip of them bounds the error. */
enum { CLOCK_QUESTIONS = 16 };

typedef struct source {
    tine_peer peer;
    char name[160];
    bool remote;
    tine_payload *events;
    tine_clock clock;
    int64_t asked;
    uint32_t answers;
} source;

typedef struct gathering {
    tine_coordinator *c;
    source *sources;
    size_t n;
} gathering;

static source *source_of(gathering *g, tine_peer peer) {
    for (size_t i = 0; i < g->n; i++)
        if (g->sources[i].peer == peer) return &g->sources[i];
    return NULL;
}

static void ask_clock(gathering *g, source *s) {
    tine_message ping = {.type = TINE_MSG_PING, .seq = s->answers + 1};
    s->asked = tine_clock_ns();
    tine_coordinator_send(g->c, s->peer, &ping);
}

static void gather_message(void *arg, tine_peer peer, const tine_message *m) {
    gathering *g = arg;
    source *s = source_of(g, peer);
    if (!s) return;
    if (m->type == TINE_MSG_EVENTS && !s->events) s->events = tine_payload_ref(m->payload);
    if (m->type != TINE_MSG_PONG || m->seq != s->answers + 1) return;
    tine_clock_add(&s->clock, s->asked, (int64_t)m->clock, tine_clock_ns());
    if (++s->answers < CLOCK_QUESTIONS) ask_clock(g, s);
}

static bool gather_complete(void *arg) {
    gathering *g = arg;
    for (size_t i = 0; i < g->n; i++) {
        source *s = &g->sources[i];
        tine_worker_info still;
        if (!tine_scheduler_worker(g->c->scheduler, s->peer, &still)) continue; /* lost */
        if (!s->events || (s->remote && s->answers < CLOCK_QUESTIONS)) return false;
    }
    return true;
}

/* With the lock. */
static tine_error list_workers(gathering *g) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    tine_transport *t = g->c->link.transport;
    bool remote = tine_transport_flags(t->ops->url(t)) & TINE_TRANSPORT_REMOTE;
    size_t n = tine_scheduler_workers(g->c->scheduler, NULL, 0);
    tine_worker_info *info = calloc(n + 1, sizeof *info);
    g->sources = calloc(n + 1, sizeof *g->sources);
    if (!info || !g->sources) {
        free(info);
        return tine_error_set(TINE_ENOMEM, "no memory to gather a trace");
    }
    g->n = tine_scheduler_workers(g->c->scheduler, info, n);
    for (size_t i = 0; i < g->n; i++) {
        source *s = &g->sources[i];
        s->peer = info[i].peer;
        s->remote = remote && strcmp(info[i].host, host) != 0;
        const char *lane =
            t->ops->uses_lane && t->ops->uses_lane(t, s->peer) ? ", shared memory" : "";
        if (info[i].rank >= 0)
            snprintf(s->name, sizeof s->name, "rank %d (pid %u, host %s)", info[i].rank,
                     info[i].pid, info[i].host);
        else
            snprintf(s->name, sizeof s->name, "worker %zu (pid %u, host %s%s)", i + 1, info[i].pid,
                     info[i].host, lane);
    }
    free(info);
    return TINE_OK;
}

static void listen_to(tine_coordinator *c,
                      void (*fn)(void *arg, tine_peer peer, const tine_message *m), void *arg) {
    c->listener = fn;
    c->listener_arg = arg;
}

static void tell_all(tine_coordinator *c, gathering *g, uint32_t what) {
    tine_message m = {.type = TINE_MSG_TRACE, .flags = what};
    for (size_t i = 0; i < g->n; i++) tine_coordinator_send(c, g->sources[i].peer, &m);
}

tine_error tine_coordinator_trace_record(tine_coordinator *c, bool on) {
    gathering g = {.c = c};
    tine_error e = tine_trace_record(on);
    if (e != TINE_OK) return e;
    tine_coordinator_lock(c);
    tine_coordinator_enter(c);
    tine_scheduler_trace(c->scheduler, on);
    e = list_workers(&g);
    if (e == TINE_OK) tell_all(c, &g, on);
    tine_coordinator_leave(c);
    tine_coordinator_unlock(c);
    free(g.sources);
    return e;
}

/* Runs the loop until every worker is asked. */
static void gather(gathering *g, int64_t deadline) {
    tine_coordinator *c = g->c;
    listen_to(c, gather_message, g);
    tell_all(c, g, 2);
    for (size_t i = 0; i < g->n; i++)
        if (g->sources[i].remote) ask_clock(g, &g->sources[i]);
    tine_coordinator_leave(c);
    if (tine_coordinator_until(c, gather_complete, g, deadline) == TINE_OK) return;
    for (size_t i = 0; i < g->n; i++)
        if (!g->sources[i].events)
            tine_log(TINE_LOG_WARN, "the trace lacks %s: it did not answer", g->sources[i].name);
}

static tine_error write_file(gathering *g, const char *path, int64_t keep_ns) {
    tine_payload *mine = NULL;
    tine_trace_process *all = calloc(g->n + 1, sizeof *all);
    char own[64];
    tine_error e =
        !all ? tine_error_set(TINE_ENOMEM, "no memory to write a trace") : tine_trace_take(&mine);
    if (e == TINE_OK) {
        snprintf(own, sizeof own, "coordinator (pid %d)", (int)getpid());
        all[0] = (tine_trace_process){.name = own, .events = &mine, .n_events = 1};
        for (size_t i = 0; i < g->n; i++) {
            source *s = &g->sources[i];
            tine_trace_process *p = &all[i + 1];
            *p = (tine_trace_process){
                .name = s->name, .events = &s->events, .n_events = s->events != NULL};
            tine_clock_estimate(&s->clock, tine_clock_ns(), &p->offset_ns, &p->error_ns);
        }
        e = tine_trace_export(path, all, g->n + 1, keep_ns);
    }
    tine_payload_unref(mine);
    free(all);
    return e;
}

tine_error tine_coordinator_trace_write(tine_coordinator *c, const char *path, double seconds,
                                        double keep) {
    gathering g = {.c = c};
    tine_coordinator_lock(c);
    tine_coordinator_enter(c);
    tine_error e = list_workers(&g);
    if (e == TINE_OK)
        gather(&g, tine_clock_ns() + (int64_t)(seconds * 1e9));
    else
        tine_coordinator_leave(c);
    listen_to(c, NULL, NULL);
    tine_coordinator_unlock(c);
    if (e == TINE_OK) e = write_file(&g, path, (int64_t)(keep * 1e9));
    for (size_t i = 0; i < g.n; i++) tine_payload_unref(g.sources[i].events);
    free(g.sources);
    return e;
}
