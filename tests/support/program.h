/* Runs a program of the build as a user would and keeps what it prints. */
#ifndef TINE_TESTS_SUPPORT_PROGRAM_H
#define TINE_TESTS_SUPPORT_PROGRAM_H

#include <stddef.h>

typedef struct tine_program {
    /* exit code, or 128 + signal; 124: it ran past `seconds` and was killed with its children */
    int code;
    char *out;   /* standard output */
    char *error; /* standard error */
} tine_program;

/* The build's directory: TINE_BUILD, which tests/run sets, or "build". */
const char *tine_program_build(void);
/* Runs `line` in a shell, in which $B is the build's directory. Fails the test if the shell
 * cannot be started. */
tine_program tine_program_run(int seconds, const char *line, ...)
    __attribute__((format(printf, 2, 3)));
void tine_program_fini(tine_program *p);

#endif
