/* Settings: defaults, under the options struct, under TINE_… variables, under --tine-name=value on
 * the command line. One table drives parsing, `tine info` and what spawned workers inherit. A value
 * that cannot be right is refused by the name under which it was given, with what was expected. In
 * text: sizes are whole numbers with an optional K, M, G or T (1024s); workers 0 means none. */
#ifndef TINE_RUNTIME_SETTINGS_SETTINGS_H
#define TINE_RUNTIME_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/tine.h"

enum { TINE_SETTINGS_MAX = 16 };

typedef struct tine_settings {
    char *endpoint;    /* NULL: a private ipc path, or mpi:// under a launcher */
    int workers;       /* to start here; 0: none. Default: cores / threads, at least 1 */
    int await_workers; /* wait for so many at start; default: `workers` */
    int threads;
    size_t stack_size, max_pending, max_pending_bytes, max_frame;
    int retries;
    double connect_timeout, heartbeat; /* seconds */
    int log_level;                     /* TINE_LOG_… (log.h) */
    char *trace;                       /* NULL: none */
    /* Set by whoever started this process, not by a user: */
    char *worker; /* TINE_WORKER: this process is a worker of that endpoint. NULL: a coordinator */
    char *token;  /* TINE_TOKEN, or "" */
    const char *origin
        [TINE_SETTINGS_MAX]; /* per row of the table: "default", "program", "environment", "command line" */
} tine_settings;

/* Resolves everything and removes --tine-… arguments from argv (up to "--"). argc, argv, options
 * may be NULL. Leaves the log level alone: see tine_log_level_set. Errors: EINVAL with a sentence
 * ("TINE_WORKERS=abc: expected a whole number from 0 to 4096"), ENOMEM; `out` and argv are then as
 * before. */
tine_error tine_settings_resolve(tine_settings *out, const tine_options *options, int *argc,
                                 char **argv);
void tine_settings_fini(tine_settings *s); /* accepts a zeroed one */
/* Tells, at level info, of TINE_… variables that are none of ours. To be called after the log level
 * is set. */
void tine_settings_warn_unknown(void);

/* What `tine info` lists, and --help: one row a setting. */
typedef struct tine_setting_row {
    const char *name;     /* "stack-size": --tine-stack-size=… */
    const char *variable; /* "TINE_STACK_SIZE" */
    const char *help;     /* "bytes of a task's stack" */
    const char *origin;
    char value[256]; /* "256K" */
} tine_setting_row;
/* How many rows there are; the first `room` of them in out (may be NULL with room 0). */
size_t tine_settings_rows(const tine_settings *s, tine_setting_row *out, size_t room);

/* "TINE_STACK_SIZE=256K" … for a spawned worker: an array that ends with NULL, freed with
 * tine_settings_forward_free. NULL: no memory. */
char **tine_settings_forward(const tine_settings *s);
void tine_settings_forward_free(char **environment); /* accepts NULL */

/* Cores this process may use: its affinity, and the cgroup's CPU quota rounded up; at least 1. */
int tine_cores_available(void);

#endif
