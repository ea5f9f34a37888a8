/* The clock, and the events of one run. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

static sim_world *running;

void sim_fail(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "sim: ");
    if (running) fprintf(stderr, "seed %llu: ", (unsigned long long)running->seed);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    fflush(stdout);
    abort(); /* main.c prints how to replay it */
}

void sim_trace(const sim_world *w, const char *format, ...) {
    if (!w->verbose) return;
    va_list ap;
    va_start(ap, format);
    printf("%10.3f us  ", (double)w->now / 1000);
    vprintf(format, ap);
    printf("\n");
    va_end(ap);
}

sim_rng *sim_random(sim_world *w) { return &w->random; }
int64_t sim_now(const sim_world *w) { return w->now; }
const sim_traits *sim_world_traits(const sim_world *w) { return &w->traits; }
sim_counts *sim_world_counts(sim_world *w) { return w->counts; }
size_t sim_seats(const sim_world *w) { return w->n_seats; }
uint64_t sim_ticket(sim_world *w) { return ++w->tickets; }

/* ---- the scheduler's side ---- */

/* The initialiser has ended, or waits. */
static bool opens_worker(const seat *s, const tine_message *m) {
    return m->type == TINE_MSG_DONE || m->type == TINE_MSG_DONE_PASSED
               ? m->task == s->init_task
               : m->type == TINE_MSG_SUSPEND && m->n_ids && m->ids[0] == s->init_task;
}

static size_t seat_of(const sim_world *w, tine_peer peer) {
    if (!peer || peer > w->n_seats)
        sim_fail("an unknown peer %llu is addressed", (unsigned long long)peer);
    return (size_t)peer - 1;
}

/* As the supervisor: only while the worker runs just this task. */
static void end_worker(sim_world *w, uint64_t task) {
    tine_worker_info info;
    if (!tine_scheduler_task_worker(w->scheduler, task, &info)) return;
    size_t i = seat_of(w, info.peer);
    if (!sim_is_alive(&w->seats[i]) || w->faults > 8) return;
    if (atomic_load(&sim_worker_log(w->seats[i].worker)->running) != task) return;
    w->counts->ends++;
    sim_kill_worker(w, i);
}

static void drain(sim_world *w) {
    tine_scheduler_action a;
    for (size_t i = 0; i < w->n_roots; i++) sim_check_taken(w, i);
    while (tine_scheduler_next(w->scheduler, &a)) {
        switch (a.kind) {
        case TINE_SCHEDULER_SEND: {
            size_t i = seat_of(w, a.peer);
            if (a.message.type == TINE_MSG_TASK) sim_check_task(w, i, &a.message);
            if (a.message.type == TINE_MSG_WELCOME) w->seats[i].fresh = w->init_seed != 0;
            for (size_t k = 0; a.message.type == TINE_MSG_WELCOME && k < i; k++)
                if (sim_one_in(&w->random, 2)) sim_pair(w, k + 1, a.peer);
            if (a.message.type == TINE_MSG_STOP && !w->stopped) {
                w->seats[i].left = w->seats[i].leaves && sim_is_alive(&w->seats[i]);
                w->counts->left += w->seats[i].left;
                w->counts->retired += !w->seats[i].left;
                if (sim_is_alive(&w->seats[i])) sim_break_worker(w, i, "is told to stop");
            }
            if (a.message.type == TINE_MSG_CANCEL && !tine_idmap_get(&w->told, a.message.task))
                tine_idmap_put(&w->told, a.message.task, w);
            sim_note_lost_result(w, a.message.text);
            if (a.message.status == TINE_EDEADLK && a.message.type == TINE_MSG_RESULT)
                sim_check_deadlock(w, a.message.text);
            w->counts->demands += a.message.type == TINE_MSG_DEMAND;
            if (sim_is_alive(&w->seats[i]) && !sim_drops(w, i, &a.message))
                sim_transmit(w, i, &w->seats[i].in, EV_TO_WORKER, &a.message);
            break;
        }
        case TINE_SCHEDULER_COMPLETE:
            if (a.status == TINE_EDEADLK) sim_check_deadlock(w, a.text);
            if (!sim_context_complete(w, &a)) sim_on_complete(w, &a);
            break;
        case TINE_SCHEDULER_YIELD: sim_on_yield(w, &a); break;
        case TINE_SCHEDULER_DROP:
            if (!w->stopped && w->seats[seat_of(w, a.peer)].worker)
                sim_fail("a correct worker is dropped: %s", a.text);
            break;
        case TINE_SCHEDULER_PAIR: sim_pair(w, a.peer, a.other); break;
        case TINE_SCHEDULER_END: end_worker(w, a.ticket); break;
        case TINE_SCHEDULER_LOG: sim_trace(w, "scheduler: %s", a.text); break;
        }
    }
}

/* ---- one run ---- */

static void on_event(sim_world *w, event *e) {
    seat *s = &w->seats[e->seat];
    switch (e->kind) {
    case EV_TO_SCHEDULER:
        if (opens_worker(s, e->message)) s->fresh = false;
        if (s->up) tine_scheduler_message(w->scheduler, e->seat + 1, e->message, w->now);
        break;
    case EV_TO_WORKER:
        if (sim_is_alive(s)) sim_worker_message(s->worker, e->message);
        break;
    case EV_RESUME:
        if (sim_is_alive(s)) sim_worker_resume(s->worker);
        break;
    case EV_KILL: sim_kill_worker(w, e->seat); break;
    case EV_LOST: sim_lost(w, e->seat); break;
    case EV_JOIN: sim_join(w, e->seat); break;
    case EV_ROOT: sim_fork_root(w); break;
    case EV_GRAINS: sim_fork_grains(w); break;
    case EV_RELEASE: sim_release(w, e->seat); break;
    case EV_TAKE: sim_take_result(w, e->seat); break;
    case EV_CANCEL: sim_cancel_root(w, e->seat); break;
    case EV_PULL: sim_pull_root(w, e->seat); break;
    case EV_INITIALISE: sim_run_initialiser(w); break;
    case EV_RETIRE: sim_retire_worker(w, e->seat); break;
    case EV_HOLD: sim_hold_worker(w, e->seat); break;
    case EV_LEAVE: sim_leave_worker(w, e->seat); break;
    case EV_LINK_DOWN: sim_link_down(w, e->seat); break;
    case EV_SILENT: sim_link_silent(w, e->seat); break;
    case EV_LINK_UP: sim_link_up(w, e->seat); break;
    case EV_STOP:
        w->stopped = true;
        w->counts->stops++;
        tine_scheduler_stop(w->scheduler);
        sim_promises_stop(w);
        break;
    case EV_BAD_PEER: sim_bad_peer(w); break;
    case EV_REPLAY: sim_replay_old_done(w, e->seat); break;
    case EV_REACH: sim_reach_answer(w, e->seat, e->message); break;
    case EV_PASSED: sim_pass_arrives(w, e->seat, e->message); break;
    case EV_PROMISE: sim_promises_step(w); break;
    case EV_CALLBACK: sim_context_call(w, e->seat); break;
    case EV_MAIL: sim_context_mail(w); break;
    case EV_REACHED:
        if (sim_is_alive(s)) sim_worker_reached(s->worker, e->message);
        break;
    }
    sim_free_message(e->message);
}

/* How often deadlocks are looked for: all the time where there are none, and only when everything
 * else is over where a later cancel or death could end one. */
static int64_t plan_looks(sim_world *w) {
    int64_t often[] = {2000, 20000, 200000};
    return w->traits.deadlocks ? 0 : often[sim_mix(w->seed, 61) % 3];
}

enum { PLANNED_ROOTS = 8 };

static void plan(sim_world *w, bool looks) {
    sim_rng *r = &w->random;
    w->traits = (sim_traits){.all_repeatable = sim_one_in(r, 3),
                             .foreign = sim_one_in(r, 3),
                             .unknown = sim_one_in(r, 4),
                             .failures = sim_one_in(r, 2),
                             .detached = sim_one_in(r, 2),
                             .cancels = sim_one_in(r, 4),
                             .labels = sim_one_in(r, 3),
                             .slots = sim_one_in(r, 3),
                             .streams = sim_one_in(r, 2),
                             .quiet = sim_one_in(r, 2)};
    w->traits.deadlocks = w->traits.quiet && sim_one_in(r, 4);
    w->traits.promises = !w->traits.deadlocks && sim_mix(w->seed, 82) % 3 == 0;
    w->any_misplaced = w->traits.deadlocks; /* nested calls of one instance fail with it */
    w->workers_return = !sim_one_in(r, 4);
    w->n_workers = 1 + (uint32_t)sim_below(r, w->traits.foreign ? MAX_WORKERS - 1 : MAX_WORKERS);
    w->stays = (size_t[]){0, SIM_SMALL_BODY, SIZE_MAX}[sim_below(r, 3)];
    w->queued = (size_t[]){SIM_SMALL_BODY, 10 * SIM_SMALL_BODY, SIZE_MAX}[sim_below(r, 3)];
    w->window = 1 + (uint32_t)sim_below(r, sim_one_in(r, 2) ? 4 : 64);
    uint32_t expected = w->n_workers + w->traits.foreign;
    tine_scheduler_config config = {
        .expected_workers = expected,
        .max_attempts = w->traits.all_repeatable ? 1000 : 1 + (uint32_t)sim_below(r, 3),
        .max_credit = sim_one_in(r, 2) ? 3 : 0,
        .max_credit_bytes = sim_one_in(r, 4) ? 200 : 0,
        .cores = (uint32_t)(sim_mix(w->seed, 84) % 3),
        .window = w->window,
        .workers_return = w->workers_return,
        .workers_most = expected,
        .look_ns = looks ? plan_looks(w) : -1};
    if (tine_scheduler_new(&w->scheduler, &config)) sim_fail("no scheduler");
    for (uint32_t i = 0; i < expected; i++)
        sim_push(&w->queue, w->now, (int64_t)sim_below(r, 100000), EV_JOIN,
                 i >= w->n_workers            ? FOREIGN
                 : i == 0 || sim_one_in(r, 3) ? LABELLED
                                              : 0);
    w->roots_planned = 1 + sim_below(r, PLANNED_ROOTS);
    /* close together, inputs are still to be made when the tasks that take them are sent ahead */
    uint64_t span = sim_one_in(r, 3) ? 30000 : 2000000;
    for (size_t i = 0; i < w->roots_planned; i++)
        sim_push(&w->queue, w->now, 100000 + (int64_t)sim_below(r, span), EV_ROOT, 0);
    for (uint64_t n = sim_one_in(r, 2) ? sim_below(r, 4) : 0; n-- > 0;)
        sim_push(&w->queue, w->now, 100000 + (int64_t)sim_below(r, 4000000), EV_KILL,
                 sim_below(r, expected));
    for (uint64_t n = sim_below(r, 3); n-- > 0;)
        sim_push(&w->queue, w->now, (int64_t)sim_below(r, 4000000), EV_BAD_PEER, 0);
    if (sim_one_in(r, 8)) sim_push(&w->queue, w->now, (int64_t)sim_below(r, 4000000), EV_STOP, 0);
    if (sim_one_in(r, 4))
        sim_push(&w->queue, w->now, (int64_t)sim_below(r, 2000000), EV_INITIALISE, 0);
    for (uint64_t n = w->workers_return && sim_one_in(r, 3) ? sim_below(r, 3) : 0; n-- > 0;)
        sim_push(&w->queue, w->now, 100000 + (int64_t)sim_below(r, 3000000), EV_RETIRE,
                 sim_below(r, expected));
    for (uint64_t n = sim_one_in(r, 3) ? sim_below(r, 6) : 0; n-- > 0;)
        sim_push(&w->queue, w->now, 100000 + (int64_t)sim_below(r, 3000000), EV_HOLD,
                 sim_below(r, expected));
    for (uint64_t n = w->workers_return && sim_one_in(r, 3) ? sim_below(r, 6) : 0; n-- > 0;)
        sim_push(&w->queue, w->now, (int64_t)sim_below(r, 3000000), EV_LEAVE,
                 sim_below(r, 2 * expected));
    for (uint64_t n = sim_mix(w->seed, 91) % 4 ? 0 : 1 + sim_mix(w->seed, 92) % 4; n > 0; n--)
        sim_push(&w->queue, w->now, 100000 + (int64_t)(sim_mix(w->seed, 92 + n) % 3000000),
                 EV_LINK_DOWN, sim_mix(w->seed, 96 + n) % expected);
    if (w->traits.promises) sim_promises_plan(w);
    sim_grains_plan(w);
}

static bool one_event(sim_world *w) {
    int64_t deadline = tine_scheduler_deadline(w->scheduler);
    if (!w->queue.n && deadline == INT64_MAX) return false;
    if (!w->queue.n || deadline <= w->queue.heap[0].at) {
        w->now = deadline > w->now ? deadline : w->now;
        tine_scheduler_tick(w->scheduler, w->now);
    } else {
        event e = sim_pop(&w->queue);
        w->now = e.at;
        if (w->now > 100000) w->joins_done = true;
        on_event(w, &e);
    }
    tine_scheduler_time(w->scheduler, w->now);
    drain(w);
    sim_promises_look(w);
    if (w->counts->events % 64 == 0) sim_observe(w);
    if (++w->counts->events % 16 == 0 || w->verbose) tine_scheduler_check(w->scheduler);
    return true;
}

static bool stalls(const sim_world *w) {
    const tine_scheduler_stats *s = tine_scheduler_stats_get(w->scheduler);
    return s->waiting + s->ready + s->running + s->suspended > 0;
}

static void run(sim_world *w) {
    running = w;
    for (uint64_t events = 0; one_event(w); events++)
        if (events > MAX_EVENTS) sim_fail("more events than any program needs");
}

static void finish(sim_world *w) {
    w->stopped = true;
    tine_scheduler_stop(w->scheduler);
    drain(w);
    tine_scheduler_free(w->scheduler);
    sim_queue_fini(&w->queue);
    tine_idmap_fini(&w->begun);
    tine_idmap_fini(&w->told);
    for (size_t i = 0; i < w->n_seats; i++) sim_worker_free(w->seats[i].worker);
    sim_free_message(w->old_done);
    running = NULL;
}

static void begin(sim_world *w, uint64_t seed, sim_counts *counts, bool looks) {
    *w = (sim_world){.seed = seed, .random = {sim_mix(seed, 42)}, .counts = counts};
    plan(w, looks);
}

/* The same run without looks for deadlocks says whether there is one, and which roots end. */
static void foresee(sim_world *w) {
    static sim_world other;
    sim_counts counts = {0};
    begin(&other, w->seed, &counts, false);
    run(&other);
    w->stalls = stalls(&other);
    for (size_t i = 0; i < other.n_roots; i++) w->ends[i] = other.roots[i].done;
    finish(&other);
}

void sim_run(uint64_t seed, bool verbose, sim_counts *counts) {
    static sim_world w;
    begin(&w, seed, counts, true);
    w.verbose = verbose;
    if (w.traits.deadlocks) foresee(&w);
    run(&w);
    while (sim_promises_finish(&w)) {
        drain(&w);
        run(&w);
    }
    if (w.stalls && !w.deadlocked) sim_fail("stalled: no deadlock is found");
    counts->stalls += w.stalls;
    sim_check_end(&w);
    finish(&w);
}
