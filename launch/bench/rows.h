/* The measurements behind `tine bench lstm`.
 *
 * All kernels run in turns in one process, round by round, and the best round of each counts: other
 * load on the machine then disturbs all of them alike, and the best of several rounds least. The
 * clock is the CPU time of the one thread that computes, which stands still while another process
 * has the core. */
#ifndef TINE_LAUNCH_BENCH_ROWS_H
#define TINE_LAUNCH_BENCH_ROWS_H

#include <stdbool.h>

#include "kernels/lstm.h"

enum { TINE_BENCH_SUBJECTS = 12, TINE_BENCH_ROWS = 64 };

typedef struct tine_bench_size {
    long steps, batch, channels;
} tine_bench_size;

typedef struct tine_bench_row {
    char kernel[32]; /* an instruction set */
    const char *dtype;
    tine_bench_size size;
    /* peak: GFLOP/s of one core for these instructions, 0 if unknown */
    double seconds, gflops, peak;
    double vs_openblas; /* the time of OpenBLAS over this one's, 0 if not compared */
    double read;        /* as in tine_bench_profile, 0: not measured */
} tine_bench_row;

typedef struct tine_bench_rows {
    tine_bench_row row[TINE_BENCH_ROWS];
    int count;
} tine_bench_rows;

/* What to compare: an instruction set and a type. */
typedef struct tine_bench_subject {
    enum tine_isa isa;
    enum tine_lstm_type type;
} tine_bench_subject;

double tine_bench_clock(void); /* CPU seconds of this thread */

/* Appends a row for each subject that can run, measured until no figure has improved for `rounds`
 * rounds. False, with a sentence on stderr, if there is no memory. */
bool tine_bench_measure(tine_bench_size size, const tine_bench_subject *subjects, int count,
                        int rounds, tine_bench_rows *out);

/* Largest difference between the forward of this size in a type and that in f32. Negative if it
 * cannot be computed. */
double tine_bench_rounding_error(tine_bench_size size, enum tine_lstm_type type);

typedef struct tine_bench_bandwidth {
    /* GB/s of one core over a buffer as large as one weight matrix, and as both */
    double read_one, read_two;
    double step; /* GB/s of weights in a forward of one step: both matrices once */
    /* in the steps of a forward whose input has one value: the recurrent matrix alone */
    double recurrent;
    double forward; /* in a whole forward of many steps */
} tine_bench_bandwidth;

/* Where the time of a forward goes, the fastest of several. */
typedef struct tine_bench_profile {
    char kernel[32];
    tine_bench_size size;
    double packing; /* seconds, once a module */
    /* of a new module's first forward: its weights, its workspace and the output come into the
     * caches, and the pages of the last two are touched for the first time */
    double first;
    double seconds;                   /* of a forward in which no clock is read */
    double timed;                     /* of one that reads it at every change of phase */
    double phases[TINE_LSTM_PHASES];  /* seconds of that one */
    double input_flops, hidden_flops; /* of the input product, of all recurrent products */
    double weight_bytes;              /* of the recurrent matrix, read once a step */
    /* GFLOP/s of one core in registers; GB/s of one core reading as many bytes as the recurrent
     * matrix has */
    double peak, read;
} tine_bench_profile;

/* False, with a sentence on stderr, if there is no memory or the kernel cannot run. */
bool tine_bench_profile_measure(tine_bench_size size, tine_bench_subject subject, int rounds,
                                tine_bench_profile *out);
/* The least seconds that the machine's peak and its read bandwidth allow: the input product is
 * bound by arithmetic, a recurrent product by the slower of arithmetic and reading the matrix. */
double tine_bench_profile_bound(const tine_bench_profile *p);

/* Batch 1 in float32 with the chosen kernel. */
bool tine_bench_batch1(long steps, long channels, int rounds, tine_bench_bandwidth *out);

#endif
