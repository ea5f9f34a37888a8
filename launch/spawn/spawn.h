/* Local workers: starts them, detects their death at once, replaces them, and leaves nothing
 * behind.
 *
 * A thread of the coordinator, the supervisor, starts N copies of this executable (posix_spawn: a
 * coordinator's memory is not copied) and watches them through pidfds. It installs no SIGCHLD
 * handler and waits only for its own children, so the program's other children are not affected.
 * Each worker holds one end of a socket pair, its lifeline. When the coordinator ends, for whatever
 * reason, the lifeline is closed and a watchdog thread in the worker ends the worker at once, even
 * in the middle of a computation (lifeline.h). The other way the lifeline carries what a worker
 * reports about the crash that ends it.
 *
 * A worker starts with standard input from /dev/null, standard output and error inherited, no other
 * descriptor but the lifeline, all signals at their defaults, SIGINT blocked until
 * tine_lifeline_start ignores it (Ctrl-C reaches the whole process group; the coordinator decides),
 * pinned to its own cores if workers x threads fit on the allowed cores, and these variables:
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

typedef struct tine_spawn tine_spawn;

typedef struct tine_spawn_config {
    const char *program;  /* NULL: /proc/self/exe */
    char *const *argv;    /* ends with NULL; argv[0] is what ps shows */
    const char *endpoint; /* for TINE_WORKER */
    /* "NAME=value" entries that override this process's environment (tine_settings_forward). Ends
     * with NULL; may be NULL. */
    char *const *environment;
    int workers; /* 1 to 4096 */
    int threads; /* cores that each worker needs, for placement; 0: 1 */
    /* A death is quick if it comes within death_seconds (0: 10) of the worker's start and no worker
     * has finished a task since that start. After max_deaths (0: 5) quick deaths in a row no worker
     * is started any more. */
    int max_deaths;
    double death_seconds;
    /* Both callbacks run on the supervisor's thread, which holds no lock; either may be NULL. No
     * call begins after tine_spawn_stop was called, but one may still be running then: do not hold
     * a lock that it takes. `reason` continues the sentence "worker …": "was killed by signal 9
     * (SIGKILL)", "exited with status 3", "died of stack overflow in task fib (stack of …)". `died`
     * is called before the replacement is started. `gone` is called once, after the last `died`,
     * when max_deaths is reached; live workers stay. */
    void (*died)(void *ctx, int slot, pid_t pid, const char *reason);
    void (*gone)(void *ctx, const char *reason);
    void *ctx;
} tine_spawn_config;

/* Starts the supervisor and the workers; returns when all are started (they have not joined yet).
 * The config's strings are copied. Errors: EIO (with a sentence: no such program, process limit …),
 * ENOMEM, EINVAL; nothing is left running then. */
tine_error tine_spawn_start(tine_spawn **out, const tine_spawn_config *config);
/* The slot (from 0) of the worker that was started with this token; -1: this supervisor started no
 * such worker. Any thread. */
int tine_spawn_slot(const tine_spawn *s, const char *token);
/* The pid of the worker in this slot now; 0: none. Any thread. */
pid_t tine_spawn_pid(tine_spawn *s, int slot);
/* A worker has finished a task: the count of quick deaths starts again. Any thread, cheap. */
void tine_spawn_task_done(tine_spawn *s);
/* The first half of tine_spawn_stop, which does not block: no worker is started from now on, and
 * those that have not exited after `seconds` are killed. */
void tine_spawn_retire(tine_spawn *s, double seconds);
/* Starts no more workers, waits at most `seconds` for all to exit, kills and reaps the rest, ends
 * the supervisor. Blocks. Returns how many were killed. Only tine_spawn_free may follow. Not from a
 * callback. */
int tine_spawn_stop(tine_spawn *s, double seconds);
/* Stops at once first, if necessary. Accepts NULL. */
void tine_spawn_free(tine_spawn *s);

#endif
