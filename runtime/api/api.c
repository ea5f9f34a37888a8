/* The public calls that wait, read results, and make objects; each goes to the context of the
 * calling thread. Forking is in fork.c, values are in value/value.c, starting and stopping in
 * launch/init.c. */
#include <limits.h>
#include <pthread.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "runtime/api/instances.h"
#include "runtime/trace/trace.h"
#include "transport/base/clock.h"

static tine_context *process_context;
/* A leaf: between reading process_context and taking a reference it must not be freed. */
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

static atomic_int workers; /* that run in this process */

void tine_context_count_worker(int change) { atomic_fetch_add(&workers, change); }

void tine_context_install(tine_context *c) {
    pthread_mutex_lock(&process_lock);
    __atomic_store_n(&process_context, c, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&process_lock);
}

tine_context *tine_context_installed(void) {
    return __atomic_load_n(&process_context, __ATOMIC_ACQUIRE);
}

tine_context *tine_context_current(void) {
    if (tine_forked()) {
        tine_forked_refuse();
        return NULL;
    }
    if (tine_current.context) return tine_current.context;
    tine_context *c = tine_context_installed();
    if (!c && atomic_load(&workers) > 0)
        tine_error_set(TINE_ESTATE, "a thread that a task has started cannot fork, wait or make "
                                    "objects: do that in the task");
    else if (!c)
        tine_error_set(TINE_ESTATE, "Tine is not running: call tine_init first");
    return c;
}

tine_context *tine_context_acquire(void) {
    if (tine_current.context) return tine_current.context;
    pthread_mutex_lock(&process_lock);
    tine_context *c = tine_context_current();
    if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&process_lock);
    return c;
}

/* Of a worker's context, which lives as long as its tasks, tine_context_acquire took none. */
void tine_context_release(tine_context *c) {
    if (c && c != tine_current.context) tine_context_unref(c);
}

/* ---- waiting ---- */

tine_error tine_future_foreign(void) {
    return tine_error_set(TINE_EINVAL,
                          "a future can be used only in the process or worker that forked it");
}

/* Records the ends of the flows where no wait was needed. */
static void trace_no_wait(tine_future *const *f, size_t n) {
    int64_t began = tine_trace_begin();
    if (began == 0) return;
    for (size_t i = 0; i < n; i++)
        if (tine_future_is_done(f[i])) tine_trace_wait(f[i]->flow, "");
    tine_trace_end(TINE_TRACE_WAIT, began, "");
}

/* Unlocks *held and locks c, where they differ. Either may be NULL: none. */
static void lock_context(tine_context **held, tine_context *c) {
    if (*held == c) return;
    if (*held) (*held)->ops->unlock(*held);
    if (c) c->ops->lock(c);
    *held = c;
}

static void unlock_context(tine_context **held) { lock_context(held, NULL); }

static tine_error check_futures(tine_future *const *f, size_t n) {
    if (tine_forked()) return tine_forked_refuse();
    if (n > 0 && !f) return tine_error_set(TINE_EINVAL, "the array of futures to wait for is NULL");
    for (size_t i = 0; i < n; i++)
        if (!f[i]) return tine_error_set(TINE_EINVAL, "the future to wait for is NULL");
    return TINE_OK;
}

/* Waits for n futures. *held: the context whose lock the caller holds afterwards, or NULL; the
 * futures' own unless they were done before, which may be futures of several. `values`: they will
 * be taken. */
static tine_error wait_locked(tine_future *const *f, size_t n, tine_wait_mode mode, bool values,
                              int64_t deadline, tine_context **held) {
    *held = NULL;
    tine_error e = check_futures(f, n);
    if (e != TINE_OK) return e;
    if (tine_wait_is_over(f, n, mode)) {
        trace_no_wait(f, n);
        return TINE_OK;
    }
    tine_context *c = tine_context_current();
    if (!c) return TINE_ESTATE;
    for (size_t i = 0; i < n; i++)
        if (f[i]->context != c && !tine_future_is_done(f[i])) return tine_future_foreign();
    lock_context(held, c);
    for (size_t i = 0; values && c->ops->want && i < n; i++) c->ops->want(c, f[i]);
    return c->ops->wait(c, f, n, mode, deadline);
}

/* The result of a future that is done. Nobody needs to decode, or to have, one that is not
 * taken. */
static tine_error take_result(tine_future *f, tine_value **out, tine_context **held) {
    const tine_value *v = NULL;
    lock_context(held, f->context);
    if (!out) return tine_future_status(f);
    if (tine_future_has_stayed(f)) {
        unlock_context(held);
        tine_error e = tine_future_fetch(f);
        if (e != TINE_OK) return e;
        lock_context(held, f->context);
    }
    tine_error e = tine_future_value_of(f, &v);
    if (e == TINE_OK) *out = tine_value_adopted(tine_value_ref(v));
    return e;
}

static tine_error timed_out(const tine_future *f, double seconds, tine_context *held) {
    char *state = held && held->ops->describe ? held->ops->describe(held, f) : NULL;
    tine_error_set(TINE_ETIMEDOUT, "the future was not done within %g s%s%s", seconds,
                   state ? ": " : "", state ? state : "");
    free(state);
    return TINE_ETIMEDOUT;
}

static tine_error several_timed_out(tine_future *const *f, size_t n, double seconds,
                                    tine_context *held) {
    size_t done = 0, first = n;
    for (size_t i = 0; i < n; i++) {
        if (tine_future_is_done(f[i]))
            done++;
        else if (first == n)
            first = i;
    }
    char *state =
        held && held->ops->describe && first < n ? held->ops->describe(held, f[first]) : NULL;
    tine_error_set(TINE_ETIMEDOUT, "%zu of %zu futures were done within %g s%s%s", done, n, seconds,
                   state ? "; " : "", state ? state : "");
    free(state);
    return TINE_ETIMEDOUT;
}

static tine_error check_seconds(double seconds) {
    return isnan(seconds) ? tine_error_set(TINE_EINVAL, "the seconds to wait are NaN") : TINE_OK;
}

/* A program that goes on to wait has dealt with an earlier error. */
static tine_error wait_ended(tine_error e) {
    if (e == TINE_OK) tine_current.failure.seen = true;
    return e;
}

tine_error tine_wait(tine_future *f, tine_value **out) { return tine_wait_for(f, INFINITY, out); }

tine_error tine_wait_for(tine_future *f, double seconds, tine_value **out) {
    tine_context *held;
    if (out) *out = NULL;
    tine_error e = check_seconds(seconds);
    if (e != TINE_OK) return e;
    int64_t deadline = seconds < INFINITY ? tine_wait_deadline(seconds) : INT64_MAX;
    e = wait_locked(&f, 1, TINE_WAIT_ALL, out, deadline, &held);
    if (e == TINE_OK)
        e = take_result(f, out, &held);
    else if (e == TINE_ETIMEDOUT)
        e = timed_out(f, seconds, held);
    unlock_context(&held);
    return wait_ended(e);
}

/* For several; the caller unlocks *held. */
static tine_error wait_several(tine_future *const *f, size_t n, tine_wait_mode mode, bool values,
                               double seconds, tine_context **held) {
    *held = NULL;
    tine_error e = check_seconds(seconds);
    if (e == TINE_OK) e = wait_locked(f, n, mode, values, tine_wait_deadline(seconds), held);
    return e == TINE_ETIMEDOUT ? several_timed_out(f, n, seconds, *held) : e;
}

tine_error tine_wait_any(tine_future *const *f, size_t n, size_t *index) {
    return tine_wait_any_for(f, n, INFINITY, index);
}

tine_error tine_wait_any_for(tine_future *const *f, size_t n, double seconds, size_t *index) {
    tine_context *held;
    size_t at = 0;
    if (index) *index = 0;
    if (n == 0) return tine_error_set(TINE_EINVAL, "tine_wait_any needs at least one future");
    tine_error e = wait_several(f, n, TINE_WAIT_ANY, false, seconds, &held);
    unlock_context(&held);
    while (e == TINE_OK && !tine_future_is_done(f[at])) at++;
    if (index) *index = at;
    return e;
}

tine_error tine_wait_all(tine_future *const *f, size_t n, tine_value **out) {
    return tine_wait_all_for(f, n, INFINITY, out);
}

tine_error tine_wait_all_for(tine_future *const *f, size_t n, double seconds, tine_value **out) {
    tine_context *held;
    for (size_t i = 0; out && i < n; i++) out[i] = NULL;
    tine_error e = wait_several(f, n, TINE_WAIT_ALL, out, seconds, &held);
    for (size_t i = 0; i < n && e == TINE_OK; i++) tine_future_observe(f[i]);
    for (size_t i = 0; i < n && e == TINE_OK; i++)
        e = take_result(f[i], out ? &out[i] : NULL, &held);
    unlock_context(&held);
    for (size_t i = 0; out && e != TINE_OK && i < n; i++) {
        tine_release_value_(out[i]);
        out[i] = NULL;
    }
    return wait_ended(e);
}

tine_error tine_wait_failure(tine_future *const *f, size_t n, double seconds, size_t *index) {
    tine_context *held;
    if (index) *index = n;
    tine_error e = wait_several(f, n, TINE_WAIT_FAILURE, false, seconds, &held);
    for (size_t i = 0; i < n && e == TINE_OK; i++) {
        if (!tine_future_is_done(f[i]) || f[i]->status == TINE_OK) continue;
        if (index) *index = i;
        e = take_result(f[i], NULL, &held);
    }
    unlock_context(&held);
    return wait_ended(e);
}

bool tine_done(const tine_future *f) { return f && tine_future_is_done(f); }

size_t tine_which_done(tine_future *const *f, size_t n, bool *done) {
    size_t count = 0;
    for (size_t i = 0; f && i < n; i++) {
        bool is = tine_done(f[i]);
        if (done) done[i] = is;
        count += is;
    }
    return count;
}

/* ---- calling here ---- */

static tine_error find_function(const char *name, const tine_callable **out) {
    *out = tine_registry_function(name);
    return *out ? TINE_OK
                : tine_error_set(TINE_EUNKNOWN, "no function \"%s\" is registered in this program",
                                 name);
}

static tine_error call_target(const char *method, const tine_argument *target,
                              const tine_arguments *arguments, tine_value **out) {
    void *parent = tine_context_parent();
    /* A task may be suspended in the call, and no slice may be open then. */
    int64_t began = parent ? 0 : tine_trace_begin();
    const tine_callable *callable;
    tine_error e;
    if (target->type == TINE_ARG_STRING) {
        if (!target->s)
            return tine_error_set(TINE_EINVAL, "the target is NULL, not a function's name");
        e = find_function(target->s, &callable);
        if (e == TINE_OK) e = tine_call_run(callable, NULL, 0, arguments, parent, out);
        tine_trace_end(TINE_TRACE_CALL, began, target->s);
        return e;
    }
    if (target->type == TINE_ARG_VALUE && !target->value)
        return tine_error_null("the target is NULL, not a module");
    if (target->type != TINE_ARG_VALUE || target->value->kind != TINE_MODULE_REF)
        return tine_error_set(TINE_EINVAL, "the target must be a function's name or a module");
    const tine_class_entry *class = tine_registry_class(target->value->bytes.data);
    if (class && class->flags & TINE_MODULE_SINGLE &&
        (!tine_current.task || tine_current.task->module != target->value->object))
        return tine_error_set(TINE_EINVAL,
                              "%s: the module has one instance, on a worker: fork its methods",
                              target->value->bytes.data);
    tine_context *c = tine_context_acquire();
    if (!c) return TINE_ESTATE;
    e = tine_instance_call(c, target->value->object, method, arguments, parent, out);
    tine_context_release(c);
    tine_trace_end(TINE_TRACE_CALL, began, target->value->bytes.data);
    return e;
}

tine_value *tine_call_args(const char *method, const tine_argument *args, size_t n) {
    tine_arguments arguments;
    tine_value *out = NULL;
    if (!args || n == 0) {
        tine_error_set(TINE_EINVAL, "tine_call_args: there is no target among the arguments");
        return NULL;
    }
    tine_error e = tine_arguments_make(&arguments, args + 1, n - 1);
    if (e != TINE_OK) return NULL;
    e = tine_forked() ? tine_forked_refuse() : tine_arguments_settle(&arguments);
    if (e == TINE_OK) e = call_target(method, &args[0], &arguments, &out);
    tine_arguments_fini(&arguments);
    if (e == TINE_OK) e = tine_value_settle(&out);
    if (e != TINE_OK) {
        tine_value_unref(out);
        return NULL;
    }
    tine_pool_adopt(&out->handle);
    return out;
}

/* ---- objects ---- */

/* With the lock, which the encoder needs too. */
static tine_error object_make(tine_context *c, const char *class_name, tine_payload *payload,
                              tine_object *id) {
    return c->ops->object(c, tine_context_parent(), class_name, payload, id);
}

static tine_value *put_make(tine_context *c, const tine_value *v) {
    if (v->object != 0) return tine_value_adopted(tine_value_ref(v));
    tine_value *settled = tine_value_ref(v), *out = NULL;
    tine_payload *payload = NULL;
    tine_object id;
    tine_error e = tine_value_settle(&settled);
    if (e == TINE_OK) tine_value_share(settled);
    c->ops->lock(c);
    if (e == TINE_OK) e = tine_payload_of_value(settled, &c->encoder, &payload);
    if (e == TINE_OK) e = object_make(c, NULL, payload, &id);
    c->ops->unlock(c);
    if (e == TINE_OK) out = tine_value_as_object(settled, id, c->owner);
    if (e == TINE_OK) c->owner->released(c->owner, id); /* the value has a handle of its own */
    tine_payload_unref(payload);
    tine_value_unref(settled);
    return out;
}

tine_value *tine_put(const tine_value *v) {
    tine_context *c = tine_context_acquire();
    if (!v) tine_error_null("tine_put: the value is NULL");
    tine_value *out = v && c ? put_make(c, v) : NULL;
    tine_context_release(c);
    return out;
}

/* The arguments that `class_name` wants to travel, in place of these. */
static tine_error rewrite_arguments(const char *class_name, tine_arguments *a) {
    const tine_class_entry *class = tine_registry_class(class_name);
    tine_value *dict = NULL;
    if (!class || !class->rewrite.call) return TINE_OK;
    tine_error e = tine_call_run(&class->rewrite, NULL, 0, a, tine_context_parent(), &dict);
    if (e == TINE_OK && dict->kind == TINE_DICT) {
        size_t bytes = 0, n = dict->list.n;
        for (size_t i = 0; i < n; i++) bytes += strlen(dict->list.keys[i]) + 1;
        tine_arguments_fini(a);
        *a = (tine_arguments){0};
        if (n > 0 && !tine_arguments_reserve_named(a, n, bytes))
            e = tine_error_set(TINE_ENOMEM, "no memory for a module's arguments");
        for (size_t i = 0; i < n && e == TINE_OK; i++)
            tine_arguments_add_named(a, dict->list.keys[i], strlen(dict->list.keys[i]),
                                     tine_value_ref(dict->list.items[i]));
    }
    tine_value_unref(dict);
    return e;
}

static tine_value *module_make(tine_context *c, const tine_argument *args, size_t n) {
    if (!args || n == 0 || args[0].type != TINE_ARG_STRING || !args[0].s) {
        tine_error_set(TINE_EINVAL, "tine_module: the first argument is the class's name");
        return NULL;
    }
    if (tine_name_check("class", args[0].s) != TINE_OK) return NULL;
    tine_arguments arguments;
    tine_payload *payload = NULL;
    tine_object id;
    tine_error e = tine_arguments_make(&arguments, args + 1, n - 1);
    if (e != TINE_OK) return NULL;
    e = tine_arguments_settle(&arguments);
    if (e == TINE_OK) e = rewrite_arguments(args[0].s, &arguments);
    c->ops->lock(c);
    if (e == TINE_OK) e = tine_payload_of_call(&arguments, &c->encoder, &payload);
    if (e == TINE_OK) e = object_make(c, args[0].s, payload, &id);
    c->ops->unlock(c);
    tine_value *out = e == TINE_OK ? tine_module_ref(id, args[0].s, c->owner) : NULL;
    if (e == TINE_OK) c->owner->released(c->owner, id);
    tine_payload_unref(payload);
    tine_arguments_fini(&arguments);
    return out;
}

tine_value *tine_module_args(const tine_argument *args, size_t n) {
    tine_context *c = tine_context_acquire();
    tine_value *out = c ? module_make(c, args, n) : NULL;
    tine_context_release(c);
    return out;
}
