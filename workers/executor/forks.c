/* Forks that running tasks make, and the values and modules that they put: each goes to the
 * coordinator at once, or stays here (local.c). An answer completes its fork when every put value
 * that it mentions is here. */
#include <stdlib.h>
#include <string.h>

#include "transport/base/memory.h"
#include "workers/executor/internal.h"

enum { EXECUTOR_EPOCH_SHIFT = 40 }; /* object id: see TINE_MSG_OBJECT */

executor_fork *tine_executor_fork_open(tine_executor *x, uint64_t ticket, bool stream) {
    if (!x->free_fork) {
        x->forks = tine_must_grow(x->forks, &x->room_forks, x->n_forks + 1, sizeof *x->forks);
        x->forks[x->n_forks] = (executor_fork){0};
        x->free_fork = (uint32_t)++x->n_forks;
    }
    uint32_t slot = x->free_fork;
    executor_fork *f = &x->forks[slot - 1];
    x->free_fork = f->free_next;
    *f = (executor_fork){.ticket = ticket, .stream = stream};
    if (stream) f->expects = UINT64_MAX;
    x->n_streams += stream;
    tine_idmap_put(&x->open, ticket, (void *)(uintptr_t)slot);
    return f;
}

executor_fork *tine_executor_fork_find(const tine_executor *x, uint64_t ticket) {
    uint32_t slot = (uint32_t)(uintptr_t)tine_idmap_get(&x->open, ticket);
    return slot ? &x->forks[slot - 1] : NULL;
}

static void executor_result_free(executor_result *r) {
    LIST_REMOVE(r, entry);
    tine_payload_unref(r->payload);
    free(r->waiter.text);
    free(r);
}

bool tine_executor_fork_close(tine_executor *x, uint64_t ticket) {
    uint32_t slot = (uint32_t)(uintptr_t)tine_idmap_remove(&x->open, ticket);
    if (!slot) return false;
    executor_fork *f = &x->forks[slot - 1];
    if (f->result) executor_result_free(f->result);
    x->n_streams -= f->stream;
    *f = (executor_fork){.free_next = x->free_fork};
    x->free_fork = slot;
    return true;
}

void tine_executor_submit(tine_executor *x, executor_task *known, uint64_t ticket,
                          const tine_target *target, uint32_t flags, tine_payload *payload,
                          const tine_terms *terms) {
    known->sent++;
    x->submits++;
    executor_action *action = tine_executor_send(x, terms ? TINE_MSG_SUBMIT_WITH : TINE_MSG_SUBMIT);
    tine_message *m = &action->a.message;
    size_t size = tine_target_size(target), head = terms ? sizeof *terms : 0;
    char *texts = tine_must_alloc(head + size + tine_terms_size(terms));
    tine_terms *copy = action->owned.memory = texts;
    m->target = tine_target_copy(texts + head, target);
    if (terms) *copy = tine_terms_copy(texts + head + size, terms);
    if (terms) m->terms = copy;
    m->task = known->id;
    m->flags = flags;
    m->payload = action->owned.payload = tine_payload_ref(payload);
    m->seq = ticket;
}

tine_error tine_executor_fork(tine_executor *x, uint64_t parent, uint64_t ticket,
                              const tine_target *target, uint32_t flags, tine_payload *payload,
                              const tine_terms *terms) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = executor_task_find(x, parent);
    TINE_ASSERT_TRUE(t && t->started && ticket);
    if (t->cancelled) {
        tine_executor_complete(x, ticket, TINE_ECANCELED, NULL,
                               "the fork was cancelled: by the task that made it, or that has "
                               "ended or was lost");
        return TINE_OK;
    }
    if (!tine_executor_takes_forks(x)) {
        x->refused_fork = true;
        return TINE_EAGAIN;
    }
    x->window--;
    executor_fork *f = tine_executor_fork_open(x, ticket, terms && terms->stream);
    f->task = t->id;
    f->known = t->known->id;
    if (tine_executor_may_keep(x, target, flags, payload, terms))
        tine_executor_keep(x, t, ticket, target, flags, payload, terms);
    else
        tine_executor_submit(x, t->known, ticket, target, flags, payload, terms);
    return TINE_OK;
}

void tine_executor_send_cancel(tine_executor *x, uint64_t known, uint64_t ticket,
                               uint64_t grace_ns) {
    tine_message *m = &tine_executor_send(x, TINE_MSG_CANCEL)->a.message;
    m->task = known;
    m->seq = ticket;
    m->grace_ns = grace_ns;
}

bool tine_executor_cancel(tine_executor *x, uint64_t ticket, uint64_t grace_ns) {
    const executor_fork *f = tine_executor_fork_find(x, ticket);
    if (!f) return false;
    executor_task *local = f->local;
    uint64_t known = f->known;
    bool told = f->overdue;
    tine_executor_fork_close(x, ticket);
    if (local)
        tine_executor_cancel_local(x, local);
    else if (!told)
        tine_executor_send_cancel(x, known, ticket, grace_ns);
    return true;
}

bool tine_executor_is_queued(const tine_executor *x, uint64_t ticket) {
    const executor_fork *f = tine_executor_fork_find(x, ticket);
    return f && f->local && !f->local->started && f->local->attempt == 1;
}

void tine_executor_cancel_early(tine_executor *x, uint64_t ticket, uint64_t grace_ns) {
    executor_fork *f = tine_executor_fork_find(x, ticket);
    if (!f || f->local || f->overdue || x->stopped) return;
    f->overdue = true;
    tine_executor_send_cancel(x, f->known, ticket, grace_ns);
}

void tine_executor_pull(tine_executor *x, uint64_t ticket, uint64_t item) {
    const executor_fork *f = tine_executor_fork_find(x, ticket);
    if (!f || x->stopped) return;
    tine_message *m = &tine_executor_send(x, TINE_MSG_PULL)->a.message;
    m->task = f->known;
    m->seq = ticket;
    m->item = item;
}

/* ---- answers ---- */

/* COMPLETE or, of a value of a stream, YIELD. */
static executor_action *executor_give(tine_executor *x, tine_executor_action_kind kind,
                                      uint64_t ticket, tine_error status, tine_payload *payload,
                                      const char *text) {
    executor_action *action = tine_executor_push(x, kind);
    action->a.ticket = ticket;
    action->a.status = status;
    if (status == TINE_OK)
        action->a.payload = tine_payload_ref(payload);
    else
        action->a.text = action->owned.memory = tine_must_copy(text ? text : "");
    return action;
}

void tine_executor_complete(tine_executor *x, uint64_t ticket, tine_error status,
                            tine_payload *payload, const char *text) {
    executor_give(x, TINE_EXECUTOR_COMPLETE, ticket, status, payload, text);
}

static executor_result *executor_result_new(tine_executor *x, uint64_t ticket,
                                            tine_payload *payload) {
    executor_result *r = tine_must_alloc(sizeof *r);
    r->waiter.kind = WAITER_RESULT;
    r->ticket = ticket;
    r->payload = tine_payload_ref(payload);
    LIST_INSERT_HEAD(&x->results, r, entry);
    return r;
}

/* A stream ends when its result and all of its values are here. */
static void executor_stream_settle(tine_executor *x, executor_fork *f) {
    executor_result *r = f->result;
    if (!r || f->items < f->expects) return;
    tine_executor_complete(x, r->ticket, r->waiter.status, r->payload, r->waiter.text);
    tine_executor_fork_close(x, r->ticket);
}

/* A value of a stream, or its result. */
static void executor_stream_settled(tine_executor *x, executor_result *r) {
    executor_fork *f = tine_executor_fork_find(x, r->ticket);
    if (f && !r->item) {
        f->result = r;
    } else {
        if (f) {
            f->items++;
            executor_give(x, TINE_EXECUTOR_YIELD, r->ticket, r->waiter.status, r->payload,
                          r->waiter.text)
                ->a.item = r->item;
        }
        executor_result_free(r);
    }
    if (f) executor_stream_settle(x, f);
}

void tine_executor_result_settled(tine_executor *x, executor_result *r) {
    if (r->of_stream) {
        executor_stream_settled(x, r);
        return;
    }
    tine_executor_complete(x, r->ticket, r->waiter.status, r->payload, r->waiter.text);
    executor_result_free(r);
}

static void executor_stream_answered(tine_executor *x, executor_fork *f, const tine_message *m) {
    if (f->answered) return; /* a duplicate */
    f->answered = true;
    executor_result *r = executor_result_new(x, m->seq, m->payload);
    r->of_stream = true;
    if (!m->status && m->payload) {
        tine_executor_await(x, &r->waiter, r->payload);
        return;
    }
    r->waiter.status = m->status ? m->status : TINE_EPROTO;
    r->waiter.text = tine_must_copy(m->text ? m->text : "");
    executor_stream_settled(x, r);
}

void tine_executor_answer(tine_executor *x, uint64_t ticket, tine_payload *payload) {
    if (payload->n_refs == 0) {
        tine_executor_complete(x, ticket, TINE_OK, payload, NULL);
        return;
    }
    executor_result *r = executor_result_new(x, ticket, payload);
    tine_executor_await(x, &r->waiter, r->payload);
}

void tine_executor_fork_answered(tine_executor *x, const tine_message *m) {
    uint64_t ticket = m->seq;
    executor_fork *f = tine_executor_fork_find(x, ticket);
    if (f && f->overdue && m->status == TINE_ECANCELED) return; /* its owner says why */
    if (f && f->stream) {
        executor_stream_answered(x, f, m);
        return;
    }
    if (!f || f->local) return; /* a duplicate, or not submitted */
    tine_executor_fork_close(x, ticket);
    if (m->status || !m->payload)
        tine_executor_complete(x, ticket, m->status ? m->status : TINE_EPROTO, NULL, m->text);
    else
        tine_executor_answer(x, ticket, m->payload);
}

void tine_executor_fork_yielded(tine_executor *x, const tine_message *m) {
    executor_fork *f = tine_executor_fork_find(x, m->seq);
    if (!f || !f->stream) return; /* it was cancelled */
    if (!m->payload) {
        f->expects = m->item - 1;
        executor_stream_settle(x, f);
        return;
    }
    executor_result *r = executor_result_new(x, m->seq, m->payload);
    r->of_stream = true;
    r->item = m->item;
    tine_executor_await(x, &r->waiter, r->payload);
}

/* ---- puts ---- */

tine_error tine_executor_put(tine_executor *x, uint64_t task, const char *class_name,
                             tine_payload *payload, tine_object *out) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = executor_task_find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    tine_object id =
        (uint64_t)x->epoch << EXECUTOR_EPOCH_SHIFT | ++x->puts << 1 | (class_name ? 1 : 0);
    executor_action *action = tine_executor_send(x, TINE_MSG_OBJECT);
    action->a.message.object = id;
    action->a.message.task = t->known->id;
    action->a.message.text = action->owned.memory = tine_must_copy(class_name);
    action->a.message.payload = action->owned.payload = tine_payload_ref(payload);
    t->known->sent++;
    tine_executor_object_put(x, id, class_name, payload);
    *out = id;
    return TINE_OK;
}

void tine_executor_forks_stop(tine_executor *x) {
    for (size_t i = 0; i < x->n_forks; i++) {
        uint64_t ticket = x->forks[i].ticket;
        if (tine_executor_fork_close(x, ticket))
            tine_executor_complete(x, ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
    }
    while (!LIST_EMPTY(&x->results)) {
        executor_result *r = LIST_FIRST(&x->results);
        if (!r->of_stream)
            tine_executor_complete(x, r->ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
        executor_result_free(r);
    }
}

void tine_executor_forks_free(tine_executor *x) {
    while (!LIST_EMPTY(&x->results)) executor_result_free(LIST_FIRST(&x->results));
    tine_idmap_fini(&x->open);
    free(x->forks);
}
