/* Strong and weak scaling of the tutorial's ensemble on the workers of this process. */
#ifndef TINE_LAUNCH_BENCH_SCALING_H
#define TINE_LAUNCH_BENCH_SCALING_H

#include "launch/bench/results.h"
#include "runtime/tine.h"

enum { TINE_SCALING_LIST = 16, TINE_SCALING_REPEAT_MAX = 1000 };

typedef struct tine_scaling_size {
    long time, batch, channels;
} tine_scaling_size;

typedef struct tine_scaling_plan {
    long workers[TINE_SCALING_LIST];
    tine_scaling_size sizes[TINE_SCALING_LIST];
    int n_workers, n_sizes;
    bool strong, weak;
    long models;            /* strong scaling: in all */
    long models_per_worker; /* weak scaling */
    long repeat;
    const char *dtype;
} tine_scaling_plan;

extern const tine_result_form tine_scaling_form;

/* Measures every point of the plan on the workers that are there, and appends a row for each.
 *
 * With fewer workers than there are, the others are held: each runs a task that sleeps. So all
 * points of a transport are measured in one job, also under mpirun, whose ranks are there from
 * start to end. A run and a sequential run (the same models, or one worker's share of them, in this
 * process, nothing forked) take turns, and a speedup is the ratio of two that follow each other:
 * other load affects both alike. */
tine_error tine_scaling_measure(const tine_scaling_plan *p, const char *transport, tine_results *r);
void tine_scaling_print(const tine_results *r);

#endif
