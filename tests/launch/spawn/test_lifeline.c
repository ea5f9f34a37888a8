/* Nothing is left behind when the coordinator ends, however it ends. The coordinator that is killed
 * is this executable too: a constructor turns it into one where the environment asks for it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/spawn/private.h"
#include "tests/support/local_workers.h"
#include "tests/support/process.h"

TestSuite(lifeline, .init = open_fifo, .fini = close_fifo, .timeout = 120);

static void be_coordinator(const char *how) {
    tine_private place;
    if (tine_private_open(&place)) _exit(73);
    if (!start(2, place.url, NULL)) _exit(74);
    if (strcmp(how, "exit") == 0) {
        char byte; /* from the test */
        if (read(0, &byte, 1) == 1) exit(0);
    }
    if (strcmp(how, "forked") == 0) {
        report copy = {.pid = fork(), .token = "copy"};
        if (copy.pid > 0) send_report(&copy);
    }
    for (;;) pause();
}

/* Its workers inherit the variable. */
__attribute__((constructor)) static void become_coordinator(void) {
    const char *how = getenv("TEST_COORDINATOR");
    if (how && !getenv("TINE_WORKER")) be_coordinator(how);
}

typedef struct killed {
    pid_t pid;
    int pidfds[2]; /* of its workers */
    pid_t workers[2], copy;
    char dir[192];
    int input;
} killed;

static killed start_coordinator(const char *how, const char *mode) {
    killed k = {.pid = 0};
    int input[2];
    cr_assert_eq(pipe2(input, O_CLOEXEC), 0);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input[0], 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    setenv("TEST_COORDINATOR", how, 1);
    setenv("TEST_MODE", mode, 1);
    char *const argv[] = {"coordinator", NULL};
    cr_assert_eq(posix_spawn(&k.pid, "/proc/self/exe", &files, &attr, argv, environ), 0);
    unsetenv("TEST_COORDINATOR");
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    close(input[0]);
    k.input = input[1];
    for (int i = 0; i < 2;) {
        report r = next_report();
        if (strcmp(r.token, "copy") == 0) {
            k.copy = r.pid;
            continue;
        }
        k.workers[i] = r.pid;
        k.pidfds[i] = process_open(r.pid);
        cr_assert(k.pidfds[i] >= 0);
        snprintf(k.dir, sizeof k.dir, "%s", r.endpoint + strlen("ipc://"));
        *strrchr(k.dir, '/') = 0;
        i++;
    }
    if (strcmp(how, "forked") == 0 && !k.copy) k.copy = next_report().pid;
    struct stat st;
    cr_assert(stat(k.dir, &st) == 0 && (st.st_mode & 0777) == 0700, "%s is there", k.dir);
    return k;
}

static void check_nothing_left(killed *k) {
    int status;
    cr_assert_eq(waitpid(k->pid, &status, 0), k->pid);
    for (int i = 0; i < 2; i++) {
        bool ended = process_ends(k->pidfds[i], GONE_MS);
        cr_expect(ended, "worker %d is gone", i);
        if (!ended) kill(k->workers[i], SIGKILL);
        close(k->pidfds[i]);
    }
    struct stat st;
    cr_expect(stat(k->dir, &st) != 0 && errno == ENOENT, "%s is gone", k->dir);
    close(k->input);
}

Test(lifeline, kill_9_of_the_coordinator_leaves_nothing) {
    killed k = start_coordinator("wait", "wait");
    cr_assert_eq(kill(k.pid, SIGKILL), 0);
    check_nothing_left(&k);
}

Test(lifeline, kill_9_of_the_coordinator_ends_workers_that_compute) {
    killed k = start_coordinator("wait", "compute");
    cr_assert_eq(kill(k.pid, SIGKILL), 0);
    check_nothing_left(&k);
}

Test(lifeline, an_exit_without_shutdown_leaves_nothing) {
    killed k = start_coordinator("exit", "compute");
    cr_assert_eq(write(k.input, "x", 1), 1);
    check_nothing_left(&k);
}

Test(lifeline, ctrl_c_goes_to_all_and_is_the_coordinators_decision) {
    killed k = start_coordinator("wait", "wait");
    cr_assert_eq(kill(k.workers[0], SIGINT), 0);
    cr_expect(!process_ends(k.pidfds[0], 200), "a worker ignores it");
    cr_assert_eq(kill(-k.pid, SIGINT), 0);
    check_nothing_left(&k);
}

/* The copy inherits the other end of every lifeline. */
Test(lifeline, a_forked_copy_of_the_coordinator_does_not_keep_workers_alive) {
    killed k = start_coordinator("forked", "compute");
    cr_assert_eq(kill(k.pid, SIGKILL), 0);
    check_nothing_left(&k);
    cr_expect_eq(kill(k.copy, SIGKILL), 0, "it was there all the time");
}
