/* The longest times in which a worker ran nothing, and why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/profile/analysis_internal.h"
#include "launch/profile/show.h"

static void gap_keep(tine_analysis *a, int32_t row, int64_t begin, int64_t end) {
    size_t at = a->n_gaps;
    while (at > 0 && a->gaps[at - 1].end - a->gaps[at - 1].begin < end - begin) at--;
    if (at == TINE_GAPS) return;
    if (a->n_gaps < TINE_GAPS) a->n_gaps++;
    memmove(&a->gaps[at + 1], &a->gaps[at], (a->n_gaps - 1 - at) * sizeof *a->gaps);
    a->gaps[at] = (tine_profile_gap){.row = row, .begin = begin, .end = end};
}

/* How much of the gap [begin, end) covers. */
static int64_t gap_share(const tine_profile_gap *g, int64_t begin, int64_t end) {
    if (begin < g->begin) begin = g->begin;
    if (end > g->end) end = g->end;
    return end > begin ? end - begin : 0;
}

/* What was going on in a gap: for each reason how much of it, and of what. */
typedef struct gap_reasons {
    int64_t suspended, coming, elsewhere, program;
    int32_t suspended_name, coming_name, program_name;
    size_t n_suspended;
    uint64_t coming_bytes;
} gap_reasons;

static void gap_reasons_of_tasks(gap_reasons *r, const tine_profile *p, const tine_profile_gap *g) {
    for (size_t i = 0; i < p->n_tasks; i++) {
        const tine_profiled_task *t = &p->tasks[i];
        if (t->started < 0) continue;
        const tine_slice *first = &p->slices[t->first_run];
        int64_t share = t->forked >= 0 ? gap_share(g, t->forked, t->started) : 0;
        if (first->row == g->row && share > r->coming) {
            r->coming = share;
            r->coming_name = t->name;
            r->coming_bytes = t->bytes_in;
        }
        share = gap_share(g, t->started, t->ended);
        if (first->row != g->row && share > r->elsewhere) r->elsewhere = share;
    }
}

static gap_reasons gap_examine(const tine_profile *p, const tine_profile_gap *g) {
    gap_reasons r = {.suspended_name = TINE_NO_INDEX,
                     .coming_name = TINE_NO_INDEX,
                     .program_name = TINE_NO_INDEX};
    for (size_t i = 0; i < p->n_suspended; i++) {
        const tine_span *s = &p->suspended[i];
        int64_t share = s->row == g->row ? gap_share(g, s->begin, s->end) : 0;
        r.n_suspended += share > 0;
        if (share <= r.suspended) continue;
        r.suspended = share;
        r.suspended_name = s->name;
    }
    for (size_t i = 0; i < p->n_slices; i++) {
        const tine_slice *s = &p->slices[i];
        if (p->rows[s->row].worker || s->depth > 0 || s->kind == TINE_TRACE_WAIT) continue;
        if (s->kind != TINE_TRACE_CALL && s->kind != TINE_TRACE_KERNEL) continue;
        int64_t share = gap_share(g, s->begin, s->end);
        if (share <= r.program) continue;
        r.program = share;
        r.program_name = s->name;
    }
    gap_reasons_of_tasks(&r, p, g);
    return r;
}

static void gap_explain(const tine_profile *p, tine_profile_gap *g) {
    gap_reasons r = gap_examine(p, g);
    int64_t half = (g->end - g->begin) / 2;
    char bytes[TINE_SHOWN_MAX];
    if (r.suspended > half)
        snprintf(g->cause, sizeof g->cause,
                 "%zu task%s suspended here, %s for the longest time, until tasks elsewhere ended",
                 r.n_suspended, r.n_suspended == 1 ? " was" : "s were", p->names[r.suspended_name]);
    else if (r.coming > half)
        snprintf(g->cause, sizeof g->cause, "%s was forked but had not arrived%s%s",
                 p->names[r.coming_name], r.coming_bytes ? ", with arguments of " : "",
                 r.coming_bytes ? tine_show_bytes(r.coming_bytes, bytes) : "");
    else if (r.elsewhere > half)
        snprintf(g->cause, sizeof g->cause,
                 "other workers ran tasks; there were fewer tasks than workers");
    else if (r.program > half)
        snprintf(g->cause, sizeof g->cause, "no task was under way: the program ran %s itself",
                 p->names[r.program_name]);
    else
        snprintf(g->cause, sizeof g->cause, "no task was under way: the program did not fork");
}

void tine_analyse_gaps(tine_analysis *a, const tine_profile *p) {
    for (size_t i = 0; i < a->n_workers; i++) {
        int32_t row = a->workers[i].row;
        tine_intervals all = {0}, runs = tine_row_slices(a, p, row, false);
        tine_intervals_add(&all, a->job.begin, a->job.end);
        tine_intervals gaps = tine_intervals_minus(&all, &runs);
        for (size_t k = 0; k < gaps.n; k++)
            gap_keep(a, row, gaps.items[k].begin, gaps.items[k].end);
        tine_intervals_fini(&all);
        tine_intervals_fini(&runs);
        tine_intervals_fini(&gaps);
    }
    for (size_t i = 0; i < a->n_gaps; i++) gap_explain(p, &a->gaps[i]);
}
