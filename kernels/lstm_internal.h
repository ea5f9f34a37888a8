/* The packed form of an LSTM: made by lstm.c, used by lstm_forward.c. */
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

#endif
