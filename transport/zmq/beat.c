/* Heartbeats: they find a lost peer on another host where no packet reports the loss (a cut cable,
 * a host without power, a stopped process).
 *
 * The I/O threads of both libraries exchange ZMTP PING and PONG each beat, also while a task
 * computes. libzmq's own timeout is off: it also counts time in which this process did not run
 * (Ctrl-Z, a debugger, a paused virtual machine), and takes live peers for dead afterwards. Instead
 * the transport asks the kernel once a beat when a connection last received anything, and finds the
 * beat missed or not. After a pause of any length the first check finds one beat missed, and the
 * PONG arrives before the next. So only beats in which this process ran count.
 *
 * A peer on this host has no heartbeat: the kernel closes its connection when it ends, and as long
 * as it is stopped it is not dead; unless the connector wants one (beats_here).
 *
 * A connection outlives a link that is down: what was sent meanwhile is sent again by the kernel.
 * So a patient peer is only reported as silent, and lost much later. */
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "transport/zmq/internal.h"

enum {
    BEATS_MISSED = 10, /* in a row: the peer is lost, or silent */
    /* a patient one is lost; more than twice the minute for which a link may be down, since the
     * kernel of a Linux before 6.15 may let as much time pass until it sends again */
    BEATS_PATIENT = 150,
    RESEND_MS = 2000, /* longer than a round trip takes on most networks; 1000 is the least */
};

#ifndef TCP_RTO_MAX_MS /* since Linux 6.15 */
#define TCP_RTO_MAX_MS 44
#endif

typedef struct host_address {
    uint8_t bytes[16];
    bool known, loopback;
} host_address;

static host_address host_address_of(const struct sockaddr_storage *s) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    host_address a = {.known = true};
    if (s->ss_family == AF_INET) {
        memcpy(a.bytes, mapped, sizeof mapped);
        memcpy(a.bytes + 12, &((const struct sockaddr_in *)s)->sin_addr, 4);
    } else if (s->ss_family == AF_INET6) {
        memcpy(a.bytes, &((const struct sockaddr_in6 *)s)->sin6_addr, 16);
    } else {
        a.known = false;
    }
    a.loopback = memcmp(a.bytes, mapped, sizeof mapped) == 0
                     ? a.bytes[12] == 127
                     : memcmp(a.bytes, &in6addr_loopback, sizeof in6addr_loopback) == 0;
    return a;
}

bool tine_zmq_is_remote(const tine_zmq *t, int fd) {
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t n = sizeof here, m = sizeof there;
    if (!t->tcp || fd < 0) return false;
    if (getsockname(fd, (struct sockaddr *)&here, &n) != 0) return false;
    if (getpeername(fd, (struct sockaddr *)&there, &m) != 0) return false;
    host_address a = host_address_of(&here), b = host_address_of(&there);
    return a.known && b.known && !b.loopback && memcmp(a.bytes, b.bytes, sizeof a.bytes) != 0;
}

/* Bytes that have arrived and are not read yet count as received. */
static bool beat_missed(const tine_zmq *t, int fd) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int unread = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
    if (ioctl(fd, FIONREAD, &unread) == 0 && unread > 0) return false;
    return info.tcpi_last_data_recv > t->base.config.heartbeat_ns * 3 / 2 / 1000000;
}

/* The kernel waits twice as long before each further attempt to send, up to two minutes: a link
 * that was down for a minute would be used again after another one. A shorter wait alone would end
 * the connection after fifteen attempts, so a time is set, too. */
void tine_zmq_beat_patiently(const tine_zmq *t, int fd) {
    int64_t ms = t->base.config.heartbeat_ns / 1000000;
    int resend = RESEND_MS, most = INT_MAX / BEATS_PATIENT / 2;
    int until = (int)(ms < most ? ms : most) * BEATS_PATIENT * 2;
    if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &until, sizeof until) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &resend, sizeof resend);
}

double tine_zmq_silent_for(const tine_zmq *t, const tine_zmq_peer *p) {
    bool silent = p->missed >= BEATS_MISSED;
    return silent ? (double)t->base.config.heartbeat_ns * p->missed / 1e9 : 0;
}

/* After 10, 20, 40 and 80 beats. */
static bool is_told(unsigned missed) {
    unsigned times = missed / BEATS_MISSED;
    return missed % BEATS_MISSED == 0 && times > 0 && !(times & (times - 1));
}

static void beat_check(tine_zmq *t, tine_zmq_peer *p) {
    char reason[sizeof p->reason];
    if ((!p->remote && !t->base.config.beats_here) || p->state != TINE_ZMQ_PEER_UP ||
        p->disconnected)
        return;
    if (!beat_missed(t, p->fd)) {
        if (p->missed >= BEATS_MISSED) tine_zmq_peer_silence(t, p, TINE_EVENT_HEARD, "");
        p->missed = 0;
        return;
    }
    p->missed++;
    snprintf(reason, sizeof reason,
             "it sent nothing for %g s (%u heartbeats were missed while this process ran)",
             tine_zmq_silent_for(t, p), p->missed);
    if (p->missed >= (p->patient ? BEATS_PATIENT : BEATS_MISSED))
        tine_zmq_peer_lose(t, p, false, reason);
    else if (is_told(p->missed))
        tine_zmq_peer_silence(t, p, TINE_EVENT_SILENT, reason);
}

void tine_zmq_beat(tine_zmq *t, int64_t now) {
    if (now < t->beat_at) return;
    t->beat_at = now + t->base.config.heartbeat_ns;
    tine_zmq_peer *p;
    for (size_t i = 0; i < TINE_ZMQ_BUCKETS; i++)
        LIST_FOREACH (p, &t->by_id[i], by_id) beat_check(t, p);
}
