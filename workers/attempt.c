/* One run of a task: its fiber, from the decoded arguments to the encoded result, and how it
 * suspends and goes on. */
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/cancel.h"
#include "runtime/api/instances.h"
#include "runtime/trace/trace.h"
#include "transport/base/assert.h"
#include "transport/base/block.h"
#include "transport/base/clock.h"
#include "transport/base/hash.h"
#include "transport/base/text.h"
#include "workers/internal.h"

/* ---- on the fiber ---- */

static tine_error attempt_call(tine_attempt *a, tine_value **out) {
    tine_worker *w = a->worker;
    const tine_target *t = &a->task.target;
    tine_arguments arguments;
    int64_t began = tine_trace_begin();
    tine_error e = tine_payload_call(a->task.payload, &w->context.decoder, &arguments);
    tine_trace_end_bytes(TINE_TRACE_DECODE, began, t->name,
                         began ? tine_payload_bytes(a->task.payload) : 0);
    if (e != TINE_OK) return e;
    if (t->object != 0) {
        e = tine_instance_call(&w->context, t->object, t->method, &arguments, a, out);
    } else {
        const tine_callable *callable = tine_registry_function(t->name);
        if (callable)
            e = tine_call_run(callable, NULL, 0, &arguments, a, out);
        else
            e = tine_error_set(TINE_EUNKNOWN, "this worker has no function \"%s\"", t->name);
    }
    tine_arguments_fini(&arguments);
    return e;
}

/* The text of a failure is passed on to every task above. */
enum { ATTEMPT_TEXT_MAX = 8192 };

static void attempt_main(void *arg) {
    tine_attempt *a = arg;
    tine_value *value = NULL;
    tine_current.other = &a->callbacks;
    tine_current.on_thread = tine_fiber_call_on_thread;
    tine_error e = attempt_call(a, &value);
    if (e == TINE_OK) e = tine_value_settle(&value);
    if (e == TINE_OK) {
        int64_t began = tine_trace_begin();
        e = tine_payload_of_value(value, &a->worker->context.encoder, &a->payload);
        tine_trace_end_bytes(TINE_TRACE_ENCODE, began, "result",
                             began && !e ? tine_payload_bytes(a->payload) : 0);
    }
    /* What the task has printed must not be lost with this process. */
    if (__fpending(stdout) > 0) fflush(stdout);
    a->status = e == TINE_ENDED ? TINE_EFAILED : e; /* it is no error on the wire */
    if (e != TINE_OK) a->text = tine_text_cut(tine_error_text(), ATTEMPT_TEXT_MAX);
    tine_value_unref(value);
    a->finishing = true;
    while (a->held > 0) tine_attempt_suspend(a);
    tine_pool_drain(&a->callbacks);
}

void tine_attempt_suspend(tine_attempt *a) {
    TINE_ASSERT_TRUE(a->worker->current == a);
    a->suspended = true;
    a->pool = tine_current.pool;
    tine_executor_suspend(tine_worker_executor(a->worker), a->task.task);
    tine_trace_suspend(a->task.flow, a->task.target.name);
    tine_fiber_yield();
    tine_trace_resume(a->task.flow, a->task.target.name);
}

/* ---- in the loop ---- */

void tine_attempt_wake(tine_attempt *a) {
    if (!a->suspended) return;
    a->suspended = false;
    STAILQ_INSERT_TAIL(&a->worker->runnable, a, queue);
}

tine_error tine_attempt_start(tine_worker *w, const tine_executor_task *task) {
    tine_attempt *a = tine_block_new(sizeof *a);
    if (!a) return tine_error_set(TINE_ENOMEM, "no memory for a task");
    *a = (tine_attempt){.worker = w, .task = *task, .deadline = INT64_MAX};
    a->fiber = tine_fiber_new(w->fibers, attempt_main, a, task->target.name);
    if (!a->fiber) {
        tine_block_free(a, sizeof *a);
        return TINE_ENOMEM;
    }
    if (w->log && task->known == task->task) tine_run_log_begin(w->log, task->task);
    LIST_INSERT_HEAD(&w->attempts, a, live);
    tine_idmap_put(&w->attempt_by_task, task->task, a);
    STAILQ_INSERT_TAIL(&w->runnable, a, queue);
    return TINE_OK;
}

void tine_attempt_drop(tine_attempt *a) {
    LIST_REMOVE(a, live);
    tine_idmap_remove(&a->worker->attempt_by_task, a->task.task);
    tine_pool_drain(&a->callbacks);
    tine_handles_flush(a->worker->handles, &a->handles, a->worker->executor);
    tine_fiber_free(a->fiber);
    tine_payload_unref(a->payload);
    tine_failure_fini(&a->object_failure);
    if (a->text) free(a->text);
    tine_block_free(a, sizeof *a);
}

/* Results of short tasks leave together while more tasks of the same function are ready; at most
 * HELD_NS of computing is held back. If the next task takes longer than those before it, the
 * progress thread sends them. */
enum { SHORT_NS = 5000, HELD_NS = 20000 };

/* A result that is passed to the workers that wait for it reaches them at once. The coordinator,
 * which has sent the next tasks ahead, is then woken once for several results: it needs a core for
 * that, which may be one of theirs (tine bench grain). */
enum { PASSED_SHORT_NS = 50000, PASSED_HELD_NS = 100000 };

/* Of which function it is. */
static uint64_t attempt_key(const tine_attempt *a) {
    const tine_target *t = &a->task.target;
    uint64_t h = tine_hash(TINE_HASH_START, t->name, strlen(t->name) + 1);
    return t->method ? tine_hash(h, t->method, strlen(t->method)) : h;
}

static bool attempt_has_follower(const tine_attempt *a) {
    tine_worker *w = a->worker;
    const tine_target *next = tine_executor_next_target(w->executor), *t = &a->task.target;
    w->held_ns = w->holding ? w->held_ns + a->run_ns : a->run_ns;
    if (a->status == TINE_OK && tine_executor_passes(w->executor, a->task.task, a->payload))
        return a->run_ns < PASSED_SHORT_NS && STAILQ_EMPTY(&w->runnable);
    return next && a->run_ns < SHORT_NS && w->held_ns < HELD_NS && STAILQ_EMPTY(&w->runnable) &&
           !strcmp(next->name, t->name) && !next->method == !t->method &&
           (!t->method || !strcmp(next->method, t->method));
}

void tine_attempt_run(tine_attempt *a) {
    tine_worker *w = a->worker;
    /* A task of another function may compute for a long time. */
    if (w->holding && w->held_key != attempt_key(a)) tine_worker_hold(w, false);
    w->current = a;
    tine_handles_of_task(w->handles, &a->handles);
    if (w->log) tine_run_log_run(w->log, a->task.known);
    int64_t began = tine_clock_ns();
    tine_progress_offer(&w->progress);
    tine_fiber_resume(a->fiber);
    tine_progress_reclaim(&w->progress);
    int64_t ended = w->ran_at = tine_clock_ns();
    w->ran_local = a->task.known != a->task.task;
    if (w->log) tine_run_log_run(w->log, 0);
    w->current = NULL;
    tine_handles_of_task(w->handles, NULL);
    a->run_ns += (uint64_t)(ended - began);
    if (tine_tracing()) {
        tine_trace_run(a->task.flow, a->task.target.name);
        tine_trace_end(TINE_TRACE_RUN, began, a->task.target.name);
    }
    if (!tine_fiber_ended(a->fiber)) return;
    /* a fork that ran here too long is late, whatever it gives */
    tine_worker_end_late_forks(w, ended);
    if (w->log && a->status == TINE_OK && a->task.known == a->task.task) tine_run_log_end(w->log);
    tine_handles_flush(w->handles, &a->handles, w->executor);
    /* the coordinator may have said that the result should stay */
    if (w->reach && a->payload && tine_payload_bytes(a->payload) > w->config->stays)
        tine_worker_receive(w);
    bool more = attempt_has_follower(a); /* its target's texts go with the executor's record */
    if (more) w->held_key = attempt_key(a);
    bool enough = w->held_ns >= PASSED_HELD_NS;
    tine_executor_done(w->executor, a->task.task, a->status, a->payload, a->text, a->run_ns);
    if (more) tine_worker_hold(w, true);
    tine_worker_act(w); /* the answer is on its way while this frees the attempt */
    if (!more || enough) tine_worker_hold(w, false);
    if (more) tine_worker_hold(w, true);
    if (enough) w->held_ns = 0;
    tine_attempt_drop(a);
}
