/* The tables that are compiled in, for transport.c's list; and the defaults that every transport
 * takes for a configuration field left zero. */
#ifndef TINE_TRANSPORT_BUILTIN_H
#define TINE_TRANSPORT_BUILTIN_H

#include "transport/transport.h"

extern const tine_transport_ops tine_transport_inproc;
extern const tine_transport_ops tine_transport_zmq;

static inline tine_transport_config tine_transport_defaults(const tine_transport_config *given) {
    tine_transport_config c = given ? *given : (tine_transport_config){0};
    if (!c.chunk) c.chunk = (size_t)1 << 20;
    if (!c.max_frame) c.max_frame = (size_t)64 << 30;
    if (!c.max_queued) c.max_queued = (size_t)256 << 20;
    if (!c.connect_ns) c.connect_ns = INT64_C(10000000000);
    if (!c.heartbeat_ns) c.heartbeat_ns = INT64_C(1000000000);
    if (!c.linger_ns) c.linger_ns = INT64_C(1000000000);
    return c;
}

#endif
