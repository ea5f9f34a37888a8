/* Running kernels against each other; see rows.h. */
#include "launch/bench/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/gemm.h"
#include "kernels/mem.h"
#include "kernels/peak.h"
#include "launch/cli/report.h"

/* ROUNDS_LIMIT: of rounds in all, as a multiple of those asked for. */
enum { BATCH1_STEPS = 4, BATCH1_TRIES = 10, ROUNDS_LIMIT = 5 };
/* Other load on the machine can only make a figure worse: measuring goes on as long as a figure
 * improves by more than this share. */
static const double better_by = 0.005;

/* One size's data, and the LSTMs compared on it. No page of the output was touched before the first
 * forward. */
typedef struct comparison {
    tine_bench_size size;
    float *weights[4], *x, *y; /* y: in `output` */
    struct tine_mem output;
    struct tine_lstm *lstm[TINE_BENCH_SUBJECTS];
    struct tine_lstm_workspace *space;
} comparison;

double tine_bench_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *random_floats(size_t n, float scale) {
    float *v = malloc((n ? n : 1) * sizeof *v);
    unsigned state = 1;
    for (size_t i = 0; v && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        v[i] = ((float)(state >> 8) * 0x1p-23f - 1) * scale;
    }
    return v;
}

static void comparison_fini(comparison *c) {
    for (int i = 0; i < 4; i++) free(c->weights[i]);
    for (int i = 0; i < TINE_BENCH_SUBJECTS; i++) tine_lstm_free(c->lstm[i]);
    tine_lstm_workspace_free(c->space);
    tine_mem_free(&c->output);
    free(c->x);
    memset(c, 0, sizeof *c);
}

static bool comparison_init(comparison *c, tine_bench_size size) {
    const size_t C = (size_t)size.channels, rows = (size_t)size.steps * (size_t)size.batch;
    const float scale = 1 / sqrtf((float)C);
    *c = (comparison){.size = size};
    for (int i = 0; i < 4; i++) c->weights[i] = random_floats(4 * C * (i < 2 ? C : 1), scale);
    c->x = random_floats(rows * C, 1);
    bool ok = c->weights[0] && c->weights[1] && c->weights[2] && c->weights[3] && c->x &&
              tine_mem_alloc(&c->output, rows * C * sizeof *c->y) &&
              !tine_lstm_workspace_create(&c->space);
    c->y = c->output.data;
    if (!ok) comparison_fini(c);
    return ok;
}

static bool comparison_add(comparison *c, int i, tine_bench_subject subject) {
    struct tine_lstm_config config = {.input_size = (size_t)c->size.channels,
                                      .hidden_size = (size_t)c->size.channels,
                                      .bias = true,
                                      .type = subject.type,
                                      .isa = subject.isa};
    return !tine_lstm_create(&config, (const float *const *)c->weights, &c->lstm[i]);
}

static bool comparison_forward(comparison *c, int i) {
    return !tine_lstm_forward(c->lstm[i], c->space, (size_t)c->size.steps, (size_t)c->size.batch,
                              c->x, NULL, NULL, c->y, NULL, NULL);
}

/* Seconds of one forward, the mean of as many as take 2 ms; one before them brings the weights back
 * into the caches. */
static double forward_seconds(comparison *c, int i) {
    if (!comparison_forward(c, i)) return INFINITY;
    for (long n = 1;; n *= 2) {
        double start = tine_bench_clock();
        for (long k = 0; k < n; k++)
            if (!comparison_forward(c, i)) return INFINITY;
        double took = tine_bench_clock() - start;
        if (took > 2e-3) return took / (double)n;
    }
}

static double comparison_flops(const comparison *c, int i) {
    return tine_lstm_flops(tine_lstm_config(c->lstm[i]), (size_t)c->size.steps,
                           (size_t)c->size.batch);
}

/* That of float32 where there is no instruction for the type. */
static double subject_peak(tine_bench_subject s) {
    double rate = tine_peak_gflops(s.isa, (enum tine_gemm_type)s.type, 0.01);
    return rate > 0 ? rate : tine_peak_gflops(s.isa, TINE_GEMM_F32, 0.01);
}

static void rows_append(tine_bench_rows *out, const comparison *c, int i,
                        tine_bench_subject subject, double seconds, double peak, double openblas) {
    if (out->count == TINE_BENCH_ROWS) return;
    tine_bench_row *row = &out->row[out->count++];
    snprintf(row->kernel, sizeof row->kernel, "%s", tine_isa_name(subject.isa));
    row->dtype = tine_gemm_type_name((enum tine_gemm_type)subject.type);
    row->size = c->size;
    row->seconds = seconds;
    row->gflops = 1e-9 * comparison_flops(c, i) / seconds;
    row->peak = peak;
    row->vs_openblas = openblas > 0 ? openblas / seconds : 0;
}

bool tine_bench_measure(tine_bench_size size, const tine_bench_subject *subjects, int count,
                        int rounds, tine_bench_rows *out) {
    comparison c;
    double best[TINE_BENCH_SUBJECTS], peak[TINE_BENCH_SUBJECTS] = {0}, openblas = 0;
    bool ok = comparison_init(&c, size);
    for (int i = 0; ok && i < count; i++) {
        best[i] = INFINITY;
        if (tine_isa_obstacle(tine_cpu(), subjects[i].isa)) continue;
        ok = comparison_add(&c, i, subjects[i]) && comparison_forward(&c, i);
    }
    for (int r = 0, stale = 0; ok && stale < rounds && r < ROUNDS_LIMIT * rounds; r++) {
        stale++;
        for (int i = 0; i < count; i++) {
            if (!c.lstm[i]) continue;
            tine_progress("T %ld, B %ld, C %ld: round %d, %s", size.steps, size.batch,
                          size.channels, r + 1, tine_lstm_kernel_name(c.lstm[i]));
            double rate = subject_peak(subjects[i]), seconds = forward_seconds(&c, i);
            if (rate > peak[i] * (1 + better_by) || seconds < best[i] * (1 - better_by)) stale = 0;
            peak[i] = fmax(peak[i], rate);
            best[i] = fmin(best[i], seconds);
            if (subjects[i].isa == TINE_ISA_OPENBLAS) openblas = best[i];
        }
    }
    for (int i = 0; ok && i < count; i++)
        if (c.lstm[i]) rows_append(out, &c, i, subjects[i], best[i], peak[i], openblas);
    tine_progress_end();
    comparison_fini(&c);
    if (!ok) fprintf(stderr, "tine bench lstm: no memory for %ld channels\n", size.channels);
    return ok;
}

double tine_bench_rounding_error(tine_bench_size size, enum tine_lstm_type type) {
    comparison c;
    double worst = -1;
    if (!comparison_init(&c, size)) return worst;
    const size_t n = (size_t)(size.steps * size.batch * size.channels);
    float *exact = random_floats(n, 0);
    if (exact && comparison_add(&c, 0, (tine_bench_subject){TINE_ISA_AUTO, TINE_LSTM_F32}) &&
        comparison_add(&c, 1, (tine_bench_subject){TINE_ISA_AUTO, type}) &&
        comparison_forward(&c, 0)) {
        memcpy(exact, c.y, n * sizeof *exact);
        worst = comparison_forward(&c, 1) ? 0 : -1;
        for (size_t i = 0; i < n && worst >= 0; i++)
            worst = fmax(worst, fabs((double)exact[i] - c.y[i]));
    }
    free(exact);
    comparison_fini(&c);
    return worst;
}

/* ---- phases ---- */

static void profile_round(comparison *c, tine_bench_subject subject, tine_bench_profile *out) {
    double phases[TINE_LSTM_PHASES] = {0}, start = tine_bench_clock();
    comparison_forward(c, 0);
    out->seconds = fmin(out->seconds, tine_bench_clock() - start);
    tine_lstm_workspace_profile(c->space, phases);
    start = tine_seconds(); /* phases are measured by this clock: the other takes 200 ns to read */
    comparison_forward(c, 0);
    tine_lstm_workspace_profile(c->space, NULL);
    double timed = tine_seconds() - start;
    if (timed < out->timed) {
        out->timed = timed;
        memcpy(out->phases, phases, sizeof phases);
    }
    out->peak = fmax(out->peak, subject_peak(subject));
    out->read = fmax(out->read, tine_peak_read_gbs((size_t)out->weight_bytes, 0.005));
}

/* Packing, and the first forward with what it packed: the workspace is new, too. */
static bool profile_begin(comparison *c, tine_bench_subject subject, tine_bench_profile *out) {
    if (!comparison_init(c, out->size)) return false;
    double start = tine_bench_clock();
    if (!comparison_add(c, 0, subject)) return false;
    double packed = tine_bench_clock();
    if (!comparison_forward(c, 0)) return false;
    out->packing = fmin(out->packing, packed - start);
    out->first = fmin(out->first, tine_bench_clock() - packed);
    snprintf(out->kernel, sizeof out->kernel, "%s", tine_lstm_kernel_name(c->lstm[0]));
    return true;
}

/* A forward is repeated for as long as a millisecond or so takes, at most PROFILE_TRIES times. */
bool tine_bench_profile_measure(tine_bench_size size, tine_bench_subject subject, int rounds,
                                tine_bench_profile *out) {
    enum { PROFILE_TRIES = 20 };
    comparison c = {0};
    const double rows = (double)size.steps * (double)size.batch, C = (double)size.channels;
    *out = (tine_bench_profile){.size = size,
                                .packing = INFINITY,
                                .first = INFINITY,
                                .seconds = INFINITY,
                                .timed = INFINITY,
                                .input_flops = 8 * rows * C * C,
                                .hidden_flops = 8 * rows * C * C,
                                .weight_bytes = 16 * C * C / (double)(1 << subject.type)};
    bool ok = true;
    for (int r = 0; ok && r < rounds; r++) {
        tine_progress("T %ld, B %ld, C %ld: round %d of %d", size.steps, size.batch, size.channels,
                      r + 1, rounds);
        ok = profile_begin(&c, subject, out);
        double start = tine_bench_clock();
        for (int i = 0; ok && i < PROFILE_TRIES && (!i || tine_bench_clock() - start < 0.05); i++)
            profile_round(&c, subject, out);
        comparison_fini(&c);
    }
    tine_progress_end();
    if (!ok) fprintf(stderr, "tine bench lstm: no memory for %ld channels\n", size.channels);
    return ok;
}

double tine_bench_profile_bound(const tine_bench_profile *p) {
    double input = 1e-9 * p->input_flops / p->peak, hidden = 1e-9 * p->hidden_flops / p->peak;
    return input + fmax(hidden, 1e-9 * p->weight_bytes * (double)p->size.steps / p->read);
}

/* ---- batch 1 ---- */

/* One LSTM: batch 1, the chosen kernel, any input size up to channels. */
static bool batch1_init(comparison *c, long steps, long input, long channels) {
    struct tine_lstm_config config = {
        .input_size = (size_t)input, .hidden_size = (size_t)channels, .bias = true};
    return comparison_init(c, (tine_bench_size){steps, 1, channels}) &&
           !tine_lstm_create(&config, (const float *const *)c->weights, &c->lstm[0]) &&
           comparison_forward(c, 0);
}

/* The least seconds of several single forwards: each about as long as one pass of the loop that
 * measures the read bandwidth. */
static double batch1_seconds(comparison *c) {
    double best = INFINITY;
    for (int i = 0; i < BATCH1_TRIES; i++) {
        double start = tine_bench_clock();
        if (!comparison_forward(c, 0)) return INFINITY;
        best = fmin(best, tine_bench_clock() - start);
    }
    return best;
}

bool tine_bench_batch1(long steps, long channels, int rounds, tine_bench_bandwidth *out) {
    const double matrix = 16e-9 * (double)channels * (double)channels; /* gigabytes */
    const size_t bytes = (size_t)channels * (size_t)channels * 4 * sizeof(float);
    const struct tine_gemm_kernel *kernel = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_F32);
    const double chunks = kernel ? ceil((double)steps / (double)kernel->mc) : 0;
    comparison all = {0}, one = {0}, narrow = {0};
    bool ok = kernel && batch1_init(&all, steps, channels, channels) &&
              batch1_init(&one, 1, channels, channels) &&
              batch1_init(&narrow, BATCH1_STEPS, 1, channels);
    memset(out, 0, sizeof *out);
    for (int r = 0; ok && r < rounds; r++) {
        tine_progress("batch 1: round %d of %d", r + 1, rounds);
        out->read_one = fmax(out->read_one, tine_peak_read_gbs(bytes, 0.02));
        out->recurrent = fmax(out->recurrent, matrix * BATCH1_STEPS / batch1_seconds(&narrow));
        out->forward = fmax(out->forward, matrix * ((double)steps + chunks) / batch1_seconds(&all));
        out->read_two = fmax(out->read_two, tine_peak_read_gbs(2 * bytes, 0.02));
        out->step = fmax(out->step, 2 * matrix / batch1_seconds(&one));
    }
    tine_progress_end();
    comparison_fini(&all), comparison_fini(&one), comparison_fini(&narrow);
    return ok;
}
