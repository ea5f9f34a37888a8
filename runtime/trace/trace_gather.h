/* Between what was recorded and the file: events of all processes on one clock, put into the shapes
 * that Chrome's format has. */
#ifndef TINE_RUNTIME_TRACE_TRACE_GATHER_H
#define TINE_RUNTIME_TRACE_TRACE_GATHER_H

#include "runtime/trace/trace_format.h"

typedef struct tine_trace_item {
    int64_t ts, dur; /* ns on our clock */
    uint64_t id;
    tine_trace_text name;
    uint32_t process;
    uint8_t lane, type; /* type: tine_trace_kind or tine_trace_point */
    char phase;         /* as in the file: X s t f b e i; 0: left out */
    bool bound;         /* a point: it lies in a slice of its row */
} tine_trace_item;

typedef struct tine_trace_gathered {
    tine_trace_item *items; /* sorted by time; of one moment, the longer slice first */
    size_t n, room;
    tine_trace_batch **batches; /* per process: as many as it has payloads */
    const tine_trace_process *processes;
    size_t n_processes;
    uint64_t *lost;   /* per process: events not recorded, or not readable here */
    uint64_t clipped; /* slices cut so that they nest */
    uint64_t flows;   /* arrows */
} tine_trace_gathered;

/* `processes` is borrowed until fini. Errors: ENOMEM. */
tine_error tine_trace_gather(tine_trace_gathered *out, const tine_trace_process *processes,
                             size_t n);
void tine_trace_gathered_fini(tine_trace_gathered *g); /* accepts a zeroed one */

#endif
