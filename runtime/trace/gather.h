/* From the recorded events to those of the file: all processes on one clock, as slices and as flow,
 * async and instant events. */
#ifndef TINE_RUNTIME_TRACE_GATHER_H
#define TINE_RUNTIME_TRACE_GATHER_H

#include "runtime/trace/format.h"

typedef struct tine_trace_item {
    int64_t ts, dur; /* ns on our clock */
    uint64_t id, bytes;
    tine_trace_text name;
    uint32_t process;
    uint8_t thread, type; /* type: tine_trace_kind or tine_trace_marker */
    char phase;           /* the file's "ph": X s t f b e i; 0: left out */
    bool bound;           /* of a marker: it is inside a slice of its thread */
} tine_trace_item;

typedef struct tine_trace_gathered {
    tine_trace_item *items; /* sorted by time; at one time, the longer slice first */
    size_t n, room;
    tine_trace_batch **batches; /* per process: one for each of its payloads */
    const tine_trace_process *processes;
    size_t n_processes;
    uint64_t *lost;   /* per process: events not recorded, or not readable */
    uint64_t clipped; /* slices shortened so that they nest */
    uint64_t flows;
} tine_trace_gathered;

/* `processes` is borrowed until fini. `last_ns`: what ended earlier than that before the last event
 * is left out; 0: nothing. Errors: ENOMEM. */
tine_error tine_trace_gather(tine_trace_gathered *out, const tine_trace_process *processes,
                             size_t n, int64_t last_ns);
void tine_trace_gathered_fini(tine_trace_gathered *g); /* accepts a zeroed one */

#endif
