/* Objects: put values and modules, their holders, and which workers have a copy.
 *
 * A worker's OBJECT may be a large message, and a small one that references it may overtake it. The
 * scheduler then records the object as EXPECTED; it can be held like any other, and a FETCH is
 * answered when it arrives. Whether an unknown object is still to arrive or has been freed follows
 * from its id: a worker numbers its puts, and the scheduler keeps which numbers have arrived.
 *
 * An object is freed with its last holder, and so are its own references, by an explicit stack:
 * chains may be long. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/block.h"

static sched_object **sched_object_found(tine_scheduler *s, tine_object id) {
    return &s->found[(id >> 1) % SCHED_FOUND];
}

/* Remembers the last objects found: a task's objects are looked up several times in a row. */
sched_object *tine_scheduler_object_find(tine_scheduler *s, tine_object id) {
    sched_object **found = sched_object_found(s, id);
    if (!*found || (*found)->id != id) *found = tine_idmap_get(&s->objects, id);
    return *found;
}

sched_object *tine_scheduler_object_new(tine_scheduler *s, tine_object id,
                                        sched_object_state state) {
    sched_object *o = tine_scheduler_alloc(sizeof *o);
    o->id = id;
    o->state = state;
    TAILQ_INIT(&o->inputs);
    tine_scheduler_object_sets_init(o);
    tine_idmap_put(&s->objects, id, o);
    TAILQ_INSERT_TAIL(&s->object_list, o, link);
    s->stats.objects++;
    return o;
}

static void sched_object_answered(tine_scheduler *s, sched_object *o) {
    if (o->answering) TAILQ_REMOVE(&s->answers, o, answer_link);
    o->answering = false;
}

static void sched_object_free(tine_scheduler *s, sched_object *o) {
    TINE_ASSERT_TRUE(TAILQ_EMPTY(&o->inputs) && !o->settling);
    if (o->producer) tine_scheduler_task_forget(s, o->producer);
    tine_idmap_remove(&s->objects, o->id);
    if (*sched_object_found(s, o->id) == o) *sched_object_found(s, o->id) = NULL;
    TAILQ_REMOVE(&s->object_list, o, link);
    sched_object_answered(s, o);
    s->stats.objects--;
    tine_payload_unref(o->payload);
    free(o->class_name);
    free(o->text);
    free(o->name);
    tine_scheduler_object_sets_fini(o);
    tine_scheduler_single_free(s, o->single);
    tine_block_free(o, sizeof *o);
}

/* ---- holders ---- */

void tine_scheduler_hold(tine_scheduler *s, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    TINE_ASSERT_TRUE(o);
    o->holders++;
}

static void sched_object_free_unheld(tine_scheduler *s, sched_object *o) {
    struct sched_object_stack stack = SLIST_HEAD_INITIALIZER(stack);
    SLIST_INSERT_HEAD(&stack, o, stacked);
    for (sched_object *at; (at = SLIST_FIRST(&stack));) {
        SLIST_REMOVE_HEAD(&stack, stacked);
        for (uint32_t i = 0; at->payload && i < at->payload->n_refs; i++) {
            sched_object *r = tine_scheduler_object_find(s, at->payload->refs[i]);
            TINE_ASSERT_TRUE(r && r->holders > 0);
            if (--r->holders || r->state == SCHED_OBJECT_EXPECTED) continue;
            SLIST_INSERT_HEAD(&stack, r, stacked);
        }
        tine_scheduler_object_drop_replicas(s, at);
        sched_object_free(s, at);
    }
}

/* An expected object stays on record until it arrives; its worker then gets a DROP. */
void tine_scheduler_unhold(tine_scheduler *s, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    TINE_ASSERT_TRUE(o && o->holders > 0);
    if (!--o->holders && o->state != SCHED_OBJECT_EXPECTED) sched_object_free_unheld(s, o);
}

void tine_scheduler_hold_refs(tine_scheduler *s, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) tine_scheduler_hold(s, p->refs[i]);
}

void tine_scheduler_unhold_refs(tine_scheduler *s, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) tine_scheduler_unhold(s, p->refs[i]);
}

/* ---- arrival ---- */

static uint64_t sched_object_counter(tine_object id) {
    return (id & ((UINT64_C(1) << SCHED_EPOCH_SHIFT) - 1)) >> 1;
}

static bool sched_object_is_expected(const sched_worker *w, tine_object id) {
    uint64_t counter = sched_object_counter(id);
    return id >> SCHED_EPOCH_SHIFT == w->epoch && !tine_scheduler_arrived(&w->puts, counter);
}

static const char *sched_object_mark_arrived(sched_worker *w, tine_object id) {
    if (!sched_object_is_expected(w, id))
        return "it sent an OBJECT with an id that is not its own, or with the same id twice";
    bool arrived = tine_scheduler_arrive(&w->puts, sched_object_counter(id));
    return arrived ? NULL : "it does not number its OBJECTs consecutively";
}

static bool sched_object_known(tine_scheduler *s, sched_worker *w, tine_object id) {
    if (tine_scheduler_object_find(s, id)) return true;
    if (!w || !sched_object_is_expected(w, id) || w->n_expected >= SCHED_MAX_EARLY) return false;
    tine_scheduler_object_new(s, id, SCHED_OBJECT_EXPECTED);
    w->n_expected++;
    return true;
}

bool tine_scheduler_refs_known(tine_scheduler *s, sched_worker *w, const tine_payload *p,
                               tine_object target) {
    if (target && !(tine_object_is_module(target) && sched_object_known(s, w, target)))
        return false;
    for (uint32_t i = 0; p && i < p->n_refs; i++)
        if (!sched_object_known(s, w, p->refs[i])) return false;
    return true;
}

/* ---- to and from workers ---- */

void tine_scheduler_object_send(tine_scheduler *s, sched_worker *w, sched_object *o) {
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_OBJECT);
    a->a.message.object = o->id;
    if (o->state == SCHED_OBJECT_FAILED) {
        a->a.message.status = o->status;
        a->a.message.text = a->owned.memory = tine_scheduler_copy(o->text);
        tine_scheduler_object_replica(o, w); /* it may keep the reason */
        return;
    }
    a->a.message.payload = a->owned.payload = tine_payload_ref(o->payload);
    w->bytes_out += o->bytes;
    if (o->class_name) a->a.message.text = a->owned.memory = tine_scheduler_copy(o->class_name);
    tine_scheduler_object_replica(o, w);
}

void tine_scheduler_object_fail(sched_object *o, tine_error status, const char *text) {
    o->state = SCHED_OBJECT_FAILED;
    o->status = status;
    o->text = tine_scheduler_copy(text);
}

static void sched_object_fail_lost(sched_object *o) {
    tine_scheduler_object_fail(o, TINE_ELOST,
                               "the object is lost: its worker was lost, or an object that it "
                               "references has been freed");
}

static bool sched_object_is_here(const sched_object *o) {
    return o->state == SCHED_OBJECT_PRESENT || o->state == SCHED_OBJECT_FAILED;
}

/* Sends o to w, now or once it is here. An object that w has may still be on its way there. */
static void sched_object_provide(tine_scheduler *s, sched_worker *w, sched_object *o) {
    if (tine_scheduler_object_replica_at(o, w)) return;
    if (sched_object_is_here(o)) {
        tine_scheduler_object_send(s, w, o);
        return;
    }
    if (tine_scheduler_reach(s, w, o)) return;
    if (!tine_scheduler_object_waits(o, w)) tine_scheduler_pass(s, o, w);
    tine_scheduler_object_wait(o, w);
    if (o->state == SCHED_OBJECT_REMOTE) tine_scheduler_result_request(s, o);
}

void tine_scheduler_objects_push(tine_scheduler *s, const sched_task *t, sched_worker *w) {
    for (uint32_t i = 0; i < t->payload->n_refs; i++) {
        if (tine_object_is_module(t->payload->refs[i])) continue;
        sched_object *o = tine_scheduler_object_find(s, t->payload->refs[i]);
        bool own = o->state == SCHED_OBJECT_EXPECTED && o->id >> SCHED_EPOCH_SHIFT == w->epoch;
        if (!own) sched_object_provide(s, w, o);
    }
}

void tine_scheduler_object_fetch(tine_scheduler *s, sched_worker *w, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    if (o) {
        tine_scheduler_passed_again(s, o, w);
        sched_object_provide(s, w, o);
    } else {
        sched_action *a = tine_scheduler_send(s, w, TINE_MSG_OBJECT);
        a->a.message.object = id;
        a->a.message.status = TINE_EINVAL;
        a->a.message.text = a->owned.memory =
            tine_scheduler_text("there is no put value or module %#llx; it may have been released",
                                (unsigned long long)id);
        tine_scheduler_object_drop_at(s, w, id); /* the reason */
    }
}

/* Workers that cannot fetch it from its source are answered when it is here. */
static void sched_object_answer_remote(tine_scheduler *s, sched_object *o) {
    bool asked = o->wanted;
    for (size_t i = 0; i < o->words; i++) {
        for (uint64_t bits = o->fetchers[i]; bits; bits &= bits - 1)
            tine_scheduler_reach(s, s->slots[i * 64 + (size_t)__builtin_ctzll(bits)], o);
        asked |= o->fetchers[i] != 0;
    }
    if (asked) tine_scheduler_result_request(s, o);
}

static void sched_object_answer_all(tine_scheduler *s, sched_object *o) {
    for (size_t i = 0; i < o->words; i++)
        while (o->fetchers[i]) /* each is cleared as it is sent to */
            tine_scheduler_object_send(
                s, s->slots[i * 64 + (size_t)__builtin_ctzll(o->fetchers[i])], o);
}

void tine_scheduler_object_answer(tine_scheduler *s, sched_object *o) {
    if (o->state == SCHED_OBJECT_REMOTE) {
        sched_object_answer_remote(s, o);
    } else if (o->state == SCHED_OBJECT_FAILED) {
        sched_object_answer_all(s, o);
    } else if (o->state == SCHED_OBJECT_PRESENT && !o->answering) {
        o->answering = true;
        TAILQ_INSERT_TAIL(&s->answers, o, answer_link);
    }
}

void tine_scheduler_answers_send(tine_scheduler *s) {
    for (sched_object *o; (o = TAILQ_FIRST(&s->answers));) {
        sched_object_answered(s, o);
        sched_object_answer_all(s, o);
    }
}

/* Only the values in its arguments: a worker fetches modules when they are called, and what its
 * forks have returned when it is awaited, which the task need not have done. */
void tine_scheduler_objects_had(tine_scheduler *s, const sched_task *t) {
    for (uint32_t i = 0; t->payload && i < t->payload->n_refs; i++) {
        if (tine_object_is_module(t->payload->refs[i])) continue;
        sched_object *o = tine_scheduler_object_find(s, t->payload->refs[i]);
        if (!o) continue;
        tine_scheduler_passed_came(o, t->worker);
        /* The DONE of one that was passed may be still to come. */
        bool passed = o->state == SCHED_OBJECT_PENDING && o->producer->worker != t->worker;
        if ((o->answering || passed) && tine_scheduler_object_waits(o, t->worker))
            tine_scheduler_object_replica(o, t->worker);
    }
}

const char *tine_scheduler_object_arrived(tine_scheduler *s, sched_worker *w,
                                          const tine_message *m) {
    if (!m->payload) return "it sent an OBJECT without a value";
    const char *bad = sched_object_mark_arrived(w, m->object);
    if (bad) return bad;
    sched_object *o = tine_scheduler_object_find(s, m->object);
    if (o)
        w->n_expected--;
    else
        o = tine_scheduler_object_new(s, m->object, SCHED_OBJECT_EXPECTED);
    if (tine_scheduler_refs_known(s, w, m->payload, 0)) {
        o->state = SCHED_OBJECT_PRESENT;
        o->payload = tine_payload_ref(m->payload);
        o->bytes = tine_payload_bytes(m->payload);
        o->class_name = m->text && *m->text ? tine_scheduler_copy(m->text) : NULL;
        tine_scheduler_hold_refs(s, o->payload);
    } else {
        sched_object_fail_lost(o);
    }
    tine_scheduler_object_replica(o, w);
    o->holders++; /* until its task holds it */
    tine_scheduler_object_answer(s, o);
    sched_task *t = tine_scheduler_task_find(s, m->task);
    if (t && t->worker == w) {
        tine_scheduler_task_hold(s, t, m->object);
        tine_scheduler_task_received(s, t);
    }
    tine_scheduler_unhold(s, m->object);
    return NULL;
}

static bool sched_object_keeper(const sched_object *o, const sched_worker *w) {
    return w->slot / 64 < o->words && o->keepers[w->slot / 64] >> (w->slot % 64) & 1;
}

static void sched_object_unkeep(tine_scheduler *s, const sched_worker *w, sched_object *o) {
    o->keepers[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
    tine_scheduler_unhold(s, o->id);
}

void tine_scheduler_object_keep(tine_scheduler *s, sched_worker *w, tine_object id, bool keep) {
    if (!id || s->stopped || !sched_object_known(s, keep ? w : NULL, id)) return;
    sched_object *o = tine_scheduler_object_find(s, id);
    if (sched_object_keeper(o, w) == keep) return;
    if (keep) {
        tine_scheduler_object_mark(o, &o->keepers, w);
        o->holders++;
    } else {
        sched_object_unkeep(s, w, o);
    }
}

/* Freeing one object may free others, so their ids are gathered first. */
void tine_scheduler_objects_unkeep(tine_scheduler *s, sched_worker *w) {
    tine_object *ids = NULL;
    size_t n = 0, room = 0;
    sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) {
        if (!sched_object_keeper(o, w)) continue;
        ids = tine_scheduler_grow(ids, &room, n + 1, sizeof *ids);
        ids[n++] = o->id;
    }
    for (size_t i = 0; i < n; i++) sched_object_unkeep(s, w, tine_scheduler_object_find(s, ids[i]));
    free(ids);
}

static void sched_object_lost(tine_scheduler *s, sched_object *o, const sched_worker *w,
                              const char *reason) {
    if (o->state == SCHED_OBJECT_EXPECTED && o->id >> SCHED_EPOCH_SHIFT == w->epoch) {
        sched_object_fail_lost(o);
        tine_scheduler_object_answer(s, o);
        if (!o->holders) sched_object_free_unheld(s, o); /* some worker may keep the reason */
    } else {
        tine_scheduler_result_lost(s, o, w, reason);
    }
}

/* Losing one object may free others, so the ids of those that need more are gathered first. */
void tine_scheduler_objects_lost(tine_scheduler *s, sched_worker *w, const char *reason) {
    tine_object *ids = NULL;
    size_t n = 0, room = 0;
    sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) {
        bool has = tine_scheduler_object_replica_at(o, w);
        if (w->slot / 64 < o->words) o->fetchers[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
        tine_scheduler_object_unreplica(o, w);
        tine_scheduler_passed_lost(s, o);
        bool own = o->state == SCHED_OBJECT_EXPECTED && o->id >> SCHED_EPOCH_SHIFT == w->epoch;
        if (!own && !(has && o->state == SCHED_OBJECT_REMOTE)) continue;
        ids = tine_scheduler_grow(ids, &room, n + 1, sizeof *ids);
        ids[n++] = o->id;
    }
    for (size_t i = 0; i < n; i++)
        if ((o = tine_scheduler_object_find(s, ids[i]))) sched_object_lost(s, o, w, reason);
    free(ids);
    tine_scheduler_objects_unkeep(s, w);
}

void tine_scheduler_objects_free(tine_scheduler *s) {
    sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link)
        while (!TAILQ_EMPTY(&o->inputs))
            tine_scheduler_inputs_forget(s, TAILQ_FIRST(&o->inputs)->task);
    while ((o = TAILQ_FIRST(&s->object_list))) sched_object_free(s, o);
    tine_idmap_fini(&s->objects);
}

/* ---- objects of this process ---- */

tine_error tine_scheduler_object(tine_scheduler *s, tine_object *out, const char *class_name,
                                 tine_payload *payload) {
    if (!payload) return TINE_EINVAL;
    if (!tine_scheduler_refs_known(s, NULL, payload, 0)) return TINE_EINVAL;
    tine_object id = ++s->last_object << 1 | (class_name ? 1 : 0);
    sched_object *o = tine_scheduler_object_new(s, id, SCHED_OBJECT_PRESENT);
    o->payload = tine_payload_ref(payload);
    o->bytes = tine_payload_bytes(payload);
    o->class_name = class_name ? tine_scheduler_copy(class_name) : NULL;
    o->holders = o->handles = 1;
    s->stats.objects_made = s->last_object;
    tine_scheduler_hold_refs(s, payload);
    *out = id;
    return TINE_OK;
}

void tine_scheduler_object_retain(tine_scheduler *s, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    if (!o) return;
    o->holders++;
    o->handles++;
}

void tine_scheduler_object_release(tine_scheduler *s, tine_object id) {
    sched_object *o = tine_scheduler_object_find(s, id);
    if (!o || !o->handles) return;
    o->handles--;
    tine_scheduler_unhold(s, id);
}

tine_payload *tine_scheduler_object_payload(tine_scheduler *s, tine_object id,
                                            const char **class_name) {
    sched_object *o = tine_scheduler_object_find(s, id);
    if (!o || o->state != SCHED_OBJECT_PRESENT) return NULL;
    if (class_name) *class_name = o->class_name;
    return o->payload;
}

tine_error tine_scheduler_object_error(tine_scheduler *s, tine_object id, const char **text) {
    const sched_object *o = tine_scheduler_object_find(s, id);
    *text = o && o->text ? o->text : "the value has been freed: its last handle was released";
    if (!o) return TINE_EINVAL;
    return o->state == SCHED_OBJECT_FAILED ? o->status : TINE_EAGAIN;
}
