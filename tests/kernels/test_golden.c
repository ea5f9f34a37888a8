/* The results of PyTorch in tests/golden against every kernel that runs on this machine. */
#include "kernels/lstm.h"
#include "tests/support/golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const cases[] = {"lstm_basic",         "lstm_state",       "lstm_one_step",
                                    "lstm_odd_sizes",     "lstm_no_bias",     "lstm_two_layers",
                                    "lstm_bidirectional", "lstm_batch_first", "lstm_projection",
                                    "lstm_tile_edges"};

static double worst(const float *a, const float *b, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, isnan(a[i]) ? INFINITY : fabs((double)a[i] - b[i]));
    return most;
}

static struct tine_lstm_config config_of(const struct tine_golden *golden) {
    return (struct tine_lstm_config){
        .input_size = tine_golden_number(golden, "input_size"),
        .hidden_size = tine_golden_number(golden, "hidden_size"),
        .num_layers = tine_golden_number(golden, "num_layers"),
        .proj_size = tine_golden_number(golden, "proj_size"),
        .bias = tine_golden_flag(golden, "bias"),
        .batch_first = tine_golden_flag(golden, "batch_first"),
        .bidirectional = tine_golden_flag(golden, "bidirectional"),
    };
}

static struct tine_lstm *load(const struct tine_golden *golden,
                              const struct tine_lstm_config *config, const char *prefix) {
    const float *weights[64] = {NULL};
    for (size_t i = 0; i < tine_lstm_weight_count(config); i++) {
        char name[40], full[128];
        size_t rows, columns, shape[4];
        cr_assert(tine_lstm_weight_info(config, i, name, &rows, &columns));
        snprintf(full, sizeof full, "%s%s", prefix, name);
        weights[i] = tine_golden_tensor(golden, full, shape);
        cr_assert_not_null(weights[i], "no %s", full);
        cr_assert(shape[0] == rows && shape[1] == (columns ? columns : 1), "shape of %s", full);
    }
    struct tine_lstm *lstm = NULL;
    cr_assert_eq(tine_lstm_create(config, weights, &lstm), TINE_KERNEL_OK);
    return lstm;
}

static double check_case(const char *name, enum tine_isa isa, enum tine_lstm_type type) {
    struct tine_golden *golden = tine_golden_open(name);
    cr_assert_not_null(golden, "cannot read tests/golden/%s", name);
    struct tine_lstm_config config = config_of(golden);
    config.isa = isa, config.type = type;
    struct tine_lstm *lstm = load(golden, &config, "");
    size_t in[4], out[4], hn[4], cn[4], ignore[4];
    const float *x = tine_golden_tensor(golden, "input", in),
                *want = tine_golden_tensor(golden, "output", out);
    const float *want_h = tine_golden_tensor(golden, "h_n", hn),
                *want_c = tine_golden_tensor(golden, "c_n", cn);
    const size_t steps = in[config.batch_first], batch = in[!config.batch_first];
    float *y = malloc(out[0] * out[1] * out[2] * sizeof *y),
          *h = malloc(hn[0] * hn[1] * hn[2] * sizeof *h);
    float *c = malloc(cn[0] * cn[1] * cn[2] * sizeof *c);
    cr_assert_eq(tine_lstm_forward(lstm, NULL, steps, batch, x,
                                   tine_golden_tensor(golden, "h0", ignore),
                                   tine_golden_tensor(golden, "c0", ignore), y, h, c),
                 TINE_KERNEL_OK);
    double error = worst(y, want, out[0] * out[1] * out[2]);
    error = fmax(error, worst(h, want_h, hn[0] * hn[1] * hn[2]));
    error = fmax(error, worst(c, want_c, cn[0] * cn[1] * cn[2]));
    free(y), free(h), free(c);
    tine_lstm_free(lstm);
    tine_golden_close(golden);
    return error;
}

/* The sum over models of a forward and a backward direction beside each other, as the tutorial adds
 * them up. */
static double check_ensemble(const char *name, enum tine_isa isa) {
    struct tine_golden *golden = tine_golden_open(name);
    cr_assert_not_null(golden);
    size_t in[4], out[4];
    const float *x = tine_golden_tensor(golden, "input", in),
                *want = tine_golden_tensor(golden, "output", out);
    const size_t rows = in[0] * in[1], width = in[2];
    float *sum = calloc(rows * 2 * width, sizeof *sum), *y = malloc(rows * width * sizeof *y);
    for (size_t i = 0; i < 2 * tine_golden_number(golden, "n_models"); i++) {
        struct tine_lstm_config config = {
            .input_size = width, .hidden_size = width, .bias = true, .reverse = i % 2, .isa = isa};
        char prefix[64];
        snprintf(prefix, sizeof prefix, "models.%zu.cell_%c.", i / 2, i % 2 ? 'b' : 'f');
        struct tine_lstm *lstm = load(golden, &config, prefix);
        cr_assert_eq(tine_lstm_forward(lstm, NULL, in[0], in[1], x, NULL, NULL, y, NULL, NULL),
                     TINE_KERNEL_OK);
        for (size_t r = 0; r < rows; r++)
            for (size_t j = 0; j < width; j++)
                sum[r * 2 * width + i % 2 * width + j] += y[r * width + j];
        tine_lstm_free(lstm);
    }
    double error = worst(sum, want, rows * 2 * width);
    free(sum), free(y);
    tine_golden_close(golden);
    return error;
}

static void check_all(enum tine_isa isa) {
    const char *why = tine_isa_obstacle(tine_cpu(), isa);
    if (why) {
        fprintf(stderr, "SKIP %s: %s\n", tine_isa_name(isa), why);
        return;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* bf16 has 8 bits of significand: 2^-9 on each of |W| <= 0.35 and |x| of a few units; int8
         * has 8 bits for the range of a row or a column */
        static const double bounds[] = {1e-5, 3e-2, 3e-2};
        double error[3];
        for (int type = TINE_LSTM_F32; type <= TINE_LSTM_INT8; type++) {
            error[type] = check_case(cases[i], isa, (enum tine_lstm_type)type);
            cr_expect_leq(error[type], bounds[type], "%s: %s in %s differs from PyTorch by %g",
                          tine_isa_name(isa), cases[i],
                          tine_gemm_type_name((enum tine_gemm_type)type), error[type]);
        }
        fprintf(stderr, "%s: %s: f32 %.1e, bf16 %.1e, int8 %.1e\n", tine_isa_name(isa), cases[i],
                error[0], error[1], error[2]);
    }
    cr_expect_leq(check_ensemble("ensemble_small", isa), 1e-5);
    cr_expect_leq(check_ensemble("ensemble_edges", isa), 1e-5);
}

/* A scale for each row of x and h, and 8 bits, against PyTorch's one for a step, and 7. */
Test(golden, int8_is_nearer_to_float32_than_quantize_dynamic, .timeout = 60) {
    struct tine_golden *golden = tine_golden_open("lstm_int8");
    cr_assert_not_null(golden);
    struct tine_lstm_config config = config_of(golden);
    config.type = TINE_LSTM_INT8;
    struct tine_lstm *lstm = load(golden, &config, "");
    size_t in[4], out[4];
    const float *x = tine_golden_tensor(golden, "input", in),
                *exact = tine_golden_tensor(golden, "output", out),
                *theirs = tine_golden_tensor(golden, "output_int8", out);
    const size_t n = out[0] * out[1] * out[2];
    float *y = malloc(n * sizeof *y);
    cr_assert_eq(tine_lstm_forward(lstm, NULL, in[0], in[1], x, NULL, NULL, y, NULL, NULL), 0);
    fprintf(stderr, "int8 differs from float32 by %.2e, quantize_dynamic by %.2e\n",
            worst(y, exact, n), worst(theirs, exact, n));
    cr_expect_lt(worst(y, exact, n), worst(theirs, exact, n));
    cr_expect_lt(worst(y, theirs, n), 2 * worst(theirs, exact, n));
    free(y);
    tine_lstm_free(lstm);
    tine_golden_close(golden);
}

#define ROW(ID, name, ...)                                                                         \
    Test(golden, name, .timeout = 60) { check_all(TINE_ISA_##ID); }
TINE_ISA_TABLE(ROW)
