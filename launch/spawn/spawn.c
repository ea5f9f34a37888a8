/* The supervisor of local workers. See spawn.h.
 *
 * One thread does everything to the workers: it starts them (so that the affinity it gives itself
 * for the moment of a start is what they inherit), polls their pidfds, reaps and replaces them.
 * Others only ask it to stop, through an eventfd. */
#include "launch/spawn/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "transport/base/log.h"
#include "runtime/value/state.h"
#include "transport/base/assert.h"

enum {
    MAX_WORKERS = 4096,
    LIFELINE_FD = 3,
    TOKEN_DIGITS = 32,
    DEFAULT_DEATHS = 5,
    DEFAULT_DEATH_SECONDS = 10
};
/* Without pidfds (kernels before 5.3) deaths are looked for this often. */
enum { LOOK_MS = 100 };

typedef struct slot {
    _Atomic pid_t pid; /* 0: none lives here; written by the supervisor */
    int pidfd;         /* -1: none */
    int lifeline;      /* our end */
    int64_t started_at;
    unsigned done_then; /* `done` when it was started */
} slot;

struct tine_spawn {
    char *program;
    char **argv;
    char **environment; /* and behind its end two places, for token and lifeline */
    size_t n_environment;
    char token[TOKEN_DIGITS + 1];
    int workers, threads, max_deaths;
    int64_t death_ns;
    void (*died)(void *ctx, int slot, pid_t pid, const char *reason);
    void (*gone)(void *ctx, const char *reason);
    void *ctx;

    slot *slots;
    struct pollfd *fds; /* of `workers`, then the eventfd */
    cpu_set_t allowed;
    bool pinned, look; /* look: some worker has no pidfd */
    int quick_deaths;
    bool given_up;
    int killed;

    pthread_t thread;
    bool running; /* the thread is to be joined */
    int wake;
    atomic_uint done;
    atomic_bool stopping;
    _Atomic int64_t stop_at;

    /* How the first start went, told to tine_spawn_start. Guarded by lock; nothing else is locked
     * while it is held. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started;
    int start_error; /* errno */
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- what a worker is started with ---- */

static bool token_make(char *token) {
    unsigned char bytes[TOKEN_DIGITS / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

int tine_spawn_slot(const tine_spawn *s, const char *token) {
    if (strncmp(token, s->token, TOKEN_DIGITS) != 0 || token[TOKEN_DIGITS] != '.') return -1;
    const char *digits = token + TOKEN_DIGITS + 1;
    int index = 0, n = 0;
    for (; digits[n] >= '0' && digits[n] <= '9' && n < 5; n++)
        index = index * 10 + (digits[n] - '0');
    return n > 0 && digits[n] == 0 && index < s->workers ? index : -1;
}

/* ---- placement ---- */

static void placement_make(tine_spawn *s) {
    if (sched_getaffinity(0, sizeof s->allowed, &s->allowed) != 0)
        return; /* more cores than cpu_set_t knows */
    s->pinned = (int64_t)s->workers * s->threads <= CPU_COUNT(&s->allowed);
}

/* The cores of slot i: `threads` of them, in the order of their numbers. */
static void placement_of(const tine_spawn *s, int i, cpu_set_t *out) {
    int from = i * s->threads, to = from + s->threads, at = 0;
    CPU_ZERO(out);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &s->allowed)) continue;
        if (at >= from && at < to) CPU_SET(cpu, out);
        at++;
    }
}

/* ---- starting one ---- */

static int attributes_make(posix_spawnattr_t *attr) {
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

static int files_make(posix_spawn_file_actions_t *files, int lifeline) {
    int e = posix_spawn_file_actions_init(files);
    if (e) return e;
    e = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!e) e = posix_spawn_file_actions_adddup2(files, lifeline, LIFELINE_FD);
    if (!e) e = posix_spawn_file_actions_addclosefrom_np(files, LIFELINE_FD + 1);
    if (e) posix_spawn_file_actions_destroy(files);
    return e;
}

/* Both ends above the descriptors that the worker's own will be put on. */
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

static int spawn_with(tine_spawn *s, int i, int lifeline, pid_t *pid) {
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    char token[64], line[64];
    snprintf(token, sizeof token, "TINE_TOKEN=%s.%d", s->token, i);
    snprintf(line, sizeof line, "TINE_LIFELINE=%d:%d", LIFELINE_FD, (int)getpid());
    int e = attributes_make(&attr);
    if (e) return e;
    e = files_make(&files, lifeline);
    if (e) goto no_files;
    char **environment = s->environment;
    environment[s->n_environment] = token;
    environment[s->n_environment + 1] = line;
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

static int spawn_one(tine_spawn *s, int i) {
    int pair[2] = {-1, -1};
    pid_t pid = 0;
    int e = lifeline_make(pair);
    if (e) return e;
    e = spawn_with(s, i, pair[1], &pid);
    close(pair[1]);
    if (e) {
        close(pair[0]);
        return e;
    }
    slot *w = &s->slots[i];
    w->pidfd = tine_pidfd_open(pid);
    w->lifeline = pair[0];
    w->started_at = now_ns();
    w->done_then = atomic_load(&s->done);
    atomic_store(&w->pid, pid);
    if (w->pidfd < 0) s->look = true;
    return 0;
}

/* ---- death ---- */

/* What the worker managed to say before it died: "died of …". */
static bool last_words(int lifeline, char *reason, size_t room) {
    char words[256];
    ssize_t n = recv(lifeline, words, sizeof words - 1, MSG_DONTWAIT);
    if (n <= 0) return false;
    words[n] = 0;
    for (char *p = words; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' ';
    snprintf(reason, room, "died of %s", words);
    return true;
}

/* True when the worker is dead; it is reaped then. */
static bool reap(slot *w, char *reason, size_t room) {
    siginfo_t info = {0};
    int r = w->pidfd >= 0
                ? waitid((idtype_t)3 /* P_PIDFD */, (id_t)w->pidfd, &info, WEXITED | WNOHANG)
                : waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG);
    if (r != 0 && errno != ECHILD) return false;
    if (r == 0 && info.si_pid == 0) return false;
    if (last_words(w->lifeline, reason, room)) return true;
    if (r != 0)
        snprintf(reason, room,
                 "ended, and its exit status was taken by another wait in this program");
    else if (info.si_code == CLD_EXITED)
        snprintf(reason, room, "exited with status %d", info.si_status);
    else
        snprintf(reason, room, "was killed by signal %d (SIG%s)", info.si_status,
                 sigabbrev_np(info.si_status) ? sigabbrev_np(info.si_status) : "?");
    return true;
}

static void give_up(tine_spawn *s, const char *last) {
    char reason[512];
    s->given_up = true;
    snprintf(reason, sizeof reason,
             "workers are not started any more: %d died within %d seconds of their start and "
             "finished no "
             "task; the "
             "last one %s",
             s->quick_deaths, (int)((s->death_ns + 999999999) / 1000000000), last);
    tine_log(TINE_LOG_DEBUG, "%s", reason);
    if (s->gone) s->gone(s->ctx, reason);
}

static void count_death(tine_spawn *s, const slot *w, const char *reason) {
    bool quick = now_ns() - w->started_at < s->death_ns && atomic_load(&s->done) == w->done_then;
    s->quick_deaths = quick ? s->quick_deaths + 1 : 0;
    if (s->quick_deaths >= s->max_deaths && !s->given_up) give_up(s, reason);
}

static void replace(tine_spawn *s, int i) {
    while (!s->given_up && !atomic_load(&s->stopping)) {
        int e = spawn_one(s, i);
        if (!e) return;
        char reason[128];
        snprintf(reason, sizeof reason, "could not be started: %s", strerror(e));
        s->slots[i].started_at = now_ns();
        s->slots[i].done_then = atomic_load(&s->done);
        count_death(s, &s->slots[i], reason);
    }
}

static void bury(tine_spawn *s, int i) {
    slot *w = &s->slots[i];
    char reason[384];
    if (!reap(w, reason, sizeof reason)) return;
    pid_t pid = atomic_exchange(&w->pid, 0);
    if (w->pidfd >= 0) close(w->pidfd);
    close(w->lifeline);
    w->pidfd = w->lifeline = -1;
    tine_log(TINE_LOG_DEBUG, "worker %d (pid %d) %s", i, (int)pid, reason);
    if (atomic_load(&s->stopping)) return;
    if (s->died) s->died(s->ctx, i, pid, reason);
    count_death(s, w, reason);
    replace(s, i);
}

/* ---- the supervisor ---- */

static int living(const tine_spawn *s) {
    int n = 0;
    for (int i = 0; i < s->workers; i++) n += s->slots[i].pid != 0;
    return n;
}

static int timeout_ms(const tine_spawn *s) {
    int limit = s->look ? LOOK_MS : -1;
    if (!atomic_load(&s->stopping) || s->killed >= 0) return limit;
    int64_t left = s->stop_at - now_ns();
    int ms = left <= 0                        ? 0
             : left > INT64_C(86400000000000) ? 86400000
                                              : (int)((left + 999999) / 1000000);
    return limit >= 0 && limit < ms ? limit : ms;
}

static void kill_all(tine_spawn *s) {
    s->killed = 0;
    for (int i = 0; i < s->workers; i++) {
        slot *w = &s->slots[i];
        /* Not reaped yet, so its pid cannot be anyone else's. */
        if (w->pid != 0 && kill(w->pid, SIGKILL) == 0) s->killed++;
    }
}

static void supervise_once(tine_spawn *s) {
    for (int i = 0; i < s->workers; i++)
        s->fds[i] =
            (struct pollfd){.fd = s->slots[i].pid ? s->slots[i].pidfd : -1, .events = POLLIN};
    s->fds[s->workers] = (struct pollfd){.fd = s->wake, .events = POLLIN};
    if (poll(s->fds, (nfds_t)s->workers + 1, timeout_ms(s)) < 0) return;
    if (s->fds[s->workers].revents) {
        uint64_t count;
        ssize_t n = read(s->wake, &count, sizeof count);
        (void)n;
    }
    for (int i = 0; i < s->workers; i++) {
        const slot *w = &s->slots[i];
        if (w->pid != 0 && (s->fds[i].revents || w->pidfd < 0)) bury(s, i);
    }
    if (atomic_load(&s->stopping) && s->killed < 0 && now_ns() >= s->stop_at) kill_all(s);
}

static int start_all(tine_spawn *s) {
    for (int i = 0; i < s->workers; i++) {
        int e = spawn_one(s, i);
        if (e) return e;
    }
    return 0;
}

static void *supervise(void *arg) {
    tine_spawn *s = arg;
    pthread_setname_np(pthread_self(), "tine-supervisor");
    int e = start_all(s);
    pthread_mutex_lock(&s->lock);
    s->started = true;
    s->start_error = e;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    while (!atomic_load(&s->stopping) || living(s) > 0) supervise_once(s);
    return NULL;
}

static int thread_start(tine_spawn *s) {
    sigset_t all, before;
    sigfillset(&all);
    /* the program's handlers are to run on its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&s->thread, NULL, supervise, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->running = e == 0;
    return e;
}

/* ---- the caller's side ---- */

static tine_error spawn_new(tine_spawn **out, const tine_spawn_config *config) {
    tine_spawn *s = calloc(1, sizeof *s);
    if (!s) return TINE_ENOMEM;
    *out = s;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->workers = config->workers;
    s->threads = config->threads ? config->threads : 1;
    s->max_deaths = config->max_deaths ? config->max_deaths : DEFAULT_DEATHS;
    s->death_ns =
        (int64_t)((config->death_seconds ? config->death_seconds : DEFAULT_DEATH_SECONDS) * 1e9);
    s->died = config->died;
    s->gone = config->gone;
    s->ctx = config->ctx;
    s->killed = -1; /* none was killed yet */
    s->wake = eventfd(0, EFD_CLOEXEC);
    s->program = strdup(config->program ? config->program : "/proc/self/exe");
    s->argv = tine_strings_copy(config->argv);
    s->environment = tine_spawn_environment(config, &s->n_environment);
    s->slots = calloc((size_t)s->workers, sizeof *s->slots);
    s->fds = calloc((size_t)s->workers + 1, sizeof *s->fds);
    if (!s->program || !s->argv || !s->slots || !s->fds || !s->environment) return TINE_ENOMEM;
    for (int i = 0; i < s->workers; i++) s->slots[i].pidfd = s->slots[i].lifeline = -1;
    if (s->wake < 0 || !token_make(s->token)) return TINE_EIO;
    placement_make(s);
    return TINE_OK;
}

static int await_start(tine_spawn *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->started) pthread_cond_wait(&s->changed, &s->lock);
    int e = s->start_error;
    pthread_mutex_unlock(&s->lock);
    return e;
}

tine_error tine_spawn_start(tine_spawn **out, const tine_spawn_config *config) {
    if (config->workers < 1 || config->workers > MAX_WORKERS)
        return tine_error_set(TINE_EINVAL, "cannot start %d workers: expected 1 to %d",
                              config->workers, MAX_WORKERS);
    tine_spawn *s = NULL;
    tine_error e = spawn_new(&s, config);
    int system_error = e == TINE_EIO ? errno : 0;
    if (!e) system_error = thread_start(s);
    if (!e && !system_error) system_error = await_start(s);
    if (!e && !system_error) {
        *out = s;
        return TINE_OK;
    }
    if (e == TINE_ENOMEM)
        tine_error_set(e, "no memory to start %d workers", config->workers);
    else
        e = tine_error_set(TINE_EIO, "cannot start %d workers of %s: %s", config->workers,
                           s->program, strerror(system_error));
    tine_spawn_free(s);
    return e;
}

pid_t tine_spawn_pid(tine_spawn *s, int i) {
    return i >= 0 && i < s->workers ? atomic_load(&s->slots[i].pid) : 0;
}

void tine_spawn_task_done(tine_spawn *s) {
    atomic_fetch_add_explicit(&s->done, 1, memory_order_relaxed);
}

void tine_spawn_retire(tine_spawn *s, double seconds) {
    if (seconds > 86400) seconds = 86400;
    atomic_store(&s->stop_at, now_ns() + (int64_t)(seconds * 1e9));
    atomic_store(&s->stopping, true);
    uint64_t one = 1;
    ssize_t n = write(s->wake, &one, sizeof one);
    TINE_ASSERT(n, ==, (ssize_t)sizeof one);
}

int tine_spawn_stop(tine_spawn *s, double seconds) {
    if (!s->running) return 0;
    if (!atomic_load(&s->stopping)) tine_spawn_retire(s, seconds);
    pthread_join(s->thread, NULL);
    s->running = false;
    return s->killed > 0 ? s->killed : 0;
}

void tine_spawn_free(tine_spawn *s) {
    if (!s) return;
    tine_spawn_stop(s, 0);
    if (s->wake >= 0) close(s->wake);
    tine_strings_free(s->environment);
    tine_strings_free(s->argv);
    free(s->program);
    free(s->slots);
    free(s->fds);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
