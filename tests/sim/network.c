/* Messages in flight, faults, and the workers that come and go.
 *
 * In one direction of a connection, small messages arrive in order, large ones arrive in order, and
 * a small one may overtake large ones, never the other way round, as the transport's contract says.
 * Beyond the contract, messages that the protocol tolerates twice are duplicated, replies of old
 * epochs are replayed, and a lost message breaks its connection. */
#include <stdlib.h>
#include <string.h>

#include "world.h"

/* ---- messages in flight ---- */

static bool is_large(const tine_message *m) {
    return m->payload && m->payload->body_size > SIM_SMALL_BODY;
}

static bool is_done(const tine_message *m) {
    return m->type == TINE_MSG_DONE || m->type == TINE_MSG_DONE_PASSED;
}

/* PING and PONG come in their places, and change nothing else in the run: with them and without
 * them the same happens until the first deadlock is found. */
static bool is_ping(const tine_message *m) {
    return m->type == TINE_MSG_PING || m->type == TINE_MSG_PONG;
}

static int64_t ping_arrival(const sim_world *w, const channel *c) {
    int64_t at = w->now + 200;
    return at < c->small ? c->small : at;
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

void sim_transmit(sim_world *w, size_t index, channel *c, event_kind kind, const tine_message *m) {
    if (c->broken) return;
    bool large = is_large(m);
    int64_t at = is_ping(m) ? ping_arrival(w, c) : arrival(w, c, large);
    event *e = sim_push(&w->queue, w->now, at, kind, index);
    e->message = sim_copy_message(m);
    e->large = large;
    sim_trace(w, "%s %zu: %s%s task %llx seq %llu object %llx%s%llx status %d, arrives %.3f",
              kind == EV_TO_SCHEDULER ? "worker" : "scheduler to", index, tine_message_name(m),
              large ? " (large)" : "", (unsigned long long)m->task, (unsigned long long)m->seq,
              (unsigned long long)m->object, m->n_ids ? " first id " : " ids ",
              (unsigned long long)(m->n_ids ? m->ids[0] : 0), (int)m->status, (double)e->at / 1000);
    bool harmless = is_done(m) || m->type == TINE_MSG_RESULT;
    if (harmless && !w->traits.quiet && sim_one_in(&w->random, 24)) {
        event *twice = sim_push(&w->queue, w->now, arrival(w, c, large), kind, index);
        twice->message = sim_copy_message(m);
        twice->duplicate = true;
        w->counts->duplicates++;
    }
}

/* ---- between workers ---- */

static void reach_push(sim_world *w, event_kind kind, size_t index, bool large,
                       const tine_message *m) {
    int64_t at = w->now + 200 + (int64_t)sim_below(&w->random, large ? 200000 : 4000);
    event *e = sim_push(&w->queue, w->now, at, kind, index);
    e->message = sim_copy_message(m);
}

/* url: its port is the number of a seat, and 1. */
void sim_reach(sim_world *w, const sim_worker *from, tine_object id, uint64_t secret,
               const char *url) {
    tine_message m = {
        .type = TINE_MSG_REACH, .object = id, .seq = secret, .task = sim_worker_index(from)};
    sim_trace(w, "worker %zu asks %s for object %llx", sim_worker_index(from), url,
              (unsigned long long)id);
    reach_push(w, EV_REACH, strtoull(strrchr(url, ':') + 1, NULL, 10) - 1, false, &m);
}

void sim_reach_answer(sim_world *w, size_t index, const tine_message *m) {
    const seat *s = &w->seats[index];
    bool near = sim_mix(w->seed, index * MAX_SEATS + m->task) % 6 != 0;
    tine_payload *p =
        near && sim_is_alive(s) ? sim_worker_kept(s->worker, m->object, m->seq) : NULL;
    /* its connection breaks while the answer is under way */
    bool cut = p && w->faults < 10 && sim_one_in(&w->random, 4);
    tine_message answer = {.type = TINE_MSG_OBJECT,
                           .object = m->object,
                           .payload = cut ? NULL : p,
                           .status = p && !cut ? TINE_OK : TINE_ELOST,
                           .text = p && !cut ? NULL : "it cannot be reached"};
    if (cut && sim_one_in(&w->random, 2)) sim_kill_worker(w, index);
    if (!near) answer.seq = sim_mix(w->seed, m->object) % 2; /* the reason is the worker's own */
    w->counts->reached += answer.payload != NULL;
    w->counts->unreached += !answer.payload;
    w->counts->reached_late += cut || !sim_is_alive(s);
    reach_push(w, EV_REACHED, m->task, true, &answer);
}

/* Some workers have no direct way. */
void sim_pair(sim_world *w, tine_peer a, tine_peer b) {
    if (sim_mix(w->seed, a * b) % 4) tine_scheduler_paired(w->scheduler, a, b);
}

/* There may be no room for it, or no way. A large one is never sent: what is passed is small in
 * every transport, so that the DROP of it does not overtake the coordinator's OBJECT. It may be on
 * its way for long. */
bool sim_pass(sim_world *w, const sim_worker *from, uint64_t number, const tine_message *m) {
    size_t index = sim_worker_index(from), to = (size_t)number - 1;
    int64_t most = sim_one_in(&w->random, 8) ? 400000 : 2000;
    int64_t at = w->now + 200 + (int64_t)sim_below(&w->random, (uint64_t)most);
    bool knows = w->seats[index].parted >> to & 1, sent = !knows && !is_large(m);
    sent = !sim_one_in(&w->random, 8) && sent;
    sim_trace(w, "worker %zu %s object %llx to worker %zu", index, sent ? "passes" : "cannot pass",
              (unsigned long long)m->object, to);
    w->counts->not_passed += !sent;
    if (!sent) return false;
    event *e = sim_push(&w->queue, w->now, at, EV_PASSED, to);
    e->message = sim_copy_message(m);
    e->message->task = index;
    /* it dies as soon as its DONE is written */
    if (w->faults < 10 && sim_one_in(&w->random, 16)) sim_kill_worker(w, index);
    return true;
}

/* The memory that the two share is broken: the worker at `index` says so, and the other one sends
 * on until it is told. */
static void pass_break(sim_world *w, size_t index, size_t from) {
    w->counts->passes_broken++;
    sim_trace(w, "worker %zu receives nothing from worker %zu any more", index, from);
    w->seats[index].parted |= UINT64_C(1) << from;
    sim_worker_parted(w->seats[index].worker, from + 1);
}

void sim_pass_arrives(sim_world *w, size_t index, const tine_message *m) {
    seat *s = &w->seats[index];
    size_t from = m->task;
    if (!sim_is_alive(s) || s->parted >> from & 1) return;
    if (sim_is_alive(&w->seats[from]) && sim_one_in(&w->random, 24)) {
        pass_break(w, index, from);
        return;
    }
    if (!sim_is_alive(&w->seats[from]) && sim_one_in(&w->random, 2)) {
        w->counts->passed_lost++;
        return;
    }
    bool awaited = sim_worker_passed(s->worker, m);
    w->counts->passed += awaited;
    w->counts->passed_late += !awaited;
    /* what it has sent the scheduler before may be lost with it */
    if (!awaited || w->faults > 10 || !sim_one_in(&w->random, 8)) return;
    w->counts->passed_dead += sim_is_alive(&w->seats[from]);
    sim_kill_worker(w, from);
}

void sim_wake_at(sim_world *w, sim_worker *s, int64_t when) {
    sim_push(&w->queue, w->now, when, EV_RESUME, sim_worker_index(s));
}

/* ---- faults ---- */

void sim_break_worker(sim_world *w, size_t index, const char *how) {
    seat *s = &w->seats[index];
    sim_trace(w, "worker %zu %s", index, how);
    w->faults += !s->left;
    s->in.broken = s->out.broken = true;
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 50000), EV_LOST, index);
}

void sim_kill_worker(sim_world *w, size_t index) {
    if (!sim_is_alive(&w->seats[index]) || w->stopped) return;
    w->counts->kills++;
    sim_break_worker(w, index, "is killed");
}

bool sim_drops(sim_world *w, size_t index, const tine_message *m) {
    if (is_ping(m) || w->faults > 6 || w->stopped || !w->joins_done ||
        !sim_one_in(&w->random, 4000))
        return false;
    w->counts->drops++;
    sim_break_worker(w, index, "loses a message and its connection");
    return true;
}

bool sim_to_scheduler(sim_world *w, sim_worker *from, const tine_message *m) {
    size_t index = sim_worker_index(from);
    seat *s = &w->seats[index];
    if (s->out.broken) return false;
    if (!is_ping(m) && s->sends_left >= 0 && s->sends_left-- == 0) sim_kill_worker(w, index);
    if (s->out.broken || sim_drops(w, index, m)) return false;
    sim_transmit(w, index, &s->out, EV_TO_SCHEDULER, m);
    if (m->type == TINE_MSG_LEAVE) w->counts->returned += m->n_ids;
    w->counts->told_passed += m->type == TINE_MSG_DONE_PASSED;
    if (is_done(m) && !w->traits.quiet && sim_one_in(&w->random, 16)) {
        sim_free_message(w->old_done);
        w->old_done = sim_copy_message(m);
        w->old_done_from = index;
        sim_push(&w->queue, w->now,
                 w->now + (int64_t)sim_below(&w->random, sim_one_in(&w->random, 2) ? 300000 : 1000),
                 EV_REPLAY, sim_below(&w->random, w->n_seats));
    }
    return true;
}

void sim_replay_old_done(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!w->old_done || !s->worker || s->out.broken || index == w->old_done_from) return;
    tine_message lie = *w->old_done;
    if (sim_one_in(&w->random, 2)) lie.epoch = sim_worker_epoch(s->worker);
    lie.seq = 0;
    lie.object = 0;
    lie.payload = lie.status ? NULL : sim_payload(1, 0, 0, false, NULL, 0);
    sim_trace(w, "worker %zu repeats a reply, epoch %u", index, lie.epoch);
    w->counts->duplicates++;
    sim_transmit(w, index, &s->out, EV_TO_SCHEDULER, &lie);
    tine_payload_unref(lie.payload);
}

/* ---- links that are down for a while ---- */

/* What is sent meanwhile arrives afterwards. Heartbeats find it out only where it takes long. */
void sim_link_down(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!sim_is_alive(s) || w->stopped || s->down > w->now) return;
    int64_t takes = 20000 + (int64_t)sim_below(&w->random, 1500000);
    s->down = w->now + takes;
    for (channel *c = &s->in; c; c = c == &s->in ? &s->out : NULL) {
        if (c->small < s->down) c->small = s->down;
        if (c->large < s->down) c->large = s->down;
    }
    w->counts->links_down++;
    sim_trace(w, "the link of worker %zu is down", index);
    for (int64_t at = takes / 3; takes > 200000 && at < takes; at *= 2)
        sim_push(&w->queue, w->now, w->now + at, EV_SILENT, index);
    sim_push(&w->queue, w->now, s->down, EV_LINK_UP, index);
}

/* It has nothing that must not run twice, but for what was cancelled, has failed with an argument
 * ("cancelled", too), or has lost its owner. */
static void check_given_up(sim_world *w, size_t index) {
    static tine_task_info tasks[4096];
    tine_worker_info info;
    if (!tine_scheduler_worker(w->scheduler, index + 1, &info)) return;
    size_t n = tine_scheduler_tasks(w->scheduler, tasks, 4096);
    for (size_t i = 0; i < n && i < 4096; i++)
        if (tasks[i].worker == info.epoch && tine_idmap_get(&w->begun, tasks[i].id) &&
            !tine_idmap_get(&w->told, tasks[i].id) && strcmp(tasks[i].state, "cancelled") != 0)
            sim_fail("worker %zu is given up, although task %llx has begun there", index,
                     (unsigned long long)tasks[i].id);
}

void sim_link_silent(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!sim_is_alive(s) || w->stopped || s->down <= w->now) return;
    s->silent = tine_scheduler_worker_silent(w->scheduler, index + 1, "it sent nothing for 10 s");
    w->counts->waited_for += s->silent;
    w->counts->given_up += !s->silent;
    if (s->silent) {
        if (w->faults < 8 && sim_one_in(&w->random, 6)) sim_kill_worker(w, index);
        return;
    }
    check_given_up(w, index);
    sim_break_worker(w, index, "is given up");
}

void sim_link_up(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!sim_is_alive(s) || !s->silent) return;
    s->silent = false;
    w->counts->heard++;
    sim_trace(w, "worker %zu is heard again", index);
    tine_scheduler_worker_heard(w->scheduler, index + 1);
}

/* ---- peers ---- */

static size_t take_seat(sim_world *w) {
    if (w->n_seats == MAX_SEATS) sim_fail("too many workers");
    seat *s = &w->seats[w->n_seats];
    *s = (seat){.up = true, .sends_left = -1};
    tine_scheduler_peer_up(w->scheduler, ++w->n_seats, w->now);
    return w->n_seats - 1;
}

void sim_join(sim_world *w, size_t kind) {
    size_t i = take_seat(w);
    seat *s = &w->seats[i];
    s->foreign = kind & FOREIGN;
    s->labelled = kind & LABELLED;
    s->worker =
        sim_worker_new(w, i, 100 + (uint32_t)i, s->foreign, s->labelled, w->stays, w->queued);
    if (w->faults < 5 && sim_one_in(&w->random, 4))
        s->sends_left = (int64_t)sim_below(&w->random, 60) + 1;
    w->counts->joins++;
    sim_worker_pump(s->worker);
}

void sim_lost(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!s->worker) sim_fail("worker %zu is lost twice", index);
    w->losses += !s->left;
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

void sim_bad_peer(sim_world *w) {
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
