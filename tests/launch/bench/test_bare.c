/* The ping-pong over the bare transport, at an endpoint to which others connect too. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/bench/bare.h"
#include "tests/support/sanitizer.h"
#include "transport/transport.h"

enum { QUESTIONS = 50 };

static char url[80];
static int connected[2]; /* a pipe: the observer writes a byte once it is connected */
static bool echo_waits;

/* In the child that echoes: it must not be the first to connect. */
static void echo_begins(void) {
    char byte;
    if (echo_waits && read(connected[0], &byte, 1) != 1) _exit(1);
}

static bool observer_sends(const tine_transport_ops *ops, tine_transport *t, tine_peer to) {
    tine_frame *f = tine_frame_new(8, 0);
    memcpy(f->header, "question", 8);
    bool sent = ops->send(t, to, f) == 0;
    if (!sent) tine_frame_free(f);
    return sent;
}

/* Until the listener is gone; what it was sent is its exit code. */
static int observer_run(void) {
    const tine_transport_config config = {.lane = -1};
    char why[200];
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    tine_transport *t;
    tine_event ev = {0};
    int frames = 0;
    if (ops->connect(&t, url, &config, why, sizeof why)) return 100;
    while (ops->recv(t, &ev) == 0 && ev.kind != TINE_EVENT_LOST) {
        if (ev.kind == TINE_EVENT_NONE) ops->wait(t, 100000000);
        if (ev.kind == TINE_EVENT_UP) {
            for (int i = 0; i < QUESTIONS; i++)
                if (!observer_sends(ops, t, ev.peer)) return 101;
            if (write(connected[1], "", 1) != 1) return 102;
        }
        if (ev.kind != TINE_EVENT_FRAME) continue;
        tine_frame_free(ev.frame);
        frames++;
    }
    ops->close(t);
    ops->stop(t);
    ops->fini(t);
    return frames < 100 ? frames : 99;
}

Test(bare, an_observer_that_connects_first_is_not_measured, .timeout = 60) {
#ifdef TSAN
    cr_skip_test("a forked child has another exit code under ThreadSanitizer");
#endif
    char directory[] = "/tmp/tine-test-bare-XXXXXX", why[256] = "";
    int status;
    tine_bare out;
    cr_assert_not_null(mkdtemp(directory));
    snprintf(url, sizeof url, "ipc://%s/socket", directory);
    cr_assert_eq(pipe(connected), 0);
    cr_assert_eq(pthread_atfork(NULL, NULL, echo_begins), 0);
    pid_t observer = fork();
    if (observer == 0) _exit(observer_run());
    cr_assert_gt(observer, 0);
    close(connected[1]);
    echo_waits = true;
    const tine_bare_config config = {.url = url,
                                     .rounds = 100,
                                     .burst = 700,
                                     .small = 64,
                                     .large = 1000,
                                     .large_rounds = 3,
                                     .lane = -1};
    cr_expect(tine_bare_measure(&config, &out, why, sizeof why), "%s", why);
    cr_expect_eq(waitpid(observer, &status, 0), observer);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the observer was sent %d frames",
              WEXITSTATUS(status));
    cr_expect_eq(out.p50.n, 100);
    cr_expect_gt(out.rate.value, 0);
    rmdir(directory);
}
