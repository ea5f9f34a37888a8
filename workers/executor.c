/* The executor: see executor.h for the contract, executor_internal.h for the structures,
 * executor_objects.c for objects.
 *
 * Frames of the coordinator arrive in order except that small ones overtake large ones; WELCOME is
 * small and first, so whatever comes before it is nonsense. What this side sends may be overtaken
 * likewise: DONE says how many SUBMIT and OBJECT messages went before it, and the coordinator waits
 * for them. */
#include "workers/executor_internal.h"

#include <stdlib.h>
#include <string.h>

enum { EXECUTOR_EPOCH_SHIFT = 40 }; /* object id: see TINE_MSG_OBJECT */

void *tine_executor_alloc(size_t size) {
    void *p = calloc(1, size);
    TINE_ASSERT_TRUE(p);
    return p;
}

void *tine_executor_grow(void *array, size_t *room, size_t need, size_t item) {
    if (need <= *room) return array;
    size_t bigger = *room ? *room * 2 : 8;
    while (bigger < need) bigger *= 2;
    void *p = realloc(array, bigger * item);
    TINE_ASSERT_TRUE(p);
    *room = bigger;
    return p;
}

char *tine_executor_copy(const char *text) {
    if (!text) return NULL;
    char *p = strdup(text);
    TINE_ASSERT_TRUE(p);
    return p;
}

/* ---- actions ---- */

static void ring_grow(tine_executor *x) {
    size_t room = x->ring_room ? x->ring_room * 2 : 64;
    executor_action *ring = tine_executor_alloc(room * sizeof *ring);
    for (size_t i = 0; i < x->ring_n; i++) ring[i] = x->ring[(x->ring_at + i) & (x->ring_room - 1)];
    free(x->ring);
    x->ring = ring;
    x->ring_room = room;
    x->ring_at = 0;
}

executor_action *tine_executor_push(tine_executor *x, tine_executor_action_kind kind) {
    if (x->ring_n == x->ring_room) ring_grow(x);
    executor_action *action = &x->ring[(x->ring_at + x->ring_n++) & (x->ring_room - 1)];
    *action = (executor_action){.a = {.kind = kind}};
    return action;
}

executor_action *tine_executor_send(tine_executor *x, tine_message_type type) {
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_SEND);
    action->a.message.type = type;
    return action;
}

static void action_fini(executor_action *action) {
    free(action->memory);
    tine_payload_unref(action->keeps);
    if (action->owns_payload) tine_payload_unref(action->a.payload);
    if (action->object) tine_executor_object_free(action->object);
    *action = (executor_action){0};
}

bool tine_executor_next(tine_executor *x, tine_executor_action *out) {
    action_fini(&x->current);
    if (!x->ring_n) return false;
    x->current = x->ring[x->ring_at];
    x->ring_at = (x->ring_at + 1) & (x->ring_room - 1);
    x->ring_n--;
    *out = x->current.a;
    x->current.owns_payload = false; /* the receiver's from here on */
    return true;
}

static void stop(tine_executor *x, tine_error status, const char *text);

/* ---- making and freeing ---- */

static char *keep_name(tine_executor *x, const char *text) {
    char *copy = tine_executor_copy(text ? text : "");
    x->hello_names[x->n_hello_names++] = copy;
    return copy;
}

static const char *const *keep_list(tine_executor *x, const char *const *names, uint32_t n) {
    const char *const *start = (const char *const *)(x->hello_names + x->n_hello_names);
    for (uint32_t i = 0; i < n; i++) keep_name(x, names[i]);
    return start;
}

tine_error tine_executor_new(tine_executor **out, const tine_hello *hello) {
    tine_executor *x = calloc(1, sizeof *x);
    if (!x) return TINE_ENOMEM;
    x->hello_names = calloc((size_t)hello->n_functions + hello->n_classes + 3, sizeof(char *));
    if (!x->hello_names) {
        free(x);
        return TINE_ENOMEM;
    }
    x->hello = *hello;
    x->hello.functions = keep_list(x, hello->functions, hello->n_functions);
    x->hello.classes = keep_list(x, hello->classes, hello->n_classes);
    x->hello.host = keep_name(x, hello->host);
    x->hello.token = keep_name(x, hello->token);
    x->hello.kernel = keep_name(x, hello->kernel);
    tine_executor_send(x, TINE_MSG_HELLO)->a.message.hello = &x->hello;
    *out = x;
    return TINE_OK;
}

void tine_executor_task_free(tine_executor *x, executor_task *t) {
    tine_idmap_remove(&x->tasks, t->id);
    EXECUTOR_UNLINK(x->task_first, x->task_last, t);
    tine_payload_unref(t->payload);
    free(t->waiter.text);
    free(t->name);
    free(t->method);
    free(t);
}

static void result_free(tine_executor *x, executor_result *r) {
    EXECUTOR_UNLINK(x->result_first, x->result_last, r);
    tine_payload_unref(r->payload);
    free(r->waiter.text);
    free(r);
}

void tine_executor_free(tine_executor *x) {
    if (!x) return;
    action_fini(&x->current);
    for (; x->ring_n; x->ring_n--, x->ring_at = (x->ring_at + 1) & (x->ring_room - 1))
        action_fini(&x->ring[x->ring_at]);
    free(x->ring);
    while (x->task_first) tine_executor_task_free(x, x->task_first);
    while (x->result_first) result_free(x, x->result_first);
    for (executor_object *o = x->object_first, *next; o; o = next) {
        next = o->next;
        tine_executor_object_free(o);
    }
    tine_ready_fini(&x->ready);
    tine_idmap_fini(&x->tasks);
    tine_idmap_fini(&x->objects);
    tine_idmap_fini(&x->open);
    for (size_t i = 0; i < x->n_hello_names; i++) free(x->hello_names[i]);
    free(x->hello_names);
    free(x->forks);
    free(x->suspends);
    free(x);
}

/* ---- tasks ---- */

static executor_task *find(const tine_executor *x, uint64_t id) {
    return tine_idmap_get(&x->tasks, id);
}

static void send_done(tine_executor *x, const executor_task *t, tine_error status,
                      tine_payload *payload, const char *text, uint64_t run_ns) {
    executor_action *action = tine_executor_send(x, TINE_MSG_DONE);
    tine_message *m = &action->a.message;
    m->task = t->id;
    m->attempt = t->attempt;
    m->epoch = x->epoch;
    m->seq = t->sent;
    m->status = status;
    m->run_ns = run_ns;
    if (status == TINE_OK)
        m->payload = action->keeps = tine_payload_ref(payload);
    else
        m->text = action->memory = tine_executor_copy(text ? text : "");
}

void tine_executor_task_settled(tine_executor *x, executor_task *t) {
    if (t->waiter.status) {
        send_done(x, t, t->waiter.status, NULL, t->waiter.text, 0);
        tine_executor_task_free(x, t);
    } else {
        tine_ready_push(&x->ready, &t->link);
    }
}

static void on_task(tine_executor *x, const tine_message *m) {
    if (!m->task || !m->target.name || !m->payload || m->epoch != x->epoch) {
        stop(x, TINE_EPROTO, "the coordinator sent an incomplete task");
        return;
    }
    if (find(x, m->task)) return; /* a duplicate */
    executor_task *t = tine_executor_alloc(sizeof *t);
    t->waiter.kind = WAITER_TASK;
    t->id = m->task;
    t->flow = m->flow;
    t->attempt = m->attempt;
    t->link.depth = m->depth;
    t->link.order = ++x->orders;
    t->name = tine_executor_copy(m->target.name);
    t->method = tine_executor_copy(m->target.method);
    t->object = m->target.object;
    t->payload = tine_payload_ref(m->payload);
    tine_idmap_put(&x->tasks, t->id, t);
    EXECUTOR_APPEND(x->task_first, x->task_last, t);
    tine_executor_await(x, &t->waiter, t->payload);
}

bool tine_executor_start(tine_executor *x, tine_executor_task *out) {
    executor_task *t = (executor_task *)tine_ready_first(&x->ready);
    if (!t || x->stopped) return false;
    tine_ready_remove(&x->ready, &t->link);
    t->started = true;
    *out = (tine_executor_task){
        t->id, t->flow, t->attempt, t->link.depth, {t->name, t->method, t->object}, t->payload};
    return true;
}

bool tine_executor_has_ready(const tine_executor *x) { return x->ready.n > 0 && !x->stopped; }

void tine_executor_done(tine_executor *x, uint64_t task, tine_error status, tine_payload *payload,
                        const char *text, uint64_t run_ns) {
    executor_task *t = find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (!x->stopped) send_done(x, t, status, payload, text, run_ns);
    tine_executor_task_free(x, t);
}

void tine_executor_suspend(tine_executor *x, uint64_t task) {
    executor_task *t = find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (t->suspended || x->stopped) return;
    t->suspended = true;
    x->suspends = tine_executor_grow(x->suspends, &x->room_suspensions, x->n_suspensions + 1,
                                     sizeof *x->suspends);
    x->suspends[x->n_suspensions++] = task;
}

void tine_executor_flush(tine_executor *x) {
    size_t n = 0;
    for (size_t i = 0; i < x->n_suspensions; i++) /* the others are over already */
        if (find(x, x->suspends[i])) x->suspends[n++] = x->suspends[i];
    x->n_suspensions = 0;
    if (!n || x->stopped) return;
    executor_action *action = tine_executor_send(x, TINE_MSG_SUSPEND);
    action->memory = x->suspends;
    action->a.message.ids = x->suspends;
    action->a.message.n_ids = n;
    x->suspends = NULL;
    x->room_suspensions = 0;
}

/* ---- forks ---- */

static void fork_open(tine_executor *x, uint64_t ticket) {
    if (!x->free_fork) {
        x->forks = tine_executor_grow(x->forks, &x->room_forks, x->n_forks + 1, sizeof *x->forks);
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
static bool fork_close(tine_executor *x, uint64_t ticket) {
    uint32_t slot = (uint32_t)(uintptr_t)tine_idmap_remove(&x->open, ticket);
    if (!slot) return false;
    x->forks[slot - 1] = (executor_fork){.free_next = x->free_fork};
    x->free_fork = slot;
    return true;
}

tine_error tine_executor_fork(tine_executor *x, uint64_t parent, uint64_t ticket,
                              const tine_target *target, uint32_t flags, tine_payload *payload) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = find(x, parent);
    TINE_ASSERT_TRUE(t && t->started && ticket);
    if (!x->window) {
        x->starved = true;
        return TINE_EAGAIN;
    }
    x->window--;
    t->sent++;
    executor_action *action = tine_executor_send(x, TINE_MSG_SUBMIT);
    tine_message *m = &action->a.message;
    size_t name = strlen(target->name) + 1,
           method = target->method ? strlen(target->method) + 1 : 0;
    char *names = action->memory = tine_executor_alloc(name + method);
    memcpy(names, target->name, name);
    if (method) memcpy(names + name, target->method, method);
    m->target = (tine_target){names, method ? names + name : NULL, target->object};
    m->task = parent;
    m->flags = flags;
    m->payload = action->keeps = tine_payload_ref(payload);
    m->seq = ticket;
    fork_open(x, ticket);
    return TINE_OK;
}

static void complete(tine_executor *x, uint64_t ticket, tine_error status, tine_payload *payload,
                     const char *text) {
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_COMPLETE);
    action->a.ticket = ticket;
    action->a.status = status;
    if (status == TINE_OK)
        action->a.payload = tine_payload_ref(payload);
    else
        action->a.text = action->memory = tine_executor_copy(text ? text : "");
    action->owns_payload = true;
}

void tine_executor_result_settled(tine_executor *x, executor_result *r) {
    complete(x, r->ticket, r->waiter.status, r->payload, r->waiter.text);
    result_free(x, r);
}

static void on_result(tine_executor *x, const tine_message *m) {
    uint64_t ticket = m->seq;
    if (!fork_close(x, ticket)) return; /* a duplicate */
    if (m->status || !m->payload) {
        complete(x, ticket, m->status ? m->status : TINE_EPROTO, NULL, m->text);
        return;
    }
    executor_result *r = tine_executor_alloc(sizeof *r);
    r->waiter.kind = WAITER_RESULT;
    r->ticket = ticket;
    r->payload = tine_payload_ref(m->payload);
    EXECUTOR_APPEND(x->result_first, x->result_last, r);
    tine_executor_await(x, &r->waiter, r->payload);
}

tine_error tine_executor_put(tine_executor *x, uint64_t task, const char *class_name,
                             tine_payload *payload, tine_object *out) {
    if (x->stopped) return TINE_ECANCELED;
    executor_task *t = find(x, task);
    TINE_ASSERT_TRUE(t && t->started);
    tine_object id =
        (uint64_t)x->epoch << EXECUTOR_EPOCH_SHIFT | ++x->puts << 1 | (class_name ? 1 : 0);
    executor_action *action = tine_executor_send(x, TINE_MSG_OBJECT);
    action->a.message.object = id;
    action->a.message.task = task;
    action->a.message.text = action->memory = tine_executor_copy(class_name);
    action->a.message.payload = action->keeps = tine_payload_ref(payload);
    t->sent++;
    tine_executor_object_put(x, id, class_name, payload);
    *out = id;
    return TINE_OK;
}

/* ---- messages ---- */

/* Every open fork comes back, so that what runs can end; nothing is sent any more. */
static void stop(tine_executor *x, tine_error status, const char *text) {
    if (x->stopped) return;
    x->stopped = true;
    for (size_t i = 0; i < x->n_forks; i++) {
        uint64_t ticket = x->forks[i].ticket;
        if (fork_close(x, ticket))
            complete(x, ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
    }
    while (x->result_first) {
        complete(x, x->result_first->ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
        result_free(x, x->result_first);
    }
    tine_executor_objects_stop(x);
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_STOP);
    action->a.status = status;
    action->a.text = action->memory = tine_executor_copy(text);
}

static void trace(tine_executor *x, uint32_t flags) {
    tine_executor_push(x, TINE_EXECUTOR_TRACE)->a.flags = flags;
}

static void on_welcome(tine_executor *x, const tine_message *m) {
    if (x->epoch || !m->epoch) {
        stop(x, TINE_EPROTO, "the coordinator's welcome makes no sense");
        return;
    }
    x->epoch = m->epoch;
    x->window = m->window;
    if (m->flags & 1) trace(x, 1);
}

static void on_credit(tine_executor *x, uint32_t more) {
    x->window = more > UINT32_MAX - x->window ? UINT32_MAX : x->window + more;
    if (x->starved && x->window) {
        x->starved = false;
        tine_executor_push(x, TINE_EXECUTOR_CREDIT);
    }
}

static void on_ping(tine_executor *x, uint64_t seq, int64_t now) {
    tine_message *m = &tine_executor_send(x, TINE_MSG_PONG)->a.message;
    m->seq = seq;
    m->clock = (uint64_t)now;
}

static void on_welcomed(tine_executor *x, const tine_message *m, int64_t now) {
    switch (m->type) {
    case TINE_MSG_TASK: on_task(x, m); break;
    case TINE_MSG_RESULT: on_result(x, m); break;
    case TINE_MSG_OBJECT: tine_executor_object_arrived(x, m); break;
    case TINE_MSG_CREDIT: on_credit(x, m->window); break;
    case TINE_MSG_DROP:
        for (size_t i = 0; i < m->n_ids; i++) tine_executor_object_dropped(x, m->ids[i]);
        break;
    case TINE_MSG_PING: on_ping(x, m->seq, now); break;
    case TINE_MSG_TRACE: trace(x, m->flags); break;
    case TINE_MSG_STOP: stop(x, TINE_OK, NULL); break;
    case TINE_MSG_WELCOME: on_welcome(x, m); break;
    default: stop(x, TINE_EPROTO, "the coordinator sent a message that only a worker may send");
    }
}

void tine_executor_message(tine_executor *x, const tine_message *m, int64_t now) {
    if (x->stopped) return;
    if (m->type == TINE_MSG_REJECT)
        stop(x, TINE_EPROTO, m->text);
    else if (x->epoch)
        on_welcomed(x, m, now);
    else if (m->type == TINE_MSG_WELCOME)
        on_welcome(x, m);
    else if (m->type == TINE_MSG_STOP)
        stop(x, TINE_OK, NULL);
    else
        stop(x, TINE_EPROTO, "the coordinator's first message is no welcome");
}

uint32_t tine_executor_epoch(const tine_executor *x) { return x->epoch; }

void tine_executor_stats_get(const tine_executor *x, tine_executor_stats *out) {
    *out = (tine_executor_stats){x->tasks.n, x->ready.n, x->open.n, x->objects.n, x->window};
}
