/* Finds the job that is meant: by its endpoint; or by a process, through the private directory with
 * its pid in the name or the endpoint that its workers were given. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/spawn/private.h"
#include "launch/top/watch.h"
#include "runtime/value/error.h"
#include "transport/base/process.h"
#include "transport/base/text.h"

enum { ENVIRONMENT_MAX = 1 << 20 };

typedef struct job_list {
    int n, pid; /* pid 0: any */
    char listed[400];
    char *url;
} job_list;

static void job_found(void *ctx, int pid, const char *url) {
    job_list *l = ctx;
    size_t used = strlen(l->listed);
    if (l->pid && pid != l->pid) return;
    if (l->n++ == 0) l->url = strdup(url);
    snprintf(l->listed + used, sizeof l->listed - used, "%s%d", used ? ", " : "", pid);
}

/* ---- the endpoint of a process's workers ---- */

/* The value of NAME= in a process's environment, malloc'ed; NULL: not there, or not this user's. */
static char *environment_look_up(int pid, const char *name) {
    char path[64], *line = NULL, *value = NULL;
    size_t room = 0, n = strlen(name), sum = 0;
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    FILE *f = fopen(path, "re");
    ssize_t size;
    while (f && !value && sum < ENVIRONMENT_MAX && (size = getdelim(&line, &room, 0, f)) > 0) {
        sum += (size_t)size;
        if (strncmp(line, name, n) == 0 && line[n] == '=') value = strdup(line + n + 1);
    }
    free(line);
    if (f) fclose(f);
    return value;
}

/* Of a local worker, which has the endpoint and the key in its environment. */
static char *job_of_children(int pid) {
    char *url = NULL, name[32];
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && !url && (e = readdir(d));) {
        int child = atoi(e->d_name), parent;
        if (child <= 0 || !tine_process_look_up(child, &parent, name) || parent != pid) continue;
        url = environment_look_up(child, "TINE_WORKER");
        char *key = url && !getenv("TINE_KEY") ? environment_look_up(child, "TINE_KEY") : NULL;
        if (key) setenv("TINE_KEY", key, 1);
        free(key);
    }
    if (d) closedir(d);
    return url;
}

/* ---- all ---- */

static char *job_of_process(const char *job) {
    char *end, name[32];
    long pid = strtol(job, &end, 10);
    int parent;
    job_list l = {.pid = (int)pid};
    if (*end || pid <= 0 || pid > INT32_MAX) {
        tine_error_set(TINE_EINVAL,
                       "%.200s: expected an endpoint such as tcp://HOST:PORT, or the "
                       "pid of a program",
                       job);
        return NULL;
    }
    tine_private_each(job_found, &l);
    if (!l.url) l.url = job_of_children((int)pid);
    if (l.url) return l.url;
    if (tine_process_look_up((int)pid, &parent, name))
        tine_error_set(TINE_EINVAL,
                       "process %ld has no endpoint that this user can find: name the endpoint, or "
                       "start the program with TINE_METRICS=HOST:PORT",
                       pid);
    else
        tine_error_set(TINE_EINVAL, "there is no process %ld", pid);
    return NULL;
}

char *tine_watch_find(const char *job) {
    job_list l = {0};
    if (job && strstr(job, "://")) return strdup(job);
    if (job) return job_of_process(job);
    tine_private_each(job_found, &l);
    if (l.n == 1) return l.url;
    free(l.url);
    if (l.n == 0)
        tine_error_set(TINE_EINVAL, "no job of this user runs at a private endpoint: name an "
                                    "endpoint, or the pid of a program");
    else
        tine_error_set(TINE_EINVAL, "several jobs run: name one of the programs %s", l.listed);
    return NULL;
}
