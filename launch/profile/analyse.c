/* Functions, workers and latencies of a profile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/profile/analysis_internal.h"
#include "transport/base/memory.h"

static int compare_int64(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of sorted values: the nearest rank. */
static int64_t quantile_of(const int64_t *sorted, size_t n, double q) {
    size_t rank = (size_t)(q * (double)n);
    return n ? sorted[rank < n ? rank : n - 1] : 0;
}

/* ---- functions ---- */

/* One task, or one slice of a kernel or a call. */
typedef struct sample {
    int32_t name;
    uint8_t kind;
    int64_t total, self;
    uint64_t in, out;
} sample;

typedef struct samples {
    sample *items;
    size_t n, room;
} samples;

static void samples_add(samples *s, sample one) {
    s->items = tine_must_grow(s->items, &s->room, s->n + 1, sizeof *s->items);
    s->items[s->n++] = one;
}

static int sample_compare(const void *a, const void *b) {
    const sample *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->name != y->name) return x->name < y->name ? -1 : 1;
    return x->total < y->total ? -1 : x->total > y->total;
}

/* Per slice, its time without the slices in it; of a task, the sum over its runs. */
static samples samples_take(const tine_profile *p) {
    samples out = {0};
    int64_t *self = tine_must_alloc((p->n_slices + 1) * sizeof *self);
    int64_t *task_self = tine_must_alloc((p->n_tasks + 1) * sizeof *task_self);
    for (size_t i = 0; i < p->n_slices; i++) {
        const tine_slice *s = &p->slices[i];
        self[i] += s->end - s->begin;
        if (s->around != TINE_NO_INDEX) self[s->around] -= s->end - s->begin;
    }
    for (size_t i = 0; i < p->n_slices; i++) {
        const tine_slice *s = &p->slices[i];
        if (s->kind == TINE_TRACE_KERNEL || s->kind == TINE_TRACE_CALL)
            samples_add(&out, (sample){s->name, s->kind, s->end - s->begin, self[i], 0, 0});
        if (s->kind == TINE_TRACE_RUN && s->task != TINE_NO_INDEX) task_self[s->task] += self[i];
    }
    for (size_t i = 0; i < p->n_tasks; i++) {
        const tine_profiled_task *t = &p->tasks[i];
        if (t->started < 0) continue;
        samples_add(&out, (sample){t->name, TINE_TRACE_RUN, t->ended - t->started, task_self[i],
                                   t->bytes_in, t->bytes_out});
    }
    free(self);
    free(task_self);
    return out;
}

static int function_compare(const void *a, const void *b) {
    const tine_function_profile *x = a, *y = b;
    if (x->self != y->self) return x->self < y->self ? 1 : -1;
    return x->name < y->name ? -1 : x->name > y->name;
}

static void analyse_functions(tine_analysis *a, const tine_profile *p) {
    samples all = samples_take(p);
    size_t room = 0;
    int64_t *totals = tine_must_alloc((all.n + 1) * sizeof *totals);
    if (all.n) qsort(all.items, all.n, sizeof *all.items, sample_compare);
    for (size_t i = 0; i < all.n; i++) totals[i] = all.items[i].total;
    for (size_t i = 0, end; i < all.n; i = end) {
        tine_function_profile f = {.name = all.items[i].name, .kind = all.items[i].kind};
        for (end = i; end < all.n && all.items[end].kind == f.kind && all.items[end].name == f.name;
             end++) {
            f.total += all.items[end].total;
            f.self += all.items[end].self;
            f.bytes_in += all.items[end].in;
            f.bytes_out += all.items[end].out;
        }
        f.n = end - i;
        f.mean = f.total / (int64_t)f.n;
        f.p50 = quantile_of(totals + i, f.n, 0.5);
        f.p99 = quantile_of(totals + i, f.n, 0.99);
        a->functions = tine_must_grow(a->functions, &room, a->n_functions + 1, sizeof f);
        a->functions[a->n_functions++] = f;
    }
    if (a->n_functions) qsort(a->functions, a->n_functions, sizeof *a->functions, function_compare);
    free(totals);
    free(all.items);
}

/* ---- workers ---- */

bool tine_slice_communicates(const tine_slice *s) {
    return s->kind == TINE_TRACE_ENCODE || s->kind == TINE_TRACE_DECODE ||
           s->kind == TINE_TRACE_SEND || s->kind == TINE_TRACE_RECEIVE;
}

static void add_in_job(tine_intervals *set, const tine_interval *job, int64_t begin, int64_t end) {
    if (begin < job->begin) begin = job->begin;
    if (end > job->end) end = job->end;
    tine_intervals_add(set, begin, end);
}

/* When tasks are forked and not waited for, or done. */
static tine_intervals tasks_under_way(const tine_analysis *a, const tine_profile *p) {
    tine_intervals out = {0};
    for (size_t i = 0; i < p->n_tasks; i++) {
        const tine_profiled_task *t = &p->tasks[i];
        int64_t begin = t->forked >= 0 ? t->forked : t->started;
        int64_t end = t->ended >= 0 ? t->ended : begin;
        if (begin >= 0) add_in_job(&out, &a->job, begin, end);
    }
    tine_intervals_merge(&out);
    return out;
}

tine_intervals tine_row_slices(const tine_analysis *a, const tine_profile *p, int32_t row,
                               bool communication) {
    tine_intervals out = {0};
    const tine_profile_row *r = &p->rows[row];
    for (uint32_t i = r->first; i < r->first + r->n; i++) {
        const tine_slice *s = &p->slices[i];
        if (communication ? tine_slice_communicates(s) : s->kind == TINE_TRACE_RUN)
            add_in_job(&out, &a->job, s->begin, s->end);
    }
    tine_intervals_merge(&out);
    return out;
}

static tine_intervals row_suspended(const tine_analysis *a, const tine_profile *p, int32_t row) {
    tine_intervals out = {0};
    for (size_t i = 0; i < p->n_suspended; i++)
        if (p->suspended[i].row == row)
            add_in_job(&out, &a->job, p->suspended[i].begin, p->suspended[i].end);
    tine_intervals_merge(&out);
    return out;
}

/* The length of a without b, which then replaces a. */
static int64_t take_away(tine_intervals *a, const tine_intervals *b) {
    int64_t before = tine_intervals_length(a);
    tine_intervals rest = tine_intervals_minus(a, b);
    tine_intervals_fini(a);
    *a = rest;
    return before - tine_intervals_length(a);
}

static void analyse_worker(tine_analysis *a, const tine_profile *p, int32_t row,
                           const tine_intervals *under_way) {
    tine_worker_profile w = {.row = row};
    tine_intervals rest = {0}, runs = tine_row_slices(a, p, row, false),
                   messages = tine_row_slices(a, p, row, true),
                   suspended = row_suspended(a, p, row);
    add_in_job(&rest, &a->job, a->job.begin, a->job.end);
    w.sending = take_away(&rest, &messages);
    w.busy = take_away(&rest, &runs);
    w.waits_inside = take_away(&rest, &suspended);
    w.waits_for = take_away(&rest, under_way);
    w.idle = tine_intervals_length(&rest);
    const tine_profile_row *r = &p->rows[row];
    for (uint32_t i = r->first; i < r->first + r->n; i++) {
        if (p->slices[i].kind == TINE_TRACE_RECEIVE) w.bytes_in += p->slices[i].bytes;
        if (p->slices[i].kind == TINE_TRACE_SEND) w.bytes_out += p->slices[i].bytes;
    }
    for (size_t i = 0; i < p->n_tasks; i++)
        w.tasks +=
            p->tasks[i].last_run != TINE_NO_INDEX && p->slices[p->tasks[i].last_run].row == row;
    a->workers[a->n_workers++] = w;
    tine_intervals_fini(&rest);
    tine_intervals_fini(&runs);
    tine_intervals_fini(&messages);
    tine_intervals_fini(&suspended);
}

static void analyse_workers(tine_analysis *a, const tine_profile *p) {
    tine_intervals under_way = tasks_under_way(a, p);
    a->workers = tine_must_alloc((p->n_rows + 1) * sizeof *a->workers);
    for (size_t i = 0; i < p->n_rows; i++)
        if (p->rows[i].worker) analyse_worker(a, p, (int32_t)i, &under_way);
    tine_intervals_fini(&under_way);
}

/* ---- latencies ---- */

static tine_latency latency_of(const tine_profile *p, bool start) {
    int64_t *all = tine_must_alloc((p->n_tasks + 1) * sizeof *all);
    tine_latency out = {0};
    for (size_t i = 0; i < p->n_tasks; i++) {
        const tine_profiled_task *t = &p->tasks[i];
        int64_t from = start ? t->forked : t->ended, to = start ? t->started : t->waited;
        /* A wait that came later than the result did not wait for it. */
        bool counts = from >= 0 && to >= from;
        if (!start && counts && t->wait != TINE_NO_INDEX)
            counts =
                p->slices[t->wait].begin <= t->ended || p->slices[t->wait].kind == TINE_TRACE_RUN;
        if (counts) all[out.n++] = to - from;
    }
    qsort(all, out.n, sizeof *all, compare_int64);
    out.p50 = quantile_of(all, out.n, 0.5);
    out.p99 = quantile_of(all, out.n, 0.99);
    out.most = out.n ? all[out.n - 1] : 0;
    free(all);
    return out;
}

/* ---- the whole ---- */

static void job_extend(tine_interval *job, int64_t at) {
    if (at < 0) return;
    if (job->begin < 0 || at < job->begin) job->begin = at;
    if (at > job->end) job->end = at;
}

static tine_interval job_of(const tine_profile *p) {
    tine_interval job = {-1, -1};
    for (size_t i = 0; i < p->n_tasks; i++) {
        job_extend(&job, p->tasks[i].forked);
        job_extend(&job, p->tasks[i].started);
        job_extend(&job, p->tasks[i].ended);
        job_extend(&job, p->tasks[i].waited);
    }
    for (size_t i = 0; i < p->n_slices; i++) {
        if (p->slices[i].kind != TINE_TRACE_CALL && p->slices[i].kind != TINE_TRACE_RUN) continue;
        job_extend(&job, p->slices[i].begin);
        job_extend(&job, p->slices[i].end);
    }
    return job.begin < 0 ? (tine_interval){0, p->end} : job;
}

void tine_analyse(tine_analysis *out, const tine_profile *p) {
    *out = (tine_analysis){.job = job_of(p)};
    analyse_functions(out, p);
    analyse_workers(out, p);
    tine_analyse_overlap(out, p);
    out->fork_to_start = latency_of(p, true);
    out->done_to_wait = latency_of(p, false);
    tine_analyse_path(out, p);
    tine_analyse_gaps(out, p);
}

void tine_analysis_fini(tine_analysis *a) {
    free(a->functions);
    free(a->workers);
    free(a->overlap);
    free(a->steps);
    free(a->path);
    *a = (tine_analysis){0};
}

const char *tine_profile_row_name(const tine_profile *p, int32_t row, char *out, size_t size) {
    const tine_profile_row *r = &p->rows[row];
    const char *process = p->names[r->process_name], *thread = p->names[r->thread_name];
    bool only = true;
    for (size_t i = 0; i < p->n_rows; i++)
        only = only && ((int32_t)i == row || p->rows[i].process != r->process);
    if (!*process) process = "process";
    if (only || strcmp(thread, "main") == 0 || !*thread)
        snprintf(out, size, "%s", process);
    else
        snprintf(out, size, "%s: %s", process, thread);
    return out;
}
