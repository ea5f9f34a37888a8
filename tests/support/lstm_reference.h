/* A plain LSTM in double precision, and random models and inputs on which tests compare the kernels
 * with it. */
#ifndef TINE_TESTS_SUPPORT_LSTM_REFERENCE_H
#define TINE_TESTS_SUPPORT_LSTM_REFERENCE_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/lstm.h"
#include "tests/support/random.h"

static uint64_t lstm_seed = 7;

static inline float *random_values(size_t n, float scale) {
    float *v = malloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = random_float(&lstm_seed) * scale;
    return v;
}

/* ---- the reference ---- */

struct model {
    struct tine_lstm_config config;
    float *weights[64];
    size_t count, layers, directions, width;
};

static inline struct model make_model(struct tine_lstm_config config) {
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

static inline void free_model(struct model *m) {
    for (size_t i = 0; i < m->count; i++) free(m->weights[i]);
}

static inline struct tine_lstm *create(const struct model *m, enum tine_isa isa,
                                       enum tine_lstm_type type) {
    struct tine_lstm_config config = m->config;
    struct tine_lstm *lstm = NULL;
    config.isa = isa, config.type = type;
    cr_assert_eq(tine_lstm_create(&config, (const float *const *)m->weights, &lstm),
                 TINE_KERNEL_OK);
    return lstm;
}

static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static inline double dot(const float *w, const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += w[i] * x[i];
    return sum;
}

/* One step of one batch row: h and c are replaced. */
static inline void reference_step(const struct model *m, float *const *w, size_t in,
                                  const double *x, double *h, double *c) {
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
static inline void reference_row(const struct model *m, size_t steps, const double *x, double *y,
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

static inline size_t x_at(const struct model *m, const struct data *d, size_t t, size_t b,
                          size_t width) {
    return (m->config.batch_first ? b * d->steps + t : t * d->batch + b) * width;
}

static inline struct data make_data(const struct model *m, size_t steps, size_t batch, bool state) {
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

static inline void free_data(struct data *d) {
    free(d->x), free(d->h0), free(d->c0), free(d->y), free(d->hn), free(d->cn);
}

static inline void forward(struct tine_lstm *lstm, struct data *d) {
    cr_assert_eq(
        tine_lstm_forward(lstm, NULL, d->steps, d->batch, d->x, d->h0, d->c0, d->y, d->hn, d->cn),
        TINE_KERNEL_OK);
}

static inline double worst_of_row(const struct model *m, const struct data *d, size_t b) {
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

static inline double check(struct tine_lstm_config config, size_t steps, size_t batch, bool state,
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

static inline bool skipped(enum tine_isa isa) {
    const char *why = tine_isa_obstacle(tine_cpu(), isa);
    if (why) fprintf(stderr, "SKIP %s: %s\n", tine_isa_name(isa), why);
    return why;
}

#endif
