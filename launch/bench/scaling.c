/* See scaling.h.
 *
 * Speedup is T(sequential) / T(p), for weak scaling p times that; efficiency is speedup / p; the
 * experimentally determined serial fraction is (1/speedup - 1/p) / (1 - 1/p): A. Karp and H. Flatt,
 * Measuring Parallel Processor Performance, CACM 33(5), 1990. The shares of the workers' time are
 * read from a trace of further runs. */
#include "launch/bench/scaling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/bench/ensemble_model.h"
#include "launch/cli/report.h"
#include "launch/profile/analysis.h"
#include "runtime/value/error.h"

/* Not counted: weights travel to their workers and are packed there, in the first run, and in the
 * next ones where a cell is scheduled to another worker. */
enum { WARM_UPS = 3, TRACED_RUNS = 3 };

enum { KEY_SCALING, KEY_TRANSPORT, KEY_SIZE, KEY_MODELS, KEY_WORKERS };
enum { SECONDS, SEQUENTIAL, SPEEDUP, EFFICIENCY, KARP_FLATT, GFLOPS, BUSY, COMMUNICATION, WAITING };

const tine_result_form tine_scaling_form = {
    .bench = "ensemble",
    .title = "Ensemble of bidirectional LSTMs",
    .keys = {{"scaling", false, false},
             {"transport", false, false},
             {"size", false, false},
             {"models", true, true},
             {"workers", true, false}},
    .measures = {{"seconds", "time (s)", false, false},
                 {"sequential_seconds", "time of the sequential run (s)", false, false},
                 {"speedup", "speedup", true, true},
                 {"efficiency", "efficiency", true, true},
                 {"karp_flatt", "serial fraction (Karp-Flatt)", false, false},
                 {"gflops", "GFLOP/s", true, false},
                 {"busy", "share of time computing", true, false},
                 {"communication", "share of time communicating", false, true},
                 {"waiting", "share of time waiting", false, false}},
    .x = KEY_WORKERS,
    .panel = KEY_SCALING,
    .ideal = SPEEDUP,
};

/* ---- workers that are not to be used ---- */

/* Says that it has started, and sleeps until it is cancelled. It always takes longer than a
 * millisecond, the time up to which a worker is sent more than one task (prefetch_ns in
 * runtime/scheduler/scheduler.h): a task sent ahead to a held worker would wait for its release. */
TINE_FUNCTION(bench_hold, "") {
    tine_yield(task, tine_none());
    do nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    while (!tine_cancelled(task));
    return tine_none();
}

typedef struct held_workers {
    tine_future **tasks;
    size_t n;
} held_workers;

static void workers_release(held_workers *h) {
    for (size_t i = 0; i < h->n; i++) {
        if (h->tasks[i]) tine_cancel(h->tasks[i], 0);
        tine_release(h->tasks[i]);
    }
    free(h->tasks);
    *h = (held_workers){0};
}

/* Holds all workers but the first `used`. A task that came between the fork of a hold and its start
 * could be suspended under it, so all holds have started when this returns. */
static tine_error workers_hold(held_workers *h, size_t used) {
    size_t all = tine_workers(NULL, 0);
    tine_worker_status *workers = calloc(all + 1, sizeof *workers);
    *h = (held_workers){.tasks = calloc(all + 1, sizeof(tine_future *))};
    tine_error failed = workers && h->tasks ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory");
    if (!failed && tine_workers(workers, all) < used)
        failed = tine_error_set(TINE_ELOST, "only %zu workers are left of %zu", all, used);
    for (size_t i = used; !failed && i < all; i++) {
        const tine_fork_options there = {.worker = workers[i].id, .stream = 2};
        tine_future *held = tine_fork_with(&there, "bench_hold");
        if (held) h->tasks[h->n++] = held;
        if (!held) failed = tine_last_error();
    }
    for (size_t i = 0; !failed && i < h->n; i++) failed = tine_next(h->tasks[i], NULL);
    free(workers);
    return failed;
}

/* ---- one point ---- */

typedef struct scaling_point {
    const tine_scaling_plan *plan;
    long workers;
    tine_ensemble all, share; /* what is forked, and the sequential run's where it is less */
    const tine_ensemble *base;
    double seconds[TINE_SCALING_REPEAT_MAX], sequential[TINE_SCALING_REPEAT_MAX],
        speedup[TINE_SCALING_REPEAT_MAX];
} scaling_point;

static tine_error scaling_run(const tine_ensemble *e, const char *method, double *seconds) {
    double start = tine_seconds();
    tine_value *output = tine_call_method(e->module, method, e->x);
    *seconds = tine_seconds() - start;
    if (!output) return tine_last_error();
    tine_release(output);
    return TINE_OK;
}

static tine_error point_rounds(scaling_point *s, const char *name) {
    tine_error failed = TINE_OK;
    for (long i = -WARM_UPS; !failed && i < s->plan->repeat; i++) {
        double forked, sequential;
        tine_progress("%s: run %ld of %ld", name, i + WARM_UPS + 1, s->plan->repeat + WARM_UPS);
        failed = scaling_run(s->base, "forward_serial", &sequential);
        if (!failed) failed = scaling_run(&s->all, "forward", &forked);
        if (failed || i < 0) continue;
        s->seconds[i] = forked;
        s->sequential[i] = sequential;
        double work = (double)s->all.config.models / (double)s->base->config.models;
        s->speedup[i] = work * sequential / forked;
    }
    return failed;
}

static double karp_flatt(double speedup, double workers) {
    return (1 / speedup - 1 / workers) / (1 - 1 / workers);
}

static void point_figures(scaling_point *s, tine_result *row) {
    size_t n = (size_t)s->plan->repeat;
    tine_estimate *f = row->figures;
    double workers = (double)s->workers, gflop = 1e-9 * tine_ensemble_flops(&s->all.config);
    f[SECONDS] = tine_estimate_quantile(s->seconds, n, 0.5);
    f[SEQUENTIAL] = tine_estimate_quantile(s->sequential, n, 0.5);
    f[SPEEDUP] = tine_estimate_quantile(s->speedup, n, 0.5);
    f[EFFICIENCY] = tine_estimate_scaled(f[SPEEDUP], 1 / workers);
    if (s->workers > 1) f[KARP_FLATT] = tine_estimate_mapped(f[SPEEDUP], karp_flatt, workers);
    for (size_t i = 0; i < n; i++) s->seconds[i] = gflop / s->seconds[i];
    f[GFLOPS] = tine_estimate_quantile(s->seconds, n, 0.5);
}

/* ---- shares of the workers' time ---- */

static void shares_of(const tine_analysis *a, double workers, tine_estimate *figures) {
    double all = workers * (double)(a->job.end - a->job.begin), busy = 0, sending = 0;
    for (size_t i = 0; i < a->n_workers; i++) {
        busy += (double)a->workers[i].busy / all;
        sending += (double)a->workers[i].sending / all;
    }
    if (!(all > 0)) return;
    figures[BUSY] = tine_estimate_single(busy);
    figures[COMMUNICATION] = tine_estimate_single(sending);
    figures[WAITING] = tine_estimate_single(fmax(0, 1 - busy - sending));
}

static tine_error shares_read(const char *path, double workers, tine_estimate *figures) {
    tine_profile p;
    tine_analysis a;
    char why[512];
    if (!tine_profile_read(&p, path, why, sizeof why)) return tine_error_set(TINE_EIO, "%s", why);
    tine_analyse(&a, &p);
    shares_of(&a, workers, figures);
    tine_analysis_fini(&a);
    tine_profile_fini(&p);
    return TINE_OK;
}

/* Held workers answer only when they are released, so the trace is gathered after that. */
static tine_error point_shares(scaling_point *s, held_workers *held, tine_estimate *figures) {
    char path[512];
    const char *where = getenv("TMPDIR");
    double ignored;
    snprintf(path, sizeof path, "%s/tine-bench-XXXXXX", where && *where ? where : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0) return tine_error_set(TINE_EIO, "no file can be made: %s", path);
    close(fd);
    tine_error failed = tine_trace_start();
    for (int i = 0; !failed && i < TRACED_RUNS; i++)
        failed = scaling_run(&s->all, "forward", &ignored);
    if (!failed) failed = tine_trace_stop();
    workers_release(held);
    if (!failed) failed = tine_trace_write(path);
    if (!failed) failed = shares_read(path, (double)s->workers, figures);
    unlink(path);
    return failed;
}

/* ---- all points ---- */

static tine_error point_models(scaling_point *s, const tine_scaling_size *size, bool strong) {
    const tine_scaling_plan *p = s->plan;
    tine_ensemble_config c = {.time = size->time,
                              .batch = size->batch,
                              .channels = size->channels,
                              .seed = 1,
                              .dtype = p->dtype};
    c.models = strong ? p->models : p->models_per_worker * s->workers;
    s->base = strong || s->workers == 1 ? &s->all : &s->share;
    tine_error failed = tine_ensemble_make(&s->all, &c);
    c.models = p->models_per_worker;
    if (!failed && s->base == &s->share) failed = tine_ensemble_make(&s->share, &c);
    return failed;
}

static tine_error point_measure(scaling_point *s, const tine_scaling_size *size, bool strong,
                                tine_result *row) {
    char name[TINE_RESULT_NAME_MAX];
    held_workers held = {0};
    tine_result_key_set(row, KEY_SCALING, "%s", strong ? "strong" : "weak");
    tine_result_key_set(row, KEY_SIZE, "%ldx%ldx%ld", size->time, size->batch, size->channels);
    tine_result_key_set(row, KEY_MODELS, "%ld",
                        strong ? s->plan->models : s->plan->models_per_worker);
    tine_result_key_set(row, KEY_WORKERS, "%ld", s->workers);
    tine_result_name(&tine_scaling_form, row, -1, name);
    tine_error failed = point_models(s, size, strong);
    if (!failed) failed = workers_hold(&held, (size_t)s->workers);
    if (!failed) failed = point_rounds(s, name);
    if (!failed) point_figures(s, row);
    if (!failed) failed = point_shares(s, &held, row->figures);
    workers_release(&held);
    tine_ensemble_free(&s->all);
    tine_ensemble_free(&s->share);
    return failed;
}

tine_error tine_scaling_measure(const tine_scaling_plan *p, const char *transport,
                                tine_results *r) {
    scaling_point *s = malloc(sizeof *s);
    tine_error failed = s ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory");
    for (int size = 0; size < p->n_sizes; size++)
        for (int strong = 1; strong >= 0; strong--)
            for (int i = 0; !failed && i < p->n_workers; i++) {
                if (!(strong ? p->strong : p->weak)) continue;
                *s = (scaling_point){.plan = p, .workers = p->workers[i]};
                tine_result *row = tine_results_add(r);
                tine_result_key_set(row, KEY_TRANSPORT, "%s", transport);
                failed = point_measure(s, &p->sizes[size], strong, row);
                if (failed) r->n--;
            }
    tine_progress_end();
    free(s);
    return failed;
}

/* ---- the table ---- */

static void percent_print(double share) {
    if (isnan(share))
        printf("%9s", "-");
    else
        printf("%7.1f %%", 100 * share);
}

static void row_print(const tine_result *row) {
    const tine_estimate *f = row->figures;
    printf("%-7s  %-9s  %-13s %6s %7s  %9.4g  [%.4g, %.4g]  %7.2f  [%.2f, %.2f]",
           row->keys[KEY_SCALING], row->keys[KEY_TRANSPORT], row->keys[KEY_SIZE],
           row->keys[KEY_MODELS], row->keys[KEY_WORKERS], f[SECONDS].value, f[SECONDS].low,
           f[SECONDS].high, f[SPEEDUP].value, f[SPEEDUP].low, f[SPEEDUP].high);
    percent_print(f[EFFICIENCY].value);
    if (isnan(f[KARP_FLATT].value))
        printf("  %10s", "-");
    else
        printf("  %10.3f", f[KARP_FLATT].value);
    percent_print(f[BUSY].value);
    percent_print(f[COMMUNICATION].value);
    percent_print(f[WAITING].value);
    putchar('\n');
}

void tine_scaling_print(const tine_results *r) {
    double least = 1;
    printf("%-7s  %-9s  %-13s %6s %7s  %9s  %-16s  %7s  %-12s%9s  %10s%9s%9s%9s\n", "scaling",
           "transport", "size", "models", "workers", "median s", "interval", "speedup", "interval",
           "effic.", "Karp-Flatt", "busy", "comm.", "waiting");
    for (size_t i = 0; i < r->n; i++) {
        row_print(&r->rows[i]);
        least = fmin(least, r->rows[i].figures[SECONDS].confidence);
    }
    if (r->n == 0) return;
    printf("\nsize: steps x batch x channels. models: in all; in weak scaling of each worker. "
           "speedup: against the\nsame work in one process, in turns. intervals: of the median, "
           "%.1f %% or more, between order statistics\n(Le Boudec, 2010, theorem 2.1). busy, "
           "comm. and waiting: of the workers' time, from a trace.\n",
           100 * least);
}
