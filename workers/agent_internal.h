/* The agent's structures, shared by agent.c (tasks, forks, messages) and agent_objects.c (objects and who waits for them). Small
 * records come from calloc through tine_agent_alloc, which ends the process without memory: the coordinator then runs the
 * tasks elsewhere, which is better than a worker that has lost one. */
#ifndef TINE_WORKERS_AGENT_INTERNAL_H
#define TINE_WORKERS_AGENT_INTERNAL_H

#include "runtime/idmap.h"
#include "runtime/ready.h"
#include "transport/assert.h"
#include "workers/agent.h"

typedef struct agent_task agent_task;
typedef struct agent_object agent_object;

/* What waits for objects: a task before it starts, a result before it is given out, an object whose value mentions others. */
typedef struct agent_waiter {
    enum { WAITER_TASK, WAITER_RESULT, WAITER_OBJECT } kind;
    uint32_t missing;  /* objects not here yet, and one more while they are being counted */
    tine_error status; /* of the first that cannot be had */
    char *text;
} agent_waiter;

struct agent_task {
    tine_ready_link link; /* first */
    agent_waiter waiter;
    uint64_t id, flow, sent; /* sent: SUBMIT and OBJECT messages */
    uint32_t attempt;
    bool started, parked;
    char *name, *method;
    tine_object object;
    tine_payload *payload;
    agent_task *prev, *next;
};

typedef struct agent_result { /* an answer that waits for the put values it mentions */
    agent_waiter waiter;
    uint64_t ticket;
    tine_payload *payload;
    struct agent_result *prev, *next;
} agent_result;

typedef enum agent_object_state {
    AGENT_FETCHING,
    AGENT_INCOMPLETE,
    AGENT_READY,
    AGENT_FAILED
} agent_object_state;

struct agent_object {
    agent_waiter waiter; /* for what its value mentions */
    tine_object id;
    agent_object_state state;
    bool wanted, dropped; /* wanted: by tine_agent_fetch; dropped: forget it as soon as it is settled */
    char *class_name;
    tine_payload *payload;
    agent_waiter **waiters;
    size_t n_waiters, room_waiters;
    agent_object *prev, *next, *work;
};

typedef struct agent_fork { /* its ticket is its seq on the wire */
    uint64_t ticket;        /* 0: a free slot */
    uint32_t free_next;
} agent_fork;

typedef struct agent_action {
    tine_agent_action a;
    void *memory;
    tine_payload *keeps;  /* a reference that goes with the action */
    agent_object *object; /* FORGET: freed with the action */
    bool owns_payload;
} agent_action;

struct tine_agent {
    tine_hello hello; /* copied, with all it points to, into hello_names */
    char **hello_names;
    size_t n_hello_names;
    uint32_t epoch, window;
    bool stopped, starved; /* starved: a fork was refused, so CREDIT is news */
    uint64_t orders, puts;
    tine_idmap tasks, objects, open; /* open: ticket to slot + 1 in forks */
    tine_ready ready;
    agent_task *task_first, *task_last;
    agent_object *object_first, *object_last;
    agent_result *result_first, *result_last;
    agent_fork *forks;
    size_t n_forks, room_forks;
    uint32_t free_fork; /* slot + 1 */
    uint64_t *parks;
    size_t n_parks, room_parks;
    agent_action *ring;
    size_t ring_room, ring_at, ring_n;
    agent_action current;
};

#define AGENT_APPEND(FIRST, LAST, E)                                                                         \
    do {                                                                                                     \
        (E)->prev = (LAST);                                                                                  \
        (E)->next = NULL;                                                                                    \
        *((LAST) ? &(LAST)->next : &(FIRST)) = (E);                                                          \
        (LAST) = (E);                                                                                        \
    } while (0)
#define AGENT_UNLINK(FIRST, LAST, E)                                                                         \
    do {                                                                                                     \
        *((E)->prev ? &(E)->prev->next : &(FIRST)) = (E)->next;                                              \
        *((E)->next ? &(E)->next->prev : &(LAST)) = (E)->prev;                                               \
    } while (0)

/* agent.c */
void *tine_agent_alloc(size_t size);
void *tine_agent_grow(void *array, size_t *room, size_t need, size_t item);
char *tine_agent_copy(const char *text); /* NULL stays NULL */
agent_action *tine_agent_push(tine_agent *a, tine_agent_action_kind kind);
agent_action *tine_agent_send(tine_agent *a, tine_message_type type);
void tine_agent_task_settled(tine_agent *a, agent_task *t); /* its objects are here, or one cannot be had */
void tine_agent_result_settled(tine_agent *a, agent_result *r); /* likewise */
void tine_agent_task_free(tine_agent *a, agent_task *t);

/* agent_objects.c */
/* Lets w wait for the objects of p; it is settled by these calls at once when none is missing. */
void tine_agent_await(tine_agent *a, agent_waiter *w, const tine_payload *p);
void tine_agent_object_put(tine_agent *a, tine_object id, const char *class_name, tine_payload *payload);
void tine_agent_object_arrived(tine_agent *a, const tine_message *m);
void tine_agent_object_dropped(tine_agent *a, tine_object id);
void tine_agent_objects_stop(tine_agent *a); /* whoever waits for a fetch is told that it will not come */
void tine_agent_object_free(agent_object *o);

#endif
