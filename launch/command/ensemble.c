/* See ensemble.h. The three variants are the tutorial's three forward() functions, line by line;
 * what differs from it is that the input is put once, so that it does not travel with every
 * fork. */
#include "launch/command/ensemble.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 (Steele, Lea, Flood 2014): the k-th number of a stream is a function of seed and k. */
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* A tensor uniform in [low, high), a function of seed and stream. */
static tine_value *uniform(uint64_t seed, uint64_t stream, int rank, const int64_t *shape,
                           double low, double high) {
    void *data;
    tine_value *v = tine_tensor_new(TINE_F32, rank, shape, &data);
    if (!v) return NULL;
    uint64_t state = mix(seed * 0x9e3779b97f4a7c15u + mix(stream + 1));
    float *p = data;
    int64_t n = tine_elements(v);
    for (int64_t i = 0; i < n; i++) {
        state += 0x9e3779b97f4a7c15u;
        p[i] = (float)(low + (high - low) * (double)(mix(state) >> 11) * 0x1p-53);
    }
    return v;
}

static const char *const weight_names[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0",
                                           "bias_hh_l0"};

static tine_error make_cell(tine_ensemble_cell *cell, const tine_ensemble_config *c,
                            uint64_t number) {
    int64_t shape[2] = {4 * c->channels, c->channels};
    double bound = 1.0 / sqrt((double)c->channels);
    for (int i = 0; i < TINE_CELL_WEIGHTS; i++) {
        int rank = i <= TINE_CELL_W_HH ? 2 : 1;
        cell->weights[i] = uniform((uint64_t)c->seed, 1 + number * TINE_CELL_WEIGHTS + (uint64_t)i,
                                   rank, shape, -bound, bound);
        if (!cell->weights[i]) return tine_last_error();
    }
    tine_value *state = tine_dict_of(weight_names, cell->weights, TINE_CELL_WEIGHTS);
    cell->module = tine_module("lstm", c->channels, c->channels, tine_kw("state_dict", state),
                               tine_kw("dtype", c->dtype));
    tine_release(state);
    return cell->module ? TINE_OK : tine_last_error();
}

tine_error tine_ensemble_make(tine_ensemble *e, const tine_ensemble_config *config) {
    size_t n = (size_t)config->models;
    *e = (tine_ensemble){.config = *config};
    e->forward = calloc(n, sizeof *e->forward);
    e->backward = calloc(n, sizeof *e->backward);
    e->models = calloc(n, sizeof(tine_value *));
    if (!e->forward || !e->backward || !e->models) return TINE_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        tine_error failed = make_cell(&e->forward[i], config, 2 * i);
        if (!failed) failed = make_cell(&e->backward[i], config, 2 * i + 1);
        if (failed) return failed;
        e->models[i] = tine_module("bilstm", e->forward[i].module, e->backward[i].module);
        if (!e->models[i]) return tine_last_error();
    }
    e->x = uniform((uint64_t)config->seed, 0, 3,
                   (int64_t[]){config->time, config->batch, config->channels}, 0, 1);
    if (e->x) e->x_put = tine_put(e->x);
    return e->x_put ? TINE_OK : tine_last_error();
}

static void free_cell(tine_ensemble_cell *cell) {
    tine_release(cell->module);
    for (int i = 0; i < TINE_CELL_WEIGHTS; i++) tine_release(cell->weights[i]);
}

void tine_ensemble_free(tine_ensemble *e) {
    for (long i = 0; i < e->config.models; i++) {
        if (e->models) tine_release(e->models[i]);
        if (e->forward) free_cell(&e->forward[i]);
        if (e->backward) free_cell(&e->backward[i]);
    }
    tine_release(e->x_put);
    tine_release(e->x);
    free(e->forward);
    free(e->backward);
    free(e->models);
    *e = (tine_ensemble){0};
}

/* 2 operations for each of the 4 gates' multiplications with x and with h, a step, a row of the
 * batch, a cell. */
double tine_ensemble_flops(const tine_ensemble_config *c) {
    double channels = (double)c->channels;
    return 2.0 * (double)c->models * 2.0 * (double)c->time * (double)c->batch * 4.0 * channels *
           (2.0 * channels);
}

/* ---- the three variants ---- */

static tine_value *flip(const tine_value *v) { return tine_call("flip", v, tine_kw("dims", 0)); }

/* In what follows a NULL among the arguments means that its maker failed: the error travels through
 * to the end. */

/* cat((forward's output, flipped backward's output), dim=2); takes both results over. */
static tine_value *join(tine_value *forward, tine_value *backward) {
    tine_value *output_b = flip(tine_at(backward, 0));
    tine_value *pair = tine_list(tine_at(forward, 0), output_b);
    tine_value *joined = tine_call("cat", pair, tine_kw("dim", 2));
    tine_release(pair);
    tine_release(output_b);
    tine_release(forward);
    tine_release(backward);
    return joined;
}

/* stack(results).sum(dim=0); takes the results over. */
static tine_value *total(tine_value **results, size_t n) {
    tine_value *list = tine_list_of(results, n);
    tine_value *stacked = tine_call("stack", list);
    tine_value *sum = tine_call("sum", stacked, tine_kw("dim", 0));
    tine_release(stacked);
    tine_release(list);
    for (size_t i = 0; i < n; i++) tine_release(results[i]);
    return sum;
}

tine_value *tine_ensemble_sequential(tine_ensemble *e) {
    tine_value *results[TINE_ENSEMBLE_MODELS_MAX] = {0};
    size_t n = (size_t)e->config.models;
    for (size_t i = 0; i < n; i++) {
        tine_value *forward = tine_call(e->forward[i].module, e->x);
        tine_value *reversed = flip(e->x);
        results[i] = join(forward, tine_call(e->backward[i].module, reversed));
        tine_release(reversed);
        if (!results[i]) break;
    }
    return total(results, n);
}

static tine_value *model_with_directions(tine_ensemble *e, size_t i) {
    tine_value *forward = NULL, *backward = NULL;
    tine_value *reversed = flip(e->x);
    tine_future *future_f = tine_fork(e->forward[i].module, e->x_put);
    tine_future *future_b = tine_fork(e->backward[i].module, reversed);
    tine_error failed = tine_wait(future_b, &backward);
    if (!failed) tine_wait(future_f, &forward);
    tine_release(future_f);
    tine_release(future_b);
    tine_release(reversed);
    return join(forward, backward);
}

tine_value *tine_ensemble_directions(tine_ensemble *e) {
    tine_value *results[TINE_ENSEMBLE_MODELS_MAX] = {0};
    size_t n = (size_t)e->config.models;
    for (size_t i = 0; i < n; i++) {
        results[i] = model_with_directions(e, i);
        if (!results[i]) break;
    }
    return total(results, n);
}

tine_value *tine_ensemble_models(tine_ensemble *e) {
    tine_future *futures[TINE_ENSEMBLE_MODELS_MAX] = {0};
    tine_value *results[TINE_ENSEMBLE_MODELS_MAX] = {0};
    size_t n = (size_t)e->config.models;
    for (size_t i = 0; i < n; i++) futures[i] = tine_fork(e->models[i], e->x_put);
    tine_wait_all(futures, n, results);
    for (size_t i = 0; i < n; i++) tine_release(futures[i]);
    return total(results, n);
}
