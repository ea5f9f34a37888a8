/* The executor's structures, shared by executor.c (tasks, forks, messages) and executor_objects.c
 * (objects and who waits for them). Small records come from calloc through tine_executor_alloc,
 * which ends the process without memory: the coordinator then runs the tasks elsewhere, which is
 * better than a worker that has lost one. */
#ifndef TINE_WORKERS_EXECUTOR_INTERNAL_H
#define TINE_WORKERS_EXECUTOR_INTERNAL_H

#include "transport/base/idmap.h"
#include "transport/base/ready.h"
#include "transport/base/assert.h"
#include "workers/executor.h"

typedef struct executor_task executor_task;
typedef struct executor_object executor_object;

/* What waits for objects: a task before it starts, a result before it is given out, an object whose
 * value mentions others. */
typedef struct executor_waiter {
    enum { WAITER_TASK, WAITER_RESULT, WAITER_OBJECT } kind;
    uint32_t missing;  /* objects not here yet, and one more while they are being counted */
    tine_error status; /* of the first that cannot be had */
    char *text;
} executor_waiter;

struct executor_task {
    tine_ready_link link; /* first */
    executor_waiter waiter;
    uint64_t id, flow, sent; /* sent: SUBMIT and OBJECT messages */
    uint32_t attempt;
    bool started, suspended;
    char *name, *method;
    tine_object object;
    tine_payload *payload;
    executor_task *prev, *next;
};

typedef struct executor_result { /* an answer that waits for the put values it mentions */
    executor_waiter waiter;
    uint64_t ticket;
    tine_payload *payload;
    struct executor_result *prev, *next;
} executor_result;

typedef enum executor_object_state {
    EXECUTOR_FETCHING,
    EXECUTOR_INCOMPLETE,
    EXECUTOR_READY,
    EXECUTOR_FAILED
} executor_object_state;

struct executor_object {
    executor_waiter waiter; /* for what its value mentions */
    tine_object id;
    executor_object_state state;
    /* wanted: by tine_executor_fetch; dropped: forget it as soon as it is settled */
    bool wanted, dropped;
    char *class_name;
    tine_payload *payload;
    executor_waiter **waiters;
    size_t n_waiters, room_waiters;
    executor_object *prev, *next, *work;
};

typedef struct executor_fork { /* its ticket is its seq on the wire */
    uint64_t ticket;           /* 0: a free slot */
    uint32_t free_next;
} executor_fork;

typedef struct executor_action {
    tine_executor_action a;
    void *memory;
    tine_payload *keeps;     /* a reference that goes with the action */
    executor_object *object; /* FORGET: freed with the action */
    bool owns_payload;
} executor_action;

struct tine_executor {
    tine_hello hello; /* copied, with all it points to, into hello_names */
    char **hello_names;
    size_t n_hello_names;
    uint32_t epoch, window;
    bool stopped, starved; /* starved: a fork was refused, so CREDIT is news */
    uint64_t orders, puts;
    tine_idmap tasks, objects, open; /* open: ticket to slot + 1 in forks */
    tine_ready ready;
    executor_task *task_first, *task_last;
    executor_object *object_first, *object_last;
    executor_result *result_first, *result_last;
    executor_fork *forks;
    size_t n_forks, room_forks;
    uint32_t free_fork; /* slot + 1 */
    uint64_t *suspends;
    size_t n_suspensions, room_suspensions;
    executor_action *ring;
    size_t ring_room, ring_at, ring_n;
    executor_action current;
};

#define EXECUTOR_APPEND(FIRST, LAST, E)                                                            \
    do {                                                                                           \
        (E)->prev = (LAST);                                                                        \
        (E)->next = NULL;                                                                          \
        *((LAST) ? &(LAST)->next : &(FIRST)) = (E);                                                \
        (LAST) = (E);                                                                              \
    } while (0)
#define EXECUTOR_UNLINK(FIRST, LAST, E)                                                            \
    do {                                                                                           \
        *((E)->prev ? &(E)->prev->next : &(FIRST)) = (E)->next;                                    \
        *((E)->next ? &(E)->next->prev : &(LAST)) = (E)->prev;                                     \
    } while (0)

/* executor.c */
void *tine_executor_alloc(size_t size);
void *tine_executor_grow(void *array, size_t *room, size_t need, size_t item);
char *tine_executor_copy(const char *text); /* NULL stays NULL */
executor_action *tine_executor_push(tine_executor *x, tine_executor_action_kind kind);
executor_action *tine_executor_send(tine_executor *x, tine_message_type type);
void tine_executor_task_settled(tine_executor *x,
                                executor_task *t); /* its objects are here, or one cannot be had */
void tine_executor_result_settled(tine_executor *x, executor_result *r); /* likewise */
void tine_executor_task_free(tine_executor *x, executor_task *t);

/* executor_objects.c */
/* Lets w wait for the objects of p; it is settled by these calls at once when none is missing. */
void tine_executor_await(tine_executor *x, executor_waiter *w, const tine_payload *p);
void tine_executor_object_put(tine_executor *x, tine_object id, const char *class_name,
                              tine_payload *payload);
void tine_executor_object_arrived(tine_executor *x, const tine_message *m);
void tine_executor_object_dropped(tine_executor *x, tine_object id);
void tine_executor_objects_stop(
    tine_executor *x); /* whoever waits for a fetch is told that it will not come */
void tine_executor_object_free(executor_object *o);

#endif
