/* The HTTP server of TINE_METRICS: libmicrohttpd, which is loaded when it is asked for and not
 * linked, so that programs start where it is missing. It runs on a thread of its own, which blocks
 * all signals and takes the coordinator's lock only to encode a snapshot, at most every 50 ms
 * (runtime/coordinator/observers.c). */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "launch/observe/metrics.h"
#include "runtime/value/error.h"
#include "runtime/wire/wire.h"
#include "transport/base/log.h"
#include "transport/base/text.h"

#if __has_include(<microhttpd.h>)
#include <microhttpd.h>
#endif

#ifdef MHD_VERSION

enum { METRICS_CONNECTIONS = 16, METRICS_TIMEOUT = 10 }; /* seconds */

/* clang-format off */
#define MHD_FUNCTIONS(f)                                                                           \
    f(start_daemon) f(stop_daemon) f(get_daemon_info) f(queue_response)                            \
    f(create_response_from_buffer) f(add_response_header) f(destroy_response)
/* clang-format on */
#define MHD_MEMBER(name) __typeof__(MHD_##name) *(name);

struct tine_metrics_server {
    void *handle;
    MHD_FUNCTIONS(MHD_MEMBER)
    struct MHD_Daemon *daemon;
    tine_coordinator *coordinator;
};

static bool metrics_library_open(tine_metrics_server *s) {
    bool found = true;
    s->handle = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!s->handle) return false;
#define MHD_FIND(name)                                                                             \
    *(void **)&s->name = dlsym(s->handle, "MHD_" #name);                                           \
    found = found && s->name;
    MHD_FUNCTIONS(MHD_FIND)
    return found;
}

/* ---- answers ---- */

static char *metrics_text(tine_coordinator *c, size_t *size) {
    tine_payload *p = NULL;
    tine_value *snapshot = NULL;
    char *text = NULL;
    if (tine_coordinator_snapshot(c, &p) == TINE_OK &&
        tine_payload_value(p, NULL, &snapshot) == TINE_OK) {
        FILE *f = open_memstream(&text, size);
        if (f) tine_metrics_write(f, snapshot);
        if (f && fclose(f) != 0) {
            free(text);
            text = NULL;
        }
    }
    tine_error_clear();
    tine_value_unref(snapshot);
    tine_payload_unref(p);
    return text;
}

/* Takes over the text, if it was made by malloc. */
static enum MHD_Result metrics_answer(tine_metrics_server *s, struct MHD_Connection *to,
                                      unsigned status, const char *text, size_t size,
                                      enum MHD_ResponseMemoryMode mode) {
    struct MHD_Response *r = s->create_response_from_buffer(size, (void *)text, mode);
    if (!r) {
        if (mode == MHD_RESPMEM_MUST_FREE) free((void *)text);
        return MHD_NO;
    }
    s->add_response_header(r, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    enum MHD_Result queued = s->queue_response(to, status, r);
    s->destroy_response(r);
    return queued;
}

static enum MHD_Result metrics_refuse(tine_metrics_server *s, struct MHD_Connection *to,
                                      unsigned status, const char *why) {
    return metrics_answer(s, to, status, why, strlen(why), MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result metrics_request(void *cls, struct MHD_Connection *to, const char *url,
                                       const char *method, const char *version, const char *data,
                                       size_t *data_size, void **request) {
    tine_metrics_server *s = cls;
    size_t size = 0;
    (void)version, (void)data, (void)request;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        *data_size = 0;
        return metrics_refuse(s, to, MHD_HTTP_METHOD_NOT_ALLOWED, "GET /metrics\n");
    }
    if (strcmp(url, "/metrics") != 0)
        return metrics_refuse(s, to, MHD_HTTP_NOT_FOUND, "GET /metrics\n");
    char *text = metrics_text(s->coordinator, &size);
    if (!text) return metrics_refuse(s, to, MHD_HTTP_SERVICE_UNAVAILABLE, "the job ends\n");
    return metrics_answer(s, to, MHD_HTTP_OK, text, size, MHD_RESPMEM_MUST_FREE);
}

/* ---- the address ---- */

/* "HOST:PORT", "[IPV6]:PORT", ":PORT" or "PORT". */
static tine_error metrics_address(const char *at, struct addrinfo **out) {
    char host[256] = "";
    const char *colon = strrchr(at, ':'), *port = colon ? colon + 1 : at;
    const char *first = at;
    size_t n = colon ? (size_t)(colon - at) : 0;
    if (n > 1 && at[0] == '[' && at[n - 1] == ']') first++, n -= 2;
    struct addrinfo hints = {.ai_flags = AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    if (n < sizeof host) memcpy(host, first, n);
    int e = n >= sizeof host || !*port ? EAI_NONAME
                                       : getaddrinfo(n ? host : "127.0.0.1", port, &hints, out);
    if (e == 0) return TINE_OK;
    return tine_error_set(TINE_EINVAL, "TINE_METRICS=%s: expected HOST:PORT: %s", at,
                          gai_strerror(e));
}

static bool address_is_local(const struct sockaddr *a) {
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* ---- life ---- */

static void metrics_start(tine_metrics_server *s, const struct addrinfo *a) {
    sigset_t all, before;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO;
    if (a->ai_family == AF_INET6) flags |= MHD_USE_IPv6;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    s->daemon =
        s->start_daemon(flags, 0, NULL, NULL, metrics_request, s, MHD_OPTION_SOCK_ADDR, a->ai_addr,
                        MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CONNECTIONS,
                        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)METRICS_TIMEOUT, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* With port 0 the log says which one it became. */
static void metrics_tell(const tine_metrics_server *s, const char *at, const struct addrinfo *a) {
    const union MHD_DaemonInfo *port = s->get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    tine_log(TINE_LOG_INFO, "metrics are served at TINE_METRICS=%s, port %u", at,
             port ? port->port : 0);
    if (!address_is_local(a->ai_addr))
        tine_log(TINE_LOG_WARN,
                 "TINE_METRICS=%s can be reached from other hosts: anyone who connects can read "
                 "the names of hosts and functions and the job's counters",
                 at);
}

tine_error tine_metrics_serve(tine_metrics_server **out, const char *at, tine_coordinator *c) {
    struct addrinfo *a = NULL;
    *out = NULL;
    tine_error e = metrics_address(at, &a);
    if (e != TINE_OK) return e;
    tine_metrics_server *s = calloc(1, sizeof *s);
    if (!s) {
        e = tine_error_set(TINE_ENOMEM, "no memory for a server of metrics");
    } else if (!metrics_library_open(s)) {
        e = tine_error_set(TINE_EIO,
                           "TINE_METRICS=%s needs libmicrohttpd (Debian: "
                           "libmicrohttpd12), which cannot be loaded",
                           at);
    } else {
        s->coordinator = c;
        errno = 0;
        metrics_start(s, a);
        if (!s->daemon)
            e = tine_error_set(TINE_EIO, "TINE_METRICS=%s: cannot listen: %s", at,
                               errno ? strerror(errno)
                                     : "the address is taken, or not this host's");
    }
    if (e == TINE_OK) {
        metrics_tell(s, at, a);
        *out = s;
    } else {
        tine_metrics_stop(s);
    }
    freeaddrinfo(a);
    return e;
}

/* The library stays loaded: its thread may still be returning from it. */
void tine_metrics_stop(tine_metrics_server *s) {
    if (!s) return;
    if (s->daemon) s->stop_daemon(s->daemon);
    free(s);
}

#else
tine_error tine_metrics_serve(tine_metrics_server **out, const char *at, tine_coordinator *c) {
    (void)c;
    *out = NULL;
    return tine_error_set(TINE_EIO,
                          "TINE_METRICS=%s: this Tine was built without libmicrohttpd (Debian: "
                          "libmicrohttpd-dev)",
                          at);
}

void tine_metrics_stop(tine_metrics_server *s) { (void)s; }
#endif
