/* The simulator: a scheduler and up to eight executors in one thread, with a virtual clock and a
 * network that does everything that the transport's contract allows, and some things beyond. A seed
 * always gives the same run.
 *
 * program.c makes random programs and their expected results; worker.c runs them on executors, and
 * tasks.c has their steps; network.c has the network, the faults and the workers that join; roots.c
 * has the coordinator's program, and promises.c the futures and promises of it, which nodes.c
 * checks, in the context that context.c has; checks.c what must hold; world.c the clock and the
 * events; lanes.c has shared memory, in a world of its own; main.c runs the seeds. */
#ifndef TINE_TESTS_SIM_SIM_H
#define TINE_TESTS_SIM_SIM_H

#include "runtime/scheduler/scheduler.h"
#include "transport/base/idmap.h"
#include "workers/executor/executor.h"

/* ---- random numbers ---- */

static inline uint64_t sim_mix(uint64_t a, uint64_t b) { /* splitmix64 of both */
    uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x632BE59BD9B4E019u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}
typedef struct sim_rng {
    uint64_t state;
} sim_rng;
static inline uint64_t sim_next(sim_rng *r) { return r->state = sim_mix(r->state, 1); }
static inline uint64_t sim_below(sim_rng *r, uint64_t n) { return sim_next(r) % n; }
static inline bool sim_one_in(sim_rng *r, uint64_t n) { return sim_below(r, n) == 0; }

/* ---- programs (program.c) ---- */

enum { SIM_MAX_OBJECTS = 12, SIM_MAX_CHILDREN = 12, SIM_MAX_ARGS = 8, SIM_SMALL_BODY = 96 };

typedef struct sim_object { /* id: 0 in the expected run; value: what it stands for */
    tine_object id;
    uint64_t value;
    bool module;
    tine_error status; /* of a root's result: it has failed */
} sim_object;

/* The content of a payload's body; a larger body is sent as a large frame. */
typedef struct sim_body {
    uint64_t value, seed;
    uint32_t depth;
    uint32_t adds; /* a call with one argument: the sum of value and of all that it refers to */
} sim_body;

/* What a call that adds does with the sum: as any other one with its arguments; or it computes once
 * and returns a small value, without sending anything. */
enum { SIM_ADDS = 1, SIM_GRAIN };

typedef enum sim_op_kind {
    SIM_COMPUTE,
    SIM_FORK,
    SIM_WAIT,
    SIM_WAIT_ALL,
    SIM_PUT,
    SIM_FAIL,
    SIM_RETURN
} sim_op_kind;

/* One fork of the program. */
typedef struct sim_call {
    uint64_t seed;
    uint32_t depth, flags;
    const char *name, *method;
    int module;          /* index among the caller's objects, or -1 */
    int args[2], n_args; /* indexes likewise */
    bool large;
    uint32_t stream; /* values that may be ahead; 0: none are taken */
    uint32_t adds;   /* its only argument is `sum` */
    uint64_t sum;
} sim_call;

typedef struct sim_op {
    sim_op_kind kind;
    int64_t ns;         /* COMPUTE */
    uint32_t n_calls;   /* FORK */
    bool module, large; /* PUT, RETURN */
    int ref;            /* PUT, RETURN: index of an object referenced, or -1 */
    uint64_t value;     /* PUT, RETURN */
} sim_op;

/* The state of one task in its program, from which its next step follows. */
typedef struct sim_frame {
    uint64_t seed, acc;
    uint32_t depth, step, steps, waited, forked;
    bool grain;
    sim_object objects[SIM_MAX_OBJECTS];
    int n_objects;
} sim_frame;

typedef struct sim_answer {
    tine_error status;
    uint64_t value;
    sim_object object; /* referenced by the result, if has_object */
    bool has_object;
} sim_answer;

typedef struct sim_traits { /* of one seed's programs */
    bool all_repeatable, foreign, unknown, failures, detached;
    bool cancels;  /* tasks cancel some of their forks */
    bool labels;   /* some workers have one, and some forks ask for it */
    bool slots;    /* the same workers offer some, and some forks take some of them */
    bool streams;  /* tasks yield values, and some are forked as streams */
    bool promises; /* the program has some, and futures that follow from others */
    /* workers say when they are quiet: the network stays within the contract, as that needs */
    bool quiet;
    /* and tasks may wait for each other: for slots, for their turns, for the end of a stream that
     * they do not take */
    bool deadlocks;
} sim_traits;

void sim_frame_start(sim_frame *f, uint64_t seed, uint32_t depth, const sim_object *args,
                     int n_args, const sim_object *self);
void sim_frame_sum(sim_frame *f, uint64_t sum, uint32_t adds); /* of a call that adds */
void sim_frame_next(const sim_frame *f, const sim_traits *traits, sim_op *op);
void sim_frame_call(const sim_frame *f, const sim_traits *traits, uint32_t i, sim_call *call);
/* Takes in the result of a child that was waited for. */
void sim_frame_learn(sim_frame *f, const sim_answer *a);
void sim_frame_add(sim_frame *f, sim_object o);
uint64_t sim_put_value(const sim_frame *f, const sim_op *op); /* of the new object */
bool sim_repeatable(const sim_traits *traits, uint64_t seed); /* a task of this seed is */
/* The label that a fork of this seed asks for, and a call that runs needs; NULL: none. */
const char *sim_label(const sim_traits *traits, const char *name, uint64_t seed);
/* What the call takes of its worker's slots; NULL: nothing. Only a function that forks and yields
 * nothing: another one could wait for a task that cannot get its slots. So can a method, for the
 * results that its module mentions. */
/* With deadlocks, a task of any kind may take some. */
const char *sim_resources(const sim_traits *traits, const char *name, const sim_body *call);
/* The calls of the module with this id run one after another. */
bool sim_is_single(tine_object id);
/* The expected result. */
sim_answer sim_expect(const sim_traits *traits, const sim_call *call, const sim_object *objects);

/* ---- streams ---- */

/* What the owner of a stream has of it. */
typedef struct sim_stream {
    uint64_t seed;
    uint32_t window, taken, pulled;
    uint64_t here; /* bit n: value n has arrived */
} sim_stream;

/* How many values a task yields that returns, and the value number `item`. */
uint32_t sim_items(const sim_traits *traits, uint64_t seed);
uint64_t sim_item(uint64_t seed, uint64_t item);
sim_stream sim_stream_of(const sim_call *call);
void sim_stream_arrived(sim_stream *s, uint64_t item, const tine_payload *p);
/* Takes the values that have arrived; how many may be yielded now, 0: there was none. */
uint64_t sim_stream_take(sim_stream *s);
void sim_stream_ended(const sim_stream *s, const sim_traits *traits, tine_error status);

/* ---- the world (world.c, network.c) ---- */

typedef struct sim_world sim_world;
typedef struct sim_worker sim_worker;

typedef struct sim_counts {
    uint64_t events, tasks, objects, suspended, starved, full;
    uint64_t joins, kills, drops, duplicates, stale, overtaken;
    uint64_t retried, lost, cancelled, bad_peers, stops, logs;
    uint64_t dependents, ahead, stayed, fetched, again;
    uint64_t roots_cancelled, expired, forks_cancelled, told, ends;
    uint64_t promises, promises_set, promises_of_futures, promises_failed, promises_released,
        promises_late, promises_again, promises_refused, promises_remote, promises_open;
    uint64_t awaits, awaits_several, awaits_failed, awaits_cancelled, thens, alls, anys,
        fork_deadlines, futures_cancelled;
    uint64_t held, ended_held, labelled, taking, holding, taking_of, taken_by, pinned, misplaced,
        turns, renewed, initialised, retired, left, returned;
    uint64_t yielded, refused_yields, arrived, streams, snapshots;
    uint64_t reached, unreached, reached_late; /* by other workers; late: it was lost, or cut off */
    uint64_t grains;
    /* directly between workers: told of in a DONE; awaited, not awaited (there already, or not
     * yet), by one that has died since; not sent; lost with its sender; lost where the way is
     * broken */
    uint64_t told_passed, passed, passed_late, passed_dead, not_passed, passed_lost, passes_broken;
    uint64_t local, lost_local, demands; /* tasks that stayed where they were forked */
    uint64_t quiet, stalls, deadlocks;   /* answers to PING, programs that stall, what was broken */
    uint64_t links_down, waited_for, given_up, heard; /* silent workers: not dropped; dropped */
    uint64_t lent, lent_back, lent_on, holders_died, lanes_aside, bells_lost;
} sim_counts;

/* The lanes of one seed. NULL, or why this host has none. */
const char *sim_lanes_run(uint64_t seed, sim_counts *counts);
/* Runs one seed; exits the process with a message when a check fails. */
void sim_run(uint64_t seed, bool verbose, sim_counts *counts);

void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void sim_trace(const sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
sim_rng *sim_random(sim_world *w);
int64_t sim_now(const sim_world *w);
const sim_traits *sim_world_traits(const sim_world *w);
sim_counts *sim_world_counts(sim_world *w);
uint64_t sim_ticket(sim_world *w);
size_t sim_seats(const sim_world *w); /* of workers so far, numbered from 1 */
/* Sends the worker's message. False: the worker was killed at this message and must stop. */
bool sim_to_scheduler(sim_world *w, sim_worker *from, const tine_message *m);
/* Asks the worker at `url` for a result; sim_worker_reached follows. */
void sim_reach(sim_world *w, const sim_worker *from, tine_object id, uint64_t secret,
               const char *url);
/* A result goes to the worker of this number, too: sim_worker_passed follows, unless it is lost.
 * False: it is not sent. */
bool sim_pass(sim_world *w, const sim_worker *from, uint64_t number, const tine_message *m);
/* A worker begins a task of the coordinator's: checks that it may. */
void sim_begin(sim_world *w, uint64_t task, const tine_payload *call);
void sim_wake_at(sim_world *w, sim_worker *s, int64_t when); /* calls sim_worker_resume then */

/* ---- workers (worker.c, tasks.c) ---- */

sim_worker *sim_worker_new(sim_world *w, size_t index, uint32_t pid, bool foreign, bool labelled,
                           size_t stays, size_t queued);
void sim_worker_free(sim_worker *s);
size_t sim_worker_index(const sim_worker *s);
uint32_t sim_worker_epoch(const sim_worker *s);
const tine_run_log *sim_worker_log(const sim_worker *s);
void sim_worker_message(sim_worker *s, const tine_message *m);
void sim_worker_resume(sim_worker *s); /* its computation has ended */
void sim_worker_reached(sim_worker *s, const tine_message *m);
bool sim_worker_passed(sim_worker *s, const tine_message *m); /* false: it does not await it */
/* What it and the worker of this number send each other is lost from now on. */
void sim_worker_parted(sim_worker *s, uint64_t number);
/* What it keeps for other workers, borrowed; NULL: it does not have it. */
tine_payload *sim_worker_kept(const sim_worker *s, tine_object id, uint64_t secret);
void sim_worker_pump(sim_worker *s);
void sim_worker_leave(sim_worker *s);
void sim_worker_check_idle(const sim_worker *s, uint32_t window); /* nothing is left over */
tine_payload *sim_payload(uint64_t value, uint64_t seed, uint32_t depth, bool large,
                          const tine_object *refs, size_t n_refs);
sim_body sim_body_of(const tine_payload *p);
void sim_body_set(tine_payload *p, const sim_body *body);

#endif
