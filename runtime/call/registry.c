/* The registry of functions and classes: two sorted arrays of entries that are never moved or
 * freed, filled by constructors before main. A mistake in a registration (a name twice, parameters
 * that do not parse) is in the program's text, so it ends the program at once with a sentence, on
 * coordinator and workers alike, before it can answer wrongly. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/call/call.h"
#include "runtime/call/signature.h"

typedef struct table {
    struct entry {
        const char *name;
        void *what;
    } * entries;
    size_t n, room;
} table;

static table functions, classes;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER; /* a leaf: nothing is called under it */

static __attribute__((noreturn)) void refuse(const char *kind, const char *name, const char *why) {
    fprintf(stderr, "tine: cannot register the %s '%s': %s\n", kind, name ? name : "(NULL)", why);
    abort();
}

/* Where `name` is or would go. */
static size_t place(const table *t, const char *name, bool *found) {
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

static void add(table *t, const char *kind, const char *name, void *what) {
    bool taken;
    pthread_rwlock_wrlock(&lock);
    size_t at = place(t, name, &taken);
    if (taken) refuse(kind, name, "the name is registered already");
    if (t->n == t->room) {
        t->room = t->room ? 2 * t->room : 32;
        t->entries = realloc(t->entries, t->room * sizeof *t->entries);
        if (!t->entries) refuse(kind, name, "no memory");
    }
    memmove(t->entries + at + 1, t->entries + at, (t->n - at) * sizeof *t->entries);
    t->entries[at] = (struct entry){name, what};
    t->n++;
    pthread_rwlock_unlock(&lock);
}

static void *find(const table *t, const char *name) {
    bool found;
    pthread_rwlock_rdlock(&lock);
    size_t at = place(t, name, &found);
    void *what = found ? t->entries[at].what : NULL;
    pthread_rwlock_unlock(&lock);
    return what;
}

static size_t names(const table *t, const char **out, size_t room) {
    pthread_rwlock_rdlock(&lock);
    size_t n = t->n;
    for (size_t i = 0; i < n && i < room; i++) out[i] = t->entries[i].name;
    pthread_rwlock_unlock(&lock);
    return n;
}

static tine_signature *parse(const char *kind, const char *name, const char *parameters) {
    char why[256];
    tine_signature *s = tine_signature_parse(parameters ? parameters : "", why, sizeof why);
    if (!s) refuse(kind, name, why);
    return s;
}

void tine_register_function(const char *name, const char *parameters, tine_function fn, int flags) {
    if (!name || !*name || !fn) refuse("function", name, "a name and a function are needed");
    tine_callable *c = calloc(1, sizeof *c);
    if (!c) refuse("function", name, "no memory");
    *c = (tine_callable){name, parse("function", name, parameters), fn, flags};
    add(&functions, "function", name, c);
}

static void add_method(tine_class_entry *e, const tine_method *m) {
    char *full = NULL;
    if (!m->call || asprintf(&full, "%s.%s", e->class->name, m->name) < 0)
        refuse("class", e->class->name, "a method is incomplete");
    for (size_t i = 0; i < e->n_methods; i++)
        if (strcmp(e->methods[i].name, full) == 0)
            refuse("method", full, "the class has it already");
    e->methods[e->n_methods++] =
        (tine_callable){full, parse("method", full, m->parameters), m->call, m->flags};
}

void tine_register_class(const tine_class *c) {
    if (!c || !c->name || !*c->name || !c->init)
        refuse("class", c ? c->name : NULL, "a name and init are needed");
    size_t n = 0;
    while (c->methods && c->methods[n].name) n++;
    tine_class_entry *e = calloc(1, sizeof *e);
    if (!e || !(e->methods = calloc(n + 1, sizeof *e->methods)))
        refuse("class", c->name, "no memory");
    e->class = c;
    e->constructor = (tine_callable){c->name, parse("class", c->name, c->parameters), NULL, 0};
    for (size_t i = 0; i < n; i++) add_method(e, &c->methods[i]);
    add(&classes, "class", c->name, e);
}

/* Programs tend to fork the same function many times, and entries are never moved or freed. */
const tine_callable *tine_registry_function(const char *name) {
    static _Thread_local const tine_callable *last;
    if (last && strcmp(last->name, name) == 0) return last;
    const tine_callable *c = find(&functions, name);
    if (c) last = c;
    return c;
}
const tine_class_entry *tine_registry_class(const char *name) { return find(&classes, name); }
size_t tine_registry_functions(const char **out, size_t room) {
    return names(&functions, out, room);
}
size_t tine_registry_classes(const char **out, size_t room) { return names(&classes, out, room); }

const tine_callable *tine_class_method(const tine_class_entry *c, const char *method) {
    size_t prefix = strlen(c->class->name) + 1;
    for (size_t i = 0; i < c->n_methods; i++)
        if (strcmp(c->methods[i].name + prefix, method) == 0) return &c->methods[i];
    return NULL;
}
