/* Workers as a pool: initialisers, which every worker runs, and workers that the program ends.
 *
 * An initialiser is pinned to each worker that is there, and is run once more by each that joins
 * later. Such a worker is closed to all other tasks until its initialisers have ended; one that
 * waits opens it, for what it waits for may have no other place. Where one fails, the worker is
 * dropped, as one that could not start. An initialiser that fails on a worker that was there when
 * it was called is withdrawn: later ones do not run it, since they would fail, too.
 *
 * A worker that is to end gets no more tasks. When its tasks have ended, results that only it has
 * are fetched, and then it is told to STOP. One that leaves by itself is treated alike, and gives
 * back those of its tasks that have not begun: they go elsewhere as if they had not been sent.
 *
 * Workers are dropped and stopped in a dispatch: no task is in the middle of ending there. */
#include "runtime/scheduler/internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- initialisers ---- */

static void sched_initialiser_run(tine_scheduler *s, sched_initialiser *n, sched_worker *w,
                                  bool joins) {
    if (w->closed & SCHED_CLOSED_ENDING || !tine_scheduler_serves(s, w, n->callable)) return;
    tine_terms terms = {.worker = w->epoch, .priority = INT32_MAX, .retries = 1};
    tine_target target = {.name = n->callable->name};
    sched_task *t = tine_scheduler_task_new(s, &target, n->flags, n->payload, &terms);
    t->terms->initialiser = n;
    t->terms->joins = joins;
    if (joins) {
        n->joining++;
        w->initialising++;
        tine_scheduler_close(s, w, SCHED_CLOSED_NEW, true);
    } else {
        n->left++; /* an initialiser that waits has opened w for its forks */
    }
    tine_scheduler_enqueue(s, t);
}

void tine_scheduler_worker_initialise(tine_scheduler *s, sched_worker *w) {
    sched_initialiser *n;
    STAILQ_FOREACH (n, &s->initialisers, link)
        if (n->status == TINE_OK) sched_initialiser_run(s, n, w, true);
}

static void sched_initialiser_withdraw(tine_scheduler *s, sched_initialiser *n) {
    STAILQ_REMOVE(&s->initialisers, n, sched_initialiser, link);
    tine_scheduler_unhold_refs(s, n->payload);
}

static void sched_initialiser_free(tine_scheduler *s, sched_initialiser *n) {
    tine_scheduler_callable_unuse(s, n->callable);
    tine_payload_unref(n->payload);
    free(n->text);
    free(n);
}

/* Of one that is withdrawn, once no task runs it any more. */
static void sched_initialiser_release(tine_scheduler *s, sched_initialiser *n) {
    if (n->status != TINE_OK && n->left + n->joining == 0) sched_initialiser_free(s, n);
}

static void sched_initialiser_answer(tine_scheduler *s, sched_initialiser *n) {
    sched_action *a = tine_scheduler_push(s, TINE_SCHEDULER_COMPLETE);
    a->a.ticket = n->ticket;
    a->a.status = n->status;
    a->a.text = a->owned.memory = n->text;
    n->text = NULL;
    if (n->status != TINE_OK) sched_initialiser_withdraw(s, n);
    sched_initialiser_release(s, n);
}

tine_error tine_scheduler_initialise(tine_scheduler *s, uint64_t ticket, const char *name,
                                     uint32_t flags, tine_payload *payload) {
    if (s->stopped) return TINE_ESTATE;
    if (!ticket || !payload || !name) return TINE_EINVAL;
    if (!tine_scheduler_refs_known(s, NULL, payload, 0)) return TINE_EINVAL;
    sched_initialiser *n = tine_scheduler_alloc(sizeof *n);
    n->ticket = ticket;
    n->flags = flags & TINE_REPEATABLE;
    n->payload = tine_payload_ref(payload);
    n->callable = tine_scheduler_callable_get(s, name, NULL, NULL);
    n->callable->uses++;
    n->left = 1; /* this call */
    tine_scheduler_hold_refs(s, payload);
    STAILQ_INSERT_TAIL(&s->initialisers, n, link);
    sched_worker *w;
    TAILQ_FOREACH (w, &s->workers, link) sched_initialiser_run(s, n, w, false);
    if (!TAILQ_EMPTY(&s->workers) && !tine_scheduler_is_served(s, n->callable, false)) {
        n->status = TINE_EUNKNOWN;
        n->text = tine_scheduler_text_unknown(s, n->callable);
    }
    if (--n->left == 0) sched_initialiser_answer(s, n);
    tine_scheduler_dispatch(s);
    return TINE_OK;
}

static void sched_worker_initialised(tine_scheduler *s, sched_worker *w, tine_error status,
                                     const char *text) {
    bool ending = w->closed & SCHED_CLOSED_ENDING; /* then it is no fault of the initialiser */
    if (status != TINE_OK && !w->refused && !ending) {
        w->refused = tine_scheduler_text("an initialiser failed there: %s", text ? text : "");
        s->n_leaving++;
    }
    if (--w->initialising > 0 || w->refused) return;
    free(s->refusal);
    s->refusal = NULL;
    tine_scheduler_close(s, w, SCHED_CLOSED_NEW, false);
}

void tine_scheduler_initialised(tine_scheduler *s, sched_task *t, tine_error status,
                                const char *text) {
    sched_initialiser *n = t->terms->initialiser;
    sched_worker *w = tine_scheduler_worker_of_epoch(s, t->terms->worker);
    t->terms->initialiser = NULL;
    if (t->terms->joins) {
        if (w && !s->stopped) sched_worker_initialised(s, w, n->status ? TINE_OK : status, text);
        n->joining--;
        sched_initialiser_release(s, n);
        return;
    }
    bool there = w && !(w->closed & SCHED_CLOSED_ENDING);
    if (status != TINE_OK && there && n->status == TINE_OK) {
        n->status = status;
        n->text = tine_scheduler_copy(text);
    }
    if (--n->left == 0) sched_initialiser_answer(s, n);
}

void tine_scheduler_initialiser_waits(tine_scheduler *s, const sched_task *t) {
    if (t->terms->joins) tine_scheduler_close(s, t->worker, SCHED_CLOSED_NEW, false);
}

void tine_scheduler_initialisers_free(tine_scheduler *s) {
    for (sched_initialiser *n; (n = STAILQ_FIRST(&s->initialisers));) {
        sched_initialiser_withdraw(s, n);
        sched_initialiser_free(s, n);
    }
}

/* ---- workers that are to end ---- */

const char *tine_scheduler_text_ending(const sched_worker *w) {
    return w->leaves ? "it leaves" : "the program has it ended";
}

static void sched_worker_close(tine_scheduler *s, sched_worker *w) {
    if (w->closed & SCHED_CLOSED_ENDING) return;
    s->n_leaving++;
    tine_scheduler_close(s, w, SCHED_CLOSED_ENDING, true);
    tine_scheduler_aim_lost(s, w);
    tine_scheduler_singles_lost(w, tine_scheduler_text_ending(w));
    tine_scheduler_pins_lost(s, w, tine_scheduler_text_ending(w));
}

bool tine_scheduler_worker_end(tine_scheduler *s, uint32_t epoch) {
    sched_worker *w = tine_scheduler_worker_of_epoch(s, epoch);
    if (!w || s->stopped) return false;
    sched_worker_close(s, w);
    tine_scheduler_dispatch(s);
    return true;
}

void tine_scheduler_worker_replaced(tine_scheduler *s, uint32_t epoch, bool replaced) {
    sched_worker *w = tine_scheduler_worker_of_epoch(s, epoch);
    uint32_t *most = &s->config.workers_most;
    if (!w || w->retired != replaced || *most == UINT32_MAX) return;
    w->retired = !replaced;
    *most += replaced ? 1 : -1;
}

/* Whether nothing of it has begun, as far as messages of its own say. */
static bool sched_task_may_return(const sched_task *t) {
    return !t->suspended && !t->received && LIST_EMPTY(&t->children);
}

static void sched_worker_returns(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    uint64_t *ids = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->n_ids; i++) {
        sched_task *t = tine_scheduler_task_find(s, m->ids[i]);
        if (!t || t->worker != w || t->state != SCHED_RUNNING) continue;
        if (!sched_task_may_return(t)) {
            free(ids);
            tine_scheduler_drop(s, w->peer, true, "it gave back a task that has begun");
            return;
        }
        if (t->payload) {
            tine_scheduler_task_returned(s, t);
            continue;
        }
        if (!ids) ids = tine_scheduler_alloc((m->n_ids - i) * sizeof *ids);
        ids[n++] = t->id;
    }
    if (n == 0) return;
    sched_action *a = tine_scheduler_send(s, w, TINE_MSG_LEAVE);
    a->a.message.ids = a->owned.memory = ids;
    a->a.message.n_ids = n;
}

/* The arguments of a task that was taken to have begun may have been freed: it is run there. */
void tine_scheduler_worker_leave(tine_scheduler *s, sched_worker *w, const tine_message *m) {
    if (s->stopped || w->stopped) return;
    if (!w->leaves)
        tine_scheduler_log(
            s, 2, tine_scheduler_text("worker pid %u (host %.64s) leaves", w->pid, w->host));
    w->leaves = true;
    sched_worker_close(s, w);
    sched_worker_returns(s, w, m);
}

void tine_scheduler_worker_pause(tine_scheduler *s, sched_worker *w, unsigned why, bool on) {
    if (s->stopped || !(w->closed & why) == !on) return;
    tine_scheduler_close(s, w, why, on);
    if (on && w->granted) tine_scheduler_slots_revoke(s, w->granted);
    tine_scheduler_aim_enqueue(s, w);
    tine_scheduler_dispatch(s);
}

void tine_scheduler_worker_hold(tine_scheduler *s, uint32_t epoch, bool hold) {
    sched_worker *w = tine_scheduler_worker_of_epoch(s, epoch);
    if (w) tine_scheduler_worker_pause(s, w, SCHED_CLOSED_HELD, hold);
}

/* Requests the results that w has and this process does not. True: some have not arrived. */
static bool sched_worker_has_results(tine_scheduler *s, const sched_worker *w) {
    bool any = false;
    sched_object *o;
    TAILQ_FOREACH (o, &s->object_list, link) {
        if (o->state != SCHED_OBJECT_REMOTE || !tine_scheduler_object_replica_at(o, w)) continue;
        if (!o->asked) tine_scheduler_result_request(s, o);
        any = true;
    }
    return any;
}

static void sched_worker_stop(tine_scheduler *s, sched_worker *w) {
    s->n_leaving--;
    w->stopped = true;
    tine_scheduler_objects_unkeep(s, w);
    tine_scheduler_send(s, w, TINE_MSG_STOP);
    tine_scheduler_log(s, 2,
                       tine_scheduler_text(w->leaves ? "worker pid %u (host %.64s) has left"
                                                     : "worker pid %u (host %.64s) is ended: the "
                                                       "program asked for it",
                                           w->pid, w->host));
}

/* One that would come back (tine_options::rejoin) does not after a REJECT. One with a token does
 * not in any case, and is killed. */
static void sched_worker_refuse(tine_scheduler *s, sched_worker *w) {
    char *why = tine_scheduler_copy(w->refused);
    free(s->refusal);
    s->refusal = tine_scheduler_copy(why);
    tine_scheduler_log(
        s, 0,
        tine_scheduler_text("worker pid %u (host %.64s) is dropped: %s", w->pid, w->host, why));
    if (!w->token[0]) {
        sched_action *a = tine_scheduler_send(s, w, TINE_MSG_REJECT);
        a->a.message.text = a->owned.memory = tine_scheduler_copy(why);
    }
    tine_scheduler_drop(s, w->peer, false, why);
    free(why);
}

static bool sched_worker_may_stop(tine_scheduler *s, const sched_worker *w) {
    return w->closed & SCHED_CLOSED_ENDING && !w->stopped && TAILQ_EMPTY(&w->running) &&
           LIST_EMPTY(&w->detached) && !sched_worker_has_results(s, w);
}

bool tine_scheduler_leaving_settle(tine_scheduler *s) {
    bool any = false;
    if (s->stopped) return false;
    for (sched_worker *w = TAILQ_FIRST(&s->workers), *next; w; w = next) {
        next = TAILQ_NEXT(w, link);
        if (w->refused)
            sched_worker_refuse(s, w);
        else if (sched_worker_may_stop(s, w))
            sched_worker_stop(s, w);
        else
            continue;
        any = true;
    }
    return any;
}

void tine_scheduler_leaving_forget(tine_scheduler *s, sched_worker *w) {
    s->n_leaving -= (w->refused != NULL) + (w->closed & SCHED_CLOSED_ENDING && !w->stopped);
    free(w->refused);
    w->refused = NULL;
}
