/* The start of one worker: its token, cores, descriptors, signals and lifeline. See spawn.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "transport/base/clock.h"

enum { LIFELINE_FD = 3 }; /* in the worker */

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
    /* Fails if there are more cores than cpu_set_t has bits: then nothing is pinned. */
    if (sched_getaffinity(0, sizeof s->allowed, &s->allowed) != 0) return;
    s->pinned = (int64_t)s->workers * s->threads <= CPU_COUNT(&s->allowed);
}

/* The cores of slot i: `threads` of the allowed ones, in the order of their numbers. */
static void placement_of(const tine_spawn *s, int i, cpu_set_t *out) {
    int from = i * s->threads, to = from + s->threads, at = 0;
    CPU_ZERO(out);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &s->allowed)) continue;
        if (at >= from && at < to) CPU_SET(cpu, out);
        at++;
    }
}

/* ---- posix_spawn ---- */

static int spawn_attributes_make(posix_spawnattr_t *attr) {
    sigset_t mask, defaults;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigfillset(&defaults);
    sigdelset(&defaults, SIGKILL);
    sigdelset(&defaults, SIGSTOP);
    int e = posix_spawnattr_init(attr);
    if (e) return e;
    posix_spawnattr_setsigmask(attr, &mask);
    posix_spawnattr_setsigdefault(attr, &defaults);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return 0;
}

static int spawn_files_make(posix_spawn_file_actions_t *files, int lifeline) {
    int e = posix_spawn_file_actions_init(files);
    if (e) return e;
    e = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!e) e = posix_spawn_file_actions_adddup2(files, lifeline, LIFELINE_FD);
    if (!e) e = posix_spawn_file_actions_addclosefrom_np(files, LIFELINE_FD + 1);
    if (e) posix_spawn_file_actions_destroy(files);
    return e;
}

/* A socket pair whose ends lie above LIFELINE_FD: adddup2 onto itself would keep close-on-exec. */
static int lifeline_make(int pair[2]) {
    int low[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, low) != 0) return errno;
    pair[0] = fcntl(low[0], F_DUPFD_CLOEXEC, LIFELINE_FD + 1);
    pair[1] = pair[0] < 0 ? -1 : fcntl(low[1], F_DUPFD_CLOEXEC, LIFELINE_FD + 1);
    int e = pair[1] < 0 ? errno : 0;
    close(low[0]);
    close(low[1]);
    if (e && pair[0] >= 0) close(pair[0]);
    return e;
}

static int spawn_process(tine_spawn *s, int i, int lifeline, pid_t *pid) {
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    char token[64], variable[64];
    snprintf(token, sizeof token, "TINE_TOKEN=%s.%d", s->token, i);
    snprintf(variable, sizeof variable, "TINE_LIFELINE=%d:%d", LIFELINE_FD, (int)getpid());
    int e = spawn_attributes_make(&attr);
    if (e) return e;
    e = spawn_files_make(&files, lifeline);
    if (e) goto no_files;
    char **environment = s->environment;
    environment[s->n_environment] = token;
    environment[s->n_environment + 1] = variable;
    cpu_set_t cores;
    if (s->pinned) {
        placement_of(s, i, &cores);
        sched_setaffinity(0, sizeof cores, &cores);
    }
    e = posix_spawn(pid, s->program, &files, &attr, s->argv, environment);
    if (s->pinned) sched_setaffinity(0, sizeof s->allowed, &s->allowed);
    environment[s->n_environment] = environment[s->n_environment + 1] = NULL;
    posix_spawn_file_actions_destroy(&files);
no_files:
    posix_spawnattr_destroy(&attr);
    return e;
}

int tine_spawn_worker_start(tine_spawn *s, int i) {
    int pair[2] = {-1, -1};
    pid_t pid = 0;
    int e = lifeline_make(pair);
    if (e) return e;
    e = spawn_process(s, i, pair[1], &pid);
    close(pair[1]);
    if (e) {
        close(pair[0]);
        return e;
    }
    tine_spawn_slot_state *w = &s->slots[i];
    w->pidfd = tine_pidfd_open(pid);
    w->lifeline = pair[0];
    w->started_at = tine_clock_ns();
    w->tasks_at_start = atomic_load(&s->tasks_done);
    atomic_store(&w->pid, pid);
    if (w->pidfd < 0) s->no_pidfd = true;
    return 0;
}
