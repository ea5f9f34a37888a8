/* The measurements behind `tine bench lstm`.
 *
 * All kernels run in turns in one process, round by round. A time is that of the best round: other
 * load on the machine can only make one slower. A share is the median over the rounds of each
 * forward beside the loops that run before and after it (comparison.h), a ratio of what ran at the
 * same frequency and under the same load. */
#ifndef TINE_LAUNCH_BENCH_ROWS_H
#define TINE_LAUNCH_BENCH_ROWS_H

#include "launch/bench/comparison.h"

enum { TINE_BENCH_ROWS = 64 };

typedef struct tine_bench_row {
    char kernel[32]; /* an instruction set */
    const char *dtype;
    tine_bench_size size;
    double seconds, gflops; /* of the best round */
    double share;           /* of the peak beside it */
    double best_peak;       /* GFLOP/s in the best millisecond */
    double bound;           /* share of its bound, as in tine_bench_profile; 0: not measured */
    double vs_openblas;     /* the time of OpenBLAS over this one's, 0 if not compared */
} tine_bench_row;

typedef struct tine_bench_rows {
    tine_bench_row row[TINE_BENCH_ROWS];
    int count;
} tine_bench_rows;

/* Appends a row for each subject that can run, measured until no figure has improved for `rounds`
 * rounds. reading: with the bound. False, with a sentence on stderr, if there is no memory. */
bool tine_bench_measure(tine_bench_size size, const tine_bench_subject *subjects, int count,
                        bool reading, int rounds, tine_bench_rows *out);

/* Largest difference between the forward of this size in a type and that in f32. Negative if it
 * cannot be computed. */
double tine_bench_rounding_error(tine_bench_size size, enum tine_lstm_type type);

typedef struct tine_bench_bandwidth {
    double weights; /* GB/s, of the best round */
    double read;    /* GB/s of reading a buffer, the best millisecond */
    double share;   /* of the reading beside it */
} tine_bench_bandwidth;

typedef struct tine_bench_batch1_rates {
    tine_bench_bandwidth step; /* a forward of one step: both matrices once */
    /* the steps of a forward whose input has one value: the recurrent matrix alone */
    tine_bench_bandwidth recurrent;
    tine_bench_bandwidth forward; /* a whole one of many steps */
} tine_bench_batch1_rates;

/* Where the time of a forward goes. */
typedef struct tine_bench_profile {
    char kernel[32];
    tine_bench_size size;
    double packing; /* seconds, once a module */
    /* of a new module's first forward: its weights, its workspace and the output come into the
     * caches, and the pages of the last two are touched for the first time */
    double first;
    double seconds; /* of the fastest forward in which no clock is read */
    double share;   /* of the peak beside it */
    /* share of its bound: the least time that the rates beside it allow. The input product is bound
     * by arithmetic, a recurrent product by the slower of arithmetic and reading the matrix */
    double bound;
    /* of the fastest, by the wall clock, that reads a clock at each change of phase; CPU time */
    double wall, timed;
    double phases[TINE_LSTM_PHASES];  /* seconds of that one */
    double input_flops, hidden_flops; /* of the input product, of all recurrent products */
    double weight_bytes;              /* of the recurrent matrix, read once a step */
    /* beside that one: GFLOP/s of one core in registers; GB/s of one core reading as many bytes as
     * the recurrent matrix has */
    double peak, read;
} tine_bench_profile;

/* False, with a sentence on stderr, if there is no memory or the kernel cannot run. */
bool tine_bench_profile_measure(tine_bench_size size, tine_bench_subject subject, int rounds,
                                tine_bench_profile *out);

/* Batch 1 in float32 with the chosen kernel. */
bool tine_bench_batch1(long steps, long channels, int rounds, tine_bench_batch1_rates *out);

#endif
