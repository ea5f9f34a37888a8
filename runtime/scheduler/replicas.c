/* Which workers have an object, wait for it, or hold it: sets of worker slots; and what a worker is
 * told to drop. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

/* Replaces `n` words, which lie at `first` or are allocated. */
static uint64_t *sched_words_grow(uint64_t *words, const uint64_t *first, size_t n, size_t need) {
    uint64_t *more = tine_scheduler_alloc(need * sizeof *words);
    memcpy(more, words, n * sizeof *words);
    if (words != first) free(words);
    return more;
}

void tine_scheduler_object_sets_init(sched_object *o) {
    o->words = 1;
    o->replicas = &o->first[0];
    o->fetchers = &o->first[1];
    o->keepers = &o->first[2];
    o->passed = &o->first[3];
}

void tine_scheduler_object_sets_fini(sched_object *o) {
    if (o->words == 1) return;
    free(o->replicas);
    free(o->fetchers);
    free(o->keepers);
    free(o->passed);
}

void tine_scheduler_object_mark(sched_object *o, uint64_t **bits, const sched_worker *w) {
    size_t need = w->slot / 64 + 1;
    if (need > o->words) {
        o->replicas = sched_words_grow(o->replicas, &o->first[0], o->words, need);
        o->fetchers = sched_words_grow(o->fetchers, &o->first[1], o->words, need);
        o->keepers = sched_words_grow(o->keepers, &o->first[2], o->words, need);
        o->passed = sched_words_grow(o->passed, &o->first[3], o->words, need);
        o->words = need;
    }
    (*bits)[w->slot / 64] |= UINT64_C(1) << (w->slot % 64);
}

void tine_scheduler_object_replica(sched_object *o, const sched_worker *w) {
    tine_scheduler_object_mark(o, &o->replicas, w);
    o->fetchers[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
}

void tine_scheduler_object_unreplica(sched_object *o, const sched_worker *w) {
    if (o->source == w) o->source = NULL;
    if (w->slot / 64 < o->words) o->replicas[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
    tine_scheduler_passed_came(o, w);
}

bool tine_scheduler_object_anywhere(const sched_object *o) {
    for (size_t i = 0; i < o->words; i++)
        if (o->replicas[i]) return true;
    return false;
}

void tine_scheduler_object_wait(sched_object *o, const sched_worker *w) {
    tine_scheduler_object_mark(o, &o->fetchers, w);
}

bool tine_scheduler_object_waits(const sched_object *o, const sched_worker *w) {
    return w->slot / 64 < o->words && o->fetchers[w->slot / 64] >> (w->slot % 64) & 1;
}

bool tine_scheduler_object_replica_at(const sched_object *o, const sched_worker *w) {
    return w->slot / 64 < o->words && o->replicas[w->slot / 64] >> (w->slot % 64) & 1;
}

void tine_scheduler_object_drop_at(tine_scheduler *s, sched_worker *w, tine_object id) {
    w->drops = tine_scheduler_grow(w->drops, &w->room_drops, w->n_drops + 1, sizeof *w->drops);
    w->drops[w->n_drops++] = id;
    if (w->n_drops == TINE_MESSAGE_IDS) tine_scheduler_flush_drops(s, w);
    tine_scheduler_flush_enqueue(s, w);
}

/* A task that waited for it has failed for another reason, and its worker does not wait any
 * more. */
static void sched_object_withhold(tine_scheduler *s, sched_worker *w, const sched_object *o) {
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_OBJECT);
    a->a.message.object = o->id;
    a->a.message.status = TINE_ECANCELED;
    a->a.message.text = a->owned.memory = tine_scheduler_copy("nothing needs the object any more");
    /* A worker that makes it may keep it already: its DONE, which may be deferred, says so. */
    sched_task *t = o->producer;
    if (t && t->worker == w)
        t->withheld = true;
    else
        tine_scheduler_object_drop_at(s, w, o->id);
}

/* What was passed to a worker may not come there, as if it waited for it. */
void tine_scheduler_object_drop_replicas(tine_scheduler *s, sched_object *o) {
    for (size_t i = 0; i < o->words; i++) {
        o->fetchers[i] |= o->passed[i];
        o->replicas[i] &= ~o->passed[i];
    }
    for (size_t i = 0; i < o->words; i++)
        for (uint64_t bits = o->fetchers[i]; bits; bits &= bits - 1)
            sched_object_withhold(s, s->slots[i * 64 + (size_t)__builtin_ctzll(bits)], o);
    for (size_t i = 0; i < o->words; i++)
        for (uint64_t bits = o->replicas[i]; bits; bits &= bits - 1)
            tine_scheduler_object_drop_at(s, s->slots[i * 64 + (size_t)__builtin_ctzll(bits)],
                                          o->id);
}
