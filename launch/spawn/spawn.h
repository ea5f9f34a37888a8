/* Local workers: starts them, detects their death at once, replaces them, and leaves nothing
 * behind.
 *
 * A worker is always replaced. Each failure (a death before the worker has finished a task, or a
 * start that fails) doubles the wait before the next attempt, up to TINE_SPAWN_START_WAIT_MS; the
 * first one is replaced at once. Where the worker had joined, or SIGKILL ended it, the next start
 * is likely to succeed: the wait is TINE_SPAWN_DEATH_WAIT_MS at most, so that a program whose
 * workers are killed again and again goes on between the kills. The failures are counted from zero
 * again when a worker that was started after the last one has finished a task. A failure while
 * other slots wait for the next attempt belongs to the same attempt, so that each step of the wait
 * is one line in the log.
 *
 * A thread of the coordinator, the supervisor, starts N copies of this executable (posix_spawn: a
 * coordinator's memory is not copied) and watches them through pidfds. It installs no SIGCHLD
 * handler and waits only for its own children, so the program's other children are not affected.
 * Each worker holds one end of a socket pair, its lifeline. When the coordinator ends, for whatever
 * reason, the lifeline is closed and a watchdog thread in the worker ends the worker at once, even
 * in the middle of a computation (lifeline.h). The other way the lifeline carries what a worker
 * reports about the crash that ends it.
 *
 * A worker starts in the directory in which the program was started, with standard input from
 * /dev/null, standard output and error inherited, no other descriptors but the lifeline and its run
 * log (transport/base/run_log.h), the program's ignored signals ignored, all others at their
 * defaults, SIGINT blocked until tine_lifeline_start ignores it (Ctrl-C reaches the whole process
 * group; the coordinator decides), pinned to its own cores if workers x threads fit on the allowed
 * cores, and these variables:
 *   TINE_WORKER=ENDPOINT
 *   TINE_TOKEN=32 HEX DIGITS.SLOT, if this process is its coordinator
 *   TINE_LIFELINE=DESCRIPTOR:COORDINATOR'S PID:DESCRIPTOR OF THE RUN LOG
 *   TINE_STARTED_BY=MARK, which stays: when the worker is killed, or its coordinator ends, what its
 *   tasks have started is found by it and killed
 *   and those of the config's `environment`. */
#ifndef TINE_LAUNCH_SPAWN_SPAWN_H
#define TINE_LAUNCH_SPAWN_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "runtime/tine.h"
#include "transport/base/run_log.h"

typedef struct tine_spawn tine_spawn;

enum { TINE_SPAWN_DEATH_WAIT_MS = 250, TINE_SPAWN_START_WAIT_MS = 5000 };

typedef struct tine_spawn_config {
    const char *program;  /* NULL: /proc/self/exe */
    char *const *argv;    /* ends with NULL; argv[0] is what ps shows */
    const char *endpoint; /* for TINE_WORKER */
    /* "NAME=value" entries that override this process's environment (tine_settings_forward). Ends
     * with NULL; may be NULL. */
    char *const *environment;
    int workers; /* 1 to 4096 */
    int threads; /* cores that each worker needs, for placement; 0: 1 */
    /* The callbacks run on the supervisor's thread, which holds no lock; each may be NULL. No
     * call begins after tine_spawn_stop was called, but one may still be running then: do not hold
     * a lock that it takes. `reason` continues the sentence "worker …": "was killed by signal 9
     * (SIGKILL)", "exited with status 3", "died of stack overflow in task fib (stack of …)", "could
     * not be started: Too many open files (errno 24)". */
    /* A worker has died, and has not been replaced yet. `reason` NULL: it was to end
     * (tine_spawn_end, `ended`). `log` is valid during the call; NULL: it has none. */
    void (*died)(void *ctx, int slot, pid_t pid, const char *reason, const tine_run_log *log);
    /* So many attempts in a row have failed; the last one's worker `reason`. */
    void (*failed)(void *ctx, unsigned failures, const char *reason);
    /* Called before a worker is replaced: whether it can connect. False, with a reason: it is not
     * started now, which counts as a failure. */
    bool (*ready)(void *ctx, char *reason, size_t room);
    /* Set where the coordinator is another process: a worker that it has ended, or that a signal
     * has asked to leave, is not replaced. Called when none is left. */
    void (*ended)(void *ctx);
    void *ctx;
} tine_spawn_config;

/* Starts the supervisor and the workers; returns when all are started (they have not joined yet).
 * The config's strings are copied. Errors: EIO (with a sentence: no such program, process limit …),
 * ENOMEM, EINVAL; nothing is left running then. */
tine_error tine_spawn_start(tine_spawn **out, const tine_spawn_config *config);
/* The slot (from 0) of the worker that was started with this token; -1: this supervisor started no
 * such worker. Any thread. */
int tine_spawn_slot(const tine_spawn *s, const char *token);
/* The pid of the worker in this slot now; 0: none. Waits while one is being started, which it
 * cannot have joined before. Any thread. */
pid_t tine_spawn_pid(tine_spawn *s, int slot);
/* Kills the worker in this slot if it runs just this task when the supervisor looks, soon. Any
 * thread; does not block. */
void tine_spawn_end_task(tine_spawn *s, int slot, uint64_t task);
/* The worker in this slot, which has this pid, is to end: is killed now, or ends by itself later.
 * Its end is no failure; another one is started in its place, or none. Any thread; does
 * not block. */
void tine_spawn_end(tine_spawn *s, int slot, pid_t pid, bool replace, bool now);
/* The first half of tine_spawn_stop, which does not block: no worker is started from now on, those
 * that have not joined end soon, and those that have not exited after `seconds` are killed. */
void tine_spawn_retire(tine_spawn *s, double seconds);
/* Starts no more workers, waits at most `seconds` for all to exit, kills and reaps the rest, ends
 * the supervisor. Blocks. Returns how many were killed. Only tine_spawn_free may follow. Not from a
 * callback. */
int tine_spawn_stop(tine_spawn *s, double seconds);
/* Stops at once first, if necessary. Accepts NULL. */
void tine_spawn_free(tine_spawn *s);

#endif
