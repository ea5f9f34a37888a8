/* The scheduler's actions: a queue that the event loop empties. An action owns what its message
 * points to until the next one is taken.
 *
 * Credit for nested forks, dropped objects and results to be passed accumulate per worker and
 * become one CREDIT, one DROP and one PASS when the queue runs empty, and results go to the workers
 * that wait for them. The event loop polls its transport only then, so batching delays nothing. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/memory.h"

void *tine_scheduler_alloc(size_t size) { return tine_must_alloc(size); }

void *tine_scheduler_grow(void *array, size_t *room, size_t need, size_t item_size) {
    void *p = tine_grow(array, room, need, item_size);
    TINE_ASSERT_TRUE(p);
    return p;
}

char *tine_scheduler_copy(const char *text) {
    char *p = strdup(text ? text : "");
    TINE_ASSERT_TRUE(p);
    return p;
}

sched_action *tine_scheduler_push(tine_scheduler *s, tine_scheduler_action_kind kind) {
    sched_action *a = tine_ring_push(&s->actions);
    TINE_ASSERT_TRUE(a);
    *a = (sched_action){.a = {.kind = kind}};
    return a;
}

sched_action *tine_scheduler_send(tine_scheduler *s, sched_worker *w, tine_message_type type) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_SEND);
    w->n_sent += tine_message_counts(type);
    a->a.peer = w->peer;
    a->a.message.type = type;
    return a;
}

void tine_scheduler_log(tine_scheduler *s, int level, char *text) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_LOG);
    a->a.level = level;
    a->a.text = a->owned.memory = text;
}

/* Releases what the last action taken pointed to. */
static void sched_taken_fini(tine_scheduler *s) {
    if (s->taken.memory) free(s->taken.memory);
    tine_payload_unref(s->taken.payload);
    if (s->taken.callable) tine_scheduler_callable_unuse(s, s->taken.callable);
    s->taken = (sched_owned){0};
}

void tine_scheduler_actions_free(tine_scheduler *s) {
    sched_taken_fini(s);
    for (sched_action *a; (a = tine_ring_first(&s->actions));) {
        s->taken = a->owned;
        if (a->a.kind != TINE_SCHEDULER_SEND) tine_payload_unref(a->a.payload);
        tine_ring_drop(&s->actions);
        sched_taken_fini(s);
    }
    tine_ring_fini(&s->actions);
}

void tine_scheduler_flush_enqueue(tine_scheduler *s, sched_worker *w) {
    if (w->flush_queued) return;
    w->flush_queued = true;
    TAILQ_INSERT_TAIL(&s->flush_queue, w, flush_link);
}

void tine_scheduler_flush_dequeue(tine_scheduler *s, sched_worker *w) {
    if (!w->flush_queued) return;
    w->flush_queued = false;
    TAILQ_REMOVE(&s->flush_queue, w, flush_link);
}

/* Credit is granted in steps of a quarter of the window, or at once when the worker has a quarter
 * or less left. So a worker that has used up its window always gets more. */
static bool sched_worker_credit_due(const tine_scheduler *s, const sched_worker *w) {
    uint32_t quarter = s->config.window / 4;
    return w->ungranted && (w->ungranted >= quarter || w->window_left <= quarter);
}

static void sched_flush_ids(tine_scheduler *s, sched_worker *w, tine_message_type type,
                            uint64_t **ids, size_t *n, size_t *room) {
    if (!*n) return;
    sched_action *a = tine_scheduler_send(s, w, type);
    a->a.message.ids = a->owned.memory = *ids;
    a->a.message.n_ids = *n;
    *ids = NULL;
    *n = *room = 0;
}

void tine_scheduler_flush_drops(tine_scheduler *s, sched_worker *w) {
    sched_flush_ids(s, w, TINE_MSG_DROP, &w->drops, &w->n_drops, &w->room_drops);
}

void tine_scheduler_flush_passes(tine_scheduler *s, sched_worker *w) {
    sched_flush_ids(s, w, TINE_MSG_PASS, &w->passes, &w->n_passes, &w->room_passes);
}

static void sched_worker_flush(tine_scheduler *s, sched_worker *w) {
    if (sched_worker_credit_due(s, w)) {
        tine_scheduler_send(s, w, TINE_MSG_CREDIT)->a.message.window = w->ungranted;
        w->window_left += w->ungranted;
        w->ungranted = 0;
    }
    tine_scheduler_flush_drops(s, w);
    tine_scheduler_flush_passes(s, w);
}

static void sched_flush_all(tine_scheduler *s) {
    tine_scheduler_answers_send(s);
    for (sched_worker *w; (w = TAILQ_FIRST(&s->flush_queue));) {
        tine_scheduler_flush_dequeue(s, w);
        sched_worker_flush(s, w);
    }
}

size_t tine_scheduler_actions(const tine_scheduler *s) { return s->actions.n; }

bool tine_scheduler_next(tine_scheduler *s, tine_scheduler_action *out) {
    sched_taken_fini(s);
    if (!s->actions.n) sched_flush_all(s);
    const sched_action *a = tine_ring_first(&s->actions);
    if (!a) return false;
    *out = a->a;
    s->taken = a->owned;
    tine_ring_drop(&s->actions);
    return true;
}
