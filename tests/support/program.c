/* See program.h. Output goes through files: a program that fills a pipe would block. */
#include "tests/support/program.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/clock.h"

const char *tine_program_build(void) {
    const char *b = getenv("TINE_BUILD");
    return b ? b : "build";
}

static char *content(FILE *f) {
    long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    cr_assert_geq(size, 0);
    rewind(f);
    char *text = calloc(1, (size_t)size + 1);
    cr_assert(text && fread(text, 1, (size_t)size, f) == (size_t)size);
    return text;
}

tine_program tine_program_run(int seconds, const char *line, ...) {
    char command[4096], limit[16];
    va_list ap;
    va_start(ap, line);
    cr_assert_lt(vsnprintf(command, sizeof command, line, ap), (int)sizeof command);
    va_end(ap);
    snprintf(limit, sizeof limit, "%d", seconds);
    int64_t started = tine_clock_ns();
    FILE *out = tmpfile(), *error = tmpfile();
    cr_assert(out && error);
    fflush(NULL);
    setenv("B", tine_program_build(), 1);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) { /* allocates nothing: a sanitizer's lock may have stayed locked here */
        if (dup2(nothing, STDIN_FILENO) < 0) _exit(126);
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(error), STDERR_FILENO);
        execlp("timeout", "timeout", "-k", "1", limit, "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(nothing);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    tine_program p = {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                      content(out), content(error)};
    fclose(out);
    fclose(error);
    /* it did not end when it was told to, and `timeout` has killed it */
    bool late = tine_clock_ns() - started >= (int64_t)seconds * TINE_NS_PER_SECOND;
    if (p.code == 128 + SIGKILL && late) p.code = 124;
    return p;
}

void tine_program_fini(tine_program *p) {
    free(p->out);
    free(p->error);
    *p = (tine_program){0};
}
