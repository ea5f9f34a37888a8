/* The search for what killed workers have started. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
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
        snprintf(marks[i], sizeof marks[i], "%s=%d.%d", TINE_DESCENDANTS_MARK, (int)getpid(),
                 9 - i);
        if (i == 3) snprintf(marks[i], sizeof marks[i], "OTHER=%d.9", (int)getpid());
        pids[i] = cat_start(ends[0], marks[i]);
    }
    const char *of[] = {marks[0], "", marks[2], TINE_DESCENDANTS_MARK "=?"};
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
