/* One running task: its fiber from the decoded arguments to the encoded result, and how it suspends
 * and goes on. */
#include <stdlib.h>
#include <string.h>

#include "runtime/api/instances.h"
#include "runtime/trace/trace.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "workers/worker_internal.h"

void tine_attempt_list_add(tine_attempt_list *l, tine_attempt *j) {
    j->next = NULL;
    if (!l->first) l->end = &l->first;
    *l->end = j;
    l->end = &j->next;
}

tine_attempt *tine_attempt_list_take(tine_attempt_list *l) {
    tine_attempt *j = l->first;
    if (j) l->first = j->next;
    return j;
}

/* ---- on the fiber ---- */

static tine_error perform(tine_attempt *j, tine_value **out) {
    tine_worker *w = j->worker;
    const tine_target *t = &j->task.target;
    tine_arguments arguments;
    int64_t began = tine_trace_begin();
    tine_error e = tine_payload_call(j->task.payload, &w->context.decoder, &arguments);
    tine_trace_end(TINE_TRACE_DECODE, began, t->name);
    if (e != TINE_OK) return e;
    if (t->object != 0) {
        e = tine_instance_call(&w->context, t->object, t->method, &arguments, j, out);
    } else {
        const tine_callable *callable = tine_registry_function(t->name);
        if (callable)
            e = tine_call_run(callable, NULL, &arguments, j, out);
        else
            e = tine_error_set(TINE_EUNKNOWN, "this worker has no function \"%s\"", t->name);
    }
    tine_arguments_fini(&arguments);
    return e;
}

static void attempt_main(void *arg) {
    tine_attempt *j = arg;
    tine_value *value = NULL;
    tine_error e = perform(j, &value);
    if (e == TINE_OK) e = tine_value_settle(&value);
    if (e == TINE_OK) {
        int64_t began = tine_trace_begin();
        e = tine_payload_of_value(value, &j->worker->context.encoder, &j->payload);
        tine_trace_end(TINE_TRACE_ENCODE, began, "result");
    }
    j->status = e;
    if (e != TINE_OK) j->text = strdup(tine_error_message());
    tine_value_unref(value);
    j->finishing = true;
    while (j->held > 0) tine_attempt_suspend(j);
    tine_failure_fini(&tine_current.failure);
}

void tine_attempt_suspend(tine_attempt *j) {
    TINE_ASSERT_TRUE(j->worker->current == j);
    j->suspended = true;
    tine_executor_suspend(j->worker->executor, j->task.task);
    tine_trace_suspend(j->task.task, j->task.target.name);
    tine_fiber_yield();
    tine_trace_resume(j->task.task, j->task.target.name);
}

/* ---- in the loop ---- */

void tine_attempt_wake(tine_attempt *j) {
    if (!j->suspended) return;
    j->suspended = false;
    tine_attempt_list_add(&j->worker->runnable, j);
}

tine_error tine_attempt_start(tine_worker *w, const tine_executor_task *task) {
    tine_attempt *j = calloc(1, sizeof *j);
    if (!j) return tine_error_set(TINE_ENOMEM, "no memory for a task");
    *j = (tine_attempt){.worker = w, .task = *task, .deadline = INT64_MAX, .older = w->newest};
    j->fiber = tine_fiber_new(w->fibers, attempt_main, j, task->target.name);
    if (!j->fiber) {
        free(j);
        return TINE_ENOMEM;
    }
    if (w->newest) w->newest->newer = j;
    w->newest = j;
    w->n_attempts++;
    tine_attempt_list_add(&w->runnable, j);
    return TINE_OK;
}

void tine_attempt_drop(tine_attempt *j) {
    tine_worker *w = j->worker;
    if (j->newer)
        j->newer->older = j->older;
    else
        w->newest = j->older;
    if (j->older) j->older->newer = j->newer;
    w->n_attempts--;
    tine_fiber_free(j->fiber);
    tine_payload_unref(j->payload);
    tine_failure_fini(&j->object_failure);
    free(j->text);
    free(j);
}

void tine_attempt_run(tine_attempt *j) {
    tine_worker *w = j->worker;
    w->current = j;
    int64_t began = tine_clock_ns();
    tine_fiber_resume(j->fiber);
    int64_t ended = tine_clock_ns();
    w->current = NULL;
    j->run_ns += (uint64_t)(ended - began);
    if (tine_tracing()) {
        tine_trace_run(j->task.flow, j->task.target.name);
        tine_trace_end(TINE_TRACE_RUN, began, j->task.target.name);
    }
    if (!tine_fiber_ended(j->fiber)) return;
    tine_executor_done(w->executor, j->task.task, j->status, j->payload, j->text, j->run_ns);
    tine_attempt_drop(j);
}
