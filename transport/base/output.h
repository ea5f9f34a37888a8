/* A file that is complete, or as it was before: what a trace and tensors are written to. */
#ifndef TINE_TRANSPORT_BASE_OUTPUT_H
#define TINE_TRANSPORT_BASE_OUTPUT_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct tine_output {
    FILE *stream;
    char *temporary; /* NULL: written in place */
    sigset_t before; /* the thread's signal mask */
    bool was_pending;
} tine_output;

/* Opens `path` for writing. False with errno. The thread blocks SIGPIPE until close. */
bool tine_output_open(tine_output *f, const char *path);
/* Completes the file at `path`. False with errno: what was written is not all there; a file that
 * stood at `path` before is unchanged, unless it was written in place. */
bool tine_output_close(tine_output *f, const char *path);

#endif
