/* What of the memory that processes share (transport/shm/lane.h, transport/base/arena.h) is in use
 * on this host now. */
#include "launch/command/info_shared.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct shared_sum {
    unsigned arenas, lanes; /* processes that have some */
    uint64_t in_use, bound;
} shared_sum;

/* A memfd has no other name than the target of this link. Its blocks are what is in use. */
static void shared_add(shared_sum *sum, const char *path) {
    static const char NAME[] = "/memfd:tine-tensors";
    char target[64];
    struct stat st;
    ssize_t n = readlink(path, target, sizeof target);
    if (n < (ssize_t)strlen(NAME) || strncmp(target, NAME, strlen(NAME)) || stat(path, &st)) return;
    sum->arenas++;
    sum->in_use += (uint64_t)st.st_blocks * 512;
    sum->bound += (uint64_t)st.st_size;
}

/* A lane's memory has no descriptor any more once both sides have it. */
static bool maps_a_lane(int pid) {
    char path[64], line[512];
    bool does = false;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *f = fopen(path, "re");
    while (f && !does && fgets(line, sizeof line, f)) does = strstr(line, "/memfd:tine-lane");
    if (f) fclose(f);
    return does;
}

static void shared_add_process(shared_sum *sum, int pid) {
    char directory[64], path[64 + sizeof(((struct dirent *)0)->d_name)];
    snprintf(directory, sizeof directory, "/proc/%d/fd", pid);
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        if (e->d_name[0] != '.') shared_add(sum, path);
    }
    if (d) closedir(d);
    sum->lanes += maps_a_lane(pid);
}

void tine_info_shared(void) {
    shared_sum sum = {0};
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));)
        if (atoi(e->d_name) > 0) shared_add_process(&sum, atoi(e->d_name));
    if (d) closedir(d);
    printf("  %-12s%u process%s\n", "lanes of", sum.lanes, sum.lanes == 1 ? "" : "es");
    printf("  %-12s%u process%s that share%s tensors: %.1f MiB in use, at most %.0f MiB\n",
           "segments", sum.arenas, sum.arenas == 1 ? "" : "es", sum.arenas == 1 ? "s" : "",
           (double)sum.in_use / (1 << 20), (double)sum.bound / (1 << 20));
}
