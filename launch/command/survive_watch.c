/* See survive_watch.h. One thread, which sleeps until a supervisor's connection, a signal or a
 * deadline wakes it. */
#include "launch/command/survive_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/command/guard.h"
#include "launch/command/signals.h"
#include "launch/spawn/descendants.h"
#include "transport/base/clock.h"
#include "transport/base/text.h"
#include "transport/daemon.h"

enum {
    FIRST_WAIT_MS = 100, /* before a second start in a row; it doubles */
    LONGEST_WAIT_MS = 5000,
    SERVED_MS = 2000,    /* the end of one that has served so long is the first one in a row */
    GONE_MS = 500,       /* for a launcher to end after its supervisor, and after SIGTERM */
    LEAVE_MS = 1000,     /* for workers to end with the program, and launchers with supervisors */
    TERMINATE_MS = 5000, /* between SIGTERM and SIGKILL */
    SAME_MS = 200,       /* in which a second signal is the first one, sent to the group as well */
};

typedef struct watcher {
    tine_survive_host *hosts;
    int n;
    tine_presence *presence;
    pid_t program; /* 0: it has ended */
    int status;    /* its exit status */
    bool ended_by_signal;
    int64_t program_end; /* when it is killed; INT64_MAX: not yet asked to end */
    int64_t hosts_ns;    /* when the next step ends the launchers; INT64_MAX: none does */
    int step;
    int signals;
} watcher;

static int64_t after_ms(int64_t ms) { return tine_clock_ns() + ms * 1000000; }

/* ---- starting ---- */

static void child_execute(char *const *line) {
    execvp(line[0], line);
    dprintf(STDERR_FILENO, "tine run: %s: %s\n", line[0], strerror(errno));
    _exit(127);
}

/* It stays in this process's group, which is the terminal's, and does not outlive this process. */
static bool program_start(watcher *w, char *const *line, char *const *variables, char *mark) {
    pid_t parent = getpid();
    w->program = fork();
    if (w->program == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        for (; *variables; variables++) putenv(*variables);
        putenv(mark);
        child_execute(line);
    }
    if (w->program > 0) return true;
    fprintf(stderr, "tine run: cannot start %s: %s\n", line[0], strerror(errno));
    w->program = 0;
    return false;
}

/* In a group of its own, which Ctrl-C does not reach: the program decides. It ends with its
 * supervisor, which does not outlive this process. PR_SET_PDEATHSIG would send SIGTERM once for
 * each thread of this process, and at the second one mpirun leaves its files behind, as it does if
 * it is killed: it does not have the mark of an outer `tine run`. */
static void host_start(tine_survive_host *h) {
    h->retry_ns = h->end_ns = INT64_MAX;
    h->started_ns = tine_clock_ns();
    h->served = false;
    h->pid = fork();
    if (h->pid == 0) {
        int null = open("/dev/null", O_RDONLY);
        setpgid(0, 0);
        unsetenv(TINE_DESCENDANTS_MARK);
        if (null >= 0) dup2(null, STDIN_FILENO);
        if (null > STDIN_FILENO) close(null);
        child_execute(h->line);
    }
    if (h->pid > 0) {
        setpgid(h->pid, h->pid);
        return;
    }
    fprintf(stderr, "tine run: host %s: cannot start %s: %s\n", h->name, h->line[0],
            strerror(errno));
    h->pid = 0;
    h->retry_ns = after_ms(LONGEST_WAIT_MS);
}

/* ---- ends ---- */

/* An mpirun that was killed leaves the session directory of this host behind. */
static void host_clean(pid_t pid) {
    struct utsname host;
    const char *tmp = getenv("TMPDIR");
    if (uname(&host) != 0) return;
    char *dir = tine_text_format("%s/ompi.%.*s.%u/pid.%d", tmp && *tmp ? tmp : "/tmp",
                                 (int)strcspn(host.nodename, "."), host.nodename,
                                 (unsigned)geteuid(), (int)pid);
    tine_daemon_session_remove(pid, dir);
    free(dir);
}

static void host_ended(watcher *w, tine_survive_host *h, int status) {
    host_clean(h->pid);
    h->pid = 0;
    if (tine_presence_drop(w->presence, (int)(h - w->hosts))) h->served = true;
    if (!w->program || w->program_end != INT64_MAX) return;
    int64_t lived_ms = (tine_clock_ns() - h->started_ns) / 1000000;
    if (h->served && lived_ms >= SERVED_MS) h->failures = 0;
    unsigned doubled = h->failures++;
    int64_t ms = doubled == 0 ? 0 : (int64_t)FIRST_WAIT_MS << (doubled < 8 ? doubled - 1 : 7);
    if (ms > LONGEST_WAIT_MS) ms = LONGEST_WAIT_MS;
    h->retry_ns = after_ms(ms);
    if (h->failures & (h->failures - 1)) return; /* ever more rarely */
    fprintf(stderr,
            "tine run: host %s: %s %s %d; it is started again in %g s (failure %u in a row)\n",
            h->name, h->line[0], WIFSIGNALED(status) ? "was killed by signal" : "ended with status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (double)ms / 1e3,
            h->failures);
}

/* Its launcher usually ends soon, but srun does not if slurmstepd was killed. */
static void supervisor_lost(void *ctx, int i) {
    tine_survive_host *h = &((watcher *)ctx)->hosts[i];
    h->served = true;
    h->end_ns = after_ms(GONE_MS);
    h->end_signal = SIGTERM;
}

static void host_end(tine_survive_host *h) {
    if (h->pid) kill(h->end_signal == SIGKILL ? -h->pid : h->pid, h->end_signal);
    h->end_ns = h->end_signal == SIGKILL ? INT64_MAX : after_ms(GONE_MS);
    h->end_signal = SIGKILL;
}

static void program_ended(watcher *w, int status) {
    w->program = 0;
    w->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    bool asked = WIFSIGNALED(status) || w->program_end != INT64_MAX;
    w->ended_by_signal = asked;
    w->hosts_ns = after_ms(asked ? 0 : LEAVE_MS);
}

static void children_reap(watcher *w) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == w->program) program_ended(w, status);
        for (int i = 0; i < w->n; i++)
            if (w->hosts[i].pid == pid) host_ended(w, &w->hosts[i], status);
    }
}

/* The next step to end what is left: supervisors are told, launchers get SIGTERM, then SIGKILL. */
static void hosts_end(watcher *w) {
    static const int steps[] = {0, SIGTERM, SIGKILL};
    int sig = steps[w->step];
    for (int i = 0; i < w->n; i++) {
        pid_t pid = w->hosts[i].pid;
        if (!sig) tine_presence_drop(w->presence, i);
        if (sig && pid > 0) kill(sig == SIGKILL ? -pid : pid, sig);
    }
    w->hosts_ns = sig == SIGKILL ? INT64_MAX : after_ms(sig ? TERMINATE_MS : LEAVE_MS);
    w->step += sig != SIGKILL;
}

/* A terminal has sent the signal to the program as well. The second signal does not wait, but for
 * one that comes with the first: `timeout` sends to this process, then to its group. */
static void signal_take(watcher *w, const tine_signal *s) {
    if (s->number == SIGCHLD) return;
    bool again = w->program_end != INT64_MAX;
    if (again && w->program_end - tine_clock_ns() > (TERMINATE_MS - SAME_MS) * INT64_C(1000000))
        return;
    w->program_end = after_ms(again ? 0 : TERMINATE_MS);
    if (w->program && !s->by_kernel) kill(w->program, s->number);
    if (!w->program) w->hosts_ns = tine_clock_ns();
}

static void signals_read(watcher *w) {
    tine_signal s;
    while (tine_signals_next(w->signals, &s)) signal_take(w, &s);
}

/* ---- the loop ---- */

static bool watch_goes_on(const watcher *w) {
    for (int i = 0; i < w->n; i++)
        if (w->hosts[i].pid) return true;
    return w->program;
}

static int watch_timeout_ms(const watcher *w) {
    int64_t until = w->program ? w->program_end : w->hosts_ns, left;
    for (int i = 0; w->program_end == INT64_MAX && i < w->n; i++)
        if (w->program && w->hosts[i].retry_ns < until) until = w->hosts[i].retry_ns;
    if (until == INT64_MAX) return -1;
    left = until - tine_clock_ns();
    return left > 0 ? (int)(left / 1000000) + 1 : 0;
}

static void watch_turn(watcher *w) {
    int64_t now = tine_clock_ns();
    if (w->program && now >= w->program_end) {
        kill(w->program, SIGKILL);
        w->program_end = after_ms(TERMINATE_MS);
    }
    if (!w->program && now >= w->hosts_ns) hosts_end(w);
    for (int i = 0; i < w->n && w->program && w->program_end == INT64_MAX; i++) {
        if (now >= w->hosts[i].end_ns) host_end(&w->hosts[i]);
        if (now >= w->hosts[i].retry_ns) host_start(&w->hosts[i]);
    }
    tine_presence_turn(w->presence, supervisor_lost, w);
    tine_presence_wait(w->presence, watch_timeout_ms(w)); /* a signal interrupts it */
    signals_read(w);
    children_reap(w);
}

int tine_survive_watch(tine_survive_host *hosts, int n, tine_presence *presence,
                       char *const *program, char *const *variables) {
    static const int taken[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, 0};
    watcher w = {.hosts = hosts,
                 .n = n,
                 .presence = presence,
                 .status = 1,
                 .program_end = INT64_MAX,
                 .hosts_ns = INT64_MAX};
    tine_guard guard;
    bool guarded = tine_guard_start(&guard); /* before this process has handlers */
    if (guarded) w.signals = tine_signals_catch(taken);
    if (!guarded || w.signals < 0) {
        fprintf(stderr, "tine run: %s\n", strerror(errno));
    } else if (program_start(&w, program, variables, guard.variable)) {
        for (int i = 0; i < n; i++) host_start(&hosts[i]);
        while (watch_goes_on(&w)) watch_turn(&w);
    }
    if (guarded) tine_guard_end(&guard, w.ended_by_signal);
    return w.status;
}
