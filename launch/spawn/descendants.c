/* See descendants.h. When a worker dies its children get another parent. So the parent does not
 * show which worker started a process; the environment does. */
#include "launch/spawn/descendants.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "transport/base/text.h"
#include "transport/base/vector.h"

/* A process that forks while it is looked for is found by the next round; so is one that is just
 * being replaced (execve), whose environment is empty for a moment. */
enum { ROUNDS_MAX = 20, ROUND_MS = 1, ENVIRONMENT_MAX = 4 << 20 };

typedef struct environment_text {
    char *bytes;
    size_t n, room;
} environment_text;

typedef struct mark_set {
    const char **marks; /* in order */
    int n;
} mark_set;

/* False: the process has ended, or is another user's. */
static bool environment_read(environment_text *t, int pid) {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool ours = fstat(fd, &st) == 0 && st.st_uid == geteuid();
    t->n = 0;
    if (ours)
        while (t->n < ENVIRONMENT_MAX) {
            char *more = tine_grow(t->bytes, &t->room, t->n + 8192, 1);
            if (!more) break;
            t->bytes = more;
            ssize_t n = read(fd, t->bytes + t->n, t->room - t->n - 1);
            if (n <= 0) break;
            t->n += (size_t)n;
        }
    close(fd);
    return ours;
}

static int mark_compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The value is taken apart. */
static bool value_has(char *value, const mark_set *of) {
    for (char *mark; (mark = strsep(&value, ","));)
        if (bsearch(&mark, of->marks, (size_t)of->n, sizeof mark, mark_compare)) return true;
    return false;
}

static bool environment_has(environment_text *t, int pid, const mark_set *of) {
    static const char name[] = TINE_DESCENDANTS_MARK "=";
    if (!environment_read(t, pid) || t->n == 0) return false;
    t->bytes[t->n] = 0;
    for (size_t at = 0, next; at < t->n; at = next) {
        char *entry = t->bytes + at;
        next = at + strlen(entry) + 1;
        if (strncmp(entry, name, sizeof name - 1) == 0 && value_has(entry + sizeof name - 1, of))
            return true;
    }
    return false;
}

/* It has a program, and no environment yet. A kernel thread has none, and a zombie neither. */
static bool environment_is_coming(environment_text *t, int pid) {
    char path[64], program[8];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    return environment_read(t, pid) && t->n == 0 && readlink(path, program, sizeof program) > 0;
}

/* The second look rules out that the pid was reused before the pidfd was made. */
static bool descendant_kill(environment_text *t, int pid, const mark_set *of) {
    if (!environment_has(t, pid, of)) return false;
    int fd = tine_pidfd_open(pid);
    if (fd < 0) return kill(pid, SIGKILL) == 0; /* a kernel without pidfds */
    bool killed =
        environment_has(t, pid, of) && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0;
    close(fd);
    return killed;
}

char *tine_descendants_variable(const char *outer, const char *mark) {
    return tine_text_format(TINE_DESCENDANTS_MARK "=%s%s%s", outer ? outer : "", outer ? "," : "",
                            mark);
}

void tine_descendants_kill(const char **marks, int n) {
    environment_text t = {0};
    mark_set of = {marks, n};
    bool some = n > 0, coming = false;
    if (n > 1) qsort(marks, (size_t)n, sizeof *marks, mark_compare);
    for (int round = 0; (some || coming) && round < ROUNDS_MAX; round++) {
        if (!some) poll(NULL, 0, ROUND_MS);
        DIR *d = opendir("/proc");
        some = coming = false;
        for (struct dirent *e; d && (e = readdir(d));) {
            int pid = atoi(e->d_name);
            if (pid <= 1 || pid == (int)getpid()) continue;
            if (descendant_kill(&t, pid, &of))
                some = true;
            else if (environment_is_coming(&t, pid))
                coming = true;
        }
        if (d) closedir(d);
    }
    free(t.bytes);
}
