/* tine_call: a function, or a method of a module, runs here. */
#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "runtime/api/instances.h"
#include "runtime/trace/trace.h"

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
