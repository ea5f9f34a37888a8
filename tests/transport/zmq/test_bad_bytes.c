/* Plain TCP clients of a tcp:// listener that do not speak ZeroMQ: each is lost once, marked bad,
 * with a reason, and a good connector notices nothing. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/bad_peers.h"

static int tcp_socket(scene *s) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(s->ops->url(s->listener), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void raw(const void *bytes, size_t n) {
    scene s;
    scene_init(&s);
    int fd = tcp_socket(&s);
    cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    shutdown(fd, SHUT_WR);
    tine_event ev = until_lost(&s);
    cr_assert(ev.bad, "%s", ev.reason);
    cr_assert(ev.peer != s.peer);
    close(fd);
    scene_fini(&s, 1);
}

Test(bad, http_request, .timeout = 60) {
    static const char request[] =
        "GET /index.html HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a browser\r\n"
        "Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\n\r\n";
    raw(request, sizeof request - 1);
}

Test(bad, short_http_request, .timeout = 60) { raw("GET / HTTP/1.0\r\n\r\n", 18); }

Test(bad, random_bytes, .timeout = 60) {
    uint8_t bytes[4096];
    tine_conf_fill(bytes, sizeof bytes, 12345);
    raw(bytes, sizeof bytes);
}

Test(bad, random_bytes_that_begin_like_zmtp, .timeout = 60) {
    uint8_t bytes[4096];
    tine_conf_fill(bytes, sizeof bytes, 54321);
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    raw(bytes, sizeof bytes);
}

Test(bad, nothing_at_all, .timeout = 60) { raw("", 0); }
