/* The simulator's event queue: earliest first; events of the same time in the order in which they
 * were pushed. */
#ifndef TINE_TESTS_SIM_QUEUE_H
#define TINE_TESTS_SIM_QUEUE_H

#include "runtime/wire/message.h"

typedef enum event_kind {
    EV_TO_SCHEDULER,
    EV_TO_WORKER,
    EV_RESUME,
    EV_KILL,
    EV_LOST,
    EV_JOIN,
    EV_ROOT,
    EV_GRAINS,
    EV_RELEASE,
    EV_TAKE,
    EV_CANCEL,
    EV_PULL,
    EV_INITIALISE,
    EV_RETIRE,
    EV_HOLD,
    EV_LEAVE,
    EV_LINK_DOWN,
    EV_SILENT, /* found by heartbeats */
    EV_LINK_UP,
    EV_STOP,
    EV_BAD_PEER,
    EV_REACH,   /* a worker asks this one for a result */
    EV_REACHED, /* what it was answered */
    EV_PASSED,  /* a result of another worker, unasked */
    EV_PROMISE, /* the program's next step with promises */
    EV_CALLBACK,
    EV_MAIL, /* promises that another thread has completed */
    EV_REPLAY
} event_kind;

typedef struct event {
    int64_t at;
    uint64_t order;
    event_kind kind;
    size_t seat;
    tine_message *message; /* deep copy */
    bool large, duplicate;
} event;

typedef struct sim_queue {
    event *heap;
    size_t n, room;
    uint64_t orders;
} sim_queue; /* zeroed is empty */

/* At `at`, or now if that is later. The event may be filled in until the next call. */
event *sim_push(sim_queue *q, int64_t now, int64_t at, event_kind kind, size_t seat);
event sim_pop(sim_queue *q); /* the queue must not be empty */
void sim_queue_fini(sim_queue *q);
/* Deep, except for the hello. */
tine_message *sim_copy_message(const tine_message *m);
void sim_free_message(tine_message *m); /* accepts NULL */

#endif
