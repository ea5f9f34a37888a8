/* One size of an LSTM in several kernels, and how one forward is timed beside the machine's peak.
 *
 * The clock is the CPU time of the one thread that computes, which stands still while another
 * process has the core. But the rate of a core changes within milliseconds, with its frequency and
 * with what others on the machine do: so that one forward is compared with loops that run right
 * before and after it, for as long as it takes. */
#ifndef TINE_LAUNCH_BENCH_COMPARISON_H
#define TINE_LAUNCH_BENCH_COMPARISON_H

#include <stdbool.h>

#include "kernels/lstm.h"
#include "kernels/mem.h"
#include "kernels/peak.h"

enum { TINE_BENCH_SUBJECTS = 12 };

typedef struct tine_bench_size {
    long steps, batch, channels;
} tine_bench_size;

/* What to compare: an instruction set and a type. */
typedef struct tine_bench_subject {
    enum tine_isa isa;
    enum tine_lstm_type type;
} tine_bench_subject;

/* One size's data, and the LSTMs compared on it. No page of the output was touched before the first
 * forward. */
typedef struct tine_comparison {
    tine_bench_size size;
    float *weights[4], *x, *y; /* y: in `output` */
    struct tine_mem output;
    struct tine_lstm *lstm[TINE_BENCH_SUBJECTS];
    struct tine_lstm_workspace *space;
} tine_comparison;

double tine_bench_clock(void); /* CPU seconds of this thread */

/* n values in [-scale, scale), always the same; NULL: no memory. */
float *tine_bench_random(size_t n, float scale);

/* False: no memory, and nothing is to be released. */
bool tine_comparison_init(tine_comparison *c, tine_bench_size size);
void tine_comparison_fini(tine_comparison *c);
/* Makes the i-th LSTM. */
bool tine_comparison_add(tine_comparison *c, int i, tine_bench_subject subject);
bool tine_comparison_forward(tine_comparison *c, int i);
double tine_comparison_flops(const tine_comparison *c, int i);

/* A forward of the i-th LSTM, and what the core reaches beside it. */
typedef struct tine_bench_sample {
    double seconds; /* of one forward, the mean of as many as take 2 ms; INFINITY: it has failed */
    /* GFLOP/s of the instructions in registers, or those of float32 where the type has none; GB/s
     * of reading as many bytes as asked for, 0: none */
    struct tine_peak_rate peak, read;
} tine_bench_sample;

/* Measures one; the loops take as long as the forwards, half before and half after. Where these are
 * short, one that is not counted brings the weights back into the caches. */
tine_bench_sample tine_bench_sample_take(tine_comparison *c, int i, tine_bench_subject subject,
                                         size_t read_bytes);

#endif
