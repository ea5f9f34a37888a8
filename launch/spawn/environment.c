/* The environment that a worker starts with: this process's, overridden by the settings that the
 * worker inherits, TINE_WORKER, and the number of threads for OpenBLAS. The caller adds the
 * variables that differ between workers.
 *
 * OpenBLAS starts a thread for each core as it is loaded, before a worker can say how many it may
 * use, and each polls for some 100 ms before it sleeps (kernels/blas.h). */
#include <stdlib.h>
#include <string.h>

#include "launch/spawn/internal.h"
#include "transport/base/text.h"

extern char **environ;

static bool variable_same(const char *a, const char *b) {
    size_t n = strcspn(a, "=");
    return n == strcspn(b, "=") && memcmp(a, b, n) == 0;
}

static bool variable_is_replaced(const char *variable, char *const *over) {
    static const char *const own[] = {"TINE_WORKER", "TINE_TOKEN", "TINE_LIFELINE",
                                      TINE_DESCENDANTS_MARK};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (variable_same(variable, own[i])) return true;
    for (; over && *over; over++)
        if (variable_same(variable, *over)) return true;
    return false;
}

/* What OpenBLAS reads, the first one before the others. */
static bool user_sets_threads(void) {
    static const char *const read[] = {"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS",
                                       "OMP_NUM_THREADS"};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (getenv(read[i])) return true;
    return false;
}

static size_t strings_count(char *const *list) {
    size_t n = 0;
    while (list && list[n]) n++;
    return n;
}

void tine_strings_free(char **list) {
    for (char **p = list; p && *p; p++) free(*p);
    free(list);
}

char **tine_strings_copy(char *const *list) {
    char **copy = calloc(strings_count(list) + 1, sizeof *copy);
    for (size_t i = 0; copy && list && list[i]; i++) {
        if (!(copy[i] = strdup(list[i]))) {
            tine_strings_free(copy);
            return NULL;
        }
    }
    return copy;
}

char **tine_spawn_environment(const tine_spawn_config *config, size_t *n_out) {
    char *const *over = config->environment;
    char **list = calloc(strings_count(environ) + strings_count(over) + 6, sizeof *list);
    size_t n = 0;
    if (!list) return NULL;
    for (char **v = environ; v && *v; v++)
        if (!variable_is_replaced(*v, over) && !(list[n++] = strdup(*v))) goto no_memory;
    for (; over && *over; over++)
        if (!(list[n++] = strdup(*over))) goto no_memory;
    if (!(list[n++] = tine_text_format("TINE_WORKER=%s", config->endpoint))) goto no_memory;
    int threads = config->threads ? config->threads : 1;
    if (!user_sets_threads() && !(list[n++] = tine_text_format("OPENBLAS_NUM_THREADS=%d", threads)))
        goto no_memory;
    *n_out = n;
    return list;
no_memory:
    tine_strings_free(list);
    return NULL;
}
