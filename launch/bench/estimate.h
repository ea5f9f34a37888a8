/* A quantile of samples and how far it can be trusted. */
#ifndef TINE_LAUNCH_BENCH_ESTIMATE_H
#define TINE_LAUNCH_BENCH_ESTIMATE_H

#include <stddef.h>

typedef struct tine_estimate {
    double value;      /* NAN: not measured */
    double low, high;  /* a confidence interval; both are the value where there is one sample */
    double confidence; /* that the true quantile lies in it: 0.95 or more; less with few samples */
    long n;            /* samples */
} tine_estimate;

/* The p-quantile of n samples, which are sorted, with the confidence interval between two order
 * statistics, which assumes nothing of their distribution: J.-Y. Le Boudec, Performance Evaluation
 * of Computer and Communication Systems, 2010, theorem 2.1. The median needs 6 samples for 95 %. No
 * samples: not measured. */
tine_estimate tine_estimate_quantile(double *samples, size_t n, double p);
/* A single figure. */
tine_estimate tine_estimate_single(double value);
/* All of it times a positive factor. */
tine_estimate tine_estimate_scaled(tine_estimate e, double factor);
/* The interval of a decreasing function, whose ends change places. */
tine_estimate tine_estimate_mapped(tine_estimate e, double (*decreasing)(double x, double y),
                                   double y);

#endif
