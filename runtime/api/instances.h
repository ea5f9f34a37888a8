/* Instances of modules in one context: made from the object's constructor arguments at the first
 * call that needs them here, at most once, and freed when the object is dropped (at the
 * coordinator: when the next one is made after that). */
#ifndef TINE_RUNTIME_API_INSTANCES_H
#define TINE_RUNTIME_API_INSTANCES_H

#include "runtime/api/context.h"

typedef struct tine_instances tine_instances;

/* Calls a method (NULL: "forward") of module `id` here, making the instance first if need be. No
 * lock held. */
tine_error tine_instance_call(tine_context *c, tine_object id, const char *method,
                              const tine_arguments *arguments, void *parent, tine_value **out);
/* What else is done with the instance of a module of this class, which is made if need be. An error
 * of `use` is passed on. No lock held. */
typedef tine_error (*tine_instance_user)(void *self, void *ctx);
tine_error tine_instance_use(tine_context *c, tine_object id, void *parent, tine_instance_user use,
                             void *ctx);
/* The object is gone: its instance is freed, when the last call in it has returned. With the
 * lock. */
void tine_instance_forget(tine_context *c, tine_object id);
/* Frees those that no call uses; the last call in one of the others frees it. No lock held. */
void tine_instances_end(tine_context *c);
/* After that, when no call is under way. */
void tine_instances_free(tine_context *c);

#endif
