/* Which workers a benchmark measures: those that its user has chosen, or local ones over each
 * transport in turn. */
#ifndef TINE_LAUNCH_BENCH_POOL_H
#define TINE_LAUNCH_BENCH_POOL_H

#include <stdbool.h>

#include "runtime/tine.h"

typedef struct tine_pool_choice {
    bool chosen;        /* an endpoint is set, or a launcher has started the ranks of a job */
    bool lane;          /* the setting */
    size_t arena;       /* the setting, in bytes */
    bool plain;         /* neither an endpoint nor a lane is set */
    const char *scheme; /* of the chosen one, "mpi" */
    const char *any;    /* its URL for any address; NULL: none, or not chosen */
} tine_pool_choice;

/* From the settings in argv and the environment, and from the launcher. EINVAL: a setting is wrong;
 * tine_error_message() has the sentence. */
tine_error tine_pool_choose(int argc, char **argv, tine_pool_choice *out);

/* tine_init with a copy of argv, so that it can be called again. */
tine_error tine_pool_open(int argc, char **argv, const tine_options *options);

#endif
