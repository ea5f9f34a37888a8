/* How many tasks ran at once: for how long, and over time. */
#include <stdlib.h>
#include <string.h>

#include "launch/profile/analysis_internal.h"
#include "transport/base/memory.h"

/* An end comes before a begin at the same time. */
static int step_compare(const void *a, const void *b) {
    const tine_overlap_step *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : x->running - y->running;
}

/* Where a worker begins (+1) and ends (-1) to run tasks. */
static void steps_add_worker(tine_analysis *a, const tine_profile *p, int32_t row) {
    tine_intervals runs = tine_row_slices(a, p, row, false);
    for (size_t k = 0; k < runs.n; k++) {
        a->steps[a->n_steps++] = (tine_overlap_step){runs.items[k].begin, 1};
        a->steps[a->n_steps++] = (tine_overlap_step){runs.items[k].end, -1};
    }
    tine_intervals_fini(&runs);
}

void tine_analyse_overlap(tine_analysis *a, const tine_profile *p) {
    int64_t at = a->job.begin;
    int running = 0;
    a->steps = tine_must_alloc((2 * p->n_slices + 1) * sizeof *a->steps);
    a->overlap = tine_must_alloc((a->n_workers + 1) * sizeof *a->overlap);
    for (size_t i = 0; i < a->n_workers; i++) steps_add_worker(a, p, a->workers[i].row);
    if (a->n_steps) qsort(a->steps, a->n_steps, sizeof *a->steps, step_compare);
    for (size_t i = 0; i < a->n_steps; i++) {
        a->overlap[running] += a->steps[i].at - at;
        at = a->steps[i].at;
        running = a->steps[i].running += running;
    }
    a->overlap[running] += a->job.end - at;
}

/* Adds `tasks` that run from `begin` to `end`, which are parts from the start of the job. */
static void parts_add(double *out, size_t n, double begin, double end, int tasks) {
    for (size_t i = (size_t)begin; i < n && (double)i < end; i++) {
        double low = begin > (double)i ? begin : (double)i;
        double high = end < (double)(i + 1) ? end : (double)(i + 1);
        if (high > low) out[i] += (high - low) * tasks;
    }
}

void tine_overlap_parts(const tine_analysis *a, size_t n, double *out) {
    double part = (double)(a->job.end - a->job.begin) / (double)n, at = 0;
    int running = 0;
    memset(out, 0, n * sizeof *out);
    if (part <= 0) return;
    for (size_t i = 0; i < a->n_steps; i++) {
        double next = (double)(a->steps[i].at - a->job.begin) / part;
        if (running) parts_add(out, n, at, next, running);
        at = next;
        running = a->steps[i].running;
    }
}
