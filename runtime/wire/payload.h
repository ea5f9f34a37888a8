/* Payloads: encoded values, as they lie in a frame, before anyone decodes them.
 *
 * The coordinator relays arguments and results between workers, keeps them for another attempt, and
 * holds a result until its future is waited for; none of that needs the values themselves. So a
 * payload is the msgpack body plus the tensors' buffers, immutable and reference-counted
 * (atomically), and is decoded where a task starts or a wait returns.
 *
 * `refs` lists every object (put value or module) that the body mentions: the scheduler counts
 * holders by it without reading the body. */
#ifndef TINE_RUNTIME_WIRE_PAYLOAD_H
#define TINE_RUNTIME_WIRE_PAYLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/value/object.h"
#include "transport/base/buffer.h"

typedef struct tine_payload {
    atomic_uint refcount;
    uint32_t body_size, n_buffers, n_refs;
    uint8_t *body;         /* these three lie behind the struct, in the same allocation */
    tine_buffer **buffers; /* a reference on each */
    tine_object *refs;
} tine_payload;

/* Room for the given sizes, contents unset (buffers NULL); NULL without memory. */
tine_payload *tine_payload_new(size_t body_size, size_t n_buffers, size_t n_refs);
tine_payload *tine_payload_ref(tine_payload *p);  /* accepts NULL */
void tine_payload_unref(tine_payload *p);         /* accepts NULL */
size_t tine_payload_bytes(const tine_payload *p); /* body and buffers; 0 for NULL */

#endif
