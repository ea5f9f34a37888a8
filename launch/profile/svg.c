/* The picture: a row per thread that did something in the job, its slices, the suspended tasks
 * below them, and arrows from forks to runs to waits: of all tasks where they are few, of the wide
 * ones where they are many. */
#include <stdlib.h>
#include <string.h>

#include "launch/cli/svg.h"
#include "launch/profile/show.h"
#include "transport/base/hash.h"
#include "transport/base/memory.h"

enum {
    LEFT = 190,
    WIDTH = 1000,
    TOP = 26,
    LANE = 18,
    THIN = 7,
    SPAN_LANES = 6,
    ARROWS = 40,
    WIDE = 8
};

typedef struct svg_picture {
    FILE *f;
    const tine_profile *p;
    int64_t begin, end;
    double *tops; /* per row */
} svg_picture;

static double svg_x(const svg_picture *s, int64_t t) {
    return LEFT + (double)(t - s->begin) / (double)(s->end - s->begin) * WIDTH;
}

static void svg_fill(FILE *f, const tine_profile *p, const tine_slice *s) {
    const char *name = p->names[s->name];
    if (s->kind == TINE_TRACE_RUN || s->kind == TINE_TRACE_CALL || s->kind == TINE_TRACE_KERNEL)
        fprintf(f, "hsl(%d %d%% %d%%)",
                (int)(tine_hash(TINE_HASH_START, name, strlen(name)) >> 20) % 360,
                s->kind == TINE_TRACE_KERNEL ? 30 : 55, s->kind == TINE_TRACE_KERNEL ? 78 : 70);
    else
        fputs(s->kind == TINE_TRACE_FORK   ? "#9b6dd6"
              : s->kind == TINE_TRACE_WAIT ? "#d8dee9"
                                           : "#9aa7bd",
              f);
}

/* A slice narrower than half a pixel is drawn once a pixel: `last` is where its lane is filled. */
static void svg_slice(const svg_picture *s, const tine_slice *slice, double *last) {
    double left = svg_x(s, slice->begin), right = svg_x(s, slice->end);
    if (right < LEFT || left > LEFT + WIDTH || right < *last + 0.5) return;
    if (left < LEFT) left = LEFT;
    if (right > LEFT + WIDTH) right = LEFT + WIDTH;
    if (right < left + 0.5) right = left + 0.5;
    *last = right;
    double y = s->tops[slice->row] + 3 + slice->depth * LANE;
    fprintf(s->f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"", left, y,
            right - left, LANE - 2);
    svg_fill(s->f, s->p, slice);
    fputs("\"/>", s->f);
    if (right - left > 24) {
        fprintf(s->f, "<text class=\"in\" x=\"%.1f\" y=\"%.1f\">", left + 3, y + 12);
        tine_svg_text(s->f, s->p->names[slice->name], (size_t)((right - left - 6) / 6.2));
        fputs("</text>", s->f);
    }
    fputc('\n', s->f);
}

static void svg_row(const svg_picture *s, int32_t i) {
    const tine_profile_row *row = &s->p->rows[i];
    double last[UINT8_MAX + 1] = {0}, spans[SPAN_LANES] = {0};
    char name[256];
    tine_profile_row_name(s->p, i, name, sizeof name);
    fprintf(s->f, "<text x=\"4\" y=\"%.1f\">", s->tops[i] + 15);
    tine_svg_text(s->f, name, 30);
    fputs("</text>\n", s->f);
    for (uint32_t k = row->first; k < row->first + row->n; k++)
        svg_slice(s, &s->p->slices[k], &last[s->p->slices[k].depth]);
    for (size_t k = 0; k < s->p->n_suspended; k++) {
        const tine_span *span = &s->p->suspended[k];
        double left = svg_x(s, span->begin), right = svg_x(s, span->end);
        if (span->row != i || right < left + 0.5) continue;
        int lane = 0;
        while (lane < SPAN_LANES && spans[lane] > left) lane++;
        if (lane == SPAN_LANES) continue;
        spans[lane] = right;
        fprintf(s->f,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"#f2c14e\"/>\n",
                left, s->tops[i] + 3 + row->depth * LANE + lane * THIN, right - left, THIN - 2);
    }
}

static double svg_middle(const svg_picture *s, int32_t slice) {
    const tine_slice *one = &s->p->slices[slice];
    return s->tops[one->row] + 3 + one->depth * LANE + LANE / 2.0 - 1;
}

static void svg_arrow(const svg_picture *s, int64_t t0, int32_t from, int64_t t1, int32_t to) {
    double a = svg_x(s, t0), b = svg_x(s, t1), bend = 6 + (b > a ? b - a : a - b) / 3;
    double ya = svg_middle(s, from), yb = svg_middle(s, to);
    if (from == TINE_NO_INDEX || to == TINE_NO_INDEX) return;
    fprintf(s->f, "<path d=\"M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f\"/>\n", a, ya, a + bend, ya,
            b - bend, yb, b, yb);
}

static void svg_arrows(const svg_picture *s) {
    const tine_profile *p = s->p;
    for (size_t i = 0; i < p->n_tasks; i++) {
        const tine_profiled_task *t = &p->tasks[i];
        if (t->first_run == TINE_NO_INDEX) continue;
        if (p->n_tasks > ARROWS && svg_x(s, t->ended) - svg_x(s, t->started) < WIDE) continue;
        if (t->fork != TINE_NO_INDEX) svg_arrow(s, t->forked, t->fork, t->started, t->first_run);
        if (t->wait != TINE_NO_INDEX) svg_arrow(s, t->ended, t->last_run, t->waited, t->wait);
    }
}

static void svg_axis(const svg_picture *s, double height) {
    char text[TINE_SHOWN_MAX];
    for (int i = 0; i <= 8; i++) {
        double x = LEFT + WIDTH * i / 8.0;
        fprintf(s->f, "<line x1=\"%.1f\" y1=\"18\" x2=\"%.1f\" y2=\"%.1f\"/>", x, x, height);
        fprintf(s->f, "<text class=\"axis\" x=\"%.1f\" y=\"12\">%s</text>\n", x,
                tine_show_ns((s->end - s->begin) * i / 8, text));
    }
}

/* The rows from top to bottom; returns the picture's height. */
static double svg_layout(svg_picture *s) {
    double y = TOP;
    for (size_t i = 0; i < s->p->n_rows; i++) {
        int spans = 0;
        s->tops[i] = y;
        for (size_t k = 0; k < s->p->n_suspended && spans < SPAN_LANES; k++)
            spans += s->p->suspended[k].row == (int32_t)i;
        y += s->p->rows[i].depth * LANE + spans * THIN + 10;
    }
    return y;
}

void tine_profile_svg(FILE *f, const tine_profile *p, const tine_analysis *a) {
    svg_picture s = {.f = f, .p = p, .begin = a->job.begin, .end = a->job.end};
    if (s.end <= s.begin) s.end = s.begin + 1;
    s.tops = tine_must_alloc((p->n_rows + 1) * sizeof *s.tops);
    double height = svg_layout(&s);
    tine_svg_begin(f, LEFT + WIDTH + 30, height,
                   ".in{fill:#10151f;font-size:10px}"
                   "path{fill:none;stroke:#d6336c;stroke-width:1;marker-end:url(#a)}");
    fputs("<defs><marker id=\"a\" orient=\"auto\" markerWidth=\"6\" markerHeight=\"6\" refX=\"5\" "
          "refY=\"3\"><path d=\"M0 0L6 3L0 6z\" "
          "style=\"fill:#d6336c;stroke:none;marker-end:none\"/></marker></defs>\n",
          f);
    svg_axis(&s, height);
    for (size_t i = 0; i < p->n_rows; i++) svg_row(&s, (int32_t)i);
    svg_arrows(&s);
    fputs("</svg>\n", f);
    free(s.tops);
}
