/* See hosts.h. Every source becomes calls of hosts_add, one a host. */
#include "launch/command/hosts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/text.h"

enum { MAX_HOSTS = 1 << 14, MAX_CORES = 1 << 14 };

static bool hosts_refuse(char *why, size_t why_size, const char *text, const char *about) {
    snprintf(why, why_size, "%s: \"%.100s\"", text, about);
    return false;
}

static bool item_add(tine_hosts *h, const char *name, int cores) {
    for (int i = 0; i < h->n_items; i++) {
        tine_host *item = &h->items[i];
        if (strcmp(item->name, name) != 0) continue;
        item->cores = cores && item->cores ? item->cores + cores : 0;
        return true;
    }
    tine_host *items = reallocarray(h->items, (size_t)h->n_items + 1, sizeof *items);
    if (!items) return false;
    h->items = items;
    items[h->n_items] = (tine_host){strdup(name), cores};
    return items[h->n_items++].name;
}

/* cores 0: all that it has. False: no memory, or too many. */
static bool hosts_add(tine_hosts *h, const char *name, int cores) {
    bool known = cores > 0 && (h->n == 0 || h->cores > 0);
    char *longer =
        cores
            ? tine_text_format("%s%s%s:%d", h->list ? h->list : "", h->list ? "," : "", name, cores)
            : tine_text_format("%s%s%s:auto", h->list ? h->list : "", h->list ? "," : "", name);
    if (!longer || h->n == MAX_HOSTS || cores > MAX_CORES || !item_add(h, name, cores)) {
        free(longer);
        return false;
    }
    free(h->list);
    h->list = longer;
    h->n++;
    h->cores = known ? h->cores + cores : 0;
    return true;
}

static bool name_is_plain(const char *name) {
    if (!*name) return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("-._", *name)) return false;
    return true;
}

/* NAME, or PREFIX[1-3,7]SUFFIX. */
static bool hosts_expand(tine_hosts *h, const char *name, int cores) {
    char one[256], range[32];
    const char *open = strchr(name, '['), *close = open ? strchr(open, ']') : NULL;
    if (!open) return name_is_plain(name) && hosts_add(h, name, cores);
    if (!close || close == open + 1) return false;
    for (const char *at = open + 1; at < close;) {
        size_t size = strcspn(at, ",]");
        unsigned low, high;
        int end = 0;
        snprintf(range, sizeof range, "%.*s", (int)size, at);
        size_t width = strspn(range, "0123456789");
        bool pair = sscanf(range, "%8u-%8u%n", &low, &high, &end) == 2 && end == (int)size;
        if (!pair && (width != size || sscanf(range, "%8u", &low) != 1)) return false;
        if (!pair) high = low;
        for (; low <= high; low++) {
            snprintf(one, sizeof one, "%.*s%0*u%.100s", (int)(open - name), name, (int)width, low,
                     close + 1);
            if (!name_is_plain(one) || !hosts_add(h, one, cores)) return false;
        }
        at += size + (at[size] == ',');
    }
    return true;
}

static bool user_take(tine_hosts *h, const char *name, size_t n) {
    bool same = h->user && strlen(h->user) == n && !strncmp(h->user, name, n);
    if (h->user || h->n > 0) return same;
    h->user = strndup(name, n);
    return h->user && name_is_plain(h->user);
}

bool tine_hosts_parse(tine_hosts *h, const char *text, char *why, size_t why_size) {
    for (const char *at = text;;) {
        size_t n = 0;
        for (bool inside = false; at[n] && (inside || at[n] != ','); n++)
            inside = at[n] == '[' || (inside && at[n] != ']');
        char item[256], *name = item;
        snprintf(item, sizeof item, "%.*s", (int)n, at);
        char *user_end = strchr(item, '@'), *colon = strrchr(item, ':'), *end = NULL;
        if (user_end) name = user_end + 1;
        if (user_end ? !user_take(h, item, (size_t)(user_end - item)) : h->user != NULL)
            return hosts_refuse(why, why_size,
                                "one user logs in to all hosts; name others in ~/.ssh/config", at);
        if (colon) *colon = 0;
        long cores = colon ? strtol(colon + 1, &end, 10) : 0;
        bool good = n < sizeof item &&
                    (!colon || (end > colon + 1 && !*end && cores >= 1 && cores <= MAX_CORES));
        if (!good || !hosts_expand(h, name, (int)cores))
            return hosts_refuse(why, why_size,
                                "expected host names with optional numbers of cores, a:4,h[1-3]:2",
                                at);
        if (!at[n]) return true;
        at += n + 1;
    }
}

/* ---- files ---- */

/* Calls `line` for each line with words; false stops. */
static bool lines_read(const char *path, bool (*line)(tine_hosts *h, char *text), tine_hosts *h,
                       char *why, size_t why_size) {
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;
    bool good = f != NULL;
    if (!f) snprintf(why, why_size, "%.200s: %s", path, strerror(errno));
    while (good && getline(&text, &room, f) > 0) {
        text[strcspn(text, "#\n")] = 0;
        good = !text[strspn(text, " \t")] || line(h, text);
        if (!good)
            hosts_refuse(why, why_size,
                         "a line of the list is not a host name with an optional number of cores, "
                         "or has another user than the first",
                         text);
    }
    free(text);
    if (f) fclose(f);
    return good;
}

/* Open MPI's host file. */
static bool line_of_hostfile(tine_hosts *h, char *text) {
    char word[256], *name = word;
    int cores = 0;
    if (sscanf(text, "%255s", word) != 1) return false;
    char *user_end = strchr(word, '@');
    if (user_end) name = user_end + 1;
    if (user_end ? !user_take(h, word, (size_t)(user_end - word)) : h->user != NULL) return false;
    if (!name_is_plain(name)) return false;
    const char *slots = strstr(text, "slots");
    if (slots && (sscanf(slots, "slots = %d", &cores) != 1 || cores < 1)) return false;
    return hosts_add(h, name, cores);
}

/* A host's name for each of its cores. */
static bool line_of_pbs(tine_hosts *h, char *text) {
    char name[256];
    return sscanf(text, "%255s", name) == 1 && name_is_plain(name) && hosts_add(h, name, 1);
}

/* HOST CORES QUEUE RANGE */
static bool line_of_grid_engine(tine_hosts *h, char *text) {
    char name[256];
    int cores;
    return sscanf(text, "%255s %d", name, &cores) == 2 && cores > 0 && name_is_plain(name) &&
           hosts_add(h, name, cores);
}

bool tine_hosts_file(tine_hosts *h, const char *path, char *why, size_t why_size) {
    return lines_read(path, line_of_hostfile, h, why, why_size);
}

/* ---- allocations ---- */

/* Sums Slurm's "2(x3),1", and gives each host its part. */
static int slurm_sum(tine_hosts *h, const char *text, int each) {
    int sum = 0, n, times, host = 0;
    for (const char *at = text; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        int got = sscanf(at, "%8d(x%8d)", &n, &times);
        if (got < 1 || n < 1) return 0;
        if (got < 2 || times < 1 || times >= MAX_HOSTS) times = 1;
        sum += n * times * each;
        for (; times > 0 && host < h->n_items; times--) h->items[host++].cores = n * each;
    }
    return sum;
}

/* With --overcommit there are more tasks on a host than CPUs. */
static void slurm_bound(tine_hosts *h, const char *cpus) {
    tine_hosts most = {.items = calloc((size_t)h->n_items + 1, sizeof *most.items),
                       .n_items = h->n_items};
    if (most.items && slurm_sum(&most, cpus, 1))
        for (int i = 0; i < h->n_items; i++) {
            int over = h->items[i].cores - most.items[i].cores;
            if (over <= 0 || !most.items[i].cores) continue;
            h->items[i].cores -= over;
            h->cores -= over;
        }
    free(most.items);
}

static int number_of(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

/* mpirun reads the hosts itself, and counts each task's cores as slots. */
static bool slurm_allocated(tine_hosts *h) {
    char why[200];
    const char *tasks = getenv("SLURM_TASKS_PER_NODE"), *names = getenv("SLURM_JOB_NODELIST");
    int each = number_of("SLURM_CPUS_PER_TASK"), nodes = number_of("SLURM_JOB_NUM_NODES");
    if (!getenv("SLURM_JOB_ID") || !names) return false;
    tine_hosts_parse(h, names, why, sizeof why);
    free(h->list);
    h->list = NULL;
    h->batch = "Slurm";
    h->n = nodes > 0 ? nodes : 1;
    h->cores = slurm_sum(h, tasks, each > 1 ? each : 1);
    slurm_bound(h, getenv("SLURM_JOB_CPUS_PER_NODE"));
    h->tasks = number_of("SLURM_NTASKS");
    return true;
}

/* "h1 4 h2 4" */
static bool lsf_allocated(tine_hosts *h) {
    char name[256];
    int cores, end;
    for (const char *at = getenv("LSB_MCPU_HOSTS");
         at && sscanf(at, " %255s %d%n", name, &cores, &end) == 2; at += end) {
        h->batch = "LSF";
        if (cores < 1 || !name_is_plain(name) || !hosts_add(h, name, cores)) return false;
    }
    return h->batch != NULL;
}

bool tine_hosts_allocated(tine_hosts *h, char *why, size_t why_size) {
    const char *pbs = getenv("PBS_NODEFILE"), *grid = getenv("PE_HOSTFILE");
    if (slurm_allocated(h) || lsf_allocated(h)) return true;
    if (h->batch) return hosts_refuse(why, why_size, "LSB_MCPU_HOSTS", getenv("LSB_MCPU_HOSTS"));
    if (pbs) {
        h->batch = "PBS";
        return lines_read(pbs, line_of_pbs, h, why, why_size);
    }
    if (!grid) return true;
    h->batch = "Grid Engine";
    return lines_read(grid, line_of_grid_engine, h, why, why_size);
}

static bool is_name(const char *host) {
    return strspn(host, "0123456789.") < strlen(host) && strcmp(host, "localhost") != 0;
}

/* "node1" and "node1.cluster.org" */
static bool is_same_host(const char *a, const char *b) {
    size_t n = strcspn(a, ".");
    if (!is_name(a) || !is_name(b)) return !strcmp(a, b);
    return n == strcspn(b, ".") && !strncmp(a, b, n);
}

static bool host_within(tine_host *host, const tine_hosts *job, bool more, char *why,
                        size_t why_size) {
    for (int i = 0; i < job->n_items; i++) {
        int cores = job->items[i].cores;
        if (!is_same_host(host->name, job->items[i].name)) continue;
        if (!host->cores) host->cores = cores;
        if (more || !cores || host->cores <= cores) return true;
        snprintf(why, why_size, "%.100s has %d core%s in this job of %s, not %d", host->name, cores,
                 cores == 1 ? "" : "s", job->batch, host->cores);
        return false;
    }
    if (!is_name(host->name)) return true; /* mpirun knows */
    snprintf(why, why_size, "%.100s is not a host of this job of %s", host->name, job->batch);
    return false;
}

bool tine_hosts_within(tine_hosts *h, const tine_hosts *job, bool more, char *why,
                       size_t why_size) {
    if (!job->batch || !job->n_items) return true;
    h->cores = 0;
    h->n = h->n_items;
    h->batch = job->batch;
    bool known = true;
    for (int i = 0; i < h->n_items; i++) {
        if (!host_within(&h->items[i], job, more, why, why_size)) return false;
        known = known && h->items[i].cores;
        h->cores += h->items[i].cores;
    }
    if (!known) h->cores = 0;
    free(h->list);
    h->list = tine_hosts_list_for(h, 1);
    return h->list || !snprintf(why, why_size, "no memory for the hosts");
}

void tine_hosts_cores_set(tine_hosts *h, const char *name, int cores) {
    for (int i = 0; i < h->n_items; i++)
        if (!h->items[i].cores && !strcmp(h->items[i].name, name)) h->items[i].cores = cores;
}

int tine_hosts_cores_for(const tine_hosts *h, int threads) {
    int sum = 0;
    for (int i = 0; i < h->n_items; i++) sum += h->items[i].cores / threads * threads;
    return sum && h->cores ? sum : h->cores; /* on none of them: slots are no more than that */
}

char *tine_hosts_list_for(const tine_hosts *h, int threads) {
    char *list = strdup("");
    for (int i = 0; list && i < h->n_items; i++) {
        const tine_host *host = &h->items[i];
        if (host->cores && host->cores < threads) continue;
        char slots[16] = "auto";
        if (host->cores) snprintf(slots, sizeof slots, "%d", host->cores / threads);
        char *longer = tine_text_format("%s%s%s:%s", list, *list ? "," : "", host->name, slots);
        free(list);
        list = longer;
    }
    return list;
}

char *tine_hosts_names(const tine_hosts *h) {
    char *list = strdup("");
    for (int i = 0; list && i < h->n_items; i++) {
        char *longer = tine_text_format("%s%s%s", list, *list ? "," : "", h->items[i].name);
        free(list);
        list = longer;
    }
    return list;
}

void tine_hosts_fini(tine_hosts *h) {
    for (int i = 0; i < h->n_items; i++) free(h->items[i].name);
    free(h->items);
    free(h->list);
    free(h->user);
    *h = (tine_hosts){0};
}
