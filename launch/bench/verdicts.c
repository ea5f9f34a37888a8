/* See verdicts.h. */
#include "launch/bench/verdicts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/gemm.h"

bool tine_bench_is_chosen(const tine_bench_row *row) {
    return !strcmp(row->kernel, tine_isa_name(tine_kernel_choice()->f32)) &&
           !strcmp(row->dtype, "f32");
}

const tine_bench_row *tine_bench_grid_worst(const tine_bench_lstm_results *r, bool of_bound) {
    const tine_bench_row *worst = NULL;
    for (int i = r->grid_from; i < r->grid_to; i++) {
        const tine_bench_row *row = &r->rows.row[i];
        if (!tine_bench_is_chosen(row) || row->size.batch < 8) continue;
        if (!worst || (of_bound ? row->bound < worst->bound : row->share < worst->share))
            worst = row;
    }
    return worst;
}

static const tine_bench_row *row_find(const tine_bench_lstm_results *r, const char *kernel,
                                      const char *dtype) {
    for (int i = 0; i < r->main_rows; i++)
        if (!strcmp(r->rows.row[i].kernel, kernel) && !strcmp(r->rows.row[i].dtype, dtype))
            return &r->rows.row[i];
    return NULL;
}

static void print_verdict(const char *what, double measured, double least, const char *unit) {
    const double scale = *unit == '%' ? 100 : 1;
    printf("  %-66s %6.2f %s of %6.2f  %s\n", what, scale * measured, unit, scale * least,
           measured >= least ? "met" : "MISSED");
}

static void print_verdicts_few(const tine_bench_lstm_results *r) {
    const tine_bench_profile *worst = &r->profile[1];
    char what[80];
    print_verdict("batch 1, recurrent steps, share of one core's read bandwidth",
                  r->batch1.recurrent.share, 0.85, "%");
    print_verdict("batch 1, whole forward, share of its bound", r->profile[0].bound, 0.9, "%");
    if (r->n_few < 2) return;
    for (int i = 2; i < r->n_few; i++)
        if (r->profile[i].bound < worst->bound) worst = &r->profile[i];
    snprintf(what, sizeof what, "B 1 to 4, C 128 and 256: share of its bound, C %ld, B %ld",
             worst->size.channels, worst->size.batch);
    print_verdict(what, worst->bound, 0.85, "%");
}

static void print_verdicts_grid(const tine_bench_lstm_results *r) {
    const tine_bench_row *peak = tine_bench_grid_worst(r, false),
                         *bound = tine_bench_grid_worst(r, true);
    double speed = INFINITY;
    char what[80];
    for (int i = r->grid_from; i < r->grid_to; i++)
        if (tine_bench_is_chosen(&r->rows.row[i]) && r->rows.row[i].vs_openblas > 0)
            speed = fmin(speed, r->rows.row[i].vs_openblas);
    if (!peak) return;
    snprintf(what, sizeof what, "grid, B 8 to 128: share of the FMA peak, C %ld, B %ld",
             peak->size.channels, peak->size.batch);
    print_verdict(what, peak->share, 0.93, "%");
    snprintf(what, sizeof what, "the same: share of its bound, C %ld, B %ld", bound->size.channels,
             bound->size.batch);
    print_verdict(what, bound->bound, 0.93, "%");
    if (isfinite(speed)) print_verdict("slowest cell of the grid against OpenBLAS", speed, 1, "x");
}

/* tine ensemble and tests/bench/lstm_peers.py measure what this one cannot: the whole ensemble on
 * its workers, and other programs' LSTMs. */
void tine_bench_verdicts_print(const tine_bench_lstm_results *r) {
    const tine_bench_row *best = row_find(r, tine_isa_name(tine_kernel_choice()->f32), "f32");
    const tine_bench_row *avx2 = row_find(r, "avx2", "f32"),
                         *bf16 = row_find(r, tine_isa_name(tine_kernel_choice()->bf16), "bf16"),
                         *int8 = row_find(r, "avx512_vnni", "int8");
    puts("\nverdicts: measured, wanted at least; of the grid and of small batches the worst");
    if (best) print_verdict("fp32 LSTM, share of the FMA peak", best->share, 0.98, "%");
    if (best)
        print_verdict("fp32 LSTM against the same with OpenBLAS", best->vs_openblas, 1.2, "x");
    if (bf16)
        print_verdict("bf16 LSTM, share of the peak of its instructions", bf16->share, 0.97, "%");
    if (bf16 && int8)
        print_verdict("int8 LSTM against the same in bf16", bf16->seconds / int8->seconds, 1.7,
                      "x");
    if (avx2) print_verdict("AVX2 LSTM, share of the AVX2 FMA peak", avx2->share, 0.96, "%");
    print_verdicts_few(r);
    print_verdicts_grid(r);
}
