/* The packed form of an LSTM, shared by its creation (lstm.c) and its forward (lstm_forward.c). */
#ifndef TINE_KERNELS_LSTM_INTERNAL_H
#define TINE_KERNELS_LSTM_INTERNAL_H

#include "kernels/gemm.h"
#include "kernels/lstm.h"
#include "kernels/mem.h"
#include "kernels/vecmath.h"

/* Hidden units in groups of 16: columns 64*u … 64*u+63 of the packed gates are i, f, g, o of the
 * units 16*u … 16*u+15. The last group is filled up with units of zero weights. */
enum { TINE_GROUP_COLUMNS = 4 * TINE_GATE_UNITS };

struct tine_lstm_cell { /* one direction of one layer */
    struct tine_packed w_ih, w_hh, w_hr;
    struct tine_mem bias; /* b_ih + b_hh in packed order */
    size_t input;
    bool reverse;
};

struct tine_lstm {
    struct tine_lstm_config config;
    const struct tine_gemm_kernel *kernel;
    const struct tine_vecmath *math;
    bool half;  /* operands are stored as bf16 */
    bool round; /* operands are floats rounded to bf16 */
    size_t directions, out, groups;
    struct tine_lstm_cell *cells; /* layer by layer, its directions side by side */
};

#endif
