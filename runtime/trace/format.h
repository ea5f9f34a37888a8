/* Recorded events as a process sends them to the coordinator: the bytes in an EVENTS payload.
 *
 *   magic "TTR2" | u64 lost | u32 n, n thread names | u32 n, n names | u32 n, n events
 *   name: u8 length, bytes
 *   event: u8 type, u8 thread, u32 index of its name, u64 a, u64 b, u64 bytes (of a slice, or 0)
 *
 * Numbers are little-endian. Type: a tine_trace_kind (a slice: a = begin, b = end), or a
 * tine_trace_marker (a = time, b = id). Times are ns of the recorder's clock. The decoder checks
 * everything: payloads come from peers. */
#ifndef TINE_RUNTIME_TRACE_FORMAT_H
#define TINE_RUNTIME_TRACE_FORMAT_H

#include "runtime/trace/trace.h"

enum { TINE_TRACE_THREADS = 64, TINE_TRACE_EVENT_BYTES = 30 };

typedef struct tine_trace_event {
    uint8_t type, thread;
    uint32_t name; /* index into the names of its batch */
    uint64_t a, b, bytes;
} tine_trace_event;

typedef struct tine_trace_text { /* borrowed from the payload; no NUL at its end */
    const char *data;
    uint8_t size;
} tine_trace_text;

/* One payload, decoded. Borrows from it. */
typedef struct tine_trace_batch {
    uint64_t lost;
    tine_trace_text *threads, *names;
    uint32_t n_threads, n_names, n_events;
    const uint8_t *events; /* n_events of TINE_TRACE_EVENT_BYTES each */
} tine_trace_batch;

/* Errors: EPROTO (not this format), ENOMEM. */
tine_error tine_trace_batch_read(tine_trace_batch *out, const tine_payload *p);
void tine_trace_batch_fini(tine_trace_batch *b); /* accepts a zeroed one */
/* False: no such type, thread or name. */
bool tine_trace_batch_event(const tine_trace_batch *b, uint32_t i, tine_trace_event *out);

static inline bool tine_trace_is_slice(uint8_t type) {
    return type >= TINE_TRACE_RUN && type < TINE_TRACE_KIND_LAST_;
}
static inline bool tine_trace_is_marker(uint8_t type) {
    return type >= TINE_TRACE_FLOW_START && type < TINE_TRACE_MARKER_LAST_;
}

typedef struct tine_trace_stored {
    uint64_t a, b, bytes;
    uint8_t type, thread;
    char name[TINE_TRACE_NAME_MAX + 3];
} tine_trace_stored;
/* Encodes the records into one payload. Errors: ENOMEM. */
tine_error tine_trace_batch_write(tine_payload **out, const tine_trace_stored *records, size_t n,
                                  uint64_t lost, const char (*threads)[TINE_TRACE_NAME_MAX + 3],
                                  size_t n_threads);

#endif
