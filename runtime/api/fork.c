/* tine_fork: from a call's arguments to a task that is submitted to its context.
 *
 * Futures among the arguments, or inside them, are resolved here: the objects that stand for their
 * results take their places (context.h, reference), or, where that cannot be, the fork is held
 * until they are done (held.c), and their values do. So no future ever travels, and a task's
 * arguments are complete when it starts. Arguments are walked once to find futures, before the lock
 * is taken; the lock is taken once. */
#include <stdlib.h>
#include <string.h>

#include "runtime/api/cancel.h"
#include "runtime/api/context.h"
#include "runtime/api/held.h"
#include "runtime/api/stream.h"
#include "runtime/wire/resources.h"
#include "transport/base/clock.h"
#include "transport/base/text.h"

static tine_error target_of(const char *method, const tine_argument *a, tine_fork_target *out) {
    if (a->key)
        return tine_error_set(TINE_EINVAL, "tine_fork: the first argument, the function's name or "
                                           "the module, has no keyword");
    if (a->type == TINE_ARG_STRING) {
        if (!a->s) return tine_error_set(TINE_EINVAL, "the target is NULL, not a function's name");
        const tine_callable *c = tine_registry_function(a->s);
        out->flags = c ? (uint32_t)c->flags & TINE_REPEATABLE : 0;
        out->target = (tine_target){.name = a->s};
        return tine_name_check("function", a->s);
    }
    if (a->type == TINE_ARG_VALUE && !a->value) /* an error of the call that made it is kept */
        return tine_error_null("the target is NULL, not a module");
    bool value = a->type == TINE_ARG_VALUE;
    if (!value || a->value->kind != TINE_MODULE_REF)
        return tine_error_set(TINE_EINVAL,
                              "the target must be a function's name or a module, not %s",
                              value ? tine_kind_name(a->value->kind) : "a number or a future");
    const tine_class_entry *class = tine_registry_class(a->value->bytes.data);
    out->module = a->value;
    out->target =
        (tine_target){a->value->bytes.data, method ? method : "forward", a->value->object};
    const tine_callable *c = class ? tine_class_method(class, out->target.method) : NULL;
    out->flags = c ? (uint32_t)c->flags & TINE_REPEATABLE : 0;
    if (class) out->flags |= (uint32_t) class->flags;
    return tine_name_check("method", method);
}

tine_error tine_fork_submit(tine_context *c, tine_future *result, void *parent,
                            const tine_fork_target *to, const tine_arguments *arguments) {
    tine_payload *payload;
    tine_error e = tine_payload_of_call(arguments, &c->encoder, &payload);
    if (e != TINE_OK) return e;
    e = c->ops->submit(c, result, parent, &to->target, to->flags, payload,
                       to->has_terms ? &to->terms : NULL);
    tine_payload_unref(payload);
    return e;
}

void tine_fork_fail(tine_future *f, tine_error e) {
    tine_future_complete(f, e, NULL, tine_error_text());
}

/* With the lock. */
static const tine_value *result_reference(tine_context *c, tine_future *f) {
    if (!f->reference && f->unresolved && !f->value)
        f->reference = tine_value_resolve(f->unresolved, tine_result_value, NULL);
    return f->reference || !c->ops->reference ? f->reference : c->ops->reference(c, f);
}

const tine_value *tine_result_value(tine_future *f, void *ctx) {
    (void)ctx;
    const tine_value *v = result_reference(f->context, f);
    if (v) return v;
    return tine_future_value_of(f, &v) == TINE_OK ? v : NULL;
}

static void arguments_share(const tine_arguments *a) {
    for (size_t i = 0; i < a->n_positional; i++) tine_value_share(a->positional[i]);
    for (size_t i = 0; i < a->n_named; i++) tine_value_share(a->named[i]);
}

/* The futures of all arguments. Each must belong to c. */
static tine_error find_futures(tine_context *c, const tine_arguments *a, tine_future_list *out) {
    tine_error e = tine_arguments_futures(a, out);
    for (size_t i = 0; i < out->n && e == TINE_OK; i++)
        if (out->items[i]->context != c)
            e = tine_error_set(TINE_EINVAL,
                               "a future can be used only in the process that forked it");
    return e;
}

/* How many have no result that can be an argument yet; with the lock. An error if one has
 * failed. */
static tine_error count_missing(tine_context *c, const tine_future_list *futures, size_t *missing) {
    *missing = 0;
    for (size_t i = 0; i < futures->n; i++) {
        tine_future *f = futures->items[i];
        if (!tine_future_is_done(f))
            *missing += !result_reference(c, f);
        else if (f->status != TINE_OK)
            return tine_future_status(f);
    }
    return TINE_OK;
}

/* With the lock, which admit may release meanwhile. */
static tine_error fork_locked(tine_context *c, tine_future *result, bool may_wait,
                              const tine_fork_target *to, tine_arguments *arguments,
                              const tine_future_list *futures) {
    size_t missing;
    tine_error failed = c->ops->admit(c, false);
    if (failed == TINE_EAGAIN) { /* one with an argument that has failed needs no room */
        failed = count_missing(c, futures, &missing);
        if (failed == TINE_OK) failed = c->ops->admit(c, may_wait);
    }
    if (failed == TINE_OK) failed = count_missing(c, futures, &missing);
    if (failed != TINE_OK) return failed;
    held_fork *before = tine_held_fork_last(c, to);
    if (missing > 0 || before)
        return tine_held_fork_begin(result, to, arguments, futures, missing, before);
    tine_error e = futures->n > 0 ? tine_arguments_resolve(arguments, tine_result_value) : TINE_OK;
    return e != TINE_OK ? e : tine_fork_submit(c, result, tine_context_parent(), to, arguments);
}

/* ---- options ---- */

static tine_error options_number(const char *what, double x, int least) {
    if (x >= least) return TINE_OK;
    return tine_error_set(TINE_EINVAL, "tine_fork_options: %s must be %d or more", what, least);
}

/* A worker's list of labels is cut at these. */
static tine_error options_label(const char *label) {
    if (!label || !strpbrk(label, ", ")) return tine_name_check("label", label);
    return tine_error_set(TINE_EINVAL,
                          "tine_fork_options: \"%.200s\" is not one label: no label has a comma or "
                          "a blank",
                          label);
}

static tine_error options_resources(const char *text) {
    tine_resources r;
    const char *wrong = tine_resources_parse(text, &r);
    if (!wrong && (r.n > 0 || !text || !*text)) return TINE_OK;
    return tine_error_set(TINE_EINVAL, "tine_fork_options: the resources \"%.200s\": %s", text,
                          wrong ? wrong : "no resource is named");
}

/* In error sentences; NULL without memory. */
static char *options_name(const tine_fork_options *o, const tine_target *to) {
    if (o->name && *o->name) return strdup(o->name);
    return to->method ? tine_text_format("%s.%s", to->name, to->method) : strdup(to->name);
}

static tine_error options_extra(const tine_fork_options *o, const tine_target *to, tine_future *f) {
    bool named = o->name && *o->name;
    if (o->deadline == 0 && o->grace == 0 && o->stream == 0 && !o->owned && !named) return TINE_OK;
    f->extra = calloc(1, sizeof *f->extra);
    if (f->extra) f->extra->name = options_name(o, to);
    if (!f->extra || !f->extra->name) return tine_error_set(TINE_ENOMEM, "no memory for a fork");
    f->extra->seconds = o->deadline;
    f->extra->deadline.due = tine_wait_deadline(o->deadline);
    f->extra->grace_ns = o->grace == 0 || o->grace >= 9e9 ? UINT64_MAX : (uint64_t)(o->grace * 1e9);
    if (o->owned) f->handle.kind = TINE_HANDLE_STREAM; /* its release cancels it likewise */
    return o->stream > 0 ? tine_stream_begin(f, (uint32_t)o->stream) : TINE_OK;
}

static tine_error options_take(const tine_fork_options *o, tine_fork_target *to, tine_future *f) {
    tine_error e = tine_name_check("task", o->name);
    if (e == TINE_OK) e = options_label(o->label);
    if (e == TINE_OK) e = options_resources(o->resources);
    if (e == TINE_OK) e = options_number("the deadline", o->deadline, 0);
    if (e == TINE_OK) e = options_number("the grace", o->grace, 0);
    if (e == TINE_OK) e = options_number("retry_on_failure", o->retry_on_failure, 0);
    if (e == TINE_OK) e = options_number("stream", o->stream, 0);
    if (e == TINE_OK) e = options_number("retries", o->retries, -1);
    if (e != TINE_OK) return e;
    to->terms =
        (tine_terms){.name = o->name,
                     .label = o->label && *o->label ? o->label : NULL,
                     .resources = o->resources && *o->resources ? o->resources : NULL,
                     .worker = o->worker,
                     .priority = o->priority,
                     .retries = o->retries == 0    ? 0
                                : o->retries == -1 ? 1
                                                   : (uint32_t)o->retries + 1,
                     .failure_retries = (uint32_t)o->retry_on_failure,
                     .stream = (uint32_t)o->stream,
                     .timed = o->deadline > 0 && tine_wait_deadline(o->deadline) < INT64_MAX,
                     .graced = o->grace > 0};
    to->has_terms = true;
    return options_extra(o, &to->target, f);
}

/* ---- forking ---- */

/* What is the same for all forms of a fork. */
typedef struct fork_form {
    bool may_wait;
    const char *method;
    const tine_fork_options *options; /* NULL: none */
    bool initialises;                 /* every worker runs it */
} fork_form;

/* Every worker runs it. */
static tine_error initialiser_take(tine_context *c, tine_fork_target *to) {
    if (tine_current.task || c->worker_id)
        return tine_error_set(TINE_ESTATE,
                              "tine_initialise is for the program: a task has no pool");
    if (to->module)
        return tine_error_set(TINE_EINVAL, "tine_initialise: the target must be a function's name");
    to->terms.initialises = to->has_terms = true;
    return TINE_OK;
}

static tine_error fork_start(tine_context *c, tine_future *result, const fork_form *form,
                             const tine_argument *args, size_t n) {
    tine_fork_target to = {0};
    tine_arguments arguments = {0};
    tine_future_list futures = {0};
    tine_error e = target_of(form->method, &args[0], &to);
    if (e == TINE_OK && form->options) e = options_take(form->options, &to, result);
    if (e == TINE_OK && form->initialises) e = initialiser_take(c, &to);
    if (e == TINE_OK) e = tine_arguments_make(&arguments, args + 1, n - 1);
    if (e == TINE_OK) e = find_futures(c, &arguments, &futures);
    if (e == TINE_OK) {
        arguments_share(&arguments);
        c->ops->lock(c);
        e = fork_locked(c, result, form->may_wait, &to, &arguments, &futures);
        if (e == TINE_OK && result->extra) tine_deadline_watch(c, result);
        c->ops->unlock(c);
    }
    tine_future_list_fini(&futures);
    tine_arguments_fini(&arguments);
    return e;
}

static tine_error fork_checked(tine_context *c, tine_future *f, const fork_form *form,
                               const tine_argument *args, size_t n) {
    if (!args || n == 0)
        return tine_error_set(TINE_EINVAL,
                              "tine_fork_args: there is no target among the arguments");
    return fork_start(c, f, form, args, n);
}

static tine_future *fork_call(const fork_form *form, const tine_argument *args, size_t n) {
    tine_future *f = tine_future_new(NULL);
    if (!f) return NULL;
    tine_context *c = f->context = tine_context_acquire(); /* the future takes over the reference */
    tine_error e = c ? fork_checked(c, f, form, args, n) : tine_last_error();
    if (e == TINE_EAGAIN && !form->may_wait) {
        tine_future_unref(f);
        return NULL;
    }
    if (e != TINE_OK) tine_fork_fail(f, e);
    tine_pool_adopt(&f->handle);
    return f;
}

tine_future *tine_fork_args(const char *method, const tine_argument *args, size_t n) {
    return fork_call(&(fork_form){.may_wait = true, .method = method}, args, n);
}

tine_future *tine_try_fork_args(const char *method, const tine_argument *args, size_t n) {
    return fork_call(&(fork_form){.method = method}, args, n);
}

tine_future *tine_fork_with_args(const tine_fork_options *options, const tine_argument *args,
                                 size_t n) {
    fork_form form = {.may_wait = true, .options = options};
    if (options) {
        form.may_wait = !options->no_wait;
        form.method = options->method;
    }
    return fork_call(&form, args, n);
}

tine_future *tine_initialise_args(const tine_argument *args, size_t n) {
    return fork_call(&(fork_form){.may_wait = true, .initialises = true}, args, n);
}
