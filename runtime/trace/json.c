/* Writes the trace file: the JSON object form of Chrome's Trace Event Format, which
 * chrome://tracing and ui.perfetto.dev read. Source: "Trace Event Format", the Chromium project.
 *
 * "pid" counts processes from 1 (pids of two hosts may be equal; the real one is in the name),
 * "tid" recording threads. Ids are strings: a JSON number does not hold 64 bits. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/output.h"
#include "runtime/trace/gather.h"
#include "runtime/value/error.h"
#include "transport/base/log.h"
#include "transport/base/text.h"

/* ---- JSON ---- */

/* The inside of a JSON string. Names come from users and peers; a long one may end within a
 * character. */
static void trace_json_text(FILE *f, const char *data, size_t n) {
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)data[i];
        size_t size = tine_utf8_sequence(data + i, n - i);
        if (size == 0)
            fputc('?', f);
        else if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\u%04x", c);
        else
            fwrite(data + i, 1, size, f);
        i += size ? size : 1;
    }
}

/* ---- one event ---- */

typedef struct trace_writer {
    FILE *f;
    bool any; /* an event has been written: a comma goes before the next */
} trace_writer;

static FILE *trace_json_next(trace_writer *w) {
    if (w->any) fputs(",\n", w->f);
    w->any = true;
    return w->f;
}

static const char *const kinds[] = {
    [TINE_TRACE_RUN] = "run",         [TINE_TRACE_FORK] = "fork",     [TINE_TRACE_WAIT] = "wait",
    [TINE_TRACE_ENCODE] = "encode",   [TINE_TRACE_DECODE] = "decode", [TINE_TRACE_SEND] = "send",
    [TINE_TRACE_RECEIVE] = "receive", [TINE_TRACE_KERNEL] = "kernel", [TINE_TRACE_LOOP] = "loop"};

/* "fib" for a run or a kernel, "encode fib" for another slice, "wait_all" for a wait of that
 * name. */
static void trace_json_name(FILE *f, const tine_trace_item *item) {
    const char *kind = tine_trace_is_slice(item->type) ? kinds[item->type] : "";
    size_t n = strlen(kind);
    bool own = item->type == TINE_TRACE_RUN || item->type == TINE_TRACE_KERNEL ||
               (item->name.size >= n && memcmp(item->name.data, kind, n) == 0);
    if (!own || !item->name.size) fputs(kind, f);
    if (!own && item->name.size) fputc(' ', f);
    trace_json_text(f, item->name.data, item->name.size);
}

static const char *trace_json_category(const tine_trace_item *item) {
    if (tine_trace_is_slice(item->type)) return kinds[item->type];
    return item->phase == 'i'                         ? "mark"
           : item->phase == 'b' || item->phase == 'e' ? "suspended"
                                                      : "task";
}

static void trace_json_event(trace_writer *w, const tine_trace_item *item, int64_t start) {
    FILE *f = trace_json_next(w);
    int64_t ts = item->ts - start;
    fputs("{\"name\":\"", f);
    if (item->phase == 's' || item->phase == 't' || item->phase == 'f')
        fputs("task", f); /* the events of a flow have one name */
    else
        trace_json_name(f, item);
    fprintf(f, "\",\"cat\":\"%s\",\"ph\":\"%c\",\"ts\":%lld.%03d,\"pid\":%u,\"tid\":%u",
            trace_json_category(item), item->phase, (long long)(ts / 1000), (int)(ts % 1000),
            item->process + 1, item->thread + 1u);
    switch (item->phase) {
    case 'X':
        fprintf(f, ",\"dur\":%lld.%03d", (long long)(item->dur / 1000), (int)(item->dur % 1000));
        break;
    case 'b':
    case 'e':
        fprintf(f, ",\"id\":\"%u.%llx\"", item->process + 1, (unsigned long long)item->id);
        break;
    case 'i': fputs(",\"s\":\"p\"", f); break;
    case 'f': fputs(",\"bp\":\"e\"", f); /* fall through */
    default: fprintf(f, ",\"id\":\"%llx\"", (unsigned long long)item->id); break;
    }
    fputc('}', f);
}

/* ---- processes and threads ---- */

static void trace_json_metadata(trace_writer *w, const char *what, uint32_t pid, uint32_t tid,
                                const char *key, const char *value, size_t n) {
    FILE *f = trace_json_next(w);
    fprintf(f, "{\"name\":\"%s\",\"ph\":\"M\",\"ts\":0,\"pid\":%u,\"tid\":%u,\"args\":{\"%s\":\"",
            what, pid, tid, key);
    trace_json_text(f, value, n);
    fputs("\"}}", f);
}

static void trace_json_process(trace_writer *w, const tine_trace_gathered *g, uint32_t i) {
    const tine_trace_process *p = &g->processes[i];
    char label[128];
    uint32_t threads = 0;
    for (size_t k = 0; k < p->n_events; k++) threads |= g->batches[i][k].n_threads;
    if (i > 0 && p->n_events > 0 && threads == 0 && !g->lost[i])
        return; /* its events are in process 0 */
    trace_json_metadata(w, "process_name", i + 1, 0, "name", p->name, strlen(p->name));
    fprintf(trace_json_next(w),
            "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"ts\":0,\"pid\":%u,\"tid\":0,", i + 1);
    fprintf(w->f, "\"args\":{\"sort_index\":%u}}", i);
    int n = snprintf(label, sizeof label, "clock within %.1f us", (double)p->error_ns / 1000);
    if (g->lost[i])
        n += snprintf(label + n, sizeof label - (size_t)n, ", %llu events lost",
                      (unsigned long long)g->lost[i]);
    if (i > 0 || g->lost[i])
        trace_json_metadata(w, "process_labels", i + 1, 0, "labels", label, (size_t)n);
    const tine_trace_batch *last = NULL; /* the last payload names all threads */
    for (size_t k = 0; k < p->n_events; k++)
        if (!last || g->batches[i][k].n_threads >= last->n_threads) last = &g->batches[i][k];
    for (uint32_t k = 0; last && k < last->n_threads && k < TINE_TRACE_THREADS; k++)
        trace_json_metadata(w, "thread_name", i + 1, k + 1, "name", last->threads[k].data,
                            last->threads[k].size);
}

static void trace_json_header(FILE *f, const tine_trace_gathered *g) {
    unsigned long long lost = 0;
    for (size_t i = 0; i < g->n_processes; i++) lost += g->lost[i];
    fprintf(f,
            "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"program\":\"tine "
            "%s\",\"flows\":\"%llu\",\"events "
            "lost\":\"%llu\",",
            TINE_VERSION, (unsigned long long)g->flows, lost);
    fprintf(f, "\"slices clipped\":\"%llu\"},\n\"traceEvents\":[\n",
            (unsigned long long)g->clipped);
    if (lost) tine_log(TINE_LOG_WARN, "the trace is incomplete: %llu events were lost", lost);
}

static void trace_json_write(FILE *f, const tine_trace_gathered *g) {
    locale_t before = tine_text_locale_enter();
    int64_t start = g->n ? g->items[0].ts : 0;
    trace_json_header(f, g);
    trace_writer w = {.f = f};
    for (uint32_t i = 0; i < g->n_processes; i++) trace_json_process(&w, g, i);
    for (size_t i = 0; i < g->n; i++) trace_json_event(&w, &g->items[i], start);
    fputs("\n]}\n", f);
    tine_text_locale_leave(before);
}

tine_error tine_trace_json(const char *path, const tine_trace_process *processes, size_t n) {
    tine_trace_gathered g = {0};
    tine_output f;
    tine_error e = tine_trace_gather(&g, processes, n);
    if (e) {
        tine_error_set(e, "no memory to write the trace %s", path);
        goto out;
    }
    bool good = tine_output_open(&f, path);
    if (good) {
        trace_json_write(f.stream, &g);
        good = tine_output_close(&f, path);
    }
    if (!good)
        e = tine_error_set(TINE_EIO, "the trace %s cannot be written: %s%s", path, strerror(errno),
                           errno == ENXIO ? "; nothing reads from this pipe" : "");
out:
    tine_trace_gathered_fini(&g);
    return e;
}
