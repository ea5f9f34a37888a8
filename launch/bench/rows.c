/* Running kernels against each other; see rows.h. */
#include "launch/bench/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gemm.h"
#include "launch/cli/report.h"

/* ROUNDS_LIMIT: of rounds in all, as a multiple of those asked for. */
enum { BATCH1_STEPS = 4, ROUNDS_LIMIT = 3 };
/* Other load on the machine can only make a figure worse: measuring goes on as long as a figure
 * improves by more than this share. */
static const double better_by = 0.005;

/* The least seconds that a forward takes at the rates beside it; bytes: of the recurrent matrix. */
static double sample_bound(const tine_bench_sample *s, double flops, double bytes, long steps) {
    const double half = 0.5e-9 * flops / s->peak.mean;
    return half + fmax(half, 1e-9 * bytes * (double)steps / s->read.mean);
}

/* What the rounds of one subject have given. */
typedef struct rounds {
    double best; /* seconds */
    double peak; /* of the best slice */
    size_t n, room;
    double *shares, *bounds; /* of each round */
} rounds;

static bool rounds_init(rounds *r, size_t room) {
    *r = (rounds){.best = INFINITY, .room = room};
    r->shares = calloc(2 * room, sizeof *r->shares);
    r->bounds = r->shares + room;
    return r->shares;
}

static void rounds_fini(rounds *r) { free(r->shares); }

/* Returns whether a figure has improved. */
static bool rounds_add(rounds *r, const tine_bench_sample *s, double flops, double bytes,
                       long steps) {
    const bool better =
        s->peak.best > r->peak * (1 + better_by) || s->seconds < r->best * (1 - better_by);
    r->peak = fmax(r->peak, s->peak.best);
    r->best = fmin(r->best, s->seconds);
    if (r->n == r->room) return better;
    r->shares[r->n] = 1e-9 * flops / s->seconds / s->peak.mean;
    r->bounds[r->n++] = bytes > 0 ? sample_bound(s, flops, bytes, steps) / s->seconds : 0;
    return better;
}

static void rows_append(tine_bench_rows *out, const tine_comparison *c, int i,
                        tine_bench_subject subject, const rounds *r, double openblas) {
    if (out->count == TINE_BENCH_ROWS) return;
    tine_bench_row *row = &out->row[out->count++];
    snprintf(row->kernel, sizeof row->kernel, "%s", tine_isa_name(subject.isa));
    row->dtype = tine_gemm_type_name((enum tine_gemm_type)subject.type);
    row->size = c->size;
    row->seconds = r->best;
    row->gflops = 1e-9 * tine_comparison_flops(c, i) / r->best;
    row->best_peak = r->peak;
    row->share = tine_quantile(r->shares, r->n, 0.5);
    row->bound = tine_quantile(r->bounds, r->n, 0.5);
    row->vs_openblas = openblas > 0 ? openblas / r->best : 0;
}

/* One forward of each subject. Returns whether a figure has improved. */
static bool measure_round(tine_comparison *c, const tine_bench_subject *subjects, int count,
                          bool reading, rounds *all) {
    const double C = (double)c->size.channels, bytes = reading ? 4 * sizeof(float) * C * C : 0;
    bool better = false;
    for (int i = 0; i < count; i++) {
        if (!c->lstm[i]) continue;
        tine_progress("T %ld, B %ld, C %ld: round %zu, %s", c->size.steps, c->size.batch,
                      c->size.channels, all[i].n + 1, tine_lstm_kernel_name(c->lstm[i]));
        const tine_bench_sample sample = tine_bench_sample_take(c, i, subjects[i], (size_t)bytes);
        if (rounds_add(&all[i], &sample, tine_comparison_flops(c, i), bytes, c->size.steps))
            better = true;
    }
    return better;
}

bool tine_bench_measure(tine_bench_size size, const tine_bench_subject *subjects, int count,
                        bool reading, int least, tine_bench_rows *out) {
    tine_comparison c;
    rounds all[TINE_BENCH_SUBJECTS] = {0};
    double openblas = 0;
    bool ok = tine_comparison_init(&c, size);
    for (int i = 0; ok && i < count; i++) {
        ok = rounds_init(&all[i], (size_t)ROUNDS_LIMIT * (size_t)least);
        if (ok && !tine_isa_obstacle(tine_cpu(), subjects[i].isa))
            ok = tine_comparison_add(&c, i, subjects[i]) && tine_comparison_forward(&c, i);
    }
    for (int r = 0, stale = 0; ok && stale < least && r < ROUNDS_LIMIT * least; r++)
        stale = measure_round(&c, subjects, count, reading, all) ? 0 : stale + 1;
    for (int i = 0; i < count; i++)
        if (subjects[i].isa == TINE_ISA_OPENBLAS && ok && c.lstm[i]) openblas = all[i].best;
    for (int i = 0; i < count; i++) {
        if (ok && c.lstm[i]) rows_append(out, &c, i, subjects[i], &all[i], openblas);
        rounds_fini(&all[i]);
    }
    tine_progress_end();
    tine_comparison_fini(&c);
    if (!ok) fprintf(stderr, "tine bench lstm: no memory for %ld channels\n", size.channels);
    return ok;
}

double tine_bench_rounding_error(tine_bench_size size, enum tine_lstm_type type) {
    tine_comparison c;
    double worst = -1;
    if (!tine_comparison_init(&c, size)) return worst;
    const size_t n = (size_t)(size.steps * size.batch * size.channels);
    float *exact = tine_bench_random(n, 0);
    if (exact && tine_comparison_add(&c, 0, (tine_bench_subject){TINE_ISA_AUTO, TINE_LSTM_F32}) &&
        tine_comparison_add(&c, 1, (tine_bench_subject){TINE_ISA_AUTO, type}) &&
        tine_comparison_forward(&c, 0)) {
        memcpy(exact, c.y, n * sizeof *exact);
        worst = tine_comparison_forward(&c, 1) ? 0 : -1;
        for (size_t i = 0; i < n && worst >= 0; i++)
            worst = fmax(worst, fabs((double)exact[i] - c.y[i]));
    }
    free(exact);
    tine_comparison_fini(&c);
    return worst;
}

/* ---- phases ---- */

/* Phases are measured by the wall clock, since the other takes 200 ns to read. The forward in which
 * other processes had the core least counts, scaled to CPU time. */
static void profile_timed(tine_comparison *c, const tine_bench_sample *sample,
                          tine_bench_profile *out) {
    double phases[TINE_LSTM_PHASES] = {0}, wall = tine_seconds(), cpu = tine_bench_clock();
    tine_lstm_workspace_profile(c->space, phases);
    tine_comparison_forward(c, 0);
    tine_lstm_workspace_profile(c->space, NULL);
    wall = tine_seconds() - wall, cpu = tine_bench_clock() - cpu;
    if (wall >= out->wall) return;
    out->wall = wall, out->timed = cpu;
    out->peak = sample->peak.mean, out->read = sample->read.mean;
    for (int i = 0; i < TINE_LSTM_PHASES; i++) out->phases[i] = phases[i] * cpu / wall;
}

/* Packing, and the first forward with what it packed: the workspace is new, too. */
static bool profile_begin(tine_comparison *c, tine_bench_subject subject, tine_bench_profile *out) {
    if (!tine_comparison_init(c, out->size)) return false;
    double start = tine_bench_clock();
    if (!tine_comparison_add(c, 0, subject)) return false;
    double packed = tine_bench_clock();
    if (!tine_comparison_forward(c, 0)) return false;
    out->packing = fmin(out->packing, packed - start);
    out->first = fmin(out->first, tine_bench_clock() - packed);
    snprintf(out->kernel, sizeof out->kernel, "%s", tine_lstm_kernel_name(c->lstm[0]));
    return true;
}

/* A new module, and several forwards of it. */
static bool profile_round(tine_bench_subject subject, tine_bench_profile *out, rounds *all) {
    enum { SAMPLES = 4, TIMED = 8 }; /* TIMED: per sample, where they are short */
    tine_comparison c = {0};
    const bool ok = profile_begin(&c, subject, out);
    const double start = tine_bench_clock();
    for (int i = 0; ok && i < SAMPLES && (!i || tine_bench_clock() - start < 0.05); i++) {
        const tine_bench_sample sample =
            tine_bench_sample_take(&c, 0, subject, (size_t)out->weight_bytes);
        rounds_add(all, &sample, out->input_flops + out->hidden_flops, out->weight_bytes,
                   out->size.steps);
        for (int k = 0; k < TIMED && (!k || sample.seconds < 1e-3); k++)
            profile_timed(&c, &sample, out);
    }
    tine_comparison_fini(&c);
    return ok;
}

bool tine_bench_profile_measure(tine_bench_size size, tine_bench_subject subject, int least,
                                tine_bench_profile *out) {
    rounds all;
    const double rows = (double)size.steps * (double)size.batch, C = (double)size.channels;
    *out = (tine_bench_profile){.size = size,
                                .packing = INFINITY,
                                .first = INFINITY,
                                .wall = INFINITY,
                                .input_flops = 8 * rows * C * C,
                                .hidden_flops = 8 * rows * C * C,
                                .weight_bytes = 16 * C * C / (double)(1 << subject.type)};
    bool ok = rounds_init(&all, 4 * (size_t)least);
    for (int r = 0; ok && r < least; r++) {
        tine_progress("T %ld, B %ld, C %ld: round %d of %d", size.steps, size.batch, size.channels,
                      r + 1, least);
        ok = profile_round(subject, out, &all);
    }
    if (ok) {
        out->seconds = all.best;
        out->share = tine_quantile(all.shares, all.n, 0.5);
        out->bound = tine_quantile(all.bounds, all.n, 0.5);
    }
    rounds_fini(&all);
    tine_progress_end();
    if (!ok) fprintf(stderr, "tine bench lstm: no memory for %ld channels\n", size.channels);
    return ok;
}

/* ---- batch 1 ---- */

/* One LSTM: batch 1, the chosen kernel, any input size up to channels. */
static bool batch1_init(tine_comparison *c, long steps, long input, long channels) {
    struct tine_lstm_config config = {
        .input_size = (size_t)input, .hidden_size = (size_t)channels, .bias = true};
    return tine_comparison_init(c, (tine_bench_size){steps, 1, channels}) &&
           !tine_lstm_create(&config, (const float *const *)c->weights, &c->lstm[0]) &&
           tine_comparison_forward(c, 0);
}

/* `moved` bytes of weights in each forward, beside reading a buffer of `buffer` bytes. */
static bool batch1_measure(long steps, long input, long channels, double moved, double buffer,
                           int least, tine_bench_bandwidth *out) {
    const tine_bench_subject chosen = {TINE_ISA_AUTO, TINE_LSTM_F32};
    tine_comparison c = {0};
    double *shares = calloc((size_t)least, sizeof *shares);
    bool ok = shares && batch1_init(&c, steps, input, channels);
    *out = (tine_bench_bandwidth){0};
    for (int r = 0; ok && r < least; r++) {
        tine_progress("batch 1, %ld step%s: round %d of %d", steps, steps == 1 ? "" : "s", r + 1,
                      least);
        const tine_bench_sample sample = tine_bench_sample_take(&c, 0, chosen, (size_t)buffer);
        const double rate = 1e-9 * moved / sample.seconds;
        shares[r] = rate / sample.read.mean;
        out->weights = fmax(out->weights, rate);
        out->read = fmax(out->read, sample.read.best);
    }
    if (ok) out->share = tine_quantile(shares, (size_t)least, 0.5);
    tine_progress_end();
    tine_comparison_fini(&c);
    free(shares);
    return ok;
}

bool tine_bench_batch1(long steps, long channels, int least, tine_bench_batch1_rates *out) {
    const double matrix = 16 * (double)channels * (double)channels;
    const struct tine_gemm_kernel *kernel = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_F32);
    const double chunks = kernel ? ceil((double)steps / (double)kernel->mc) : 0;
    return kernel &&
           batch1_measure(1, channels, channels, 2 * matrix, 2 * matrix, least, &out->step) &&
           batch1_measure(BATCH1_STEPS, 1, channels, matrix * BATCH1_STEPS, matrix, least,
                          &out->recurrent) &&
           batch1_measure(steps, channels, channels, matrix * ((double)steps + chunks), matrix,
                          least, &out->forward);
}
