/* See cluster.h. */
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/coordinator/internal.h"

void cluster_start_with(const tine_options *options) {
    /* Criterion marks its test processes so; workers must not inherit it. */
    unsetenv("BXFI_MAP");
    cr_assert_eq(tine_init(NULL, NULL, options), TINE_OK, "tine_init: %s", tine_error_message());
}

void cluster_start(const char *endpoint, int workers) {
    tine_options o = {.endpoint = endpoint, .workers = workers, .log_level = "error"};
    cluster_start_with(&o);
    cr_assert_eq(tine_worker_count(), workers);
}

void cluster_stop(void) { cr_assert_eq(tine_shutdown(), 0); }

tine_value *cluster_take(tine_future *f) {
    tine_value *v = NULL;
    tine_error e = tine_wait(f, &v);
    cr_assert_eq(e, TINE_OK, "%s", tine_error_message());
    tine_release(f);
    return v;
}

uint64_t cluster_messages(void) {
    tine_coordinator *c = coordinator_of(tine_context_installed());
    tine_transport_stats s;
    tine_coordinator_lock(c);
    c->link.transport->ops->stats(c->link.transport, &s);
    tine_coordinator_unlock(c);
    return s.frames_in + s.frames_out;
}

pid_t cluster_program(int *out) {
    int fd[2];
    posix_spawn_file_actions_t actions;
    pid_t pid;
    char *argv[] = {"program", NULL};
    cr_assert_eq(pipe2(fd, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd[1], 1);
    unsetenv("BXFI_MAP");
    setenv("TEST_PROGRAM", "1", 1);
    /* A shell ignores SIGINT in its background jobs, which may include the tests. */
    posix_spawnattr_t attributes;
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &interrupt);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    cr_assert_eq(posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv, environ), 0);
    posix_spawnattr_destroy(&attributes);
    unsetenv("TEST_PROGRAM");
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    *out = fd[0];
    return pid;
}

int64_t cluster_take_int(tine_future *f) {
    tine_value *v = cluster_take(f);
    int64_t i = tine_as_int(v);
    tine_release(v);
    return i;
}
