/* Frames: one transport message each.
 *
 * A frame is what a transport moves: a header, contiguous and small, and the buffers beside it,
 * which are never copied into the header. It is also the payload that the message carries: the body
 * (an encoded value or call) lies at the end of the header's bytes, or is the last buffer, and is
 * read, kept and sent on where it is. So frame and payload are one allocation with one reference
 * count:
 *
 *     struct | room | header | body | buffers
 *
 * A message is written in front of a body that exists already: the header grows from the body
 * down into the room. Body and buffers never change once there is a second reference. The header's
 * bytes belong to one message at a time: tine_frame_claim takes them, tine_frame_free gives them
 * back. A sender that finds them taken, because an earlier message is still queued or being read,
 * copies the body into a frame of its own.
 *
 * Reference count and claim are atomic; everything else belongs to one thread at a time. */
#ifndef TINE_TRANSPORT_BASE_FRAME_H
#define TINE_TRANSPORT_BASE_FRAME_H

#include "transport/base/buffer.h"

/* Limits that every transport enforces on what it receives and on what it is asked to send. */
enum { TINE_FRAME_MAX_HEADER = 64 << 20, TINE_FRAME_MAX_BUFFERS = 1 << 20 };

enum {
    /* In front of a body, for the headers of messages that carry it: 11 numbers and a name of 90
     * bytes. One that needs more is sent in a frame of its own. */
    TINE_FRAME_ROOM = 192,
    /* Object ids that need no allocation of their own. */
    TINE_FRAME_FEW_REFS = 4,
};

typedef struct tine_frame {
    atomic_uint refcount;
    atomic_bool claimed; /* the bytes from the struct's end to the body */
    bool body_beside;    /* the body is the last of the buffers */
    bool refs_allocated;
    uint8_t checked;      /* runtime/wire: what the body was found to be; 0: not checked */
    uint8_t units;        /* of its memory (block.h) */
    uint32_t header_size; /* with the body, if that is not beside; valid while claimed */
    uint32_t body_size;
    uint32_t n_buffers;
    uint32_t n_refs;
    uint8_t *header;       /* what a transport sends first; valid while claimed */
    uint8_t *header_end;   /* headers end here: where the body begins if it is not beside */
    uint8_t *body;         /* NULL: none, or not located yet */
    tine_buffer **buffers; /* a reference on each */
    uint64_t *refs;        /* the objects that the body mentions, ascending, once each */
    uint64_t few_refs[TINE_FRAME_FEW_REFS];
} tine_frame;

/* A claimed frame with `header_size` bytes of header to be written and `n_buffers` buffers, NULL at
 * first. One byte behind the header may be written, too. NULL: no memory or past a limit. */
tine_frame *tine_frame_new(size_t header_size, size_t n_buffers);
/* An unclaimed frame with a body to be written and no header yet, and room for the given counts.
 * NULL: no memory. */
tine_frame *tine_frame_new_body(size_t body_size, size_t n_buffers, size_t n_refs);
/* Resizes a frame from tine_frame_new_body that has no buffers, one reference, and `room` bytes
 * allocated for its body. The frame may move; its body is kept as far as it fits. NULL without
 * memory: `f` is then unchanged. */
tine_frame *tine_frame_resize(tine_frame *f, size_t room, size_t body_size, size_t n_buffers,
                              size_t n_refs);

static inline tine_frame *tine_frame_ref(tine_frame *f) {
    atomic_fetch_add_explicit(&f->refcount, 1, memory_order_relaxed);
    return f;
}
/* For tine_frame_unref: f had this many references. */
void tine_frame_dispose(tine_frame *f, unsigned refs);
/* Accepts NULL. */
static inline void tine_frame_unref(tine_frame *f) {
    if (!f) return;
    unsigned refs = atomic_fetch_sub_explicit(&f->refcount, 1, memory_order_acq_rel);
    if (refs < 2) tine_frame_dispose(f, refs);
}
/* The message is sent, or read: gives the claim back and drops a reference. Accepts NULL. */
static inline void tine_frame_free(tine_frame *f) {
    if (f) atomic_store_explicit(&f->claimed, false, memory_order_release);
    tine_frame_unref(f);
}

/* True: the header's bytes are this caller's until tine_frame_free. */
static inline bool tine_frame_claim(tine_frame *f) {
    return !atomic_load_explicit(&f->claimed, memory_order_relaxed) &&
           !atomic_exchange_explicit(&f->claimed, true, memory_order_acquire);
}

/* Where the room for headers begins. */
static inline uint8_t *tine_frame_room(tine_frame *f) { return (uint8_t *)(f + 1); }

/* Room for n object ids; NULL without memory. */
uint64_t *tine_frame_refs_new(tine_frame *f, size_t n);

/* Of a claimed frame: header and all buffers. */
static inline size_t tine_frame_bytes(const tine_frame *f) {
    size_t sum = f->header_size;
    for (uint32_t i = 0; i < f->n_buffers; i++) sum += f->buffers[i]->size;
    return sum;
}

#endif
