/* Calling a registered function or method in this process: look it up, bind its arguments as Python
 * does, run it. The same code serves workers (inside a fiber) and tine_call. */
#ifndef TINE_RUNTIME_CALL_CALL_H
#define TINE_RUNTIME_CALL_CALL_H

#include <stdatomic.h>

#include "runtime/value/pool.h"
#include "runtime/value/value.h"

typedef struct tine_signature tine_signature; /* a parsed PARAMETERS text */

typedef struct tine_callable {
    const char *name; /* "neg", "lstm.forward" */
    tine_signature *signature;
    tine_function call; /* NULL for a class's constructor */
    int flags;
    bool builtin;
} tine_callable;

typedef struct tine_class_entry {
    const tine_class *class;
    tine_callable constructor;
    /* Called with the constructor's arguments where a module is made, before they travel: gives a
     * dict of others that take their place, or none to keep them. call is NULL for most classes. */
    tine_callable rewrite;
    tine_callable *methods;
    size_t n_methods;
    int flags; /* TINE_MODULE_SINGLE, TINE_MODULE_RENEW */
} tine_class_entry;

/* The registry: filled by constructors before main, or later by a plug-in; what it returns is never
 * freed. */
const tine_callable *tine_registry_function(const char *name);
/* Registered as NAME, unless the program has one of that name, and as "tine.NAME". */
void tine_register_builtin(const char *name, const char *parameters, tine_function fn);
void tine_register_builtin_class(const tine_class *c, tine_function rewrite);
const tine_class_entry *tine_registry_class(const char *name);
const tine_callable *tine_class_method(const tine_class_entry *c, const char *method);
/* names, sorted; returns how many there are */
size_t tine_registry_functions(const char **out, size_t room);
size_t tine_registry_classes(const char **out, size_t room);

enum { TINE_ARGUMENTS_FEW = 4, TINE_BOUND_FEW = 8 };

/* The arguments of one call: a reference on each value, a copy of each keyword. Zeroed is empty. */
typedef struct tine_arguments {
    tine_value **positional; /* `few`, or allocated */
    size_t n_positional;
    char **keys; /* keys, named and the keys' texts are one allocation */
    tine_value **named;
    size_t n_named;
    char *texts; /* where the next key is copied to */
    tine_value *few[TINE_ARGUMENTS_FEW];
} tine_arguments;
void tine_arguments_fini(tine_arguments *a);
/* `to` must be empty; `from` is empty afterwards. */
void tine_arguments_move(tine_arguments *to, tine_arguments *from);
/* Room in empty arguments, once for each kind; key_bytes with a NUL for each key. False: no
 * memory. */
bool tine_arguments_reserve(tine_arguments *a, size_t n_positional);
bool tine_arguments_reserve_named(tine_arguments *a, size_t n, size_t key_bytes);
/* Into the room; take the reference on v over. */
static inline void tine_arguments_add(tine_arguments *a, tine_value *v) {
    a->positional[a->n_positional++] = v;
}
void tine_arguments_add_named(tine_arguments *a, const char *key, size_t size, tine_value *v);
/* From the macros' array, args[0] (the target) left out. EINVAL: a keyword twice. A positional
 * argument may follow a keyword. Sets *out to empty arguments on an error. */
tine_error tine_arguments_make(tine_arguments *out, const tine_argument *args, size_t n);

/* Longer names of functions, classes and methods do not fit a message's header. */
enum { TINE_MAX_NAME = 1024 };
/* TINE_OK, or EINVAL with a sentence. NULL is no name, and passes. `what`: "function". */
tine_error tine_name_check(const char *what, const char *name);

struct tine_task {
    const tine_callable *callable;
    void *self;
    tine_object module; /* whose method this is; 0: a function, or a constructor */
    tine_value **bound; /* in the order of the signature; `few`, or allocated */
    size_t n_bound;
    tine_value *few[TINE_BOUND_FEW];
    /* A reader or tine_fail has failed it, whatever the body returns, and why: the first reason,
     * from any thread. */
    atomic_bool failed;
    tine_failure failure;
    tine_pool pool;
    struct tine_task *outer; /* the task that called this one with tine_call, or NULL */
    /* the worker's record of the task this runs in; NULL in the coordinator's program */
    void *attempt;
};

/* Binds and runs a function, or (self, module) a method; the result is a new reference in no pool
 * (it may be or hold a future). Errors: EINVAL (binding: "neg() got an unexpected keyword argument
 * 'y'"), EFAILED (the body), or what the body's last error was; the sentence is the current
 * state's. */
tine_error tine_call_run(const tine_callable *callable, void *self, tine_object module,
                         const tine_arguments *arguments, void *attempt, tine_value **out);
/* The same for a class's constructor: the state of a new instance. */
tine_error tine_call_init(const tine_class_entry *class, const tine_arguments *arguments,
                          void *attempt, void **self);

#endif
