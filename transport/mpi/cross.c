/* Connections between two ranks other than 0, over which workers pass and fetch results. The URL of
 * a connector is its number (tine_mpi_number). One of the two sends HELLO on the tag on which the
 * other one receives everything else, too, and is answered with another: from then on either is the
 * other's peer as rank 0 is, with an id that tells it from rank 0. If both send one at the same
 * time, each takes the other's for the answer. Once such a connection has ended there is none again
 * between the two openings. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "transport/mpi/internal.h"

int tine_mpi_own_url(const tine_mpi *t, char *url, size_t size) {
    if (t->listener) return -1;
    snprintf(url, size, "mpi://%" PRIu64, tine_mpi_number(t, t->rank, t->opening));
    return 1;
}

uint32_t tine_mpi_connection(const tine_mpi *t, const tine_mpi_peer *p) {
    if (t->listener) return p->identity.opening;
    return p->rank ? t->opening + p->identity.opening : t->opening;
}

static int hello_send(tine_mpi *t, tine_mpi_peer *p) {
    return tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_HELLO}, &t->identity,
                                 sizeof t->identity);
}

/* A connection with this opening of the other rank, in place of one with an earlier. */
static void cross_begin(tine_mpi *t, tine_mpi_peer *p, uint32_t opening) {
    if (p->state == TINE_MPI_UP || p->called_until)
        tine_mpi_lose(t, p, false, "it has connected again");
    p->identity.opening = opening;
    tine_mpi_peer_renew(t, p);
}

/* The connector with this number, whether it is connected or not; NULL: there is none. */
static tine_mpi_peer *cross_peer(const tine_mpi *t, tine_peer number, uint32_t *opening) {
    tine_peer size = (tine_peer)t->size, before = number ? (number - 1) / size : UINT64_MAX;
    if (t->listener || before >= INT32_MAX / TINE_MPI_TAGS / 2) return NULL;
    tine_mpi_peer *p = tine_mpi_peer_at(t, (int)((number - 1) % size));
    *opening = (uint32_t)before + 1;
    return p && p->rank ? p : NULL;
}

/* Sends HELLO, unless such a connection is, was or is being made. identity NULL: not known yet. */
static int cross_call(tine_mpi *t, tine_mpi_peer *p, uint32_t opening,
                      const tine_mpi_identity *identity) {
    if (opening <= p->identity.opening) return 0;
    cross_begin(t, p, opening);
    if (identity) {
        p->identity = *identity;
        p->doorbell = tine_mpi_doorbell_of(&t->identity, identity);
    }
    int err = hello_send(t, p);
    if (err) return err;
    p->called_until = tine_clock_ns() + TINE_MPI_MISSED * t->base.config.heartbeat_ns;
    t->n_called++;
    return 0;
}

int tine_mpi_join(tine_mpi *t, const char *url, tine_peer *peer) {
    tine_peer number;
    uint32_t opening;
    char more;
    if (sscanf(url, "mpi://%19" SCNu64 "%c", &number, &more) != 1) return -EINVAL;
    tine_mpi_peer *p = cross_peer(t, number, &opening);
    if (!p) return -EINVAL;
    *peer = tine_peer_other(number);
    if (cross_call(t, p, opening, NULL) || p->id != *peer) return -EPIPE;
    if (p->called_until) return 0;
    return p->state == TINE_MPI_UP && !p->leaving ? 1 : -EPIPE;
}

int tine_mpi_pair(tine_mpi *t, tine_mpi_peer *a, tine_mpi_peer *b) {
    if (a == b || a->state != TINE_MPI_UP || b->state != TINE_MPI_UP) return -EINVAL;
    if (a->leaving || b->leaving || !a->doorbell || !b->doorbell) return -EINVAL;
    tine_mpi_head h = {.kind = TINE_MPI_JOIN, .body = b->id};
    return tine_mpi_send_control(t, a, h, &b->identity, sizeof b->identity);
}

const char *tine_mpi_cross_told(tine_mpi *t, tine_peer number, const uint8_t *extra, size_t size) {
    tine_mpi_identity identity = {0};
    uint32_t opening = 0;
    tine_mpi_peer *p = cross_peer(t, number, &opening);
    if (size == sizeof identity) memcpy(&identity, extra, sizeof identity);
    if (!p || size != sizeof identity || identity.opening != opening)
        return "it named a connector that cannot be";
    (void)cross_call(t, p, opening, &identity);
    return NULL;
}

static void cross_hello(tine_mpi *t, tine_mpi_peer *p, const tine_mpi_identity *identity) {
    bool answers = p->called_until && identity->opening == p->identity.opening;
    uint32_t opening;
    if (!cross_peer(t, tine_mpi_number(t, p->rank, identity->opening), &opening)) return;
    if (identity->opening == p->identity.opening && p->state == TINE_MPI_GONE)
        tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_BYE}, NULL, 0);
    if (identity->opening <= p->identity.opening && !answers) return;
    if (!answers) cross_begin(t, p, identity->opening);
    t->n_called -= answers;
    p->called_until = 0;
    p->identity = *identity;
    tine_mpi_peer_up(t, p);
    if (!answers && hello_send(t, p)) tine_mpi_lose(t, p, false, "it cannot be answered");
}

bool tine_mpi_cross_message(tine_mpi *t, tine_mpi_peer *p, const tine_mpi_head *h,
                            const uint8_t *extra, size_t size) {
    tine_mpi_identity identity;
    bool known = h->version == TINE_MPI_VERSION;
    if (known && h->kind == TINE_MPI_HELLO && size == sizeof identity) {
        memcpy(&identity, extra, sizeof identity);
        cross_hello(t, p, &identity);
        return true;
    }
    bool refused = known && h->kind == TINE_MPI_BYE && p->called_until;
    if (refused && h->opening == tine_mpi_connection(t, p))
        tine_mpi_lose(t, p, false, "it has closed the connection");
    return p->state != TINE_MPI_UP;
}

void tine_mpi_cross_check(tine_mpi *t) {
    int64_t now = tine_clock_ns();
    for (int i = 1; i < t->n_peers; i++)
        if (t->peers[i].called_until && now >= t->peers[i].called_until)
            tine_mpi_lose(t, &t->peers[i], false, "it did not answer");
}
