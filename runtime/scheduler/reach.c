/* Results that workers fetch from each other, without this process in between.
 *
 * A worker says once where others can reach it, or only that it can reach others. If other tasks
 * take the result of a task that runs at a worker that can be reached, the worker is told so and
 * keeps a large result. A worker that needs the result is told where it is, and counts as having it
 * from then on. If it cannot fetch the result there (the other worker has died, or a network is in
 * between), it says so and receives the result from here: this process then fetches it from a
 * worker, or has it made again. Only the worker that made a result is named as its source: so no
 * two workers wait for each other, each for what the other one does not have yet. */
#include "runtime/scheduler/internal.h"

#include <string.h>

enum { REACH_URL_MAX = 256 };

/* ---- results that stay ---- */

void tine_scheduler_reach_keep(tine_scheduler *s, sched_task *t) {
    if (t->state != SCHED_RUNNING || t->reach_told || t->wanted || !t->result) return;
    if (TAILQ_EMPTY(&t->result->inputs) || !t->worker->reach || !*t->worker->reach) return;
    t->reach_told = true;
    tine_message *m = &tine_scheduler_send(s, t->worker, TINE_MSG_REACH)->a.message;
    m->object = t->result_id;
    m->seq = t->id;
}

/* ---- fetched from their source ---- */

bool tine_scheduler_reach(tine_scheduler *s, sched_worker *w, sched_object *o) {
    const sched_worker *source = o->source;
    if (o->state != SCHED_OBJECT_REMOTE || !source || source == w || !w->reach) return false;
    if (!*source->reach) return false; /* others could not reach it */
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_REACH);
    a->a.message.object = o->id;
    a->a.message.seq = source->reach_secret;
    a->a.message.text = a->owned.memory = tine_scheduler_copy(source->reach);
    tine_scheduler_object_replica(o, w);
    return true;
}

/* From here on this process relays the object, and further results of its source: they come with
 * their DONE. */
static void sched_reach_give_up(tine_scheduler *s, const sched_worker *w, sched_object *o,
                                const char *why) {
    sched_worker *source = o->source;
    o->source = NULL;
    if (!source || !*source->reach) return;
    tine_scheduler_log(s, 2,
                       tine_scheduler_text("results of worker pid %u (host %.64s) pass the "
                                           "coordinator from now on: worker pid %u (host %.64s) "
                                           "cannot fetch one there: %.160s",
                                           source->pid, source->host, w->pid, w->host,
                                           why ? why : "it does not say why"));
    *source->reach = 0;
}

static void sched_reach_failed(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    sched_object *o = tine_scheduler_object_find(s, m->object);
    if (!o || !tine_scheduler_object_replica_at(o, w) || o->state != SCHED_OBJECT_REMOTE) {
        if (o) tine_scheduler_object_unreplica(o, w);
        tine_scheduler_object_fetch(s, w, m->object);
        return;
    }
    sched_reach_give_up(s, w, o, m->text);
    tine_scheduler_object_wait(o, w);
    tine_scheduler_result_lost(s, o, w, m->text ? m->text : "it could not be fetched");
}

void tine_scheduler_reach_message(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    if (m->object) {
        sched_reach_failed(s, w, m);
    } else if (!w->reach && m->text && strlen(m->text) < REACH_URL_MAX) {
        w->reach = tine_scheduler_copy(m->text);
        w->reach_secret = m->seq;
    }
}
