/* The supervisor of local workers. See spawn.h.
 *
 * One thread does everything to the workers: it starts them, polls their pidfds, reaps and replaces
 * them. Other threads only ask it to stop, through an eventfd. */
#include "launch/spawn/spawn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/spawn/internal.h"
#include "runtime/value/error.h"
#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "transport/base/thread.h"

enum { MAX_WORKERS = 4096 };
/* How long a worker that has not joined may take to end at shutdown. */
enum { UNJOINED_MS = 200 };
enum { FIRST_WAIT_MS = 10 }; /* after the second failure in a row */
/* Without pidfds (kernels before 5.3) the supervisor polls for deaths at this interval. */
enum { NO_PIDFD_POLL_MS = 100 };

/* ---- death ---- */

/* The report that the worker managed to send before it died: "died of …". */
static bool crash_report_read(int lifeline, char *reason, size_t room) {
    char words[256];
    ssize_t n = recv(lifeline, words, sizeof words - 1, MSG_DONTWAIT);
    if (n <= 0) return false;
    words[n] = 0;
    for (char *p = words; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' ';
    snprintf(reason, room, "died of %s", words);
    return true;
}

/* True when the worker is dead; then it is reaped and its pid is not in the slot any more. */
static bool spawn_slot_reap(tine_spawn_slot_state *w) {
    siginfo_t info = {0};
    int r = w->pidfd >= 0
                ? waitid((idtype_t)3 /* P_PIDFD */, (id_t)w->pidfd, &info, WEXITED | WNOHANG)
                : waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG);
    if (r != 0 && errno != ECHILD) return false;
    if (r == 0 && info.si_pid == 0) return false;
    w->status = r == 0 ? info.si_status : -1;
    w->killed = r == 0 && info.si_code != CLD_EXITED;
    w->killed_from_outside = w->killed && info.si_status == SIGKILL;
    w->dead = atomic_exchange(&w->pid, 0);
    return true;
}

static void death_describe(const tine_spawn_slot_state *w, char *reason, size_t room) {
    if (crash_report_read(w->lifeline, reason, room)) return;
    if (w->status < 0)
        snprintf(reason, room,
                 "ended; its exit status is unknown: another wait call of "
                 "this program collected it");
    else if (!w->killed)
        snprintf(reason, room, "exited with status %d", w->status);
    else
        snprintf(reason, room, "was killed by signal %d (SIG%s)", w->status,
                 sigabbrev_np(w->status) ? sigabbrev_np(w->status) : "?");
}

/* Whether a worker that the last attempt started has finished a task, which did not fail. */
static bool spawn_has_worked(const tine_spawn *s) {
    for (int i = 0; i < s->workers; i++) {
        const tine_run_log *log = s->slots[i].log;
        if (log && s->slots[i].attempt == s->attempts && atomic_load(&log->ended) > 0) return true;
    }
    return false;
}

/* When the empty slots are filled after a failure. `starts`: nothing says that a start fails. */
static int64_t spawn_wait_ms(const tine_spawn *s, bool starts) {
    int64_t most = starts ? TINE_SPAWN_DEATH_WAIT_MS : TINE_SPAWN_START_WAIT_MS;
    unsigned doubled = s->failures - 2;
    int64_t ms = s->failures < 2 ? 0 : doubled > 16 ? most : (int64_t)FIRST_WAIT_MS << doubled;
    return ms < most ? ms : most;
}

/* When the row of failures ends, so does the wait that it has caused. */
static void spawn_failures_forget(tine_spawn *s) {
    s->failures = 0;
    s->retry_at = INT64_MAX;
}

static void spawn_failed(tine_spawn *s, int i, bool starts, const char *reason) {
    if (s->retry_at != INT64_MAX) return; /* it is replaced together with others */
    s->failures++;
    int64_t ms = spawn_wait_ms(s, starts);
    s->retry_at = tine_clock_ns() + ms * 1000000;
    if (ms > 0)
        tine_log(TINE_LOG_WARN, "worker %d %s; it is started again in %g s (failure %u in a row)",
                 i, reason, (double)ms / 1e3, s->failures);
    if (s->failed) s->failed(s->ctx, s->failures, reason);
}

/* Fills the empty slots, until one fails. */
static void spawn_refill(tine_spawn *s) {
    char reason[256];
    int i = 0;
    s->retry_at = INT64_MAX;
    s->attempts++;
    if (s->ready && !s->ready(s->ctx, reason, sizeof reason)) {
        while (i < s->workers - 1 && s->slots[i].pid != 0) i++;
        spawn_failed(s, i, false, reason);
        return;
    }
    for (; i < s->workers && !atomic_load(&s->stopping); i++) {
        bool empty = s->slots[i].pid == 0 && !atomic_load(&s->slots[i].retired);
        int e = empty ? tine_spawn_worker_start(s, i) : 0;
        if (!e) continue;
        snprintf(reason, sizeof reason, "could not be started: %s (errno %d)", strerror(e), e);
        spawn_failed(s, i, false, reason);
        return;
    }
}

static void spawn_slot_clear(tine_spawn_slot_state *w) {
    if (w->pidfd >= 0) close(w->pidfd);
    if (w->lifeline >= 0) close(w->lifeline);
    if (w->log) munmap(w->log, sizeof *w->log);
    w->pidfd = w->lifeline = -1;
    w->log = NULL;
}

/* A coordinator that is another process has ended this worker, or it has left: its slot stays
 * empty. */
static bool spawn_slot_dismissed(const tine_spawn *s, tine_spawn_slot_state *w) {
    if (!s->ended || w->killed) return false;
    if (!atomic_load(&w->log->dismissed) && !atomic_load(&w->log->leaves)) return false;
    atomic_store(&w->retired, true);
    return true;
}

static int spawn_live_count(const tine_spawn *s) {
    int n = 0;
    for (int i = 0; i < s->workers; i++) n += s->slots[i].pid != 0;
    return n;
}

/* True: its slot stays empty, because the coordinator has ended it, or it has left. */
static bool spawn_slot_ended(tine_spawn *s, int i) {
    tine_spawn_slot_state *w = &s->slots[i];
    char reason[384];
    death_describe(w, reason, sizeof reason);
    pid_t pid = w->dead;
    w->dead = 0;
    tine_log(TINE_LOG_DEBUG, "worker %d (pid %d) %s", i, (int)pid, reason);
    bool dismissed = spawn_slot_dismissed(s, w);
    if (atomic_exchange(&w->ending, 0) == pid || dismissed) {
        if (s->died) s->died(s->ctx, i, pid, NULL, w->log);
        if (!atomic_load(&w->retired)) s->retry_at = tine_clock_ns();
    } else if (!atomic_load(&s->stopping)) {
        atomic_store(&w->retired, false);
        if (s->died) s->died(s->ctx, i, pid, reason, w->log);
        if (atomic_load(&w->log->ended) > 0 || spawn_has_worked(s)) spawn_failures_forget(s);
        spawn_failed(s, i, w->killed_from_outside || atomic_load(&w->log->joined), reason);
    }
    spawn_slot_clear(w);
    return dismissed;
}

/* One search finds what all of those have started that died at the same time. */
static void spawn_reap_all(tine_spawn *s) {
    int n = 0;
    for (int i = 0; i < s->workers; i++) {
        tine_spawn_slot_state *w = &s->slots[i];
        if (w->pid == 0 || (!s->fds[i].revents && w->pidfd >= 0) || !spawn_slot_reap(w)) continue;
        if (w->killed) s->marks[n++] = w->mark;
    }
    tine_descendants_kill(s->marks, n);
    bool dismissed = false;
    for (int i = 0; i < s->workers; i++)
        if (s->slots[i].dead) dismissed |= spawn_slot_ended(s, i);
    if (dismissed && spawn_live_count(s) == 0) s->ended(s->ctx);
}

/* ---- the supervisor ---- */

static int spawn_poll_timeout_ms(const tine_spawn *s) {
    bool stopping = atomic_load(&s->stopping);
    int limit = s->no_pidfd ? NO_PIDFD_POLL_MS : -1;
    int64_t until = !stopping ? s->retry_at : s->killed < 0 ? s->stop_at : INT64_MAX;
    if (stopping && s->unjoined_at < until) until = s->unjoined_at;
    if (until == INT64_MAX) return limit;
    int64_t left = until - tine_clock_ns();
    int ms = left <= 0                        ? 0
             : left > INT64_C(86400000000000) ? 86400000
                                              : (int)((left + 999999) / 1000000);
    return limit >= 0 && limit < ms ? limit : ms;
}

static void spawn_kill_all(tine_spawn *s) {
    s->killed = 0;
    for (int i = 0; i < s->workers; i++) {
        tine_spawn_slot_state *w = &s->slots[i];
        /* It is not reaped yet, so its pid is not reused. */
        if (w->pid != 0 && kill(w->pid, SIGKILL) == 0) s->killed++;
    }
}

static bool spawn_slot_unjoined(const tine_spawn_slot_state *w) {
    return w->pid != 0 && !atomic_load(&w->log->joined);
}

/* A worker that has not joined receives no STOP. It ends at its lifeline's end or, if it has not
 * reached tine_init soon, by a signal. */
static void spawn_retire(tine_spawn *s) {
    s->unjoined_at = tine_clock_ns() + UNJOINED_MS * INT64_C(1000000);
    for (int i = 0; i < s->workers; i++)
        if (spawn_slot_unjoined(&s->slots[i])) shutdown(s->slots[i].lifeline, SHUT_WR);
}

static void spawn_kill_unjoined(tine_spawn *s) {
    s->unjoined_at = INT64_MAX;
    for (int i = 0; i < s->workers; i++)
        if (spawn_slot_unjoined(&s->slots[i])) kill(s->slots[i].pid, SIGKILL);
}

static void spawn_slot_end_task(tine_spawn_slot_state *w) {
    uint64_t task = atomic_exchange(&w->end_task, 0);
    if (task && w->pid && w->log && atomic_load(&w->log->running) == task) kill(w->pid, SIGKILL);
}

static void spawn_poll_once(tine_spawn *s) {
    if (atomic_load(&s->stopping) && s->unjoined_at == 0) spawn_retire(s);
    for (int i = 0; i < s->workers; i++)
        s->fds[i] =
            (struct pollfd){.fd = s->slots[i].pid ? s->slots[i].pidfd : -1, .events = POLLIN};
    s->fds[s->workers] = (struct pollfd){.fd = s->wake_fd, .events = POLLIN};
    if (poll(s->fds, (nfds_t)s->workers + 1, spawn_poll_timeout_ms(s)) < 0) return;
    if (s->fds[s->workers].revents) {
        uint64_t count;
        ssize_t n = read(s->wake_fd, &count, sizeof count);
        (void)n;
        for (int i = 0; i < s->workers; i++) spawn_slot_end_task(&s->slots[i]);
    }
    spawn_reap_all(s);
    bool stopping = atomic_load(&s->stopping);
    if (!stopping && s->retry_at != INT64_MAX && tine_clock_ns() >= s->retry_at) spawn_refill(s);
    if (stopping && s->unjoined_at != 0 && tine_clock_ns() >= s->unjoined_at)
        spawn_kill_unjoined(s);
    if (stopping && s->killed < 0 && tine_clock_ns() >= s->stop_at) spawn_kill_all(s);
}

static int spawn_start_all(tine_spawn *s) {
    for (int i = 0; i < s->workers; i++) {
        int e = tine_spawn_worker_start(s, i);
        if (e) return e;
    }
    return 0;
}

static void *supervisor_main(void *arg) {
    tine_spawn *s = arg;
    int e = spawn_start_all(s);
    pthread_mutex_lock(&s->lock);
    s->started = true;
    s->start_error = e;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    while (!atomic_load(&s->stopping) || spawn_live_count(s) > 0) spawn_poll_once(s);
    return NULL;
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
    s->retry_at = INT64_MAX;
    s->died = config->died;
    s->failed = config->failed;
    s->ready = config->ready;
    s->ended = config->ended;
    s->ctx = config->ctx;
    s->killed = -1; /* the workers are not killed yet */
    s->wake_fd = eventfd(0, EFD_CLOEXEC);
    s->program = strdup(config->program ? config->program : "/proc/self/exe");
    s->argv = tine_strings_copy(config->argv);
    s->environment = tine_spawn_environment(config, &s->n_environment);
    s->slots = calloc((size_t)s->workers, sizeof *s->slots);
    s->fds = calloc((size_t)s->workers + 1, sizeof *s->fds);
    s->marks = calloc((size_t)s->workers, sizeof *s->marks);
    if (!s->program || !s->argv || !s->slots || !s->fds || !s->marks || !s->environment)
        return TINE_ENOMEM;
    for (int i = 0; i < s->workers; i++) s->slots[i].pidfd = s->slots[i].lifeline = -1;
    if (s->wake_fd < 0 || !tine_spawn_token_make(s->token)) return TINE_EIO;
    tine_spawn_placement_make(s);
    return TINE_OK;
}

static int spawn_await_start(tine_spawn *s) {
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
    if (!e) system_error = tine_thread_start(&s->thread, "tine-supervisor", supervisor_main, s);
    if (s) s->running = !e && !system_error;
    if (!e && !system_error) system_error = spawn_await_start(s);
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
    if (i < 0 || i >= s->workers) return 0;
    pthread_mutex_lock(&s->lock);
    pid_t pid = atomic_load(&s->slots[i].pid);
    pthread_mutex_unlock(&s->lock);
    return pid;
}

static void spawn_wake(tine_spawn *s) {
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof one);
    TINE_ASSERT(n, ==, (ssize_t)sizeof one);
}

void tine_spawn_end_task(tine_spawn *s, int i, uint64_t task) {
    if (i < 0 || i >= s->workers) return;
    atomic_store(&s->slots[i].end_task, task);
    spawn_wake(s);
}

void tine_spawn_end(tine_spawn *s, int i, pid_t pid, bool replace, bool now) {
    if (i < 0 || i >= s->workers || pid <= 0 || tine_spawn_pid(s, i) != pid) return;
    atomic_store(&s->slots[i].retired, !replace);
    atomic_store(&s->slots[i].ending, pid);
    if (now) kill(pid, SIGKILL);
}

void tine_spawn_retire(tine_spawn *s, double seconds) {
    if (seconds > 86400) seconds = 86400;
    atomic_store(&s->stop_at, tine_clock_ns() + (int64_t)(seconds * 1e9));
    atomic_store(&s->stopping, true);
    spawn_wake(s);
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
    if (s->wake_fd >= 0) close(s->wake_fd);
    for (int i = 0; s->slots && i < s->workers; i++) spawn_slot_clear(&s->slots[i]);
    tine_strings_free(s->environment);
    tine_strings_free(s->argv);
    free(s->program);
    tine_topology_fini(&s->topology);
    free(s->slots);
    free(s->fds);
    free(s->marks);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
