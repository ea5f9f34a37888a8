/* See comparison.h. */
#include "launch/bench/comparison.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The least and the most seconds of a loop before or after a forward; and of a forward whose
 * weights may stay in the caches from one to the next. */
static const double BESIDE_MIN = 1e-3, BESIDE_MAX = 0.25, CACHED_MAX = 0.05;

double tine_bench_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

float *tine_bench_random(size_t n, float scale) {
    float *v = malloc((n ? n : 1) * sizeof *v);
    unsigned state = 1;
    for (size_t i = 0; v && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        v[i] = ((float)(state >> 8) * 0x1p-23f - 1) * scale;
    }
    return v;
}

void tine_comparison_fini(tine_comparison *c) {
    for (int i = 0; i < 4; i++) free(c->weights[i]);
    for (int i = 0; i < TINE_BENCH_SUBJECTS; i++) tine_lstm_free(c->lstm[i]);
    tine_lstm_workspace_free(c->space);
    tine_mem_free(&c->output);
    free(c->x);
    memset(c, 0, sizeof *c);
}

bool tine_comparison_init(tine_comparison *c, tine_bench_size size) {
    const size_t C = (size_t)size.channels, rows = (size_t)size.steps * (size_t)size.batch;
    const float scale = 1 / sqrtf((float)C);
    *c = (tine_comparison){.size = size};
    for (int i = 0; i < 4; i++) c->weights[i] = tine_bench_random(4 * C * (i < 2 ? C : 1), scale);
    c->x = tine_bench_random(rows * C, 1);
    bool ok = c->weights[0] && c->weights[1] && c->weights[2] && c->weights[3] && c->x &&
              tine_mem_alloc(&c->output, rows * C * sizeof *c->y) &&
              !tine_lstm_workspace_create(&c->space);
    c->y = c->output.data;
    if (!ok) tine_comparison_fini(c);
    return ok;
}

bool tine_comparison_add(tine_comparison *c, int i, tine_bench_subject subject) {
    struct tine_lstm_config config = {.input_size = (size_t)c->size.channels,
                                      .hidden_size = (size_t)c->size.channels,
                                      .bias = true,
                                      .type = subject.type,
                                      .isa = subject.isa};
    return !tine_lstm_create(&config, (const float *const *)c->weights, &c->lstm[i]);
}

bool tine_comparison_forward(tine_comparison *c, int i) {
    return !tine_lstm_forward(c->lstm[i], c->space, (size_t)c->size.steps, (size_t)c->size.batch,
                              c->x, NULL, NULL, c->y, NULL, NULL);
}

double tine_comparison_flops(const tine_comparison *c, int i) {
    return tine_lstm_flops(tine_lstm_config(c->lstm[i]), (size_t)c->size.steps,
                           (size_t)c->size.batch);
}

/* Runs n forwards; false: one has failed. */
static bool forwards_time(tine_comparison *c, int i, long n, double *seconds) {
    const double start = tine_bench_clock();
    for (long k = 0; k < n; k++)
        if (!tine_comparison_forward(c, i)) return false;
    *seconds = tine_bench_clock() - start;
    return true;
}

static void rate_join(struct tine_peak_rate *sum, struct tine_peak_rate half) {
    sum->best = fmax(sum->best, half.best);
    sum->mean += half.mean / 2;
}

static void sample_beside(tine_bench_sample *sample, tine_bench_subject s, size_t read_bytes,
                          double seconds) {
    struct tine_peak_rate rate = tine_peak_gflops(s.isa, (enum tine_gemm_type)s.type, seconds);
    if (rate.best <= 0) rate = tine_peak_gflops(s.isa, TINE_GEMM_F32, seconds);
    rate_join(&sample->peak, rate);
    if (read_bytes) rate_join(&sample->read, tine_peak_read_gbs(read_bytes, seconds));
}

tine_bench_sample tine_bench_sample_take(tine_comparison *c, int i, tine_bench_subject subject,
                                         size_t read_bytes) {
    tine_bench_sample sample = {.seconds = INFINITY};
    double once, took;
    if (!forwards_time(c, i, 1, &once)) return sample;
    const long n = once < 2 * BESIDE_MIN ? (long)(2 * BESIDE_MIN / fmax(once, 1e-6)) + 1 : 1;
    const double beside = fmin(fmax((double)n * once / 2, BESIDE_MIN), BESIDE_MAX);
    sample_beside(&sample, subject, read_bytes, beside);
    if (once < CACHED_MAX && !forwards_time(c, i, 1, &once)) return sample;
    if (!forwards_time(c, i, n, &took)) return sample;
    sample_beside(&sample, subject, read_bytes, beside);
    sample.seconds = took / (double)n;
    return sample;
}
