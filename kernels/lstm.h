/* torch.nn.LSTM and torch.nn.GRU (all options but dropout) on weights packed once.
 *
 *   i, f, g, o = x W_ih' + b_ih + h W_hh' + b_hh        (four gates of hidden_size values, in this
 *     order)
 *   c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c);  with a projection h = h W_hr'
 *
 * (pytorch.org/docs/stable/generated/torch.nn.LSTM.html, torch.nn.GRU.html).
 * The input product is computed for many
 * time steps at once; then, step by step, the recurrent product of a group of 16 hidden units
 * (whose four gates are adjacent in the packed weights) is followed by their gates, while the sums
 * are in the level-1 cache.
 *
 * An lstm is immutable after creation and may be used by many threads at once, each with a
 * workspace of its own. A forward allocates nothing if its workspace was used for such a size
 * before. The bits of a batch row do not depend on the other rows or on their number, except with
 * the openblas kernel. */
#ifndef TINE_KERNELS_LSTM_H
#define TINE_KERNELS_LSTM_H

#include "kernels/error.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* F32: everything in float32. BF16: weights and the operands of every product (x, h) are rounded to
 * bf16; sums, gates and cell state are float32. AVX512_BF16 adds two products to a sum at a time;
 * AVX-512 alone adds one, by FMA in float32 on weights kept in bf16, which is also chosen where it
 * is faster (isa.h). Any other CPU computes the same as the latter with weights kept in float32.
 * The results of the two differ by the order of additions only: less than 2e-3 in test_lstm.c.
 * INT8: weights are quantised once, operands at every step, row by row (int8.h); sums of products
 * are exact, gates and cell state float32. A CPU without VNNI computes the same with AVX2, or in
 * plain C.
 *
 * The outputs differ from those of F32 by 1.5e-3 in BF16 and 3.9e-3 in INT8 at most at the
 * tutorial's size (`tine bench lstm` prints it), and by less than 1e-2 and 3e-2 in the cases of
 * tests/kernels/test_lstm.c. */
enum tine_lstm_type {
    TINE_LSTM_F32 = TINE_GEMM_F32,
    TINE_LSTM_BF16 = TINE_GEMM_BF16,
    TINE_LSTM_INT8 = TINE_GEMM_INT8,
};

struct tine_lstm_config {
    size_t input_size, hidden_size; /* at least 1 */
    size_t num_layers;              /* 0 counts as 1 */
    size_t proj_size;               /* 0: no projection; else less than hidden_size */
    bool bias, batch_first, bidirectional;
    bool gru; /* torch.nn.GRU: three gates, no cell state, no projection */
    /* a single direction, from the last step to the first; the output has the order of x. Not
     * together with bidirectional */
    bool reverse;
    enum tine_lstm_type type;
    enum tine_isa isa; /* AUTO: the choice of tine_kernel_choice() */
};

struct tine_lstm;
struct tine_lstm_workspace;

/* Weights are named, ordered and shaped as in torch.nn.LSTM's state_dict: for each layer, for each
 * direction, weight_ih_lK (4*hidden, in), weight_hh_lK (4*hidden, out), with bias bias_ih_lK and
 * bias_hh_lK (4*hidden), with a projection weight_hr_lK (proj, hidden); the second direction's
 * names end in _reverse. A GRU has 3*hidden rows where an LSTM has 4*hidden. */
size_t tine_lstm_weight_count(const struct tine_lstm_config *config);
/* Name (at most 40 bytes with the final 0) and shape of the i-th; columns is 0 for a bias. False
 * past the end. */
bool tine_lstm_weight_info(const struct tine_lstm_config *config, size_t i, char name[40],
                           size_t *rows, size_t *columns);

/* NULL, or why a configuration is not possible (a constant clause). */
const char *tine_lstm_config_defect(const struct tine_lstm_config *config);

/* Packs the weights (float32, row-major, contiguous, each at weights[i]); they are not kept. On
 * failure *out is untouched. */
enum tine_kernel_error tine_lstm_create(const struct tine_lstm_config *config,
                                        const float *const *weights, struct tine_lstm **out);
void tine_lstm_free(struct tine_lstm *lstm);

/* The configuration it was created with, isa and num_layers filled in. */
const struct tine_lstm_config *tine_lstm_config(const struct tine_lstm *lstm);
/* The micro-kernel its weights are packed for, e.g. gemm_f32_avx512_6x64. */
const char *tine_lstm_kernel_name(const struct tine_lstm *lstm);
/* Width of the output: directions * (proj_size or hidden_size). */
size_t tine_lstm_output_size(const struct tine_lstm_config *config);
/* Floating-point operations of the products in a forward (a multiplication and an addition
 * each). */
double tine_lstm_flops(const struct tine_lstm_config *config, size_t steps, size_t batch);

/* The memory of a forward. It grows where needed and is reused; one forward at a time may use
 * it. */
enum tine_kernel_error tine_lstm_workspace_create(struct tine_lstm_workspace **out);
void tine_lstm_workspace_free(struct tine_lstm_workspace *workspace);

/* What a forward consists of, for profiles: rounding, quantising or copying x to operands of the
 * product, the input product, the recurrent products, the gates, and writing h to the output and to
 * the next step's operand, with a projection if there is one. */
enum tine_lstm_phase {
    TINE_LSTM_OPERANDS,
    TINE_LSTM_INPUT,
    TINE_LSTM_RECURRENT,
    TINE_LSTM_GATES,
    TINE_LSTM_OUTPUT,
    TINE_LSTM_PHASES
};
/* Each forward with this workspace adds the seconds of its phases to these; NULL: it measures
 * nothing. Reading the clock costs about 25 ns a phase of each block of units. */
void tine_lstm_workspace_profile(struct tine_lstm_workspace *workspace,
                                 double seconds[TINE_LSTM_PHASES]);

/* Shapes, row-major, as torch.nn.LSTM has them, with D directions, L layers, P = proj_size or
 * hidden_size:
 *   x (steps, batch, input), or (batch, steps, input) with batch_first; output (steps, batch, D*P)
 *     likewise;
 *   h0, h_n (L*D, batch, P); c0, c_n (L*D, batch, hidden). h0 and c0 may be NULL (zeros), h_n and
 *     c_n NULL (not wanted).
 * A GRU has no c: c0 and c_n are not used.
 * output must not overlap an input. steps or batch may be 0. workspace NULL: a temporary one. Only
 * OVERFLOW and MEMORY can happen, before anything is written. */
enum tine_kernel_error tine_lstm_forward(const struct tine_lstm *lstm,
                                         struct tine_lstm_workspace *workspace, size_t steps,
                                         size_t batch, const float *x, const float *h0,
                                         const float *c0, float *output, float *h_n, float *c_n);
/* The same for rows that end early, as in PyTorch's packed sequences: lengths[b] steps, from 1 to
 * `steps`, in descending order. The steps behind are not used in x and are zero in the output, the
 * row's last state is that of its last step, and a reverse direction begins there. */
enum tine_kernel_error tine_lstm_forward_lengths(const struct tine_lstm *lstm,
                                                 struct tine_lstm_workspace *workspace,
                                                 size_t steps, size_t batch, const size_t *lengths,
                                                 const float *x, const float *h0, const float *c0,
                                                 float *output, float *h_n, float *c_n);
/* The output alone, as columns of a wider array: its rows (step, row of the batch) begin `stride`
 * floats apart, at least D*P, and what lies between them is untouched. `reversed`: from the last
 * step to the first, output in the order of x: bit for bit a forward of x with its steps flipped,
 * whose output is flipped back. */
enum tine_kernel_error tine_lstm_forward_columns(const struct tine_lstm *lstm,
                                                 struct tine_lstm_workspace *workspace,
                                                 size_t steps, size_t batch, bool reversed,
                                                 const float *x, float *output, size_t stride);

#endif
