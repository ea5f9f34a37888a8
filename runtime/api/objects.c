/* tine_put and tine_module: values and modules become objects, which travel once. */
#include <string.h>

#include "runtime/api/context.h"

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

/* Replaces the arguments by those that the class sends instead (tine_class_entry, rewrite). */
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
