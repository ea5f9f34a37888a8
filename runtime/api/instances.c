/* Instances of modules: see instances.h. A process has few (a few hundred at most), so they are
 * in a list, the one used last in front. An instance is in the list while it is made, in the
 * state MAKING: other calls that need it wait, since `init` may take long, may fork and wait
 * itself, and must run once. */
#include "runtime/api/instances.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"

typedef struct instance {
    struct instance *next;
    tine_object id;
    enum { MAKING, READY, BROKEN } state;
    bool forgotten;
    unsigned users;
    const tine_class_entry *class;
    void *self;
} instance;

struct tine_instances {
    instance *first;
};

static instance **instance_place(tine_instances *all, tine_object id) {
    instance **at = &all->first;
    while (*at && (*at)->id != id) at = &(*at)->next;
    return at;
}

static void instance_destroy(instance *i) {
    if (i->state == READY && i->class->class->fini) i->class->class->fini(i->self);
    free(i);
}

static tine_error instance_make(tine_context *c, instance *i, void *parent) {
    tine_payload *payload = NULL;
    tine_arguments arguments = {0};
    char *class_name = NULL;
    tine_error e = c->ops->object_payload(c, i->id, &payload, &class_name);
    if (e != TINE_OK) return e;
    i->class = tine_registry_class(class_name);
    if (!i->class) {
        e = tine_error_set(TINE_EUNKNOWN, "no class \"%s\" is registered in this program",
                           class_name);
    } else {
        c->ops->lock(c);
        e = tine_payload_call(payload, &c->decoder, &arguments);
        c->ops->unlock(c);
    }
    if (e == TINE_OK) e = tine_call_init(i->class, &arguments, parent, &i->self);
    tine_arguments_fini(&arguments);
    tine_payload_unref(payload);
    free(class_name);
    return e;
}

/* With the lock. */
static void instance_leave(tine_context *c, instance *i) {
    if (--i->users > 0 || (!i->forgotten && i->state != BROKEN)) return;
    instance **at = instance_place(c->instances, i->id);
    TINE_ASSERT_TRUE(*at == i);
    *at = i->next;
    c->ops->unlock(c); /* fini is the user's */
    instance_destroy(i);
    c->ops->lock(c);
}

/* With the lock: removes from the list those whose objects are gone, and returns them. */
static instance *instances_take_gone(tine_context *c) {
    instance *out = NULL;
    for (instance **at = &c->instances->first; c->ops->object_gone && *at;) {
        instance *i = *at;
        if (i->users > 0 || i->state != READY || !c->ops->object_gone(c, i->id)) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        i->next = out;
        out = i;
    }
    return out;
}

static void instances_destroy(instance *i) {
    while (i) {
        instance *next = i->next;
        instance_destroy(i);
        i = next;
    }
}

/* With the lock, which it releases meanwhile: adds the instance to the list and makes it. */
static tine_error instance_add(tine_context *c, tine_object id, void *parent, instance **out) {
    instance *i = calloc(1, sizeof *i);
    if (!i) return tine_error_set(TINE_ENOMEM, "no memory for a module");
    instance *old = instances_take_gone(c);
    *i = (instance){.next = c->instances->first, .id = id, .state = MAKING, .users = 1};
    c->instances->first = i;
    c->ops->unlock(c);
    instances_destroy(old); /* fini is the user's */
    tine_error e = instance_make(c, i, parent);
    c->ops->lock(c);
    i->state = e == TINE_OK ? READY : BROKEN;
    c->ops->instance_made(c);
    if (e != TINE_OK) instance_leave(c, i);
    *out = i;
    return e;
}

/* With the lock, which it releases meanwhile: one use of the instance, which is made if need be.
 * On an error the use has ended. */
static tine_error instance_enter(tine_context *c, tine_object id, void *parent, instance **out) {
    instance **at = instance_place(c->instances, id), *i = *at;
    if (!i) return instance_add(c, id, parent, out);
    *at = i->next;
    i->next = c->instances->first;
    c->instances->first = i;
    i->users++;
    while (i->state == MAKING && c->ops->instance_may_await(c)) c->ops->instance_await(c);
    *out = i;
    if (i->state == READY) return TINE_OK;
    bool making = i->state == MAKING;
    instance_leave(c, i);
    return making ? tine_error_set(TINE_ESTATE,
                                   "the module is being made, and a callback cannot wait for it")
                  : tine_error_set(TINE_EFAILED, "the module could not be made (another "
                                                 "call that needed it failed)");
}

static tine_error instance_begin(tine_context *c, tine_object id, void *parent, instance **out) {
    c->ops->lock(c);
    if (!c->instances) c->instances = calloc(1, sizeof *c->instances);
    tine_error e = c->instances ? instance_enter(c, id, parent, out)
                                : tine_error_set(TINE_ENOMEM, "no memory for a module");
    c->ops->unlock(c);
    return e;
}

static void instance_end(tine_context *c, instance *i) {
    c->ops->lock(c);
    instance_leave(c, i);
    c->ops->unlock(c);
}

tine_error tine_instance_call(tine_context *c, tine_object id, const char *method,
                              const tine_arguments *arguments, void *parent, tine_value **out) {
    instance *i = NULL;
    tine_error e = instance_begin(c, id, parent, &i);
    if (e != TINE_OK) return e;
    if (!method) method = "forward";
    const tine_callable *callable = tine_class_method(i->class, method);
    if (callable)
        e = tine_call_run(callable, i->self, id, arguments, parent, out);
    else
        e = tine_error_set(TINE_EUNKNOWN, "class \"%s\" has no method \"%s\"",
                           i->class->class->name, method);
    instance_end(c, i);
    return e;
}

tine_error tine_instance_use(tine_context *c, tine_object id, void *parent, tine_instance_user use,
                             void *ctx) {
    instance *i = NULL;
    tine_error e = instance_begin(c, id, parent, &i);
    if (e != TINE_OK) return e;
    e = use(i->self, ctx);
    instance_end(c, i);
    return e;
}

tine_value *tine_self_module(tine_task *task) {
    if (!task) {
        tine_error_set(TINE_EINVAL, "tine_self_module: the task is NULL");
        return NULL;
    }
    tine_context *c = tine_context_current();
    const char *name = task->callable->name, *dot = strrchr(name, '.');
    if (!task->module || !dot || !c) {
        if (c) tine_error_set(TINE_ESTATE, "%s() is no method of a module", name);
        return NULL;
    }
    char *class_name = strndup(name, (size_t)(dot - name));
    tine_value *v = class_name ? tine_module_ref(task->module, class_name, c->owner) : NULL;
    if (!class_name) tine_error_set(TINE_ENOMEM, "no memory for a module");
    free(class_name);
    return v;
}

void tine_instance_forget(tine_context *c, tine_object id) {
    if (!c->instances) return;
    instance **at = instance_place(c->instances, id), *i = *at;
    if (!i) return;
    i->forgotten = true;
    i->users++;
    instance_leave(c, i);
}

void tine_instances_end(tine_context *c) {
    instance *unused = NULL, *none = NULL;
    c->ops->lock(c);
    for (instance **at = c->instances ? &c->instances->first : &none; *at;) {
        instance *i = *at;
        i->forgotten = true;
        if (i->users > 0) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        i->next = unused;
        unused = i;
    }
    c->ops->unlock(c);
    instances_destroy(unused);
}

void tine_instances_free(tine_context *c) {
    if (c->instances) TINE_ASSERT_TRUE(!c->instances->first);
    free(c->instances);
    c->instances = NULL;
}
