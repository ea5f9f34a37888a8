/* tcp://HOST:PORT: HOST is a name, an IPv4 address, an IPv6 address in brackets or, where a
 * listener is opened, `*` or a network interface. Names are resolved here, before libzmq is asked:
 * it would report a name that does not resolve only to its own thread, and does not look for IPv6
 * addresses unless told to. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/zmq/internal.h"

typedef struct tcp_address {
    char host[256], port[16];
} tcp_address;

static int address_refuse(char *why, size_t why_size, const char *url, const char *what) {
    snprintf(why, why_size, "\"%.80s\" %s", url, what);
    return -EINVAL;
}

static bool port_is_good(const tine_zmq *t, const char *port) {
    size_t n = strspn(port, "0123456789");
    if (t->listener && !strcmp(port, "*")) return true;
    if (!n || n > 5 || port[n]) return false;
    long number = strtol(port, NULL, 10);
    return number <= 65535 && (number > 0 || t->listener);
}

static int address_split(const tine_zmq *t, tcp_address *a, char *why, size_t why_size) {
    const char *text = t->url + strlen("tcp://"), *colon = strrchr(text, ':'), *end = colon;
    if (!colon) return address_refuse(why, why_size, t->url, "has no port: write tcp://HOST:PORT");
    if (!port_is_good(t, colon + 1))
        return address_refuse(why, why_size, t->url,
                              t->listener ? "has a port that is not a number from 0 to 65535"
                                          : "has a port that is not a number from 1 to 65535");
    bool brackets = text[0] == '[' && colon > text && colon[-1] == ']';
    if (brackets) text++, end--;
    if (!brackets && memchr(text, ':', (size_t)(end - text)))
        return address_refuse(why, why_size, t->url,
                              "has an IPv6 address without brackets: write tcp://[ADDRESS]:PORT");
    size_t n = (size_t)(end - text);
    if (!n || n >= sizeof a->host)
        return address_refuse(why, why_size, t->url, "has no host: write tcp://HOST:PORT");
    memcpy(a->host, text, n);
    a->host[n] = 0;
    snprintf(a->port, sizeof a->port, "%.8s", colon + 1);
    return 0;
}

static void local_set(tine_zmq *t, const struct sockaddr *a, const char *port) {
    uint16_t number = htons((uint16_t)strtol(port, NULL, 10)); /* "*": 0 */
    t->local_size =
        a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memcpy(&t->local, a, t->local_size);
    /* at the same place in both */
    ((struct sockaddr_in *)&t->local)->sin_port = number;
}

static void address_add(tine_zmq *t, const struct addrinfo *i, const char *port) {
    char host[128];
    bool six = i->ai_family == AF_INET6;
    if (t->n_addresses == TINE_ZMQ_ADDRESSES || (!six && i->ai_family != AF_INET)) return;
    if (getnameinfo(i->ai_addr, i->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST)) return;
    if (!t->n_addresses && t->listener) local_set(t, i->ai_addr, port);
    snprintf(t->addresses[t->n_addresses++], sizeof t->addresses[0],
             six ? "tcp://[%.128s]:%.8s" : "tcp://%.128s:%.8s", host, port);
}

/* IPv4 first, as a listener at a name takes one. */
static int address_resolve(tine_zmq *t, const tcp_address *a, char *why, size_t why_size) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all = NULL;
    int failed = getaddrinfo(a->host, NULL, &hints, &all);
    if (failed) {
        snprintf(why, why_size, "the host \"%.80s\" of %.80s cannot be found: %s; check the name",
                 a->host, t->url, failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
        return -EIO;
    }
    for (const struct addrinfo *i = all; i; i = i->ai_next)
        if (i->ai_family == AF_INET) address_add(t, i, a->port);
    for (const struct addrinfo *i = all; i; i = i->ai_next)
        if (i->ai_family != AF_INET) address_add(t, i, a->port);
    freeaddrinfo(all);
    if (t->n_addresses) return 0;
    snprintf(why, why_size, "the host \"%.80s\" of %.80s has no address", a->host, t->url);
    return -EIO;
}

/* Its IPv4 address, else an IPv6 one. */
static int address_of_interface(tine_zmq *t, const tcp_address *a, char *why, size_t why_size) {
    struct ifaddrs *all = NULL;
    const struct sockaddr *found = NULL;
    if (getifaddrs(&all) != 0) all = NULL;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        if (strcmp(i->ifa_name, a->host) != 0) continue;
        if (family == AF_INET || (family == AF_INET6 && !found)) found = i->ifa_addr;
        if (family == AF_INET) break;
    }
    if (found) local_set(t, found, a->port);
    if (all) freeifaddrs(all);
    if (t->local_size) return 0;
    snprintf(why, why_size, "the network interface \"%.80s\" of %.80s has no address", a->host,
             t->url);
    return -EIO;
}

int tine_zmq_addresses(tine_zmq *t, char *why, size_t why_size) {
    tcp_address a;
    if (!t->tcp) return 0;
    int rc = address_split(t, &a, why, why_size);
    if (rc) return rc;
    if (t->listener && strcmp(a.host, "*") == 0) {
        local_set(t, (const struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, a.port);
        return 0;
    }
    if (t->listener && if_nametoindex(a.host)) return address_of_interface(t, &a, why, why_size);
    return address_resolve(t, &a, why, why_size);
}

const char *tine_zmq_address(const tine_zmq *t, int attempt) {
    return t->n_addresses ? t->addresses[(unsigned)attempt % t->n_addresses] : t->url;
}

/* The address from which datagrams to `a` would be sent. */
static bool address_towards(const struct sockaddr *a, socklen_t n, struct sockaddr_storage *own) {
    int fd = socket(a->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *own;
    bool ok =
        fd >= 0 && connect(fd, a, n) == 0 && getsockname(fd, (struct sockaddr *)own, &size) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

int tine_zmq_own_url(const tine_zmq *t, char *url, size_t size) {
    char listener[128], own[128], host[128];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_DGRAM};
    struct addrinfo *a = NULL;
    struct sockaddr_storage from;
    if (!t->tcp || t->listener || !t->n_addresses) return -1;
    const char *at = tine_zmq_address(t, t->failures) + strlen("tcp://"), *port = strrchr(at, ':');
    bool six = *at == '[';
    snprintf(host, sizeof host, "%.*s", (int)(port - at) - 2 * six, at + six);
    if (getaddrinfo(host, port + 1, &hints, &a) != 0) return -1;
    bool known = address_towards(a->ai_addr, a->ai_addrlen, &from) &&
                 getnameinfo((struct sockaddr *)&from, a->ai_addrlen, own, sizeof own, NULL, 0,
                             NI_NUMERICHOST) == 0 &&
                 getnameinfo(a->ai_addr, a->ai_addrlen, listener, sizeof listener, NULL, 0,
                             NI_NUMERICHOST) == 0;
    freeaddrinfo(a);
    if (!known) return -1;
    snprintf(url, size, six ? "tcp://[%s]:0" : "tcp://%s:0", own);
    /* all of 127.0.0.0/8 is this host; what is connected to may be a tunnel's end here */
    return strncmp(own, "127.", 4) != 0 && strcmp(own, listener) != 0;
}

bool tine_zmq_is_reachable(const tine_zmq *t) {
    const struct sockaddr_in *a = (const struct sockaddr_in *)&t->local;
    const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)&t->local;
    if (!t->tcp || !t->listener) return false;
    if (t->local.ss_family == AF_INET) return ntohl(a->sin_addr.s_addr) >> 24 != 127;
    return !IN6_IS_ADDR_LOOPBACK(&b->sin6_addr);
}
