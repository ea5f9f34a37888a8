/* The worker's loop: receive, run, reply. See worker.h.
 *
 * Between two stretches of tasks it looks at what came in; with nothing to run it blocks in the
 * transport. Jobs that can go on come before tasks that have not started, so that what is begun is
 * finished first. A task that computes is not interrupted: what keeps the connection alive
 * meanwhile is the transport's own thread or library, and what is large moves on by progress.h. */
#include "workers/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/isa.h"
#include "runtime/api/instances.h"
#include "transport/base/log.h"
#include "runtime/trace/trace.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "workers/worker_internal.h"

enum { EVENTS_PER_TURN = 64 };

static void stop(tine_worker *w, tine_error status, const char *why) {
    if (w->stopping) return;
    w->stopping = true;
    w->status = status;
    snprintf(w->why, sizeof w->why, "%s", why ? why : "");
    /* what waits for an answer waits in vain */
    for (tine_attempt *j = w->newest; j; j = j->older) {
        if (j->wants != 0)
            tine_worker_object_came(w, j->wants, TINE_ECANCELED, "the coordinator has stopped");
        if (j->waits_for_credit) tine_attempt_wake(j);
    }
}

/* ---- the executor's actions ---- */

static void say(tine_worker *w, const tine_message *m) {
    int64_t began = tine_trace_begin();
    tine_frame *f = tine_wire_encode(m);
    tine_trace_end(TINE_TRACE_ENCODE, began, tine_message_name(m));
    if (!f) {
        stop(w, TINE_ENOMEM, "no memory for a message");
        return;
    }
    began = tine_trace_begin();
    if (tine_progress_send(&w->progress, f) != 0)
        stop(w, TINE_EIO, "a message to the coordinator could not be sent");
    tine_trace_end(TINE_TRACE_SEND, began, tine_message_name(m));
}

static void complete(tine_worker *w, const tine_executor_action *a) {
    tine_future *f = tine_idmap_remove(&w->tickets, a->ticket);
    TINE_ASSERT_TRUE(f);
    tine_future_complete(f, a->status, a->payload, a->text);
    tine_future_unref(f);
}

static void trace(tine_worker *w, uint32_t what) {
    if (what < 2) {
        if (tine_trace_record(what == 1) != TINE_OK)
            tine_log(TINE_LOG_WARN, "no trace: %s", tine_error_message());
        return;
    }
    tine_message m = {.type = TINE_MSG_EVENTS};
    if (tine_trace_take(&m.payload) != TINE_OK) return;
    say(w, &m);
    tine_payload_unref(m.payload);
}

void tine_worker_act(tine_worker *w) {
    if (w->acting) return; /* the one that is at it goes on */
    w->acting = true;
    tine_progress_take(&w->progress);
    tine_executor_action a;
    while (tine_executor_next(w->executor, &a)) {
        switch (a.kind) {
        case TINE_EXECUTOR_SEND: say(w, &a.message); break;
        case TINE_EXECUTOR_COMPLETE: complete(w, &a); break;
        case TINE_EXECUTOR_OBJECT: tine_worker_object_came(w, a.object, a.status, a.text); break;
        case TINE_EXECUTOR_FORGET: tine_worker_forget(w, a.object); break;
        case TINE_EXECUTOR_CREDIT: tine_worker_credit(w); break;
        case TINE_EXECUTOR_TRACE: trace(w, a.flags); break;
        case TINE_EXECUTOR_STOP: stop(w, a.status, a.text); break;
        }
    }
    w->acting = false;
    if (w->current) tine_progress_lend(&w->progress); /* its stretch goes on */
}

/* ---- frames in ---- */

static void frame_came(tine_worker *w, tine_frame *f) {
    tine_decoded d = {0};
    char why[160];
    int64_t began = tine_trace_begin();
    tine_error e = tine_wire_decode(f, &d, why, sizeof why);
    if (e == TINE_OK)
        tine_executor_message(w->executor, &d.message, tine_clock_ns());
    else
        stop(w, e, e == TINE_EPROTO ? why : "no memory for a message");
    tine_trace_end(TINE_TRACE_RECEIVE, began,
                   e == TINE_OK ? tine_message_name(&d.message) : "garbage");
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

static void receive(tine_worker *w) {
    for (int n = 0; n < EVENTS_PER_TURN; n++) {
        tine_event ev;
        if (tine_progress_recv(&w->progress, &ev) != 0) {
            stop(w, TINE_EIO, "the transport is broken");
            return;
        }
        switch (ev.kind) {
        case TINE_EVENT_NONE: return;
        case TINE_EVENT_UP: w->up = true; break;
        case TINE_EVENT_FRAME: frame_came(w, ev.frame); break;
        case TINE_EVENT_LOST:
            tine_worker_act(w); /* what came before counts: most often STOP */
            stop(w, TINE_ELOST, ev.reason);
            return;
        case TINE_EVENT_WRITABLE: break; /* is seen to by the line */
        }
    }
}

/* ---- one turn ---- */

static int64_t wake_late(tine_worker *w) {
    if (w->n_timed == 0) return INT64_MAX;
    int64_t now = tine_clock_ns(), next = INT64_MAX;
    for (tine_attempt *j = w->newest; j; j = j->older) {
        if (j->deadline <= now && j->suspended) {
            j->timed_out = true;
            tine_attempt_wake(j);
        } else if (j->deadline < next) {
            next = j->deadline;
        }
    }
    return next;
}

static bool run_due(tine_worker *w) {
    tine_due *d = w->due;
    if (!d) return false;
    w->due = d->next;
    if (!w->due) w->due_end = &w->due;
    tine_task task = {/* what a callback forks or puts is its task's; what it makes goes with it */
                      .host = d->attempt};
    if (d->attempt) {
        tine_current.task = &task;
        tine_current.pool = &task.pool;
    }
    d->fn(d->arg);
    tine_current.task = NULL;
    tine_current.pool = NULL;
    tine_pool_drain(&task.pool);
    free(d);
    return true;
}

/* Runs one stretch of one attempt; false when there is none. */
static bool run_one(tine_worker *w) {
    tine_executor_task task;
    tine_attempt *j = tine_attempt_list_take(&w->runnable);
    if (!j && !w->stopping && tine_executor_start(w->executor, &task)) {
        if (tine_attempt_start(w, &task) != TINE_OK) {
            tine_executor_done(w->executor, task.task, tine_last_error(), NULL,
                               tine_error_message(), 0);
            return true;
        }
        j = tine_attempt_list_take(&w->runnable);
    }
    if (!j) return false;
    tine_progress_lend(&w->progress);
    tine_attempt_run(j);
    tine_progress_take(&w->progress);
    return true;
}

static void serve(tine_worker *w) {
    while (!w->stopping || w->runnable.first) {
        receive(w);
        tine_worker_act(w);
        int64_t next = wake_late(w);
        bool did = run_due(w);
        did |= run_one(w);
        if (!did) tine_executor_flush(w->executor);
        tine_worker_act(w);
        if (did || w->runnable.first || w->due || w->stopping) continue;
        int64_t left = next == INT64_MAX ? -1 : next - tine_clock_ns();
        tine_progress_wait(&w->progress, next != INT64_MAX && left < 0 ? 0 : left);
    }
}

/* ---- life ---- */

static tine_error make_executor(tine_worker *w, const tine_worker_config *config) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .pid = (uint32_t)getpid(),
                        .rank = config->rank,
                        .host = host};
    hello.token = config->token ? config->token : "";
    hello.kernel = tine_isa_name(tine_kernel_choice()->f32);
    size_t functions = tine_registry_functions(NULL, 0), classes = tine_registry_classes(NULL, 0);
    const char **names = calloc(functions + classes + 1, sizeof *names);
    if (!names) return tine_error_set(TINE_ENOMEM, "no memory for a worker");
    hello.n_functions = (uint32_t)tine_registry_functions(names, functions);
    hello.n_classes = (uint32_t)tine_registry_classes(names + functions, classes);
    hello.functions = names;
    hello.classes = names + functions;
    tine_error e = tine_executor_new(&w->executor, &hello);
    free(names);
    return e;
}

/* Tasks that still wait are given up where they stand; what their stacks own is lost, which matters
 * only where the worker is a thread of a process that lives on. So first every future they wait for
 * is cancelled, and they run to their ends. */
static void unwind(tine_worker *w) {
    tine_worker_drop_surplus(w);
    for (uint64_t ticket = 1; ticket <= w->last_ticket && w->tickets.n > 0; ticket++) {
        tine_future *f = tine_idmap_remove(&w->tickets, ticket);
        if (!f) continue;
        tine_future_complete(f, TINE_ECANCELED, NULL, "the coordinator has stopped");
        tine_future_unref(f);
    }
    while (run_due(w) || run_one(w)) {
    }
    while (w->newest) tine_attempt_drop(w->newest);
}

static tine_error finish(tine_worker *w) {
    tine_progress_stop(&w->progress);
    if (w->transport) {
        w->transport->ops->close(w->transport);
        w->transport->ops->stop(w->transport);
    }
    unwind(w);
    tine_worker_context_fini(w);
    tine_idmap_fini(&w->tickets);
    tine_executor_free(w->executor);
    tine_progress_fini(&w->progress);
    if (w->transport) w->transport->ops->fini(w->transport);
    tine_fiber_pool_free(w->fibers);
    tine_error e = w->status == TINE_OK ? TINE_OK : tine_error_set(w->status, "%s", w->why);
    free(w);
    return e;
}

tine_error tine_worker_run(const tine_worker_config *config) {
    tine_worker *w = calloc(1, sizeof *w);
    if (!w) return tine_error_set(TINE_ENOMEM, "no memory for a worker");
    tine_worker_context_init(w);
    tine_current.context = &w->context;
    char why[192] = "";
    const tine_transport_ops *ops = tine_transport_for(config->endpoint, why, sizeof why);
    if (!ops) {
        stop(w, TINE_EINVAL, why);
        goto out;
    }
    int failed = ops->connect(&w->transport, config->endpoint, &config->transport, why, sizeof why);
    if (failed != 0) {
        stop(w, failed == -EINVAL ? TINE_EINVAL : TINE_EIO, why);
        goto out;
    }
    tine_progress_init(&w->progress, w->transport);
    tine_error e = tine_fiber_pool_new(&w->fibers, config->stack_size, 0);
    if (e == TINE_OK) e = make_executor(w, config);
    if (e != TINE_OK) {
        stop(w, e, tine_error_message());
        goto out;
    }
    while (!w->up && !w->stopping) {
        receive(w);
        if (!w->up && !w->stopping) w->transport->ops->wait(w->transport, -1);
    }
    serve(w);
out:
    tine_current.context = NULL;
    return finish(w);
}
