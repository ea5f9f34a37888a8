/* How a job ends when a part of it dies. mpirun ends the job when a rank is killed. When mpirun or
 * a host's daemon is killed itself, its ranks are orphans; Open MPI notices that late and leaves
 * its files behind. So each rank has a thread that watches the daemon that started it. When the
 * daemon is gone the thread removes the job's files on this host and ends the rank. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/base/process.h"
#include "transport/base/thread.h"
#include "transport/mpi/internal.h"

/* Without pidfd_open (before Linux 5.3) the daemon is polled this often. */
enum { POLL_MS = 500 };

static struct {
    pid_t daemon;
    char name[32];
    int fd, rank;
} watch;

/* The nearest ancestor that is a launcher's daemon: there may be a shell or a debugger between. */
static pid_t find_daemon(char name[32]) {
    static const char *const daemons[] = {"mpirun", "orterun", "mpiexec", "orted",
                                          "prted",  "prte",    "prterun", "slurmstepd"};
    pid_t at = getppid(), up;
    for (int depth = 0; at > 1 && depth < 16 && tine_process_look_up(at, &up, name);
         depth++, at = up)
        for (size_t i = 0; i < sizeof daemons / sizeof *daemons; i++)
            if (strncmp(name, daemons[i], strlen(daemons[i])) == 0) return at;
    at = getppid();
    return at > 1 && tine_process_look_up(at, &up, name) ? at : 0;
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

/* Removes `dir` only if it is the session directory of this job: .../ompi.HOST.UID/pid.N, N being
 * the process that is gone, or on other hosts .../jf.F, F being the job's family. The variable that
 * names it may have been changed since. */
static void remove_session(const char *dir) {
    struct stat st;
    char path[4096], user[32], by_pid[32], by_family[32];
    if (!dir || snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path) return;
    snprintf(user, sizeof user, ".%u", (unsigned)geteuid());
    snprintf(by_pid, sizeof by_pid, "pid.%d", (int)watch.daemon);
    snprintf(by_family, sizeof by_family, "jf.%lu", job_number() >> 16);
    char *last = strrchr(path, '/');
    if (!last || last == path || (strcmp(last + 1, by_pid) && strcmp(last + 1, by_family))) return;
    if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) return;
    *last = 0;
    const char *top = strrchr(path, '/'), *owner = strrchr(path, '.');
    if (!top || strncmp(top, "/ompi.", 6) || strcmp(owner, user)) return;
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    rmdir(path);
}

/* Whether it is shared memory of a rank of this job: KIND_segment.HOST.UID.JOB.RANK, the job in
 * hexadecimal. Another user's job may have the same number. */
static bool is_segment(int shm, const char *name) {
    struct stat st;
    char job[64];
    if (strncmp(name, "vader_segment.", 14) && strncmp(name, "sm_segment.", 11)) return false;
    snprintf(job, sizeof job, ".%u.%lx.", (unsigned)geteuid(), job_number());
    const char *at = strstr(name, job), *rank = at ? at + strlen(job) : "";
    if (!*rank || strspn(rank, "0123456789") != strlen(rank)) return false;
    return !fstatat(shm, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
           st.st_uid == geteuid();
}

static void remove_segments(void) {
    DIR *d = job_number() ? opendir("/dev/shm") : NULL;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));)
        if (is_segment(dirfd(d), e->d_name)) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

static bool daemon_gone(void) {
    if (watch.fd < 0) {
        poll(NULL, 0, POLL_MS);
        return kill(watch.daemon, 0) && errno == ESRCH;
    }
    struct pollfd p = {.fd = watch.fd, .events = POLLIN};
    return poll(&p, 1, -1) == 1;
}

static void *watchdog(void *unused) {
    (void)unused;
    while (!daemon_gone()) {
    }
    /* A daemon that exits normally waits for its ranks first; this rank may be about to exit. */
    remove_segments();
    remove_session(getenv("PMIX_SERVER_TMPDIR"));
    remove_session(getenv("OMPI_MCA_orte_jobfam_session_dir"));
    dprintf(STDERR_FILENO,
            "tine: rank %d (pid %d): %s (pid %d), which started it, is gone; the rank ends\n",
            watch.rank, (int)getpid(), watch.name, (int)watch.daemon);
    _exit(1);
}

void tine_mpi_watchdog_start(int rank) {
    watch.rank = rank;
    watch.daemon = find_daemon(watch.name);
    if (watch.daemon <= 0) return;
    watch.fd = (int)syscall(SYS_pidfd_open, watch.daemon, 0);
    if (watch.fd >= 0) fcntl(watch.fd, F_SETFD, FD_CLOEXEC);
    if (tine_thread_start_detached("tine-watchdog", watchdog, NULL))
        fprintf(stderr,
                "tine: rank %d cannot start a thread to watch its launcher: the rank may outlive a "
                "launcher that is killed\n",
                rank);
}

void tine_mpi_end_job(int rank, int status) {
    char host[256] = "?";
    gethostname(host, sizeof host - 1);
    fprintf(stderr,
            "tine: rank %d (pid %d on %s) was lost: it called exit(%d) in the middle of the job, "
            "which ends now\n",
            rank, (int)getpid(), host, status);
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, status ? status : 1);
    _exit(status ? status : 1);
}
