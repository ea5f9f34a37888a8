/* What the transports share beside the contract: the defaults of a configuration, the limits of a
 * frame, and the tables that are compiled in. */
#ifndef TINE_TRANSPORT_INTERNAL_H
#define TINE_TRANSPORT_INTERNAL_H

#include "transport/transport.h"

extern const tine_transport_ops tine_transport_inproc;
extern const tine_transport_ops tine_transport_zmq;

/* The configuration in force: `given` (may be NULL) with defaults where a field is 0. */
static inline tine_transport_config tine_transport_defaults(const tine_transport_config *given) {
    tine_transport_config c = given ? *given : (tine_transport_config){0};
    if (!c.chunk) c.chunk = (size_t)1 << 20;
    if (!c.max_frame) c.max_frame = (size_t)64 << 30;
    if (!c.max_first_frame || c.max_first_frame > c.max_frame) c.max_first_frame = c.max_frame;
    if (!c.max_queued) c.max_queued = (size_t)256 << 20;
    if (!c.connect_ns) c.connect_ns = INT64_C(10000000000);
    if (!c.heartbeat_ns) c.heartbeat_ns = INT64_C(1000000000);
    if (!c.linger_ns) c.linger_ns = INT64_C(1000000000);
    return c;
}

/* Whether send may take a frame of `bytes` bytes at all. */
static inline bool tine_transport_may_send(const tine_transport *t, const tine_frame *f,
                                           size_t bytes) {
    return f->header_size <= TINE_FRAME_MAX_HEADER && f->n_buffers <= TINE_FRAME_MAX_BUFFERS &&
           bytes <= t->config.max_frame;
}

#endif
