/* The memory that this process may use, by its control groups and the machine. */
#include "runtime/settings/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 0: the file is not there, or sets no limit. */
static uint64_t limit_read(const char *path) {
    unsigned long long n = 0;
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%llu", &n) != 1) n = 0; /* "max" */
    if (f) fclose(f);
    return n < UINT64_C(1) << 60 ? n : 0; /* version 1 writes the largest number for none */
}

static uint64_t limit_least(uint64_t a, uint64_t b) { return !a || (b && b < a) ? b : a; }

/* Of the group and all above it. */
static uint64_t limits_of(const char *mount, const char *file, char *group) {
    char path[1400];
    uint64_t least = 0;
    for (;;) {
        snprintf(path, sizeof path, "%s%s/%s", mount, group, file);
        least = limit_least(least, limit_read(path));
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

/* `list` is that of one hierarchy, "cpu,memory"; the one of version 2 has the empty list. */
static bool is_listed(const char *list, const char *controller) {
    size_t n = strlen(controller);
    if (!n) return !*list;
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == n && strncmp(list, controller, n) == 0) return true;
    return false;
}

uint64_t tine_memory_by_group(const char *groups, const char *root) {
    static const struct {
        const char *controllers, *path, *file;
    } mounts[] = {{"memory", "/memory", "memory.limit_in_bytes"},
                  {"", "", "memory.max"},
                  {"", "/unified", "memory.max"}};
    char line[1024];
    uint64_t least = 0;
    FILE *f = fopen(groups, "re");
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(++controllers, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
            char copy[sizeof line], mount[256];
            if (!is_listed(controllers, mounts[i].controllers)) continue;
            snprintf(copy, sizeof copy, "%s", group);
            snprintf(mount, sizeof mount, "%s%s", root, mounts[i].path);
            least = limit_least(least, limits_of(mount, mounts[i].file, copy));
        }
    }
    if (f) fclose(f);
    return least;
}

uint64_t tine_memory_available(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t physical = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    return limit_least(physical, tine_memory_by_group("/proc/self/cgroup", "/sys/fs/cgroup"));
}
