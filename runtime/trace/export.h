/* What the formats of trace files share. */
#ifndef TINE_RUNTIME_TRACE_EXPORT_H
#define TINE_RUNTIME_TRACE_EXPORT_H

#include <stdio.h>

#include "runtime/trace/gather.h"

enum { TINE_TRACE_LABEL_MAX = 16 + 256 };
/* "fib" for a run, a call or a kernel, "encode fib" for another slice, "wait_all" for a wait of
 * that name; returns its length, at most TINE_TRACE_LABEL_MAX. No NUL at its end. */
size_t tine_trace_label(const tine_trace_item *item, char *out);
const char *tine_trace_category(const tine_trace_item *item);
/* The payload that names all threads of process i; NULL: it has none. */
const tine_trace_batch *tine_trace_threads(const tine_trace_gathered *g, uint32_t i);
/* Process i is a worker in the coordinator's process: its events are in process 0. */
bool tine_trace_inproc(const tine_trace_gathered *g, uint32_t i);

/* Chrome's Trace Event Format. */
void tine_trace_json(FILE *f, const tine_trace_gathered *g);
/* Perfetto's TrackEvent. False: no memory. */
bool tine_trace_perfetto(FILE *f, const tine_trace_gathered *g);

#endif
