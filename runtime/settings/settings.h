/* Settings. Defaults are overridden by tine_options, those by TINE_… variables, and those by
 * --tine-NAME=VALUE on the command line. One table drives parsing, `tine info` and what spawned
 * workers inherit. An invalid value is refused with the name under which it was given and what was
 * expected. In text a size is a whole number with an optional K, M, G or T (powers of 1024). */
#ifndef TINE_RUNTIME_SETTINGS_SETTINGS_H
#define TINE_RUNTIME_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/tine.h"

enum { TINE_SETTINGS_MAX = 32 };

typedef struct tine_settings {
    char *endpoint;    /* NULL: a private ipc path, or mpi:// under a launcher */
    int workers;       /* to start here; 0: none. Default: cores / threads, at least 1 */
    int await_workers; /* workers that tine_init waits for; default: `workers` */
    int threads;
    size_t stack_size, max_pending, max_pending_bytes, max_frame;
    size_t max_memory; /* of a worker; 0: none */
    int retries;
    double connect_timeout, heartbeat; /* seconds */
    double grace;                      /* of tasks at a worker that leaves; seconds */
    int rejoin;                        /* after the loss of the coordinator: 1 or 0 */
    int lane;                          /* shared memory with workers on this host: 1 or 0 */
    size_t arena;                      /* bytes of tensors in it; 0: none; default: half of all */
    size_t stay_bytes;                 /* larger results stay at remote workers */
    char *security, *key_file;         /* NULL: auto; none */
    char *labels;                      /* of this process as a worker, "big,left"; NULL: none */
    char *slots;                       /* resources that it offers, "gpu=2,disk=1"; NULL: none */
    int log_level;                     /* TINE_LOG_… (log.h) */
    char *trace;                       /* NULL: none */
    size_t trace_events;               /* that a process keeps */
    char *metrics;                     /* NULL: none are served */
    double trace_seconds;              /* before the end that are written; 0: all */
    /* Set by the process that starts a worker, not by users. */
    char *worker; /* TINE_WORKER: the endpoint that this worker joins. NULL: not a worker */
    char *token;  /* TINE_TOKEN, or "" */
    char *key;    /* TINE_KEY; NULL: none */
    /* Per row of the table: "default", "program", "environment", "command line". */
    const char *origin[TINE_SETTINGS_MAX];
} tine_settings;

/* Resolves all settings and removes --tine-… arguments from argv (up to "--"). argc, argv, options
 * may be NULL. Does not set the log level: see tine_log_level_set. Errors: EINVAL with a sentence
 * ("TINE_WORKERS=abc: expected a whole number from 0 to 4096"), ENOMEM; `out` and argv are then
 * unchanged. */
tine_error tine_settings_resolve(tine_settings *out, const tine_options *options, int *argc,
                                 char **argv);
void tine_settings_fini(tine_settings *s); /* accepts a zeroed one */
/* Logs TINE_… variables that are not settings, each with the nearest setting: at level warn where
 * the name looks misspelt, else at level info. Call it after the log level is set. */
void tine_settings_warn_unknown(void);

/* What `tine info` lists: one row per setting. */
typedef struct tine_setting_row {
    const char *name;     /* "stack-size": --tine-stack-size=… */
    const char *variable; /* "TINE_STACK_SIZE" */
    const char *help;     /* "bytes of a task's stack" */
    const char *origin;
    char value[256]; /* "256K" */
} tine_setting_row;
/* Fills in at most `room` rows (out may be NULL with room 0); returns how many there are. */
size_t tine_settings_rows(const tine_settings *s, tine_setting_row *out, size_t room);

/* "TINE_STACK_SIZE=256K" … for a spawned worker: an array that ends with NULL, freed with
 * tine_settings_forward_free. NULL: no memory. */
char **tine_settings_forward(const tine_settings *s);
void tine_settings_forward_free(char **environment); /* accepts NULL */

#endif
