/* How a job ends when a part of it dies. mpirun ends the job when a rank is killed. When mpirun or
 * a host's daemon is killed itself, its ranks are orphans; Open MPI notices that late and leaves
 * its files behind. So each rank has a thread that watches the daemon that started it. When the
 * daemon is gone the thread removes the job's files on this host and ends the rank. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/base/thread.h"
#include "transport/daemon.h"
#include "transport/mpi/internal.h"

/* Without pidfd_open (before Linux 5.3) the daemon is polled this often. */
enum { POLL_MS = 500 };
enum {
    FORWARD_MS = 300, /* in which the daemon forwards what this rank has printed */
    KILLED_MS = 5000, /* in which the watchdog ends a rank whose daemon was killed */
};

static struct {
    pid_t daemon;
    char name[32]; /* "": the parent, which is not known to be a launcher */
    int fd, rank;
} watch;

/* The name of shared memory of this job up to the rank's number, KIND_segment.HOST.UID.JOBID., as
 * this process has mapped it: the job's id is PMIX_NAMESPACE under mpirun, but not under srun. */
static bool segment_prefix(char *out, size_t size) {
    static const char *const kinds[] = {"/dev/shm/vader_segment.", "/dev/shm/sm_segment."};
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && !found && getline(&line, &room, maps) > 0)
        for (size_t i = 0; i < 2 && !found; i++) {
            const char *name = strstr(line, kinds[i]), *rank = name ? strrchr(name, '.') : NULL;
            found = name && (size_t)(rank - name) < size - 1;
            if (found) snprintf(out, size, "%.*s", (int)(rank + 1 - name), name);
        }
    free(line);
    if (maps) fclose(maps);
    return found;
}

/* Whether it is shared memory of a rank of this job on this host. */
static bool is_segment(int shm, const char *name, const char *prefix) {
    struct stat st;
    if (strncmp(name, prefix, strlen(prefix))) return false;
    const char *rank = name + strlen(prefix);
    if (!*rank || strspn(rank, "0123456789") != strlen(rank)) return false;
    return !fstatat(shm, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
           st.st_uid == geteuid();
}

static void remove_segments(void) {
    char path[512];
    DIR *d = segment_prefix(path, sizeof path) ? opendir("/dev/shm") : NULL;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));)
        if (is_segment(dirfd(d), e->d_name, strrchr(path, '/') + 1))
            unlinkat(dirfd(d), e->d_name, 0);
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
    tine_daemon_sessions_remove(watch.daemon);
    dprintf(STDERR_FILENO,
            "tine: rank %d (pid %d): %s (pid %d), which started it, is gone; the rank ends\n",
            watch.rank, (int)getpid(), watch.name[0] ? watch.name : "the process",
            (int)watch.daemon);
    _exit(1);
}

void tine_mpi_watchdog_start(int rank) {
    watch.rank = rank;
    watch.daemon = tine_daemon_find(watch.name);
    if (watch.daemon <= 0) return;
    watch.fd = tine_daemon_open(watch.daemon);
    if (tine_thread_start_detached("tine-watchdog", watchdog, NULL))
        fprintf(stderr,
                "tine: rank %d cannot start a thread to watch its launcher: the rank may outlive a "
                "launcher that is killed\n",
                rank);
}

/* An mpirun that aborts a job waits for ever for the daemon of a host that it cannot reach. When it
 * is killed instead, the daemons that are left end their ranks, as the watchdog does with this one.
 * Not so under Slurm: there the abort ends the other hosts, and srun waits for a slurmstepd that
 * was killed. The descriptor stands for the same process even if its pid is used again. */
static bool daemon_kill(void) {
    return watch.name[0] && strncmp(watch.name, "slurmstepd", 10) != 0 && watch.fd >= 0 &&
           !syscall(SYS_pidfd_send_signal, watch.fd, SIGKILL, NULL, 0);
}

void tine_mpi_end_job(int rank, const char *why, int status, bool host_lost) {
    char host[256] = "?";
    gethostname(host, sizeof host - 1);
    fprintf(stderr, "tine: rank %d (pid %d on %s) ends the job: %s\n", rank, (int)getpid(), host,
            why);
    fflush(NULL);
    if (host_lost) poll(NULL, 0, FORWARD_MS);
    if (host_lost && daemon_kill()) poll(NULL, 0, KILLED_MS);
    MPI_Abort(MPI_COMM_WORLD, status ? status : 1);
    _exit(status ? status : 1);
}
