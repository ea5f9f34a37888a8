/* The conformance suite of the transport contract: one list of cases that every transport passes
 * unchanged.
 *
 * A case is two roles, a listener and a connector, each a function that drives its own end and
 * returns whether what it saw is right. How the roles are brought together is the host's matter:
 * connectors are threads (inproc), child processes (ipc, tcp) or other ranks (mpi). The host gives
 * each connector an index, and gates: the listener's role opens the gate of a connector
 * (`tine_conf_go`), the connector's role waits for it (`tine_conf_await`). The first gate is the
 * start: before it the host has to make the listener's URL known to the connector.
 *
 * Threads and processes are hosted here (tine_conf_run); another host calls tine_conf_listen and
 * tine_conf_connect. */
#ifndef TINE_TESTS_SUPPORT_CONFORMANCE_H
#define TINE_TESTS_SUPPORT_CONFORMANCE_H

#include "transport/base/ring.h"
#include "transport/transport.h"

/* All cases, X(name), for the files that make tests of them. */
// clang-format off
#define TINE_CONF_CASES(X)                                                                       \
    X(order) X(zero_length) X(many_buffers) X(large) X(unaligned) X(large_header)                \
    X(overtaking) X(parallel_large) X(busy) X(death_in_mid_send) X(listener_lost) X(reconnect)   \
    X(late_listener) X(connect_to_nobody) X(close_pending) X(listener_close_pending)             \
    X(back_pressure) X(max_frame) X(drop) X(wake) X(unknown_peer) X(defaults)                    \
    X(sending_past_max_frame) X(header_sizes) X(holding) X(holding_pending)
// clang-format on

enum {
    TINE_CONF_CONNECTORS = 4,
    TINE_CONF_ARENA = 1 << 30, /* bytes, where buffers are lent */
    /* a connector dies: not for transports with TINE_TRANSPORT_KILLS_JOB */
    TINE_CONF_DIES = 1,
    TINE_CONF_LATE = 2,      /* connectors start before there is a listener, or without one */
    TINE_CONF_OVERTAKES = 4, /* not for transports with TINE_TRANSPORT_WHOLE */
    TINE_CONF_LISTENER_DIES = 8,
};

typedef struct tine_conf_host tine_conf_host;

/* One side, as its role sees it. */
typedef struct tine_conf_end {
    const tine_transport_ops *ops;
    tine_transport *t; /* NULL after tine_conf_die in a thread */
    const char *url;
    const char *scheme;
    int index; /* connector: 0, 1, … */
    tine_conf_host *host;
    tine_ring early; /* of tine_event: what came while a lane was opened */
    char why[256];   /* a role that returns false says why */
} tine_conf_end;

struct tine_conf_host {
    /* After UP both ends go on only when so much goes through shared memory; nothing does if this
     * is TINE_LANE_UNUSED. */
    tine_lane_use lane;
    /* Opens a gate of a connector; the first starts it. */
    void (*go)(tine_conf_host *h, int index);
    /* Connector: waits for its next gate. */
    void (*await)(tine_conf_host *h, int index);
    /* Connector: ends without a message. In a thread it returns. */
    void (*die)(tine_conf_host *h, tine_conf_end *e);
};

typedef struct tine_conf_case {
    const char *name;
    int connectors;
    unsigned flags;
    tine_transport_config listen, connect;
    bool (*listener)(tine_conf_end *e);
    bool (*connector)(tine_conf_end *e);
} tine_conf_case;

/* The key that both ends are given; NULL: none. */
extern const char *tine_conf_key;

const tine_conf_case *tine_conf_find(const char *name); /* NULL: no such case */

/* One connector's part: waits for its first gate, opens its end at `url` (looked at after the
 * gate), plays its role. */
bool tine_conf_connect(const tine_conf_case *c, const char *scheme, const char *url, int index,
                       tine_conf_host *h, char *why, size_t why_size);
/* The listener's part at `url`; what the URL turned out to be is written to `actual` before the
 * first gate opens. */
bool tine_conf_listen(const tine_conf_case *c, const char *scheme, const char *url, char *actual,
                      size_t actual_size, tine_conf_host *h, char *why, size_t why_size);

/* Runs a case over a scheme: "inproc" in threads, "ipc" and "tcp" in child processes without a
 * lane, "ipc+lane" and "tcp+lane" with one, "ipc+leases" with one that also lends large buffers.
 * False with a sentence in `why`. */
bool tine_conf_run(const char *scheme, const char *name, char *why, size_t why_size);

/* For roles, here and in tests of one transport. */
void tine_conf_go(tine_conf_end *e, int index);
void tine_conf_await(tine_conf_end *e);
/* The next event within 20 s, NONE when there was none. */
tine_event tine_conf_next(tine_conf_end *e);
/* Sends, waiting for room; frees the frame when it cannot be sent. The events that come meanwhile
 * must be WRITABLE. */
bool tine_conf_send(tine_conf_end *e, tine_peer peer, tine_frame *f);
/* A frame with a header of `header` bytes and one buffer (none: SIZE_MAX), filled from `seed`; the
 * same again is checked. */
tine_frame *tine_conf_frame(size_t header, size_t buffer, uint32_t seed);
bool tine_conf_check(const tine_frame *f, size_t header, size_t buffer, uint32_t seed);
void tine_conf_fill(void *to, size_t n, uint32_t seed);
bool tine_conf_filled(const void *p, size_t n, uint32_t seed);

#define TINE_CONF_REQUIRE(e, condition, ...)                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            int n_ =                                                                               \
                snprintf((e)->why, sizeof(e)->why, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            if (n_ > 0 && (size_t)n_ < sizeof(e)->why)                                             \
                snprintf((e)->why + n_, sizeof(e)->why - (size_t)n_, __VA_ARGS__);                 \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

#endif
