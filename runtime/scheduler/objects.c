/* Objects: put values and modules, who holds them, and which workers have them.
 *
 * A worker's put may be a large frame, and a small one that mentions it may overtake it. So what is
 * mentioned by its maker before it is here gets a record that says COMING, which can be held like
 * any other; who fetches it is answered when it arrives. That it is coming and not gone is known
 * from its id: a worker counts its puts, and the scheduler which of them have arrived.
 *
 * An object is freed when its last holder goes; its own references then go too, by a list of work,
 * because chains may be long. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

sched_object *tine_scheduler_object_find(const tine_scheduler *h, tine_object id) {
    return tine_idmap_get(&h->objects, id);
}

static sched_object *object_new(tine_scheduler *h, tine_object id, sched_object_state state) {
    sched_object *o = tine_scheduler_alloc(sizeof *o);
    o->id = id;
    o->state = state;
    tine_idmap_put(&h->objects, id, o);
    SCHED_APPEND(h->object_first, h->object_last, o, prev, next);
    h->stats.objects++;
    return o;
}

static void object_free(tine_scheduler *h, sched_object *o) {
    tine_idmap_remove(&h->objects, o->id);
    SCHED_UNLINK(h->object_first, h->object_last, o, prev, next);
    h->stats.objects--;
    tine_payload_unref(o->payload);
    free(o->class_name);
    free(o->at);
    free(o->wanted);
    free(o);
}

/* ---- which workers have it ---- */

static void mark(sched_object *o, uint64_t **bits, const sched_worker *w) {
    size_t need = w->slot / 64 + 1;
    if (need > o->words) {
        o->at = realloc(o->at, need * sizeof *o->at);
        o->wanted = realloc(o->wanted, need * sizeof *o->wanted);
        TINE_ASSERT_TRUE(o->at && o->wanted);
        memset(o->at + o->words, 0, (need - o->words) * sizeof *o->at);
        memset(o->wanted + o->words, 0, (need - o->words) * sizeof *o->wanted);
        o->words = need;
    }
    (*bits)[w->slot / 64] |= UINT64_C(1) << (w->slot % 64);
}

bool tine_scheduler_object_at(const sched_object *o, const sched_worker *w) {
    return w->slot / 64 < o->words && o->at[w->slot / 64] >> (w->slot % 64) & 1;
}

static void send_drop(tine_scheduler *h, sched_worker *w, tine_object id) {
    w->drops = tine_scheduler_grow(w->drops, &w->room_drops, w->n_drops + 1, sizeof *w->drops);
    w->drops[w->n_drops++] = id;
    tine_scheduler_dirty(h, w);
}

static void tell_workers(tine_scheduler *h, const sched_object *o) {
    for (size_t i = 0; i < o->words; i++)
        for (uint64_t bits = o->at[i]; bits; bits &= bits - 1)
            send_drop(h, h->slots[i * 64 + (size_t)__builtin_ctzll(bits)], o->id);
}

/* ---- holders ---- */

void tine_scheduler_hold(tine_scheduler *h, tine_object id) {
    sched_object *o = tine_scheduler_object_find(h, id);
    TINE_ASSERT_TRUE(o);
    o->holders++;
}

static void free_unheld(tine_scheduler *h, sched_object *o) {
    o->work = NULL;
    for (sched_object *work = o; work;) {
        sched_object *at = work;
        work = at->work;
        for (uint32_t i = 0; at->payload && i < at->payload->n_refs; i++) {
            sched_object *r = tine_scheduler_object_find(h, at->payload->refs[i]);
            TINE_ASSERT(r && r->holders, >, 0);
            if (--r->holders || r->state == SCHED_OBJECT_COMING) continue;
            r->work = work;
            work = r;
        }
        tell_workers(h, at);
        object_free(h, at);
    }
}

/* One that is coming stays until it came, so that its maker can be told to drop it. */
void tine_scheduler_unhold(tine_scheduler *h, tine_object id) {
    sched_object *o = tine_scheduler_object_find(h, id);
    TINE_ASSERT(o && o->holders, >, 0);
    if (!--o->holders && o->state != SCHED_OBJECT_COMING) free_unheld(h, o);
}

void tine_scheduler_hold_refs(tine_scheduler *h, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) tine_scheduler_hold(h, p->refs[i]);
}

void tine_scheduler_unhold_refs(tine_scheduler *h, const tine_payload *p) {
    for (uint32_t i = 0; p && i < p->n_refs; i++) tine_scheduler_unhold(h, p->refs[i]);
}

/* ---- what is on its way ---- */

static uint64_t counter_of(tine_object id) {
    return (id & ((UINT64_C(1) << SCHED_EPOCH_SHIFT) - 1)) >> 1;
}

static size_t early_place(const sched_worker *w, uint64_t counter) {
    size_t low = 0, high = w->n_early;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->put_early[middle] < counter)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_coming(const sched_worker *w, tine_object id) {
    uint64_t counter = counter_of(id);
    if (id >> SCHED_EPOCH_SHIFT != w->epoch || counter <= w->put_low) return false;
    size_t i = early_place(w, counter);
    return i == w->n_early || w->put_early[i] != counter;
}

static const char *mark_arrived(sched_worker *w, tine_object id) {
    uint64_t counter = counter_of(id);
    if (!is_coming(w, id))
        return "it put an object under an id that is not its own, or twice under one";
    if (w->n_early >= SCHED_MAX_EARLY) return "it does not count the objects that it puts";
    size_t i = early_place(w, counter);
    w->put_early =
        tine_scheduler_grow(w->put_early, &w->room_early, w->n_early + 1, sizeof *w->put_early);
    memmove(w->put_early + i + 1, w->put_early + i, (w->n_early - i) * sizeof *w->put_early);
    w->put_early[i] = counter;
    w->n_early++;
    size_t taken = 0;
    while (taken < w->n_early && w->put_early[taken] == w->put_low + 1) {
        w->put_low++;
        taken++;
    }
    w->n_early -= taken;
    if (taken) memmove(w->put_early, w->put_early + taken, w->n_early * sizeof *w->put_early);
    return NULL;
}

static bool known(tine_scheduler *h, sched_worker *w, tine_object id) {
    if (tine_scheduler_object_find(h, id)) return true;
    if (!w || !is_coming(w, id) || w->coming >= SCHED_MAX_EARLY) return false;
    object_new(h, id, SCHED_OBJECT_COMING);
    w->coming++;
    return true;
}

bool tine_scheduler_mentions(tine_scheduler *h, sched_worker *w, const tine_payload *p,
                             tine_object target) {
    bool all = !target || (tine_object_is_module(target) && known(h, w, target));
    for (uint32_t i = 0; all && p && i < p->n_refs; i++) all = known(h, w, p->refs[i]);
    return all;
}

/* ---- to and from workers ---- */

static void send_object(tine_scheduler *h, sched_worker *w, sched_object *o) {
    sched_action *a = tine_scheduler_send(h, w->peer, TINE_MSG_OBJECT);
    a->a.message.object = o->id;
    if (o->state == SCHED_OBJECT_BROKEN) {
        a->a.message.status = TINE_ELOST;
        a->a.message.text = a->memory = tine_scheduler_copy(
            "the worker that made this object was lost, or it mentions one that is gone");
        return;
    }
    a->a.message.payload = tine_payload_ref(o->payload);
    if (o->class_name) a->a.message.text = a->memory = tine_scheduler_copy(o->class_name);
    mark(o, &o->at, w);
}

void tine_scheduler_object_fetch(tine_scheduler *h, sched_worker *w, tine_object id) {
    sched_object *o = tine_scheduler_object_find(h, id);
    if (o && o->state != SCHED_OBJECT_COMING) {
        send_object(h, w, o);
    } else if (o) {
        mark(o, &o->wanted, w);
    } else {
        sched_action *a = tine_scheduler_send(h, w->peer, TINE_MSG_OBJECT);
        a->a.message.object = id;
        a->a.message.status = TINE_EINVAL;
        a->a.message.text = a->memory = tine_scheduler_text(
            "there is no put value or module %#llx (any more)", (unsigned long long)id);
    }
}

static void answer_fetchers(tine_scheduler *h, sched_object *o) {
    for (size_t i = 0; i < o->words; i++)
        for (; o->wanted[i]; o->wanted[i] &= o->wanted[i] - 1)
            send_object(h, h->slots[i * 64 + (size_t)__builtin_ctzll(o->wanted[i])], o);
}

const char *tine_scheduler_object_arrived(tine_scheduler *h, sched_worker *w,
                                          const tine_message *m) {
    if (!m->payload) return "it put an object without contents";
    const char *bad = mark_arrived(w, m->object);
    if (bad) return bad;
    sched_object *o = tine_scheduler_object_find(h, m->object);
    if (o)
        w->coming--;
    else
        o = object_new(h, m->object, SCHED_OBJECT_COMING);
    if (tine_scheduler_mentions(h, w, m->payload, 0)) {
        o->state = SCHED_OBJECT_HERE;
        o->payload = tine_payload_ref(m->payload);
        o->class_name = m->text && *m->text ? tine_scheduler_copy(m->text) : NULL;
        tine_scheduler_hold_refs(h, o->payload);
    } else {
        o->state = SCHED_OBJECT_BROKEN;
    }
    mark(o, &o->at, w);
    o->holders++; /* ours, while it gets its real ones */
    answer_fetchers(h, o);
    sched_task *t = tine_scheduler_task_find(h, m->task);
    if (t && t->worker == w) {
        tine_scheduler_task_hold(h, t, m->object);
        tine_scheduler_task_received(h, t);
    }
    tine_scheduler_unhold(h, m->object);
    return NULL;
}

void tine_scheduler_objects_lost(tine_scheduler *h, sched_worker *w) {
    for (sched_object *o = h->object_first, *next; o; o = next) {
        next = o->next;
        if (w->slot / 64 < o->words) {
            o->at[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
            o->wanted[w->slot / 64] &= ~(UINT64_C(1) << (w->slot % 64));
        }
        if (o->state != SCHED_OBJECT_COMING || o->id >> SCHED_EPOCH_SHIFT != w->epoch) continue;
        o->state = SCHED_OBJECT_BROKEN;
        answer_fetchers(h, o);
        if (!o->holders) object_free(h, o);
    }
}

void tine_scheduler_objects_free(tine_scheduler *h) {
    while (h->object_first) object_free(h, h->object_first);
    tine_idmap_fini(&h->objects);
}

/* ---- this process's own ---- */

tine_error tine_scheduler_object(tine_scheduler *h, tine_object *out, const char *class_name,
                                 tine_payload *payload) {
    if (!payload) return TINE_EINVAL;
    if (!tine_scheduler_mentions(h, NULL, payload, 0)) return TINE_EINVAL;
    tine_object id = ++h->handles << 1 | (class_name ? 1 : 0);
    sched_object *o = object_new(h, id, SCHED_OBJECT_HERE);
    o->payload = tine_payload_ref(payload);
    o->class_name = class_name ? tine_scheduler_copy(class_name) : NULL;
    o->holders = o->handles = 1;
    h->stats.objects_made = h->handles;
    tine_scheduler_hold_refs(h, payload);
    *out = id;
    return TINE_OK;
}

void tine_scheduler_object_retain(tine_scheduler *h, tine_object id) {
    sched_object *o = tine_scheduler_object_find(h, id);
    if (!o) return;
    o->holders++;
    o->handles++;
}

void tine_scheduler_object_release(tine_scheduler *h, tine_object id) {
    sched_object *o = tine_scheduler_object_find(h, id);
    if (!o || !o->handles) return;
    o->handles--;
    tine_scheduler_unhold(h, id);
}

tine_payload *tine_scheduler_object_payload(tine_scheduler *h, tine_object id,
                                            const char **class_name) {
    sched_object *o = tine_scheduler_object_find(h, id);
    if (!o || o->state != SCHED_OBJECT_HERE) return NULL;
    if (class_name) *class_name = o->class_name;
    return o->payload;
}
