/* Local workers: starting them, noticing their death at once, starting others in their place, and
 * leaving nothing behind.
 *
 * A thread of the coordinator, the supervisor, starts N copies of this executable (posix_spawn: a
 * coordinator's memory is not copied) and watches them through pidfds. It uses no SIGCHLD handler
 * and waits only for its own children, so a program's other children are none of its business. Each
 * worker holds one end of a socket pair, its lifeline: when the coordinator goes away, however, the
 * lifeline ends, and a watchdog thread in the worker ends the process at once, in the middle of a
 * computation too. A worker's last words come the other way.
 *
 * A worker is started with standard input from /dev/null, standard output and error inherited, no
 * other descriptor but the lifeline, all signals at their defaults, SIGINT blocked until
 * tine_lifeline_start ignores it (Ctrl-C goes to the whole group; the coordinator decides), pinned
 * to its own cores when workers x threads fit on the cores allowed, and these variables:
 *   TINE_WORKER=ENDPOINT
 *   TINE_TOKEN=32 HEX DIGITS.SLOT
 *   TINE_LIFELINE=DESCRIPTOR:COORDINATOR'S PID
 *   and those of the config's `environment`. */
#ifndef TINE_LAUNCH_SPAWN_SPAWN_H
#define TINE_LAUNCH_SPAWN_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "runtime/tine.h"

/* ---- in the coordinator ---- */

typedef struct tine_spawn tine_spawn;

typedef struct tine_spawn_config {
    const char *program;  /* NULL: /proc/self/exe */
    char *const *argv;    /* ends with NULL; argv[0] is what ps shows */
    const char *endpoint; /* for TINE_WORKER */
    /* "NAME=value" put over this process's environment (tine_settings_forward); ends with NULL; may
     * be NULL. */
    char *const *environment;
    int workers; /* 1 to 4096 */
    int threads; /* cores each needs, for placement; 0: 1 */
    /* A worker that dies within death_seconds (0: 10) of its start, while no worker has finished a
     * task since then, died quickly. After max_deaths (0: 5) quick deaths in a row no more are
     * started. */
    int max_deaths;
    double death_seconds;
    /* Called on the supervisor's thread, which holds no lock. None begins after tine_spawn_stop was
     * called, but one may be running then: hold no lock that it takes. `reason` reads after
     * "worker": "was killed by signal 9 (SIGKILL)", "exited with status 3", "died of stack overflow
     * in task fib (stack of …)". When `died` is called the replacement is not started yet. `gone`:
     * max_deaths reached, once, after the last `died`; those that live stay. Either may be NULL. */
    void (*died)(void *ctx, int slot, pid_t pid, const char *reason);
    void (*gone)(void *ctx, const char *reason);
    void *ctx;
} tine_spawn_config;

/* Starts the supervisor and the workers; returns when all are started (not joined). The config's
 * strings are copied. Errors: EIO (with a sentence: no such program, process limit …), ENOMEM,
 * EINVAL; nothing is left running then. */
tine_error tine_spawn_start(tine_spawn **out, const tine_spawn_config *config);
/* The slot (from 0) of the worker that was started with this token, or -1: it is not one of ours.
 * Any thread. */
int tine_spawn_slot(const tine_spawn *s, const char *token);
pid_t tine_spawn_pid(tine_spawn *s, int slot); /* of the one living there now, else 0. Any thread */
void tine_spawn_task_done(
    tine_spawn *s); /* some worker finished a task: deaths count anew. Any thread, cheap */
/* The first half of tine_spawn_stop, which does not block: from now on none is started anew, and
 * those that have not exited by themselves after `seconds` are killed. */
void tine_spawn_retire(tine_spawn *s, double seconds);
/* Starts none anew, waits at most `seconds` for all to exit by themselves, kills those that do not,
 * reaps all, ends the supervisor. Blocks. Returns how many had to be killed. After it only
 * tine_spawn_free may be called. Not from a callback. */
int tine_spawn_stop(tine_spawn *s, double seconds);
void tine_spawn_free(tine_spawn *s); /* stops at once first, if need be. Accepts NULL */

/* A private place for the endpoint: a 0700 directory of ours, in XDG_RUNTIME_DIR, TMPDIR or /tmp,
 * with a lock file in it that this process holds as long as it lives. */
typedef struct tine_private {
    int lock;      /* descriptor; 0: none */
    char dir[80];  /* "/tmp/tine-1000-4711-Xk2f9Q" (user, pid) */
    char url[108]; /* "ipc:///tmp/tine-1000-4711-Xk2f9Q/hub" */
} tine_private;
/* Also sweeps such directories of this user whose holder died. Errors: EIO with a sentence. */
tine_error tine_private_open(tine_private *p);
/* removes it with everything in it. Accepts a zeroed one */
void tine_private_close(tine_private *p);

/* ---- in a worker ---- */

/* To be called first in a process that finds TINE_WORKER set (after tine_settings_resolve, which
 * copies it). Ignores SIGINT and unblocks it, and removes TINE_WORKER, TINE_TOKEN and TINE_LIFELINE
 * from the environment, so that programs which a task starts are not taken for workers. Without
 * TINE_LIFELINE (a remote worker) that is all. Else it closes the lifeline on exec and starts the
 * watchdog thread, which at the coordinator's end removes the private directory that `endpoint`
 * lies in, if it is one and still there, and ends this process with status 1. *last_words is the
 * descriptor for tine_fiber_last_words (-1: none). Errors: EINVAL (TINE_LIFELINE makes no sense),
 * EIO. */
tine_error tine_lifeline_start(const char *endpoint, int *last_words);

#endif
