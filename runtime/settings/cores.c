/* See cores.h. Linux limits a process's cores in two places: its affinity mask, and the CPU quota
 * of its control group or of any group above it (version 2; of version 1 only the mount that
 * containers see). */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/settings/cores.h"

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

static int cores_by_quota(void) {
    int least = quota_cores(number_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
                            number_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
    char line[1024], path[1200];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return least;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0) continue;
        char *group = line + 3;
        group[strcspn(group, "\n")] = 0;
        for (;;) {
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
            least = limit_min(least, quota_read(path));
            char *slash = strrchr(group, '/');
            if (!slash) break;
            *slash = 0;
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

int tine_cores_available(void) {
    return limit_min(limit_min(cores_by_affinity(), cores_by_quota()), cores_by_slurm());
}
