/* exp, sigmoid, tanh and an LSTM's gates over arrays: one record per vector instruction set, in the
 * table of isa.h.
 *
 * Error bounds against the exact value, over every float32 (tests/kernels/test_vecmath.c): exp 2
 * ulp, sigmoid 3 ulp, tanh 3 ulp, where an ulp below the normal range is 2^-149. NaN gives NaN;
 * exp(-inf) = 0, exp(inf) = inf; sigmoid and tanh reach their limits; tanh keeps the sign of zero.
 * The value of an element does not depend on its neighbours or place. */
#ifndef TINE_KERNELS_VECMATH_H
#define TINE_KERNELS_VECMATH_H

#include "kernels/isa.h"

#include <stddef.h>
#include <stdint.h>

enum { TINE_GATE_UNITS = 16 }; /* hidden units a call of `gates` works on */

struct tine_vecmath {
    enum tine_isa isa;
    /* n values from x to y, which may be the same array. */
    void (*exp)(size_t n, const float *x, float *y);
    void (*sigmoid)(size_t n, const float *x, float *y);
    void (*tanh)(size_t n, const float *x, float *y);
    /* One time step of 16 hidden units, row by row. z holds the sums of the gates i, f, g, o, 16
     * values each:
     *   c = sigmoid(f) c + sigmoid(i) tanh(g);   h = sigmoid(o) tanh(c)
     * (the equations of torch.nn.LSTM). c is off by at most 4.5e-7 (1 + |c|), h by 4.5e-7, and
     * |h| is at most 1. A sigmoid is at least 2^-60; c must be below 2^66. */
    void (*gates)(size_t rows, const float *z, size_t ldz, float *c, size_t ldc, float *h,
                  size_t ldh);
    /* The same for a GRU; z holds the sums of r, z, and of n its parts from x and from h:
     *   h = (1 - z) n + z c,  n = tanh(n_x + sigmoid(r) n_h);   c = h
     * where c is the h of the step before (the equations of torch.nn.GRU). */
    void (*gru_gates)(size_t rows, const float *z, size_t ldz, float *c, size_t ldc, float *h,
                      size_t ldh);
    /* Conversion to bf16, and rounding to values that bf16 can represent; both to nearest even, and
     * a NaN stays a NaN. */
    void (*to_bf16)(size_t n, const float *x, uint16_t *y);
    void (*round_bf16)(size_t n, const float *x, float *y);
    /* y[i] is the sum of x[0][i] … x[rows - 1][i], added in this order in double precision. The
     * bits are the same for every instruction set. */
    void (*sum)(size_t rows, const float *const *x, size_t n, float *y);
    /* Quantises n values to a row of int8.h: tine_int8_row_bytes(n) bytes. The bits are the same
     * for every instruction set. */
    void (*to_int8)(size_t n, const float *x, void *row);
};

/* The record of an instruction set, else its base's; for AUTO and OPENBLAS the best that runs.
 * Where the instruction set cannot run: the portable one. */
const struct tine_vecmath *tine_vecmath(enum tine_isa isa);
/* Why a record is defective, a constant clause; NULL if it is sound. */
const char *tine_vecmath_defect(const struct tine_vecmath *math);

#endif
