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
#include "transport/base/memory.h"

/* Questions to each remote worker's clock: the shortest round trip of them bounds the error. */
enum { CLOCK_QUESTIONS = 16 };
/* Of one worker: a limit for a peer whose batches are always full. */
enum { BATCHES_MAX = 512 };

typedef struct source {
    tine_peer peer;
    char name[160];
    bool remote;
    tine_payload **events; /* batches */
    size_t n_events, room;
    bool complete; /* the last batch is there */
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

static void ask_events(gathering *g, source *s) {
    tine_message m = {.type = TINE_MSG_TRACE, .flags = 2};
    tine_coordinator_send(g->c, s->peer, &m);
}

static void gather_batch(gathering *g, source *s, tine_payload *batch) {
    s->events = tine_must_grow(s->events, &s->room, s->n_events + 1, sizeof(tine_payload *));
    s->events[s->n_events++] = tine_payload_ref(batch);
    s->complete = !tine_trace_is_full(batch) || s->n_events == BATCHES_MAX;
    if (!s->complete) ask_events(g, s);
}

static void gather_message(void *arg, tine_peer peer, const tine_message *m) {
    gathering *g = arg;
    source *s = source_of(g, peer);
    if (!s) return;
    if (m->type == TINE_MSG_EVENTS && !s->complete) gather_batch(g, s, m->payload);
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
        if (!s->complete || (s->remote && s->answers < CLOCK_QUESTIONS)) return false;
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
        static const char *const lanes[] = {"", ", shared memory", ", shared memory and tensors"};
        const char *lane = t->ops->uses_lane ? lanes[t->ops->uses_lane(t, s->peer)] : "";
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

static size_t batches_there(const gathering *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) n += g->sources[i].n_events;
    return n;
}

/* Runs the loop until every worker has sent all of its events, or none has sent any for `patience`
 * ns. */
static void gather(gathering *g, int64_t patience) {
    tine_coordinator *c = g->c;
    size_t before;
    bool all;
    listen_to(c, gather_message, g);
    tell_all(c, g, 2);
    for (size_t i = 0; i < g->n; i++)
        if (g->sources[i].remote) ask_clock(g, &g->sources[i]);
    tine_coordinator_leave(c);
    do {
        before = batches_there(g);
        all = tine_coordinator_until(c, gather_complete, g, tine_clock_ns() + patience) == TINE_OK;
    } while (!all && batches_there(g) > before);
    for (size_t i = 0; !all && i < g->n; i++)
        if (!g->sources[i].complete)
            tine_log(TINE_LOG_WARN, "the trace lacks %s%s: it did not answer",
                     g->sources[i].n_events ? "events of " : "", g->sources[i].name);
}

static void source_fini(source *s) {
    for (size_t i = 0; i < s->n_events; i++) tine_payload_unref(s->events[i]);
    free(s->events);
}

/* The coordinator's own events. */
static tine_error take_own(source *own) {
    tine_payload *batch;
    do {
        tine_error e = tine_trace_take(&batch);
        if (e != TINE_OK) return e;
        own->events = tine_must_grow(own->events, &own->room, own->n_events + 1, sizeof batch);
        own->events[own->n_events++] = batch;
    } while (tine_trace_is_full(batch) && own->n_events < BATCHES_MAX);
    return TINE_OK;
}

static tine_error write_file(gathering *g, const char *path, int64_t keep_ns) {
    source mine = {0};
    tine_trace_process *all = calloc(g->n + 1, sizeof *all);
    char own[64];
    tine_error e =
        !all ? tine_error_set(TINE_ENOMEM, "no memory to write a trace") : take_own(&mine);
    if (e == TINE_OK) {
        snprintf(own, sizeof own, "coordinator (pid %d)", (int)getpid());
        all[0] =
            (tine_trace_process){.name = own, .events = mine.events, .n_events = mine.n_events};
        for (size_t i = 0; i < g->n; i++) {
            source *s = &g->sources[i];
            tine_trace_process *p = &all[i + 1];
            *p =
                (tine_trace_process){.name = s->name, .events = s->events, .n_events = s->n_events};
            tine_clock_estimate(&s->clock, tine_clock_ns(), &p->offset_ns, &p->error_ns);
        }
        e = tine_trace_export(path, all, g->n + 1, keep_ns);
    }
    source_fini(&mine);
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
        gather(&g, (int64_t)(seconds * 1e9));
    else
        tine_coordinator_leave(c);
    listen_to(c, NULL, NULL);
    tine_coordinator_unlock(c);
    if (e == TINE_OK) e = write_file(&g, path, (int64_t)(keep * 1e9));
    for (size_t i = 0; i < g.n; i++) source_fini(&g.sources[i]);
    free(g.sources);
    return e;
}
