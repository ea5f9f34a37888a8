/* What the scheduler's files call of each other: scheduler.c (events in), tasks.c (a task's life),
 * records.c (the records of tasks), inputs.c (tasks whose arguments are results of others),
 * callables.c, dispatch.c (ready queues, credit, choice), place.c (tasks that may run on one worker
 * only), slots.c (tasks that take resources), single.c (modules with one instance), pool.c
 * (initialisers, workers that are to end), silent.c (workers whose link is down), objects.c
 * (objects and their holders), replicas.c (the workers that have them), results.c (results as
 * objects), reach.c and pass.c (those that go from worker to worker), streams.c, arrivals.c (what
 * has arrived, by number), cancel.c, peers.c (connections and workers), groups.c (what workers
 * serve), demand.c (forks that workers keep), actions.c (actions out), view.c (what observers see),
 * text.c (sentences for users) and check.c (invariants). Their structures are in types.h.
 *
 * Small records come from tine_scheduler_alloc, which aborts without memory: without its record a
 * fork could never be completed. */
#ifndef TINE_RUNTIME_SCHEDULER_INTERNAL_H
#define TINE_RUNTIME_SCHEDULER_INTERNAL_H

#include "runtime/scheduler/types.h"
#include "transport/base/assert.h"

/* actions.c */
void *tine_scheduler_alloc(size_t size); /* zeroed */
/* to at least `need` items */
void *tine_scheduler_grow(void *array, size_t *room, size_t need, size_t item_size);
char *tine_scheduler_copy(const char *text); /* NULL gives "" */
/* A zeroed action, valid until the next one is pushed. */
sched_action *tine_scheduler_push(tine_scheduler *s, tine_scheduler_action_kind kind);
sched_action *tine_scheduler_send(tine_scheduler *s, sched_worker *w, tine_message_type type);
void tine_scheduler_log(tine_scheduler *s, int level, char *text); /* takes text */
void tine_scheduler_flush_drops(tine_scheduler *s, sched_worker *w);
void tine_scheduler_flush_passes(tine_scheduler *s, sched_worker *w);
void tine_scheduler_flush_enqueue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_flush_dequeue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_actions_free(tine_scheduler *s);

/* view.c */
void tine_scheduler_failed(tine_scheduler *s, const char *name, tine_error status,
                           const char *text);

/* text.c: malloc'ed sentences */
char *tine_scheduler_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *tine_scheduler_text_failed(const tine_scheduler *s, const sched_task *t,
                                 const sched_worker *w, const char *cause);
/* What makes a clause of a reason that has no subject: "killed by signal 9 (SIGKILL)", "exited with
 * status 3". */
const char *tine_scheduler_reason_subject(const char *reason);
char *tine_scheduler_text_lost(const tine_scheduler *s, const sched_task *t, const sched_worker *w,
                               const char *reason);
char *tine_scheduler_text_result_lost(const sched_object *o, const sched_worker *w,
                                      const char *reason);
char *tine_scheduler_text_unserved(const sched_task *t);
/* "f waits: no worker that serves it has …" */
char *tine_scheduler_text_awaited(const sched_callable *c);
/* Likewise, where no other worker can join. */
char *tine_scheduler_text_unchosen(const sched_task *t);
char *tine_scheduler_text_misplaced(const sched_task *t, const char *why);
char *tine_scheduler_text_cancelled(const sched_task *t, const char *why);
char *tine_scheduler_text_unknown(const tine_scheduler *s, const sched_callable *c);

/* records.c */
/* Every task, free ones too, by its slot. */
static inline size_t tine_scheduler_task_slots(const tine_scheduler *s) {
    return s->n_chunks * SCHED_TASK_CHUNK;
}
static inline sched_task *tine_scheduler_task_at(const tine_scheduler *s, size_t slot) {
    return &s->chunks[slot / SCHED_TASK_CHUNK][slot % SCHED_TASK_CHUNK];
}
sched_task *tine_scheduler_task_find(const tine_scheduler *s, uint64_t id);
sched_task *tine_scheduler_task_new(tine_scheduler *s, const tine_target *target, uint32_t flags,
                                    tine_payload *payload, const tine_terms *terms);
/* The name shown to users: the task's own, or that of its callable. */
static inline const char *tine_scheduler_task_name(const sched_task *t) {
    return t->terms && t->terms->name[0] ? t->terms->name : t->callable->display;
}
/* Makes the child a fork of parent, or, with NULL, a detached one of its owner. */
void tine_scheduler_task_adopt(sched_task *parent, sched_task *child);
void tine_scheduler_task_leave_parent(sched_task *t);
void tine_scheduler_task_hold(tine_scheduler *s, sched_task *t, tine_object id);
void tine_scheduler_task_drop_holds(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_drop_done(sched_task *t);
void tine_scheduler_task_unhold_arguments(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_free(tine_scheduler *s, sched_task *t);
void tine_scheduler_tasks_free(tine_scheduler *s);

/* tasks.c */
/* Completes t towards its owner, exactly once, and frees it, or keeps it to be run again. Takes
 * text; payload stays the caller's: NULL with TINE_OK where its worker keeps the result. */
void tine_scheduler_task_end(tine_scheduler *s, sched_task *t, tine_error status,
                             tine_payload *payload, char *text);
/* Completes a task that was sent, and has not begun, before its DONE. Takes text. */
void tine_scheduler_task_abandon(tine_scheduler *s, sched_task *t, tine_error status, char *text);
/* A kept task is queued again. False: its arguments are gone. */
bool tine_scheduler_task_repeat(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_forget(tine_scheduler *s, sched_task *t); /* a kept one */
void tine_scheduler_task_started(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_task_suspend(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_orphan(tine_scheduler *s, sched_task *t); /* its owner is lost */
/* What part a task had in the loss of its worker, which decides whether the attempt counts. */
typedef enum sched_part {
    SCHED_PART_SUSPECT, /* one of several that may have been the cause */
    SCHED_PART_BLAMED,  /* counts */
    SCHED_PART_BEGUN,   /* had begun, and was not the cause */
    SCHED_PART_QUEUED,  /* had not begun */
} sched_part;
void tine_scheduler_task_lost(tine_scheduler *s, sched_task *t, const sched_worker *w,
                              sched_part part, const char *reason);
/* Its worker, which leaves, has not begun it and does not run it. */
void tine_scheduler_task_returned(tine_scheduler *s, sched_task *t);
void tine_scheduler_task_done(tine_scheduler *s, sched_task *t, const tine_message *m);
/* Counts a SUBMIT, OBJECT or YIELD of its attempt; the last one releases a deferred DONE. */
void tine_scheduler_task_received(tine_scheduler *s, sched_task *t);
/* The most attempts that may count before a repeatable task fails. */
uint32_t tine_scheduler_max_attempts(const tine_scheduler *s, const sched_task *t);
void tine_scheduler_tasks_cancel(tine_scheduler *s); /* all of them, with ECANCELED */

/* inputs.c */
/* The objects that the arguments mention, also where they were freed. */
uint32_t tine_scheduler_task_refs(const sched_task *t, const tine_object **refs);
/* Begins to wait for the results among its arguments. The object is one that has failed: the task
 * is to end with its error. NULL: n_missing says how many are to come. */
const sched_object *tine_scheduler_inputs_await(tine_scheduler *s, sched_task *t);
void tine_scheduler_inputs_forget(tine_scheduler *s, sched_task *t);
/* The object is not pending any more, or has failed: updates the tasks that wait for it. */
void tine_scheduler_inputs_settle(tine_scheduler *s, sched_object *o);
/* The first failed object among the task's arguments or, once these are freed, among the objects
 * that it holds. NULL: none has failed. */
const sched_object *tine_scheduler_inputs_failed(tine_scheduler *s, const sched_task *t);
/* w runs it for its charge_ns, from `start` on at the earliest: keeps both's expected times. */
void tine_scheduler_expect(tine_scheduler *s, sched_task *t, sched_worker *w, int64_t start);
/* Chooses a worker for a waiting task, if each of its missing inputs is being made. */
void tine_scheduler_aim(tine_scheduler *s, sched_task *t);
void tine_scheduler_aim_drop(sched_task *t);
void tine_scheduler_aim_lost(tine_scheduler *s, sched_worker *w);
void tine_scheduler_aim_enqueue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_aim_dequeue(tine_scheduler *s, sched_worker *w);
bool tine_scheduler_aim_send(tine_scheduler *s); /* false: no aimed task can be sent */
/* begin: the task is about to be sent to w, with inputs missing. leave: it stops. end: its inputs
 * are there, and it counts against the credit from now on. */
void tine_scheduler_ahead_begin(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_ahead_leave(tine_scheduler *s, sched_task *t);
void tine_scheduler_ahead_end(tine_scheduler *s, sched_task *t);
/* A result that was there is pending again. */
void tine_scheduler_inputs_pend(tine_scheduler *s, sched_object *o);

/* cancel.c */
/* Ends it towards its owner with `status` and takes `text`. One that runs stays at its worker. */
void tine_scheduler_task_cancel(tine_scheduler *s, sched_task *t, tine_error status, char *text,
                                uint64_t grace_ns);
/* The forks of t, which runs, and those below them. */
void tine_scheduler_cancel_forks(tine_scheduler *s, sched_task *t, const char *why);
void tine_scheduler_cancel_message(tine_scheduler *s, sched_worker *w, const tine_message *m);
/* The fork that a CANCEL or PULL of w names; NULL: it has not arrived, or has been answered. */
sched_task *tine_scheduler_fork_of(const tine_scheduler *s, const sched_worker *w,
                                   const tine_message *m);

/* streams.c */
void tine_scheduler_yield(tine_scheduler *s, sched_worker *w, const tine_message *m);
void tine_scheduler_pull_message(tine_scheduler *s, const sched_worker *w, const tine_message *m);
/* Tells its worker how many values are taken, once it yields. */
void tine_scheduler_stream_tell(tine_scheduler *s, const sched_task *t);
/* Tells its owner, a worker, how many there were. */
void tine_scheduler_stream_end(tine_scheduler *s, const sched_task *t);
/* The most YIELD messages of its attempt that may be on their way. */
uint64_t tine_scheduler_stream_left(const sched_task *t);

/* arrivals.c */
bool tine_scheduler_arrived(const sched_arrivals *a, uint64_t number);
/* Records a number that has not arrived before. False: too many are early. */
bool tine_scheduler_arrive(sched_arrivals *a, uint64_t number);
void tine_scheduler_arrivals_fini(sched_arrivals *a);

/* callables.c */
/* Whether the worker, which has credit, has enough for the task. */
bool tine_scheduler_fits(const tine_scheduler *s, const sched_worker *w, const sched_task *t);
/* The caller counts its use. */
sched_callable *tine_scheduler_callable_get(tine_scheduler *s, const char *name, const char *method,
                                            const tine_terms *terms);
void tine_scheduler_callable_unuse(tine_scheduler *s, sched_callable *c);
void tine_scheduler_callable_free(tine_scheduler *s, sched_callable *c);
void tine_scheduler_callable_measure(sched_callable *c, uint64_t run_ns);
/* By a worker that is connected or, with `ever`, by any that has joined. */
bool tine_scheduler_is_served(const tine_scheduler *s, const sched_callable *c, bool ever);
uint64_t tine_scheduler_expected_ns(const tine_scheduler *s, const sched_callable *c);

/* dispatch.c */
bool tine_scheduler_serves(const tine_scheduler *s, const sched_worker *w, const sched_callable *c);
void tine_scheduler_charge(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_start(tine_scheduler *s, sched_task *t, sched_worker *w);
/* Counts, or no longer counts, the arguments of a task that has not started. */
void tine_scheduler_pending_bytes(tine_scheduler *s, const sched_task *t, bool more);
void tine_scheduler_waiting_end(tine_scheduler *s, sched_task *t);
/* Ends the task instead when no worker can serve it, now or later. */
void tine_scheduler_enqueue(tine_scheduler *s, sched_task *t);
void tine_scheduler_dequeue(tine_scheduler *s, sched_task *t);
/* Counts it as ready: it has been put into a ready queue. */
void tine_scheduler_queued(tine_scheduler *s, const sched_task *t);
/* The task no longer counts against its owner's window. */
void tine_scheduler_leave_window(tine_scheduler *s, sched_task *t);
void tine_scheduler_uncharge(tine_scheduler *s, sched_task *t);
/* Its load has changed: updates its place in its group's heap. */
void tine_scheduler_worker_update(tine_scheduler *s, sched_worker *w);
void tine_scheduler_sweep(tine_scheduler *s); /* ends ready tasks that no worker can serve */
void tine_scheduler_dispatch(tine_scheduler *s);

/* heap.c */
/* Whether a, of two workers with credit, is the less loaded one. */
bool tine_scheduler_lighter(const sched_worker *a, const sched_worker *b);
/* w is to be in that heap of its group, or not to be; its load may have changed. */
void tine_scheduler_heap_update(sched_worker *w, sched_heap_kind kind, bool in);

/* demand.c */
void tine_scheduler_demand_begin(tine_scheduler *s, sched_worker *w); /* w keeps its forks */
void tine_scheduler_demand_submitted(tine_scheduler *s, sched_worker *w);
void tine_scheduler_demand_dequeue(tine_scheduler *s, sched_worker *w);
/* Asks workers for forks while there are fewer ready tasks than the workers may soon want. */
void tine_scheduler_demand_all(tine_scheduler *s);

/* replicas.c */
void tine_scheduler_object_sets_init(sched_object *o);
void tine_scheduler_object_sets_fini(sched_object *o);
/* Adds w to one of the object's four sets. */
void tine_scheduler_object_mark(sched_object *o, uint64_t **bits, const sched_worker *w);
void tine_scheduler_object_replica(sched_object *o, const sched_worker *w); /* w has it */
void tine_scheduler_object_unreplica(sched_object *o, const sched_worker *w);
bool tine_scheduler_object_anywhere(const sched_object *o);
void tine_scheduler_object_wait(sched_object *o, const sched_worker *w); /* it is sent once there */
bool tine_scheduler_object_waits(const sched_object *o, const sched_worker *w);
bool tine_scheduler_object_replica_at(const sched_object *o, const sched_worker *w);
void tine_scheduler_object_drop_at(tine_scheduler *s, sched_worker *w, tine_object id);
/* The object is about to be freed: those that have it or wait for it are told. */
void tine_scheduler_object_drop_replicas(tine_scheduler *s, sched_object *o);

/* place.c */
/* Whether the task may wait for its place; if not it has ended. */
bool tine_scheduler_place_check(tine_scheduler *s, sched_task *t);
/* The only worker that may run it; NULL: any that serves it. */
sched_worker *tine_scheduler_place(tine_scheduler *s, const sched_task *t);
/* NULL: it is lost, or has not joined. */
sched_worker *tine_scheduler_worker_of_epoch(const tine_scheduler *s, uint32_t epoch);
void tine_scheduler_pin(tine_scheduler *s, sched_task *t, sched_worker *w);
void tine_scheduler_unpin(tine_scheduler *s, sched_task *t);
/* The first pinned task of w may be able to start: w has some. */
void tine_scheduler_pin_enqueue(tine_scheduler *s, sched_worker *w);
void tine_scheduler_pins_lost(tine_scheduler *s, sched_worker *w, const char *reason);
/* The pinned task that is to start now, on t->pinned; NULL: none. `next` is the task that was
 * chosen among those that are not pinned, and `worker` its worker; NULL: none can start. *again: a
 * worker was closed, and these two must be chosen again. */
sched_task *tine_scheduler_pin_choose(tine_scheduler *s, sched_worker *worker,
                                      const sched_task *next, bool *again);
static inline bool tine_scheduler_has_credit(const sched_worker *w) {
    return !w->outstanding || w->load < SCHED_LOAD_ONE;
}
/* Sets or clears a reason. */
void tine_scheduler_close(tine_scheduler *s, sched_worker *w, unsigned why, bool on);
/* Whether a starts before b: it is deeper, or older. */
bool tine_scheduler_task_precedes(const sched_task *a, const sched_task *b);

/* slots.c */
/* Queues a ready task that takes resources. `place`: the only worker that may run it, or NULL. */
void tine_scheduler_slots_queue(tine_scheduler *s, sched_task *t, sched_worker *place);
void tine_scheduler_slots_dequeue(tine_scheduler *s, sched_task *t); /* it has none yet */
/* Of a task with terms that leaves its worker, or its worker's queue. */
void tine_scheduler_slots_return(tine_scheduler *s, const sched_task *t);
/* What a task takes is free there. */
bool tine_scheduler_slots_free(const sched_worker *w, const tine_resources *r);
/* A task at a worker has them again, also where they are not free. */
void tine_scheduler_slots_retake(sched_task *t);
/* A task that has some and has not started may start elsewhere, unless it has to run there. */
void tine_scheduler_slots_revoke(tine_scheduler *s, sched_task *t);
/* w may have slots to give that it had not before: some are free, or it has credit. */
void tine_scheduler_slots_offer(tine_scheduler *s, sched_worker *w);
/* Nothing but what waits before them keeps w from giving slots to tasks of c now. */
bool tine_scheduler_slots_fit(const tine_scheduler *s, const sched_worker *w,
                              const sched_callable *c);
void tine_scheduler_offer_dequeue(tine_scheduler *s, sched_worker *w);
/* Of a worker with slots: what it has to give, or whether it may, has changed. */
void tine_scheduler_giver_update(sched_worker *w);
void tine_scheduler_slots_settle(tine_scheduler *s);

/* single.c: of calls whose flags have TINE_MODULE_SINGLE */
/* Whether it is the task's turn; if not it waits, or has ended. */
bool tine_scheduler_turn(tine_scheduler *s, sched_task *t);
void tine_scheduler_turn_leave(tine_scheduler *s, sched_task *t); /* of one that waits */
void tine_scheduler_turn_end(tine_scheduler *s, const sched_task *t);
void tine_scheduler_turns_begin(tine_scheduler *s);
/* Where its module's instance is; NULL: nowhere yet. */
sched_worker *tine_scheduler_single_place(tine_scheduler *s, const sched_task *t);
/* The task starts at w. */
void tine_scheduler_single_bind(tine_scheduler *s, const sched_task *t, sched_worker *w);
void tine_scheduler_singles_lost(sched_worker *w, const char *reason);
/* A call that was sent to its module's worker has not begun there. */
void tine_scheduler_single_unbind(tine_scheduler *s, const sched_task *t);
void tine_scheduler_single_free(tine_scheduler *s, sched_single *g); /* accepts NULL */

/* pool.c */
/* A worker that has joined runs the initialisers that there are. */
void tine_scheduler_worker_initialise(tine_scheduler *s, sched_worker *w);
/* A task that runs an initialiser has ended, or waits. */
void tine_scheduler_initialised(tine_scheduler *s, sched_task *t, tine_error status,
                                const char *text);
void tine_scheduler_initialiser_waits(tine_scheduler *s, const sched_task *t);
void tine_scheduler_initialisers_free(tine_scheduler *s);
/* Why a worker that ends gets no tasks. */
const char *tine_scheduler_text_ending(const sched_worker *w);
/* w ends by itself, and gives tasks back. */
void tine_scheduler_worker_leave(tine_scheduler *s, sched_worker *w, const tine_message *m);
/* Whether it gets no tasks for this reason, one of SCHED_CLOSED_PAUSED. */
void tine_scheduler_worker_pause(tine_scheduler *s, sched_worker *w, unsigned why, bool on);
/* Drops and ends workers, while n_leaving. Whether there were any. */
bool tine_scheduler_leaving_settle(tine_scheduler *s);
void tine_scheduler_leaving_forget(tine_scheduler *s, sched_worker *w); /* it is lost */

/* A line of the log, once, where no worker has the label, or the slots, that it asks for. */
void tine_scheduler_choice_tell(tine_scheduler *s, sched_callable *c);

/* objects.c */
sched_object *tine_scheduler_object_new(tine_scheduler *s, tine_object id,
                                        sched_object_state state);
void tine_scheduler_object_fail(sched_object *o, tine_error status, const char *text);
/* Those that wait. A value is sent when the queue of actions runs empty: a worker that was passed
 * it may have said by then that its task, which needed the value, is done. */
void tine_scheduler_object_answer(tine_scheduler *s, sched_object *o);
void tine_scheduler_answers_send(tine_scheduler *s);
/* The task's worker, which has begun it, has the values in its arguments, also those that were not
 * sent yet. */
void tine_scheduler_objects_had(tine_scheduler *s, const sched_task *t);
void tine_scheduler_object_send(tine_scheduler *s, sched_worker *w, sched_object *o);
/* Sends w the values that the task mentions and w does not have, now or once they are there. */
void tine_scheduler_objects_push(tine_scheduler *s, const sched_task *t, sched_worker *w);
sched_object *tine_scheduler_object_find(tine_scheduler *s, tine_object id);
/* Whether all objects that the payload and the target reference are present or, when w is not NULL,
 * expected from it. */
bool tine_scheduler_refs_known(tine_scheduler *s, sched_worker *w, const tine_payload *p,
                               tine_object target);
void tine_scheduler_hold(tine_scheduler *s, tine_object id);
void tine_scheduler_unhold(tine_scheduler *s, tine_object id);
void tine_scheduler_hold_refs(tine_scheduler *s, const tine_payload *p);
void tine_scheduler_unhold_refs(tine_scheduler *s, const tine_payload *p);
void tine_scheduler_object_fetch(tine_scheduler *s, sched_worker *w, tine_object id);
/* Why the message breaks the protocol, or NULL. */
const char *tine_scheduler_object_arrived(tine_scheduler *s, sched_worker *w,
                                          const tine_message *m);
/* The worker holds the object from now on, or (keep false) no longer. */
void tine_scheduler_object_keep(tine_scheduler *s, sched_worker *w, tine_object id, bool keep);
void tine_scheduler_objects_unkeep(tine_scheduler *s, sched_worker *w); /* it holds none any more */
void tine_scheduler_objects_lost(tine_scheduler *s, sched_worker *w, const char *reason);
void tine_scheduler_objects_free(tine_scheduler *s);

/* results.c */
/* The task has ended: its result as an object, with a hold, whose inputs are to be settled; NULL:
 * nothing refers to it. `payload` NULL with TINE_OK: it stays at the worker. */
sched_object *tine_scheduler_result_made(tine_scheduler *s, sched_task *t, tine_error status,
                                         tine_payload *payload, const char *text);
/* Tells the worker that runs the task that its result is wanted. */
void tine_scheduler_result_ask(tine_scheduler *s, const sched_task *t);
void tine_scheduler_result_request(tine_scheduler *s, sched_object *o); /* from a worker */
/* Why the message breaks the protocol, or NULL. */
const char *tine_scheduler_result_arrived(tine_scheduler *s, sched_worker *w,
                                          const tine_message *m);
/* w is lost, or does not have the result: it is fetched elsewhere, or made again, or has failed. */
void tine_scheduler_result_lost(tine_scheduler *s, sched_object *o, const sched_worker *w,
                                const char *reason);

/* deadlock.c */
/* Whether a look for a deadlock is wanted, at s->look_at. */
static inline bool tine_scheduler_looks(const tine_scheduler *s) {
    const tine_scheduler_stats *n = &s->stats;
    return !n->running && n->waiting + n->suspended + n->ready > 0 && n->workers > 0 &&
           !s->at_rest && !s->stopped;
}
/* It has answered, or is lost. */
void tine_scheduler_pinged_end(tine_scheduler *s, sched_worker *w);
void tine_scheduler_look(tine_scheduler *s, int64_t now);
void tine_scheduler_pong(tine_scheduler *s, sched_worker *w, const tine_message *m);
/* Whether a task of w waits for this fork of w. */
bool tine_scheduler_awaits(const sched_worker *w, const sched_task *fork);
/* A stream that has yielded all values that it may. */
bool tine_scheduler_stream_full(const sched_task *t);

/* cycle.c */
/* After the marks of deadlock.c are made: ends a task that is not marked, whose owner is told what
 * waits for what. False: there is none to be told. */
bool tine_scheduler_cycle_break(tine_scheduler *s);

/* reach.c */
/* Tells the worker of t, if it runs, that other tasks take its result, once they do. */
void tine_scheduler_reach_keep(tine_scheduler *s, sched_task *t);
/* Has w fetch o from its source, and counts w among those that have it. False: it cannot. */
bool tine_scheduler_reach(tine_scheduler *s, sched_worker *w, sched_object *o);
void tine_scheduler_reach_message(tine_scheduler *s, sched_worker *w, const tine_message *m);

/* pass.c */
/* w waits for o, whose task runs at another worker: that is to send it there, too, if it can. */
void tine_scheduler_pass(tine_scheduler *s, const sched_object *o, sched_worker *w);
void tine_scheduler_unpair(tine_scheduler *s, const sched_worker *w); /* it is lost */
/* m, the DONE of t, says to whom its worker passes the result, which is about to be made. */
void tine_scheduler_passed(tine_scheduler *s, const sched_task *t, const tine_message *m);
void tine_scheduler_passed_came(sched_object *o, const sched_worker *w);
/* It may not come to w: it is sent there if it was passed, or is once it is made. */
void tine_scheduler_passed_again(tine_scheduler *s, sched_object *o, sched_worker *w);
/* It may have come to none of those to which it was passed. */
void tine_scheduler_passed_lost(tine_scheduler *s, sched_object *o);
void tine_scheduler_pass_message(tine_scheduler *s, sched_worker *w, const tine_message *m);

/* groups.c */
/* The group with these names, made if there is none; NULL: there are too many. */
sched_group *tine_scheduler_group_for(tine_scheduler *s, const tine_hello *hello);
void tine_scheduler_group_fini(sched_group *g);
bool tine_scheduler_group_serves(const sched_group *g, const sched_callable *c);
void tine_scheduler_groups_trim(tine_scheduler *s);

/* peers.c */
void tine_scheduler_hello(tine_scheduler *s, sched_handshake *g, const tine_hello *hello,
                          int64_t now);
void tine_scheduler_drop(tine_scheduler *s, tine_peer peer, bool bad, const char *why);
sched_peer *tine_scheduler_peer(const tine_scheduler *s, tine_peer peer);
void tine_scheduler_handshake_free(tine_scheduler *s, sched_handshake *g);
void tine_scheduler_worker_free(tine_scheduler *s, sched_worker *w);

#endif
