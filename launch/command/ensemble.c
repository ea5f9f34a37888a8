/* `tine ensemble`: the tutorial's three steps, timed, compared with each other and with double
 * precision. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gemm.h"
#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/command/ensemble_error.h"
#include "launch/command/peak.h"
#include "launch/cli/report.h"

enum { VARIANTS = 3, REPEAT_MAX = 1000 };

/* Runs of each variant that are not counted. In the first one weights travel to a worker and are
 * packed; in the next ones they do so again where a cell is scheduled to another worker (the trace
 * shows this as OBJECT and "pack"). */
enum { WARM_UPS = 3 };

/* The largest error of an element against double precision. The sums have 2*channels terms, rounded
 * to 2^-24 (float32), or with operands rounded to 2^-8 (bfloat16); the gates bound them, and what
 * they add up to over the steps stays far below these limits. */
static const double limit_float32 = 1e-5, limit_rounded = 5e-2;

/* A method of the class "ensemble". Called here, the method's forks go to the workers and this
 * process only waits; where the method computes between its forks, it is itself forked. */
typedef struct variant {
    const char *name, *method;
    bool forked;
    double seconds[REPEAT_MAX], median, min;
    /* of the peak of all workers before and after each run; the median, NaN: none is known */
    double shares[REPEAT_MAX], share;
    size_t n_shares;
    tine_value *output; /* of the last run */
} variant;

typedef struct report {
    tine_ensemble_config config;
    enum tine_gemm_type type; /* config.dtype */
    long repeat;
    bool json;
    variant variants[VARIANTS];
    int workers;
    double flops, error, limit;
    /* GFLOP/s of all workers: the last, all of them, their median (NaN: none) */
    double beside, peaks[VARIANTS * REPEAT_MAX + 1], peak;
    size_t n_peaks;
    double best_peak;  /* in the best millisecond of each */
    char no_peak[256]; /* why one of them was not measured */
    bool identical;
    long columns;
} report;

static tine_value *compute_variant(const variant *v, const tine_ensemble *e) {
    if (!v->forked) return tine_call_method(e->module, v->method, e->x);
    tine_value *output = NULL;
    tine_future *future = tine_fork_method(e->module, v->method, e->x);
    tine_wait(future, &output);
    tine_release(future);
    return output;
}

static tine_error run_variant(variant *v, const tine_ensemble *e, double *seconds) {
    double start = tine_seconds();
    tine_value *output = compute_variant(v, e);
    *seconds = tine_seconds() - start;
    if (!output) return tine_last_error();
    tine_release(v->output);
    v->output = output;
    return TINE_OK;
}

/* Without a figure where a worker is lost meanwhile, or is another program. */
static void measure_peak(report *r, double seconds) {
    const double least = 0.05, most = 0.5;
    struct tine_peak_rate peak;
    r->beside = NAN;
    if (tine_workers_peak(r->type, fmin(fmax(seconds, least), most), &peak)) {
        snprintf(r->no_peak, sizeof r->no_peak, "%s", tine_error_message());
        return;
    }
    r->beside = r->peaks[r->n_peaks++] = peak.mean;
    r->best_peak = fmax(r->best_peak, peak.best);
}

/* A run that counts, and the peak after it; the peak before it was measured after the run before.
 * So that a share is one of what ran at the same frequency and under the same load. */
static void count_run(report *r, variant *v, long i, double seconds) {
    const double before = r->beside;
    v->seconds[i] = seconds;
    measure_peak(r, seconds / 2);
    const double share = 1e-9 * r->flops / seconds / ((before + r->beside) / 2);
    if (!isnan(share)) v->shares[v->n_shares++] = share;
}

/* The variants take turns, so that other load on the machine affects them alike. */
static tine_error time_variants(report *r, const tine_ensemble *e) {
    tine_steps steps = {.unit = "runs", .total = VARIANTS * (r->repeat + WARM_UPS)};
    for (long i = -WARM_UPS; i < r->repeat; i++) {
        double seconds = 0;
        for (int j = 0; j < VARIANTS; j++) {
            variant *v = &r->variants[j];
            tine_steps_show(&steps, v->name);
            tine_error failed = run_variant(v, e, &seconds);
            if (failed) return failed;
            if (i >= 0) count_run(r, v, i, seconds);
            steps.done++;
        }
        if (i == -1) measure_peak(r, seconds / 2);
    }
    for (int j = 0; j < VARIANTS; j++) {
        variant *v = &r->variants[j];
        v->median = tine_quantile(v->seconds, (size_t)r->repeat, 0.5);
        v->min = v->seconds[0];
        v->share = v->n_shares ? tine_quantile(v->shares, v->n_shares, 0.5) : NAN;
    }
    if (r->n_peaks) r->peak = tine_quantile(r->peaks, r->n_peaks, 0.5);
    return TINE_OK;
}

static tine_error measure_all(report *r, tine_ensemble *e) {
    tine_progress("making %ld models of 2 x %ld channels", r->config.models, r->config.channels);
    tine_error failed = tine_ensemble_make(e, &r->config);
    if (!failed) failed = time_variants(r, e);
    if (failed) return failed;
    r->identical = true;
    for (int i = 1; i < VARIANTS; i++)
        r->identical = r->identical && tine_equal(r->variants[0].output, r->variants[i].output);
    tine_progress("comparing with double precision");
    return tine_ensemble_error(e, r->variants[0].output, &r->error, &r->columns);
}

static void ensemble_print_table(const report *r) {
    const tine_ensemble_config *c = &r->config;
    const struct tine_gemm_kernel *kernel = tine_gemm_find(TINE_ISA_AUTO, r->type);
    printf("%ld models of 2 LSTMs, %ld steps, batch %ld, %ld channels, %s: %.1f GFLOP; %s\n",
           c->models, c->time, c->batch, c->channels, c->dtype, r->flops * 1e-9,
           kernel ? kernel->name : "float32 kernel");
    printf("%d worker%s at %s\n\n", r->workers, r->workers == 1 ? "" : "s", tine_endpoint());
    printf("              median s     min s   speedup   GFLOP/s   of peak\n");
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &r->variants[i];
        double gflops = r->flops / v->median * 1e-9;
        printf("%-12s %9.4f %9.4f %9.2f %9.1f %7.1f %%\n", v->name, v->median, v->min,
               r->variants[0].median / v->median, gflops, 100 * v->share);
    }
    if (isnan(r->peak))
        printf("\npeak           not known: %s\n", r->no_peak);
    else
        printf("\npeak           %.1f GFLOP/s: multiply-adds in registers on %d worker%s at once, "
               "before and after each run (%.1f to %.1f; the best millisecond: %.1f)\n",
               r->peak, r->workers, r->workers == 1 ? "" : "s", r->peaks[0],
               r->peaks[r->n_peaks - 1], r->best_peak);
    printf("outputs        %s\n", r->identical ? "bit-identical" : "DIFFER");
    printf("largest error  %.2e against double precision, in %ld columns of the batch (limit "
           "%.0e)%s\n",
           r->error, r->columns, r->limit, r->error <= r->limit ? "" : " TOO LARGE");
}

static void ensemble_print_json(const report *r) {
    json_object *o = json_object_new_object(), *variants = json_object_new_array();
    json_object_object_add(o, "workers", json_object_new_int(r->workers));
    json_object_object_add(o, "endpoint", json_object_new_string(tine_endpoint()));
    json_object_object_add(o, "peak_gflops", tine_json_number(r->peak, 6));
    json_object_object_add(o, "peak_gflops_least",
                           tine_json_number(r->n_peaks ? r->peaks[0] : NAN, 6));
    json_object_object_add(o, "peak_gflops_best", tine_json_number(r->best_peak, 6));
    json_object_object_add(o, "identical", json_object_new_boolean(r->identical));
    json_object_object_add(o, "max_error", tine_json_number(r->error, 6));
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &r->variants[i];
        json_object *row = json_object_new_object();
        json_object_object_add(row, "name", json_object_new_string(v->name));
        json_object_object_add(row, "seconds", tine_json_number(v->median, 6));
        json_object_object_add(row, "seconds_min", tine_json_number(v->min, 6));
        json_object_object_add(row, "gflops", tine_json_number(r->flops / v->median * 1e-9, 6));
        json_object_object_add(row, "share_of_peak", tine_json_number(v->share, 4));
        json_object_array_add(variants, row);
    }
    json_object_object_add(o, "variants", variants);
    tine_json_print(o);
}

/* Everything between tine_init and tine_shutdown; the exit code. */
static int run_ensemble(report *r) {
    tine_ensemble e = {0};
    int code = 1;
    r->workers = tine_worker_count();
    r->flops = tine_ensemble_flops(&r->config);
    r->limit = r->type == TINE_GEMM_F32 ? limit_float32 : limit_rounded;
    tine_error failed = measure_all(r, &e);
    tine_progress_end();
    if (failed) {
        fprintf(stderr, "tine ensemble: %s: %s\n", tine_error_name(failed), tine_error_message());
    } else {
        r->json ? ensemble_print_json(r) : ensemble_print_table(r);
        code = r->identical && r->error <= r->limit ? 0 : 1; /* a NaN fails */
    }
    for (int i = 0; i < VARIANTS; i++) tine_release(r->variants[i].output);
    tine_ensemble_free(&e);
    return code;
}

int tine_command_ensemble(int argc, char **argv) {
    report r = {.config = {4, 50, 50, 1024, 1, "f32"},
                .repeat = 5,
                .peak = NAN,
                .beside = NAN,
                .variants = {{.name = "sequential", .method = "forward_serial"},
                             {.name = "directions", .method = "forward_directions", .forked = true},
                             {.name = "models", .method = "forward"}}};
    const tine_option options[] = {
        {"--workers", "N", "worker processes (default: one a core)", TINE_OPTION_SETTING, NULL, 0,
         0},
        {"--endpoint", "URL", "ipc://PATH, tcp://HOST:PORT, inproc://NAME or mpi://",
         TINE_OPTION_SETTING, NULL, 0, 0},
        {"--models", "N", "models in the ensemble (4)", TINE_OPTION_NUMBER, &r.config.models, 1,
         TINE_ENSEMBLE_MODELS_MAX},
        {"--time", "T", "time steps (50)", TINE_OPTION_NUMBER, &r.config.time, 1, 1000000},
        {"--batch", "B", "batch size (50)", TINE_OPTION_NUMBER, &r.config.batch, 1, 1000000},
        {"--channels", "C", "input and hidden size (1024)", TINE_OPTION_NUMBER, &r.config.channels,
         1, 65536},
        {"--dtype", "TYPE", "f32, bf16 or int8: of the weights and inputs; states stay float32",
         TINE_OPTION_TEXT, &r.config.dtype, 0, 0},
        {"--repeat", "R", "timed runs of each variant, after three to warm up (5)",
         TINE_OPTION_NUMBER, &r.repeat, 1, REPEAT_MAX},
        {"--seed", "S", "of weights and input (1)", TINE_OPTION_NUMBER, &r.config.seed, 0,
         2147483647},
        {"--trace", "FILE", "write a Chrome trace of all processes", TINE_OPTION_SETTING, NULL, 0,
         0},
        {"--json", NULL, "print one JSON object", TINE_OPTION_FLAG, &r.json, 0, 0},
        {0},
    };
    const tine_usage usage = {
        "ensemble",
        "",
        "Runs the tutorial's ensemble of bidirectional LSTMs in three ways:\n"
        "sequential (one process, nothing forked), directions (one model after another, its\n"
        "forward cell forked), models (models forked, and in each its forward cell).\n"
        "\"of peak\" is the median share of what all workers reach in registers before and after\n"
        "each run.\n"
        "Exit code 1 if the three outputs differ in a bit, or are too far from double precision.",
        options,
        0,
        0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if (!tine_gemm_type_parse(r.config.dtype, &r.type))
        return tine_command_refuse("ensemble", 2, "--dtype=%s: expected f32, bf16 or int8",
                                   r.config.dtype);
    if (tine_init(&argc, argv, NULL))
        return tine_command_refuse("ensemble", tine_last_error() == TINE_EINVAL ? 2 : 1, "%s",
                                   tine_error_message());
    code = run_ensemble(&r);
    int ended = tine_shutdown();
    return code ? code : ended;
}
