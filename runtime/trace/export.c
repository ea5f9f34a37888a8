/* Writes a trace file in the format that its name asks for. */
#include "runtime/trace/export.h"

#include <errno.h>
#include <string.h>

#include "runtime/value/error.h"
#include "transport/base/log.h"
#include "transport/base/output.h"

static const char *const kinds[] = {
    [TINE_TRACE_RUN] = "run",         [TINE_TRACE_FORK] = "fork",     [TINE_TRACE_WAIT] = "wait",
    [TINE_TRACE_ENCODE] = "encode",   [TINE_TRACE_DECODE] = "decode", [TINE_TRACE_SEND] = "send",
    [TINE_TRACE_RECEIVE] = "receive", [TINE_TRACE_KERNEL] = "kernel", [TINE_TRACE_LOOP] = "loop",
    [TINE_TRACE_CALL] = "call"};

size_t tine_trace_label(const tine_trace_item *item, char *out) {
    const char *kind = tine_trace_is_slice(item->type) ? kinds[item->type] : "";
    size_t n = strlen(kind), used = 0;
    bool own = item->type == TINE_TRACE_RUN || item->type == TINE_TRACE_KERNEL ||
               item->type == TINE_TRACE_CALL ||
               (item->name.size >= n && memcmp(item->name.data, kind, n) == 0);
    if (!own || !item->name.size) {
        used = (size_t)snprintf(out, TINE_TRACE_LABEL_MAX, "%s", kind);
        if (item->name.size) out[used++] = ' ';
    }
    if (item->name.size) memcpy(out + used, item->name.data, item->name.size);
    return used + item->name.size;
}

const char *tine_trace_category(const tine_trace_item *item) {
    if (tine_trace_is_slice(item->type)) return kinds[item->type];
    return item->phase == 'i'                         ? "mark"
           : item->phase == 'b' || item->phase == 'e' ? "suspended"
                                                      : "task";
}

const tine_trace_batch *tine_trace_threads(const tine_trace_gathered *g, uint32_t i) {
    const tine_trace_batch *last = NULL; /* a later payload names all threads of an earlier one */
    for (size_t k = 0; k < g->processes[i].n_events; k++)
        if (!last || g->batches[i][k].n_threads >= last->n_threads) last = &g->batches[i][k];
    return last;
}

bool tine_trace_inproc(const tine_trace_gathered *g, uint32_t i) {
    const tine_trace_batch *threads = tine_trace_threads(g, i);
    return i > 0 && threads && threads->n_threads == 0 && !g->lost[i];
}

bool tine_trace_for_perfetto(const char *path) {
    size_t n = strlen(path), suffix = strlen(".pftrace");
    return n >= suffix && strcmp(path + n - suffix, ".pftrace") == 0;
}

static tine_error trace_export_file(const char *path, const tine_trace_gathered *g) {
    tine_output f;
    bool memory = true, good = tine_output_open(&f, path);
    if (good) {
        if (tine_trace_for_perfetto(path))
            memory = tine_trace_perfetto(f.stream, g);
        else
            tine_trace_json(f.stream, g);
        good = tine_output_close(&f, path);
    }
    if (!good)
        return tine_error_set(TINE_EIO, "the trace %s cannot be written: %s%s", path,
                              strerror(errno),
                              errno == ENXIO ? "; nothing reads from this pipe" : "");
    return memory ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory to write the trace %s", path);
}

static void trace_warn_lost(const tine_trace_gathered *g) {
    unsigned long long lost = 0;
    for (size_t i = 0; i < g->n_processes; i++) lost += g->lost[i];
    if (lost)
        tine_log(TINE_LOG_WARN,
                 "the trace lacks the oldest %llu events; TINE_TRACE_EVENTS "
                 "sets how many a process keeps",
                 lost);
}

tine_error tine_trace_export(const char *path, const tine_trace_process *processes, size_t n,
                             int64_t last_ns) {
    tine_trace_gathered g = {0};
    tine_error e = tine_trace_gather(&g, processes, n, last_ns);
    if (e) return tine_error_set(e, "no memory to write the trace %s", path);
    trace_warn_lost(&g);
    e = trace_export_file(path, &g);
    tine_trace_gathered_fini(&g);
    return e;
}
