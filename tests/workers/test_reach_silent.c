/* A worker fetches a result from another one, of which nothing comes. It does not wait for it as
 * long as for a coordinator (tine_options::rejoin): the result can be made again elsewhere. */
#include <criterion/criterion.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/transport.h"
#include "workers/reach.h"

enum { BEAT_NS = 20000000 };

typedef struct source {
    uint64_t secret;
    char url[200];
} source;

static void none(void *ctx) { (void)ctx; }
static void woken(void *ctx) { sem_post(ctx); }

/* Another process, which serves results until it is killed. */
static pid_t source_start(source *out) {
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        char why[160];
        source s = {0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        tine_reach *r =
            tine_reach_new(&(tine_transport_config){.heartbeat_ns = BEAT_NS}, none, NULL);
        const char *url = tine_reach_listen(r, "tcp://127.0.0.1:0", &s.secret, why, sizeof why);
        if (!url) _exit(1);
        snprintf(s.url, sizeof s.url, "%s", url);
        if (write(fds[1], &s, sizeof s) != sizeof s) _exit(1);
        for (;;) pause();
    }
    cr_assert_eq(read(fds[0], out, sizeof *out), sizeof *out);
    close(fds[0]);
    close(fds[1]);
    return pid;
}

static tine_reached fetched(tine_reach *r, sem_t *wakes, const source *s, tine_object id) {
    tine_reached out;
    tine_reach_fetch(r, id, s->secret, s->url);
    while (!tine_reach_take(r, &out)) sem_wait(wakes);
    return out;
}

Test(reach_silent, a_source_is_given_up_after_ten_heartbeats, .timeout = 60) {
    source s;
    sem_t wakes;
    sem_init(&wakes, 0, 0);
    pid_t pid = source_start(&s);
    const tine_transport_config config = {.heartbeat_ns = BEAT_NS, .patient = true};
    tine_reach *r = tine_reach_new(&config, woken, &wakes);
    cr_assert(strstr(fetched(r, &wakes, &s, 6).why, "not"), "it has no such result");
    kill(pid, SIGSTOP);
    cr_assert_eq(waitpid(pid, NULL, WUNTRACED), pid);
    tine_reached lost = fetched(r, &wakes, &s, 8);
    cr_expect(strstr(lost.why, "(10 heartbeats were missed"), "%s", lost.why);
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    tine_reach_free(r);
    sem_destroy(&wakes);
}
