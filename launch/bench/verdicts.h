/* What `tine bench lstm` has measured, and what of it is wanted. */
#ifndef TINE_LAUNCH_BENCH_VERDICTS_H
#define TINE_LAUNCH_BENCH_VERDICTS_H

#include "launch/bench/rows.h"

enum { TINE_BENCH_PROFILES = 12 };

typedef struct tine_bench_lstm_results {
    tine_bench_rows rows;
    /* rows [0, main_rows) are the tutorial's size, [grid_from, grid_to) the grid */
    int main_rows, grid_from, grid_to;
    tine_bench_batch1_rates batch1;
    /* The first n_few are of small batches, and of these the first is batch 1 of all channels; then
     * the tutorial's size and the worst cell of the grid. */
    tine_bench_profile profile[TINE_BENCH_PROFILES];
    int n_few, n_profiles;
    double peak_f32, peak_bf16, peak_int8, peak_avx2;
    double bf16_error, int8_error; /* negative: not measured */
} tine_bench_lstm_results;

/* Is of float32 and the kernel that a program gets. */
bool tine_bench_is_chosen(const tine_bench_row *row);
/* The cell of the grid, of 8 rows and more, that is furthest from its bound or from the peak; NULL:
 * there is no grid. */
const tine_bench_row *tine_bench_grid_worst(const tine_bench_lstm_results *r, bool of_bound);
/* Prints each share beside the one wanted. */
void tine_bench_verdicts_print(const tine_bench_lstm_results *r);

#endif
