/* See actors.h. */
#include "tests/support/actors.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void actors_serve(int in, int out, void (*act)(const order *o)) {
    order o;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(in, &o, sizeof o) == sizeof o) {
        pid_t child = fork();
        int status = -1;
        if (!child) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            act(&o);
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (write(out, &status, sizeof status) != sizeof status) break;
    }
    _exit(0);
}

actors actors_new(void (*act)(const order *o)) {
    int to[2], from[2];
    cr_assert(pipe(to) == 0 && pipe(from) == 0);
    actors a = {.to = to[1], .from = from[0], .pid = fork()};
    if (!a.pid) {
        close(to[1]);
        close(from[0]);
        actors_serve(to[0], from[1], act);
    }
    close(to[0]);
    close(from[1]);
    return a;
}

void actors_order(actors *a, const char *url, int kind, unsigned seed) {
    order o = {.kind = kind, .seed = seed};
    snprintf(o.url, sizeof o.url, "%s", url);
    cr_assert_eq(write(a->to, &o, sizeof o), sizeof o);
}

int actors_status(actors *a) {
    int status = -1;
    cr_assert_eq(read(a->from, &status, sizeof status), sizeof status);
    return status;
}

void actors_fini(actors *a) {
    close(a->to);
    close(a->from);
    waitpid(a->pid, NULL, 0);
}
