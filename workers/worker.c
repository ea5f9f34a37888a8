/* The worker's loop: receive, run, reply. See worker.h.
 *
 * After each run of a fiber it receives without blocking; with nothing to run it blocks in the
 * transport. Attempts that can resume run before tasks that have not started, so that begun work is
 * finished first. A task that computes is not interrupted: meanwhile the transport's own thread or
 * library keeps the connection alive, and the progress thread (progress.h) moves what is large. */
#include "workers/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/isa.h"
#include "runtime/api/cancel.h"
#include "runtime/api/promise.h"
#include "runtime/api/stream.h"
#include "runtime/trace/trace.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "transport/base/process.h"
#include "workers/internal.h"

const char *tine_worker_over(const tine_worker *w) {
    return w->status == TINE_OK ? "the coordinator has stopped"
                                : "the connection to the coordinator has ended";
}

static void worker_stop(tine_worker *w, tine_error status, const char *why) {
    if (w->stopping) return;
    w->stopping = true;
    w->status = status;
    snprintf(w->why, sizeof w->why, "%s", why ? why : "");
    tine_promises_cancel(&w->context, tine_worker_over(w));
    /* no reply will come: attempts that wait for one resume */
    tine_attempt *a;
    LIST_FOREACH (a, &w->attempts, live) {
        if (a->wants != 0)
            tine_worker_object_came(w, a->wants, TINE_ECANCELED, tine_worker_over(w));
        if (a->waits_for_credit) tine_attempt_wake(a);
    }
}

/* ---- the executor's actions ---- */

static void worker_send_failed(tine_worker *w, tine_error e) {
    worker_stop(w, e,
                e == TINE_ENOMEM ? "no memory for a message"
                                 : "a message to the coordinator could not be sent");
}

static void worker_send(tine_worker *w, const tine_message *m) {
    tine_error e = tine_link_send(&w->link, 1, m);
    if (e != TINE_OK) worker_send_failed(w, e);
}

static void worker_pass(tine_worker *w, const tine_executor_action *a) {
    tine_message m = {.type = TINE_MSG_OBJECT, .object = a->object, .payload = a->payload};
    bool waits = tine_link_has_backlog_of(&w->link, 1); /* the DONE does, there */
    if (waits || !tine_link_pass(&w->link, tine_peer_other(a->ticket), &m))
        tine_executor_not_passed(w->executor, a->object, a->ticket);
}

void tine_worker_complete(tine_worker *w, uint64_t ticket, tine_error status, tine_payload *payload,
                          const char *text) {
    tine_future *f = tine_idmap_remove(&w->tickets, ticket);
    if (!f && w->stopping) { /* of a local task that went on to its end */
        tine_payload_unref(payload);
        return;
    }
    TINE_ASSERT_TRUE(f);
    tine_worker_overdue_forget(w, f);
    /* the future has a handle on each object that its result mentions */
    for (uint32_t i = 0; payload && i < payload->n_refs; i++)
        w->context.owner->retained(w->context.owner, payload->refs[i]);
    tine_future_complete(f, status, payload, text);
    tine_future_unref(f);
}

static void worker_yielded(tine_worker *w, const tine_executor_action *a) {
    tine_future *f = tine_idmap_get(&w->tickets, a->ticket);
    if (!f) { /* it was cancelled after the value had come */
        tine_payload_unref(a->payload);
        return;
    }
    for (uint32_t i = 0; a->payload && i < a->payload->n_refs; i++)
        w->context.owner->retained(w->context.owner, a->payload->refs[i]);
    tine_stream_arrived(f, a->item, a->status, a->payload, a->text);
}

static void worker_trace(tine_worker *w, uint32_t what) {
    if (what < 2) {
        if (tine_trace_record(what == 1) != TINE_OK)
            tine_log(TINE_LOG_WARN, "cannot send the trace: %s", tine_error_message());
        return;
    }
    tine_message m = {.type = TINE_MSG_EVENTS};
    if (tine_trace_take(&m.payload) != TINE_OK) return;
    size_t bytes = tine_payload_bytes(m.payload), most = w->context.encoder.max_frame;
    if (bytes > most - TINE_WIRE_ALLOWANCE) {
        tine_log(TINE_LOG_WARN,
                 "the trace of pid %d is empty: its %zu bytes are more than one message of %zu "
                 "holds (TINE_MAX_FRAME)",
                 (int)getpid(), bytes, most);
        tine_payload_unref(m.payload);
        if (tine_trace_take(&m.payload) != TINE_OK) return;
    }
    worker_send(w, &m);
    tine_payload_unref(m.payload);
}

static void worker_act(tine_worker *w) {
    if (w->acting) return; /* the outer call carries them out */
    w->acting = true;
    tine_progress_reclaim(&w->progress);
    if (w->send_error) worker_send_failed(w, w->send_error);
    tine_executor_action a;
    while (tine_executor_next(w->executor, &a)) {
        switch (a.kind) {
        case TINE_EXECUTOR_SEND:
            if (a.message.type == TINE_MSG_PONG) tine_worker_answer(w, &a.message);
            worker_send(w, &a.message);
            break;
        case TINE_EXECUTOR_COMPLETE:
            tine_worker_complete(w, a.ticket, a.status, a.payload, a.text);
            break;
        case TINE_EXECUTOR_YIELD: worker_yielded(w, &a); break;
        case TINE_EXECUTOR_PULL: tine_worker_pulled(w, a.ticket); break;
        case TINE_EXECUTOR_OBJECT: tine_worker_object_came(w, a.object, a.status, a.text); break;
        case TINE_EXECUTOR_FORGET: tine_worker_forget(w, a.object); break;
        case TINE_EXECUTOR_REACHABLE: tine_worker_reachable(w); break;
        case TINE_EXECUTOR_KEEP:
            if (w->reach) tine_reach_keep(w->reach, a.object, a.payload);
            break;
        case TINE_EXECUTOR_REACH: tine_worker_reach(w, &a); break;
        case TINE_EXECUTOR_PASS: worker_pass(w, &a); break;
        case TINE_EXECUTOR_CREDIT: tine_worker_credit(w); break;
        case TINE_EXECUTOR_TRACE: worker_trace(w, a.flags); break;
        case TINE_EXECUTOR_CANCEL: tine_worker_cancelled(w, a.ticket); break;
        case TINE_EXECUTOR_STOP: worker_stop(w, a.status, a.text); break;
        }
    }
    w->acting = false;
}

void tine_worker_act(tine_worker *w) {
    worker_act(w);
    if (w->acting || !w->current) return;
    tine_worker_hold(w, false);
    tine_progress_offer(&w->progress); /* the task continues after its call */
}

void tine_worker_hold(tine_worker *w, bool on) {
    if (w->holding == on) return;
    w->holding = on;
    tine_link_hold(&w->link, on);
}

/* ---- from the link ---- */

static void worker_on_up(void *ctx, tine_peer peer) {
    tine_worker *w = ctx;
    if (peer == 1)
        w->up = true;
    else
        tine_worker_joined_up(w, peer);
}

static void worker_on_message(void *ctx, tine_peer peer, const tine_message *m) {
    tine_worker *w = ctx;
    if (peer != 1) {
        tine_worker_joined_message(w, peer, m);
        return;
    }
    if (m->type == TINE_MSG_WELCOME) w->context.worker_id = m->epoch;
    if (m->type == TINE_MSG_WELCOME && w->log && atomic_fetch_add(&w->log->joined, 1) > 0)
        tine_log(TINE_LOG_WARN, "worker: it has joined again, as worker %u", m->epoch);
    /* the executor looks at the time of a PING alone */
    tine_executor_message(w->executor, m, m->type == TINE_MSG_PING ? tine_clock_ns() : 0);
}

static void worker_on_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    tine_worker *w = ctx;
    if (peer == 1)
        worker_stop(w, e, why);
    else
        tine_link_drop(&w->link, peer, e == TINE_EPROTO, why); /* LOST follows */
}

static void worker_on_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    (void)bad;
    if (peer != 1) {
        tine_worker_joined_lost(ctx, peer, reason);
        return;
    }
    /* handles what arrived before the loss, above all STOP; the link is still receiving */
    worker_act(ctx);
    worker_stop(ctx, TINE_ELOST, reason);
}

/* Tasks go on, and what they send waits for the connection. */
static void worker_on_silent(void *ctx, tine_peer peer, const char *reason) {
    (void)ctx;
    if (peer != 1) return;
    if (reason)
        tine_log(TINE_LOG_WARN, "worker: the coordinator is silent: %s; the worker waits for it",
                 reason);
    else
        tine_log(TINE_LOG_WARN, "worker: the coordinator is heard again");
}

static const tine_link_handler worker_events = {worker_on_up, worker_on_message, worker_on_invalid,
                                                worker_on_lost, worker_on_silent};

bool tine_worker_receive(tine_worker *w) {
    int n = tine_link_receive(&w->link);
    if (n < 0) worker_stop(w, TINE_EIO, "the transport is broken");
    return n > 0;
}

/* ---- one turn ---- */

/* Cancels forks whose deadline has passed, and wakes attempts whose wait has timed out. Returns
 * when the next one does. */
static int64_t worker_wake_timed_out(tine_worker *w) {
    const tine_timers *deadlines = &w->context.deadlines;
    if (w->n_timed == 0 && tine_timers_next(deadlines) == INT64_MAX) return INT64_MAX;
    int64_t now = tine_clock_ns();
    tine_worker_end_late_forks(w, now);
    int64_t next = tine_timers_next(deadlines);
    tine_attempt *a;
    LIST_FOREACH (a, &w->attempts, live) {
        if (a->deadline <= now && a->suspended) {
            a->timed_out = true;
            tine_attempt_wake(a);
        } else if (a->deadline < next) {
            next = a->deadline;
        }
    }
    return next;
}

/* What a callback forks, puts or makes is its task's. */
static bool worker_run_callback(tine_worker *w) {
    worker_callback *callback = STAILQ_FIRST(&w->callbacks);
    if (!callback) return false;
    STAILQ_REMOVE_HEAD(&w->callbacks, entry);
    tine_worker_hold(w, false); /* it may compute for a long time */
    tine_attempt *a = callback->attempt;
    tine_task task = {.attempt = a};
    if (a) {
        tine_current.task = &task;
        tine_current.pool = &a->callbacks;
        tine_current.other = a->pool;
        tine_handles_of_task(w->handles, &a->handles);
    }
    w->calling = true;
    callback->fn(callback->arg);
    w->calling = false;
    tine_current.task = NULL;
    tine_current.pool = tine_current.other = NULL;
    tine_handles_of_task(w->handles, NULL);
    free(callback);
    tine_worker_act(w);
    return true;
}

/* False when none is ready. */
static bool worker_start_task(tine_worker *w) {
    tine_executor_task task;
    if (w->stopping || !tine_executor_start(w->executor, &task)) return false;
    if (tine_attempt_start(w, &task) == TINE_OK) return true;
    tine_executor_done(w->executor, task.task, tine_last_error(), NULL, tine_error_message(), 0);
    tine_worker_act(w);
    return true;
}

/* Runs one attempt until it suspends or ends; false when none can run. */
static bool worker_run_attempt(tine_worker *w) {
    tine_attempt *a = STAILQ_FIRST(&w->runnable);
    if (!a) return false;
    STAILQ_REMOVE_HEAD(&w->runnable, queue);
    tine_attempt_run(a);
    return true;
}

bool tine_worker_is_idle(const tine_worker *w) {
    return STAILQ_EMPTY(&w->runnable) && STAILQ_EMPTY(&w->callbacks) && !w->stopping &&
           !tine_executor_has_ready(w->executor);
}

/* Local tasks may take a microsecond, as long as polling the transport does. */
enum { LOOK_NS = 20000 };

static bool worker_looks(tine_worker *w) {
    bool local = w->ran_local || tine_executor_has_local(w->executor);
    if (local && w->ran_at - w->looked_at < LOOK_NS && !tine_worker_is_idle(w)) return false;
    w->looked_at = w->ran_at;
    return true;
}

static void worker_loop(tine_worker *w) {
    while (!w->stopping || !STAILQ_EMPTY(&w->runnable)) {
        if (worker_looks(w)) tine_worker_receive(w);
        if (w->reach) {
            tine_worker_reached(w);
            tine_reach_release(w->reach);
        }
        if (tine_leave_asked(w->leave)) tine_executor_leave(w->executor);
        tine_worker_act(w);
        tine_mailbox_run(w->context.mailbox);
        int64_t deadline = worker_wake_timed_out(w);
        bool did = worker_run_callback(w);
        if (STAILQ_EMPTY(&w->runnable)) did |= worker_start_task(w);
        did |= worker_run_attempt(w);
        if (!tine_worker_is_idle(w)) continue;
        /* a reply received by now saves the report that its task is suspended */
        if (did && (tine_executor_has_report(w->executor) || w->n_timed > 0)) continue;
        tine_handles_flush(w->handles, NULL, w->executor);
        tine_executor_flush(w->executor);
        tine_worker_act(w);
        if (tine_worker_is_idle(w)) tine_link_wait(&w->link, tine_timeout_until(deadline));
    }
}

/* ---- life ---- */

/* Splits "big,left" in place; how many there are. */
static uint32_t labels_split(char *labels, const char **out) {
    uint32_t n = 0;
    char *rest;
    for (char *l = strtok_r(labels, ", ", &rest); l; l = strtok_r(NULL, ", ", &rest)) out[n++] = l;
    return n;
}

static tine_error worker_make_executor(tine_worker *w, const tine_worker_config *config) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .pid = (uint32_t)getpid(),
                        .rank = config->rank,
                        .host = host};
    hello.token = config->token ? config->token : "";
    hello.slots = config->slots ? config->slots : "";
    hello.kernel = tine_isa_name(tine_kernel_choice()->f32);
    size_t functions = tine_registry_functions(NULL, 0), classes = tine_registry_classes(NULL, 0);
    char *labels = strdup(config->labels ? config->labels : "");
    size_t room = functions + classes + (labels ? strlen(labels) : 0) + 1;
    const char **names = labels ? calloc(room, sizeof *names) : NULL;
    if (!names) {
        free(labels);
        return tine_error_set(TINE_ENOMEM, "no memory for a worker");
    }
    hello.n_functions = (uint32_t)tine_registry_functions(names, functions);
    hello.n_classes = (uint32_t)tine_registry_classes(names + functions, classes);
    hello.functions = names;
    hello.classes = names + functions;
    hello.labels = hello.classes + hello.n_classes;
    hello.n_labels = labels_split(labels, names + functions + hello.n_classes);
    tine_error e = tine_executor_new(&w->executor, &hello, config->stays, TINE_EXECUTOR_QUEUED);
    free(names);
    free(labels);
    return e;
}

/* Dropping a suspended attempt leaks what its stack owns, which matters where the worker is a
 * thread of a process that lives on. So every future is cancelled first, and attempts run to
 * their ends; those that still wait are dropped. */
static void worker_end_attempts(tine_worker *w) {
    tine_worker_forks_drop(w);
    /* from the last one: the open ones are among the latest */
    for (uint64_t ticket = w->last_ticket; w->tickets.n > 0; ticket--)
        if (tine_idmap_get(&w->tickets, ticket))
            tine_worker_complete(w, ticket, TINE_ECANCELED, NULL, tine_worker_over(w));
    while (worker_run_callback(w) || worker_run_attempt(w)) {
    }
    while (!LIST_EMPTY(&w->attempts)) tine_attempt_drop(LIST_FIRST(&w->attempts));
}

static tine_error worker_finish(tine_worker *w) {
    tine_leave_attach(w->leave, NULL);
    tine_progress_stop(&w->progress);
    tine_worker_joined_fini(w);
    tine_reach_free(w->reach);
    w->reach = NULL;
    tine_link_close(&w->link);
    worker_end_attempts(w);
    tine_worker_context_fini(w);
    tine_idmap_fini(&w->tickets);
    tine_idmap_fini(&w->attempt_by_task);
    free(w->awaited);
    tine_executor_free(w->executor);
    tine_progress_fini(&w->progress);
    tine_link_fini(&w->link);
    tine_fiber_pool_free(w->fibers);
    tine_error e = w->status == TINE_OK ? TINE_OK : tine_error_set(w->status, "%s", w->why);
    free(w);
    return e;
}

static bool worker_connect(tine_worker *w, const tine_worker_config *config) {
    char why[192] = "";
    tine_transport *transport;
    const tine_transport_ops *ops = tine_transport_for(config->endpoint, why, sizeof why);
    int failed =
        ops ? ops->connect(&transport, config->endpoint, &config->transport, why, sizeof why)
            : -EINVAL;
    if (failed != 0) {
        worker_stop(w, failed == -EINVAL ? TINE_EINVAL : TINE_EIO, why);
        return false;
    }
    tine_link_init(&w->link, transport, &worker_events, w);
    w->context.encoder.max_frame = transport->config.max_frame;
    tine_leave_attach(w->leave, &w->link);
    tine_worker_progress_init(w);
    return true;
}

static void worker_await_up(tine_worker *w) {
    while (!w->up && !w->stopping) {
        tine_worker_receive(w);
        if (tine_leave_asked(w->leave)) worker_stop(w, TINE_OK, NULL);
        if (!w->up && !w->stopping) tine_link_wait(&w->link, -1);
    }
}

tine_error tine_worker_run(const tine_worker_config *config) {
    tine_worker *w = calloc(1, sizeof *w);
    if (!w) return tine_error_set(TINE_ENOMEM, "no memory for a worker");
    w->log = config->log;
    w->config = config;
    w->leave = config->leave;
    tine_worker_context_init(w);
    tine_context_count_worker(1);
    tine_current.context = &w->context;
    if (worker_connect(w, config)) {
        tine_error e = tine_fiber_pool_new(&w->fibers, config->stack_size, 0);
        if (e == TINE_OK) e = worker_make_executor(w, config);
        if (e != TINE_OK) worker_stop(w, e, tine_error_message());
        worker_await_up(w);
        worker_loop(w);
    }
    tine_current.context = NULL;
    tine_context_count_worker(-1);
    return worker_finish(w);
}
