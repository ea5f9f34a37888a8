/* The records of tasks: made, found, freed.
 *
 * They are allocated in chunks and never move. A task's id holds its slot and the slot's
 * generation: a late reply names an older generation. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

sched_task *tine_scheduler_task_find(const tine_scheduler *s, uint64_t id) {
    uint64_t slot = (id & UINT32_MAX) - 1;
    if (slot / SCHED_TASK_CHUNK >= s->n_chunks) return NULL;
    sched_task *t = tine_scheduler_task_at(s, slot);
    return t->id == id && t->state != SCHED_FREE ? t : NULL;
}

static void sched_tasks_grow(tine_scheduler *s) {
    sched_task *chunk = tine_scheduler_alloc(SCHED_TASK_CHUNK * sizeof *chunk);
    s->chunks =
        tine_scheduler_grow(s->chunks, &s->room_chunks, s->n_chunks + 1, sizeof(sched_task *));
    for (size_t i = SCHED_TASK_CHUNK; i-- > 0;) {
        chunk[i].id = s->n_chunks * SCHED_TASK_CHUNK + i + 1;
        SLIST_INSERT_HEAD(&s->free_tasks, &chunk[i], stacked);
    }
    s->chunks[s->n_chunks++] = chunk;
}

static sched_terms *sched_terms_new(const tine_terms *terms) {
    const char *name = terms->name ? terms->name : "";
    sched_terms *t = tine_scheduler_alloc(sizeof *t + strlen(name) + 1);
    t->max_attempts = terms->retries;
    t->failure_retries = terms->failure_retries;
    t->worker = terms->worker;
    t->timed = terms->timed;
    t->stream.limit = terms->stream;
    strcpy(t->name, name);
    return t;
}

static void sched_terms_free(sched_terms *t) {
    tine_scheduler_arrivals_fini(&t->stream.arrivals);
    free(t);
}

/* The level of a fork that the program makes: see SCHED_LEVEL. */
static uint32_t sched_level(int32_t priority) {
    const int32_t most = (TINE_READY_MAX_DEPTH - SCHED_LEVEL_HIGH) / SCHED_LEVEL_DEPTHS;
    if (priority <= 0) return (uint32_t)(priority < -SCHED_LEVEL ? 0 : SCHED_LEVEL + priority);
    return (uint32_t)(SCHED_LEVEL_HIGH +
                      (priority < most ? priority - 1 : most - 1) * SCHED_LEVEL_DEPTHS);
}

sched_task *tine_scheduler_task_new(tine_scheduler *s, const tine_target *target, uint32_t flags,
                                    tine_payload *payload, const tine_terms *terms) {
    if (SLIST_EMPTY(&s->free_tasks)) sched_tasks_grow(s);
    sched_task *t = SLIST_FIRST(&s->free_tasks);
    SLIST_REMOVE_HEAD(&s->free_tasks, stacked);
    *t = (sched_task){.id = t->id + (UINT64_C(1) << 32),
                      .attempt = 1,
                      .flags = flags,
                      .state = SCHED_READY,
                      .forked = s->now};
    t->callable = tine_scheduler_callable_get(s, target->name, target->method, terms);
    t->callable->uses++;
    t->payload = tine_payload_ref(payload);
    t->bytes = tine_payload_bytes(payload);
    t->object = target->object;
    if (!t->object) t->flags &= ~(uint32_t)(TINE_MODULE_SINGLE | TINE_MODULE_RENEW);
    t->link.order = ++s->last_order;
    t->link.depth = terms ? sched_level(terms->priority) : SCHED_LEVEL;
    if (terms) t->terms = sched_terms_new(terms);
    tine_scheduler_hold_refs(s, payload);
    if (t->object) tine_scheduler_hold(s, t->object);
    s->stats.forked++;
    return t;
}

void tine_scheduler_task_adopt(sched_task *parent, sched_task *child) {
    child->parent = parent;
    struct sched_task_list *list = parent ? &parent->children : &child->owner->detached;
    LIST_INSERT_HEAD(list, child, sibling);
}

void tine_scheduler_task_leave_parent(sched_task *t) {
    if (!t->sibling.le_prev) return;
    LIST_REMOVE(t, sibling);
    t->sibling.le_prev = NULL;
    t->parent = NULL;
}

void tine_scheduler_task_hold(tine_scheduler *s, sched_task *t, tine_object id) {
    size_t room = t->room_holds;
    t->holds = tine_scheduler_grow(t->holds, &room, (size_t)t->n_holds + 1, sizeof *t->holds);
    t->room_holds = (uint32_t)room;
    t->holds[t->n_holds++] = id;
    tine_scheduler_hold(s, id);
}

void tine_scheduler_task_drop_holds(tine_scheduler *s, sched_task *t) {
    for (uint32_t i = 0; i < t->n_holds; i++) tine_scheduler_unhold(s, t->holds[i]);
    if (t->holds) free(t->holds);
    t->holds = NULL;
    t->n_holds = t->room_holds = 0;
}

void tine_scheduler_task_drop_done(sched_task *t) {
    if (!t->done) return;
    tine_payload_unref(t->done->payload);
    free(t->done->text);
    free(t->done);
    t->done = NULL;
}

void tine_scheduler_task_unhold_arguments(tine_scheduler *s, sched_task *t) {
    tine_scheduler_unhold_refs(s, t->payload);
    if (t->object) tine_scheduler_unhold(s, t->object);
}

void tine_scheduler_task_free(tine_scheduler *s, sched_task *t) {
    TINE_ASSERT_TRUE(t->state != SCHED_FREE && LIST_EMPTY(&t->children) && !t->worker &&
                     !t->link.queued && !t->result && !t->n_missing && !t->aimed);
    tine_scheduler_task_leave_parent(t);
    tine_scheduler_task_drop_done(t);
    tine_scheduler_task_drop_holds(s, t);
    if (t->flags & TINE_MODULE_SINGLE) tine_scheduler_turn_end(s, t);
    if (t->state != SCHED_KEPT) tine_scheduler_task_unhold_arguments(s, t);
    tine_payload_unref(t->payload);
    if (t->terms) sched_terms_free(t->terms);
    tine_scheduler_callable_unuse(s, t->callable);
    t->payload = NULL;
    t->callable = NULL;
    t->state = SCHED_FREE;
    SLIST_INSERT_HEAD(&s->free_tasks, t, stacked);
}

void tine_scheduler_tasks_free(tine_scheduler *s) {
    for (size_t i = 0; i < s->n_chunks; i++) free(s->chunks[i]);
    free(s->chunks);
}
