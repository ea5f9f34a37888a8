/* The start of one worker: its token, cores, descriptors, signals and lifeline. See spawn.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "launch/spawn/lifeline.h"
#include "transport/base/process.h"

int tine_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/* ---- tokens ---- */

bool tine_spawn_token_make(char *token) {
    unsigned char bytes[TINE_SPAWN_TOKEN_DIGITS / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

int tine_spawn_slot(const tine_spawn *s, const char *token) {
    if (strncmp(token, s->token, TINE_SPAWN_TOKEN_DIGITS) != 0) return -1;
    if (token[TINE_SPAWN_TOKEN_DIGITS] != '.') return -1;
    const char *digits = token + TINE_SPAWN_TOKEN_DIGITS + 1;
    int index = 0, n = 0;
    for (; digits[n] >= '0' && digits[n] <= '9' && n < 5; n++)
        index = index * 10 + (digits[n] - '0');
    return n > 0 && digits[n] == 0 && index < s->workers ? index : -1;
}

/* ---- placement ---- */

void tine_spawn_placement_make(tine_spawn *s) {
    tine_topology_get(&s->topology);
    s->pinned = tine_topology_pins(&s->topology, s->workers, s->threads) &&
                sched_getaffinity(0, sizeof s->allowed, &s->allowed) == 0;
}

/* Where this thread's memory comes from: a node, or -1 as usual. A program that was started under
 * numactl has chosen. Fails without harm where the kernel does not allow it. */
static void memory_prefer(int node) {
    enum { DEFAULT, PREFERRED }; /* MPOL_… of <numaif.h> */
    unsigned long nodes[16] = {0};
    const int bits = 8 * (int)sizeof *nodes;
    if (node >= 0 && node < (int)sizeof nodes * 8) nodes[node / bits] = 1UL << node % bits;
    syscall(SYS_set_mempolicy, node < 0 ? DEFAULT : PREFERRED, node < 0 ? NULL : nodes,
            node < 0 ? 0 : sizeof nodes * 8);
}

static bool memory_is_chosen(void) {
    int policy = 0;
    return syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0) != 0 || policy != 0;
}

/* The worker inherits this thread's cores and memory policy. */
static bool placement_enter(const tine_spawn *s, int i) {
    cpu_set_t cores;
    int node;
    if (!s->pinned) return false;
    tine_topology_place(&s->topology, i, s->threads, &cores, &node);
    sched_setaffinity(0, sizeof cores, &cores);
    if (s->topology.nodes < 2 || node < 0 || memory_is_chosen()) return false;
    memory_prefer(node);
    return true;
}

static void placement_leave(const tine_spawn *s, bool memory) {
    if (s->pinned) sched_setaffinity(0, sizeof s->allowed, &s->allowed);
    if (memory) memory_prefer(-1);
}

/* ---- posix_spawn ---- */

/* The program's ignored signals stay ignored (nohup). The blocked ones are those that a terminal
 * sends to its whole process group: tine_lifeline_start and what runs before main take them. */
static int spawn_attributes_make(posix_spawnattr_t *attr) {
    sigset_t mask;
    tine_lifeline_signals(&mask);
    sigaddset(&mask, SIGINT);
    int e = posix_spawnattr_init(attr);
    if (e) return e;
    posix_spawnattr_setsigmask(attr, &mask);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK);
    return 0;
}

static int spawn_files_make(posix_spawn_file_actions_t *files, int lifeline, int log) {
    int e = posix_spawn_file_actions_init(files);
    if (e) return e;
    e = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    /* In this directory a relative argument means what it meant to the program, and a program that
     * changes the directory does so once, not twice. */
    const char *directory = tine_process_start_directory();
    if (!e && directory) e = posix_spawn_file_actions_addchdir_np(files, directory);
    if (!e) e = posix_spawn_file_actions_adddup2(files, lifeline, TINE_SPAWN_LIFELINE_FD);
    if (!e) e = posix_spawn_file_actions_adddup2(files, log, TINE_SPAWN_LOG_FD);
    if (!e) e = posix_spawn_file_actions_addclosefrom_np(files, TINE_SPAWN_LOG_FD + 1);
    if (e) posix_spawn_file_actions_destroy(files);
    return e;
}

/* Moves a descriptor above those that the worker gets, where adddup2 does not overwrite it before
 * it is used, nor copies it onto itself, which would keep close-on-exec. -1 with errno. */
static int descriptor_raise(int low) {
    int fd = fcntl(low, F_DUPFD_CLOEXEC, TINE_SPAWN_LOG_FD + 1);
    int e = errno;
    close(low);
    errno = e;
    return fd;
}

/* A socket pair. */
static int lifeline_make(int pair[2]) {
    int low[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, low) != 0) return errno;
    pair[0] = descriptor_raise(low[0]);
    int e = pair[0] < 0 ? errno : 0;
    pair[1] = descriptor_raise(low[1]);
    if (!e && pair[1] < 0) e = errno;
    if (!e) return 0;
    if (pair[0] >= 0) close(pair[0]);
    if (pair[1] >= 0) close(pair[1]);
    return e;
}

static int run_log_make(int *fd, tine_run_log **log) {
    int low = memfd_create("tine-run-log", MFD_CLOEXEC);
    if (low < 0) return errno;
    *fd = descriptor_raise(low);
    if (*fd < 0) return errno;
    void *p = MAP_FAILED;
    if (ftruncate(*fd, sizeof **log) == 0)
        p = mmap(NULL, sizeof **log, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (p == MAP_FAILED) {
        int e = errno;
        close(*fd);
        return e;
    }
    *log = p;
    return 0;
}

static int spawn_process(tine_spawn *s, int i, int lifeline, int log, pid_t *pid) {
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    tine_spawn_slot_state *w = &s->slots[i];
    char token[64], variable[64], mark[128];
    snprintf(token, sizeof token, "TINE_TOKEN=%s.%d", s->token, i);
    snprintf(variable, sizeof variable, "TINE_LIFELINE=%d:%d:%d", TINE_SPAWN_LIFELINE_FD,
             (int)getpid(), TINE_SPAWN_LOG_FD);
    int e = spawn_attributes_make(&attr);
    if (e) return e;
    e = spawn_files_make(&files, lifeline, log);
    if (e) goto no_files;
    char **environment = s->environment;
    environment[s->n_environment] = variable;
    snprintf(w->mark, sizeof w->mark, "%s.%d.%u", s->token, i, s->starts++);
    snprintf(mark, sizeof mark, TINE_DESCENDANTS_MARK "=%s", w->mark);
    environment[s->n_environment + 1] = mark;
    environment[s->n_environment + 2] = s->ended ? NULL : token; /* its coordinator's */
    bool memory = placement_enter(s, i);
    e = posix_spawnp(pid, s->program, &files, &attr, s->argv, environment);
    placement_leave(s, memory);
    for (int k = 0; k < 3; k++) environment[s->n_environment + (size_t)k] = NULL;
    posix_spawn_file_actions_destroy(&files);
no_files:
    posix_spawnattr_destroy(&attr);
    return e;
}

/* Callers that ask for the slot's pid wait until it is known: the worker may have joined by
 * then. */
static int slot_process(tine_spawn *s, int i, int lifeline, int log) {
    pid_t pid = 0;
    pthread_mutex_lock(&s->lock);
    int e = spawn_process(s, i, lifeline, log, &pid);
    if (!e) tine_process_descriptors_restore(pid);
    if (!e) atomic_store(&s->slots[i].pid, pid);
    pthread_mutex_unlock(&s->lock);
    return e;
}

int tine_spawn_worker_start(tine_spawn *s, int i) {
    int pair[2] = {-1, -1}, log_fd = -1;
    tine_run_log *log = NULL;
    int e = lifeline_make(pair);
    if (e) return e;
    e = run_log_make(&log_fd, &log);
    if (!e) {
        e = slot_process(s, i, pair[1], log_fd);
        close(log_fd);
    }
    close(pair[1]);
    if (e) {
        close(pair[0]);
        if (log) munmap(log, sizeof *log);
        return e;
    }
    tine_spawn_slot_state *w = &s->slots[i];
    w->pidfd = tine_pidfd_open(w->pid);
    w->lifeline = pair[0];
    w->log = log;
    w->attempt = s->attempts;
    if (w->pidfd < 0) s->no_pidfd = true;
    return 0;
}
