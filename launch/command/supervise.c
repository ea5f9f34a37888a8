/* `tine supervise -n N ENDPOINT [PROGRAM]`: keeps N workers running on this host. `tine run
 * --survive` has mpirun or srun start one on each host.
 *
 * Workers that die are replaced as those of a program are (launch/spawn/spawn.h); one that leaves,
 * at SIGTERM, is not. It ends with status 0 when the coordinator has ended its workers, when a
 * signal ends it, and when the launcher's daemon that has started it is gone; mpirun would abort
 * its job for any other status. Workers do not outlive it, whatever ends it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/command/presence.h"
#include "launch/command/signals.h"
#include "launch/spawn/spawn.h"
#include "transport/base/log.h"
#include "transport/daemon.h"

enum { MAX_WORKERS = 4096, MAX_THREADS = 4096 };

static int supervise_fail(const char *text) {
    fprintf(stderr, "tine supervise: %s\n", text);
    return 1;
}

typedef struct supervised {
    int ended; /* an eventfd */
    bool job;  /* `tine run` starts this supervisor again if it ends before the job does */
    bool left; /* the last worker has left */
} supervised;

static void supervised_died(void *ctx, int slot, pid_t pid, const char *reason,
                            const tine_run_log *log) {
    supervised *s = ctx;
    char host[256] = "?";
    s->left = !reason && atomic_load(&log->leaves);
    if (s->left) reason = "has left, as a signal has asked it to, and is not started again";
    if (!reason) return;
    gethostname(host, sizeof host - 1);
    tine_log(TINE_LOG_WARN, "worker %d on %s (pid %d) %s", slot, host, (int)pid, reason);
}

static void supervised_ended(void *ctx) {
    const supervised *s = ctx;
    if (!(s->left && s->job) && eventfd_write(s->ended, 1) != 0) abort();
}

/* Returns when the supervisor is to end. The daemon: 0: none has started this process. */
static void supervise_wait(int ended, int signals, pid_t daemon, tine_presence *presence) {
    struct pollfd fds[3] = {{.fd = ended, .events = POLLIN},
                            {.fd = signals, .events = POLLIN},
                            {.fd = daemon ? tine_daemon_open(daemon) : -1, .events = POLLIN}};
    /* A daemon that ended before it could be opened, and a kernel without pidfds. */
    bool look = daemon && fds[2].fd < 0, gone = false, dropped = false;
    while (!gone && !dropped && poll(fds, 3, presence->transport ? 0 : look ? 500 : -1) <= 0) {
        gone = look && kill(daemon, 0) != 0 && errno == ESRCH;
        if (!presence->transport) continue;
        dropped = !tine_presence_holds(presence);
        if (!dropped) tine_presence_wait(presence, -1);
    }
    if (dropped && !presence->up)
        fprintf(stderr, "tine supervise: `tine run` cannot be reached: %s\n", presence->reason);
    if (gone || fds[2].revents) tine_daemon_sessions_remove(daemon);
    if (fds[2].fd >= 0) close(fds[2].fd);
}

static int supervise_run(tine_spawn_config config, tine_presence *presence) {
    tine_spawn *spawn;
    char name[32];
    supervised s = {.ended = eventfd(0, EFD_CLOEXEC), .job = presence->transport};
    int signals = tine_signals_catch((int[]){SIGTERM, SIGINT, SIGHUP, 0}), code = 1;
    pid_t daemon = tine_daemon_find(name);
    if (*name) tine_daemon_sessions_sweep(daemon);
    config.ctx = &s;
    if (s.ended < 0 || signals < 0) {
        supervise_fail(strerror(errno));
    } else if (tine_spawn_start(&spawn, &config)) {
        supervise_fail(tine_error_message());
    } else {
        supervise_wait(s.ended, signals, *name ? daemon : 0, presence);
        tine_spawn_stop(spawn, 0);
        tine_spawn_free(spawn);
        code = 0;
    }
    tine_log_flush();
    if (s.ended >= 0) close(s.ended);
    return code;
}

/* Connects to the `tine run` that has started this supervisor: "tcp://HOST:PORT,NUMBER". */
static bool job_join(tine_presence *presence, const char *job) {
    char url[300], why[256] = "expected URL,NUMBER";
    const char *comma = strrchr(job, ',');
    snprintf(url, sizeof url, "%.*s", comma ? (int)(comma - job) : 0, job);
    if (comma && tine_presence_join(presence, url, atoi(comma + 1), why, sizeof why)) return true;
    fprintf(stderr, "tine supervise: --job %s: %s\n", job, why);
    return false;
}

int tine_command_supervise(int argc, char **argv) {
    long workers = 1, threads = 1;
    tine_presence presence = {0};
    const char *job = NULL;
    const char *key = NULL, *level = getenv("TINE_LOG_LEVEL");
    const tine_option options[] = {
        {"-n", "N", "workers (default: 1)", TINE_OPTION_NUMBER, &workers, 1, MAX_WORKERS},
        {"--threads", "T", "threads of each worker, which its cores are chosen for (default: 1)",
         TINE_OPTION_NUMBER, &threads, 1, MAX_THREADS},
        {"--key", "FILE", "the job's key (`tine key FILE`), where the coordinator needs one",
         TINE_OPTION_TEXT, &key, 0, 0},
        {"--job", "URL,NUMBER",
         "the `tine run --survive` that has started it, and its host there: "
         "it ends with that",
         TINE_OPTION_TEXT, &job, 0, 0},
        {0}};
    const tine_usage usage = {
        "supervise",
        "ENDPOINT [PROGRAM [ARGUMENT...]]",
        "Keeps N workers running on this host for the coordinator at ENDPOINT: copies of PROGRAM, "
        "or\nof `tine worker`. A worker that dies is started again, at once the first time, then "
        "after a\ngrowing wait; one that gets SIGTERM leaves, and is not. It ends when the "
        "coordinator has\nended its workers, and when the mpirun or srun that has started it is "
        "gone.\n`tine run --survive` starts one on each host.",
        options,
        1,
        TINE_OPERANDS_PROGRAM};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if (level && tine_log_level_parse(level) >= 0) tine_log_level_set(tine_log_level_parse(level));
    char count[32], *own[] = {"tine", NULL};
    snprintf(count, sizeof count, "%ld", threads);
    if ((key && setenv("TINE_KEY_FILE", key, 1)) ||
        (threads > 1 && setenv("TINE_THREADS", count, 1)))
        return supervise_fail(strerror(errno));
    tine_spawn_config config = {.program = argc > 2 ? argv[2] : NULL,
                                .argv = argc > 2 ? argv + 2 : own,
                                .endpoint = argv[1],
                                .workers = (int)workers,
                                .threads = (int)threads,
                                .died = supervised_died,
                                .ended = supervised_ended};
    code = job && !job_join(&presence, job) ? 1 : supervise_run(config, &presence);
    tine_presence_fini(&presence);
    return code;
}
