/* The trace file: Chrome's Trace Event Format (JSON object form), as chrome://tracing and
 * ui.perfetto.dev read it. Source: "Trace Event Format", the Chromium project.
 *
 * A process is a "pid" from 1 (real pids of two hosts may be equal; they stand in the name), a
 * recording thread a "tid". Ids are strings, because JSON's numbers lose bits of a 64-bit one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/log.h"
#include "runtime/value/state.h"
#include "runtime/trace/trace_gather.h"

/* ---- JSON ---- */

/* The length of the UTF-8 sequence at s, or 0: it is none (RFC 3629). */
static size_t utf8(const unsigned char *s, size_t n) {
    size_t need = s[0] < 0x80   ? 1
                  : s[0] < 0xc2 ? 0
                  : s[0] < 0xe0 ? 2
                  : s[0] < 0xf0 ? 3
                  : s[0] < 0xf5 ? 4
                                : 0;
    if (need == 0 || need > n) return 0;
    for (size_t i = 1; i < need; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    return need;
}

/* Inside quotes. Names come from users and peers, perhaps cut in the middle of a character. */
static void text(FILE *f, const char *data, size_t n) {
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)data[i];
        size_t size = utf8((const unsigned char *)data + i, n - i);
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

typedef struct writer {
    FILE *f;
    bool any; /* written: a comma goes before the next */
} writer;

static FILE *next(writer *w) {
    if (w->any) fputs(",\n", w->f);
    w->any = true;
    return w->f;
}

static const char *const kinds[] = {
    [TINE_TRACE_RUN] = "run",         [TINE_TRACE_FORK] = "fork",     [TINE_TRACE_WAIT] = "wait",
    [TINE_TRACE_ENCODE] = "encode",   [TINE_TRACE_DECODE] = "decode", [TINE_TRACE_SEND] = "send",
    [TINE_TRACE_RECEIVE] = "receive", [TINE_TRACE_KERNEL] = "kernel", [TINE_TRACE_LOOP] = "loop"};

/* "fib" for a run or a kernel, "encode fib" for what is done for it, "wait_all" for a wait of that
 * name. */
static void name(FILE *f, const tine_trace_item *item) {
    const char *kind = tine_trace_is_slice(item->type) ? kinds[item->type] : "";
    size_t n = strlen(kind);
    bool own = item->type == TINE_TRACE_RUN || item->type == TINE_TRACE_KERNEL ||
               (item->name.size >= n && memcmp(item->name.data, kind, n) == 0);
    if (!own || !item->name.size) fputs(kind, f);
    if (!own && item->name.size) fputc(' ', f);
    text(f, item->name.data, item->name.size);
}

static const char *category(const tine_trace_item *item) {
    if (tine_trace_is_slice(item->type)) return kinds[item->type];
    return item->phase == 'i'                         ? "mark"
           : item->phase == 'b' || item->phase == 'e' ? "suspended"
                                                      : "task";
}

static void event(writer *w, const tine_trace_item *item, int64_t start) {
    FILE *f = next(w);
    int64_t ts = item->ts - start;
    fputs("{\"name\":\"", f);
    if (item->phase == 's' || item->phase == 't' || item->phase == 'f')
        fputs("task", f); /* the points of one arrow must agree on it */
    else
        name(f, item);
    fprintf(f, "\",\"cat\":\"%s\",\"ph\":\"%c\",\"ts\":%lld.%03d,\"pid\":%u,\"tid\":%u",
            category(item), item->phase, (long long)(ts / 1000), (int)(ts % 1000),
            item->process + 1, item->lane + 1u);
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

/* ---- names of rows ---- */

static void metadata(writer *w, const char *what, uint32_t pid, uint32_t tid, const char *key,
                     const char *value, size_t n) {
    FILE *f = next(w);
    fprintf(f, "{\"name\":\"%s\",\"ph\":\"M\",\"ts\":0,\"pid\":%u,\"tid\":%u,\"args\":{\"%s\":\"",
            what, pid, tid, key);
    text(f, value, n);
    fputs("\"}}", f);
}

static void process_rows(writer *w, const tine_trace_gathered *g, uint32_t i) {
    const tine_trace_process *p = &g->processes[i];
    char label[128];
    uint32_t lanes = 0;
    for (size_t k = 0; k < p->n_events; k++) lanes |= g->batches[i][k].n_lanes;
    if (i > 0 && p->n_events > 0 && lanes == 0 && !g->lost[i]) return; /* a guest of process 0 */
    metadata(w, "process_name", i + 1, 0, "name", p->name, strlen(p->name));
    fprintf(next(w), "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"ts\":0,\"pid\":%u,\"tid\":0,",
            i + 1);
    fprintf(w->f, "\"args\":{\"sort_index\":%u}}", i);
    int n = snprintf(label, sizeof label, "clock within %.1f us", (double)p->error_ns / 1000);
    if (g->lost[i])
        n += snprintf(label + n, sizeof label - (size_t)n, ", %llu events lost",
                      (unsigned long long)g->lost[i]);
    if (i > 0 || g->lost[i]) metadata(w, "process_labels", i + 1, 0, "labels", label, (size_t)n);
    const tine_trace_batch *last = NULL; /* lanes only grow: the last payload has all */
    for (size_t k = 0; k < p->n_events; k++)
        if (!last || g->batches[i][k].n_lanes >= last->n_lanes) last = &g->batches[i][k];
    for (uint32_t k = 0; last && k < last->n_lanes && k < TINE_TRACE_LANES; k++)
        metadata(w, "thread_name", i + 1, k + 1, "name", last->lanes[k].data, last->lanes[k].size);
}

static void other_data(FILE *f, const tine_trace_gathered *g) {
    unsigned long long lost = 0;
    for (size_t i = 0; i < g->n_processes; i++) lost += g->lost[i];
    fprintf(f,
            "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"program\":\"tine "
            "%s\",\"arrows\":\"%llu\",\"events "
            "lost\":\"%llu\",",
            TINE_VERSION, (unsigned long long)g->flows, lost);
    fprintf(f, "\"slices clipped\":\"%llu\"},\n\"traceEvents\":[\n",
            (unsigned long long)g->clipped);
    if (lost) tine_log(TINE_LOG_WARN, "the trace is not complete: %llu events were lost", lost);
}

static void write_all(FILE *f, const tine_trace_gathered *g) {
    int64_t start = g->n ? g->items[0].ts : 0;
    other_data(f, g);
    writer w = {.f = f};
    for (uint32_t i = 0; i < g->n_processes; i++) process_rows(&w, g, i);
    for (size_t i = 0; i < g->n; i++) event(&w, &g->items[i], start);
    fputs("\n]}\n", f);
}

/* ---- the file ---- */

static tine_error write_file(const char *path, const char *temporary,
                             const tine_trace_gathered *g) {
    FILE *f = fopen(temporary, "we");
    if (!f) return TINE_EIO;
    write_all(f, g);
    bool good = fflush(f) == 0 && !ferror(f);
    int saved = errno;
    good = fclose(f) == 0 && good;
    if (good && rename(temporary, path) == 0) return TINE_OK;
    if (!good) errno = saved;
    saved = errno;
    unlink(temporary);
    errno = saved;
    return TINE_EIO;
}

tine_error tine_trace_json(const char *path, const tine_trace_process *processes, size_t n) {
    tine_trace_gathered g = {0};
    char *temporary = NULL;
    tine_error e = tine_trace_gather(&g, processes, n);
    if (!e && asprintf(&temporary, "%s.%d.part", path, (int)getpid()) < 0) {
        temporary = NULL;
        e = TINE_ENOMEM;
    }
    if (e) {
        tine_error_set(e, "no memory to write the trace %s", path);
    } else {
        e = write_file(path, temporary, &g);
        if (e) tine_error_set(e, "cannot write the trace %s: %s", path, strerror(errno));
    }
    free(temporary);
    tine_trace_gathered_fini(&g);
    return e;
}
