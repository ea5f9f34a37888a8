/* See cores.h. Linux limits a process's cores in two places: its affinity mask, which a cpuset
 * narrows, and the CPU quota of its control group or of any group above it, of version 1 or 2. */
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/settings/cores.h"
#include "runtime/settings/topology.h"

static int cores_by_affinity(void) {
    /* The kernel refuses a mask smaller than its own. */
    for (int cores = 1024; cores <= 1 << 16; cores *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cores);
        if (!set) return 1;
        size_t size = CPU_ALLOC_SIZE((size_t)cores);
        int n = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (n > 0) return n;
    }
    return 1;
}

static int quota_cores(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return 0;
    long long cores = (quota + period - 1) / period;
    return cores > 1 << 16 ? 0 : (int)cores;
}

/* The quota in a cpu.max file, in cores; 0: none. */
static int quota_read(const char *path) {
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    long long quota, period;
    int n = fscanf(f, "%lld %lld", &quota, &period); /* "max 100000" when there is none */
    fclose(f);
    return n == 2 ? quota_cores(quota, period) : 0;
}

static long long number_read(const char *path) {
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    long long x = 0;
    int n = fscanf(f, "%lld", &x);
    fclose(f);
    return n == 1 ? x : 0;
}

/* The smaller of two limits; 0 means no limit. */
static int limit_min(int a, int b) { return a == 0 || (b != 0 && b < a) ? b : a; }

/* The quota of one group, in cores; 0: none. */
static int group_quota(const char *root, const char *controller, const char *group) {
    char path[2048], period[2048];
    snprintf(path, sizeof path, "%s%s%s/cpu.max", root, controller, group);
    int least = quota_read(path);
    snprintf(path, sizeof path, "%s%s%s/cpu.cfs_quota_us", root, controller, group);
    snprintf(period, sizeof period, "%s%s%s/cpu.cfs_period_us", root, controller, group);
    return limit_min(least, quota_cores(number_read(path), number_read(period)));
}

/* Of the group and all above it. */
static int group_quotas(const char *root, const char *controller, char *group) {
    int least = 0;
    for (;;) {
        least = limit_min(least, group_quota(root, controller, group));
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

/* Whether "cpu" is in the list "cpu,cpuacct". */
static bool has_cpu(const char *controllers) {
    for (const char *at = controllers; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, "cpu", 3) == 0 && (at[3] == 0 || at[3] == ',')) return true;
    }
    return false;
}

/* Lines of /proc/self/cgroup: ID:CONTROLLERS:GROUP; version 2 has ID 0 and no controllers. A
 * container sees its own group at the root, whatever the line says: the root is always read. */
int tine_cores_by_quota(const char *groups, const char *root) {
    static const struct {
        const char *path;
        bool second;
    } mounts[] = {{"/cpu,cpuacct", false},
                  {"/cpuacct,cpu", false},
                  {"/cpu", false},
                  {"", true},
                  {"/unified", true}};
    char line[1024];
    int least = 0;
    FILE *f = fopen(groups, "re");
    if (!f) return 0;
    while (fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(++controllers, ':') : 0;
        if (!group) continue;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
            char copy[sizeof line];
            if (mounts[i].second ? *controllers != 0 : !has_cpu(controllers)) continue;
            snprintf(copy, sizeof copy, "%s", group);
            least = limit_min(least, group_quotas(root, mounts[i].path, copy));
        }
    }
    fclose(f);
    return least;
}

/* What Slurm gave to this process, which it does not enforce on every cluster; 0: nothing. */
static int cores_by_slurm(void) {
    static const char *const names[] = {"SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"};
    int least = 0;
    for (size_t i = 0; getenv("SLURM_JOB_ID") && i < 2; i++) {
        const char *text = getenv(names[i]);
        long n = text ? strtol(text, NULL, 10) : 0;
        if (n > 0 && n < 1 << 16) least = limit_min(least, (int)n);
    }
    return least;
}

/* The physical cores in the affinity mask. */
static int cores_by_topology(void) {
    tine_topology t;
    tine_topology_get(&t);
    int n = t.n;
    tine_topology_fini(&t);
    return n > 0 ? n : cores_by_affinity();
}

int tine_cores_available(void) {
    int least =
        limit_min(cores_by_topology(), tine_cores_by_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
    return limit_min(least, cores_by_slurm());
}
