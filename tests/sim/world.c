/* The clock, the network, the coordinator's program and the faults.
 *
 * Network: in one direction of a connection, small messages arrive in order, large ones arrive in
 * order, and a small one may overtake large ones, never the other way round, as the transport's
 * contract says. Beyond the contract, messages that the protocol tolerates twice are duplicated,
 * replies of old epochs are replayed, and a lost message breaks its connection. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "runtime/coordinator/snapshot.h"
#include "runtime/wire/wire.h"
#include "sim.h"

enum { MAX_WORKERS = 8, MAX_SEATS = 64, MAX_ROOTS = 8, MAX_HANDLES = 32, MAX_EVENTS = 400000 };

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
    tine_object single; /* the module with one instance that it calls; 0: none */
} root;

typedef struct handle { /* of the coordinator's program */
    sim_object object;
    bool released;
    uint64_t faults; /* of the root whose result it is; else UINT64_MAX */
    /* of a module with one instance: its last call, from 1, and the worker of that; 0: none */
    size_t called;
    uint32_t epoch;
} handle;

struct sim_world {
    uint64_t seed;
    bool verbose, stopped, workers_return, joins_done, any_cancelled, any_misplaced;
    sim_rng random;
    sim_traits traits;
    sim_counts *counts;
    tine_scheduler *scheduler;
    uint32_t window, n_workers;
    size_t stays; /* results of more bytes stay at their workers */
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
    tine_message *old_done; /* of some epoch, replayed later by other workers */
    uint64_t init_seed;     /* of the call that every worker runs; 0: there is none */
    uint64_t init_ticket;   /* until it is answered */
};

static sim_world *running;

void sim_fail(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "sim: seed %llu: ", (unsigned long long)(running ? running->seed : 0));
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
uint64_t sim_ticket(sim_world *w) { return ++w->tickets; }

/* ---- messages in flight ---- */

static bool is_large(const tine_message *m) {
    return m->payload && m->payload->body_size > SIM_SMALL_BODY;
}

static int64_t arrival(sim_world *w, channel *c, bool large) {
    int64_t at =
        w->now + 200 + (int64_t)sim_below(&w->random, sim_one_in(&w->random, 8) ? 60000 : 4000);
    if (large) at += (int64_t)sim_below(&w->random, 100000);
    if (at < c->small) at = c->small; /* a small message is never overtaken */
    if (large && at < c->large) at = c->large;
    if (large)
        c->large = at;
    else
        c->small = at;
    if (!large && at < c->large) w->counts->overtaken++;
    return at;
}

static void transmit(sim_world *w, size_t index, channel *c, event_kind kind,
                     const tine_message *m) {
    if (c->broken) return;
    bool large = is_large(m);
    event *e = sim_push(&w->queue, w->now, arrival(w, c, large), kind, index);
    e->message = sim_copy_message(m);
    e->large = large;
    sim_trace(w, "%s %zu: %s%s task %llx seq %llu object %llx%s%llx status %d, arrives %.3f",
              kind == EV_TO_SCHEDULER ? "worker" : "scheduler to", index, tine_message_name(m),
              large ? " (large)" : "", (unsigned long long)m->task, (unsigned long long)m->seq,
              (unsigned long long)m->object, m->n_ids ? " first id " : " ids ",
              (unsigned long long)(m->n_ids ? m->ids[0] : 0), (int)m->status, (double)e->at / 1000);
    bool harmless = m->type == TINE_MSG_DONE || m->type == TINE_MSG_RESULT;
    if (harmless && sim_one_in(&w->random, 24)) {
        event *twice = sim_push(&w->queue, w->now, arrival(w, c, large), kind, index);
        twice->message = sim_copy_message(m);
        twice->duplicate = true;
        w->counts->duplicates++;
    }
}

/* ---- faults ---- */

static bool is_alive(const seat *s) { return s->worker && !s->in.broken; }

/* Only of one that is alive: a worker is lost once, however many faults meet. */
static void break_worker(sim_world *w, size_t index, const char *how) {
    seat *s = &w->seats[index];
    sim_trace(w, "worker %zu %s", index, how);
    w->faults++;
    s->in.broken = s->out.broken = true;
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 50000), EV_LOST, index);
}

static void kill_worker(sim_world *w, size_t index) {
    if (!is_alive(&w->seats[index]) || w->stopped) return;
    w->counts->kills++;
    break_worker(w, index, "is killed");
}

static bool drops(sim_world *w, size_t index) {
    if (w->faults > 6 || w->stopped || !w->joins_done || !sim_one_in(&w->random, 4000))
        return false;
    w->counts->drops++;
    break_worker(w, index, "loses a message and its connection");
    return true;
}

bool sim_to_scheduler(sim_world *w, sim_worker *from, const tine_message *m) {
    size_t index = sim_worker_index(from);
    seat *s = &w->seats[index];
    if (s->out.broken) return false;
    if (s->sends_left >= 0 && s->sends_left-- == 0) kill_worker(w, index);
    if (s->out.broken || drops(w, index)) return false;
    transmit(w, index, &s->out, EV_TO_SCHEDULER, m);
    if (m->type == TINE_MSG_DONE && sim_one_in(&w->random, 16)) {
        sim_free_message(w->old_done);
        w->old_done = sim_copy_message(m);
        w->old_done_from = index;
        sim_push(&w->queue, w->now,
                 w->now + (int64_t)sim_below(&w->random, sim_one_in(&w->random, 2) ? 300000 : 1000),
                 EV_REPLAY, sim_below(&w->random, w->n_seats));
    }
    return true;
}

void sim_wake_at(sim_world *w, sim_worker *s, int64_t when) {
    sim_push(&w->queue, w->now, when, EV_RESUME, sim_worker_index(s));
}

/* A faulty worker sends a reply of another one, changed and perhaps with its own epoch: it must
 * have no effect. */
static void replay_old_done(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!w->old_done || !s->worker || s->out.broken || index == w->old_done_from) return;
    tine_message lie = *w->old_done;
    if (sim_one_in(&w->random, 2)) lie.epoch = sim_worker_epoch(s->worker);
    lie.seq = 0;
    lie.object = 0;
    lie.payload = lie.status ? NULL : sim_payload(1, 0, 0, false, NULL, 0);
    sim_trace(w, "worker %zu repeats a reply, epoch %u", index, lie.epoch);
    w->counts->duplicates++;
    transmit(w, index, &s->out, EV_TO_SCHEDULER, &lie);
    tine_payload_unref(lie.payload);
}

/* ---- the scheduler's side ---- */

/* Those that were there have run it, or were lost. */
static void initialised(sim_world *w, const tine_scheduler_action *a) {
    w->init_ticket = 0;
    if (a->status && a->status != TINE_EUNKNOWN && !w->stopped)
        sim_fail("the initialiser failed: %d %s", (int)a->status, a->text);
}

/* A worker that joins later runs nothing else before. */
static void check_initialised(sim_world *w, seat *s, const tine_message *m) {
    bool is = w->init_seed && sim_body_of(m->payload).seed == w->init_seed;
    w->counts->initialised += is;
    if (is && s->init_task) sim_fail("a worker runs the initialiser twice");
    if (is)
        s->init_task = m->task;
    else if (s->fresh && !s->foreign)
        sim_fail("a worker runs a task before the initialiser");
}

/* The initialiser has ended, or waits. */
static bool opens_worker(const seat *s, const tine_message *m) {
    return m->type == TINE_MSG_DONE
               ? m->task == s->init_task
               : m->type == TINE_MSG_SUSPEND && m->n_ids && m->ids[0] == s->init_task;
}

static void run_initialiser(sim_world *w) {
    sim_call call = {.name = "f0", .module = -1, .seed = sim_next(&w->random)};
    while (sim_label(&w->traits, call.name, call.seed) ||
           sim_expect(&w->traits, &call, NULL).status)
        call.seed++;
    w->init_seed = call.seed;
    w->init_ticket = sim_ticket(w);
    sim_trace(w, "every worker runs f0");
    tine_payload *p = sim_payload(0, call.seed, 0, false, NULL, 0);
    tine_error e =
        tine_scheduler_initialise(w->scheduler, w->init_ticket, call.name, TINE_REPEATABLE, p);
    if (e != (w->stopped ? TINE_ESTATE : TINE_OK)) sim_fail("an initialiser gave %d", (int)e);
    if (e) w->init_ticket = w->init_seed = 0;
    tine_payload_unref(p);
}

/* The program has a worker ended: it stops when nothing runs there. What its tasks wait for has
 * another place, one that is started again if it is lost. */
static void retire_worker(sim_world *w, size_t index) {
    tine_worker_info info, other;
    size_t i = index + 1;
    while (i < w->n_seats &&
           (w->seats[i].foreign || w->seats[i].labelled != w->seats[index].labelled ||
            !tine_scheduler_worker(w->scheduler, i + 1, &other) || other.ending))
        i++;
    if (i >= w->n_seats || w->seats[index].foreign ||
        !tine_scheduler_worker(w->scheduler, index + 1, &info))
        return;
    w->any_misplaced = true; /* calls that are bound to it fail */
    tine_scheduler_worker_end(w->scheduler, info.epoch);
    sim_trace(w, "worker %zu is to end", index);
}

static size_t root_of(const sim_world *w, uint64_t ticket) {
    size_t i = 0;
    while (i < w->n_roots && w->roots[i].ticket != ticket) i++;
    if (i == w->n_roots) sim_fail("ticket %llu is unknown", (unsigned long long)ticket);
    return i;
}

static void on_yield(sim_world *w, const tine_scheduler_action *a) {
    size_t i = root_of(w, a->ticket);
    if (w->roots[i].done) sim_fail("a value of root %zu came after its end", i);
    sim_stream_arrived(&w->roots[i].stream, a->item, a->payload);
    w->counts->arrived++;
    for (uint32_t j = 0; j < a->payload->n_refs; j++)
        tine_scheduler_object_release(w->scheduler, a->payload->refs[j]);
    tine_payload_unref(a->payload);
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 200000), EV_PULL, i);
}

static void on_complete(sim_world *w, tine_scheduler_action *a) {
    if (a->ticket == w->init_ticket) {
        initialised(w, a);
        return;
    }
    size_t i = root_of(w, a->ticket);
    root *r = &w->roots[i];
    if (r->done) sim_fail("root %zu completed twice", i);
    r->done = true;
    sim_stream_ended(&r->stream, &w->traits, a->status);
    w->counts->streams += r->stream.window > 0;
    sim_trace(w, "root %zu is done: %d %s", i, (int)a->status, a->text ? a->text : "");
    bool lost =
        a->status == TINE_ELOST && (w->faults > r->faults || (w->faults && !w->workers_return));
    /* it was, or what it depends on */
    bool cancelled =
        (a->status == TINE_ECANCELED && w->stopped) ||
        (w->any_cancelled && (a->status == TINE_ECANCELED || a->status == TINE_ETIMEDOUT));
    if (r->cancelled && a->status != r->cancelled)
        sim_fail("root %zu was cancelled, and its status is %d", i, (int)a->status);
    /* the program has not got the answers that it cancelled */
    bool cancels = w->traits.cancels || w->any_cancelled;
    lost |= a->status == TINE_ELOST && cancels;
    /* it cannot run where it should, or what it depends on cannot */
    bool misplaced = w->any_misplaced && (a->status == TINE_ELOST || a->status == TINE_EUNKNOWN ||
                                          a->status == TINE_EINVAL);
    w->counts->misplaced += misplaced;
    w->counts->lost += lost;
    w->counts->cancelled += cancelled;
    if (a->status && (!a->text || strlen(a->text) < 20))
        sim_fail("root %zu: an error without a text", i);
    bool result_lost = a->text && strstr(a->text, "the result of task");
    if (lost && w->traits.all_repeatable && w->workers_return && !result_lost && !cancels &&
        !misplaced)
        sim_fail("root %zu was lost, though every task is repeatable: %s", i, a->text);
    if (!lost && !cancelled && !misplaced && a->status != r->expected.status)
        sim_fail("root %zu: status %d (%s), not %d", i, (int)a->status, a->text ? a->text : "",
                 (int)r->expected.status);
    if (!a->status && !a->payload != !!a->object)
        sim_fail("root %zu: needs either a value or an object", i);
    if (a->payload && sim_body_of(a->payload).value != r->expected.value)
        sim_fail("root %zu: a wrong value", i);
    if (a->object) {
        w->counts->stayed++;
        r->result = a->object;
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 1000000), EV_TAKE, i);
    }
    for (uint32_t j = 0; a->payload && j < a->payload->n_refs; j++) {
        tine_object id = a->payload->refs[j];
        const char *text;
        if (tine_scheduler_object_error(w->scheduler, id, &text) == TINE_EINVAL)
            sim_fail("root %zu: the object in its result is missing", i);
        sim_object o = r->expected.object;
        o.id = id;
        if (w->n_handles < MAX_HANDLES && sim_one_in(&w->random, 2)) {
            w->handles[w->n_handles] = (handle){.object = o, .faults = r->faults};
            sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 3000000),
                     EV_RELEASE, w->n_handles++);
        } else {
            tine_scheduler_object_release(w->scheduler, id);
        }
    }
    tine_payload_unref(a->payload);
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
    if (!is_alive(&w->seats[i]) || w->faults > 8) return;
    if (atomic_load(&sim_worker_log(w->seats[i].worker)->running) != task) return;
    w->counts->ends++;
    kill_worker(w, i);
}

/* The program takes a result that stayed, or gives it up. */
static void take_result(sim_world *w, size_t i) {
    root *r = &w->roots[i];
    if (sim_one_in(&w->random, 4)) {
        tine_scheduler_object_release(w->scheduler, r->result);
        r->result = 0;
        return;
    }
    r->wanted = true;
    tine_scheduler_object_want(w->scheduler, r->result);
}

static void check_taken(sim_world *w, size_t i) {
    root *r = &w->roots[i];
    const char *text;
    if (!r->wanted || !r->result || w->stopped) return;
    const tine_payload *p = tine_scheduler_object_payload(w->scheduler, r->result, NULL);
    tine_error e = tine_scheduler_object_error(w->scheduler, r->result, &text);
    if (!p && e == TINE_EAGAIN) return;
    if (p && sim_body_of(p).value != r->expected.value)
        sim_fail("root %zu: a wrong value was fetched", i);
    if (!p && (e != TINE_ELOST || w->faults <= r->faults) && !w->any_misplaced)
        sim_fail("root %zu: its result was not fetched: %d %s", i, (int)e, text);
    w->counts->fetched += p != NULL;
    tine_scheduler_object_release(w->scheduler, r->result);
    r->result = 0;
}

/* It is sent where it may run. */
static void check_place(sim_world *w, size_t index, const tine_message *m) {
    const char *label = sim_label(&w->traits, m->target.name, sim_body_of(m->payload).seed);
    w->counts->labelled += label != NULL;
    if (label && !w->seats[index].labelled) sim_fail("a task is sent where its label is not");
    for (size_t i = 0; i < w->n_roots; i++) {
        if (w->roots[i].task != m->task || !w->roots[i].place) continue;
        w->counts->pinned++;
        if (w->roots[i].place != m->epoch) sim_fail("root %zu is sent to another worker", i);
    }
}

static bool has_instance(const sim_world *w, uint32_t epoch) {
    tine_worker_info info;
    for (size_t i = 0; i < w->n_seats; i++)
        if (tine_scheduler_worker(w->scheduler, i + 1, &info) && info.epoch == epoch)
            return !info.ending;
    return false;
}

/* Calls of a module with one instance come in the order of their forks, one at a time, to the same
 * worker until that is lost. */
static void check_turn(sim_world *w, const tine_message *m) {
    size_t i = 0, j = 0;
    while (i < w->n_roots && (w->roots[i].task != m->task || !w->roots[i].single)) i++;
    if (i == w->n_roots) return;
    while (w->handles[j].object.id != w->roots[i].single) j++;
    handle *h = &w->handles[j];
    tine_worker_info info;
    w->counts->turns++;
    if (i + 1 < h->called) sim_fail("root %zu runs after root %zu", i, h->called - 1);
    if (i + 1 > h->called && h->called &&
        tine_scheduler_task_worker(w->scheduler, w->roots[h->called - 1].task, &info))
        sim_fail("root %zu runs while root %zu does", i, h->called - 1);
    if (h->epoch && h->epoch != m->epoch) {
        if (has_instance(w, h->epoch)) sim_fail("root %zu runs elsewhere", i);
        w->counts->renewed++;
    }
    h->called = i + 1;
    h->epoch = m->epoch;
}

static void count_task(sim_world *w, const tine_message *m) {
    const char *text;
    for (uint32_t i = 0; i < m->payload->n_refs; i++) {
        if (tine_scheduler_object_payload(w->scheduler, m->payload->refs[i], NULL)) continue;
        w->counts->ahead +=
            tine_scheduler_object_error(w->scheduler, m->payload->refs[i], &text) == TINE_EAGAIN;
        break;
    }
    for (size_t i = 0; i < w->n_roots; i++)
        w->counts->again += w->roots[i].result && w->roots[i].result == m->object;
}

static void drain(sim_world *w) {
    tine_scheduler_action a;
    for (size_t i = 0; i < w->n_roots; i++) check_taken(w, i);
    while (tine_scheduler_next(w->scheduler, &a)) {
        switch (a.kind) {
        case TINE_SCHEDULER_SEND: {
            size_t i = seat_of(w, a.peer);
            if (a.message.type == TINE_MSG_TASK) count_task(w, &a.message);
            if (a.message.type == TINE_MSG_TASK) check_place(w, i, &a.message);
            if (a.message.type == TINE_MSG_TASK) check_turn(w, &a.message);
            if (a.message.type == TINE_MSG_TASK) check_initialised(w, &w->seats[i], &a.message);
            if (a.message.type == TINE_MSG_WELCOME) w->seats[i].fresh = w->init_seed != 0;
            if (a.message.type == TINE_MSG_STOP && !w->stopped) {
                w->counts->retired++;
                if (is_alive(&w->seats[i])) break_worker(w, i, "is told to stop");
            }
            w->counts->demands += a.message.type == TINE_MSG_DEMAND;
            if (is_alive(&w->seats[i]) && !drops(w, i))
                transmit(w, i, &w->seats[i].in, EV_TO_WORKER, &a.message);
            break;
        }
        case TINE_SCHEDULER_COMPLETE: on_complete(w, &a); break;
        case TINE_SCHEDULER_YIELD: on_yield(w, &a); break;
        case TINE_SCHEDULER_DROP:
            if (!w->stopped && w->seats[seat_of(w, a.peer)].worker)
                sim_fail("a correct worker is dropped: %s", a.text);
            break;
        case TINE_SCHEDULER_END: end_worker(w, a.ticket); break;
        case TINE_SCHEDULER_LOG: sim_trace(w, "scheduler: %s", a.text); break;
        }
    }
}

/* ---- the coordinator's program ---- */

static void put_one(sim_world *w) {
    if (w->n_handles == MAX_HANDLES) return;
    bool module = sim_one_in(&w->random, 2);
    uint64_t value = sim_next(&w->random);
    size_t ref = w->n_handles && sim_one_in(&w->random, 2) ? sim_below(&w->random, w->n_handles)
                                                           : MAX_HANDLES;
    bool references = ref < MAX_HANDLES && !w->handles[ref].released;
    tine_object id;
    tine_payload *p = sim_payload(value, 0, 0, sim_one_in(&w->random, 2),
                                  references ? &w->handles[ref].object.id : NULL, references);
    if (tine_scheduler_object(w->scheduler, &id, module ? "C" : NULL, p)) sim_fail("put failed");
    tine_payload_unref(p);
    if (references && !w->handles[ref].object.module)
        value = sim_mix(value, w->handles[ref].object.value);
    w->counts->objects++;
    bool uses = references && !w->handles[ref].object.module; /* a module is fetched by a call */
    tine_error status = uses ? w->handles[ref].object.status : TINE_OK;
    uint64_t faults = references ? w->handles[ref].faults : UINT64_MAX;
    w->handles[w->n_handles] = (handle){.object = {id, value, module, status}, .faults = faults};
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 2000000), EV_RELEASE,
             w->n_handles++);
}

static const handle *handle_of(const sim_world *w, tine_object id) {
    for (size_t i = 0; i < w->n_handles; i++)
        if (w->handles[i].object.id == id && !w->handles[i].released) return &w->handles[i];
    sim_fail("no handle on %#llx", (unsigned long long)id);
}

/* Later roots may have the result among their arguments. */
static void refer_to(sim_world *w, const root *r) {
    tine_object id = w->n_handles < MAX_HANDLES ? tine_scheduler_result(w->scheduler, r->task) : 0;
    if (!id) return;
    const sim_answer *a = &r->expected;
    bool mixes = a->has_object && !a->object.module;
    sim_object o = {id, mixes ? sim_mix(a->value, a->object.value) : a->value, false, a->status};
    w->handles[w->n_handles] = (handle){.object = o, .faults = r->faults};
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 3000000), EV_RELEASE,
             w->n_handles++);
}

/* The epoch of a worker, which may have been lost, or of none; 0: any. */
static uint32_t choose_place(sim_world *w) {
    tine_worker_info info;
    if (!sim_one_in(&w->random, 6)) return 0;
    if (sim_one_in(&w->random, 4)) return 1 + (uint32_t)sim_below(&w->random, 12);
    size_t i = sim_below(&w->random, w->n_seats + 1);
    return tine_scheduler_worker(w->scheduler, i + 1, &info) ? info.epoch : 0;
}

/* Which of two objects that have failed, or the name, fails a task first is left open. */
static bool fails_twice(const sim_frame *f, const sim_call *call, int i) {
    if (!f->objects[call->args[i]].status) return false;
    return (call->module >= 0 && f->objects[call->module].status) ||
           (i > 0 && f->objects[call->args[0]].status);
}

static void fork_root(sim_world *w) {
    if (sim_one_in(&w->random, 2)) put_one(w);
    sim_frame f = {.seed = sim_next(&w->random),
                   .acc = sim_next(&w->random),
                   .depth = 2 + (uint32_t)sim_below(&w->random, 3)};
    for (size_t i = 0; i < w->n_handles; i++)
        if (!w->handles[i].released) sim_frame_add(&f, w->handles[i].object);
    sim_call call;
    sim_frame_call(&f, &w->traits, 0, &call);
    root *r = &w->roots[w->n_roots];
    tine_object refs[2];
    uint64_t faults = w->losses;
    for (int i = 0; i < call.n_args; i++)
        if (fails_twice(&f, &call, i)) call.n_args = i;
    for (int i = 0; i < call.n_args; i++) {
        const handle *h = handle_of(w, f.objects[call.args[i]].id);
        refs[i] = h->object.id;
        if (h->faults == UINT64_MAX) continue;
        w->counts->dependents++;
        if (h->faults < faults) faults = h->faults;
        if (h->object.status && call.name[1] == '9') call.name = "f0"; /* see fails_twice */
    }
    if (call.module >= 0) {
        uint64_t of_module = handle_of(w, f.objects[call.module].id)->faults;
        if (of_module < faults) faults = of_module;
    }
    *r = (root){.ticket = sim_ticket(w),
                .stream = sim_stream_of(&call),
                .faults = faults,
                .expected = sim_expect(&w->traits, &call, f.objects)};
    tine_target target = {call.name, call.method, call.module >= 0 ? f.objects[call.module].id : 0};
    /* Roots alone: a nested call of a module that waits for this one would never have its turn. */
    if (call.module >= 0 && f.objects[call.module].id / 2 % 3) {
        r->single = f.objects[call.module].id;
        call.flags |= TINE_MODULE_SINGLE;
        if (r->single / 2 % 3 == 2) call.flags |= TINE_MODULE_RENEW;
        w->any_misplaced = true;
    }
    tine_payload *p = sim_payload(0, call.seed, call.depth, call.large, refs, (size_t)call.n_args);
    r->place = choose_place(w);
    w->any_misplaced |= r->place;
    tine_terms some = {.name = "root",
                       .label = sim_label(&w->traits, call.name, call.seed),
                       .worker = r->place,
                       .priority = (int32_t)sim_below(&w->random, 9) - 4,
                       .retries = w->traits.all_repeatable ? 0 : (uint32_t)sim_below(&w->random, 3),
                       .failure_retries = (uint32_t)sim_below(&w->random, 3),
                       .stream = call.stream};
    const tine_terms *terms =
        some.label || r->place || call.stream || sim_one_in(&w->random, 3) ? &some : NULL;
    sim_trace(w, "root %zu: fork of %s", w->n_roots, call.name);
    tine_error e =
        tine_scheduler_fork(w->scheduler, r->ticket, 0, &target, call.flags, p, terms, &r->task);
    tine_payload_unref(p);
    if (e != (w->stopped ? TINE_ESTATE : TINE_OK)) sim_fail("fork gave %d", (int)e);
    if (e) return;
    if (sim_one_in(&w->random, 8))
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 3000000), EV_CANCEL,
                 w->n_roots);
    w->n_roots++;
    if (!sim_one_in(&w->random, 4)) refer_to(w, r);
    if (sim_one_in(&w->random, 4)) tine_scheduler_result_want(w->scheduler, r->task);
}

static void cancel_root(sim_world *w, size_t i) {
    root *r = &w->roots[i];
    uint64_t grace = sim_one_in(&w->random, 2) ? 0 : UINT64_MAX;
    /* or as a deadline does */
    tine_error status = sim_one_in(&w->random, 2) ? TINE_ECANCELED : TINE_ETIMEDOUT;
    bool open = tine_scheduler_cancel(w->scheduler, r->task, status, "the seed says so", grace);
    if (open && r->done) sim_fail("root %zu was cancelled after it had completed", i);
    if (!open) return;
    r->cancelled = status;
    w->any_cancelled = true;
    w->counts->roots_cancelled++;
}

static void pull_root(sim_world *w, size_t i) {
    uint64_t item = sim_stream_take(&w->roots[i].stream);
    if (item) tine_scheduler_pull(w->scheduler, w->roots[i].task, item);
}

static void release(sim_world *w, size_t i) {
    if (w->handles[i].released) return;
    w->handles[i].released = true;
    tine_scheduler_object_release(w->scheduler, w->handles[i].object.id);
}

/* ---- peers ---- */

static size_t take_seat(sim_world *w) {
    if (w->n_seats == MAX_SEATS) sim_fail("too many workers");
    seat *s = &w->seats[w->n_seats];
    *s = (seat){.up = true, .sends_left = -1};
    tine_scheduler_peer_up(w->scheduler, ++w->n_seats, w->now);
    return w->n_seats - 1;
}

enum { FOREIGN = 1, LABELLED = 2 };

static void join(sim_world *w, size_t kind) {
    size_t i = take_seat(w);
    seat *s = &w->seats[i];
    s->foreign = kind & FOREIGN;
    s->labelled = kind & LABELLED;
    s->worker = sim_worker_new(w, i, 100 + (uint32_t)i, s->foreign, s->labelled, w->stays);
    if (w->faults < 5 && sim_one_in(&w->random, 4))
        s->sends_left = (int64_t)sim_below(&w->random, 60) + 1;
    w->counts->joins++;
    sim_worker_pump(s->worker);
}

static void lost(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!s->worker) sim_fail("worker %zu is lost twice", index);
    w->losses++;
    s->up = false;
    tine_run_log log = *sim_worker_log(s->worker);
    bool known = sim_one_in(&w->random, 2); /* not of a worker on another host */
    w->counts->logs += known;
    sim_worker_free(s->worker);
    s->worker = NULL;
    tine_worker_info info;
    bool joined = tine_scheduler_worker(w->scheduler, index + 1, &info);
    tine_scheduler_worker_died(w->scheduler, index + 1, "killed by signal 9 (SIGKILL)",
                               known ? &log : NULL);
    /* the scheduler waits for one that has not joined yet, so it is always started again */
    if ((w->workers_return || !joined) && !w->stopped)
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 200000), EV_JOIN,
                 (s->foreign ? FOREIGN : 0u) | (s->labelled ? LABELLED : 0u));
}

static void bad_peer(sim_world *w) {
    tine_peer peer = take_seat(w) + 1;
    w->counts->bad_peers++;
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION + 1, .host = "elsewhere"};
    uint64_t ids[] = {1, UINT64_C(1) << 32 | 1, UINT64_MAX};
    tine_message m = {.task = ids[sim_below(&w->random, 3)],
                      .attempt = 1,
                      .epoch = 1,
                      .ids = ids,
                      .n_ids = 3,
                      .object = 4};
    switch (sim_below(&w->random, 4)) {
    case 0: tine_scheduler_garbage(w->scheduler, peer, "HTTP"); break;
    case 1:
        m.type = TINE_MSG_HELLO;
        m.hello = &hello;
        tine_scheduler_message(w->scheduler, peer, &m, w->now);
        break;
    case 2: break; /* sends nothing */
    default:
        m.type = (tine_message_type)(sim_below(&w->random, TINE_MSG_LAST_ + 2));
        tine_scheduler_message(w->scheduler, peer, &m, w->now);
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
        if (is_alive(s)) sim_worker_message(s->worker, e->message);
        break;
    case EV_RESUME:
        if (is_alive(s)) sim_worker_resume(s->worker);
        break;
    case EV_KILL: kill_worker(w, e->seat); break;
    case EV_LOST: lost(w, e->seat); break;
    case EV_JOIN: join(w, e->seat); break;
    case EV_ROOT: fork_root(w); break;
    case EV_RELEASE: release(w, e->seat); break;
    case EV_TAKE: take_result(w, e->seat); break;
    case EV_CANCEL: cancel_root(w, e->seat); break;
    case EV_PULL: pull_root(w, e->seat); break;
    case EV_INITIALISE: run_initialiser(w); break;
    case EV_RETIRE: retire_worker(w, e->seat); break;
    case EV_STOP:
        w->stopped = true;
        w->counts->stops++;
        tine_scheduler_stop(w->scheduler);
        break;
    case EV_BAD_PEER: bad_peer(w); break;
    case EV_REPLAY: replay_old_done(w, e->seat); break;
    }
    sim_free_message(e->message);
}

static void plan(sim_world *w) {
    sim_rng *r = &w->random;
    w->traits = (sim_traits){.all_repeatable = sim_one_in(r, 3),
                             .foreign = sim_one_in(r, 3),
                             .unknown = sim_one_in(r, 4),
                             .failures = sim_one_in(r, 2),
                             .detached = sim_one_in(r, 2),
                             .cancels = sim_one_in(r, 4),
                             .labels = sim_one_in(r, 3),
                             .streams = sim_one_in(r, 2)};
    w->workers_return = !sim_one_in(r, 4);
    w->n_workers = 1 + (uint32_t)sim_below(r, w->traits.foreign ? MAX_WORKERS - 1 : MAX_WORKERS);
    w->stays = (size_t[]){0, SIM_SMALL_BODY, SIZE_MAX}[sim_below(r, 3)];
    w->window = 1 + (uint32_t)sim_below(r, sim_one_in(r, 2) ? 4 : 64);
    uint32_t expected = w->n_workers + w->traits.foreign;
    tine_scheduler_config config = {
        .expected_workers = expected,
        .max_attempts = w->traits.all_repeatable ? 1000 : 1 + (uint32_t)sim_below(r, 3),
        .max_credit = sim_one_in(r, 2) ? 3 : 0,
        .max_credit_bytes = sim_one_in(r, 4) ? 200 : 0,
        .window = w->window,
        .workers_return = w->workers_return};
    if (tine_scheduler_new(&w->scheduler, &config)) sim_fail("no scheduler");
    for (uint32_t i = 0; i < expected; i++)
        sim_push(&w->queue, w->now, (int64_t)sim_below(r, 100000), EV_JOIN,
                 i >= w->n_workers            ? FOREIGN
                 : i == 0 || sim_one_in(r, 3) ? LABELLED
                                              : 0);
    w->roots_planned = 1 + sim_below(r, MAX_ROOTS);
    for (size_t i = 0; i < w->roots_planned; i++)
        sim_push(&w->queue, w->now, (int64_t)sim_below(r, 2000000), EV_ROOT, 0);
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
}

static void check_end(sim_world *w) {
    tine_scheduler_check(w->scheduler);
    for (size_t i = 0; i < w->n_roots; i++)
        if (!w->roots[i].done) sim_fail("stalled: root %zu never completed", i);
    if (w->init_ticket) sim_fail("stalled: the initialiser never completed");
    for (size_t i = 0; i < w->n_roots; i++) {
        check_taken(w, i);
        if (w->roots[i].wanted && w->roots[i].result && !w->stopped)
            sim_fail("stalled: the result of root %zu was never fetched", i);
        if (w->roots[i].result) tine_scheduler_object_release(w->scheduler, w->roots[i].result);
    }
    for (size_t i = 0; i < w->n_handles; i++) release(w, i);
    tine_scheduler_stats stats = *tine_scheduler_stats_get(w->scheduler);
    w->counts->stale += stats.stale;
    w->counts->retried += stats.retried;
    if (stats.waiting || stats.ready || stats.running || stats.suspended || stats.ready_bytes ||
        stats.objects)
        sim_fail("left over in the scheduler: %llu ready, %llu running, %llu suspended, %llu "
                 "bytes, %llu objects",
                 (unsigned long long)stats.ready, (unsigned long long)stats.running,
                 (unsigned long long)stats.suspended, (unsigned long long)stats.ready_bytes,
                 (unsigned long long)stats.objects);
    for (size_t i = 0; i < w->n_seats; i++)
        if (w->seats[i].worker) sim_worker_check_idle(w->seats[i].worker, w->window);
}

/* What an observer is sent can be read, and fits what is known here. */
static void observe(sim_world *w) {
    tine_snapshot_place place = {.endpoint = "sim", .host = "sim", .now = w->now};
    tine_payload *p = NULL;
    tine_value *v = NULL;
    if (tine_snapshot_encode(w->scheduler, &place, &p) || tine_payload_value(p, NULL, &v))
        sim_fail("no snapshot: %s", tine_error_message());
    const tine_scheduler_stats *s = tine_scheduler_stats_get(w->scheduler);
    const tine_value *workers = tine_get(v, "workers");
    int64_t tasks = 0;
    if (tine_length(workers) != s->workers)
        sim_fail("%zu of %u workers are in the snapshot", tine_length(workers), s->workers);
    for (size_t i = 0; i < s->workers; i++) {
        const tine_value *row = tine_at(workers, i);
        if (tine_as_float(tine_get(row, "age")) > tine_as_float(tine_get(row, "seconds")))
            sim_fail("a task is older than its worker");
        tasks += tine_as_int(tine_get(row, "running"));
    }
    if (tasks > (int64_t)(s->running + s->waiting + s->suspended))
        sim_fail("too many tasks are shown");
    w->counts->snapshots++;
    tine_value_unref(v);
    tine_payload_unref(p);
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
    if (w->counts->events % 64 == 0) observe(w);
    if (++w->counts->events % 16 == 0 || w->verbose) tine_scheduler_check(w->scheduler);
    return true;
}

void sim_run(uint64_t seed, bool verbose, sim_counts *counts) {
    static sim_world w;
    w = (sim_world){
        .seed = seed, .verbose = verbose, .random = {sim_mix(seed, 42)}, .counts = counts};
    running = &w;
    plan(&w);
    for (uint64_t events = 0; one_event(&w); events++)
        if (events > MAX_EVENTS) sim_fail("more events than any program needs");
    check_end(&w);
    w.stopped = true;
    tine_scheduler_stop(w.scheduler);
    drain(&w);
    tine_scheduler_free(w.scheduler);
    sim_queue_fini(&w.queue);
    for (size_t i = 0; i < w.n_seats; i++) sim_worker_free(w.seats[i].worker);
    sim_free_message(w.old_done);
    running = NULL;
}
