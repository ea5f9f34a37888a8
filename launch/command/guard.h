/* Ends what a program has started when `tine run` is killed. The program itself ends with `tine
 * run` (PR_SET_PDEATHSIG), but where it is a script, its children do not. They have a mark in their
 * environment, and a process that waits for the end of `tine run` kills what has it. Where a `tine
 * run` runs within another, they have the marks of both: the inner one's process is killed by the
 * outer one's. */
#ifndef TINE_LAUNCH_COMMAND_GUARD_H
#define TINE_LAUNCH_COMMAND_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct tine_guard {
    char mark[64];
    char *variable; /* "NAME=VALUE", for the environment of the program */
    pid_t pid;
    int fd; /* whose end the process waits for */
} tine_guard;

/* Starts the process, which has none of this one's files. False: errno says why. */
bool tine_guard_start(tine_guard *g);
/* Ends the process. `kill`: what has the mark is killed first. */
void tine_guard_end(tine_guard *g, bool kill_marked);

#endif
