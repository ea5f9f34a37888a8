/* Peers of which nothing comes although their connections exist: processes that are stopped. Links
 * between hosts that are down: tests/check_rejoin. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/transport.h"

TestSuite(silence, .timeout = 60);

static char why[300];

static const tine_transport_ops *tcp(void) { return tine_transport_for("tcp://", why, sizeof why); }

static tine_transport_config beating(bool patient) {
    return (tine_transport_config){
        .heartbeat_ns = 20000000, .beats_here = true, .patient = patient};
}

static tine_event next(tine_transport *t) {
    tine_event ev;
    for (;;) {
        cr_assert_eq(t->ops->recv(t, &ev), 0);
        if (ev.kind != TINE_EVENT_NONE) return ev;
        t->ops->wait(t, -1);
    }
}

static void send_frame(tine_transport *t, tine_peer peer, char text) {
    tine_frame *f = tine_frame_new(1, 0);
    *(char *)f->header = text;
    cr_assert_eq(t->ops->send(t, peer, f), 0);
}

/* A connector that returns each frame. */
static void echo(int in, bool patient) {
    char url[100] = "";
    const tine_transport_config config = beating(patient);
    tine_transport *t;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also while it is stopped */
    if (read(in, url, sizeof url) <= 0 || tcp()->connect(&t, url, &config, why, sizeof why))
        _exit(1);
    for (tine_event ev; (ev = next(t)).kind != TINE_EVENT_LOST;) {
        if (ev.kind == TINE_EVENT_UP) send_frame(t, 1, patient ? 'p' : 'q');
        if (ev.kind == TINE_EVENT_FRAME && t->ops->send(t, 1, ev.frame)) _exit(1);
    }
    _exit(0);
}

typedef struct echoing {
    int to;
    pid_t pid;
} echoing;

static echoing echo_start(bool patient) {
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) echo(fds[0], patient);
    close(fds[0]);
    return (echoing){fds[1], pid};
}

static void echo_end(const echoing *e) {
    kill(e->pid, SIGKILL);
    waitpid(e->pid, NULL, 0);
    close(e->to);
}

static tine_transport *listen_for(const echoing *e) {
    const tine_transport_config config = beating(false);
    tine_transport *t;
    cr_assert_eq(tcp()->listen(&t, "tcp://127.0.0.1:0", &config, why, sizeof why), 0, "%s", why);
    const char *url = t->ops->url(t);
    cr_assert_gt(write(e->to, url, strlen(url) + 1), 0);
    return t;
}

/* Its first frame has come. */
static tine_peer await_up(tine_transport *t, char text) {
    tine_event ev;
    while ((ev = next(t)).kind != TINE_EVENT_FRAME) cr_assert_eq(ev.kind, TINE_EVENT_UP);
    cr_assert_eq(*(char *)ev.frame->header, text);
    tine_frame_free(ev.frame);
    return ev.peer;
}

Test(silence, a_patient_peer_is_silent_and_heard_again_with_nothing_lost) {
    echoing e = echo_start(true);
    tine_transport *t = listen_for(&e);
    tine_peer peer = await_up(t, 'p');
    cr_assert_eq(kill(e.pid, SIGSTOP), 0);
    tine_event ev = next(t);
    cr_assert_eq(ev.kind, TINE_EVENT_SILENT, "%d %s", ev.kind, ev.reason);
    cr_assert_eq(ev.peer, peer);
    cr_expect(strstr(ev.reason, "it sent nothing for 0.2 s (10 heartbeats were missed"), "%s",
              ev.reason);
    send_frame(t, peer, 's');
    ev = next(t);
    cr_assert_eq(ev.kind, TINE_EVENT_SILENT);
    cr_expect(strstr(ev.reason, "it sent nothing for 0.4 s (20 heartbeats were missed"), "%s",
              ev.reason);
    cr_assert_eq(kill(e.pid, SIGCONT), 0);
    unsigned heard = 0, frames = 0;
    while (!heard || !frames) {
        ev = next(t);
        if (ev.kind == TINE_EVENT_SILENT) continue; /* the third, on a busy machine */
        cr_assert(ev.kind == TINE_EVENT_HEARD || ev.kind == TINE_EVENT_FRAME, "%d", ev.kind);
        heard += ev.kind == TINE_EVENT_HEARD;
        frames += ev.kind == TINE_EVENT_FRAME;
        if (ev.kind != TINE_EVENT_FRAME) continue;
        cr_expect_eq(*(char *)ev.frame->header, 's');
        tine_frame_free(ev.frame);
    }
    t->ops->fini(t);
    echo_end(&e);
}

Test(silence, a_patient_peer_that_is_not_heard_is_lost_after_150_beats) {
    echoing e = echo_start(true);
    tine_transport *t = listen_for(&e);
    await_up(t, 'p');
    cr_assert_eq(kill(e.pid, SIGSTOP), 0);
    unsigned told = 0;
    tine_event ev;
    while ((ev = next(t)).kind == TINE_EVENT_SILENT) told++;
    cr_assert_eq(ev.kind, TINE_EVENT_LOST);
    cr_expect_eq(told, 4, "after 10, 20, 40 and 80 beats, not %u times", told);
    cr_expect(strstr(ev.reason, "it sent nothing for 3 s (150 heartbeats were missed"), "%s",
              ev.reason);
    t->ops->fini(t);
    echo_end(&e);
}

Test(silence, another_peer_is_lost_after_10_beats) {
    echoing e = echo_start(false);
    tine_transport *t = listen_for(&e);
    await_up(t, 'q');
    cr_assert_eq(kill(e.pid, SIGSTOP), 0);
    tine_event ev = next(t);
    cr_assert_eq(ev.kind, TINE_EVENT_LOST);
    cr_expect(strstr(ev.reason, "it sent nothing for 0.2 s (10 heartbeats were missed"), "%s",
              ev.reason);
    t->ops->fini(t);
    echo_end(&e);
}

Test(silence, a_silent_peer_that_is_dropped_is_lost_at_once) {
    echoing e = echo_start(true);
    tine_transport *t = listen_for(&e);
    tine_peer peer = await_up(t, 'p');
    cr_assert_eq(kill(e.pid, SIGSTOP), 0);
    cr_assert_eq(next(t).kind, TINE_EVENT_SILENT);
    t->ops->drop(t, peer, false, "given up");
    tine_event ev = next(t);
    cr_assert_eq(ev.kind, TINE_EVENT_LOST);
    cr_expect_str_eq(ev.reason, "given up");
    t->ops->fini(t);
    echo_end(&e);
}

Test(silence, the_end_of_a_silent_peer_says_so) {
    echoing e = echo_start(true);
    tine_transport *t = listen_for(&e);
    await_up(t, 'p');
    cr_assert_eq(kill(e.pid, SIGSTOP), 0);
    cr_assert_eq(next(t).kind, TINE_EVENT_SILENT);
    kill(e.pid, SIGKILL);
    tine_event ev;
    while ((ev = next(t)).kind == TINE_EVENT_SILENT) {
    }
    cr_assert_eq(ev.kind, TINE_EVENT_LOST);
    cr_expect(strstr(ev.reason, "its connection was closed, after it had sent nothing for 0."),
              "%s", ev.reason);
    t->ops->fini(t);
    echo_end(&e);
}
