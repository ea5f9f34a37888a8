/* Configuration and packing of an LSTM; see lstm.h. The forward pass is in lstm_forward.c. */
#include "kernels/lstm_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t directions_of(const struct tine_lstm_config *config) {
    return config->bidirectional ? 2 : 1;
}

static size_t layers_of(const struct tine_lstm_config *config) {
    return config->num_layers ? config->num_layers : 1;
}

static size_t width_of(const struct tine_lstm_config *config) {
    return config->proj_size ? config->proj_size : config->hidden_size;
}

static size_t gates_of(const struct tine_lstm_config *config) { return config->gru ? 3 : 4; }

static size_t per_cell(const struct tine_lstm_config *config) {
    return 2 + (config->bias ? 2 : 0) + (config->proj_size ? 1 : 0);
}

size_t tine_lstm_output_size(const struct tine_lstm_config *config) {
    return directions_of(config) * width_of(config);
}

size_t tine_lstm_weight_count(const struct tine_lstm_config *config) {
    return layers_of(config) * directions_of(config) * per_cell(config);
}

bool tine_lstm_weight_info(const struct tine_lstm_config *config, size_t i, char name[40],
                           size_t *rows, size_t *columns) {
    static const char *const kinds[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                        "weight_hr"};
    if (i >= tine_lstm_weight_count(config)) return false;
    size_t cell = i / per_cell(config), kind = i % per_cell(config);
    size_t layer = cell / directions_of(config);
    if (kind == 2 && !config->bias) kind = 4;
    snprintf(name, 40, "%s_l%zu%s", kinds[kind], layer,
             cell % directions_of(config) ? "_reverse" : "");
    *rows = kind == 4 ? config->proj_size : gates_of(config) * config->hidden_size;
    switch (kind) {
    case 0: *columns = layer ? tine_lstm_output_size(config) : config->input_size; break;
    case 1: *columns = width_of(config); break;
    case 4: *columns = config->hidden_size; break;
    default: *columns = 0; break;
    }
    return true;
}

const char *tine_lstm_config_defect(const struct tine_lstm_config *config) {
    const size_t limit = (size_t)1 << 30;
    if (config->input_size < 1 || config->input_size > limit)
        return "input_size must be at least 1 and at most 2^30";
    if (config->hidden_size < 1 || config->hidden_size > limit)
        return "hidden_size must be at least 1 and at most 2^30";
    if (config->num_layers > 1 << 20) return "num_layers must be at most 2^20";
    if (config->proj_size && config->proj_size >= config->hidden_size)
        return "proj_size must be less than hidden_size";
    if (config->gru && config->proj_size) return "a GRU has no projection";
    if (config->reverse && config->bidirectional)
        return "reverse and bidirectional cannot both be set";
    if ((unsigned)config->type > TINE_LSTM_INT8) return "the type must be f32, bf16 or int8";
    if ((unsigned)config->isa >= TINE_ISA_COUNT) return "there is no such kernel";
    return NULL;
}

double tine_lstm_flops(const struct tine_lstm_config *config, size_t steps, size_t batch) {
    double a_step = 0;
    const double gates = (double)gates_of(config) * (double)config->hidden_size,
                 width = (double)width_of(config);
    for (size_t layer = 0; layer < layers_of(config); layer++) {
        double in = (double)(layer ? tine_lstm_output_size(config) : config->input_size);
        a_step +=
            gates * (in + width) + (config->proj_size ? width * (double)config->hidden_size : 0);
    }
    return 2 * a_step * (double)directions_of(config) * (double)steps * (double)batch;
}

/* ---- packing ---- */

/* The gate of the weights that is sum `s`, of the input or the recurrent product; GATE_NONE: the
 * sum has no part of this product. */
enum { GATE_NONE = 4 };
static size_t gate_of_sum(const struct tine_lstm *lstm, size_t s, bool recurrent) {
    if (!lstm->config.gru || s < 2) return s;
    return (s == 3) == recurrent ? 2 : GATE_NONE;
}

/* Packs a (4*hidden x k) weight; the order is that of lstm_internal.h. */
static enum tine_kernel_error pack_gates(const struct tine_lstm *lstm, const float *weight,
                                         bool recurrent, size_t k, struct tine_packed *out) {
    const size_t hidden = lstm->config.hidden_size, columns = lstm->groups * TINE_GROUP_COLUMNS;
    const float **rows = calloc(columns, sizeof *rows);
    if (!rows) return TINE_KERNEL_MEMORY;
    for (size_t j = 0; j < columns; j++) {
        size_t gate = gate_of_sum(lstm, j % TINE_GROUP_COLUMNS / TINE_GATE_UNITS, recurrent);
        size_t unit = j / TINE_GROUP_COLUMNS * TINE_GATE_UNITS + j % TINE_GATE_UNITS;
        if (unit < hidden && gate != GATE_NONE) rows[j] = weight + (gate * hidden + unit) * k;
    }
    enum tine_kernel_error error =
        tine_gemm_pack_columns(lstm->operand.kernel, k, columns, rows, 1, out);
    free(rows);
    if (!error) tine_operand_weights(&lstm->operand, out);
    return error;
}

static enum tine_kernel_error pack_bias(const struct tine_lstm *lstm, const float *ih,
                                        const float *hh, struct tine_mem *out) {
    const size_t hidden = lstm->config.hidden_size;
    if (!tine_mem_alloc(out, lstm->groups * TINE_GROUP_COLUMNS * sizeof(float)))
        return TINE_KERNEL_MEMORY;
    float *bias = out->data;
    for (size_t s = 0; ih && s < 4; s++) {
        size_t x = gate_of_sum(lstm, s, false), h = gate_of_sum(lstm, s, true);
        for (size_t unit = 0; unit < hidden; unit++)
            bias[unit / TINE_GATE_UNITS * TINE_GROUP_COLUMNS + s * TINE_GATE_UNITS +
                 unit % TINE_GATE_UNITS] = (x == GATE_NONE ? 0 : ih[x * hidden + unit]) +
                                           (h == GATE_NONE ? 0 : hh[h * hidden + unit]);
    }
    return TINE_KERNEL_OK;
}

static enum tine_kernel_error pack_cell(const struct tine_lstm *lstm, const float *const *weights,
                                        struct tine_lstm_cell *cell) {
    const struct tine_lstm_config *config = &lstm->config;
    enum tine_kernel_error error = pack_gates(lstm, weights[0], false, cell->input, &cell->w_ih);
    if (!error) error = pack_gates(lstm, weights[1], true, lstm->out, &cell->w_hh);
    if (!error)
        error = pack_bias(lstm, config->bias ? weights[2] : NULL, config->bias ? weights[3] : NULL,
                          &cell->bias);
    if (!error && config->proj_size) {
        error = tine_gemm_pack(lstm->operand.kernel, config->hidden_size, config->proj_size,
                               weights[per_cell(config) - 1], 1, (ptrdiff_t)config->hidden_size,
                               &cell->w_hr);
        if (!error) tine_operand_weights(&lstm->operand, &cell->w_hr);
    }
    return error;
}

static enum tine_kernel_error lstm_choose_kernel(struct tine_lstm *lstm) {
    struct tine_lstm_config *config = &lstm->config;
    if (tine_operand_init(&lstm->operand, config->isa, (enum tine_gemm_type)config->type))
        return TINE_KERNEL_UNSUPPORTED;
    config->isa = lstm->operand.isa;
    lstm->gates = config->gru ? lstm->operand.math->gru_gates : lstm->operand.math->gates;
    return TINE_KERNEL_OK;
}

enum tine_kernel_error tine_lstm_create(const struct tine_lstm_config *config,
                                        const float *const *weights, struct tine_lstm **out) {
    if (tine_lstm_config_defect(config)) return TINE_KERNEL_ARGUMENT;
    struct tine_lstm *lstm = calloc(1, sizeof *lstm);
    if (!lstm) return TINE_KERNEL_MEMORY;
    lstm->config = *config;
    lstm->config.num_layers = layers_of(config);
    lstm->directions = directions_of(config);
    lstm->out = width_of(config);
    lstm->groups = (config->hidden_size + TINE_GATE_UNITS - 1) / TINE_GATE_UNITS;
    size_t cells = lstm->config.num_layers * lstm->directions;
    enum tine_kernel_error error = lstm_choose_kernel(lstm);
    if (error) goto out;
    lstm->cells = calloc(cells, sizeof *lstm->cells);
    if (!lstm->cells) error = TINE_KERNEL_MEMORY;
    for (size_t i = 0; i < cells && !error; i++) {
        struct tine_lstm_cell *cell = &lstm->cells[i];
        cell->input = i < lstm->directions ? config->input_size : lstm->directions * lstm->out;
        cell->reverse = config->reverse || i % lstm->directions;
        error = pack_cell(lstm, weights + i * per_cell(config), cell);
    }
    if (!error) *out = lstm;
out:
    if (error) tine_lstm_free(lstm);
    return error;
}

void tine_lstm_free(struct tine_lstm *lstm) {
    if (!lstm) return;
    for (size_t i = 0; lstm->cells && i < lstm->config.num_layers * lstm->directions; i++) {
        tine_gemm_packed_free(&lstm->cells[i].w_ih);
        tine_gemm_packed_free(&lstm->cells[i].w_hh);
        tine_gemm_packed_free(&lstm->cells[i].w_hr);
        tine_mem_free(&lstm->cells[i].bias);
    }
    free(lstm->cells);
    free(lstm);
}

const struct tine_lstm_config *tine_lstm_config(const struct tine_lstm *lstm) {
    return &lstm->config;
}

const char *tine_lstm_kernel_name(const struct tine_lstm *lstm) {
    return lstm->operand.kernel->name;
}
