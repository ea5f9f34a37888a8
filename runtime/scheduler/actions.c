/* The scheduler's actions: a queue that the event loop empties. An action owns what its message
 * points to until the next one is taken.
 *
 * Credit for nested forks and dropped objects accumulate per worker and become one CREDIT and one
 * DROP when the queue runs empty. The event loop polls its transport only then, so batching delays
 * neither. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

void *tine_scheduler_alloc(size_t size) {
    void *p = calloc(1, size);
    TINE_ASSERT_TRUE(p);
    return p;
}

void *tine_scheduler_grow(void *array, size_t *room, size_t need, size_t item) {
    if (need <= *room) return array;
    size_t bigger = *room ? *room * 2 : 8;
    while (bigger < need) bigger *= 2;
    void *p = realloc(array, bigger * item);
    TINE_ASSERT_TRUE(p);
    *room = bigger;
    return p;
}

char *tine_scheduler_copy(const char *text) {
    char *p = strdup(text ? text : "");
    TINE_ASSERT_TRUE(p);
    return p;
}

static void sched_ring_grow(tine_scheduler *s) {
    size_t room = s->ring_room ? s->ring_room * 2 : 64;
    sched_action *ring = tine_scheduler_alloc(room * sizeof *ring);
    for (size_t i = 0; i < s->ring_n; i++) ring[i] = s->ring[(s->ring_at + i) & (s->ring_room - 1)];
    free(s->ring);
    s->ring = ring;
    s->ring_room = room;
    s->ring_at = 0;
}

sched_action *tine_scheduler_push(tine_scheduler *s, tine_scheduler_action_kind kind) {
    if (s->ring_n == s->ring_room) sched_ring_grow(s);
    sched_action *a = &s->ring[(s->ring_at + s->ring_n++) & (s->ring_room - 1)];
    *a = (sched_action){.a = {.kind = kind}};
    return a;
}

sched_action *tine_scheduler_send(tine_scheduler *s, tine_peer peer, tine_message_type type) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_SEND);
    a->a.peer = peer;
    a->a.message.type = type;
    return a;
}

void tine_scheduler_log(tine_scheduler *s, int level, char *text) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_LOG);
    a->a.level = level;
    a->a.text = a->memory = text;
}

void tine_scheduler_action_fini(tine_scheduler *s, sched_action *a) {
    free(a->memory);
    tine_payload_unref(a->a.message.payload);
    if (a->owns_payload) tine_payload_unref(a->a.payload);
    if (a->callable) tine_scheduler_callable_unuse(s, a->callable);
    *a = (sched_action){0};
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

/* Credit is granted by the quarter of a window, or at once when the worker has a quarter left or
 * less: so a worker that has used up its window is never left without. */
static bool sched_worker_credit_due(const tine_scheduler *s, const sched_worker *w) {
    uint32_t quarter = s->config.window / 4;
    return w->ungranted && (w->ungranted >= quarter || w->window_left <= quarter);
}

static void sched_worker_flush(tine_scheduler *s, sched_worker *w) {
    if (sched_worker_credit_due(s, w)) {
        tine_scheduler_send(s, w->peer, TINE_MSG_CREDIT)->a.message.window = w->ungranted;
        w->window_left += w->ungranted;
        w->ungranted = 0;
    }
    if (w->n_drops) {
        sched_action *a = tine_scheduler_send(s, w->peer, TINE_MSG_DROP);
        a->memory = w->drops;
        a->a.message.ids = w->drops;
        a->a.message.n_ids = w->n_drops;
        w->drops = NULL;
        w->n_drops = w->room_drops = 0;
    }
}

static void sched_flush_all(tine_scheduler *s) {
    for (sched_worker *w; (w = TAILQ_FIRST(&s->flush_queue));) {
        tine_scheduler_flush_dequeue(s, w);
        sched_worker_flush(s, w);
    }
}

bool tine_scheduler_next(tine_scheduler *s, tine_scheduler_action *out) {
    tine_scheduler_action_fini(s, &s->current);
    if (!s->ring_n) sched_flush_all(s);
    if (!s->ring_n) {
        if (s->ring_room > 4096) { /* free the memory of a burst */
            free(s->ring);
            s->ring = NULL;
            s->ring_room = s->ring_at = 0;
        }
        return false;
    }
    s->current = s->ring[s->ring_at];
    s->ring_at = (s->ring_at + 1) & (s->ring_room - 1);
    s->ring_n--;
    *out = s->current.a;
    s->current.owns_payload = false; /* the caller's now */
    if (out->kind == TINE_SCHEDULER_COMPLETE) s->current.a.payload = NULL;
    return true;
}
