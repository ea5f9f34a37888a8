/* Small results that one worker passes to another one of its host directly.
 *
 * A result comes here with its DONE, and goes from here to the workers that wait for it. Where two
 * workers have a direct way the one that makes it also passes it to the other one, whose task, sent
 * ahead, then starts without this process. Its DONE says to whom it is passed, and those are sent
 * nothing. Until one of them has ended or suspended a task that needs the result it may not have
 * come there, and is sent after all:
 *
 * - when the worker that makes it says that it could not be passed to that one;
 * - when the other one asks for it: it came before its task, or was damaged;
 * - when either of the two says that nothing arrives there any more;
 * - when any worker is lost: what it has written last may be lost with it.
 *
 * The first two may be known here before the DONE is: then the DONE's word is not taken. A worker
 * ignores what it has already. */
#include "runtime/scheduler/internal.h"

/* ---- pairs ---- */

/* Workers that the sets of a worker have room for. */
enum { PASS_PAIRS = 64 };

static sched_worker *sched_pair_worker(const tine_scheduler *s, tine_peer peer) {
    const sched_peer *p = tine_scheduler_peer(s, peer);
    return p ? p->worker : NULL;
}

void tine_scheduler_paired(tine_scheduler *s, tine_peer a, tine_peer b) {
    sched_worker *x = sched_pair_worker(s, a), *y = sched_pair_worker(s, b);
    if (!x || !y || x->slot >= PASS_PAIRS || y->slot >= PASS_PAIRS) return;
    if (x->parted >> y->slot & 1) return;
    x->paired |= UINT64_C(1) << y->slot;
    y->paired |= UINT64_C(1) << x->slot;
}

void tine_scheduler_pair_later(tine_scheduler *s, tine_peer a, tine_peer b) {
    sched_worker *x = sched_pair_worker(s, a), *y = sched_pair_worker(s, b);
    if (!x || !y || x->slot >= PASS_PAIRS || y->slot >= PASS_PAIRS) return;
    x->asked &= ~(UINT64_C(1) << y->slot);
    y->asked &= ~(UINT64_C(1) << x->slot);
}

void tine_scheduler_unpair(tine_scheduler *s, const sched_worker *w) {
    sched_worker *other;
    if (w->slot >= PASS_PAIRS) return;
    TAILQ_FOREACH (other, &s->workers, link) {
        other->asked &= ~(UINT64_C(1) << w->slot);
        other->paired &= ~(UINT64_C(1) << w->slot);
        other->parted &= ~(UINT64_C(1) << w->slot);
    }
}

/* Asks for a direct way, once. */
static void sched_pair_ask(tine_scheduler *s, sched_worker *w, sched_worker *other) {
    if ((w->asked | w->parted) >> other->slot & 1) return;
    w->asked |= UINT64_C(1) << other->slot;
    other->asked |= UINT64_C(1) << w->slot;
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_PAIR);
    a->a.peer = w->peer;
    a->a.other = other->peer;
}

void tine_scheduler_pass(tine_scheduler *s, const sched_object *o, sched_worker *w) {
    const sched_task *t = o->producer;
    if (o->state != SCHED_OBJECT_PENDING || o->insisted || !t || t->state != SCHED_RUNNING) return;
    sched_worker *from = t->worker;
    if (from == w || t->callable->stays) return;
    if (w->slot >= PASS_PAIRS || from->slot >= PASS_PAIRS) return;
    if (!(from->paired >> w->slot & 1)) {
        sched_pair_ask(s, from, w);
        return;
    }
    from->passes =
        tine_scheduler_grow(from->passes, &from->room_passes, from->n_passes + 2, sizeof t->id);
    from->passes[from->n_passes++] = t->id;
    from->passes[from->n_passes++] = w->peer;
    if (from->n_passes == TINE_MESSAGE_IDS) tine_scheduler_flush_passes(s, from);
    tine_scheduler_flush_enqueue(s, from);
}

/* ---- what was passed ---- */

static bool sched_object_is_passed(const sched_object *o, const sched_worker *w) {
    return w->slot / 64 < o->words && o->passed[w->slot / 64] >> (w->slot % 64) & 1;
}

void tine_scheduler_passed(tine_scheduler *s, const sched_task *t, const tine_message *m) {
    sched_object *o = t->result;
    if (!o || o->insisted || m->status || !m->payload || m->payload->n_refs) return;
    if (tine_payload_bytes(m->payload) > TINE_MAX_PASSED) return;
    for (size_t i = 0; i < m->n_ids; i++) {
        const sched_worker *w = sched_pair_worker(s, m->ids[i]);
        if (!w || w->slot >= PASS_PAIRS || !(t->worker->paired >> w->slot & 1)) continue;
        if (!tine_scheduler_object_waits(o, w)) continue;
        tine_scheduler_object_replica(o, w);
        tine_scheduler_object_mark(o, &o->passed, w);
    }
}

void tine_scheduler_passed_came(sched_object *o, const sched_worker *w) {
    if (w->slot / 64 < o->words) o->passed[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
}

void tine_scheduler_passed_again(tine_scheduler *s, sched_object *o, sched_worker *w) {
    if (o->state == SCHED_OBJECT_PENDING) o->insisted = true;
    if (!sched_object_is_passed(o, w)) return;
    tine_scheduler_passed_came(o, w);
    tine_scheduler_object_send(s, w, o);
}

void tine_scheduler_passed_lost(tine_scheduler *s, sched_object *o) {
    for (size_t i = 0; i < o->words; i++)
        while (o->passed[i])
            tine_scheduler_passed_again(s, o,
                                        s->slots[i * 64 + (size_t)__builtin_ctzll(o->passed[i])]);
}

/* For good. Only a pair's end costs a walk over all objects: a message names many. */
static void sched_pair_end(tine_scheduler *s, sched_worker *a, sched_worker *b) {
    if (a->slot >= PASS_PAIRS || b->slot >= PASS_PAIRS) return;
    a->parted |= UINT64_C(1) << b->slot;
    b->parted |= UINT64_C(1) << a->slot;
    if (!(a->paired >> b->slot & 1)) return; /* nothing was passed between them */
    a->paired &= ~(UINT64_C(1) << b->slot);
    b->paired &= ~(UINT64_C(1) << a->slot);
    sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) {
        if (o->state == SCHED_OBJECT_PENDING) continue;
        tine_scheduler_passed_again(s, o, a);
        tine_scheduler_passed_again(s, o, b);
    }
}

void tine_scheduler_pass_message(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    for (size_t i = 0; i + 1 < m->n_ids; i += 2) {
        sched_worker *other = sched_pair_worker(s, m->ids[i + 1]);
        sched_object *o = m->ids[i] ? tine_scheduler_object_find(s, m->ids[i]) : NULL;
        if (!other) continue;
        if (!m->ids[i])
            sched_pair_end(s, w, other);
        else if (o)
            tine_scheduler_passed_again(s, o, other);
    }
}
