/* Running one call: bind, run, take the result out of the task's pool before the pool is drained.
 * The caller's last error is saved meanwhile, so that an error is known to be the body's, and a
 * successful call leaves the caller's sentence as it was. */
#include "runtime/call/call.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/call/signature.h"
#include "transport/base/text.h"

void tine_arguments_fini(tine_arguments *a) {
    for (size_t i = 0; i < a->n_positional; i++) tine_value_unref(a->positional[i]);
    for (size_t i = 0; i < a->n_named; i++) tine_value_unref(a->named[i]);
    if (a->positional != a->few) free(a->positional);
    if (a->keys) free(a->keys);
    a->positional = a->named = NULL;
    a->keys = NULL;
    a->n_positional = a->n_named = 0;
}

void tine_arguments_move(tine_arguments *to, tine_arguments *from) {
    *to = *from;
    if (from->positional == from->few) to->positional = to->few;
    *from = (tine_arguments){0};
}

bool tine_arguments_reserve(tine_arguments *a, size_t n_positional) {
    a->positional = a->few;
    return n_positional <= TINE_ARGUMENTS_FEW ||
           (a->positional = malloc(n_positional * sizeof(tine_value *)));
}

bool tine_arguments_reserve_named(tine_arguments *a, size_t n, size_t key_bytes) {
    a->keys = malloc(n * (sizeof(char *) + sizeof(tine_value *)) + key_bytes);
    if (!a->keys) return false;
    a->named = (tine_value **)(a->keys + n);
    a->texts = (char *)(a->named + n);
    return true;
}

void tine_arguments_add_named(tine_arguments *a, const char *key, size_t size, tine_value *v) {
    a->keys[a->n_named] = a->texts;
    a->named[a->n_named++] = v;
    memcpy(a->texts, key, size);
    a->texts[size] = 0;
    a->texts += size + 1;
}

static tine_error arguments_check_key(const tine_arguments *a, const char *key, size_t i) {
    if (!*key)
        return tine_error_set(TINE_EINVAL,
                              "argument %zu: the keyword is NULL or empty: give tine_kw() the "
                              "parameter's name",
                              i + 1);
    for (size_t k = 0; k < a->n_named; k++)
        if (strcmp(a->keys[k], key) == 0)
            return tine_error_set(TINE_EINVAL, "keyword argument repeated: '%s'", key);
    if (!tine_utf8_valid(key, strlen(key)))
        return tine_error_set(TINE_EINVAL, "a keyword is not UTF-8");
    return TINE_OK;
}

static tine_error arguments_fill(tine_arguments *a, const tine_argument *args, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *key = args[i].key;
        tine_error e = key ? arguments_check_key(a, key, i) : TINE_OK;
        if (e != TINE_OK) return e;
        tine_value *v = tine_argument_value(&args[i]);
        if (!v) return tine_last_error();
        if (key)
            tine_arguments_add_named(a, key, strlen(key), v);
        else
            tine_arguments_add(a, v);
    }
    return TINE_OK;
}

tine_error tine_arguments_make(tine_arguments *out, const tine_argument *args, size_t n) {
    size_t named = 0, key_bytes = 0;
    *out = (tine_arguments){0};
    for (size_t i = 0; i < n; i++) {
        if (!args[i].key) continue;
        named++;
        key_bytes += strlen(args[i].key) + 1;
    }
    bool room = tine_arguments_reserve(out, n - named) &&
                (named == 0 || tine_arguments_reserve_named(out, named, key_bytes));
    tine_error e = room ? arguments_fill(out, args, n)
                        : tine_error_set(TINE_ENOMEM, "no memory for a call's arguments");
    if (e != TINE_OK) tine_arguments_fini(out);
    return e;
}

/* The caller's state, saved while a task runs. */
typedef struct outer {
    tine_failure failure;
    tine_pool *pool;
    tine_task *task;
    void (*refuse)(tine_task *task, const tine_value *v, const char *wanted);
} outer;

/* Sets the error of the calling thread; the first one becomes the task's. */
static void task_fail(tine_task *task, tine_error e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void task_fail_with_last(tine_task *task) {
    if (!task) return;
    if (atomic_exchange(&task->failed, true)) return;
    task->failure = (tine_failure){tine_last_error(), strdup(tine_error_text()), false};
}

static void task_fail(tine_task *task, tine_error e, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    tine_error_setv(e, format, ap);
    va_end(ap);
    task_fail_with_last(task);
}

static void wrong_argument(tine_task *task, size_t i, const char *wanted, const tine_value *v) {
    task_fail(task, TINE_EINVAL, "%s(): argument '%s' must be %s, not %s", task->callable->name,
              task->callable->signature->parameters[i].name, wanted, tine_kind_name(v->kind));
}

static void task_refuse(tine_task *task, const tine_value *v, const char *wanted) {
    for (size_t i = 0; v && i < task->n_bound; i++)
        if (task->bound[i] == v) {
            wrong_argument(task, i, wanted, v);
            return;
        }
    if (v) {
        task_fail(task, TINE_EINVAL, "%s(): a value must be %s, not %s", task->callable->name,
                  wanted, tine_kind_name(v->kind));
    } else {
        tine_error_null("%s(): a value must be %s, not NULL", task->callable->name, wanted);
        task_fail_with_last(task);
    }
}

static tine_error task_enter(tine_task *t, outer *o, const tine_callable *callable, void *self,
                             tine_object module, const tine_arguments *arguments, void *attempt) {
    t->callable = callable;
    t->self = self;
    t->module = module;
    t->attempt = attempt;
    t->outer = tine_current.task;
    atomic_init(&t->failed, false);
    t->failure = (tine_failure){0};
    tine_pool_init(&t->pool);
    t->n_bound = callable->signature->n;
    t->bound = t->few;
    if (t->n_bound > TINE_BOUND_FEW && !(t->bound = malloc(t->n_bound * sizeof(tine_value *))))
        return tine_error_set(TINE_ENOMEM, "no memory for a call of %s()", callable->name);
    tine_error e = tine_signature_bind(callable->signature, callable->name, arguments, t->bound);
    if (e) {
        if (t->bound != t->few) free(t->bound);
        return e;
    }
    *o = (outer){tine_current.failure, tine_current.pool, tine_current.task, tine_current.refuse};
    tine_current.failure = (tine_failure){0};
    tine_current.pool = callable->flags & TINE_OWNS ? NULL : &t->pool;
    tine_current.task = t;
    tine_current.refuse = task_refuse;
    return TINE_OK;
}

/* `ok`: the body returned a result and no accessor has failed the task. */
static tine_error task_leave(tine_task *t, outer *o, bool ok) {
    tine_pool_drain(&t->pool);
    tine_current.pool = o->pool;
    tine_current.task = o->task;
    tine_current.refuse = o->refuse;
    for (size_t i = 0; i < t->n_bound; i++) tine_value_unref(t->bound[i]);
    if (t->bound != t->few) free(t->bound);
    if (ok) {
        tine_error_clear();
        tine_current.failure = o->failure;
        return TINE_OK;
    }
    tine_failure_fini(&o->failure);
    if (t->failure.code != TINE_OK) {
        tine_failure_fini(&tine_current.failure);
        tine_current.failure = t->failure;
    }
    if (tine_last_error() == TINE_OK)
        tine_error_set(TINE_EFAILED, "%s() returned NULL and did not say why", t->callable->name);
    return tine_last_error();
}

/* One run of a body, perhaps on another thread. */
typedef struct body {
    tine_task *task;
    tine_value *result;
} body;

static void body_call(void *arg) {
    body *b = arg;
    b->result = b->task->callable->call(b->task);
}

static tine_value *body_run(tine_task *task) {
    body b = {task, NULL};
    if (!(task->callable->flags & TINE_THREAD) || !tine_current.on_thread)
        body_call(&b);
    else if (!tine_current.on_thread(body_call, &b))
        task_fail_with_last(task);
    return b.result;
}

tine_error tine_call_run(const tine_callable *callable, void *self, tine_object module,
                         const tine_arguments *arguments, void *attempt, tine_value **out) {
    tine_task task;
    outer o;
    tine_error e = task_enter(&task, &o, callable, self, module, arguments, attempt);
    if (e) return e;
    tine_value *result = body_run(&task);
    bool given = callable->flags & TINE_OWNS || !result || tine_pool_gives(&result->handle);
    if (!given) tine_value_ref(result);
    bool ok = result && !task.failed;
    e = task_leave(&task, &o, ok);
    if (e)
        tine_value_unref(result);
    else
        *out = result;
    return e;
}

tine_error tine_call_init(const tine_class_entry *class, const tine_arguments *arguments,
                          void *attempt, void **self) {
    tine_task task;
    outer o;
    tine_error e = task_enter(&task, &o, &class->constructor, NULL, 0, arguments, attempt);
    if (e) return e;
    void *made = class->class->init(&task);
    bool ok = made && !task.failed;
    if (made && !ok && class->class->fini) class->class->fini(made);
    e = task_leave(&task, &o, ok);
    if (e == TINE_OK) *self = made;
    return e;
}

void *tine_self(tine_task *task) {
    if (!task) tine_error_set(TINE_EINVAL, "tine_self: the task is NULL");
    return task ? task->self : NULL;
}

tine_value *tine_fail(tine_task *task, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    tine_error_setv(TINE_EFAILED, format, ap);
    va_end(ap);
    task_fail_with_last(task);
    return NULL;
}

const tine_value *tine_arg(tine_task *task, size_t i) {
    if (!task) {
        tine_error_set(TINE_EINVAL, "the task whose argument is asked for is NULL");
        return NULL;
    }
    if (i < task->n_bound) return task->bound[i];
    task_fail(task, TINE_EINVAL,
              "%s() has %zu parameters; tine_arg was asked for number %zu, counted from 0",
              task->callable->name, task->n_bound, i);
    return NULL;
}

bool tine_arg_bool(tine_task *task, size_t i) {
    const tine_value *v = tine_arg(task, i);
    if (!v) return false;
    if (v->kind == TINE_BOOL) return v->b;
    if (v->kind == TINE_INT && (v->i == 0 || v->i == 1)) return v->i; /* true in C11 */
    if (v->kind == TINE_INT)
        task_fail(task, TINE_EINVAL, "%s(): argument '%s' must be a bool, 0 or 1, not %lld",
                  task->callable->name, task->callable->signature->parameters[i].name,
                  (long long)v->i);
    else
        wrong_argument(task, i, "bool", v);
    return false;
}

/* One-element tensors count as numbers, as in PyTorch. */
static bool is_numeric(const tine_value *v, bool floating) {
    if (v->kind == TINE_TENSOR && v->tensor.elements == 1)
        return floating || (v->tensor.dtype != TINE_F32 && v->tensor.dtype != TINE_F64 &&
                            v->tensor.dtype != TINE_BF16);
    return v->kind == TINE_INT || (floating && v->kind == TINE_FLOAT);
}

int64_t tine_arg_int(tine_task *task, size_t i) {
    const tine_value *v = tine_arg(task, i);
    if (!v) return 0;
    if (is_numeric(v, false)) return tine_as_int(v);
    wrong_argument(task, i, "int", v);
    return 0;
}

double tine_arg_float(tine_task *task, size_t i) {
    const tine_value *v = tine_arg(task, i);
    if (!v) return 0;
    if (is_numeric(v, true)) return tine_as_float(v);
    wrong_argument(task, i, "float", v);
    return 0;
}

const char *tine_arg_string(tine_task *task, size_t i) {
    const tine_value *v = tine_arg(task, i);
    if (!v || v->kind == TINE_STRING) return v ? v->bytes.data : NULL;
    wrong_argument(task, i, "string", v);
    return NULL;
}

const tine_value *tine_arg_tensor(tine_task *task, size_t i, tine_dtype t, int rank) {
    const tine_value *v = tine_arg(task, i);
    if (!v) return NULL;
    if (v->kind != TINE_TENSOR) {
        wrong_argument(task, i, "tensor", v);
        return NULL;
    }
    const char *parameter = task->callable->signature->parameters[i].name;
    if (t != 0 && v->tensor.dtype != t)
        task_fail(task, TINE_EINVAL, "%s(): argument '%s' must be a %s tensor, not %s",
                  task->callable->name, parameter, tine_dtype_name(t),
                  tine_dtype_name(v->tensor.dtype));
    else if (rank >= 0 && v->tensor.rank != rank)
        task_fail(task, TINE_EINVAL, "%s(): argument '%s' must be %d-D, not %d-D",
                  task->callable->name, parameter, rank, v->tensor.rank);
    else
        return v;
    return NULL;
}
