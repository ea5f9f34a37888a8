/* The LSTM of every kernel against a plain one in double precision, over options and sizes; and
 * what lstm.h states about bits, threads, workspaces and sizes. */
#include "kernels/lstm.h"
#include "tests/support/guard.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned random_state = 7;

static float random_value(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) * 0x1p-23f - 1;
}

static float *random_values(size_t n, float scale) {
    float *v = malloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = random_value() * scale;
    return v;
}

/* ---- the reference ---- */

struct model {
    struct tine_lstm_config config;
    float *weights[64];
    size_t count, layers, directions, width;
};

static struct model make_model(struct tine_lstm_config config) {
    struct model m = {.config = config, .count = tine_lstm_weight_count(&config)};
    m.layers = config.num_layers ? config.num_layers : 1;
    m.directions = config.bidirectional ? 2 : 1;
    m.width = config.proj_size ? config.proj_size : config.hidden_size;
    const float scale = 1 / sqrtf((float)config.hidden_size);
    for (size_t i = 0; i < m.count; i++) {
        char name[40];
        size_t rows, columns;
        cr_assert(tine_lstm_weight_info(&config, i, name, &rows, &columns));
        m.weights[i] = random_values(rows * (columns ? columns : 1), scale);
    }
    return m;
}

static void free_model(struct model *m) {
    for (size_t i = 0; i < m->count; i++) free(m->weights[i]);
}

static struct tine_lstm *create(const struct model *m, enum tine_isa isa,
                                enum tine_lstm_type type) {
    struct tine_lstm_config config = m->config;
    struct tine_lstm *lstm = NULL;
    config.isa = isa, config.type = type;
    cr_assert_eq(tine_lstm_create(&config, (const float *const *)m->weights, &lstm),
                 TINE_KERNEL_OK);
    return lstm;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double dot(const float *w, const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += w[i] * x[i];
    return sum;
}

/* One step of one batch row: h and c are replaced. */
static void reference_step(const struct model *m, float *const *w, size_t in, const double *x,
                           double *h, double *c) {
    const size_t H = m->config.hidden_size, P = m->width;
    double *z = malloc(4 * H * sizeof *z), *full = malloc(H * sizeof *full);
    for (size_t j = 0; j < 4 * H; j++) {
        z[j] = dot(w[0] + j * in, x, in) + dot(w[1] + j * P, h, P);
        if (m->config.bias) z[j] += (double)w[2][j] + w[3][j];
    }
    for (size_t u = 0; u < H; u++) {
        c[u] = sigmoid(z[H + u]) * c[u] + sigmoid(z[u]) * tanh(z[2 * H + u]);
        full[u] = sigmoid(z[3 * H + u]) * tanh(c[u]);
    }
    const float *hr = w[m->config.bias ? 4 : 2];
    for (size_t p = 0; p < P; p++) h[p] = m->config.proj_size ? dot(hr + p * H, full, H) : full[p];
    free(z), free(full);
}

/* One batch row through all layers; x is steps x in, y steps x directions*width, h (c) one a
 * cell. */
static void reference_row(const struct model *m, size_t steps, const double *x, double *y,
                          double *h, double *c) {
    const size_t per_cell = m->count / (m->layers * m->directions), out = m->directions * m->width;
    size_t in = m->config.input_size;
    double *from = malloc((steps * (in > out ? in : out) + 1) * sizeof *from);
    memcpy(from, x, steps * in * sizeof *from);
    for (size_t layer = 0; layer < m->layers; layer++) {
        for (size_t d = 0; d < m->directions; d++) {
            const size_t cell = layer * m->directions + d;
            for (size_t i = 0; i < steps; i++) {
                size_t t = d || m->config.reverse ? steps - 1 - i : i;
                double *state = h + cell * m->width;
                reference_step(m, (float *const *)m->weights + cell * per_cell, in, from + t * in,
                               state, c + cell * m->config.hidden_size);
                memcpy(y + t * out + d * m->width, state, m->width * sizeof *y);
            }
        }
        memcpy(from, y, steps * out * sizeof *y);
        in = out;
    }
    free(from);
}

/* ---- one case, both ways ---- */

struct data {
    size_t steps, batch;
    float *x, *h0, *c0, *y, *hn, *cn;
};

static size_t x_at(const struct model *m, const struct data *d, size_t t, size_t b, size_t width) {
    return (m->config.batch_first ? b * d->steps + t : t * d->batch + b) * width;
}

static struct data make_data(const struct model *m, size_t steps, size_t batch, bool state) {
    const size_t cells = m->layers * m->directions, H = m->config.hidden_size;
    struct data d = {.steps = steps, .batch = batch};
    d.x = random_values(steps * batch * m->config.input_size, 1);
    d.h0 = state ? random_values(cells * batch * m->width, 1) : NULL;
    d.c0 = state ? random_values(cells * batch * H, 1) : NULL;
    d.y = random_values(steps * batch * m->directions * m->width, 9);
    d.hn = random_values(cells * batch * m->width, 9);
    d.cn = random_values(cells * batch * H, 9);
    return d;
}

static void free_data(struct data *d) {
    free(d->x), free(d->h0), free(d->c0), free(d->y), free(d->hn), free(d->cn);
}

static void forward(struct tine_lstm *lstm, struct data *d) {
    cr_assert_eq(
        tine_lstm_forward(lstm, NULL, d->steps, d->batch, d->x, d->h0, d->c0, d->y, d->hn, d->cn),
        TINE_KERNEL_OK);
}

static double worst_of_row(const struct model *m, const struct data *d, size_t b) {
    const size_t cells = m->layers * m->directions, H = m->config.hidden_size, P = m->width,
                 I = m->config.input_size;
    const size_t out = m->directions * P;
    double *x = malloc((d->steps * I + 1) * sizeof *x),
           *y = malloc((d->steps * out + 1) * sizeof *y);
    double *h = calloc(cells * P, sizeof *h), *c = calloc(cells * H, sizeof *c), worst = 0;
    for (size_t t = 0; t < d->steps; t++)
        for (size_t i = 0; i < I; i++) x[t * I + i] = d->x[x_at(m, d, t, b, I) + i];
    for (size_t k = 0; k < cells; k++) {
        for (size_t i = 0; d->h0 && i < P; i++) h[k * P + i] = d->h0[(k * d->batch + b) * P + i];
        for (size_t i = 0; d->c0 && i < H; i++) c[k * H + i] = d->c0[(k * d->batch + b) * H + i];
    }
    reference_row(m, d->steps, x, y, h, c);
    for (size_t t = 0; t < d->steps; t++)
        for (size_t i = 0; i < out; i++)
            worst = fmax(worst, fabs(d->y[x_at(m, d, t, b, out) + i] - y[t * out + i]));
    for (size_t k = 0; k < cells; k++) {
        for (size_t i = 0; i < P; i++)
            worst = fmax(worst, fabs(d->hn[(k * d->batch + b) * P + i] - h[k * P + i]));
        for (size_t i = 0; i < H; i++)
            worst = fmax(worst, fabs(d->cn[(k * d->batch + b) * H + i] - c[k * H + i]));
    }
    free(x), free(y), free(h), free(c);
    return worst;
}

static double check(struct tine_lstm_config config, size_t steps, size_t batch, bool state,
                    enum tine_isa isa, enum tine_lstm_type type) {
    struct model m = make_model(config);
    struct data d = make_data(&m, steps, batch, state);
    struct tine_lstm *lstm = create(&m, isa, type);
    forward(lstm, &d);
    double worst = 0;
    for (size_t b = 0; b < batch; b++) worst = fmax(worst, worst_of_row(&m, &d, b));
    tine_lstm_free(lstm);
    free_data(&d);
    free_model(&m);
    return worst;
}

static bool skipped(enum tine_isa isa) {
    const char *why = tine_isa_obstacle(tine_cpu(), isa);
    if (why) fprintf(stderr, "SKIP %s: %s\n", tine_isa_name(isa), why);
    return why;
}

/* ---- tests ---- */

static const struct {
    struct tine_lstm_config config;
    size_t steps, batch;
    bool state;
} cases[] = {
    {{.input_size = 1, .hidden_size = 1, .bias = true}, 3, 1, false},
    {{.input_size = 3, .hidden_size = 15, .bias = true}, 4, 7, true},
    {{.input_size = 16, .hidden_size = 16}, 4, 6, true},
    {{.input_size = 17, .hidden_size = 17, .bias = true}, 9, 5, false},
    {{.input_size = 33, .hidden_size = 65, .bias = true, .reverse = true}, 5, 3, true},
    {{.input_size = 20, .hidden_size = 31, .num_layers = 3, .bias = true, .batch_first = true},
     6,
     4,
     true},
    {{.input_size = 20, .hidden_size = 32, .num_layers = 2, .bias = true, .bidirectional = true},
     5,
     9,
     true},
    {{.input_size = 9,
      .hidden_size = 40,
      .num_layers = 4,
      .bidirectional = true,
      .batch_first = true,
      .proj_size = 7},
     6,
     3,
     true},
    {{.input_size = 5, .hidden_size = 24, .bias = true, .proj_size = 23}, 7, 2, false},
    {{.input_size = 5, .hidden_size = 24, .bias = true, .proj_size = 1, .batch_first = true},
     7,
     13,
     true},
    {{.input_size = 6, .hidden_size = 10, .bias = true}, 3, 301, true}, /* more rows than a pass */
    {{.input_size = 6, .hidden_size = 10, .bias = true}, 600, 1, true}, /* several chunks */
    {{.input_size = 1100, .hidden_size = 20, .bias = true}, 2, 2, false}, /* k in two blocks */
    {{.input_size = 8, .hidden_size = 16, .bias = true}, 1, 1, false},
};

static void check_cases(enum tine_isa isa) {
    if (skipped(isa)) return;
    double worst_half = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double error = check(cases[i].config, cases[i].steps, cases[i].batch, cases[i].state, isa,
                             TINE_LSTM_F32);
        cr_expect_leq(error, 1e-5, "%s: case %zu is off by %g", tine_isa_name(isa), i, error);
        error = check(cases[i].config, cases[i].steps, cases[i].batch, cases[i].state, isa,
                      TINE_LSTM_BF16);
        cr_expect_leq(error, 3e-2, "%s: case %zu in bf16 is off by %g", tine_isa_name(isa), i,
                      error);
        worst_half = fmax(worst_half, error);
    }
    fprintf(stderr, "%s: bf16 differs from double precision by %.2g at most\n", tine_isa_name(isa),
            worst_half);
}

#define ROW(ID, name, ...)                                                                         \
    Test(lstm, name, .timeout = 120) { check_cases(TINE_ISA_##ID); }
TINE_ISA_TABLE(ROW)
#undef ROW

Test(lstm, bf16_by_instruction_and_by_rounding_agree, .timeout = 60) {
    struct tine_lstm_config config = {.input_size = 64, .hidden_size = 64, .bias = true};
    if (skipped(TINE_ISA_AVX512_BF16)) return;
    struct model m = make_model(config);
    struct data a = make_data(&m, 10, 5, true), b = a;
    struct tine_lstm *native = create(&m, TINE_ISA_AVX512_BF16, TINE_LSTM_BF16);
    struct tine_lstm *rounded = create(&m, TINE_ISA_PORTABLE, TINE_LSTM_BF16);
    b.y = malloc(10 * 5 * 64 * sizeof *b.y);
    forward(native, &a);
    forward(rounded, &b);
    for (size_t i = 0; i < 10 * 5 * 64; i++) cr_assert_float_eq(a.y[i], b.y[i], 2e-3);
    tine_lstm_free(native), tine_lstm_free(rounded);
    free(b.y);
    free_data(&a);
    free_model(&m);
}

Test(lstm, nothing_to_do_leaves_the_state, .timeout = 10) {
    struct tine_lstm_config config = {
        .input_size = 3, .hidden_size = 5, .bias = true, .bidirectional = true};
    struct model m = make_model(config);
    struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    struct data none = make_data(&m, 0, 4, true), empty = make_data(&m, 4, 0, true);
    forward(lstm, &none);
    cr_expect(!memcmp(none.hn, none.h0, 2 * 4 * 5 * sizeof(float)) &&
              !memcmp(none.cn, none.c0, 2 * 4 * 5 * sizeof(float)));
    forward(lstm, &empty);
    tine_lstm_free(lstm);
    free_data(&none), free_data(&empty);
    free_model(&m);
}

/* A row has the same bits alone, with other rows, in other chunks of time, and in a used
 * workspace. */
static void check_bits(enum tine_isa isa, enum tine_lstm_type type) {
    enum { T = 21, B = 50, I = 19, H = 37 };
    if (skipped(isa)) return;
    struct tine_lstm_config config = {
        .input_size = I, .hidden_size = H, .bias = true, .bidirectional = true};
    struct model m = make_model(config);
    struct tine_lstm *lstm = create(&m, isa, type);
    struct data all = make_data(&m, T, B, false);
    struct tine_lstm_workspace *space;
    cr_assert_eq(tine_lstm_workspace_create(&space), TINE_KERNEL_OK);
    forward(lstm, &all);
    for (size_t rows = 1; rows < B; rows = rows * 3 + 1) {
        for (size_t first = 0; first + rows <= B; first += 11) {
            struct data some = make_data(&m, T, rows, false);
            for (size_t t = 0; t < T; t++)
                memcpy(some.x + t * rows * I, all.x + (t * B + first) * I,
                       rows * I * sizeof(float));
            cr_assert_eq(
                tine_lstm_forward(lstm, space, T, rows, some.x, NULL, NULL, some.y, NULL, NULL),
                TINE_KERNEL_OK);
            for (size_t t = 0; t < T; t++)
                cr_assert(!memcmp(some.y + t * rows * 2 * H, all.y + (t * B + first) * 2 * H,
                                  rows * 2 * H * sizeof(float)),
                          "%s: %zu rows from %zu differ at step %zu", tine_lstm_kernel_name(lstm),
                          rows, first, t);
            free_data(&some);
        }
    }
    tine_lstm_workspace_free(space);
    tine_lstm_free(lstm);
    free_data(&all);
    free_model(&m);
}

/* OpenBLAS chooses its method by the number of rows, so its bits depend on it. */
Test(lstm, a_rows_bits_do_not_depend_on_its_batch, .timeout = 120) {
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        if (isa == TINE_ISA_OPENBLAS) continue;
        check_bits(isa, TINE_LSTM_F32);
        check_bits(isa, TINE_LSTM_BF16);
    }
}

/* reverse is the flip of the input and of the output, bit for bit; so is a second direction. */
Test(lstm, reverse_is_a_flip, .timeout = 60) {
    enum { T = 30, B = 9, I = 12, H = 20 };
    struct tine_lstm_config config = {.input_size = I, .hidden_size = H, .bias = true};
    struct model m = make_model(config);
    struct tine_lstm *forwards = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    m.config.reverse = true;
    struct tine_lstm *backwards = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    struct data a = make_data(&m, T, B, true), b = make_data(&m, T, B, false);
    for (size_t t = 0; t < T; t++)
        memcpy(b.x + t * B * I, a.x + (T - 1 - t) * B * I, B * I * sizeof(float));
    free(a.h0), free(a.c0);
    a.h0 = a.c0 = NULL;
    forward(forwards, &a);
    forward(backwards, &b);
    for (size_t t = 0; t < T; t++)
        cr_assert(!memcmp(b.y + t * B * H, a.y + (T - 1 - t) * B * H, B * H * sizeof(float)));
    cr_expect(!memcmp(a.hn, b.hn, B * H * sizeof(float)) &&
              !memcmp(a.cn, b.cn, B * H * sizeof(float)));
    tine_lstm_free(forwards), tine_lstm_free(backwards);
    free_data(&a), free_data(&b);
    free_model(&m);
}

/* So is a forward that is told to run the other way, of layers and directions too. */
Test(lstm, a_reversed_forward_is_a_flip, .timeout = 60) {
    enum { T = 30, B = 9, I = 12, H = 20 };
    for (int kind = 0; kind < 4; kind++) {
        struct tine_lstm_config config = {.input_size = I,
                                          .hidden_size = H,
                                          .bias = true,
                                          .num_layers = kind == 1 ? 2 : 1,
                                          .bidirectional = kind == 2,
                                          .reverse = kind == 3};
        struct model m = make_model(config);
        struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
        struct data a = make_data(&m, T, B, true), b = make_data(&m, T, B, false);
        const size_t width = tine_lstm_output_size(&m.config);
        for (size_t t = 0; t < T; t++)
            memcpy(b.x + t * B * I, a.x + (T - 1 - t) * B * I, B * I * sizeof(float));
        free(a.h0), free(a.c0);
        a.h0 = a.c0 = NULL;
        forward(lstm, &a);
        cr_assert_eq(tine_lstm_forward_reversed(lstm, NULL, T, B, b.x, b.y), TINE_KERNEL_OK);
        for (size_t t = 0; t < T; t++)
            cr_assert(!memcmp(b.y + t * B * width, a.y + (T - 1 - t) * B * width,
                              B * width * sizeof(float)),
                      "kind %d, step %zu", kind, t);
        tine_lstm_free(lstm);
        free_data(&a), free_data(&b);
        free_model(&m);
    }
}

/* ---- sharing ---- */

struct share {
    struct tine_lstm *lstm;
    struct data data;
};

static void *run_shared(void *arg) {
    struct share *share = arg;
    for (int i = 0; i < 20; i++) forward(share->lstm, &share->data);
    return NULL;
}

Test(lstm, threads_share_an_lstm, .timeout = 60) {
    enum { T = 10, B = 5 };
    struct tine_lstm_config config = {
        .input_size = 30, .hidden_size = 50, .num_layers = 2, .bias = true};
    struct model m = make_model(config);
    struct share shares[3];
    struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    struct data want = make_data(&m, T, B, true);
    forward(lstm, &want);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        shares[i] = (struct share){lstm, want};
        shares[i].data.y = malloc(T * B * 50 * sizeof(float));
        shares[i].data.hn = shares[i].data.cn = NULL;
        pthread_create(&threads[i], NULL, run_shared, &shares[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        cr_expect(!memcmp(shares[i].data.y, want.y, T * B * 50 * sizeof(float)));
        free(shares[i].data.y);
    }
    tine_lstm_free(lstm);
    free_data(&want);
    free_model(&m);
}

/* ---- bounds and refusals ---- */

Test(lstm, touches_nothing_beyond_its_arrays, .timeout = 60) {
    for (int i = TINE_ISA_PORTABLE; i < TINE_ISA_COUNT; i++) {
        enum { T = 5, B = 3, I = 7, H = 19 };
        if (skipped((enum tine_isa)i)) continue;
        struct tine_lstm_config config = {.input_size = I, .hidden_size = H, .bias = true};
        struct model m = make_model(config);
        struct tine_guard x = tine_guard_alloc(T * B * I * 4, true),
                          y = tine_guard_alloc(T * B * H * 4, true);
        struct tine_guard h = tine_guard_alloc(B * H * 4, true),
                          c = tine_guard_alloc(B * H * 4, true), w[4];
        const float *weights[4];
        for (int k = 0; k < 4; k++) {
            size_t rows, columns;
            char name[40];
            tine_lstm_weight_info(&config, (size_t)k, name, &rows, &columns);
            w[k] = tine_guard_alloc(rows * (columns ? columns : 1) * 4, true);
            weights[k] = w[k].data;
        }
        struct tine_lstm *lstm;
        config.isa = (enum tine_isa)i,
        config.type = i == TINE_ISA_AVX512_BF16 ? TINE_LSTM_BF16 : TINE_LSTM_F32;
        cr_assert_eq(tine_lstm_create(&config, weights, &lstm), TINE_KERNEL_OK);
        cr_assert_eq(
            tine_lstm_forward(lstm, NULL, T, B, x.data, h.data, c.data, y.data, h.data, c.data),
            TINE_KERNEL_OK);
        tine_lstm_free(lstm);
        for (int k = 0; k < 4; k++) tine_guard_free(&w[k]);
        tine_guard_free(&x), tine_guard_free(&y), tine_guard_free(&h), tine_guard_free(&c);
        free_model(&m);
    }
}

Test(lstm, bad_configurations_are_refused, .timeout = 10) {
    const struct tine_lstm_config bad[] = {
        {.input_size = 0, .hidden_size = 4},
        {.input_size = 4, .hidden_size = 0},
        {.input_size = 4, .hidden_size = 4, .proj_size = 4},
        {.input_size = 4, .hidden_size = 4, .reverse = true, .bidirectional = true},
        {.input_size = (size_t)-1, .hidden_size = 4},
        {.input_size = 4, .hidden_size = 4, .num_layers = (size_t)-1},
        {.input_size = 4, .hidden_size = 4, .type = (enum tine_lstm_type)9},
        {.input_size = 4, .hidden_size = 4, .isa = TINE_ISA_COUNT},
    };
    const float *none[8] = {NULL};
    struct tine_lstm *lstm = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_not_null(tine_lstm_config_defect(&bad[i]));
        cr_expect_eq(tine_lstm_create(&bad[i], none, &lstm), TINE_KERNEL_ARGUMENT);
    }
    cr_expect_null(lstm);
}

Test(lstm, sizes_past_the_address_space_are_refused, .timeout = 10) {
    struct tine_lstm_config config = {.input_size = 3, .hidden_size = 5, .bias = true};
    struct model m = make_model(config);
    struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    const size_t huge = (size_t)1 << 62;
    float y = 5;
    cr_expect_eq(tine_lstm_forward(lstm, NULL, huge, 1, &y, NULL, NULL, &y, NULL, NULL),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(tine_lstm_forward(lstm, NULL, 1, huge, &y, NULL, NULL, &y, NULL, NULL),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(tine_lstm_forward(lstm, NULL, (size_t)1 << 33, (size_t)1 << 33, &y, NULL, NULL, &y,
                                   NULL, NULL),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(y, 5);
    tine_lstm_free(lstm);
    free_model(&m);
}

Test(lstm, weights_are_named_as_in_torch, .timeout = 10) {
    struct tine_lstm_config config = {.input_size = 3,
                                      .hidden_size = 5,
                                      .num_layers = 2,
                                      .bias = true,
                                      .bidirectional = true,
                                      .proj_size = 2};
    char name[40];
    size_t rows, columns;
    cr_expect_eq(tine_lstm_weight_count(&config), 20);
    cr_expect(tine_lstm_weight_info(&config, 0, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_ih_l0") && rows == 20 && columns == 3);
    cr_expect(tine_lstm_weight_info(&config, 6, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_hh_l0_reverse") && rows == 20 && columns == 2);
    cr_expect(tine_lstm_weight_info(&config, 19, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_hr_l1_reverse") && rows == 2 && columns == 5);
    cr_expect(tine_lstm_weight_info(&config, 10, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_ih_l1") && columns == 4);
    cr_expect_not(tine_lstm_weight_info(&config, 20, name, &rows, &columns));
    cr_expect_eq(tine_lstm_flops(&config, 1, 1), 2.0 * 2 * ((20 * 5 + 10) + (20 * 6 + 10)));
}

Test(lstm, a_profile_adds_up_and_changes_no_bit, .timeout = 10) {
    enum { STEPS = 4, BATCH = 3, C = 40 };
    struct tine_lstm_config config = {.input_size = C, .hidden_size = C, .proj_size = 7};
    struct model m = make_model(config);
    float *x = random_values((size_t)STEPS * BATCH * C, 1), y[2][STEPS * BATCH * 7];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, bf16 ? TINE_LSTM_BF16 : TINE_LSTM_F32);
        struct tine_lstm_workspace *space;
        double phases[TINE_LSTM_PHASES] = {0}, before;
        cr_assert_eq(tine_lstm_workspace_create(&space), TINE_KERNEL_OK);
        for (int i = 0; i < 2; i++) {
            tine_lstm_workspace_profile(space, i ? phases : NULL);
            cr_assert_eq(
                tine_lstm_forward(lstm, space, STEPS, BATCH, x, NULL, NULL, y[i], NULL, NULL), 0);
        }
        cr_expect_arr_eq(y[0], y[1], sizeof y[0]);
        for (int i = TINE_LSTM_INPUT; i < TINE_LSTM_PHASES; i++)
            cr_expect_gt(phases[i], 0, "phase %d", i);
        before = phases[TINE_LSTM_GATES];
        tine_lstm_forward(lstm, space, STEPS, BATCH, x, NULL, NULL, y[0], NULL, NULL);
        cr_expect_gt(phases[TINE_LSTM_GATES], before, "a second forward adds to the first");
        before = phases[TINE_LSTM_GATES];
        tine_lstm_workspace_profile(space, NULL);
        tine_lstm_forward(lstm, space, STEPS, BATCH, x, NULL, NULL, y[0], NULL, NULL);
        cr_expect_eq(phases[TINE_LSTM_GATES], before);
        tine_lstm_workspace_free(space);
        tine_lstm_free(lstm);
    }
    free(x);
    free_model(&m);
}
