/* Groups: workers that serve the same functions and classes share one. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

static int sched_name_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **sched_names_copy(const char *const *names, uint32_t n) {
    char **copy = tine_scheduler_alloc(((size_t)n + 1) * sizeof *copy);
    for (uint32_t i = 0; i < n; i++) copy[i] = tine_scheduler_copy(names[i]);
    qsort(copy, n, sizeof *copy, sched_name_compare);
    return copy;
}

static bool sched_names_equal(char *const *a, char *const *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(a[i], b[i])) return false;
    return true;
}

static void sched_names_free(char **names, uint32_t n) {
    for (uint32_t i = 0; names && i < n; i++) free(names[i]);
    free(names);
}

void tine_scheduler_group_fini(sched_group *g) {
    sched_names_free(g->functions, g->n_functions);
    sched_names_free(g->classes, g->n_classes);
    sched_names_free(g->labels, g->n_labels);
    free(g->slots_text);
    free(g->slots);
    for (int i = 0; i < SCHED_HEAPS; i++) free(g->heaps[i].of);
    *g = (sched_group){0};
}

bool tine_scheduler_group_serves(const sched_group *g, const sched_callable *c) {
    char **names = c->method ? g->classes : g->functions;
    size_t n = c->method ? g->n_classes : g->n_functions;
    if (n == 0 || !bsearch(&c->name, names, n, sizeof *names, sched_name_compare)) return false;
    if (c->takes && !(g->slots && tine_resources_cover(g->slots, c->takes))) return false;
    return !c->label || (g->n_labels > 0 && bsearch(&c->label, g->labels, g->n_labels,
                                                    sizeof *g->labels, sched_name_compare));
}

static void sched_group_register(tine_scheduler *s, size_t i) {
    uint64_t bit = UINT64_C(1) << (i % 64);
    sched_callable *c;
    TAILQ_FOREACH (c, &s->all, all_link) {
        if (tine_scheduler_group_serves(&s->groups[i], c))
            c->serves[i / 64] |= bit;
        else
            c->serves[i / 64] &= ~bit;
    }
}

static size_t sched_group_slot(tine_scheduler *s) {
    if (s->n_groups < SCHED_GROUPS) return s->n_groups++;
    size_t oldest = SCHED_GROUPS;
    for (size_t i = 0; i < SCHED_GROUPS; i++)
        if (!s->groups[i].workers &&
            (oldest == SCHED_GROUPS || s->groups[i].last_used < s->groups[oldest].last_used))
            oldest = i;
    if (oldest < SCHED_GROUPS) tine_scheduler_group_fini(&s->groups[oldest]);
    return oldest;
}

static void sched_group_offer(sched_group *g, const char *slots) {
    tine_resources r;
    g->slots_text = tine_scheduler_copy(slots);
    tine_resources_parse(slots, &r);
    if (r.n == 0) return;
    g->slots = tine_scheduler_alloc(sizeof r);
    *g->slots = r;
}

sched_group *tine_scheduler_group_for(tine_scheduler *s, const tine_hello *hello) {
    sched_group new = {.functions = sched_names_copy(hello->functions, hello->n_functions),
                       .classes = sched_names_copy(hello->classes, hello->n_classes),
                       .labels = sched_names_copy(hello->labels, hello->n_labels),
                       .n_functions = hello->n_functions,
                       .n_classes = hello->n_classes,
                       .n_labels = hello->n_labels};
    sched_group_offer(&new, hello->slots);
    for (size_t i = 0; i < s->n_groups; i++) {
        sched_group *g = &s->groups[i];
        if (g->n_functions != new.n_functions || g->n_classes != new.n_classes ||
            g->n_labels != new.n_labels || !g->slots_text ||
            strcmp(g->slots_text, new.slots_text) != 0)
            continue;
        if (!sched_names_equal(g->functions, new.functions, new.n_functions)) continue;
        if (!sched_names_equal(g->classes, new.classes, new.n_classes)) continue;
        if (!sched_names_equal(g->labels, new.labels, new.n_labels)) continue;
        tine_scheduler_group_fini(&new);
        return g;
    }
    size_t i = sched_group_slot(s);
    if (i == SCHED_GROUPS) {
        tine_scheduler_group_fini(&new);
        return NULL;
    }
    s->groups[i] = new;
    sched_group_register(s, i);
    return &s->groups[i];
}

/* Groups without workers are kept for a while, so that their functions stay known while a worker is
 * replaced; of too many the oldest is freed. */
void tine_scheduler_groups_trim(tine_scheduler *s) {
    size_t idle = 0, oldest = SCHED_GROUPS;
    for (size_t i = 0; i < s->n_groups; i++) {
        const sched_group *g = &s->groups[i];
        if (g->workers || !g->last_used) continue;
        idle++;
        if (oldest == SCHED_GROUPS || g->last_used < s->groups[oldest].last_used) oldest = i;
    }
    if (idle <= SCHED_IDLE_GROUPS) return;
    tine_scheduler_group_fini(&s->groups[oldest]);
    sched_group_register(s, oldest);
}
