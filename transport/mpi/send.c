/* One peer's outgoing frames. A frame is queued, announced as soon as the window has room, and its
 * pieces are sent, few at a time. It is freed when its last piece is sent: until then MPI reads
 * from the tensors themselves. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/count.h"
#include "transport/mpi/internal.h"

/* What a queued frame counts for in max_queued beside its bytes, so that empty frames are bounded
 * too. */
enum { ITEM_COST = sizeof(tine_mpi_item) + 64 };

/* A slot for a message to p. What is held for it is sent first: its acknowledgements are older. */
static tine_mpi_slot *slot_new(tine_mpi *t, tine_mpi_peer *p) {
    tine_mpi_send_held_to(t, p);
    tine_mpi_slot *s = t->idle_slots;
    if (s) {
        t->idle_slots = s->next;
    } else {
        s = aligned_alloc(64, (sizeof *s + 63) & ~(size_t)63);
        if (s) s->frame = NULL;
    }
    return s;
}

void tine_mpi_slot_free(void *slot) {
    tine_mpi_slot *s = slot;
    tine_frame_free(s->frame);
    free(s);
}

static void slot_sent(tine_mpi *t, tine_mpi_slot *s) {
    tine_frame_free(s->frame);
    s->frame = NULL;
    s->next = t->idle_slots;
    t->idle_slots = s;
}

static void peer_ring(tine_mpi *t, int rank) {
    const tine_mpi_peer *p = tine_mpi_peer_at(t, rank);
    if (p && p->doorbell) t->woke |= tine_mpi_doorbell_ring(p->doorbell);
}

static int control_tag(const tine_mpi_peer *p) {
    return (int)(TINE_MPI_TAGS * p->identity.opening + TINE_MPI_TAG_CONTROL);
}

/* Sends `size` bytes at `message`, in the slot or in its frame. On an error the caller keeps the
 * frame. */
static int slot_send(tine_mpi *t, tine_mpi_slot *s, int rank, int tag, const void *message,
                     size_t size) {
    int done = 0;
    if (MPI_Isend(message, (int)size, MPI_BYTE, rank, tag, t->comm, &s->req) != MPI_SUCCESS) {
        t->broken = true;
        free(s);
        return -EIO;
    }
    tine_count_add(&t->stats.messages_out, 1);
    MPI_Test(&s->req, &done, MPI_STATUS_IGNORE);
    s->rank = rank;
    if (done) {
        slot_sent(t, s);
    } else {
        s->next = t->flying_slots;
        t->flying_slots = s;
    }
    peer_ring(t, rank);
    return 0;
}

/* A message that was not sent at once may be sent by any later call of MPI, and its receiver may
 * sleep by then: it is woken again. */
void tine_mpi_send_reap_slots(tine_mpi *t) {
    for (tine_mpi_slot **at = &t->flying_slots; *at;) {
        tine_mpi_slot *s = *at;
        int done = 0;
        MPI_Test(&s->req, &done, MPI_STATUS_IGNORE);
        if (!done) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        slot_sent(t, s);
        peer_ring(t, s->rank);
    }
}

static void head_stamp(const tine_mpi *t, tine_mpi_peer *p, tine_mpi_head *h) {
    h->opening = tine_mpi_connection(t, p);
    h->version = TINE_MPI_VERSION;
    h->taken = p->received_taken;
    p->told = p->received_taken;
}

static int send_message(tine_mpi *t, tine_mpi_peer *p, int tag, tine_mpi_head h, const void *extra,
                        size_t extra_size) {
    tine_mpi_slot *s = slot_new(t, p);
    if (!s) return -ENOMEM;
    head_stamp(t, p, &h);
    memcpy(s->bytes, &h, sizeof h);
    if (extra_size) memcpy(s->bytes + sizeof h, extra, extra_size);
    return slot_send(t, s, p->rank, tag, s->bytes, sizeof h + extra_size);
}

int tine_mpi_send_control(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head h, const void *extra,
                          size_t extra_size) {
    return send_message(t, p, control_tag(p), h, extra, extra_size);
}

int tine_mpi_send_hello(tine_mpi *t, tine_mpi_peer *p, tine_mpi_kind kind) {
    return send_message(t, p, TINE_MPI_TAG_HELLO, (tine_mpi_head){.kind = kind}, &t->identity,
                        sizeof t->identity);
}

/* Sends the control message of a frame, with the body if it fits. */
static int frame_announce(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head *h, const tine_frame *f) {
    tine_mpi_slot *s = slot_new(t, p);
    if (!s) return -ENOMEM;
    head_stamp(t, p, h);
    memcpy(s->bytes, h, sizeof *h);
    if (h->inlined) tine_mpi_body_write(f, s->bytes + sizeof *h);
    int err =
        slot_send(t, s, p->rank, control_tag(p), s->bytes, sizeof *h + (h->inlined ? h->body : 0));
    if (!err) p->sent++;
    return err;
}

/* True: the head fits into the room in front of the frame's header, which is all of its body. */
static bool frame_has_room(tine_frame *f) {
    return !f->n_buffers && (size_t)(f->header - tine_frame_room(f)) >= sizeof(tine_mpi_head);
}

/* Sends a whole frame and consumes it: from its own memory, or else from a copy. */
static int frame_send_alone(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head *h, tine_frame *f) {
    if (!frame_has_room(f)) {
        int err = frame_announce(t, p, h, f);
        if (!err) tine_frame_free(f);
        return err;
    }
    tine_mpi_slot *s = slot_new(t, p);
    if (!s) return -ENOMEM;
    head_stamp(t, p, h);
    uint8_t *message = tine_mpi_message_bytes(f);
    memcpy(message, h, sizeof *h);
    s->frame = f;
    int err = slot_send(t, s, p->rank, control_tag(p), message, sizeof *h + f->header_size);
    if (!err) p->sent++;
    return err;
}

void tine_mpi_send_held_to(tine_mpi *t, tine_mpi_peer *p) {
    tine_mpi_slot *s = p->held;
    if (!s) return;
    p->held = NULL;
    TAILQ_REMOVE(&t->holders, p, holder);
    slot_send(t, s, p->rank, control_tag(p), s->bytes, p->held_size);
}

void tine_mpi_send_held(tine_mpi *t) {
    while (!TAILQ_EMPTY(&t->holders)) tine_mpi_send_held_to(t, TAILQ_FIRST(&t->holders));
}

/* Whether the frame may leave with later ones. A program that forks and forks sends one task at a
 * time: to a rank of another host that has enough to do they go together, at the next poll. */
static bool frame_may_wait(const tine_mpi *t, const tine_mpi_peer *p) {
    return t->holding || (t->listener && !p->doorbell && p->sent - p->taken >= TINE_MPI_AHEAD);
}

/* Appends the frame to those that leave together. False: it is to be sent alone, behind them. */
static bool frame_hold(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head *h, const tine_frame *f) {
    size_t size = sizeof *h + h->body;
    if (size > TINE_MPI_HELD) return false;
    if (!p->held || size > TINE_MPI_SLOT - p->held_size) {
        tine_mpi_slot *s = slot_new(t, p);
        if (!s) return false;
        p->held = s;
        p->held_size = 0;
        TAILQ_INSERT_TAIL(&t->holders, p, holder);
    }
    head_stamp(t, p, h);
    uint8_t *at = p->held->bytes + p->held_size;
    memcpy(at, h, sizeof *h);
    tine_mpi_body_write(f, at + sizeof *h);
    p->held_size += size;
    p->sent++;
    return true;
}

/* Sends a frame that is whole in its message, now or with later ones, and consumes it. */
static int frame_send_whole(tine_mpi *t, tine_mpi_peer *p, tine_mpi_head *h, tine_frame *f) {
    if (!frame_may_wait(t, p) || !frame_hold(t, p, h, f)) return frame_send_alone(t, p, h, f);
    tine_frame_free(f);
    return 0;
}

/* Large frames leave half of the window to small ones. A large frame is delivered after the small
 * ones sent before it, so it must never keep one of them from being announced. */
static bool lane_window_open(const tine_mpi_peer *p, unsigned lane) {
    return p->sent - p->taken < (lane ? TINE_MPI_WINDOW / 2 : TINE_MPI_WINDOW);
}

static void count_sent(tine_mpi *t, size_t bytes) {
    tine_count_add(&t->stats.frames_out, 1);
    tine_count_add(&t->stats.bytes_out, bytes);
}

static bool frame_fits(const tine_mpi_head *h, const tine_frame *f) {
    if (!h->inlined) return false;
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (f->buffers[i]->size >= TINE_MPI_SLOT) return false;
    return true;
}

int tine_mpi_send_queue(tine_mpi *t, tine_mpi_peer *p, tine_frame *f) {
    size_t bytes = tine_frame_bytes(f), cost = bytes + ITEM_COST;
    if (p->queued && p->queued + cost > t->base.config.max_queued) {
        p->blocked = true;
        tine_mpi_mark_busy(t, p);
        return -EAGAIN;
    }
    tine_mpi_head h = {.kind = TINE_MPI_FRAME,
                       .lane = bytes > t->base.config.chunk,
                       .header_size = f->header_size,
                       .n_buffers = f->n_buffers,
                       .body = tine_mpi_body_size(f),
                       .after = p->lane0_sent,
                       .chunk = t->base.config.chunk};
    h.inlined = sizeof h + h.body <= TINE_MPI_SLOT;
    tine_mpi_lane *lane = &p->out[h.lane];
    if (!h.lane && !lane->head && frame_fits(&h, f) && lane_window_open(p, 0)) {
        int err = frame_send_whole(t, p, &h, f);
        if (err) return err == -EIO ? -EPIPE : -EAGAIN;
        p->lane0_sent++;
        count_sent(t, bytes);
        return 0;
    }
    tine_mpi_item *it = calloc(1, sizeof *it);
    if (it && !h.inlined && !(it->body = malloc(h.body))) {
        free(it);
        it = NULL;
    }
    if (!it) {
        p->blocked = true;
        tine_mpi_mark_busy(t, p);
        return -EAGAIN;
    }
    if (!h.inlined) tine_mpi_body_write(f, it->body);
    it->head = h;
    it->frame = f;
    it->cost = cost;
    p->queued += cost;
    if (!h.lane) p->lane0_sent++;
    tine_mpi_lane_add(lane, it);
    tine_mpi_mark_busy(t, p);
    tine_mpi_send_push(t, p);
    if (!t->holding) tine_mpi_send_held_to(t, p);
    return 0;
}

static size_t bytes_arriving(const tine_mpi *t) {
    size_t bytes = 0;
    for (const tine_mpi_peer *p = t->busy; p; p = p->next_busy)
        for (int l = 0; l < TINE_MPI_LANES; l++)
            for (unsigned i = 0; i < p->in[l].n; i++)
                bytes += (size_t)p->in[l].pieces[(p->in[l].first + i) % TINE_MPI_PIECES].bytes;
    return bytes;
}

/* One call of MPI may move all the bytes for which receives are posted, and deadlines wait until it
 * returns. A lane may always have one receive posted, so that a peer that does not send delays no
 * other. */
static bool lane_may_start(const tine_mpi *t, const tine_mpi_lane *lane, bool receive) {
    if (receive && lane->n > 0 && bytes_arriving(t) >= TINE_MPI_TURN_BYTES) return false;
    return lane->n < TINE_MPI_PIECES;
}

bool tine_mpi_piece_start(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane, tine_mpi_item *it,
                          bool receive) {
    void *at;
    int n = lane_may_start(t, lane, receive) ? tine_mpi_item_piece(it, &at) : 0;
    if (!n) return false;
    tine_mpi_piece *piece = &lane->pieces[(lane->first + lane->n) % TINE_MPI_PIECES];
    int tag = (int)(TINE_MPI_TAGS * tine_mpi_connection(t, p) + TINE_MPI_TAG_DATA + it->head.lane);
    int err = receive ? MPI_Irecv(at, n, MPI_BYTE, p->rank, tag, t->comm, &piece->req)
                      : MPI_Isend(at, n, MPI_BYTE, p->rank, tag, t->comm, &piece->req);
    if (err != MPI_SUCCESS) {
        t->broken = true;
        return false;
    }
    if (!receive) tine_count_add(&t->stats.messages_out, 1);
    *piece = (tine_mpi_piece){piece->req, it, n};
    it->flying++;
    lane->n++;
    peer_ring(t, p->rank); /* a peer that sleeps has to poll MPI for either */
    return true;
}

bool tine_mpi_lane_start(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane, bool receive,
                         bool *moved) {
    tine_mpi_item *it = lane->cursor;
    while (tine_mpi_piece_start(t, p, lane, it, receive)) *moved = true;
    void *at;
    tine_mpi_item rest = *it;
    if (tine_mpi_item_piece(&rest, &at)) return false;
    it->posted = true;
    lane->cursor = it->next;
    return true;
}

/* Small frames that have waited for the window leave together. */
static bool item_announce(tine_mpi *t, tine_mpi_peer *p, tine_mpi_item *it) {
    if (!lane_window_open(p, it->head.lane)) return false;
    if (frame_fits(&it->head, it->frame) && frame_hold(t, p, &it->head, it->frame)) return true;
    return !frame_announce(t, p, &it->head, it->frame);
}

static bool lane_start(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane) {
    bool moved = false;
    while (lane->cursor && !t->broken) {
        tine_mpi_item *it = lane->cursor;
        if (!it->announced) {
            if (!item_announce(t, p, it)) break;
            it->announced = moved = true;
        }
        if (!tine_mpi_lane_start(t, p, lane, false, &moved)) break;
    }
    return moved;
}

static bool lane_complete(tine_mpi_lane *lane) {
    bool moved = false;
    while (lane->n) {
        tine_mpi_piece *piece = &lane->pieces[lane->first];
        int done = 0;
        MPI_Test(&piece->req, &done, MPI_STATUS_IGNORE);
        if (!done) break;
        piece->item->flying--;
        lane->first = (lane->first + 1) % TINE_MPI_PIECES;
        lane->n--;
        moved = true;
    }
    return moved;
}

bool tine_mpi_send_push(tine_mpi *t, tine_mpi_peer *p) {
    bool moved = false;
    for (int l = 0; l < TINE_MPI_LANES; l++) {
        tine_mpi_lane *lane = &p->out[l];
        if (!lane->head) continue;
        moved |= lane_complete(lane);
        moved |= lane_start(t, p, lane);
        while (lane->head && lane->head->posted && !lane->head->flying) {
            tine_mpi_item *it = lane->head;
            tine_mpi_lane_pop(lane);
            p->queued -= it->cost;
            count_sent(t, tine_frame_bytes(it->frame));
            tine_mpi_item_free(it);
            moved = true;
        }
    }
    if (p->blocked && p->queued <= t->base.config.max_queued / 2) {
        p->blocked = false;
        tine_mpi_event_add(t,
                           (tine_mpi_event){.kind = TINE_EVENT_WRITABLE, .peer = p, .id = p->id});
    }
    return moved;
}

void tine_mpi_send_clear(tine_mpi_peer *p) {
    for (int l = 0; l < TINE_MPI_LANES; l++) tine_mpi_lane_clear(&p->out[l], false);
    p->queued = 0;
}
