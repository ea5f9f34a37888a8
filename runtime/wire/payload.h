/* Payloads: encoded values, as they lie in a frame, before they are decoded.
 *
 * The coordinator relays arguments and results between workers, keeps them for another attempt, and
 * holds a result until its future is waited for; none of that needs the values themselves. So a
 * payload is the msgpack body plus the tensors' buffers, immutable and reference-counted, and is
 * decoded where a task starts or a wait returns. It is the frame that it came in, or will be sent
 * in (transport/base/frame.h).
 *
 * `refs` lists every object (put value or module) that the body mentions: the scheduler counts
 * holders by it without reading the body. */
#ifndef TINE_RUNTIME_WIRE_PAYLOAD_H
#define TINE_RUNTIME_WIRE_PAYLOAD_H

#include "runtime/value/object.h"
#include "transport/base/frame.h"

typedef tine_frame tine_payload;

/* Room for the given sizes, contents unset (buffers NULL); NULL without memory. */
static inline tine_payload *tine_payload_new(size_t body_size, size_t n_buffers, size_t n_refs) {
    return tine_frame_new_body(body_size, n_buffers, n_refs);
}
/* Both accept NULL. */
static inline tine_payload *tine_payload_ref(tine_payload *p) {
    return p ? tine_frame_ref(p) : NULL;
}
static inline void tine_payload_unref(tine_payload *p) { tine_frame_unref(p); }

/* The buffers of its tensors and bytes: all but the one that the body lies in. */
static inline uint32_t tine_payload_tensors(const tine_payload *p) {
    return p->n_buffers - p->body_beside;
}

/* Body and buffers; 0 for NULL. */
static inline size_t tine_payload_bytes(const tine_payload *p) {
    if (!p) return 0;
    size_t bytes = p->body_beside ? 0 : p->body_size;
    for (uint32_t i = 0; i < p->n_buffers; i++)
        if (p->buffers[i]) bytes += p->buffers[i]->size;
    return bytes;
}

#endif
