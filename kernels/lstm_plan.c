/* What a forward of an LSTM needs: see lstm_internal.h. */
#include "kernels/lstm_internal.h"

#include <string.h>

/* Sums of one block of units, 16 KiB: they stay in the level-1 cache until their gates are
 * computed. Few rows make long blocks, so that the gates of many units overlap (batch 1, 1024
 * units: 2 % of a step; tine bench lstm). */
enum { SUMS_IN_CACHE = 4096 };

/* Widening a matrix beyond the level-2 cache takes as long as so many rows of its products; up to
 * so many bytes of workspace. */
enum { WIDE_ROWS = 1000, WIDE_ROWS_IN_CACHE = 200, WIDE_BYTES = 64 << 20, WIDE_IN_CACHE = 1 << 20 };

/* Appends rows x columns elements to the plan, from a cache line of its own. */
static bool plan_reserve(struct tine_lstm_plan *plan, size_t *offset, size_t rows, size_t columns,
                         size_t elem) {
    size_t bytes;
    if (!tine_size_mul(rows, columns, &bytes) || !tine_size_mul(bytes, elem, &bytes)) return false;
    if (!tine_size_add(bytes, 63, &bytes)) return false;
    *offset = plan->bytes;
    return tine_size_add(plan->bytes, bytes & ~(size_t)63, &plan->bytes);
}

/* Whether recurrent weights are widened once for all steps of a forward, not by each product: an
 * LSTM of 50 steps and rows takes 2 to 3 % less time, one of 24 rows 4 to 10 %, one of 4 to 16 rows
 * and up to 256 channels 2 to 9 % (Emerald Rapids; in turns in one process). With fewer rows
 * reading a large matrix takes longer than the arithmetic, and half as long in bf16. */
static bool plan_widens(const struct tine_lstm *lstm, size_t steps, size_t batch) {
    const struct tine_gemm_kernel *kernel = lstm->operand.kernel;
    const size_t row = lstm->groups * TINE_GROUP_COLUMNS * sizeof(float);
    if (!kernel->widens_for || !steps || lstm->out > WIDE_BYTES / row) return false;
    if (lstm->out * row <= WIDE_IN_CACHE) return batch >= 4 && steps >= WIDE_ROWS_IN_CACHE / batch;
    return batch > 3 * kernel->mr && steps >= WIDE_ROWS / batch;
}

bool tine_lstm_plan_make(const struct tine_lstm *lstm, size_t steps, size_t batch,
                         struct tine_lstm_plan *plan) {
    const struct tine_lstm_config *config = &lstm->config;
    const size_t width = lstm->directions * lstm->out;
    const size_t input =
        config->num_layers > 1 && width > config->input_size ? width : config->input_size;
    memset(plan, 0, sizeof *plan);
    plan->units = lstm->groups * TINE_GATE_UNITS;
    /* 16 more than needed: with a power of two, all rows would map to the same cache sets; and
     * where an element is a byte, room for the head of int8.h */
    plan->ldh = plan->units + 16;
    plan->chunk = batch ? lstm->operand.kernel->mc / batch : 1;
    if (plan->chunk > steps) plan->chunk = steps;
    if (plan->chunk < 1) plan->chunk = 1;
    plan->rows = batch < lstm->operand.kernel->mc ? batch : lstm->operand.kernel->mc;
    plan->block = lstm->operand.kernel->whole ? lstm->groups
                  : plan->rows                ? SUMS_IN_CACHE / TINE_GROUP_COLUMNS / plan->rows
                                              : 1;
    if (plan->block > lstm->groups) plan->block = lstm->groups;
    if (plan->block < 1) plan->block = 1;
    plan->columns =
        (lstm->groups + plan->block - 1) / plan->block * plan->block * TINE_GROUP_COLUMNS;
    plan->wide = plan_widens(lstm, steps, batch);
    size_t rows, total, check;
    if (!tine_size_mul(plan->chunk, batch, &rows) || !tine_size_mul(steps, batch, &total))
        return false;
    if (!tine_size_mul(total, input, &check) || !tine_size_mul(check, sizeof(float), &check))
        return false;
    if (!tine_size_mul(total, width, &check) || !tine_size_mul(check, sizeof(float), &check))
        return false;
    const size_t elem = lstm->operand.size;
    const size_t between = config->num_layers > 1 ? total : 0,
                 third = config->num_layers > 2 ? total : 0;
    return plan_reserve(plan, &plan->pre, rows, plan->columns, sizeof(float)) &&
           plan_reserve(plan, &plan->x, rows, tine_operand_width(&lstm->operand, input), elem) &&
           plan_reserve(plan, &plan->z, plan->rows, plan->block * TINE_GROUP_COLUMNS,
                        sizeof(float)) &&
           plan_reserve(plan, &plan->c, batch, plan->units, sizeof(float)) &&
           plan_reserve(plan, &plan->h_new, batch, plan->ldh, sizeof(float)) &&
           plan_reserve(plan, &plan->h_out, batch, plan->ldh, sizeof(float)) &&
           plan_reserve(plan, &plan->h_a, batch, plan->ldh, elem) &&
           plan_reserve(plan, &plan->widened, 1,
                        lstm->operand.kernel->widens_for ? TINE_GEMM_WIDENED_MAX : 0,
                        sizeof(float)) &&
           plan_reserve(plan, &plan->w_hh, plan->wide ? lstm->out : 0,
                        lstm->groups * TINE_GROUP_COLUMNS, sizeof(float)) &&
           plan_reserve(plan, &plan->layer[0], between, width, sizeof(float)) &&
           plan_reserve(plan, &plan->layer[1], third, width, sizeof(float));
}
