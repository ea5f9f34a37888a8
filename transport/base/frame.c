/* See frame.h. */
#include "transport/base/frame.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/block.h"

enum {
    SLACK = 1,    /* for the NUL of a text that ends the header */
    SPARE = 4096, /* bytes that a frame may keep without need */
};

/* Buffers and refs lie behind `bytes` of room, header and body. */
static size_t frame_offset(size_t bytes) { return (sizeof(tine_frame) + bytes + 7) & ~(size_t)7; }

static size_t refs_allocated(size_t n_refs) { return n_refs > TINE_FRAME_FEW_REFS ? n_refs : 0; }

static void frame_place(tine_frame *f, size_t offset, size_t n_buffers, size_t n_refs) {
    f->buffers = (tine_buffer **)((uint8_t *)f + offset);
    f->refs = refs_allocated(n_refs) ? (uint64_t *)(f->buffers + n_buffers) : f->few_refs;
    f->n_buffers = (uint32_t)n_buffers;
    f->n_refs = (uint32_t)n_refs;
    for (size_t i = 0; i < n_buffers; i++) f->buffers[i] = NULL;
}

static tine_frame *frame_alloc(size_t bytes, size_t n_buffers, size_t n_refs) {
    const size_t at = frame_offset(bytes);
    /* cppcheck-suppress pointerSize */
    const size_t size =
        at + n_buffers * sizeof(tine_buffer *) + refs_allocated(n_refs) * sizeof(uint64_t);
    tine_frame *f = tine_block_new(size);
    if (!f) return NULL;
    memset(f, 0, offsetof(tine_frame, few_refs));
    f->units = tine_block_units(size);
    atomic_init(&f->refcount, 1);
    frame_place(f, at, n_buffers, n_refs);
    return f;
}

tine_frame *tine_frame_new(size_t header_size, size_t n_buffers) {
    if (header_size > TINE_FRAME_MAX_HEADER || n_buffers > TINE_FRAME_MAX_BUFFERS) return NULL;
    tine_frame *f = frame_alloc(TINE_FRAME_ROOM + header_size + SLACK, n_buffers, 0);
    if (!f) return NULL;
    atomic_init(&f->claimed, true);
    f->header = tine_frame_room(f) + TINE_FRAME_ROOM;
    f->header_size = (uint32_t)header_size;
    f->header_end = f->header + header_size;
    return f;
}

static bool frame_counts_ok(size_t body_size, size_t n_buffers, size_t n_refs) {
    return body_size <= UINT32_MAX && n_buffers <= UINT32_MAX && n_refs <= UINT32_MAX;
}

static void frame_place_body(tine_frame *f, size_t body_size) {
    f->body = f->header_end = tine_frame_room(f) + TINE_FRAME_ROOM;
    f->body_size = (uint32_t)body_size;
}

tine_frame *tine_frame_new_body(size_t body_size, size_t n_buffers, size_t n_refs) {
    if (!frame_counts_ok(body_size, n_buffers, n_refs)) return NULL;
    tine_frame *f = frame_alloc(TINE_FRAME_ROOM + body_size, n_buffers, n_refs);
    if (f) frame_place_body(f, body_size);
    return f;
}

tine_frame *tine_frame_resize(tine_frame *f, size_t room, size_t body_size, size_t n_buffers,
                              size_t n_refs) {
    if (n_buffers + n_refs == 0 && body_size <= room && room - body_size <= SPARE) {
        f->body_size = (uint32_t)body_size;
        return f;
    }
    if (!frame_counts_ok(body_size, n_buffers, n_refs)) return NULL;
    const size_t has = frame_offset(TINE_FRAME_ROOM + room);
    const size_t at = frame_offset(TINE_FRAME_ROOM + body_size);
    const size_t wants =
        at + n_buffers * sizeof(tine_buffer *) + refs_allocated(n_refs) * sizeof(uint64_t);
    if (wants > has || has - wants > SPARE) {
        if (!(f = realloc(f, wants))) return NULL;
        f->units = 0;
    }
    frame_place(f, at, n_buffers, n_refs);
    frame_place_body(f, body_size);
    return f;
}

void tine_frame_dispose(tine_frame *f, unsigned refs) {
    TINE_ASSERT(refs, ==, 1);
    for (uint32_t i = 0; i < f->n_buffers; i++) tine_buffer_unref(f->buffers[i]);
    if (f->refs_allocated) free(f->refs);
    tine_block_free_units(f, f->units);
}

uint64_t *tine_frame_refs_new(tine_frame *f, size_t n) {
    if (f->refs_allocated) free(f->refs);
    f->refs_allocated = false;
    f->refs = f->few_refs;
    f->n_refs = 0;
    if (n > TINE_FRAME_FEW_REFS && !(f->refs = malloc(n * sizeof *f->refs))) return NULL;
    f->refs_allocated = n > TINE_FRAME_FEW_REFS;
    f->n_refs = (uint32_t)n;
    return f->refs;
}
