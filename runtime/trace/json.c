/* The JSON object form of Chrome's Trace Event Format, which
 * chrome://tracing and ui.perfetto.dev read. Source: "Trace Event Format", the Chromium project.
 *
 * "pid" counts processes from 1 (pids of two hosts may be equal; the real one is in the name),
 * "tid" recording threads. Ids are strings: a JSON number does not hold 64 bits. */
#include <stdio.h>
#include <string.h>

#include "runtime/trace/export.h"
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

/* Names come from users and peers. */
static void trace_json_label(FILE *f, const tine_trace_item *item) {
    char name[TINE_TRACE_LABEL_MAX];
    size_t n = tine_trace_label(item, name);
    trace_json_text(f, name, n);
}

static void trace_json_event(trace_writer *w, const tine_trace_item *item, int64_t start) {
    FILE *f = trace_json_next(w);
    int64_t ts = item->ts - start;
    fputs("{\"name\":\"", f);
    if (item->phase == 's' || item->phase == 't' || item->phase == 'f')
        fputs("task", f); /* the events of a flow have one name */
    else
        trace_json_label(f, item);
    fprintf(f, "\",\"cat\":\"%s\",\"ph\":\"%c\",\"ts\":%lld.%03d,\"pid\":%u,\"tid\":%u",
            tine_trace_category(item), item->phase, (long long)(ts / 1000), (int)(ts % 1000),
            item->process + 1, item->thread + 1u);
    switch (item->phase) {
    case 'X':
        fprintf(f, ",\"dur\":%lld.%03d", (long long)(item->dur / 1000), (int)(item->dur % 1000));
        if (item->bytes) fprintf(f, ",\"args\":{\"bytes\":%llu}", (unsigned long long)item->bytes);
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
    if (tine_trace_inproc(g, i)) return;
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
    const tine_trace_batch *last = tine_trace_threads(g, i);
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
}

void tine_trace_json(FILE *f, const tine_trace_gathered *g) {
    locale_t before = tine_text_locale_enter();
    int64_t start = g->n ? g->items[0].ts : 0;
    trace_json_header(f, g);
    trace_writer w = {.f = f};
    for (uint32_t i = 0; i < g->n_processes; i++) trace_json_process(&w, g, i);
    for (size_t i = 0; i < g->n; i++) trace_json_event(&w, &g->items[i], start);
    fputs("\n]}\n", f);
    tine_text_locale_leave(before);
}
