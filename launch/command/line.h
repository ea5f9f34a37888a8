/* A command line that is composed, printed as a shell would read it, and executed. */
#ifndef TINE_LAUNCH_COMMAND_LINE_H
#define TINE_LAUNCH_COMMAND_LINE_H

#include <stdbool.h>
#include <stdio.h>

#include "launch/cli/arguments.h"
#include "launch/command/hosts.h"

typedef struct tine_line {
    char **words; /* ends with NULL */
    size_t n, room;
    bool failed; /* no memory: words are missing */
} tine_line;

void tine_line_add(tine_line *l, const char *word);
void tine_line_add_format(tine_line *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void tine_line_add_all(tine_line *l, char *const *words);
/* mpirun's options: who logs in to the hosts, keepalive between daemons (without it mpirun would
 * never notice that the network of a host has died), parameters that the user gave. */
void tine_line_add_network(tine_line *l, const tine_hosts *hosts, bool keepalive,
                           const tine_option_pairs *mca);
/* mpirun's options that pass on all of TINE_…: other hosts do not inherit the environment. */
void tine_line_add_environment(tine_line *l);
void tine_line_print(const tine_line *l, FILE *to);
void tine_line_fini(tine_line *l);

/* The processes of a job at an endpoint that other hosts can reach share a key: sets TINE_KEY where
 * none is given. */
void tine_line_key_provide(const char *endpoint);

#endif
