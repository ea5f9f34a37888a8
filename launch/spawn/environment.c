/* The environment that a worker is started with: this process's, under the settings it is to have,
 * under who it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/spawn/internal.h"

extern char **environ;

static bool same_name(const char *a, const char *b) {
    size_t n = strcspn(a, "=");
    return n == strcspn(b, "=") && memcmp(a, b, n) == 0;
}

static bool is_replaced(const char *variable, char *const *over) {
    if (same_name(variable, "TINE_WORKER") || same_name(variable, "TINE_TOKEN") ||
        same_name(variable, "TINE_LIFELINE"))
        return true;
    for (; over && *over; over++)
        if (same_name(variable, *over)) return true;
    return false;
}

static size_t length(char *const *list) {
    size_t n = 0;
    while (list && list[n]) n++;
    return n;
}

void tine_strings_free(char **list) {
    for (char **p = list; p && *p; p++) free(*p);
    free(list);
}

char **tine_strings_copy(char *const *list) {
    char **copy = calloc(length(list) + 1, sizeof *copy);
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
    char **list = calloc(length(environ) + length(over) + 4, sizeof *list);
    size_t n = 0;
    if (!list) return NULL;
    for (char **v = environ; v && *v; v++)
        if (!is_replaced(*v, over) && !(list[n++] = strdup(*v))) goto no_memory;
    for (; over && *over; over++)
        if (!(list[n++] = strdup(*over))) goto no_memory;
    if (asprintf(&list[n], "TINE_WORKER=%s", config->endpoint) < 0) {
        list[n] = NULL;
        goto no_memory;
    }
    *n_out = n + 1;
    return list;
no_memory:
    tine_strings_free(list);
    return NULL;
}
