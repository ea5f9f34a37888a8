/* The file that a trace is written to. */
#ifndef TINE_RUNTIME_TRACE_FILE_H
#define TINE_RUNTIME_TRACE_FILE_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct tine_trace_file {
    FILE *stream;
    char *temporary; /* NULL: written in place */
    sigset_t before; /* the thread's signal mask */
    bool was_pending;
} tine_trace_file;

/* Opens `path` for a trace. False with errno. The thread blocks SIGPIPE until close. */
bool tine_trace_file_open(tine_trace_file *f, const char *path);
/* Completes the file at `path`. False with errno: what was written is not all there; a file that
 * stood at `path` before is unchanged, unless it was written in place. */
bool tine_trace_file_close(tine_trace_file *f, const char *path);

#endif
