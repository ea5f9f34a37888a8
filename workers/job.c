/* One running task: its fiber from the decoded arguments to the encoded result, and how it parks and goes on. */
#include <stdlib.h>
#include <string.h>

#include "runtime/instances.h"
#include "runtime/trace.h"
#include "transport/assert.h"
#include "transport/clock.h"
#include "workers/worker_internal.h"

void tine_job_list_add(tine_job_list *l, tine_job *j) {
    j->next = NULL;
    if (l->first == NULL) l->end = &l->first;
    *l->end = j;
    l->end = &j->next;
}

tine_job *tine_job_list_take(tine_job_list *l) {
    tine_job *j = l->first;
    if (j != NULL) l->first = j->next;
    return j;
}

/* ---- on the fiber ---- */

static tine_error perform(tine_job *j, tine_value **out) {
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
        if (callable != NULL)
            e = tine_call_run(callable, NULL, &arguments, j, out);
        else
            e = tine_error_set(TINE_EUNKNOWN, "this worker has no function \"%s\"", t->name);
    }
    tine_arguments_fini(&arguments);
    return e;
}

static void job_main(void *arg) {
    tine_job *j = arg;
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
    while (j->held > 0) tine_job_park(j);
    tine_failure_fini(&tine_current.failure);
}

void tine_job_park(tine_job *j) {
    TINE_ASSERT(j->worker->current == j, ==, true);
    j->parked = true;
    tine_agent_park(j->worker->agent, j->task.task);
    tine_trace_park(j->task.task, j->task.target.name);
    tine_fiber_yield();
    tine_trace_unpark(j->task.task, j->task.target.name);
}

/* ---- in the loop ---- */

void tine_job_wake(tine_job *j) {
    if (!j->parked) return;
    j->parked = false;
    tine_job_list_add(&j->worker->runnable, j);
}

tine_error tine_job_start(tine_worker *w, const tine_agent_task *task) {
    tine_job *j = calloc(1, sizeof *j);
    if (j == NULL) return tine_error_set(TINE_ENOMEM, "no memory for a task");
    *j = (tine_job){.worker = w, .task = *task, .deadline = INT64_MAX, .older = w->newest};
    j->fiber = tine_fiber_new(w->fibers, job_main, j, task->target.name);
    if (j->fiber == NULL) {
        free(j);
        return TINE_ENOMEM;
    }
    if (w->newest != NULL) w->newest->newer = j;
    w->newest = j;
    w->n_jobs++;
    tine_job_list_add(&w->runnable, j);
    return TINE_OK;
}

void tine_job_drop(tine_job *j) {
    tine_worker *w = j->worker;
    if (j->newer != NULL)
        j->newer->older = j->older;
    else
        w->newest = j->older;
    if (j->older != NULL) j->older->newer = j->newer;
    w->n_jobs--;
    tine_fiber_free(j->fiber);
    tine_payload_unref(j->payload);
    tine_failure_fini(&j->object_failure);
    free(j->text);
    free(j);
}

void tine_job_run(tine_job *j) {
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
    tine_agent_done(w->agent, j->task.task, j->status, j->payload, j->text, j->run_ns);
    tine_job_drop(j);
}
