/* The line of progress: on a terminal, with a rate and the time left, removed at the end; nowhere
 * else. */
#include <criterion/criterion.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/cli/report.h"
#include "tests/support/program.h"

#define ENSEMBLE "tine ensemble --workers 1 --models 1 --time 3 --batch 2 --channels 8 --repeat 2"
#define PREDICT                                                                                    \
    "tine predict tests/golden/models/tutorial.safetensors --input "                               \
    "tests/golden/models/tutorial_x.npy --workers 1 --batch-size 1 --repeat 3"

static char screen[1 << 20];

/* What is written until the process ends, into `screen`; its exit code. */
static int terminal_read(int master, pid_t pid) {
    int status;
    size_t n = 0;
    ssize_t got;
    while (n + 1 < sizeof screen && (got = read(master, screen + n, sizeof screen - 1 - n)) > 0)
        n += (size_t)got;
    screen[n] = 0;
    close(master);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Runs a command line whose standard error is a terminal of so many columns; its exit code. What it
 * has written is in `screen`. */
static int on_terminal(const char *line, unsigned short columns) {
    char command[1024];
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    int master;
    snprintf(command, sizeof command, "exec %s/%s", tine_program_build(), line);
    pid_t pid = forkpty(&master, NULL, NULL, &size);
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return terminal_read(master, pid);
}

static void expect_cleared(const char *first_of_result) {
    const char *result = strstr(screen, first_of_result), *line = strstr(screen, " left");
    cr_assert(result && line, "%s", screen);
    cr_expect_lt(line, result);
    cr_expect(result - screen >= 4 && !strncmp(result - 4, "\r\033[K", 4), "not cleared: %s",
              screen);
}

Test(progress, of_an_ensemble_has_a_rate_and_the_time_left, .timeout = 60) {
    cr_expect_eq(on_terminal(ENSEMBLE, 100), 0, "%s", screen);
    cr_expect(strstr(screen, "sequential: 0 of 15 runs"), "%s", screen);
    cr_expect(strstr(screen, "directions: 1 of 15 runs, "), "%s", screen);
    cr_expect(strstr(screen, " runs/s, "), "%s", screen);
    expect_cleared("1 models of 2 LSTMs");
}

Test(progress, of_a_prediction_has_a_rate_and_the_time_left, .timeout = 60) {
    cr_expect_eq(on_terminal(PREDICT, 100), 0, "%s", screen);
    cr_expect(strstr(screen, "\r\033[K0 of "), "%s", screen);
    cr_expect(strstr(screen, " slices/s, "), "%s", screen);
    expect_cleared("tests/golden/models/tutorial.safetensors: ensemble");
}

/* The result goes elsewhere: the line is on the terminal alone, and nothing remains of it. */
Test(progress, is_shown_where_standard_output_is_a_pipe, .timeout = 60) {
    cr_expect_eq(on_terminal(ENSEMBLE " --json | cat >/dev/null", 100), 0, "%s", screen);
    cr_expect(strstr(screen, " runs/s, "), "%s", screen);
    size_t n = strlen(screen);
    cr_expect(n >= 4 && !strcmp(screen + n - 4, "\r\033[K"), "%s", screen);
}

Test(progress, is_cut_to_the_terminals_width, .timeout = 60) {
    cr_expect_eq(on_terminal(ENSEMBLE, 20), 0, "%s", screen);
    cr_expect(strstr(screen, "\r\033[Ksequential: 0 of 15\r"), "%s", screen);
}

Test(progress, shows_a_large_rate_without_an_exponent, .timeout = 20) {
    int master;
    pid_t pid = forkpty(&master, NULL, NULL, &(struct winsize){.ws_row = 24, .ws_col = 100});
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        tine_steps s = {.unit = "runs", .total = 500000, .done = 400000};
        s.began = tine_seconds() - 4;
        tine_steps_show(&s, NULL);
        _exit(0);
    }
    cr_expect_eq(terminal_read(master, pid), 0);
    cr_expect(strstr(screen, "400000 of 500000 runs, ") && strstr(screen, " runs/s, "), "%s",
              screen);
    cr_expect(!strstr(screen, "e+"), "%s", screen);
}

Test(progress, is_never_in_a_pipe, .timeout = 60) {
    tine_program p = tine_program_run(50, "$B/" ENSEMBLE);
    cr_expect_eq(p.code, 0, "%s", p.error);
    cr_expect_str_eq(p.error, "");
    cr_expect(!strchr(p.out, '\r') && !strchr(p.out, '\033'), "%s", p.out);
    tine_program_fini(&p);
}
