/* Polling everything that may have moved once: control messages, the pieces of peers that have some
 * in flight, HELLOs. A peer comes with its HELLO and goes with its BYE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/count.h"
#include "transport/mpi/internal.h"

void tine_mpi_event_add(tine_mpi *t, tine_mpi_event e) {
    tine_mpi_event *slot = tine_ring_push(&t->events);
    if (slot) {
        *slot = e;
        return;
    }
    t->broken = true; /* without this event the event loop would wait for ever */
    tine_frame_free(e.frame);
    free(e.reason);
}

void tine_mpi_mark_busy(tine_mpi *t, tine_mpi_peer *p) {
    if (p->busy) return;
    p->busy = true;
    p->next_busy = t->busy;
    t->busy = p;
}

void tine_mpi_lose(tine_mpi *t, tine_mpi_peer *p, bool bad, const char *reason) {
    if (p->state == TINE_MPI_GONE) return;
    tine_mpi_send_held(t);
    if (tine_mpi_awaits_bye(p))
        tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_BYE}, NULL, 0);
    p->blocked = false;
    tine_mpi_send_clear(p);
    tine_mpi_receive_clear(p);
    if (!p->doorbell && p->state == TINE_MPI_UP) t->n_silent--;
    t->n_called -= p->called_until != 0;
    p->called_until = 0;
    p->state = TINE_MPI_GONE;
    tine_mpi_doorbell_close(p->doorbell, -1);
    p->doorbell = NULL;
    tine_count_add(&t->stats.peers_lost, 1);
    tine_count_add(&t->stats.peers_bad, bad);
    tine_mpi_event e = {.kind = TINE_EVENT_LOST, .peer = p, .id = p->id, .bad = bad};
    e.reason = strdup(reason);
    tine_mpi_event_add(t, e);
}

/* Rank 0 knows which cores each rank may use. It tells every rank whether those of its host
 * oversubscribe it. */
static void send_oversubscribed(tine_mpi *t) {
    tine_mpi_identity *ranks = calloc((size_t)t->size, sizeof *ranks);
    if (!ranks) return; /* each rank keeps its own guess */
    for (int i = -1; i < t->n_peers; i++) {
        const tine_mpi_identity *like = i < 0 ? &t->identity : &t->peers[i].identity;
        size_t n = 0;
        if (t->identity.host == like->host) ranks[n++] = t->identity;
        for (int k = 0; k < t->n_peers; k++)
            if (t->peers[k].identity.host == like->host) ranks[n++] = t->peers[k].identity;
        bool oversubscribed = tine_mpi_oversubscribed(ranks, n);
        tine_mpi_head h = {.kind = TINE_MPI_OVERSUBSCRIBED, .inlined = oversubscribed};
        if (i < 0)
            t->oversubscribed = oversubscribed;
        else if (t->peers[i].state == TINE_MPI_UP)
            tine_mpi_send_control(t, &t->peers[i], h, NULL, 0);
    }
    free(ranks);
}

void tine_mpi_peer_up(tine_mpi *t, tine_mpi_peer *p) {
    if (!p->doorbell) p->doorbell = tine_mpi_doorbell_of(&t->identity, &p->identity);
    p->state = TINE_MPI_UP;
    p->heard = true;
    t->n_silent += !p->doorbell;
    tine_mpi_event_add(t, (tine_mpi_event){.kind = TINE_EVENT_UP, .peer = p, .id = p->id});
}

/* Rank 0's answer to HELLO. */
static const char *peer_answered(tine_mpi *t, tine_mpi_peer *p, const uint8_t *extra, size_t size) {
    if (p->state != TINE_MPI_SILENT || size != sizeof p->identity)
        return "its hello has the wrong size, or is a second one";
    memcpy(&p->identity, extra, sizeof p->identity);
    t->n_joined = 1;
    tine_mpi_peer_up(t, p);
    return NULL;
}

void tine_mpi_peer_renew(tine_mpi *t, tine_mpi_peer *p) {
    TINE_ASSERT_TRUE(!p->held);
    tine_mpi_peer fresh = {
        .rank = p->rank, .identity = p->identity, .busy = p->busy, .next_busy = p->next_busy};
    fresh.id = tine_mpi_number(t, p->rank, p->identity.opening);
    if (tine_mpi_is_cross(t, p)) fresh.id = tine_peer_other(fresh.id);
    *p = fresh;
}

/* A rank that sends HELLO is a new peer, even if an earlier connection of it is still open. */
static void peer_greeted(tine_mpi *t, tine_mpi_peer *p) {
    t->n_joined += p->id == 0;
    tine_mpi_peer_renew(t, p);
    if (tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_HELLO}, &t->identity,
                              sizeof t->identity))
        return;
    tine_mpi_peer_up(t, p);
    if (t->n_joined == t->n_peers) send_oversubscribed(t);
}

static void read_hello(tine_mpi *t, tine_mpi_peer *p, const tine_mpi_slot *s, size_t size) {
    tine_mpi_head h;
    tine_mpi_identity identity;
    if (size != sizeof h + sizeof identity) return; /* of another version: ignored */
    memcpy(&h, s->bytes, sizeof h);
    memcpy(&identity, s->bytes + sizeof h, sizeof identity);
    if (h.version != TINE_MPI_VERSION) return;
    if (h.kind == TINE_MPI_HELLO) {
        p->leaving = true;
        if (p->state == TINE_MPI_UP) tine_mpi_lose(t, p, false, "it connected again");
        p->identity = identity;
        p->greeted = true;
    } else if (p->identity.opening == identity.opening) { /* it gave up before the answer */
        p->greeted = false;
        p->leaving = p->state == TINE_MPI_UP;
        if (p->leaving) tine_mpi_mark_busy(t, p);
    }
}

/* HELLOs are answered once all of them were read, because a BYE behind one may withdraw it. */
static bool poll_hellos(tine_mpi *t) {
    tine_mpi_slot *s = t->world->hello;
    bool moved = false;
    for (;;) {
        MPI_Status status;
        int done = 0, size = 0;
        if (MPI_Test(&s->req, &done, &status) != MPI_SUCCESS) t->broken = true;
        if (!done || t->broken) break;
        MPI_Get_count(&status, MPI_BYTE, &size);
        int k = status.MPI_SOURCE - 1;
        if (k >= 0 && k < t->n_peers && size > 0) read_hello(t, &t->peers[k], s, (size_t)size);
        if (!tine_mpi_world_post_hello(t->world)) t->broken = true;
        moved = true;
    }
    for (int i = 0; moved && i < t->n_peers; i++)
        if (t->peers[i].greeted) peer_greeted(t, &t->peers[i]);
    return moved;
}

static const char *read_taken(tine_mpi_peer *p, const tine_mpi_head *h) {
    if (h->taken - p->taken > p->sent - p->taken) return "it acknowledges more than was sent";
    p->taken = h->taken;
    return NULL;
}

/* The frames of a message of `size` bytes: one, or several that left together. What is wrong, or
 * NULL; `text` may hold it. */
static const char *read_frames(tine_mpi *t, tine_mpi_peer *p, tine_frame **message, size_t size,
                               char *text, size_t room) {
    if (p->state != TINE_MPI_UP) return "it sent a frame before its hello";
    for (size_t at = 0, end; at < size; at = end) {
        tine_mpi_head h;
        if (size - at < sizeof h) return "a message ends within a head";
        memcpy(&h, tine_mpi_message_bytes(*message) + at, sizeof h);
        if (h.kind != TINE_MPI_FRAME) return "a message has more than frames";
        const char *wrong = read_taken(p, &h);
        if (wrong) return wrong;
        end = h.inlined && h.body < size - at - sizeof h ? at + sizeof h + h.body : size;
        tine_mpi_span span = {at, end - at, .whole = end - at == size};
        if (!tine_mpi_receive_frame(t, p, message, span, text, room)) return text;
    }
    return NULL;
}

/* One control message of `size` bytes. A frame may keep its memory: then *message is another. */
static void read_control(tine_mpi *t, tine_mpi_peer *p, tine_frame **message, size_t size) {
    const uint8_t *msg = tine_mpi_message_bytes(*message);
    tine_mpi_head h = {0};
    char text[96];
    const char *wrong = NULL;
    p->heard = true;
    if (size >= sizeof h) memcpy(&h, msg, sizeof h);
    if (tine_mpi_is_cross(t, p) &&
        tine_mpi_cross_message(t, p, &h, msg + sizeof h, size - sizeof h))
        return;
    if (p->state == TINE_MPI_GONE || p->leaving) return;
    if (size < sizeof h || h.version != TINE_MPI_VERSION) {
        tine_mpi_lose(t, p, true, "it sent a message of another framing version");
        return;
    }
    if (h.opening != tine_mpi_connection(t, p)) return; /* of an earlier connection */
    if (h.kind != TINE_MPI_FRAME) wrong = read_taken(p, &h);
    if (!wrong) switch (h.kind) {
        case TINE_MPI_HELLO: wrong = peer_answered(t, p, msg + sizeof h, size - sizeof h); break;
        case TINE_MPI_FRAME: wrong = read_frames(t, p, message, size, text, sizeof text); break;
        case TINE_MPI_ACK: break;
        case TINE_MPI_BYE:
            p->leaving = true;
            p->clean = h.inlined;
            break;
        case TINE_MPI_OVERSUBSCRIBED: t->oversubscribed = h.inlined; break;
        case TINE_MPI_JOIN:
            wrong = tine_mpi_cross_told(t, h.body, msg + sizeof h, size - sizeof h);
            break;
        default: wrong = "it sent a message of an unknown kind";
        }
    if (wrong) tine_mpi_lose(t, p, true, wrong);
    if (p->leaving) tine_mpi_mark_busy(t, p);
}

void tine_mpi_post_receive(tine_mpi *t, struct tine_mpi_receive *r) {
    if (MPI_Irecv(tine_mpi_message_bytes(r->frame), TINE_MPI_SLOT, MPI_BYTE, MPI_ANY_SOURCE,
                  (int)(TINE_MPI_TAGS * t->opening + TINE_MPI_TAG_CONTROL), t->comm,
                  &r->req) != MPI_SUCCESS)
        t->broken = true;
}

/* Receives match in the order of posting, so only the oldest has to be tested. A message that comes
 * after a poll without one is likely to be alone: it is handed on before a receive is posted for
 * the next one and tested (bench_mpi: a fifth of a round trip). */
static bool poll_controls(tine_mpi *t) {
    bool moved = false, alone = t->ran_dry;
    t->ran_dry = false;
    for (int i = 0; i < TINE_MPI_SLOTS && !t->broken && !(moved && alone); i++) {
        struct tine_mpi_receive *r = &t->receives[t->next_receive];
        MPI_Status status;
        int done = 0, size = 0;
        if (t->unposted) tine_mpi_post_receive(t, t->unposted);
        t->unposted = NULL;
        int err = MPI_Test(&r->req, &done, &status);
        if (err == MPI_SUCCESS && !done) {
            t->ran_dry = true;
            break;
        }
        if (err == MPI_SUCCESS) MPI_Get_count(&status, MPI_BYTE, &size);
        tine_mpi_peer *p = tine_mpi_peer_at(t, status.MPI_SOURCE);
        if (p) read_control(t, p, &r->frame, err == MPI_SUCCESS && size > 0 ? (size_t)size : 0);
        t->woke = false;
        t->unposted = r;
        t->next_receive = (t->next_receive + 1) % TINE_MPI_SLOTS;
        moved = true;
    }
    return moved;
}

static bool lanes_busy(const tine_mpi_lane lanes[TINE_MPI_LANES]) {
    return lanes[0].head || lanes[1].head;
}

static bool progress_peer(tine_mpi *t, tine_mpi_peer *p) {
    char why[96];
    bool moved = tine_mpi_send_push(t, p);
    tine_mpi_send_held_to(t, p);
    int pulled = tine_mpi_receive_pull(t, p, why, sizeof why);
    p->heard |= pulled > 0;
    if (pulled < 0) {
        tine_mpi_lose(t, p, true, why);
    } else if (p->leaving && !(p->clean && lanes_busy(p->in))) {
        snprintf(why, sizeof why, "rank %d closed the connection", p->rank);
        tine_mpi_lose(t, p, false, why);
    }
    return moved || pulled;
}

static bool progress_busy_peers(tine_mpi *t) {
    bool moved = false;
    for (tine_mpi_peer **at = &t->busy; *at;) {
        tine_mpi_peer *p = *at;
        if (p->state == TINE_MPI_UP) moved |= progress_peer(t, p);
        if (p->state == TINE_MPI_UP &&
            (lanes_busy(p->in) || lanes_busy(p->out) || p->blocked || p->leaving)) {
            at = &p->next_busy;
        } else {
            *at = p->next_busy;
            p->busy = false;
        }
    }
    return moved;
}

bool tine_mpi_progress(tine_mpi *t) {
    if (t->broken) return false;
    bool moved = poll_controls(t);
    /* Once all ranks have joined, HELLOs are rare, and polling for them costs a fifth of a round
     * trip (bench_mpi). */
    if (t->listener && (t->n_joined < t->n_peers || t->polls++ % 64 == 0)) moved |= poll_hellos(t);
    if (t->flying_slots) tine_mpi_send_reap_slots(t);
    if (t->busy) moved |= progress_busy_peers(t);
    if (t->n_silent) moved |= tine_mpi_beat(t);
    if (t->n_called) tine_mpi_cross_check(t);
    if (t->give_up && t->n_joined == 0 && tine_clock_ns() > t->give_up) {
        t->give_up = 0;
        tine_mpi_lose(t, &t->peers[0], false, "rank 0 did not listen in time");
        moved = true;
    }
    return moved;
}
