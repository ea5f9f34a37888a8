/* ipc://PATH and tcp://HOST:PORT over ZeroMQ: the coordinator listens with a ROUTER, workers
 * connect with a DEALER. FRAMING.md describes the bytes on the wire, so that a worker can be
 * written in another language; internal.h lists the files. This one opens, closes and waits.
 *
 * Each transport has a ZeroMQ context, so one I/O thread, of its own: two transports share nothing,
 * and closing one returns everything that libzmq holds for it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/base/count.h"
#include "transport/zmq/lease.h"
#include "transport/zmq/pair.h"

enum { IPC_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

/* Between two probes of a suspect (peer.c). */
static const int64_t PROBE_NS = 1000000;
/* A peer for which libzmq's queue was full is tried again after this, in case no signal came. */
static const int64_t RETRY_NS = 10000000;

static const char *zmq_transport_version(void) {
    static char text[32];
    if (!text[0]) {
        int major, minor, patch;
        zmq_version(&major, &minor, &patch);
        snprintf(text, sizeof text, "libzmq %d.%d.%d", major, minor, patch);
    }
    return text;
}

static int check_url(const char *url, char *why, size_t why_size) {
    bool ipc = !strncmp(url, "ipc://", 6), tcp = !strncmp(url, "tcp://", 6);
    if ((!ipc && !tcp) || !url[6] || strlen(url) >= TINE_ZMQ_URL_MAX) {
        snprintf(why, why_size, "\"%.80s\" is not an address: write ipc://PATH or tcp://HOST:PORT",
                 url);
        return -EINVAL;
    }
    if (ipc && strlen(url + 6) > IPC_PATH_MAX) {
        snprintf(why, why_size,
                 "the path of \"ipc://%.40s...\" has %zu bytes, and a socket's path may have %d: "
                 "choose a shorter one",
                 url + 6, strlen(url + 6), IPC_PATH_MAX);
        return -EINVAL;
    }
    return 0;
}

static void zmq_transport_free(tine_zmq *t) {
    tine_zmq_peers_free(t);
    tine_zmq_lanes_fini(t);
    tine_zmq_arena_close(t);
    tine_zmq_path_remove(t);
    tine_zmq_disconnect(t);
    if (t->context) zmq_ctx_term(t->context);
    tine_zmq_free_returned(t);
    tine_doorbell_fini(&t->doorbell);
    if (t->gate_fd >= 0) close(t->gate_fd);
    free(t->silent);
    tine_ring_fini(&t->silent_ends);
    free(t);
}

static int zmq_transport_new(tine_zmq **out, const char *url, const tine_transport_config *config,
                             bool listener, char *why, size_t why_size) {
    int rc = check_url(url, why, why_size);
    if (rc) return rc;
    tine_zmq *t = calloc(1, sizeof *t);
    if (!t) goto no_memory;
    t->base.ops = &tine_transport_zmq;
    t->base.config = tine_transport_defaults(config);
    if (t->base.config.chunk < FRAMING_MIN_CHUNK) t->base.config.chunk = FRAMING_MIN_CHUNK;
    if (t->base.config.chunk > FRAMING_MAX_CHUNK) t->base.config.chunk = FRAMING_MAX_CHUNK;
    t->listener = t->spin.listens = listener;
    t->tcp = url[0] == 't';
    t->phase = listener ? TINE_ZMQ_LISTENING : TINE_ZMQ_CONNECTING;
    t->next_id = 1;
    TAILQ_INIT(&t->waiting);
    TAILQ_INIT(&t->reporting);
    TAILQ_INIT(&t->lanes);
    t->bell = -1;
    t->doorbell.fd = -1;
    t->gate_fd = t->door_fd = -1;
    tine_zmq_silent_ends_init(t);
    snprintf(t->url, sizeof t->url, "%s", url);
    rc = tine_zmq_addresses(t, why, why_size);
    if (!rc) rc = tine_zmq_key_take(t, why, why_size);
    if (rc) {
        zmq_transport_free(t);
        return rc;
    }
    int checks = t->base.config.checksums;
    t->asks_checks = checks ? checks > 0 : t->tcp && !t->encrypted;
    tine_zmq_arena_open(t);
    if (tine_doorbell_init(&t->doorbell) || !(t->context = zmq_ctx_new())) goto no_memory;
    *out = t;
    return 0;
no_memory:
    if (t) zmq_transport_free(t);
    snprintf(why, why_size, "no memory or file descriptor for %.80s", url);
    return -ENOMEM;
}

static int zmq_transport_listen(tine_transport **out, const char *url,
                                const tine_transport_config *config, char *why, size_t why_size) {
    tine_zmq *t = NULL;
    int rc = zmq_transport_new(&t, url, config, true, why, why_size);
    if (rc) return rc;
    rc = tine_zmq_open(t, why, why_size);
    if (rc) goto fail;
    if (tine_zmq_path_make(t) || tine_zmq_path_in_use(t) || tine_zmq_listen(t)) {
        rc = tine_zmq_listen_failed(t, why, why_size);
        goto fail;
    }
    *out = &t->base;
    return 0;
fail:
    zmq_transport_free(t);
    return rc;
}

static int zmq_transport_restore(tine_transport *base, char *why, size_t why_size) {
    tine_zmq *t = (tine_zmq *)base;
    const char *path = tine_zmq_path(t);
    if (!path || !t->socket || access(path, F_OK) == 0) return 0;
    return tine_zmq_listen_again(t) ? tine_zmq_listen_failed(t, why, why_size) : 0;
}

static int zmq_transport_connect(tine_transport **out, const char *url,
                                 const tine_transport_config *config, char *why, size_t why_size) {
    tine_zmq *t = NULL;
    int rc = zmq_transport_new(&t, url, config, false, why, why_size);
    if (rc) return rc;
    t->deadline = t->base.config.connect_ns < 0 ? -1 : tine_clock_ns() + t->base.config.connect_ns;
    snprintf(t->last_error, sizeof t->last_error, "no answer");
    rc = tine_zmq_attempt(t, why, why_size);
    if (rc) {
        zmq_transport_free(t);
        return rc;
    }
    *out = &t->base;
    return 0;
}

static const char *zmq_transport_url(const tine_transport *base) {
    return ((const tine_zmq *)base)->url;
}

static int zmq_transport_own_url(const tine_transport *base, char *url, size_t size) {
    return tine_zmq_own_url((const tine_zmq *)base, url, size);
}

static bool zmq_transport_encrypted(const tine_transport *base) {
    return ((const tine_zmq *)base)->encrypted;
}

static bool zmq_transport_exposed(const tine_transport *base) {
    const tine_zmq *t = (const tine_zmq *)base;
    return tine_zmq_is_reachable(t) && !t->encrypted;
}

static int zmq_transport_send(tine_transport *base, tine_peer peer, tine_frame *f) {
    tine_zmq *t = (tine_zmq *)base;
    size_t bytes = tine_frame_bytes(f);
    if (peer & tine_peer_other(0)) return t->closed ? -EPIPE : tine_zmq_pair_send(t, peer, f);
    if (!tine_transport_may_send(base, f, bytes)) return -EINVAL;
    if (!bytes && f->n_buffers > FRAMING_WHOLE_BUFFERS) return -EINVAL;
    tine_zmq_peer *p = t->closed ? NULL : tine_zmq_peer_by_id(t, peer);
    if (!p || p->state != TINE_ZMQ_PEER_UP || p->disconnected) return -EPIPE;
    return tine_zmq_send_frame(t, p, f);
}

/* What has to be done beside reading; true: `ev` is an event. `dry`: the socket has been read to
 * the end. *again: the socket is to be read once more. */
static bool housekeep(tine_zmq *t, bool dry, tine_event *ev, bool *again) {
    t->messages = 0;
    if (t->n_strangers) tine_zmq_strangers_check(t, tine_clock_ns());
    if (t->beats) tine_zmq_beat(t, tine_clock_ns());
    if (!TAILQ_EMPTY(&t->waiting)) tine_zmq_flush(t, true);
    if (!LIST_EMPTY(&t->watched) && tine_zmq_check_watched(t, dry)) *again = true;
    if ((t->monitor_ready || t->silent_ends.n || !dry || t->phase == TINE_ZMQ_CONNECTING) &&
        tine_zmq_progress(t, dry, ev))
        return true;
    tine_zmq_admit(t);
    if (t->zap) tine_zmq_zap(t);
    if (!LIST_EMPTY(&t->watched) || t->hung_up) *again = true;
    return tine_zmq_next_report(t, ev);
}

/* After so many bytes the caller has a turn even if more can be read: it has deadlines to keep, and
 * pieces of a large frame are no events. Its wait returns at once. */
static bool turn_is_over(tine_zmq *t, tine_event *ev) {
    bool again = false;
    if (t->turn_bytes < TINE_ZMQ_TURN_BYTES) return false;
    t->turn_bytes = 0;
    housekeep(t, false, ev, &again);
    return true;
}

static int zmq_transport_recv(tine_transport *base, tine_event *ev) {
    tine_zmq *t = (tine_zmq *)base;
    *ev = (tine_event){.kind = TINE_EVENT_NONE};
    tine_zmq_free_returned(t);
    if (!TAILQ_EMPTY(&t->waiting) && (atomic_load(&t->room) || tine_zmq_lanes_have_room(t)))
        tine_zmq_flush(t, false);
    /* Poll twice more to drain the socket: to find which peer is disconnected, and to read what it
     * sent last. */
    for (int dry = 0; dry < 3;) {
        if (!TAILQ_EMPTY(&t->reporting) && tine_zmq_next_report(t, ev)) return 0;
        if (turn_is_over(t, ev)) return 0;
        bool again = false, look = !t->n_lanes;
        if (!look && tine_zmq_lanes_receive(t, ev, &look)) return 0;
        if (!look) {
            tine_zmq_next_report(t, ev);
            return 0;
        }
        int what = tine_zmq_receive(t, ev);
        if (what == TINE_ZMQ_RECEIVED_EVENT) return 0;
        if (what == TINE_ZMQ_RECEIVED_NONE) {
            t->turn_bytes = 0;
            if (housekeep(t, true, ev, &again)) return 0;
            if (!again) return 0;
            dry++;
        } else if (t->messages >= TINE_ZMQ_HOUSEKEEP_EVERY && housekeep(t, false, ev, &again)) {
            return 0;
        }
    }
    return 0;
}

static int64_t next_timeout(const tine_zmq *t) {
    int64_t timeout = -1, now;
    if (!LIST_EMPTY(&t->watched) || t->silent_ends.n) timeout = PROBE_NS;
    if (!TAILQ_EMPTY(&t->waiting)) timeout = tine_timeout_min(timeout, RETRY_NS);
    bool looks = t->scarce || t->strangers_full;
    if (t->phase != TINE_ZMQ_CONNECTING && !t->beats && !t->n_strangers && !looks) return timeout;
    now = tine_clock_ns();
    if (looks) timeout = tine_timeout_min(timeout, t->look_at > now ? t->look_at - now : 0);
    if (t->n_strangers && t->strangers_at < INT64_MAX)
        timeout = tine_timeout_min(timeout, t->strangers_at > now ? t->strangers_at - now : 0);
    if (t->beats) timeout = tine_timeout_min(timeout, t->beat_at > now ? t->beat_at - now : 0);
    if (t->phase != TINE_ZMQ_CONNECTING) return timeout;
    int64_t next = tine_timeout_min(t->attempt_until, t->deadline);
    return tine_timeout_min(timeout, next > now ? next - now : 0);
}

/* ZMQ_FD is edge-triggered and sending may consume its edge. So the socket itself is asked before a
 * wait, unless it has been read to the end since. True: something can be read. */
static bool socket_readable(tine_zmq *t) {
    int events = 0;
    size_t size = sizeof events;
    if (!t->dirty || !t->socket) return false;
    t->dirty = false;
    zmq_getsockopt(t->socket, ZMQ_EVENTS, &events, &size);
    if (events & ZMQ_POLLIN) t->dirty = true;
    return t->dirty;
}

static void zmq_transport_wait(tine_transport *base, int64_t timeout_ns) {
    tine_zmq *t = (tine_zmq *)base;
    if (!TAILQ_EMPTY(&t->reporting) || t->monitor_ready || t->knock || socket_readable(t)) return;
    if (!TAILQ_EMPTY(&t->waiting)) {
        tine_zmq_flush(t, true);
        if (!TAILQ_EMPTY(&t->reporting) || socket_readable(t)) return;
    }
    timeout_ns = tine_timeout_min(timeout_ns, next_timeout(t));
    if (t->n_lanes && tine_zmq_lanes_wait(t, timeout_ns)) return;
    tine_zmq_bells_ring(t);
    if (t->has_arena)
        timeout_ns = tine_timeout_min(timeout_ns, tine_zmq_lanes_tidy(t, tine_clock_ns()));
    struct timespec ts = tine_timespec(timeout_ns < 0 ? 0 : timeout_ns);
    struct pollfd p[6] = {{.fd = t->doorbell.fd, .events = POLLIN},
                          {.fd = t->socket ? t->socket_fd : -1, .events = POLLIN},
                          {.fd = t->monitor ? t->monitor_fd : -1, .events = POLLIN},
                          {.fd = tine_zmq_watches_door(t) ? t->door_fd : -1, .events = POLLIN},
                          {.fd = t->zap ? t->zap_fd : -1, .events = POLLIN},
                          {.fd = t->bell, .events = POLLIN}};
    int ready = ppoll(p, 6, timeout_ns < 0 ? NULL : &ts, NULL);
    if (t->n_lanes) tine_zmq_lanes_awake(t);
    if (ready <= 0) return;
    if (p[5].revents) tine_shm_bell_clear(t->bell);
    if (p[5].revents && ready == 1) tine_zmq_lanes_rung(t);
    if (p[0].revents) tine_doorbell_clear(&t->doorbell);
    if (p[1].revents) t->dirty = true;
    if (p[2].revents) t->monitor_ready = true;
    if (p[3].revents) t->knock = true;
}

static bool zmq_transport_busy(tine_transport *base) {
    const tine_zmq *t = (tine_zmq *)base;
    return !TAILQ_EMPTY(&t->waiting) || t->arriving;
}

static void zmq_transport_wake(tine_transport *base) {
    tine_doorbell_ring(&((tine_zmq *)base)->doorbell);
}

static void zmq_transport_drop(tine_transport *base, tine_peer peer, bool bad, const char *reason) {
    tine_zmq *t = (tine_zmq *)base;
    tine_zmq_peer *p = tine_zmq_peer_by_id(t, peer);
    if (p) tine_zmq_peer_lose(t, p, bad, reason);
    if (peer & tine_peer_other(0)) tine_zmq_pair_drop(t, peer, bad, reason);
}

static void zmq_transport_hold(tine_transport *base, bool on) {
    tine_zmq_bells_hold((tine_zmq *)base, on);
}

static int zmq_transport_pair(tine_transport *base, tine_peer a, tine_peer b) {
    return tine_zmq_pair_make((tine_zmq *)base, a, b);
}

static void zmq_transport_close(tine_transport *base) { ((tine_zmq *)base)->closed = true; }

/* Sends BYE to each peer for which nothing is queued any more. *unsent: how many peers there are
 * for which something is. Returns how many have neither answered nor disconnected yet, which they
 * do when they have read everything. */
static unsigned peers_part(tine_zmq *t, unsigned *unsent) {
    unsigned present = 0;
    tine_zmq_peer *p;
    *unsent = 0;
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        LIST_FOREACH (p, &t->by_id[i], by_id) {
            if (p->state != TINE_ZMQ_PEER_UP || p->disconnected) continue;
            present++;
            if (p->queued || atomic_load(&p->flight->bytes)) {
                ++*unsent;
            } else if (!p->bye_sent) {
                p->bye_sent = true;
                tine_zmq_send_bye(t, p, "it was closed");
            }
        }
    return present;
}

/* Empties the queues and then waits for the peers' answers to BYE: a TCP connection that is closed
 * before the other side has read everything can lose what is on its way. What arrives meanwhile is
 * discarded. The transport carries nothing afterwards. */
static bool zmq_transport_stop(tine_transport *base) {
    tine_zmq *t = (tine_zmq *)base;
    int64_t until = tine_clock_ns() + t->base.config.linger_ns, left;
    unsigned unsent = 0, present = 0;
    t->closed = true;
    if (!t->socket) return true;
    while ((present = peers_part(t, &unsent)) && (left = until - tine_clock_ns()) > 0) {
        tine_event ev;
        zmq_transport_recv(base, &ev);
        tine_frame_free(ev.frame);
        if (ev.kind == TINE_EVENT_NONE) zmq_transport_wait(base, left < RETRY_NS ? left : RETRY_NS);
    }
    int linger = 1; /* for the last BYE */
    if (t->socket) zmq_setsockopt(t->socket, ZMQ_LINGER, &linger, sizeof linger);
    tine_zmq_disconnect(t);
    t->phase = TINE_ZMQ_OVER;
    zmq_ctx_term(t->context);
    t->context = NULL;
    return !unsent && !present;
}

static void zmq_transport_fini(tine_transport *base) {
    if (base) zmq_transport_free((tine_zmq *)base);
}

static void zmq_transport_stats(const tine_transport *base, tine_transport_stats *out) {
    tine_counts_copy(out, &((const tine_zmq *)base)->stats, sizeof *out);
}

static tine_lane_use zmq_transport_uses_lane(const tine_transport *base, tine_peer peer) {
    const tine_zmq_peer *p = tine_zmq_peer_by_id((tine_zmq *)base, peer);
    if (!p || !tine_zmq_lane_is_used(p)) return TINE_LANE_UNUSED;
    return tine_zmq_lane_lends(p) ? TINE_LANE_BUFFERS : TINE_LANE_FRAMES;
}

static uint32_t zmq_transport_pid(const tine_transport *base, tine_peer peer) {
    const tine_zmq_peer *p = tine_zmq_peer_by_id((tine_zmq *)base, peer);
    return p ? p->pid : 0;
}

const tine_transport_ops tine_transport_zmq = {
    .version = zmq_transport_version,
    .listen = zmq_transport_listen,
    .connect = zmq_transport_connect,
    .url = zmq_transport_url,
    .own_url = zmq_transport_own_url,
    .encrypted = zmq_transport_encrypted,
    .exposed = zmq_transport_exposed,
    .restore = zmq_transport_restore,
    .send = zmq_transport_send,
    .hold = zmq_transport_hold,
    .pair = zmq_transport_pair,
    .recv = zmq_transport_recv,
    .wait = zmq_transport_wait,
    .busy = zmq_transport_busy,
    .wake = zmq_transport_wake,
    .drop = zmq_transport_drop,
    .close = zmq_transport_close,
    .stop = zmq_transport_stop,
    .fini = zmq_transport_fini,
    .stats = zmq_transport_stats,
    .pid = zmq_transport_pid,
    .uses_lane = zmq_transport_uses_lane,
};
