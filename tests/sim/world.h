/* The world that one seed makes: its state, and what its files share. */
#ifndef TINE_TESTS_SIM_WORLD_H
#define TINE_TESTS_SIM_WORLD_H

#include "queue.h"
#include "sim.h"

enum { MAX_WORKERS = 8, MAX_SEATS = 64, MAX_ROOTS = 32, MAX_HANDLES = 32, MAX_EVENTS = 400000 };

typedef struct channel {  /* one direction of a connection */
    int64_t small, large; /* when the last of each arrives */
    bool broken;
} channel;

typedef struct seat { /* of a worker process, running or ended, or of a bad peer */
    sim_worker *worker;
    bool foreign, labelled, up; /* up: connected, as far as the scheduler knows */
    channel in, out;
    int64_t sends_left; /* it is killed at this message; negative: never */
    bool fresh;         /* it has joined after the initialiser, which it has not run */
    uint64_t init_task; /* the task that is it; 0: not sent yet */
    bool held;          /* past the soft limit of memory: it gets no tasks */
    bool leaves, left;  /* by itself; it has, which is no fault */
    bool silent;        /* the scheduler waits for it */
    int64_t down;       /* until then its link is */
    uint64_t parted;    /* seats to and from which nothing is passed any more */
} seat;

typedef struct root {
    uint64_t ticket;
    sim_answer expected;
    bool done;
    uint64_t faults; /* known to the scheduler when it was forked, or what it depends on */
    uint64_t task;
    tine_object result; /* what stayed at a worker, and a handle on it; 0: nothing */
    bool wanted;
    tine_error cancelled; /* with this; TINE_OK: not */
    uint32_t place;       /* the epoch of the only worker that may run it; 0: any */
    sim_stream stream;
    tine_object single;            /* the module with one instance that it calls; 0: none */
    bool takes, of_results, holds; /* slots; and has inputs; and keeps them while it waits */
} root;

typedef struct handle { /* of the coordinator's program */
    sim_object object;
    bool released;
    uint64_t faults; /* of the root whose result it is; else UINT64_MAX */
    bool takes;      /* that root does */
    /* of a module with one instance: its last call, from 1, and the worker of that; 0: none */
    size_t called;
    uint32_t epoch;
} handle;

struct sim_world {
    uint64_t seed;
    bool verbose, stopped, workers_return, joins_done, any_cancelled, any_misplaced;
    bool any_result_lost; /* for good: its arguments are gone */
    sim_rng random;
    sim_traits traits;
    sim_counts *counts;
    tine_scheduler *scheduler;
    uint32_t window, n_workers;
    size_t stays;  /* results of more bytes stay at their workers */
    size_t queued; /* bytes of forks that stay at a worker and have not started */
    int64_t now, ticked;
    uint64_t tickets, faults, losses; /* losses: faults that the scheduler knows of */
    sim_queue queue;
    seat seats[MAX_SEATS];
    size_t n_seats;
    root roots[MAX_ROOTS];
    size_t n_roots, roots_planned;
    handle handles[MAX_HANDLES];
    size_t n_handles;
    size_t old_done_from;
    tine_message *old_done;      /* of some epoch, replayed later by other workers */
    uint64_t init_seed;          /* of the call that every worker runs; 0: there is none */
    uint64_t init_ticket;        /* until it is answered */
    bool stalls;                 /* it does where deadlocks are not looked for */
    bool deadlocked;             /* one was found */
    bool ends[MAX_ROOTS];        /* roots that end where deadlocks are not looked for */
    tine_idmap begun;            /* tasks that are not repeatable, by id */
    tine_idmap told;             /* tasks that were sent a CANCEL, by id */
    struct sim_context *context; /* of futures; NULL: none */
    bool context_freed;
    struct sim_promises *promises; /* what the program does with it; NULL: nothing */
};

enum { FOREIGN = 1, LABELLED = 2 }; /* workers */

inline bool sim_is_alive(const seat *s) { return s->worker && !s->in.broken; }

/* ---- network.c ---- */

/* index: of the seat whose channel c is. */
void sim_transmit(sim_world *w, size_t index, channel *c, event_kind kind, const tine_message *m);
/* Only of one that is alive: a worker is lost once, however many faults meet. */
void sim_break_worker(sim_world *w, size_t index, const char *how);
void sim_kill_worker(sim_world *w, size_t index);
bool sim_drops(sim_world *w, size_t index, const tine_message *m); /* with its connection */
/* A faulty worker sends a reply of another one, changed and perhaps with its own epoch: it must
 * have no effect. */
void sim_replay_old_done(sim_world *w, size_t index);
/* A result of another worker arrives, or is lost. */
void sim_pass_arrives(sim_world *w, size_t index, const tine_message *m);
void sim_pair(sim_world *w, tine_peer a, tine_peer b);
/* A worker asks this one for a result: it may be gone, or out of reach. */
void sim_reach_answer(sim_world *w, size_t index, const tine_message *m);
void sim_join(sim_world *w, size_t kind); /* FOREIGN, LABELLED */
void sim_lost(sim_world *w, size_t index);
void sim_link_down(sim_world *w, size_t index);
void sim_link_silent(sim_world *w, size_t index);
void sim_link_up(sim_world *w, size_t index);
void sim_bad_peer(sim_world *w);

/* ---- roots.c ---- */

void sim_fork_root(sim_world *w);
void sim_cancel_root(sim_world *w, size_t i);
void sim_pull_root(sim_world *w, size_t i);
void sim_take_result(sim_world *w, size_t i); /* one that stayed; or gives it up */
void sim_check_taken(sim_world *w, size_t i);
void sim_release(sim_world *w, size_t i); /* a handle */
void sim_run_initialiser(sim_world *w);
void sim_retire_worker(sim_world *w, size_t index);
void sim_hold_worker(sim_world *w, size_t index);
void sim_leave_worker(sim_world *w, size_t index);
void sim_on_yield(sim_world *w, const tine_scheduler_action *a);
void sim_note_lost_result(sim_world *w, const char *text); /* an error, or NULL */
void sim_on_complete(sim_world *w, tine_scheduler_action *a);

/* ---- grains.c ---- */

void sim_grains_plan(sim_world *w);
void sim_fork_grains(sim_world *w);

/* ---- context.c ---- */

/* The COMPLETE of a future's fork; false: it is another one. */
bool sim_context_complete(sim_world *w, const tine_scheduler_action *a);
void sim_context_call(sim_world *w, size_t number); /* a callback that is due */
void sim_context_mail(sim_world *w);

/* ---- promises.c ---- */

void sim_promises_plan(sim_world *w);
void sim_promises_step(sim_world *w);
void sim_promises_look(sim_world *w); /* after each event */
void sim_promises_stop(sim_world *w);
/* Nothing happens any more: completes what is open, or frees all. False: that has been done. */
bool sim_promises_finish(sim_world *w);

/* ---- checks.c ---- */

/* A TASK goes to the worker of this seat: counts it, and checks that it may. */
void sim_check_task(sim_world *w, size_t index, const tine_message *m);
void sim_observe(sim_world *w);
/* A task ends because of a deadlock: is there to be one? */
void sim_check_deadlock(sim_world *w, const char *text);
void sim_check_end(sim_world *w);

#endif
