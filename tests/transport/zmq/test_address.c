/* What tcp://HOST:PORT may be: names and IPv6 addresses listen and connect; what is wrong is said
 * at once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/transport.h"

TestSuite(address, .timeout = 30);

static char why[300];

static const tine_transport_ops *tcp(void) { return tine_transport_for("tcp://", why, sizeof why); }

static void joins(const char *listen, const char *host) {
    const tine_transport_ops *ops = tcp();
    tine_transport *t, *c;
    tine_event ev;
    char url[100];
    cr_assert_eq(ops->listen(&t, listen, NULL, why, sizeof why), 0, "%s", why);
    snprintf(url, sizeof url, "%s", ops->url(t));
    if (host) snprintf(url, sizeof url, "tcp://%s%s", host, strrchr(ops->url(t), ':'));
    cr_assert_eq(ops->connect(&c, url, NULL, why, sizeof why), 0, "%s", why);
    do {
        cr_assert_eq(ops->recv(t, &ev), 0);
        cr_assert_eq(ops->recv(c, &ev), 0);
        cr_assert_neq(ev.kind, TINE_EVENT_LOST, "%s: %s", url, ev.reason);
        if (ev.kind == TINE_EVENT_NONE) ops->wait(c, 1000000);
    } while (ev.kind != TINE_EVENT_UP);
    ops->fini(c);
    ops->fini(t);
}

static bool host_has_ipv6(void) {
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) close(fd);
    return has;
}

Test(address, names_and_numbers) {
    joins("tcp://127.0.0.1:0", NULL);
    joins("tcp://127.0.0.1:*", "localhost");
    joins("tcp://localhost:0", NULL);
    joins("tcp://lo:0", NULL);
    joins("tcp://*:0", "localhost");
}

Test(address, ipv6) {
    if (!host_has_ipv6()) cr_skip_test("SKIP: this host has no IPv6");
    joins("tcp://[::1]:0", NULL);
    joins("tcp://[::1]:*", NULL);
    joins("tcp://[::]:0", "[::1]");
    joins("tcp://[::]:0", "localhost");
}

static void refused(const char *url, bool listener, int error, const char *words) {
    const tine_transport_ops *ops = tcp();
    tine_transport *t = NULL;
    why[0] = 0;
    int rc = (listener ? ops->listen : ops->connect)(&t, url, NULL, why, sizeof why);
    cr_assert_eq(rc, error, "%s: %d %s", url, rc, why);
    cr_assert(strstr(why, words), "%s: %s", url, why);
}

Test(address, what_is_wrong_is_said_at_once) {
    static const char *const ports[] = {"99999", "65536", "70000", "-1", "-70", "4294967297",
                                        " 47",   "47.5",  "47x",   "x",  "",    "0x10"};
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        char url[64];
        snprintf(url, sizeof url, "tcp://127.0.0.1:%s", ports[i]);
        refused(url, true, -EINVAL, "a number from 0 to 65535");
        refused(url, false, -EINVAL, "a number from 1 to 65535");
    }
    refused("tcp://127.0.0.1:0", false, -EINVAL, "a number from 1 to 65535");
    refused("tcp://127.0.0.1:*", false, -EINVAL, "a number from 1 to 65535");
    refused("tcp://::1:0", true, -EINVAL, "write tcp://[ADDRESS]:PORT");
    refused("tcp://:47", true, -EINVAL, "has no host");
    refused("tcp://host", true, -EINVAL, "has no port");
    refused("tcp://no-such-host.invalid:47", true, -EIO, "cannot be found");
    refused("tcp://no-such-host.invalid:47", false, -EIO, "cannot be found");
}

/* Where other peers of the listener reach the connector: 0, at this host alone. */
Test(address, a_connector_of_another_loopback_address_is_on_this_host) {
    static const char *const urls[] = {"tcp://127.0.0.1:0", "tcp://127.0.0.2:0"};
    const tine_transport_ops *ops = tcp();
    for (int i = 0; i < 2; i++) {
        tine_transport *t, *c;
        char own[100];
        cr_assert_eq(ops->listen(&t, urls[i], NULL, why, sizeof why), 0, "%s", why);
        cr_assert_eq(ops->connect(&c, ops->url(t), NULL, why, sizeof why), 0, "%s", why);
        cr_expect_eq(ops->own_url(c, own, sizeof own), 0, "%s: %s", urls[i], own);
        ops->fini(c);
        ops->fini(t);
    }
}

static void listen_for_ever(int out) {
    const tine_transport_ops *ops = tcp();
    tine_transport *t;
    tine_event ev;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also while it is stopped */
    if (ops->listen(&t, "tcp://127.0.0.1:0", NULL, why, sizeof why)) _exit(1);
    const char *url = ops->url(t);
    if (write(out, url, strlen(url) + 1) < 0) _exit(1);
    while (ops->recv(t, &ev) == 0)
        if (ev.kind == TINE_EVENT_NONE) ops->wait(t, -1);
    _exit(0);
}

Test(address, a_listener_of_this_host_that_is_stopped_is_lost_if_asked_for, .timeout = 60) {
    int fds[2];
    char url[100] = "";
    cr_assert_eq(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) listen_for_ever(fds[1]);
    cr_assert_gt(read(fds[0], url, sizeof url), 0);
    const tine_transport_ops *ops = tcp();
    const tine_transport_config config = {.heartbeat_ns = 50000000, .beats_here = true};
    tine_transport *c;
    tine_event ev;
    cr_assert_eq(ops->connect(&c, url, &config, why, sizeof why), 0, "%s", why);
    do {
        cr_assert_eq(ops->recv(c, &ev), 0);
        if (ev.kind == TINE_EVENT_NONE) ops->wait(c, -1);
        if (ev.kind == TINE_EVENT_UP) cr_assert_eq(kill(child, SIGSTOP), 0);
    } while (ev.kind != TINE_EVENT_LOST);
    cr_expect(strstr(ev.reason, "heartbeats were missed"), "%s", ev.reason);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ops->fini(c);
    close(fds[0]);
    close(fds[1]);
}
