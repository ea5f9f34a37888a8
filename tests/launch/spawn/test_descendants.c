/* The search for what killed workers have started. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/spawn/descendants.h"

TestSuite(descendants, .timeout = 60);

enum { PROCESSES = 4 };

/* Ends with 0 when `input` does. */
static pid_t cat_start(int input, char *mark) {
    static char *const argv[] = {"cat", NULL};
    char *environment[] = {mark, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    cr_assert_eq(posix_spawn(&pid, "/bin/cat", &actions, NULL, argv, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

Test(descendants, one_search_finds_those_of_several_workers_and_no_others) {
    static const bool wanted[PROCESSES] = {true, false, true, false};
    char marks[PROCESSES][64];
    pid_t pids[PROCESSES];
    int ends[2], status;
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < PROCESSES; i++) {
        snprintf(marks[i], sizeof marks[i], "%d.%d", (int)getpid(), 9 - i);
        char *variable = tine_descendants_variable(i == 2 ? "outer" : NULL, marks[i]);
        if (i == 3) strcpy(variable, "OTHER=7");
        pids[i] = cat_start(ends[0], variable);
        free(variable);
    }
    const char *of[] = {marks[0], "", marks[2], marks[3]};
    tine_descendants_kill(of, 0);
    tine_descendants_kill(of, 4);
    close(ends[1]);
    close(ends[0]);
    for (int i = 0; i < PROCESSES; i++) {
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        if (wanted[i])
            cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%d: %x", i, status);
        else
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d: %x", i, status);
    }
}

/* What an inner `tine run` has started, whose guard is killed with it: the marks of both count, and
 * no part of one. */
Test(descendants, each_of_several_marks_counts) {
    static const char *const of[] = {"a1", "b2", "c3", "b", "a1,b2", ""};
    for (int i = 0; i < 6; i++) {
        int ends[2], status;
        cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
        char *variable = tine_descendants_variable("a1,b2", "c3");
        pid_t pid = cat_start(ends[0], variable);
        tine_descendants_kill((const char *[]){of[i]}, 1);
        close(ends[1]);
        close(ends[0]);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_expect_eq(WIFSIGNALED(status), i < 3, "%s: %x", of[i], status);
        free(variable);
    }
}
