/* The profile on a terminal: tables, and a time line of block characters. */
#include <string.h>

#include "launch/profile/analysis_internal.h"
#include "launch/profile/show.h"
#include "transport/base/memory.h"

enum { LABEL_LEAST = 28, LABEL_MOST = 60, NAME = 24, BAR = 24, FUNCTIONS = 30, WORKERS = 64 };

/* A name, cut to `columns` characters, and padded. */
static void print_name(FILE *f, const char *name, int columns) {
    int shown = 0;
    const char *end = name;
    while (*end && shown < columns) {
        do end++;
        while (((unsigned char)*end & 0xc0) == 0x80);
        shown++;
    }
    fprintf(f, "%.*s%*s", (int)(end - name), name, columns - shown, "");
}

/* The columns of the longest name of a worker that is printed. */
static int label_columns(const tine_profile *p, const tine_analysis *a) {
    char name[256];
    int most = LABEL_LEAST;
    for (size_t i = 0; i < a->n_workers && i < WORKERS; i++) {
        int columns = 0;
        tine_profile_row_name(p, a->workers[i].row, name, sizeof name);
        for (const char *c = name; *c; c++) columns += ((unsigned char)*c & 0xc0) != 0x80;
        if (columns > most) most = columns;
    }
    return most < LABEL_MOST ? most : LABEL_MOST;
}

static void print_ns(FILE *f, int64_t ns) {
    char out[TINE_SHOWN_MAX];
    fprintf(f, " %9s", tine_show_ns(ns, out));
}

static void print_bytes(FILE *f, uint64_t bytes) {
    char out[TINE_SHOWN_MAX];
    fprintf(f, " %9s", bytes ? tine_show_bytes(bytes, out) : "");
}

static double share_of(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0;
}

static void print_percent(FILE *f, int64_t part, int64_t whole) {
    fprintf(f, " %6.1f %%", 100 * share_of(part, whole));
}

/* ---- tables ---- */

static void print_functions(FILE *f, const tine_profile *p, const tine_analysis *a) {
    static const char *const kinds[] = {
        [TINE_TRACE_RUN] = "task", [TINE_TRACE_KERNEL] = "kernel", [TINE_TRACE_CALL] = "call"};
    if (a->n_functions == 0) return;
    fprintf(f, "\n%-*s %-6s %8s %9s %9s %9s %9s %9s %9s %9s\n", NAME, "function", "kind", "count",
            "total", "self", "mean", "p50", "p99", "in", "out");
    for (size_t i = 0; i < a->n_functions && i < FUNCTIONS; i++) {
        const tine_function_profile *one = &a->functions[i];
        print_name(f, p->names[one->name], NAME);
        fprintf(f, " %-6s %8zu", kinds[one->kind], one->n);
        print_ns(f, one->total);
        print_ns(f, one->self);
        print_ns(f, one->mean);
        print_ns(f, one->p50);
        print_ns(f, one->p99);
        print_bytes(f, one->bytes_in);
        print_bytes(f, one->bytes_out);
        fputc('\n', f);
    }
    if (a->n_functions > FUNCTIONS) fprintf(f, "… and %zu more\n", a->n_functions - FUNCTIONS);
}

/* The shares of a worker's time, each with a block of its own; the rest is blank. */
static void print_bar(FILE *f, const tine_worker_profile *w, int64_t whole) {
    static const char *const blocks[] = {"█", "▓", "▒", "░"};
    const int64_t parts[] = {w->busy, w->sending, w->waits_inside, w->waits_for};
    double sum = 0;
    int drawn = 0;
    for (int i = 0; i < 4; i++) {
        sum += share_of(parts[i], whole);
        for (; drawn < (int)(sum * BAR + 0.5); drawn++) fputs(blocks[i], f);
    }
    fputc('\n', f);
}

static void print_workers(FILE *f, const tine_profile *p, const tine_analysis *a) {
    int64_t job = a->job.end - a->job.begin;
    char name[256];
    int label = label_columns(p, a);
    if (a->n_workers == 0) return;
    fprintf(f,
            "\n%-*s %8s %8s %8s %8s %8s %8s  █ busy ▓ sending ▒ waits inside ░ waits for tasks\n",
            label, "worker", "tasks", "busy", "sending", "inside", "for", "idle");
    for (size_t i = 0; i < a->n_workers && i < WORKERS; i++) {
        const tine_worker_profile *w = &a->workers[i];
        print_name(f, tine_profile_row_name(p, w->row, name, sizeof name), label);
        fprintf(f, " %8zu", w->tasks);
        print_percent(f, w->busy, job);
        print_percent(f, w->sending, job);
        print_percent(f, w->waits_inside, job);
        print_percent(f, w->waits_for, job);
        print_percent(f, w->idle, job);
        fputs("  ", f);
        print_bar(f, w, job);
    }
    if (a->n_workers > WORKERS) fprintf(f, "… and %zu more\n", a->n_workers - WORKERS);
}

static void print_overlap(FILE *f, const tine_analysis *a) {
    int64_t job = a->job.end - a->job.begin;
    double mean = 0;
    if (a->n_workers == 0) return;
    fputs("\ntasks at once ", f);
    for (size_t k = 0; k <= a->n_workers; k++) {
        mean += (double)k * share_of(a->overlap[k], job);
        if (share_of(a->overlap[k], job) >= 0.0005)
            fprintf(f, "  %zu: %.1f %%", k, 100 * share_of(a->overlap[k], job));
    }
    fprintf(f, "  mean %.2f of %zu\n", mean, a->n_workers);
}

static void print_path(FILE *f, const tine_profile *p, const tine_analysis *a) {
    char text[256], whole[TINE_SHOWN_MAX];
    if (a->n_path == 0) return;
    fprintf(f, "\ncritical path, %s\n", tine_show_ns(a->path_ns, whole));
    for (size_t i = 0; i < a->n_path && i < 12; i++) {
        print_percent(f, a->path[i].ns, a->path_ns);
        print_ns(f, a->path[i].ns);
        fprintf(f, " %6zu x  %s\n", a->path[i].n,
                tine_show_path(p, &a->path[i], text, sizeof text));
    }
}

static void print_latency(FILE *f, const char *name, const tine_latency *l) {
    if (l->n == 0) return;
    fprintf(f, "%-*s", NAME, name);
    print_ns(f, l->p50);
    print_ns(f, l->p99);
    print_ns(f, l->most);
    fputc('\n', f);
}

static void print_gaps(FILE *f, const tine_profile *p, const tine_analysis *a) {
    char name[256];
    int label = label_columns(p, a);
    if (a->n_gaps == 0) return;
    fprintf(f, "\nlongest times without a running task\n");
    for (size_t i = 0; i < a->n_gaps; i++) {
        const tine_profile_gap *g = &a->gaps[i];
        print_ns(f, g->end - g->begin);
        fputs(" at", f);
        print_ns(f, g->begin);
        fputs("  ", f);
        print_name(f, tine_profile_row_name(p, g->row, name, sizeof name), label);
        fprintf(f, " %s\n", g->cause);
    }
}

/* ---- the time line ---- */

typedef struct time_cell {
    double busy; /* share of the cell */
    int32_t name;
    int64_t most; /* how long that name ran in it */
} time_cell;

static void cells_fill(time_cell *cells, int n, const tine_analysis *a, const tine_slice *s) {
    double width = (double)(a->job.end - a->job.begin) / n;
    int64_t begin = s->begin > a->job.begin ? s->begin : a->job.begin;
    int first = (int)((double)(begin - a->job.begin) / width);
    for (int i = first; i < n; i++) {
        double from = (double)a->job.begin + i * width, to = from + width;
        if (from >= (double)s->end) return;
        double low = (double)s->begin > from ? (double)s->begin : from;
        double high = (double)s->end < to ? (double)s->end : to;
        if (high <= low) continue;
        cells[i].busy += (high - low) / width;
        if ((int64_t)(high - low) < cells[i].most) continue;
        cells[i].most = (int64_t)(high - low);
        cells[i].name = s->name;
    }
}

static void cells_print(FILE *f, const time_cell *cells, int n, bool color) {
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    for (int i = 0; i < n; i++) {
        int level = (int)(cells[i].busy * 8 + 0.5);
        if (cells[i].busy > 0 && level == 0) level = 1;
        if (level > 8) level = 8;
        if (color && level > 0)
            fprintf(f, "\033[%dm%s\033[0m", 31 + cells[i].name % 6, blocks[level]);
        else
            fputs(blocks[level], f);
    }
}

static void cells_of_worker(time_cell *cells, int n, const tine_profile *p, const tine_analysis *a,
                            size_t worker) {
    const tine_profile_row *row = &p->rows[a->workers[worker].row];
    memset(cells, 0, (size_t)n * sizeof *cells);
    for (uint32_t k = row->first; k < row->first + row->n; k++)
        if (p->slices[k].kind == TINE_TRACE_RUN) cells_fill(cells, n, a, &p->slices[k]);
}

/* The last row: all workers. */
static void cells_of_all(time_cell *cells, int n, const tine_analysis *a) {
    double *mean = tine_must_alloc((size_t)n * sizeof *mean);
    tine_overlap_parts(a, (size_t)n, mean);
    for (int k = 0; k < n; k++) cells[k] = (time_cell){.busy = mean[k] / (double)a->n_workers};
    free(mean);
}

static void print_timeline(FILE *f, const tine_profile *p, const tine_analysis *a,
                           tine_text_style style) {
    int label = label_columns(p, a);
    if (label > style.columns / 2 && label > LABEL_LEAST) label = LABEL_LEAST;
    int n = style.columns - label - 1;
    int64_t job = a->job.end - a->job.begin;
    char name[256], text[TINE_SHOWN_MAX];
    if (n < 10) n = 10;
    if (a->n_workers == 0 || job <= 0) return;
    fprintf(f, "\ntime line, %s a column: how busy a worker is, and all of them\n",
            tine_show_ns(job / n, text));
    time_cell *cells = tine_must_alloc((size_t)n * sizeof *cells);
    for (size_t i = 0; i < a->n_workers && i < WORKERS; i++) {
        cells_of_worker(cells, n, p, a, i);
        print_name(f, tine_profile_row_name(p, a->workers[i].row, name, sizeof name), label);
        fputc(' ', f);
        cells_print(f, cells, n, style.color);
        fputc('\n', f);
    }
    snprintf(name, sizeof name, "at once, of %zu worker%s", a->n_workers,
             a->n_workers == 1 ? "" : "s");
    print_name(f, name, label);
    fputc(' ', f);
    cells_of_all(cells, n, a);
    cells_print(f, cells, n, false);
    fputc('\n', f);
    free(cells);
}

/* ---- the whole ---- */

static void print_head(FILE *f, const char *path, const tine_profile *p, const tine_analysis *a) {
    char whole[TINE_SHOWN_MAX], job[TINE_SHOWN_MAX];
    fprintf(f, "%s: %s, %s from the first fork to the last result; %zu tasks, %zu slices\n", path,
            tine_show_ns(p->end, whole), tine_show_ns(a->job.end - a->job.begin, job), p->n_tasks,
            p->n_slices);
    if (p->lost)
        fprintf(f,
                "%llu events are missing, the oldest ones: TINE_TRACE_EVENTS sets "
                "how many a process keeps\n",
                (unsigned long long)p->lost);
    if (p->unreadable)
        fprintf(f, "%llu events could not be read\n", (unsigned long long)p->unreadable);
}

void tine_profile_print(FILE *f, const char *path, const tine_profile *p, const tine_analysis *a,
                        tine_text_style style) {
    print_head(f, path, p, a);
    print_functions(f, p, a);
    print_workers(f, p, a);
    print_overlap(f, a);
    print_path(f, p, a);
    if (a->fork_to_start.n || a->done_to_wait.n)
        fprintf(f, "\n%-*s %9s %9s %9s\n", NAME, "latency", "p50", "p99", "largest");
    print_latency(f, "from fork to start", &a->fork_to_start);
    print_latency(f, "from end to wait", &a->done_to_wait);
    print_gaps(f, p, a);
    print_timeline(f, p, a, style);
}
