/* The executor: see executor.h for the contract, internal.h for the structures,
 * actions.c for the queue of actions, objects.c for objects.
 *
 * Frames of the coordinator arrive in order except that small ones overtake large ones; WELCOME is
 * small and first, so a message before it breaks the protocol. What this side sends may be
 * overtaken likewise: DONE says how many SUBMIT and OBJECT messages were sent before it, and the
 * coordinator waits for them. */
#include "workers/executor/internal.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/memory.h"

static void executor_stop(tine_executor *x, tine_error status, const char *text);

/* ---- making and freeing ---- */

static char *hello_keep_name(tine_executor *x, const char *text) {
    char *copy = tine_must_copy(text ? text : "");
    x->hello_names[x->n_hello_names++] = copy;
    return copy;
}

static const char *const *hello_keep_list(tine_executor *x, const char *const *names, uint32_t n) {
    const char *const *start = (const char *const *)(x->hello_names + x->n_hello_names);
    for (uint32_t i = 0; i < n; i++) hello_keep_name(x, names[i]);
    return start;
}

static void executor_serve(tine_executor *x, const char *const *names, uint32_t n, bool classes) {
    for (uint32_t i = 0; i < n; i++) {
        uint64_t key = executor_name_key(names[i], classes);
        if (!tine_idmap_get(&x->served, key)) tine_idmap_put(&x->served, key, (void *)names[i]);
    }
}

tine_error tine_executor_new(tine_executor **out, const tine_hello *hello, size_t stays,
                             size_t queued) {
    tine_executor *x = calloc(1, sizeof *x);
    if (!x) return TINE_ENOMEM;
    x->actions = TINE_RING(executor_action);
    x->stays = stays;
    x->most_bytes = queued;
    x->hello_names =
        calloc((size_t)hello->n_functions + hello->n_classes + hello->n_labels + 4, sizeof(char *));
    if (!x->hello_names) {
        free(x);
        return TINE_ENOMEM;
    }
    x->hello = *hello;
    x->hello.functions = hello_keep_list(x, hello->functions, hello->n_functions);
    x->hello.classes = hello_keep_list(x, hello->classes, hello->n_classes);
    x->hello.labels = hello_keep_list(x, hello->labels, hello->n_labels);
    x->hello.host = hello_keep_name(x, hello->host);
    x->hello.token = hello_keep_name(x, hello->token);
    x->hello.kernel = hello_keep_name(x, hello->kernel);
    x->hello.slots = hello_keep_name(x, hello->slots);
    executor_serve(x, x->hello.functions, x->hello.n_functions, false);
    executor_serve(x, x->hello.classes, x->hello.n_classes, true);
    TAILQ_INIT(&x->local);
    tine_executor_send(x, TINE_MSG_HELLO)->a.message.hello = &x->hello;
    *out = x;
    return TINE_OK;
}

void tine_executor_task_free(tine_executor *x, executor_task *t) {
    if (!t->failed) tine_idmap_remove(&x->tasks, t->id);
    LIST_REMOVE(t, entry);
    tine_payload_unref(t->payload);
    if (t->passes) free(t->passes);
    if (t->waiter.text) free(t->waiter.text);
    if (t->end) {
        tine_payload_unref(t->end->payload);
        free(t->end->text);
        free(t->end);
    }
    tine_block_free_units(t, t->units);
}

void tine_executor_free(tine_executor *x) {
    if (!x) return;
    tine_executor_actions_free(x);
    while (!LIST_EMPTY(&x->task_list)) tine_executor_task_free(x, LIST_FIRST(&x->task_list));
    tine_executor_forks_free(x);
    tine_executor_objects_free(x);
    tine_ready_fini(&x->ready);
    tine_idmap_fini(&x->tasks);
    tine_idmap_fini(&x->objects);
    tine_idmap_fini(&x->served);
    for (size_t i = 0; i < x->n_hello_names; i++) free(x->hello_names[i]);
    free(x->hello_names);
    free(x->suspended);
    free(x);
}

/* ---- tasks ---- */

/* Keeping the result may make other tasks ready. It comes before the message, because it may move
 * the queue of actions. */
static void executor_send_done(tine_executor *x, executor_task *t, tine_error status,
                               tine_payload *payload, const char *text, uint64_t run_ns) {
    bool ok = status == TINE_OK, send = ok;
    bool keep = ok && tine_executor_result_keep(x, t, payload, &send);
    if (!keep && t->result) tine_executor_result_unkept(x, t->result);
    bool passes = send && executor_may_pass(t, payload), tells = passes && x->tells_passed;
    executor_action *action = tine_executor_send(x, tells ? TINE_MSG_DONE_PASSED : TINE_MSG_DONE);
    tine_message *m = &action->a.message;
    m->task = t->id;
    m->attempt = t->attempt;
    m->epoch = x->epoch;
    m->seq = t->sent;
    m->status = status;
    m->run_ns = run_ns;
    if (keep) m->object = t->result;
    if (send) m->payload = action->owned.payload = tine_payload_ref(payload);
    if (!ok) m->text = action->owned.memory = tine_must_copy(text ? text : "");
    if (tells) {
        m->ids = action->owned.memory = t->passes;
        m->n_ids = t->n_passes;
    }
    if (passes) tine_executor_result_pass(x, t, payload);
    if (!tells) return;
    t->passes = NULL; /* it is the message's */
    t->n_passes = 0;
}

void tine_executor_task_end(tine_executor *x, executor_task *t, tine_error status,
                            tine_payload *payload, const char *text, uint64_t run_ns) {
    if (!x->stopped) executor_send_done(x, t, status, payload, text, run_ns);
    tine_executor_task_free(x, t);
}

void tine_executor_task_failed(tine_executor *x, executor_task *t) {
    if (t->failed) return;
    if (!x->stopped) executor_send_done(x, t, t->waiter.status, NULL, t->waiter.text, 0);
    t->failed = true;
    t->result = 0;
    tine_idmap_remove(&x->tasks, t->id);
}

void tine_executor_task_settled(tine_executor *x, executor_task *t) {
    if (t->failed)
        tine_executor_task_free(x, t);
    else if (t->waiter.status)
        tine_executor_task_end(x, t, t->waiter.status, NULL, t->waiter.text, 0);
    else if (!t->returned)
        tine_ready_push(&x->ready, &t->link);
}

executor_task *tine_executor_task_new(tine_executor *x, uint64_t id, const tine_target *target,
                                      size_t more, tine_payload *payload) {
    size_t size = sizeof(executor_task) + tine_target_size(target) + more;
    executor_task *t = tine_must_alloc(size);
    t->units = tine_block_units(size);
    t->waiter.kind = WAITER_TASK;
    t->target = tine_target_copy((char *)(t + 1), target);
    t->id = id;
    t->known = t;
    t->link.order = ++x->orders;
    t->payload = tine_payload_ref(payload);
    tine_idmap_put(&x->tasks, id, t);
    LIST_INSERT_HEAD(&x->task_list, t, entry);
    return t;
}

static void executor_task_refuse(executor_task *t) {
    if (t->waiter.status) return;
    t->waiter.status = TINE_ECANCELED;
    t->waiter.text = tine_must_copy("it was cancelled before it started");
}

static void on_cancel(tine_executor *x, uint64_t task) {
    executor_task *t = executor_task_find(x, task);
    if (!t) {
        if (task) tine_recent_add(&x->cancels, task);
    } else if (t->started) {
        t->cancelled = true;
        if (!t->end) tine_executor_push(x, TINE_EXECUTOR_CANCEL)->a.ticket = task;
        tine_executor_cancel_below(x, t);
    } else {
        executor_task_refuse(t);
        if (t->link.queued) tine_ready_remove(&x->ready, &t->link);
        if (t->waiter.missing == 0) {
            tine_executor_task_settled(x, t);
        } else {
            tine_executor_task_failed(x, t); /* it waits for objects */
        }
    }
}

static void on_task(tine_executor *x, const tine_message *m) {
    if (!m->task || !m->target.name || !m->payload || m->epoch != x->epoch) {
        executor_stop(x, TINE_EPROTO, "the coordinator sent an incomplete task");
        return;
    }
    if (executor_task_find(x, m->task)) return; /* a duplicate */
    executor_task *t = tine_executor_task_new(x, m->task, &m->target, 0, m->payload);
    t->flow = m->flow;
    t->attempt = m->attempt;
    t->result = m->object;
    t->limit = 1;
    t->link.depth = m->depth;
    t->taken = tine_recent_take(&x->taken, m->task);
    if (x->leaving)
        tine_executor_return(x, t);
    else
        tine_executor_await(x, &t->waiter, t->payload);
    if (tine_recent_take(&x->cancels, m->task)) on_cancel(x, m->task);
}

bool tine_executor_start(tine_executor *x, tine_executor_task *out) {
    executor_task *t = (executor_task *)tine_ready_first(&x->ready);
    if (!t || x->stopped) return false;
    tine_ready_remove(&x->ready, &t->link);
    t->started = true;
    if (executor_task_is_local(t)) tine_executor_local_started(x, t);
    *out = (tine_executor_task){t->id,         t->flow,   t->known->id, t->attempt,
                                t->link.depth, t->target, t->payload};
    return true;
}

const tine_target *tine_executor_next_target(const tine_executor *x) {
    executor_task *t = (executor_task *)tine_ready_first((tine_ready *)&x->ready);
    return t && !x->stopped ? &t->target : NULL;
}
bool tine_executor_reaches(const tine_executor *x) { return x->n_reaching > 0; }
bool tine_executor_keeps(const tine_executor *x) { return x->kept_bytes > 0; }

bool tine_executor_passes(const tine_executor *x, uint64_t task, const tine_payload *payload) {
    const executor_task *t = x->tasks.n > 1 ? executor_task_find(x, task) : NULL;
    return t && executor_may_pass(t, payload);
}

bool tine_executor_has_local(const tine_executor *x) { return !TAILQ_EMPTY(&x->local); }

bool tine_executor_has_ready(const tine_executor *x) { return x->ready.n > 0 && !x->stopped; }

void tine_executor_done(tine_executor *x, uint64_t task, tine_error status, tine_payload *payload,
                        const char *text, uint64_t run_ns) {
    executor_task *t = executor_task_find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (executor_task_is_local(t))
        tine_executor_local_ended(x, t, status, payload, text, run_ns);
    else if (t->n_queued == 0 && t->n_begun == 0)
        tine_executor_task_end(x, t, status, payload, text, run_ns + t->local_ns);
    else
        tine_executor_known_ended(x, t, status, payload, text, run_ns);
}

void tine_executor_report_suspended(tine_executor *x, executor_task *t) {
    if (t->suspended || x->stopped) return;
    t->suspended = true;
    x->suspended =
        tine_must_grow(x->suspended, &x->room_suspended, x->n_suspended + 1, sizeof *x->suspended);
    x->suspended[x->n_suspended++] = t->id;
}

void tine_executor_suspend(tine_executor *x, uint64_t task) {
    executor_task *t = executor_task_find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (!executor_task_is_local(t)) tine_executor_report_suspended(x, t);
}

bool tine_executor_has_report(const tine_executor *x) { return x->n_suspended > 0; }

static void executor_send_suspended(tine_executor *x, const uint64_t *ids, size_t n) {
    executor_action *action = tine_executor_send(x, TINE_MSG_SUSPEND);
    uint64_t *copy = tine_must_alloc(n * sizeof *copy);
    memcpy(copy, ids, n * sizeof *copy);
    action->owned.memory = copy;
    action->a.message.ids = copy;
    action->a.message.n_ids = n;
}

void tine_executor_flush(tine_executor *x) {
    size_t n = 0;
    for (size_t i = 0; i < x->n_suspended; i++) /* the others have ended */
        if (executor_task_find(x, x->suspended[i])) x->suspended[n++] = x->suspended[i];
    x->n_suspended = 0;
    if (x->stopped) return;
    for (size_t at = 0, now; at < n; at += now) {
        now = n - at < TINE_MESSAGE_IDS ? n - at : TINE_MESSAGE_IDS;
        executor_send_suspended(x, x->suspended + at, now);
    }
}

tine_error tine_executor_yield(tine_executor *x, uint64_t task, tine_payload *payload) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = executor_task_find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (t->unread) return TINE_OK;
    t->refused_yield = t->yielded >= t->limit;
    if (t->refused_yield) return TINE_EAGAIN;
    executor_action *action = tine_executor_send(x, TINE_MSG_YIELD);
    tine_message *m = &action->a.message;
    m->task = t->id;
    m->attempt = t->attempt;
    m->epoch = x->epoch;
    m->item = ++t->yielded;
    m->payload = action->owned.payload = tine_payload_ref(payload);
    t->sent++;
    return TINE_OK;
}

static void on_pull(tine_executor *x, const tine_message *m) {
    executor_task *t = executor_task_find(x, m->task);
    if (!t || !t->started || t->end) return;
    if (m->item == 0) t->unread = true;
    if (m->item > t->limit) t->limit = m->item;
    if (!t->refused_yield) return;
    t->refused_yield = false;
    tine_executor_push(x, TINE_EXECUTOR_PULL)->a.ticket = t->id;
}

/* ---- messages ---- */

/* Completes every open fork, so that running tasks can end. Nothing is sent any more. */
static void executor_stop(tine_executor *x, tine_error status, const char *text) {
    if (x->stopped) return;
    x->stopped = true;
    tine_executor_forks_stop(x);
    tine_executor_objects_stop(x);
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_STOP);
    action->a.status = status;
    action->a.text = action->owned.memory = tine_must_copy(text);
}

static void executor_trace(tine_executor *x, uint32_t flags) {
    tine_executor_push(x, TINE_EXECUTOR_TRACE)->a.flags = flags;
}

static void on_welcome(tine_executor *x, const tine_message *m) {
    if (x->epoch || !m->epoch) {
        executor_stop(x, TINE_EPROTO,
                      "the coordinator sent a second WELCOME, or one without an epoch");
        return;
    }
    x->epoch = m->epoch;
    x->window = m->window;
    if (m->flags & TINE_WELCOME_TRACE) executor_trace(x, 1);
    if (m->flags & TINE_WELCOME_DEMAND) tine_executor_send(x, TINE_MSG_DEMAND);
    x->tells_passed = m->flags & TINE_WELCOME_PASSED;
    if (m->flags & TINE_WELCOME_REACH) tine_executor_push(x, TINE_EXECUTOR_REACHABLE);
    if (x->leaving) tine_executor_leave_begin(x);
}

void tine_executor_credit(tine_executor *x, uint32_t more) {
    x->window = more > UINT32_MAX - x->window ? UINT32_MAX : x->window + more;
    if (x->refused_fork && tine_executor_takes_forks(x)) {
        x->refused_fork = false;
        tine_executor_push(x, TINE_EXECUTOR_CREDIT);
    }
}

static void on_ping(tine_executor *x, uint64_t seq, int64_t now) {
    tine_message *m = &tine_executor_send(x, TINE_MSG_PONG)->a.message;
    m->seq = seq;
    m->clock = (uint64_t)now;
    m->received = x->n_received;
    m->sent = x->n_sent;
}

static void on_welcomed(tine_executor *x, const tine_message *m, int64_t now) {
    x->n_received += tine_message_counts(m->type);
    switch (m->type) {
    case TINE_MSG_TASK: on_task(x, m); break;
    case TINE_MSG_RESULT: tine_executor_fork_answered(x, m); break;
    case TINE_MSG_FETCH: tine_executor_result_fetch(x, m->object); break;
    case TINE_MSG_OBJECT: tine_executor_object_arrived(x, m); break;
    case TINE_MSG_REACH: tine_executor_reach(x, m); break;
    case TINE_MSG_CREDIT: tine_executor_credit(x, m->window); break;
    case TINE_MSG_DEMAND: tine_executor_demand(x, m); break;
    case TINE_MSG_CANCEL: on_cancel(x, m->task); break;
    case TINE_MSG_PULL: on_pull(x, m); break;
    case TINE_MSG_YIELD: tine_executor_fork_yielded(x, m); break;
    case TINE_MSG_LEAVE: tine_executor_unreturn(x, m); break;
    case TINE_MSG_PASS: tine_executor_pass(x, m); break;
    case TINE_MSG_DROP:
        for (size_t i = 0; i < m->n_ids; i++) tine_executor_object_dropped(x, m->ids[i]);
        break;
    case TINE_MSG_PING: on_ping(x, m->seq, now); break;
    case TINE_MSG_TRACE: executor_trace(x, m->flags); break;
    case TINE_MSG_STOP: executor_stop(x, TINE_OK, NULL); break;
    case TINE_MSG_WELCOME: on_welcome(x, m); break;
    default:
        executor_stop(x, TINE_EPROTO, "the coordinator sent a message that only a worker may send");
    }
}

void tine_executor_message(tine_executor *x, const tine_message *m, int64_t now) {
    if (x->stopped) return;
    if (m->type == TINE_MSG_REJECT)
        executor_stop(x, TINE_EPROTO, m->text);
    else if (x->epoch)
        on_welcomed(x, m, now);
    else if (m->type == TINE_MSG_WELCOME)
        on_welcome(x, m);
    else if (m->type == TINE_MSG_STOP)
        executor_stop(x, TINE_OK, NULL);
    else
        executor_stop(x, TINE_EPROTO, "the coordinator's first message is not WELCOME");
}

uint32_t tine_executor_epoch(const tine_executor *x) { return x->epoch; }

void tine_executor_stats_get(const tine_executor *x, tine_executor_stats *out) {
    *out = (tine_executor_stats){x->tasks.n, x->ready.n, x->open.n, x->objects.n, x->window};
}
