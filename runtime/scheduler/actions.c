/* The scheduler's actions: a ring that the loop empties. Each action owns what its message points
 * to until the next one is taken.
 *
 * Credit for nested forks and dropped objects are gathered per worker while the loop hands in
 * events, and become one message each when the ring runs empty: that is the moment at which the
 * loop is about to wait, so nothing is late and nothing is sent twice. */
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

static void ring_grow(tine_scheduler *h) {
    size_t room = h->ring_room ? h->ring_room * 2 : 64;
    sched_action *ring = tine_scheduler_alloc(room * sizeof *ring);
    for (size_t i = 0; i < h->ring_n; i++) ring[i] = h->ring[(h->ring_at + i) & (h->ring_room - 1)];
    free(h->ring);
    h->ring = ring;
    h->ring_room = room;
    h->ring_at = 0;
}

sched_action *tine_scheduler_push(tine_scheduler *h, tine_scheduler_action_kind kind) {
    if (h->ring_n == h->ring_room) ring_grow(h);
    sched_action *a = &h->ring[(h->ring_at + h->ring_n++) & (h->ring_room - 1)];
    *a = (sched_action){.a = {.kind = kind}};
    return a;
}

sched_action *tine_scheduler_send(tine_scheduler *h, tine_peer peer, tine_message_type type) {
    sched_action *a = tine_scheduler_push(h, TINE_SCHEDULER_SEND);
    a->a.peer = peer;
    a->a.message.type = type;
    return a;
}

void tine_scheduler_log(tine_scheduler *h, int level, char *text) {
    sched_action *a = tine_scheduler_push(h, TINE_SCHEDULER_LOG);
    a->a.level = level;
    a->a.text = a->memory = text;
}

void tine_scheduler_action_fini(tine_scheduler *h, sched_action *a) {
    free(a->memory);
    tine_payload_unref(a->a.message.payload);
    if (a->owns_payload) tine_payload_unref(a->a.payload);
    if (a->callable) tine_scheduler_callable_unuse(h, a->callable);
    *a = (sched_action){0};
}

void tine_scheduler_dirty(tine_scheduler *h, sched_worker *w) {
    if (w->dirty) return;
    w->dirty = true;
    w->dirty_next = NULL;
    *(h->dirty_last ? &h->dirty_last->dirty_next : &h->dirty) = w;
    h->dirty_last = w;
}

void tine_scheduler_undirty(tine_scheduler *h, sched_worker *w) {
    if (!w->dirty) return;
    sched_worker **at = &h->dirty, *before = NULL;
    for (; *at != w; at = &(*at)->dirty_next) before = *at;
    *at = w->dirty_next;
    if (h->dirty_last == w) h->dirty_last = before;
    w->dirty = false;
}

/* Credit waits until a quarter of the window is owed, unless the worker may be about to run out:
 * its forks on the way here count as used already when they arrive, so a worker that is stopped is
 * always seen below the quarter. */
static bool credit_due(const tine_scheduler *h, const sched_worker *w) {
    uint32_t quarter = h->config.window / 4;
    return w->owed && (w->owed >= quarter || w->window_left <= quarter);
}

static void flush_worker(tine_scheduler *h, sched_worker *w) {
    if (credit_due(h, w)) {
        tine_scheduler_send(h, w->peer, TINE_MSG_CREDIT)->a.message.window = w->owed;
        w->window_left += w->owed;
        w->owed = 0;
    }
    if (w->n_drops) {
        sched_action *a = tine_scheduler_send(h, w->peer, TINE_MSG_DROP);
        a->memory = w->drops;
        a->a.message.ids = w->drops;
        a->a.message.n_ids = w->n_drops;
        w->drops = NULL;
        w->n_drops = w->room_drops = 0;
    }
}

static void flush(tine_scheduler *h) {
    while (h->dirty) {
        sched_worker *w = h->dirty;
        h->dirty = w->dirty_next;
        if (!h->dirty) h->dirty_last = NULL;
        w->dirty = false;
        flush_worker(h, w);
    }
}

bool tine_scheduler_next(tine_scheduler *h, tine_scheduler_action *out) {
    tine_scheduler_action_fini(h, &h->current);
    if (!h->ring_n) flush(h);
    if (!h->ring_n) {
        if (h->ring_room > 4096) { /* a burst is over: do not keep its memory */
            free(h->ring);
            h->ring = NULL;
            h->ring_room = h->ring_at = 0;
        }
        return false;
    }
    h->current = h->ring[h->ring_at];
    h->ring_at = (h->ring_at + 1) & (h->ring_room - 1);
    h->ring_n--;
    *out = h->current.a;
    h->current.owns_payload = false; /* the receiver's from here on */
    if (out->kind == TINE_SCHEDULER_COMPLETE) h->current.a.payload = NULL;
    return true;
}
