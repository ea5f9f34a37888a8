/* The layout of the mpi transport's messages. A frame's body is the sizes of its buffers, its
 * header, and the bytes of the buffers that are too small for a message of their own. It goes
 * inside the control message if it fits, else as the first run of the frame's pieces. Ranks are one
 * program, yet every count is checked before memory is allocated for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/mpi/internal.h"

static bool is_packed(size_t size) { return size < TINE_MPI_SLOT; }

size_t tine_mpi_body_size(const tine_frame *f) {
    size_t n = f->header_size + f->n_buffers * sizeof(uint64_t);
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (is_packed(f->buffers[i]->size)) n += f->buffers[i]->size;
    return n;
}

void tine_mpi_body_write(const tine_frame *f, uint8_t *to) {
    for (uint32_t i = 0; i < f->n_buffers; i++, to += sizeof(uint64_t)) {
        uint64_t size = f->buffers[i]->size;
        memcpy(to, &size, sizeof size);
    }
    if (f->header_size) memcpy(to, f->header, f->header_size);
    to += f->header_size;
    for (uint32_t i = 0; i < f->n_buffers; i++) {
        const tine_buffer *b = f->buffers[i];
        if (!is_packed(b->size) || !b->size) continue;
        memcpy(to, b->data, b->size);
        to += b->size;
    }
}

bool tine_mpi_head_ok(const tine_mpi_head *h, size_t got, size_t max_frame, char *why,
                      size_t why_size) {
    size_t least = (size_t)h->header_size + (size_t)h->n_buffers * sizeof(uint64_t);
    size_t most = least + (size_t)h->n_buffers * TINE_MPI_SLOT;
    const char *what = NULL;
    if (h->header_size > TINE_FRAME_MAX_HEADER)
        what = "a frame's header is past the limit";
    else if (h->n_buffers > TINE_FRAME_MAX_BUFFERS)
        what = "a frame has too many buffers";
    else if (h->lane >= TINE_MPI_LANES)
        what = "a frame's lane is unknown";
    else if (h->body < least || h->body > most)
        what = "a body's size does not match its frame";
    else if (h->header_size > max_frame || h->body - least > max_frame - h->header_size)
        what = "a frame is past max_frame";
    else if (h->inlined ? got != sizeof *h + h->body : got != sizeof *h)
        what = "a body does not fit its message";
    else if (h->chunk == 0 || h->chunk > INT32_MAX)
        what = "a chunk's size is out of range";
    if (what) snprintf(why, why_size, "%s", what);
    return !what;
}

/* Checks the table of sizes against the body and the limit. */
static const char *sizes_wrong(const tine_mpi_head *h, const uint8_t *sizes, size_t max_frame) {
    uint64_t left = max_frame - h->header_size;
    uint64_t in_body = h->body - h->header_size - h->n_buffers * sizeof(uint64_t);
    for (uint32_t i = 0; i < h->n_buffers; i++) {
        uint64_t size;
        memcpy(&size, sizes + i * sizeof size, sizeof size);
        if (size > left) return "a frame is past max_frame";
        left -= size;
        if (!is_packed(size)) continue;
        if (size > in_body) return "buffers run past the end of a body";
        in_body -= size;
    }
    return in_body ? "a body has bytes that belong to no buffer" : NULL;
}

tine_frame *tine_mpi_body_read(const tine_mpi_head *h, const uint8_t *body, size_t max_frame,
                               char *why, size_t why_size) {
    const char *wrong = sizes_wrong(h, body, max_frame);
    if (wrong) {
        snprintf(why, why_size, "%s", wrong);
        return NULL;
    }
    tine_frame *f = tine_frame_new(h->header_size, h->n_buffers);
    if (!f) goto no_memory;
    const uint8_t *at = body + h->n_buffers * sizeof(uint64_t);
    if (h->header_size) memcpy(f->header, at, h->header_size);
    at += h->header_size;
    for (uint32_t i = 0; i < h->n_buffers; i++) {
        uint64_t size;
        memcpy(&size, body + i * sizeof size, sizeof size);
        if (!(f->buffers[i] = tine_buffer_new(size))) goto no_memory;
        if (!is_packed(size) || !size) continue;
        memcpy(f->buffers[i]->data, at, size);
        at += size;
    }
    return f;
no_memory:
    tine_frame_free(f);
    snprintf(why, why_size, "no memory for a frame that it announced");
    return NULL;
}

/* The bytes of one run: 0 is the body, 1 + i buffer i. */
static size_t item_run(const tine_mpi_item *it, void **data) {
    if (it->run == 0) {
        *data = it->body;
        return it->body ? it->head.body : 0;
    }
    const tine_buffer *b = it->frame->buffers[it->run - 1];
    *data = b->data;
    return is_packed(b->size) ? 0 : b->size;
}

int tine_mpi_item_piece(tine_mpi_item *it, void **at) {
    while (it->run == 0 || (it->frame && it->run <= it->frame->n_buffers)) {
        void *data;
        size_t size = item_run(it, &data);
        if (it->offset < size) {
            size_t n = size - it->offset < it->head.chunk ? size - it->offset : it->head.chunk;
            *at = (uint8_t *)data + it->offset;
            it->offset += n;
            return (int)n;
        }
        it->run++;
        it->offset = 0;
    }
    return 0;
}

void tine_mpi_item_free(void *item) {
    tine_mpi_item *it = item;
    if (!it) return;
    tine_frame_free(it->frame);
    free(it->body);
    free(it);
}

void tine_mpi_lane_add(tine_mpi_lane *lane, tine_mpi_item *it) {
    it->next = NULL;
    if (lane->tail)
        lane->tail->next = it;
    else
        lane->head = it;
    lane->tail = it;
    if (!lane->cursor) lane->cursor = it;
}

void tine_mpi_lane_pop(tine_mpi_lane *lane) {
    tine_mpi_item *it = lane->head;
    if (lane->cursor == it) lane->cursor = it->next;
    lane->head = it->next;
    if (!lane->head) lane->tail = NULL;
}

static void item_release(void *item) {
    tine_mpi_item *it = item;
    if (--it->flying == 0) tine_mpi_item_free(it);
}

/* Open MPI can cancel a receive that nothing has matched, but never a send: the memory of pieces in
 * flight is kept until they are done. */
void tine_mpi_lane_clear(tine_mpi_lane *lane, bool receiving) {
    for (tine_mpi_item *it = lane->head, *next; it; it = next) {
        next = it->next;
        if (!it->flying) tine_mpi_item_free(it);
    }
    for (unsigned i = 0; i < lane->n; i++) {
        tine_mpi_piece *piece = &lane->pieces[(lane->first + i) % TINE_MPI_PIECES];
        if (receiving) MPI_Cancel(&piece->req);
        tine_mpi_world_keep(piece->req, piece->item, item_release);
    }
    *lane = (tine_mpi_lane){0};
}
