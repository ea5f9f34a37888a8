/* See view.h. Names and sentences come from users and peers: every line is masked before it is cut
 * to the width and written. */
#include "launch/top/view.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "launch/profile/show.h"
#include "launch/top/rates.h"
#include "transport/base/text.h"

enum { HEAD = 5, WORKERS_LEAST = 3, FUNCTIONS = 8, FAILURES = 5 };

typedef struct view_sort {
    const char *name, *key; /* key NULL: in the order of joining */
} view_sort;
static const view_sort sorts[TINE_VIEW_SORTS] = {
    {"id", NULL},         {"age", "age"},    {"tasks/s", "tasks_per_second"},
    {"memory", "memory"}, {"bytes/s", NULL}, {"done", "done"}};
enum { SORT_ID = 0, SORT_BYTES = 4 };

const char *tine_view_sort_name(const tine_view *v) { return sorts[v->sort].name; }

/* ---- lines ---- */

typedef struct view_page {
    FILE *f;
    const tine_view *v;
    int left; /* lines */
} view_page;

/* The bytes of at most `columns` characters. */
static size_t text_fits(const char *text, int columns) {
    size_t n = 0, next;
    for (int i = 0;
         i < columns && text[n] && (next = tine_utf8_sequence(text + n, strlen(text + n))); i++)
        n += next;
    return n;
}

static void view_line(view_page *p, const char *attribute, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void view_line(view_page *p, const char *attribute, const char *format, ...) {
    if (p->left-- <= 0) return;
    va_list ap;
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    char *shown = text ? tine_text_printable(text, false) : NULL;
    bool marked = p->v->color && *attribute;
    if (marked) fputs(attribute, p->f);
    if (shown) fwrite(shown, 1, text_fits(shown, p->v->columns), p->f);
    if (marked) fputs("\033[0m", p->f);
    fputs(p->v->interactive ? "\033[K\r\n" : "\n", p->f);
    free(shown);
    free(text);
}

/* A name in a column of its own: padded by characters, where printf counts bytes. */
static const char *view_name(char *out, size_t room, const char *name, int width) {
    char *shown = tine_text_printable(name, false);
    size_t n = text_fits(shown ? shown : "", width), at = 0;
    int used = 0;
    if (n >= room) n = text_fits(shown, (int)(room - 1) / 4);
    for (; at < n; used++) at += tine_utf8_sequence(shown + at, n - at);
    snprintf(out, room, "%.*s%*s", (int)n, shown ? shown : "", used < width ? width - used : 0, "");
    free(shown);
    return out;
}

/* ---- the head ---- */

static const char *show_clock(double seconds, char out[static TINE_SHOWN_MAX]) {
    unsigned s = seconds > 0 && seconds < 4e9 ? (unsigned)seconds : 0;
    if (s >= 86400)
        snprintf(out, TINE_SHOWN_MAX, "%u d %02u:%02u", s / 86400, s / 3600 % 24, s / 60 % 60);
    else
        snprintf(out, TINE_SHOWN_MAX, "%02u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    return out;
}

static const char *show_amount(double bytes, char out[static TINE_SHOWN_MAX]) {
    return tine_show_bytes(bytes > 0 && bytes < 1e18 ? (uint64_t)bytes : 0, out);
}

static const char *show_age(double seconds, char out[static TINE_SHOWN_MAX]) {
    return tine_show_ns(seconds > 0 && seconds < 9e9 ? (int64_t)(seconds * 1e9) : 0, out);
}

static void view_head(view_page *p, json_object *o) {
    char a[TINE_SHOWN_MAX], b[TINE_SHOWN_MAX], c[TINE_SHOWN_MAX];
    json_object *t = tine_rates_field(o, "tasks");
    view_line(p, "\033[1m", "tine top  %s  pid %.0f on %s  up %s", tine_rates_text(o, "endpoint"),
              tine_rates_number(o, "pid"), tine_rates_text(o, "host"),
              show_clock(tine_rates_number(o, "uptime"), a));
    view_line(p, "", "tasks    %.0f waiting, %.0f ready (%s), %.0f running, %.0f suspended",
              tine_rates_number(t, "waiting"), tine_rates_number(t, "ready"),
              show_amount(tine_rates_number(t, "ready_bytes"), a), tine_rates_number(t, "running"),
              tine_rates_number(t, "suspended"));
    view_line(p, "", "ended    %.0f done, %.0f failed, %.0f retried; %.0f objects",
              tine_rates_number(t, "completed"), tine_rates_number(t, "failed"),
              tine_rates_number(t, "retried"), tine_rates_number(t, "objects"));
    view_line(p, "", "rate     %.1f tasks/s, %s/s from workers, %s/s to them",
              tine_rates_number(t, "tasks_per_second"),
              show_amount(tine_rates_number(t, "bytes_in_per_second"), b),
              show_amount(tine_rates_number(t, "bytes_out_per_second"), c));
    view_line(p, "", "%s", "");
}

/* ---- workers ---- */

typedef struct view_row {
    json_object *worker;
    double key;
    size_t at;
} view_row;

static int view_row_compare(const void *a, const void *b) {
    const view_row *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? 1 : -1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Malloc'ed; *n rows. */
static view_row *rows_sorted(json_object *o, int sort, size_t *n) {
    *n = tine_rates_rows(o, "workers");
    view_row *rows = calloc(*n + 1, sizeof *rows);
    if (!rows) *n = 0;
    for (size_t i = 0; i < *n; i++) {
        json_object *w = tine_rates_row(o, "workers", i);
        rows[i] = (view_row){w, 0, i};
        if (sort == SORT_BYTES)
            rows[i].key = tine_rates_number(w, "bytes_in_per_second") +
                          tine_rates_number(w, "bytes_out_per_second");
        else if (sorts[sort].key)
            rows[i].key = tine_rates_number(w, sorts[sort].key);
    }
    if (rows) qsort(rows, *n, sizeof *rows, view_row_compare);
    return rows;
}

static size_t rows_find(const view_row *rows, size_t n, int64_t id) {
    size_t i = 0;
    while (i < n && (int64_t)tine_rates_number(rows[i].worker, "id") != id) i++;
    return i;
}

static void view_worker(view_page *p, json_object *w, bool selected) {
    char host[160], task[160], age[TINE_SHOWN_MAX], memory[TINE_SHOWN_MAX], in[TINE_SHOWN_MAX],
        out[TINE_SHOWN_MAX];
    const char *style = selected ? "\033[7m" : "", *name = tine_rates_text(w, "task");
    double rss = tine_rates_number(w, "memory");
    view_line(p, style, "%c%5.0f %7.0f %s %-8.8s %s %9s %9.0f %9.1f %9s %9s %9s",
              selected ? '>' : ' ', tine_rates_number(w, "id"), tine_rates_number(w, "pid"),
              view_name(host, sizeof host, tine_rates_text(w, "host"), 12),
              tine_rates_text(w, "state"), view_name(task, sizeof task, name, 20),
              *name ? show_age(tine_rates_number(w, "age"), age) : "-",
              tine_rates_number(w, "done"), tine_rates_number(w, "tasks_per_second"),
              rss > 0 ? show_amount(rss, memory) : "-",
              show_amount(tine_rates_number(w, "bytes_in_per_second"), in),
              show_amount(tine_rates_number(w, "bytes_out_per_second"), out));
}

/* Scrolled so that the selected worker is visible. */
static void view_workers(view_page *p, json_object *o, size_t room) {
    size_t n, first = 0;
    view_row *rows = rows_sorted(o, p->v->sort, &n);
    size_t selected = rows_find(rows, n, p->v->selected);
    if (selected < n && selected >= room) first = selected - room + 1;
    view_line(p, "\033[1m", " %5s %7s %-12s %-8s %-20s %9s %9s %9s %9s %9s %9s", "ID", "PID",
              "HOST", "STATE", "TASK", "AGE", "DONE", "TASKS/S", "MEMORY", "IN/S", "OUT/S");
    for (size_t i = first; i < n && i < first + room; i++)
        view_worker(p, rows[i].worker, p->v->interactive && i == selected);
    if (n > room) view_line(p, "", " %zu of %zu workers, by %s", room, n, sorts[p->v->sort].name);
    if (n == 0) view_line(p, "", " no worker is connected");
    free(rows);
}

json_object *tine_view_selected(json_object *snapshot, const tine_view *v) {
    size_t n;
    view_row *rows = rows_sorted(snapshot, v->sort, &n);
    size_t i = rows_find(rows, n, v->selected);
    json_object *w = i < n ? rows[i].worker : NULL;
    free(rows);
    return w;
}

void tine_view_move(json_object *snapshot, tine_view *v, int by) {
    size_t n;
    view_row *rows = rows_sorted(snapshot, v->sort, &n);
    size_t at = rows_find(rows, n, v->selected);
    if (at == n)
        at = 0;
    else if (by < 0)
        at = at > (size_t)-by ? at - (size_t)-by : 0;
    else
        at += (size_t)by;
    if (at >= n && n > 0) at = n - 1;
    v->selected = n > 0 ? (int64_t)tine_rates_number(rows[at].worker, "id") : 0;
    free(rows);
}

/* ---- functions, failures ---- */

static void view_functions(view_page *p, json_object *o, size_t room) {
    size_t n = tine_rates_rows(o, "functions");
    if (n == 0 || room < 3) return;
    view_line(p, "", "%s", "");
    view_line(p, "\033[1m", " %-30s %9s %9s %9s %9s %9s %9s", "FUNCTION", "READY", "RUNNING",
              "DONE", "FAILED", "MEAN", "TOTAL");
    for (size_t i = 0; i < n && i + 2 < room; i++) {
        char name[160], mean[TINE_SHOWN_MAX], total[TINE_SHOWN_MAX];
        json_object *f = tine_rates_row(o, "functions", i);
        view_line(p, "", " %s %9.0f %9.0f %9.0f %9.0f %9s %9s",
                  view_name(name, sizeof name, tine_rates_text(f, "name"), 30),
                  tine_rates_number(f, "ready"), tine_rates_number(f, "running"),
                  tine_rates_number(f, "done"), tine_rates_number(f, "failed"),
                  show_age(tine_rates_number(f, "mean"), mean),
                  show_age(tine_rates_number(f, "seconds"), total));
    }
}

static void view_failures(view_page *p, json_object *o, size_t room) {
    size_t n = tine_rates_rows(o, "failures");
    if (n == 0 || room < 3) return;
    view_line(p, "", "%s", "");
    view_line(p, "\033[1m", " LAST FAILURES");
    for (size_t i = 0; i < n && i + 2 < room; i++) {
        char age[TINE_SHOWN_MAX];
        json_object *f = tine_rates_row(o, "failures", i);
        view_line(p, "", " %s ago  %-10s %s", show_clock(tine_rates_number(f, "age"), age),
                  tine_rates_text(f, "error"), tine_rates_text(f, "text"));
    }
}

/* ---- the whole ---- */

static size_t rows_shown(size_t n, size_t most) { return n == 0 ? 0 : 2 + (n < most ? n : most); }

void tine_view_draw(FILE *f, json_object *o, tine_view *v) {
    size_t workers = tine_rates_rows(o, "workers"), functions = tine_rates_rows(o, "functions"),
           failures = tine_rates_rows(o, "failures");
    view_page p = {f, v, v->lines > 0 ? v->lines - 1 : INT32_MAX};
    size_t most_functions = FUNCTIONS, most_failures = FAILURES, room = workers;
    if (v->lines > 0) {
        size_t below = rows_shown(functions, FUNCTIONS) + rows_shown(failures, FAILURES);
        size_t all = v->lines > HEAD + 2 ? (size_t)v->lines - HEAD - 2 : 0;
        room = all > below + 1 ? all - below - 1 : 0;
        if (room < WORKERS_LEAST) room = WORKERS_LEAST;
    } else {
        most_functions = functions;
        most_failures = failures;
    }
    if (v->interactive) fputs("\033[H", f);
    if (v->interactive && !tine_view_selected(o, v)) tine_view_move(o, v, 0);
    view_head(&p, o);
    view_workers(&p, o, room);
    view_functions(&p, o, rows_shown(functions, most_functions));
    view_failures(&p, o, rows_shown(failures, most_failures));
    if (!v->interactive) return;
    fputs("\033[J", f);
    const char *keys =
        "up/down select   s sort   c cancel the task   r restart the worker   q quit";
    char *below = tine_text_printable(v->below ? v->below : keys, false);
    fprintf(f, "\033[%d;1H", v->lines);
    if (below) fwrite(below, 1, text_fits(below, v->columns), f);
    fputs("\033[K", f);
    free(below);
}
