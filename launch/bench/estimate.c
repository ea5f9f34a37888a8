/* See estimate.h. */
#include "launch/bench/estimate.h"

#include <math.h>

#include "launch/cli/report.h"

enum { EXACT_MAX = 1000 };             /* samples; beyond, the binomial is close to a normal */
static const double tail = 0.025;      /* on each side, of 95 % */
static const double deviations = 1.96; /* of a normal distribution, the same tail */

/* P(B <= k), B binomial: how many of n samples lie below the true p-quantile. */
static double binomial_at_most(long n, double p, long k) {
    double sum = 0;
    for (long i = 0; i <= k; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) +
                   (double)i * log(p) + (double)(n - i) * log1p(-p));
    return sum < 1 ? sum : 1;
}

/* Sets the ranks, from 1, of the two order statistics; returns the confidence. */
static double ranks_exact(long n, double p, long *low, long *high) {
    *low = 1;
    while (*low < n && binomial_at_most(n, p, *low) <= tail) ++*low;
    *high = *low;
    while (*high < n && binomial_at_most(n, p, *high - 1) < 1 - tail) ++*high;
    return binomial_at_most(n, p, *high - 1) - binomial_at_most(n, p, *low - 1);
}

static double ranks_normal(long n, double p, long *low, long *high) {
    double mean = (double)n * p, spread = deviations * sqrt((double)n * p * (1 - p));
    *low = (long)floor(mean - spread);
    *high = (long)ceil(mean + spread) + 1;
    if (*low < 1) *low = 1;
    if (*high > n) *high = n;
    return 1 - 2 * tail;
}

tine_estimate tine_estimate_single(double value) {
    return (tine_estimate){value, value, value, 0, 1};
}

tine_estimate tine_estimate_quantile(double *samples, size_t n, double p) {
    if (n == 0) return (tine_estimate){NAN, NAN, NAN, 0, 0};
    if (n == 1) return tine_estimate_single(samples[0]);
    tine_estimate e = {.value = tine_quantile(samples, n, p), .n = (long)n};
    long low, high;
    e.confidence =
        n <= EXACT_MAX ? ranks_exact(e.n, p, &low, &high) : ranks_normal(e.n, p, &low, &high);
    e.low = samples[low - 1];
    e.high = samples[high - 1];
    return e;
}

tine_estimate tine_estimate_scaled(tine_estimate e, double factor) {
    return (tine_estimate){e.value * factor, e.low * factor, e.high * factor, e.confidence, e.n};
}

tine_estimate tine_estimate_mapped(tine_estimate e, double (*decreasing)(double x, double y),
                                   double y) {
    return (tine_estimate){decreasing(e.value, y), decreasing(e.high, y), decreasing(e.low, y),
                           e.confidence, e.n};
}
