/* Callables: a function, or a method of a class, with its ready queue and the mean of its run time.
 * One without tasks is kept for a while for its mean. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/hash.h"

enum { MIN_MEAN_NS = 100, MEAN_SHARE = 8 };

static uint64_t sched_callable_hash(const char *name, const char *method, const tine_terms *terms) {
    uint64_t x = tine_hash(TINE_HASH_START, name, strlen(name) + 1);
    if (method) x = tine_hash(x, method, strlen(method) + 1);
    if (terms && terms->label) x = tine_hash(x, terms->label, strlen(terms->label) + 1);
    if (terms && terms->resources) x = tine_hash(x, terms->resources, strlen(terms->resources));
    return x ? x : 1;
}

static bool sched_text_is(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static bool sched_callable_is(const sched_callable *c, const char *name, const char *method,
                              const tine_terms *terms) {
    if (strcmp(c->name, name) != 0 || !sched_text_is(c->method, method)) return false;
    if (!terms) return !c->chosen;
    return sched_text_is(c->label, terms->label) && sched_text_is(c->resources, terms->resources);
}

void tine_scheduler_callable_free(tine_scheduler *s, sched_callable *c) {
    sched_callable *head = tine_idmap_get(&s->callables, c->hash);
    if (head == c) {
        tine_idmap_remove(&s->callables, c->hash);
        if (c->hash_next) tine_idmap_put(&s->callables, c->hash, c->hash_next);
    } else {
        while (head->hash_next != c) head = head->hash_next;
        head->hash_next = c->hash_next;
    }
    TAILQ_REMOVE(&s->all, c, all_link);
    if (s->last_callable == c) s->last_callable = NULL;
    tine_ready_fini(&c->ready);
    free(c->name);
    free(c->method);
    free(c->label);
    free(c->resources);
    free(c->takes);
    free(c->display);
    free(c);
}

static void sched_callable_choose(sched_callable *c, const tine_terms *terms) {
    c->label = terms->label ? tine_scheduler_copy(terms->label) : NULL;
    c->resources = terms->resources ? tine_scheduler_copy(terms->resources) : NULL;
    c->chosen = c->label || c->resources;
    if (!c->resources) return;
    c->takes = tine_scheduler_alloc(sizeof *c->takes);
    tine_resources_parse(c->resources, c->takes);
}

static sched_callable *sched_callable_new(tine_scheduler *s, const char *name, const char *method,
                                          const tine_terms *terms, uint64_t hash) {
    sched_callable *c = tine_scheduler_alloc(sizeof *c);
    c->hash = hash;
    c->name = tine_scheduler_copy(name);
    c->method = method ? tine_scheduler_copy(method) : NULL;
    if (terms) sched_callable_choose(c, terms);
    c->display = method ? tine_scheduler_text("%s.%s", name, method) : tine_scheduler_copy(name);
    for (size_t i = 0; i < s->n_groups; i++)
        if (tine_scheduler_group_serves(&s->groups[i], c))
            c->serves[i / 64] |= UINT64_C(1) << (i % 64);
    c->hash_next = tine_idmap_remove(&s->callables, hash);
    tine_idmap_put(&s->callables, hash, c);
    TAILQ_INSERT_TAIL(&s->all, c, all_link);
    TAILQ_INSERT_TAIL(&s->idle, c, link);
    if (++s->n_idle > SCHED_IDLE_CALLABLES) { /* c itself is the newest, and stays */
        sched_callable *oldest = TAILQ_FIRST(&s->idle);
        TAILQ_REMOVE(&s->idle, oldest, link);
        s->n_idle--;
        tine_scheduler_callable_free(s, oldest);
    }
    return c;
}

static inline sched_callable *sched_callable_find(tine_scheduler *s, const char *name,
                                                  const char *method, const tine_terms *terms) {
    sched_callable *c = s->last_callable;
    if (!c || !sched_callable_is(c, name, method, terms)) {
        uint64_t hash = sched_callable_hash(name, method, terms);
        c = tine_idmap_get(&s->callables, hash);
        while (c && !sched_callable_is(c, name, method, terms)) c = c->hash_next;
        if (!c) c = sched_callable_new(s, name, method, terms, hash);
        s->last_callable = c;
    }
    return c;
}

/* Resources are the same however the forks write them. */
static sched_callable *sched_callable_find_taking(tine_scheduler *s, const char *name,
                                                  const char *method, const tine_terms *terms) {
    char text[TINE_RESOURCES_TEXT_MAX + 1];
    tine_resources takes;
    tine_terms same = {.label = terms->label, .resources = text};
    tine_resources_parse(terms->resources, &takes);
    tine_resources_write(&takes, text);
    return sched_callable_find(s, name, method, &same);
}

sched_callable *tine_scheduler_callable_get(tine_scheduler *s, const char *name, const char *method,
                                            const tine_terms *terms) {
    sched_callable *c = terms && terms->resources
                            ? sched_callable_find_taking(s, name, method, terms)
                            : sched_callable_find(s, name, method, terms);
    if (!c->uses) {
        TAILQ_REMOVE(&s->idle, c, link);
        s->n_idle--;
    }
    return c;
}

void tine_scheduler_callable_unuse(tine_scheduler *s, sched_callable *c) {
    TINE_ASSERT(c->uses, >, 0);
    if (--c->uses) return;
    TAILQ_INSERT_TAIL(&s->idle, c, link);
    s->n_idle++;
}

void tine_scheduler_callable_measure(sched_callable *c, uint64_t run_ns) {
    /* No overflow, whatever a peer reports. */
    if (run_ns > INT64_MAX / MEAN_SHARE) run_ns = INT64_MAX / MEAN_SHARE;
    c->run_ns += run_ns;
    if (run_ns < MIN_MEAN_NS) run_ns = MIN_MEAN_NS;
    if (!c->mean_ns)
        c->mean_ns = run_ns;
    else
        c->mean_ns = (c->mean_ns * (MEAN_SHARE - 1) + run_ns) / MEAN_SHARE;
}

uint64_t tine_scheduler_expected_ns(const tine_scheduler *s, const sched_callable *c) {
    uint64_t ns = c->mean_ns ? c->mean_ns : s->config.prefetch_ns;
    return ns < s->config.prefetch_ns ? ns : s->config.prefetch_ns;
}
