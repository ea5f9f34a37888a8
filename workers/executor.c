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

static void ring_grow(tine_executor *a) {
    size_t room = a->ring_room ? a->ring_room * 2 : 64;
    executor_action *ring = tine_executor_alloc(room * sizeof *ring);
    for (size_t i = 0; i < a->ring_n; i++) ring[i] = a->ring[(a->ring_at + i) & (a->ring_room - 1)];
    free(a->ring);
    a->ring = ring;
    a->ring_room = room;
    a->ring_at = 0;
}

executor_action *tine_executor_push(tine_executor *a, tine_executor_action_kind kind) {
    if (a->ring_n == a->ring_room) ring_grow(a);
    executor_action *action = &a->ring[(a->ring_at + a->ring_n++) & (a->ring_room - 1)];
    *action = (executor_action){.a = {.kind = kind}};
    return action;
}

executor_action *tine_executor_send(tine_executor *a, tine_message_type type) {
    executor_action *action = tine_executor_push(a, TINE_EXECUTOR_SEND);
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

bool tine_executor_next(tine_executor *a, tine_executor_action *out) {
    action_fini(&a->current);
    if (!a->ring_n) return false;
    a->current = a->ring[a->ring_at];
    a->ring_at = (a->ring_at + 1) & (a->ring_room - 1);
    a->ring_n--;
    *out = a->current.a;
    a->current.owns_payload = false; /* the receiver's from here on */
    return true;
}

static void stop(tine_executor *a, tine_error status, const char *text);

/* ---- making and freeing ---- */

static char *keep_name(tine_executor *a, const char *text) {
    char *copy = tine_executor_copy(text ? text : "");
    a->hello_names[a->n_hello_names++] = copy;
    return copy;
}

static const char *const *keep_list(tine_executor *a, const char *const *names, uint32_t n) {
    const char *const *start = (const char *const *)(a->hello_names + a->n_hello_names);
    for (uint32_t i = 0; i < n; i++) keep_name(a, names[i]);
    return start;
}

tine_error tine_executor_new(tine_executor **out, const tine_hello *hello) {
    tine_executor *a = calloc(1, sizeof *a);
    if (!a) return TINE_ENOMEM;
    a->hello_names = calloc((size_t)hello->n_functions + hello->n_classes + 3, sizeof(char *));
    if (!a->hello_names) {
        free(a);
        return TINE_ENOMEM;
    }
    a->hello = *hello;
    a->hello.functions = keep_list(a, hello->functions, hello->n_functions);
    a->hello.classes = keep_list(a, hello->classes, hello->n_classes);
    a->hello.host = keep_name(a, hello->host);
    a->hello.token = keep_name(a, hello->token);
    a->hello.kernel = keep_name(a, hello->kernel);
    tine_executor_send(a, TINE_MSG_HELLO)->a.message.hello = &a->hello;
    *out = a;
    return TINE_OK;
}

void tine_executor_task_free(tine_executor *a, executor_task *t) {
    tine_idmap_remove(&a->tasks, t->id);
    EXECUTOR_UNLINK(a->task_first, a->task_last, t);
    tine_payload_unref(t->payload);
    free(t->waiter.text);
    free(t->name);
    free(t->method);
    free(t);
}

static void result_free(tine_executor *a, executor_result *r) {
    EXECUTOR_UNLINK(a->result_first, a->result_last, r);
    tine_payload_unref(r->payload);
    free(r->waiter.text);
    free(r);
}

void tine_executor_free(tine_executor *a) {
    if (!a) return;
    action_fini(&a->current);
    for (; a->ring_n; a->ring_n--, a->ring_at = (a->ring_at + 1) & (a->ring_room - 1))
        action_fini(&a->ring[a->ring_at]);
    free(a->ring);
    while (a->task_first) tine_executor_task_free(a, a->task_first);
    while (a->result_first) result_free(a, a->result_first);
    for (executor_object *o = a->object_first, *next; o; o = next) {
        next = o->next;
        tine_executor_object_free(o);
    }
    tine_ready_fini(&a->ready);
    tine_idmap_fini(&a->tasks);
    tine_idmap_fini(&a->objects);
    tine_idmap_fini(&a->open);
    for (size_t i = 0; i < a->n_hello_names; i++) free(a->hello_names[i]);
    free(a->hello_names);
    free(a->forks);
    free(a->suspends);
    free(a);
}

/* ---- tasks ---- */

static executor_task *find(const tine_executor *a, uint64_t id) {
    return tine_idmap_get(&a->tasks, id);
}

static void send_done(tine_executor *a, const executor_task *t, tine_error status,
                      tine_payload *payload, const char *text, uint64_t run_ns) {
    executor_action *action = tine_executor_send(a, TINE_MSG_DONE);
    tine_message *m = &action->a.message;
    m->task = t->id;
    m->attempt = t->attempt;
    m->epoch = a->epoch;
    m->seq = t->sent;
    m->status = status;
    m->run_ns = run_ns;
    if (status == TINE_OK)
        m->payload = action->keeps = tine_payload_ref(payload);
    else
        m->text = action->memory = tine_executor_copy(text ? text : "");
}

void tine_executor_task_settled(tine_executor *a, executor_task *t) {
    if (t->waiter.status) {
        send_done(a, t, t->waiter.status, NULL, t->waiter.text, 0);
        tine_executor_task_free(a, t);
    } else {
        tine_ready_push(&a->ready, &t->link);
    }
}

static void on_task(tine_executor *a, const tine_message *m) {
    if (!m->task || !m->target.name || !m->payload || m->epoch != a->epoch) {
        stop(a, TINE_EPROTO, "the coordinator sent an incomplete task");
        return;
    }
    if (find(a, m->task)) return; /* a duplicate */
    executor_task *t = tine_executor_alloc(sizeof *t);
    t->waiter.kind = WAITER_TASK;
    t->id = m->task;
    t->flow = m->flow;
    t->attempt = m->attempt;
    t->link.depth = m->depth;
    t->link.order = ++a->orders;
    t->name = tine_executor_copy(m->target.name);
    t->method = tine_executor_copy(m->target.method);
    t->object = m->target.object;
    t->payload = tine_payload_ref(m->payload);
    tine_idmap_put(&a->tasks, t->id, t);
    EXECUTOR_APPEND(a->task_first, a->task_last, t);
    tine_executor_await(a, &t->waiter, t->payload);
}

bool tine_executor_start(tine_executor *a, tine_executor_task *out) {
    executor_task *t = (executor_task *)tine_ready_first(&a->ready);
    if (!t || a->stopped) return false;
    tine_ready_remove(&a->ready, &t->link);
    t->started = true;
    *out = (tine_executor_task){
        t->id, t->flow, t->attempt, t->link.depth, {t->name, t->method, t->object}, t->payload};
    return true;
}

bool tine_executor_has_ready(const tine_executor *a) { return a->ready.n > 0 && !a->stopped; }

void tine_executor_done(tine_executor *a, uint64_t task, tine_error status, tine_payload *payload,
                        const char *text, uint64_t run_ns) {
    executor_task *t = find(a, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (!a->stopped) send_done(a, t, status, payload, text, run_ns);
    tine_executor_task_free(a, t);
}

void tine_executor_suspend(tine_executor *a, uint64_t task) {
    executor_task *t = find(a, task);
    TINE_ASSERT_TRUE(t && t->started);
    if (t->suspended || a->stopped) return;
    t->suspended = true;
    a->suspends = tine_executor_grow(a->suspends, &a->room_suspensions, a->n_suspensions + 1,
                                     sizeof *a->suspends);
    a->suspends[a->n_suspensions++] = task;
}

void tine_executor_flush(tine_executor *a) {
    size_t n = 0;
    for (size_t i = 0; i < a->n_suspensions; i++) /* the others are over already */
        if (find(a, a->suspends[i])) a->suspends[n++] = a->suspends[i];
    a->n_suspensions = 0;
    if (!n || a->stopped) return;
    executor_action *action = tine_executor_send(a, TINE_MSG_SUSPEND);
    action->memory = a->suspends;
    action->a.message.ids = a->suspends;
    action->a.message.n_ids = n;
    a->suspends = NULL;
    a->room_suspensions = 0;
}

/* ---- forks ---- */

static void fork_open(tine_executor *a, uint64_t ticket) {
    if (!a->free_fork) {
        a->forks = tine_executor_grow(a->forks, &a->room_forks, a->n_forks + 1, sizeof *a->forks);
        a->forks[a->n_forks] = (executor_fork){0};
        a->free_fork = (uint32_t)++a->n_forks;
    }
    uint32_t slot = a->free_fork;
    executor_fork *f = &a->forks[slot - 1];
    a->free_fork = f->free_next;
    f->ticket = ticket;
    tine_idmap_put(&a->open, ticket, (void *)(uintptr_t)slot);
}

/* Whether the ticket was open; it is not any more. */
static bool fork_close(tine_executor *a, uint64_t ticket) {
    uint32_t slot = (uint32_t)(uintptr_t)tine_idmap_remove(&a->open, ticket);
    if (!slot) return false;
    a->forks[slot - 1] = (executor_fork){.free_next = a->free_fork};
    a->free_fork = slot;
    return true;
}

tine_error tine_executor_fork(tine_executor *a, uint64_t parent, uint64_t ticket,
                              const tine_target *target, uint32_t flags, tine_payload *payload) {
    if (a->stopped) return TINE_ECANCELED;
    executor_task *t = find(a, parent);
    TINE_ASSERT_TRUE(t && t->started && ticket);
    if (!a->window) {
        a->starved = true;
        return TINE_EAGAIN;
    }
    a->window--;
    t->sent++;
    executor_action *action = tine_executor_send(a, TINE_MSG_SUBMIT);
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
    fork_open(a, ticket);
    return TINE_OK;
}

static void complete(tine_executor *a, uint64_t ticket, tine_error status, tine_payload *payload,
                     const char *text) {
    executor_action *action = tine_executor_push(a, TINE_EXECUTOR_COMPLETE);
    action->a.ticket = ticket;
    action->a.status = status;
    if (status == TINE_OK)
        action->a.payload = tine_payload_ref(payload);
    else
        action->a.text = action->memory = tine_executor_copy(text ? text : "");
    action->owns_payload = true;
}

void tine_executor_result_settled(tine_executor *a, executor_result *r) {
    complete(a, r->ticket, r->waiter.status, r->payload, r->waiter.text);
    result_free(a, r);
}

static void on_result(tine_executor *a, const tine_message *m) {
    uint64_t ticket = m->seq;
    if (!fork_close(a, ticket)) return; /* a duplicate */
    if (m->status || !m->payload) {
        complete(a, ticket, m->status ? m->status : TINE_EPROTO, NULL, m->text);
        return;
    }
    executor_result *r = tine_executor_alloc(sizeof *r);
    r->waiter.kind = WAITER_RESULT;
    r->ticket = ticket;
    r->payload = tine_payload_ref(m->payload);
    EXECUTOR_APPEND(a->result_first, a->result_last, r);
    tine_executor_await(a, &r->waiter, r->payload);
}

tine_error tine_executor_put(tine_executor *a, uint64_t task, const char *class_name,
                             tine_payload *payload, tine_object *out) {
    if (a->stopped) return TINE_ECANCELED;
    executor_task *t = find(a, task);
    TINE_ASSERT_TRUE(t && t->started);
    tine_object id =
        (uint64_t)a->epoch << EXECUTOR_EPOCH_SHIFT | ++a->puts << 1 | (class_name ? 1 : 0);
    executor_action *action = tine_executor_send(a, TINE_MSG_OBJECT);
    action->a.message.object = id;
    action->a.message.task = task;
    action->a.message.text = action->memory = tine_executor_copy(class_name);
    action->a.message.payload = action->keeps = tine_payload_ref(payload);
    t->sent++;
    tine_executor_object_put(a, id, class_name, payload);
    *out = id;
    return TINE_OK;
}

/* ---- messages ---- */

/* Every open fork comes back, so that what runs can end; nothing is sent any more. */
static void stop(tine_executor *a, tine_error status, const char *text) {
    if (a->stopped) return;
    a->stopped = true;
    for (size_t i = 0; i < a->n_forks; i++) {
        uint64_t ticket = a->forks[i].ticket;
        if (fork_close(a, ticket))
            complete(a, ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
    }
    while (a->result_first) {
        complete(a, a->result_first->ticket, TINE_ECANCELED, NULL, "the coordinator has ended");
        result_free(a, a->result_first);
    }
    tine_executor_objects_stop(a);
    executor_action *action = tine_executor_push(a, TINE_EXECUTOR_STOP);
    action->a.status = status;
    action->a.text = action->memory = tine_executor_copy(text);
}

static void trace(tine_executor *a, uint32_t flags) {
    tine_executor_push(a, TINE_EXECUTOR_TRACE)->a.flags = flags;
}

static void on_welcome(tine_executor *a, const tine_message *m) {
    if (a->epoch || !m->epoch) {
        stop(a, TINE_EPROTO, "the coordinator's welcome makes no sense");
        return;
    }
    a->epoch = m->epoch;
    a->window = m->window;
    if (m->flags & 1) trace(a, 1);
}

static void on_credit(tine_executor *a, uint32_t more) {
    a->window = more > UINT32_MAX - a->window ? UINT32_MAX : a->window + more;
    if (a->starved && a->window) {
        a->starved = false;
        tine_executor_push(a, TINE_EXECUTOR_CREDIT);
    }
}

static void on_ping(tine_executor *a, uint64_t seq, int64_t now) {
    tine_message *m = &tine_executor_send(a, TINE_MSG_PONG)->a.message;
    m->seq = seq;
    m->clock = (uint64_t)now;
}

static void on_welcomed(tine_executor *a, const tine_message *m, int64_t now) {
    switch (m->type) {
    case TINE_MSG_TASK: on_task(a, m); break;
    case TINE_MSG_RESULT: on_result(a, m); break;
    case TINE_MSG_OBJECT: tine_executor_object_arrived(a, m); break;
    case TINE_MSG_CREDIT: on_credit(a, m->window); break;
    case TINE_MSG_DROP:
        for (size_t i = 0; i < m->n_ids; i++) tine_executor_object_dropped(a, m->ids[i]);
        break;
    case TINE_MSG_PING: on_ping(a, m->seq, now); break;
    case TINE_MSG_TRACE: trace(a, m->flags); break;
    case TINE_MSG_STOP: stop(a, TINE_OK, NULL); break;
    case TINE_MSG_WELCOME: on_welcome(a, m); break;
    default: stop(a, TINE_EPROTO, "the coordinator sent a message that only a worker may send");
    }
}

void tine_executor_message(tine_executor *a, const tine_message *m, int64_t now) {
    if (a->stopped) return;
    if (m->type == TINE_MSG_REJECT)
        stop(a, TINE_EPROTO, m->text);
    else if (a->epoch)
        on_welcomed(a, m, now);
    else if (m->type == TINE_MSG_WELCOME)
        on_welcome(a, m);
    else if (m->type == TINE_MSG_STOP)
        stop(a, TINE_OK, NULL);
    else
        stop(a, TINE_EPROTO, "the coordinator's first message is no welcome");
}

uint32_t tine_executor_epoch(const tine_executor *a) { return a->epoch; }

void tine_executor_stats_get(const tine_executor *a, tine_executor_stats *out) {
    *out = (tine_executor_stats){a->tasks.n, a->ready.n, a->open.n, a->objects.n, a->window};
}
