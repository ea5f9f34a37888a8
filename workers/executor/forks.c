/* Forks that running tasks make, and the values and modules that they put: each goes to the
 * coordinator at once. An answer completes its fork when every put value that it mentions is
 * here. */
#include <stdlib.h>
#include <string.h>

#include "transport/base/memory.h"
#include "workers/executor/internal.h"

enum { EXECUTOR_EPOCH_SHIFT = 40 }; /* object id: see TINE_MSG_OBJECT */

static void executor_fork_open(tine_executor *x, uint64_t ticket) {
    if (!x->free_fork) {
        x->forks = tine_must_grow(x->forks, &x->room_forks, x->n_forks + 1, sizeof *x->forks);
        x->forks[x->n_forks] = (executor_fork){0};
        x->free_fork = (uint32_t)++x->n_forks;
    }
    uint32_t slot = x->free_fork;
    executor_fork *f = &x->forks[slot - 1];
    x->free_fork = f->free_next;
    f->ticket = ticket;
    tine_idmap_put(&x->open, ticket, (void *)(uintptr_t)slot);
}

/* Whether the ticket was open; it is not any more. */
static bool executor_fork_close(tine_executor *x, uint64_t ticket) {
    uint32_t slot = (uint32_t)(uintptr_t)tine_idmap_remove(&x->open, ticket);
    if (!slot) return false;
    x->forks[slot - 1] = (executor_fork){.free_next = x->free_fork};
    x->free_fork = slot;
    return true;
}

tine_error tine_executor_fork(tine_executor *x, uint64_t parent, uint64_t ticket,
                              const tine_target *target, uint32_t flags, tine_payload *payload,
                              const tine_terms *terms) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = executor_task_find(x, parent);
    TINE_ASSERT_TRUE(t && t->started && ticket);
    if (!x->window) {
        x->refused_fork = true;
        return TINE_EAGAIN;
    }
    x->window--;
    t->sent++;
    executor_action *action = tine_executor_send(x, terms ? TINE_MSG_SUBMIT_WITH : TINE_MSG_SUBMIT);
    tine_message *m = &action->a.message;
    size_t size = tine_target_size(target);
    action->owned.memory = tine_must_alloc(size + tine_terms_size(terms));
    m->target = tine_target_copy(action->owned.memory, target);
    if (terms) m->terms = tine_terms_copy((char *)action->owned.memory + size, terms);
    m->task = parent;
    m->flags = flags;
    m->payload = action->owned.payload = tine_payload_ref(payload);
    m->seq = ticket;
    executor_fork_open(x, ticket);
    return TINE_OK;
}

bool tine_executor_cancel(tine_executor *x, uint64_t parent, uint64_t ticket, uint64_t grace_ns) {
    if (!executor_fork_close(x, ticket)) return false;
    tine_message *m = &tine_executor_send(x, TINE_MSG_CANCEL)->a.message;
    m->task = parent;
    m->seq = ticket;
    m->grace_ns = grace_ns;
    return true;
}

static void executor_complete(tine_executor *x, uint64_t ticket, tine_error status,
                              tine_payload *payload, const char *text) {
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_COMPLETE);
    action->a.ticket = ticket;
    action->a.status = status;
    if (status == TINE_OK)
        action->a.payload = tine_payload_ref(payload);
    else
        action->a.text = action->owned.memory = tine_must_copy(text ? text : "");
}

static void executor_result_free(executor_result *r) {
    LIST_REMOVE(r, entry);
    tine_payload_unref(r->payload);
    free(r->waiter.text);
    free(r);
}

void tine_executor_result_settled(tine_executor *x, executor_result *r) {
    executor_complete(x, r->ticket, r->waiter.status, r->payload, r->waiter.text);
    executor_result_free(r);
}

void tine_executor_fork_answered(tine_executor *x, const tine_message *m) {
    uint64_t ticket = m->seq;
    if (!executor_fork_close(x, ticket)) return; /* a duplicate */
    if (m->status || !m->payload) {
        executor_complete(x, ticket, m->status ? m->status : TINE_EPROTO, NULL, m->text);
        return;
    }
    executor_result *r = tine_must_alloc(sizeof *r);
    r->waiter.kind = WAITER_RESULT;
    r->ticket = ticket;
    r->payload = tine_payload_ref(m->payload);
    LIST_INSERT_HEAD(&x->results, r, entry);
    tine_executor_await(x, &r->waiter, r->payload);
}

tine_error tine_executor_put(tine_executor *x, uint64_t task, const char *class_name,
                             tine_payload *payload, tine_object *out) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = executor_task_find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    tine_object id =
        (uint64_t)x->epoch << EXECUTOR_EPOCH_SHIFT | ++x->puts << 1 | (class_name ? 1 : 0);
    executor_action *action = tine_executor_send(x, TINE_MSG_OBJECT);
    action->a.message.object = id;
    action->a.message.task = task;
    action->a.message.text = action->owned.memory = tine_must_copy(class_name);
    action->a.message.payload = action->owned.payload = tine_payload_ref(payload);
    t->sent++;
    tine_executor_object_put(x, id, class_name, payload);
    *out = id;
    return TINE_OK;
}

void tine_executor_forks_stop(tine_executor *x) {
    for (size_t i = 0; i < x->n_forks; i++) {
        uint64_t ticket = x->forks[i].ticket;
        if (executor_fork_close(x, ticket))
            executor_complete(x, ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
    }
    while (!LIST_EMPTY(&x->results)) {
        executor_complete(x, LIST_FIRST(&x->results)->ticket, TINE_ECANCELED, NULL,
                          "the coordinator has ended");
        executor_result_free(LIST_FIRST(&x->results));
    }
}

void tine_executor_forks_free(tine_executor *x) {
    while (!LIST_EMPTY(&x->results)) executor_result_free(LIST_FIRST(&x->results));
    tine_idmap_fini(&x->open);
    free(x->forks);
}
