/* One peer's incoming frames. An announcement makes an item. Receives are posted for the item at
 * the cursor, into its tensors' own memory, which is allocated only then. The next item of a lane
 * is posted only when all of this one is, so a peer can make a transport allocate one frame a lane
 * and what has arrived, no more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/count.h"
#include "transport/mpi/internal.h"

/* From this size on a header is kept where it arrived: at least half of TINE_MPI_SLOT. */
enum { KEEP_FROM = TINE_MPI_SLOT / 2 };

static void frame_deliver(tine_mpi *t, tine_mpi_peer *p, tine_frame *f, unsigned lane) {
    tine_count_add(&t->stats.frames_in, 1);
    tine_count_add(&t->stats.bytes_in, tine_frame_bytes(f));
    if (lane == 0) p->lane0_delivered++;
    tine_mpi_event e = {.kind = TINE_EVENT_FRAME, .peer = p, .id = p->id, .frame = f};
    tine_mpi_event_add(t, e);
}

static bool frame_complete(const tine_frame *f) {
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (f->buffers[i]->size >= TINE_MPI_SLOT) return false;
    return true;
}

tine_frame *tine_mpi_message_new(void) {
    return tine_frame_new(TINE_MPI_SLOT - sizeof(tine_mpi_head), 0);
}

/* The frame of a message with its body inside. A header that fills most of the message's memory
 * stays there: the frame is the message, and *message another. A shorter one is copied into a frame
 * of its size, so that small frames do not hold TINE_MPI_SLOT bytes each while they are queued.
 * Receiving it into an exact allocation (MPI_Improbe, MPI_Mrecv) takes 0.15 us more in a round trip
 * of 160 bytes than this copy, since MPI then keeps a copy of its own; keeping each message's
 * memory takes as long as copying, and 4 KiB. */
static tine_frame *frame_of(tine_mpi *t, const tine_mpi_head *h, tine_frame **message,
                            tine_mpi_span span, char *why, size_t why_size) {
    const uint8_t *body = (*message)->header + span.at;
    bool keep =
        span.whole && !h->n_buffers && h->header_size >= KEEP_FROM && h->body == h->header_size;
    tine_frame *next = keep ? tine_mpi_message_new() : NULL;
    if (!next) return tine_mpi_body_read(h, body, t->base.config.max_frame, why, why_size);
    tine_frame *f = *message;
    f->header_size = h->header_size;
    f->header_end = f->header + h->header_size;
    *message = next;
    return f;
}

bool tine_mpi_receive_frame(tine_mpi *t, tine_mpi_peer *p, tine_frame **message, tine_mpi_span span,
                            char *why, size_t why_size) {
    tine_mpi_head h;
    memcpy(&h, tine_mpi_message_bytes(*message) + span.at, sizeof h);
    if (!tine_mpi_head_ok(&h, span.size, t->base.config.max_frame, why, why_size)) return false;
    tine_frame *f = NULL;
    if (h.inlined) {
        f = frame_of(t, &h, message, span, why, why_size);
        if (!f) return false;
        if (h.lane == 0 && !p->in[0].head && frame_complete(f)) {
            frame_deliver(t, p, f, 0);
            return true;
        }
    }
    tine_mpi_item *it = calloc(1, sizeof *it);
    if (!it) {
        tine_frame_free(f);
        snprintf(why, why_size, "no memory");
        return false;
    }
    it->head = h;
    it->frame = f;
    if (f) it->run = 1;
    tine_mpi_lane_add(&p->in[h.lane], it);
    tine_mpi_mark_busy(t, p);
    return true;
}

/* Makes the frame when its body has arrived. 1: made, 0: not yet, -1: the body is wrong. */
static int item_open(tine_mpi *t, tine_mpi_item *it, char *why, size_t why_size) {
    if (it->frame) return 1;
    if (!it->body && !(it->body = malloc(it->head.body ? it->head.body : 1))) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    if (it->offset < it->head.body || it->flying) return 0;
    it->frame = tine_mpi_body_read(&it->head, it->body, t->base.config.max_frame, why, why_size);
    if (!it->frame) return -1;
    it->run = 1;
    it->offset = 0;
    return 1;
}

/* The body is received first: without it the buffers that tine_mpi_item_piece goes on to are not
 * known. */
static bool body_receive(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane, tine_mpi_item *it) {
    bool moved = false;
    while (it->offset < it->head.body && tine_mpi_piece_start(t, p, lane, it, true)) moved = true;
    return moved;
}

static int lane_post(tine_mpi *t, tine_mpi_peer *p, tine_mpi_lane *lane, char *why,
                     size_t why_size) {
    bool moved = false;
    while (lane->cursor && !t->broken) {
        tine_mpi_item *it = lane->cursor;
        int open = item_open(t, it, why, why_size);
        if (open < 0) return -1;
        if (!open) {
            moved |= body_receive(t, p, lane, it);
            break;
        }
        if (!tine_mpi_lane_start(t, p, lane, true, &moved)) break;
    }
    return moved;
}

static int lane_arrived(tine_mpi_peer *p, tine_mpi_lane *lane, char *why, size_t why_size) {
    int moved = 0;
    while (lane->n) {
        tine_mpi_piece *piece = &lane->pieces[lane->first];
        int done = 0, got = -1;
        MPI_Status status;
        if (MPI_Test(&piece->req, &done, &status) != MPI_SUCCESS) {
            done = 1;
        } else if (done) {
            MPI_Get_count(&status, MPI_BYTE, &got);
        }
        if (!done) break;
        piece->item->flying--;
        lane->first = (lane->first + 1) % TINE_MPI_PIECES;
        lane->n--;
        moved = 1;
        if (p->doorbell) tine_mpi_doorbell_ring(p->doorbell);
        if (got == piece->bytes) continue;
        snprintf(why, why_size, "a chunk has %d bytes, %d were announced", got, piece->bytes);
        return -1;
    }
    return moved;
}

int tine_mpi_receive_pull(tine_mpi *t, tine_mpi_peer *p, char *why, size_t why_size) {
    int moved = 0;
    for (int l = 0; l < TINE_MPI_LANES; l++) {
        tine_mpi_lane *lane = &p->in[l];
        if (!lane->head) continue;
        int arrived = lane_arrived(p, lane, why, why_size);
        int posted = arrived < 0 ? -1 : lane_post(t, p, lane, why, why_size);
        if (posted < 0) return -1;
        moved |= arrived | posted;
        while (lane->head && lane->head->posted && !lane->head->flying) {
            tine_mpi_item *it = lane->head;
            if (l > 0 && (int64_t)(p->lane0_delivered - it->head.after) < 0) break;
            tine_mpi_lane_pop(lane);
            frame_deliver(t, p, it->frame, (unsigned)l);
            it->frame = NULL;
            tine_mpi_item_free(it);
            moved = 1;
        }
    }
    return moved;
}

void tine_mpi_receive_clear(tine_mpi_peer *p) {
    for (int l = 0; l < TINE_MPI_LANES; l++) tine_mpi_lane_clear(&p->in[l], true);
}
