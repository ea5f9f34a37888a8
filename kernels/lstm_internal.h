/* The packed form of an LSTM, made by lstm.c, and the plan of a forward, made by lstm_plan.c: used
 * by lstm_forward.c. */
#ifndef TINE_KERNELS_LSTM_INTERNAL_H
#define TINE_KERNELS_LSTM_INTERNAL_H

#include "kernels/gemm.h"
#include "kernels/lstm.h"
#include "kernels/mem.h"
#include "kernels/operand.h"

/* A GRU has four sums too, see vecmath.h: its third gate has one from x and one from h. Packed
 * weights of zeros keep the two apart, which costs a quarter of the products.
 *
 * Hidden units are packed in groups of 16: columns 64*u … 64*u+63 of the gates are i, f, g, o of
 * the units 16*u … 16*u+15, so that the gates of a group follow its product while the sums are
 * cached. The last group is padded with units of zero weights. */
enum { TINE_GROUP_COLUMNS = 4 * TINE_GATE_UNITS };

struct tine_lstm_cell { /* one direction of one layer */
    struct tine_packed w_ih, w_hh, w_hr;
    struct tine_mem bias; /* b_ih + b_hh in packed order */
    size_t input;
    bool reverse;
};

struct tine_lstm {
    struct tine_lstm_config config;
    struct tine_operand operand; /* of all products */
    void (*gates)(size_t rows, const float *z, size_t ldz, float *c, size_t ldc, float *h,
                  size_t ldh);
    size_t directions, out, groups;
    struct tine_lstm_cell *cells; /* layer by layer, its directions side by side */
};

/* The sizes of a forward, and the offsets of its arrays in the workspace, in bytes. */
struct tine_lstm_plan {
    size_t chunk;          /* steps */
    size_t units, columns; /* padded hidden units; columns of sums in whole blocks */
    size_t block;          /* groups a product computes at a time */
    size_t rows;           /* rows of a recurrent product at a time */
    size_t ldh;            /* row length of the h buffers, in elements */
    bool wide;             /* recurrent weights are widened once a forward */
    size_t pre, x, z, c, h_new, h_out, h_a, widened, w_hh, layer[2], bytes;
};

/* False: the sizes of an array overflow. */
bool tine_lstm_plan_make(const struct tine_lstm *lstm, size_t steps, size_t batch,
                         struct tine_lstm_plan *plan);

#endif
