/* See daemon.h. */
#include "transport/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/base/process.h"

#define MARK "tine."
enum { SESSIONS = 2 }; /* directories that the environment names; often the same one */

pid_t tine_daemon_find(char name[32]) {
    static const char *const daemons[] = {"mpirun", "orterun", "mpiexec", "orted",
                                          "prted",  "prte",    "prterun", "slurmstepd"};
    pid_t at = getppid(), up;
    for (int depth = 0; at > 1 && depth < 16 && tine_process_look_up(at, &up, name);
         depth++, at = up)
        for (size_t i = 0; i < sizeof daemons / sizeof *daemons; i++)
            if (strncmp(name, daemons[i], strlen(daemons[i])) == 0) return at;
    at = getppid();
    name[0] = 0;
    return at > 1 ? at : 0;
}

int tine_daemon_open(pid_t daemon) {
    int fd = (int)syscall(SYS_pidfd_open, daemon, 0);
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    remove(path);
    return 0;
}

/* The job's number, 0: not known. Its upper half is that of the job's family: all that one mpirun
 * has started. */
static unsigned long job_number(void) {
    const char *space = getenv("PMIX_NAMESPACE");
    char *end;
    unsigned long id = space ? strtoul(space, &end, 10) : 0;
    return id && !*end ? id : 0;
}

/* Whether it is the daemon's session directory, and its place, .../ompi.HOST.UID. The variable that
 * names the directory may have been changed since. */
static bool session_check(pid_t daemon, const char *dir, char *place, size_t size) {
    struct stat st;
    char user[32], by_pid[32], by_family[32];
    if (!dir || snprintf(place, size, "%s", dir) >= (int)size) return false;
    snprintf(user, sizeof user, ".%u", (unsigned)geteuid());
    snprintf(by_pid, sizeof by_pid, "pid.%d", (int)daemon);
    snprintf(by_family, sizeof by_family, "jf.%lu", job_number() >> 16);
    char *last = strrchr(place, '/');
    if (!last || last == place || (strcmp(last + 1, by_pid) && strcmp(last + 1, by_family)))
        return false;
    if (lstat(place, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) return false;
    *last = 0;
    const char *top = strrchr(place, '/'), *owner = strrchr(place, '.');
    return top && !strncmp(top, "/ompi.", 6) && !strcmp(owner, user);
}

static void session_tree_remove(const char *dir) {
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void tine_daemon_session_remove(pid_t daemon, const char *dir) {
    char place[PATH_MAX];
    if (!session_check(daemon, dir, place, sizeof place)) return;
    session_tree_remove(dir);
    rmdir(place);
}

static const char *session_named(int i) {
    static const char *const names[] = {"PMIX_SERVER_TMPDIR", "OMPI_MCA_orte_jobfam_session_dir"};
    return getenv(names[i]);
}

void tine_daemon_sessions_remove(pid_t daemon) {
    for (int i = 0; i < SESSIONS; i++) tine_daemon_session_remove(daemon, session_named(i));
}

/* ---- marks ---- */

static bool daemon_is_gone(pid_t daemon) {
    struct pollfd p = {.fd = tine_daemon_open(daemon), .events = POLLIN};
    if (p.fd < 0) return kill(daemon, 0) != 0 && errno == ESRCH;
    bool gone = poll(&p, 1, 0) == 1; /* a zombie is */
    close(p.fd);
    return gone;
}

/* A file of this user's, "tine.PID", in a session directory: whether that daemon is gone. */
static bool mark_is_stale(const char *dir) {
    struct stat st;
    bool stale = false;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && !stale && (e = readdir(d));) {
        int pid = 0;
        if (sscanf(e->d_name, MARK "%9d", &pid) != 1 || pid < 1) continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || st.st_uid != geteuid())
            continue;
        stale = daemon_is_gone(pid);
    }
    if (d) closedir(d);
    return stale;
}

/* `own` is in use, even where an old mark of a process that had its name lies there. */
static void place_sweep(const char *place, const char *own) {
    char path[PATH_MAX];
    DIR *d = opendir(place);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, "jf.", 3) && strncmp(e->d_name, "pid.", 4)) continue;
        int n = snprintf(path, sizeof path, "%s/%s", place, e->d_name);
        if (n >= (int)sizeof path || strncmp(own, path, (size_t)n) == 0) continue;
        if (mark_is_stale(path)) session_tree_remove(path);
    }
    if (d) closedir(d);
}

void tine_daemon_sessions_sweep(pid_t daemon) {
    char place[PATH_MAX], path[PATH_MAX];
    for (int i = 0; i < SESSIONS; i++) {
        const char *dir = session_named(i);
        if (!session_check(daemon, dir, place, sizeof place)) continue;
        if (snprintf(path, sizeof path, "%s/" MARK "%d", dir, (int)daemon) >= (int)sizeof path)
            continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) close(fd);
        place_sweep(place, dir);
    }
}
