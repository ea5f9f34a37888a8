/* A job to be killed. Run by tests/transport/mpi/test_deaths.c:   mpirun -n N build/mpi/death
 * hold|lost|idle|reply|exit STATUS|_exit
 *
 * Every rank says who it is ("rank R PID JOB"), every worker's task that it runs ("held R"). The
 * job as such never ends by itself: rank 0 ends it with status 9 after a minute, with "lost" when a
 * task has failed. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/tine.h"

static void say(const char *what) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *job = getenv("PMIX_NAMESPACE");
    char line[512];
    int n = snprintf(line, sizeof line, "%s %s %d %lx\n", what, rank ? rank : "?", (int)getpid(),
                     job ? strtoul(job, NULL, 10) : 0);
    if (write(STDOUT_FILENO, line, (size_t)n) != n) _exit(8);
}

TINE_FUNCTION(hold, "n") {
    say("held");
    for (;;) poll(NULL, 0, -1);
    return tine_none();
}

/* Rank 0 is stopped, so that the reply cannot be whole before the test has struck. */
TINE_FUNCTION(reply, "n, coordinator") {
    tine_value *v = tine_ones(TINE_U8, 1, (int64_t[]){tine_arg_int(task, 0)});
    kill((pid_t)tine_arg_int(task, 1), SIGSTOP);
    say("held");
    return v;
}

TINE_FUNCTION(leave, "status") {
    say("held");
    exit((int)tine_arg_int(task, 0));
}

TINE_FUNCTION(drop_dead, "") {
    say("held");
    _exit(0);
}

static void play(const char *mode, int status) {
    int workers = tine_worker_count();
    if (!strcmp(mode, "idle")) say("held");
    for (int i = 0; i < workers && !strcmp(mode, "hold"); i++) tine_fork("hold", i);
    tine_future *held[16];
    for (int i = 0; i < workers && !strcmp(mode, "lost"); i++) held[i] = tine_fork("hold", i);
    if (!strcmp(mode, "lost") && !tine_wait_any(held, (size_t)workers, NULL))
        for (int i = 0; i < workers; i++)
            if (tine_done(held[i]) && tine_wait(held[i], NULL)) say(tine_error_message());
    if (!strcmp(mode, "lost")) return;
    if (!strcmp(mode, "reply")) tine_wait(tine_fork("reply", 1 << 30, getpid()), NULL);
    if (!strcmp(mode, "exit")) tine_wait(tine_fork("leave", status), NULL);
    if (!strcmp(mode, "_exit")) tine_wait(tine_fork("drop_dead"), NULL);
    if (!strcmp(mode, "reply")) say("whole");
    poll(NULL, 0, 60000);
}

int main(int argc, char **argv) {
    say("rank");
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 7;
    }
    /* a directory that is not the job's: the test looks whether it is left alone */
    if (getenv("DEATH_DECOY")) setenv("PMIX_SERVER_TMPDIR", getenv("DEATH_DECOY"), 1);
    play(argc > 1 ? argv[1] : "idle", argc > 2 ? atoi(argv[2]) : 0);
    return 9;
}
