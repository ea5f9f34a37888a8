/* The end of a process, which need not be a child of the test. */
#ifndef TINE_TESTS_SUPPORT_PROCESS_H
#define TINE_TESTS_SUPPORT_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

int process_open(pid_t pid);          /* a pidfd; -1: there is none */
bool process_ends(int pidfd, int ms); /* within ms; a zombie has ended */

#endif
