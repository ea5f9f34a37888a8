/* A simulated worker and its tasks. */
#ifndef TINE_TESTS_SIM_WORKER_H
#define TINE_TESTS_SIM_WORKER_H

#include "sim.h"

enum { SIM_MAX_KEPT = 4 };

typedef struct sim_task sim_task;

typedef struct sim_child {
    uint64_t ticket;
    bool done;
    sim_answer answer;
    bool lost; /* it failed for a reason outside the program */
    tine_payload *payload;
    sim_stream stream;
} sim_child;

struct sim_task {
    uint64_t id;
    sim_frame frame;
    bool started, queued, blocked, starved, fetching, wait_all, have_self, cancelled;
    bool yields; /* it was refused once */
    sim_object self, args[SIM_MAX_ARGS];
    bool have_args;
    uint64_t awaited; /* the ticket that it waits for; 0: none */
    uint32_t fork_at; /* calls of the current FORK step made so far */
    uint32_t yielded;
    int64_t ran;
    tine_executor_task given;
    sim_child children[SIM_MAX_CHILDREN];
    sim_task *next, *all_prev, *all_next;
};

struct sim_worker {
    tine_run_log log;
    sim_world *world;
    size_t index;
    tine_executor *executor;
    sim_task *first, *last; /* runnable */
    sim_task *all;
    sim_task *computing;
    tine_idmap tickets; /* to the task */
    tine_idmap shared;  /* results that other workers may fetch */
    uint64_t secret;
    bool stopped, killed;
    /* held beyond the tasks that gave them: must stay, with the same value */
    sim_object kept[SIM_MAX_KEPT];
    size_t n_kept;
};

/* ---- tasks.c ---- */

/* Stands for tasks that ended without waiting for all their forks. */
extern sim_task sim_ended;

uint64_t sim_object_value(sim_worker *s, tine_object id);
void sim_release_oldest(sim_worker *s); /* of kept */
/* Fills in a PONG as a worker does, which says when nothing but a message can wake it. */
void sim_answer_ping(sim_worker *s, tine_message *pong, uint64_t *ids, size_t room);
void sim_task_runnable(sim_worker *s, sim_task *t);
/* One step; false: the task does not continue now. */
bool sim_task_step(sim_worker *s, sim_task *t);
/* op: its RETURN, if status is TINE_OK. */
void sim_task_finish(sim_worker *s, sim_task *t, tine_error status, const sim_op *op,
                     const char *text);
void sim_task_free(sim_worker *s, sim_task *t);

#endif
