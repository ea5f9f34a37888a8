/* The registry: functions and classes by name, in two sorted arrays, filled by constructors before
 * main. What the entries point to is never moved or freed. A mistake in a registration (a name
 * twice, parameters that do not parse) is in the program's source, so it ends the program at once
 * with a sentence, on coordinator and workers alike. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/call/call.h"
#include "runtime/call/signature.h"
#include "transport/base/vector.h"

typedef struct table {
    struct entry {
        const char *name;
        void *what;
        void *replaced; /* the built-in in whose place it is: kept, as callers may have found it */
        bool builtin;   /* a function of the program takes its place */
    } * entries;
    size_t n, room;
} table;

static table functions, classes;
/* A leaf lock: no other lock is taken while it is held. */
static pthread_rwlock_t table_lock = PTHREAD_RWLOCK_INITIALIZER;

static __attribute__((noreturn)) void registry_abort(const char *kind, const char *name,
                                                     const char *why) {
    fprintf(stderr, "tine: cannot register the %s '%s': %s\n", kind, name ? name : "(NULL)", why);
    abort();
}

tine_error tine_name_check(const char *what, const char *name) {
    size_t n = name ? strnlen(name, TINE_MAX_NAME + 1) : 0;
    if (n <= TINE_MAX_NAME) return TINE_OK;
    return tine_error_set(TINE_EINVAL, "the name of the %s \"%.32s...\" has more than %d bytes",
                          what, name, TINE_MAX_NAME);
}

/* Where `name` is, or where it would be inserted. */
static size_t table_position(const table *t, const char *name, bool *found) {
    size_t low = 0, high = t->n;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(t->entries[middle].name, name);
        *found = order == 0;
        if (*found) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The program's constructors may run before or after those of the library. */
static void table_add(table *t, const char *kind, const char *name, void *what, bool builtin) {
    bool taken;
    pthread_rwlock_wrlock(&table_lock);
    size_t at = table_position(t, name, &taken);
    if (taken && t->entries[at].builtin == builtin)
        registry_abort(kind, name, "the name is registered already");
    if (taken) {
        struct entry *e = &t->entries[at];
        if (builtin)
            e->replaced = what;
        else
            *e = (struct entry){name, what, e->what, false};
        pthread_rwlock_unlock(&table_lock);
        return;
    }
    t->entries = tine_grow(t->entries, &t->room, t->n + 1, sizeof *t->entries);
    if (!t->entries) registry_abort(kind, name, "no memory");
    memmove(t->entries + at + 1, t->entries + at, (t->n - at) * sizeof *t->entries);
    t->entries[at] = (struct entry){name, what, NULL, builtin};
    t->n++;
    pthread_rwlock_unlock(&table_lock);
}

static void *table_find(const table *t, const char *name) {
    bool found;
    pthread_rwlock_rdlock(&table_lock);
    size_t at = table_position(t, name, &found);
    void *what = found ? t->entries[at].what : NULL;
    pthread_rwlock_unlock(&table_lock);
    return what;
}

static size_t table_names(const table *t, const char **out, size_t room) {
    pthread_rwlock_rdlock(&table_lock);
    size_t n = t->n;
    for (size_t i = 0; i < n && i < room; i++) out[i] = t->entries[i].name;
    pthread_rwlock_unlock(&table_lock);
    return n;
}

static tine_signature *parse_parameters(const char *kind, const char *name,
                                        const char *parameters) {
    char why[256];
    tine_signature *s = tine_signature_parse(parameters ? parameters : "", why, sizeof why);
    if (!s) registry_abort(kind, name, why);
    return s;
}

static void function_add(const char *name, const char *parameters, tine_function fn, int flags,
                         bool builtin) {
    if (!name || !*name || !fn)
        registry_abort("function", name, "a name and a function are needed");
    tine_callable *c = calloc(1, sizeof *c);
    if (!c) registry_abort("function", name, "no memory");
    *c = (tine_callable){name, parse_parameters("function", name, parameters), fn, flags, builtin};
    table_add(&functions, "function", name, c, builtin);
}

void tine_register_function(const char *name, const char *parameters, tine_function fn, int flags) {
    char *copy = name ? strdup(name) : NULL;
    if (name && !copy) registry_abort("function", name, "no memory");
    function_add(copy, parameters, fn, flags, false);
}

/* "tine.NAME"; it is never freed. */
static const char *name_with_prefix(const char *kind, const char *name) {
    char *full;
    if (asprintf(&full, "tine.%s", name) < 0) registry_abort(kind, name, "no memory");
    return full;
}

void tine_register_builtin(const char *name, const char *parameters, tine_function fn) {
    function_add(name, parameters, fn, TINE_REPEATABLE, true);
    function_add(name_with_prefix("function", name), parameters, fn, TINE_REPEATABLE, true);
}

static void class_add_method(tine_class_entry *e, const tine_method *m) {
    char *full = NULL;
    if (!m->call || asprintf(&full, "%s.%s", e->class->name, m->name) < 0)
        registry_abort("class", e->class->name, "a method is incomplete");
    for (size_t i = 0; i < e->n_methods; i++)
        if (strcmp(e->methods[i].name, full) == 0)
            registry_abort("method", full, "the class has it already");
    e->methods[e->n_methods++] = (tine_callable){
        full, parse_parameters("method", full, m->parameters), m->call, m->flags, false};
}

static tine_class_entry *class_add(const tine_class *c, tine_function rewrite, bool builtin) {
    if (!c || !c->name || !*c->name || !c->init)
        registry_abort("class", c ? c->name : NULL, "a name and init are needed");
    size_t n = 0;
    while (c->methods && c->methods[n].name) n++;
    tine_class_entry *e = calloc(1, sizeof *e);
    if (!e || !(e->methods = calloc(n + 1, sizeof *e->methods)))
        registry_abort("class", c->name, "no memory");
    e->class = c;
    e->constructor = (tine_callable){c->name, parse_parameters("class", c->name, c->parameters),
                                     NULL, 0, builtin};
    e->rewrite = e->constructor;
    e->rewrite.call = rewrite;
    for (size_t i = 0; i < n; i++) class_add_method(e, &c->methods[i]);
    table_add(&classes, "class", c->name, e, builtin);
    return e;
}

void tine_register_class(const tine_class *c) { tine_register_class_flags(c, 0); }

void tine_register_class_flags(const tine_class *c, int flags) {
    if (flags & ~(TINE_MODULE_SINGLE | TINE_MODULE_RENEW))
        registry_abort("class", c ? c->name : NULL, "a flag is unknown");
    class_add(c, NULL, false)->flags = flags;
}

void tine_register_builtin_class(const tine_class *c, tine_function rewrite) {
    tine_class *prefixed = malloc(sizeof *prefixed);
    if (!prefixed) registry_abort("class", c->name, "no memory");
    *prefixed = *c;
    prefixed->name = name_with_prefix("class", c->name);
    class_add(c, rewrite, true);
    class_add(prefixed, rewrite, true);
}

/* Remembers the last function: a program tends to fork one many times. */
const tine_callable *tine_registry_function(const char *name) {
    static _Thread_local const tine_callable *last;
    if (last && strcmp(last->name, name) == 0) return last;
    const tine_callable *c = table_find(&functions, name);
    if (c && !c->builtin) last = c; /* a plug-in may replace a built-in */
    return c;
}
const tine_class_entry *tine_registry_class(const char *name) { return table_find(&classes, name); }
size_t tine_registry_functions(const char **out, size_t room) {
    return table_names(&functions, out, room);
}
size_t tine_registry_classes(const char **out, size_t room) {
    return table_names(&classes, out, room);
}

const tine_callable *tine_class_method(const tine_class_entry *c, const char *method) {
    size_t prefix = strlen(c->class->name) + 1;
    for (size_t i = 0; i < c->n_methods; i++)
        if (strcmp(c->methods[i].name + prefix, method) == 0) return &c->methods[i];
    return NULL;
}
