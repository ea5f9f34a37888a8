/* See reference.h. torch.nn.LSTM's formula: with gates i, f, g, o in this order,
 *   i, f, g, o = W_ih x + b_ih + W_hh h + b_hh
 *   c = reference_sigmoid(f) c + reference_sigmoid(i) tanh(g);  h = reference_sigmoid(o) tanh(c) */
#include "launch/command/reference.h"

#include <math.h>
#include <stdlib.h>

enum { COLUMNS = TINE_REFERENCE_COLUMNS };

/* sum[c] += w . x[.][c], in two independent chains of additions per column. */
static void reference_dot(size_t n, const float *w, const double *x, double sum[COLUMNS]) {
    double odd[COLUMNS] = {0};
    size_t k = 0;
    for (; k + 1 < n; k += 2) {
        for (int c = 0; c < COLUMNS; c++) sum[c] += (double)w[k] * x[k * COLUMNS + c];
        for (int c = 0; c < COLUMNS; c++) odd[c] += (double)w[k + 1] * x[(k + 1) * COLUMNS + c];
    }
    if (k < n)
        for (int c = 0; c < COLUMNS; c++) sum[c] += (double)w[k] * x[k * COLUMNS + c];
    for (int c = 0; c < COLUMNS; c++) sum[c] += odd[c];
}

static double reference_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* One time step. gates is scratch space of [4*hidden][COLUMNS]; h_before is the output of the step
 * before, NULL at the first. */
static void reference_step(const tine_reference_lstm *l, const double *x, const double *h_before,
                           double *gates, double *c, double *h) {
    size_t hidden = l->hidden;
    for (size_t row = 0; row < 4 * hidden; row++) {
        double *sum = &gates[row * COLUMNS];
        for (int k = 0; k < COLUMNS; k++) sum[k] = (double)l->b_ih[row] + (double)l->b_hh[row];
        reference_dot(l->input, &l->w_ih[row * l->input], x, sum);
        if (h_before) reference_dot(hidden, &l->w_hh[row * hidden], h_before, sum);
    }
    size_t n = hidden * COLUMNS;
    for (size_t i = 0; i < n; i++) {
        c[i] = reference_sigmoid(gates[n + i]) * c[i] +
               reference_sigmoid(gates[i]) * tanh(gates[2 * n + i]);
        h[i] = reference_sigmoid(gates[3 * n + i]) * tanh(c[i]);
    }
}

bool tine_reference_run(const tine_reference_lstm *l, const double *x, double *h) {
    double *gates = calloc(4 * l->hidden * COLUMNS, sizeof *gates);
    double *c = calloc(l->hidden * COLUMNS, sizeof *c);
    bool done = gates && c;
    const double *before = NULL;
    for (size_t i = 0; done && i < l->steps; i++) {
        size_t t = l->reverse ? l->steps - 1 - i : i;
        double *now = &h[t * l->hidden * COLUMNS];
        reference_step(l, &x[t * l->input * COLUMNS], before, gates, c, now);
        before = now;
    }
    free(gates);
    free(c);
    return done;
}
