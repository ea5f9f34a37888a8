/* See reach.h. */
#include "launch/command/reach.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union socket_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
} socket_address;

/* A UDP socket that is connected sends nothing, but has the address that the route gives it. */
static bool route_source(const struct addrinfo *to, socket_address *from) {
    socklen_t size = sizeof *from;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found = fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
                 getsockname(fd, &from->any, &size) == 0;
    int e = errno;
    if (fd >= 0) close(fd);
    errno = e;
    return found;
}

static bool address_write(const socket_address *a, tine_reach_address *out) {
    char host[48];
    bool six = a->any.sa_family == AF_INET6;
    if (getnameinfo(&a->any, six ? sizeof a->six : sizeof a->four, host, sizeof host, NULL, 0,
                    NI_NUMERICHOST))
        return false;
    snprintf(out->text, sizeof out->text, six ? "[%s]" : "%s", host);
    out->loopback =
        six ? IN6_IS_ADDR_LOOPBACK(&a->six.sin6_addr) : ntohl(a->four.sin_addr.s_addr) >> 24 == 127;
    return true;
}

bool tine_reach(const char *host, tine_reach_address *out, char *why, size_t why_size) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM}, *all = NULL;
    socket_address from;
    int failed = getaddrinfo(host, "9", &hints, &all);
    bool found = false;
    if (failed) {
        snprintf(why, why_size, "the host \"%.80s\" cannot be found: %s", host,
                 failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
        return false;
    }
    snprintf(why, why_size, "the host \"%.80s\" has no address", host);
    for (int family = AF_INET;; family = AF_INET6) { /* IPv4 first, as transport/zmq */
        for (const struct addrinfo *i = all; i && !found; i = i->ai_next) {
            if (i->ai_family != family) continue;
            found = route_source(i, &from) && address_write(&from, out);
            if (!found)
                snprintf(why, why_size, "there is no route to the host \"%.80s\": %s", host,
                         strerror(errno));
        }
        if (family == AF_INET6) break;
    }
    freeaddrinfo(all);
    return found;
}

bool tine_reach_port(int *fd, int *port) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t size = sizeof a;
    int one = 1;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) return false;
    if (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(*fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        getsockname(*fd, (struct sockaddr *)&a, &size) == 0) {
        *port = ntohs(a.sin_port);
        return true;
    }
    close(*fd);
    *fd = -1;
    return false;
}
