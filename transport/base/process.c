/* See process.h. */
#include "transport/base/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport/base/text.h"
#include "transport/base/vector.h"

/* The file's contents with a NUL behind them; *size does not count it. NULL: unreadable. */
static char *read_command_line(size_t *size) {
    size_t room = 0;
    ssize_t n = -1;
    char *text = NULL, *more;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    *size = 0;
    while (fd >= 0 && (more = tine_grow(text, &room, *size + 4096, 1))) {
        text = more;
        n = read(fd, text + *size, room - *size - 1);
        if (n <= 0) break;
        *size += (size_t)n;
        n = -1; /* without memory for the rest, what is there is cut short */
    }
    if (fd >= 0) close(fd);
    if (n == 0) {
        text[*size] = 0;
        return text;
    }
    free(text);
    return NULL;
}

char **tine_process_arguments(void) {
    size_t size, n = 0;
    char *text = read_command_line(&size), **argv = NULL;
    if (!text) return NULL;
    for (size_t at = 0; at < size; at += strlen(text + at) + 1) n++;
    if (n) argv = malloc((n + 1) * sizeof *argv + size + 1);
    if (argv) {
        char *copy = memcpy(argv + n + 1, text, size + 1);
        for (size_t i = 0; i < n; i++, copy += strlen(copy) + 1) argv[i] = copy;
        argv[n] = NULL;
    }
    free(text);
    return argv;
}

bool tine_process_executable(char *path, size_t size) {
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    if (n <= 0 || (size_t)n >= size - 1) return false;
    path[n] = 0;
    return true;
}

static char start_directory[PATH_MAX];

static void __attribute__((constructor(200))) start_directory_note(void) {
    if (!getcwd(start_directory, sizeof start_directory)) start_directory[0] = 0;
}

const char *tine_process_start_directory(void) {
    return start_directory[0] && access(start_directory, X_OK) == 0 ? start_directory : NULL;
}

char *tine_process_absolute(const char *path) {
    char here[PATH_MAX];
    if (path[0] == '/') return strdup(path);
    return getcwd(here, sizeof here) ? tine_text_format("%s/%s", here, path) : NULL;
}

bool tine_process_look_up(int pid, int *parent, char name[32]) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return false;
    text[n] = 0;
    char *open_ = strchr(text, '('), *close_ = strrchr(text, ')');
    if (!open_ || !close_ || sscanf(close_ + 1, " %*c %d", parent) != 1) return false;
    *close_ = 0;
    snprintf(name, 32, "%s", open_ + 1);
    return true;
}

bool tine_process_file_of(const void *address, char *path, size_t size) {
    FILE *f = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    ssize_t n;
    while (f && !found && (n = getline(&line, &room, f)) > 0) {
        uintptr_t from, to, at = (uintptr_t)address;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) != 2 || at < from || at >= to)
            continue;
        char *name = strchr(line, '/');
        if (!name) break;
        name[strcspn(name, "\n")] = 0;
        found = strlen(name) < size;
        if (found) memcpy(path, name, strlen(name) + 1);
        break;
    }
    free(line);
    if (f) fclose(f);
    return found;
}

uint64_t tine_process_memory(void) { return tine_process_memory_of((int)getpid()); }

uint64_t tine_process_memory_of(int pid) {
    char path[64];
    unsigned long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t tine_process_memory_borrowed(int pid, uint64_t most) {
    char path[64], line[512], flags[8];
    unsigned long kib;
    uint64_t bytes = 0;
    bool reads = false;
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*x-%*x %7s", flags) == 1)
            reads = flags[3] == 's' && flags[1] != 'w' && strstr(line, "/memfd:tine-tensors");
        else if (reads && sscanf(line, "Rss: %lu kB", &kib) == 1)
            bytes += (uint64_t)kib * 1024;
    }
    if (f) fclose(f);
    return bytes < most ? bytes : most;
}

/* A worker needs less than this many. */
enum { DESCRIPTORS_LEAST = 64 };

/* Soft limits of the program: before it was raised, and since then; 0: it was not. */
static rlim_t limit_before, limit_raised;

/* Raises the limit relative to what the program had, also when called again. */
static void descriptors_raise(struct rlimit *r, size_t n) {
    if (r->rlim_cur == RLIM_INFINITY) return;
    if (r->rlim_cur != limit_raised) limit_before = r->rlim_cur;
    rlim_t before = limit_before;
    struct rlimit more = {r->rlim_max - before < n ? r->rlim_max : before + n, r->rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) r->rlim_cur = limit_raised = more.rlim_cur;
}

void tine_process_descriptors_restore(pid_t child) {
    struct rlimit r;
    if (limit_before < DESCRIPTORS_LEAST || prlimit(child, RLIMIT_NOFILE, NULL, &r) != 0) return;
    if (r.rlim_cur != limit_raised) return;
    r.rlim_cur = limit_before;
    (void)prlimit(child, RLIMIT_NOFILE, &r, NULL); /* it may have ended */
}

size_t tine_process_descriptors(size_t n, size_t *limit) {
    struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) descriptors_raise(&r, n);
    *limit = r.rlim_cur < SIZE_MAX ? (size_t)r.rlim_cur : SIZE_MAX;
    DIR *d = opendir("/proc/self/fd");
    if (!d) return errno == EMFILE ? 0 : SIZE_MAX;
    size_t names = 0; /* beside the open ones: "." and "..", and the directory itself */
    while (readdir(d)) names++;
    closedir(d);
    return *limit > names - 3 ? *limit - (names - 3) : 0;
}
