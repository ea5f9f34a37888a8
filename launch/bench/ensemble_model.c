/* Weights and input of the ensemble. See ensemble_model.h. */
#include "launch/bench/ensemble_model.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/value/error.h"
#include "workers/builtin/builtin.h"

/* Numbers of one seed are drawn from one sequence, each tensor from a part of its own: the input
 * from part 0, the weights from part 1 on. A part is longer than any tensor. */
enum { PART_BITS = 40 };

static tine_value *uniform_tensor(long seed, uint64_t part, int rank, const int64_t *shape,
                                  double low, double high) {
    void *data;
    tine_value *v = tine_tensor_new(TINE_F32, rank, shape, &data);
    if (v)
        tine_random_fill(data, tine_elements(v), (uint64_t)seed, part << PART_BITS, (float)low,
                         (float)high);
    return v;
}

static tine_error make_cell(tine_ensemble_cell *cell, const tine_ensemble_config *c,
                            uint64_t number) {
    static const char *const names[TINE_CELL_WEIGHTS] = {"weight_ih_l0", "weight_hh_l0",
                                                         "bias_ih_l0", "bias_hh_l0"};
    int64_t shape[2] = {4 * c->channels, c->channels};
    double bound = 1.0 / sqrt((double)c->channels);
    for (uint64_t i = 0; i < TINE_CELL_WEIGHTS; i++) {
        cell->weights[i] = uniform_tensor(c->seed, 1 + number * TINE_CELL_WEIGHTS + i,
                                          i <= TINE_CELL_W_HH ? 2 : 1, shape, -bound, bound);
        if (!cell->weights[i]) return tine_last_error();
    }
    tine_value *state = tine_dict_of(names, cell->weights, TINE_CELL_WEIGHTS);
    cell->module = tine_module("lstm", c->channels, c->channels, tine_kw("state_dict", state),
                               tine_kw("dtype", c->dtype));
    tine_release(state);
    return cell->module ? TINE_OK : tine_last_error();
}

static tine_error make_ensemble(tine_ensemble *e) {
    size_t n = (size_t)e->config.models;
    tine_value **models = calloc(n, sizeof *models);
    if (!models) return tine_error_set(TINE_ENOMEM, "no memory for %zu models", n);
    for (size_t i = 0; i < n; i++)
        models[i] = tine_module("bilstm", e->cells[2 * i].module, e->cells[2 * i + 1].module);
    tine_value *list = tine_list_of(models, n);
    e->module = tine_module("ensemble", list);
    tine_release(list);
    for (size_t i = 0; i < n; i++) tine_release(models[i]);
    free(models);
    return e->module ? TINE_OK : tine_last_error();
}

static tine_error make_ensemble_input(tine_ensemble *e) {
    const tine_ensemble_config *c = &e->config;
    tine_value *x =
        uniform_tensor(c->seed, 0, 3, (int64_t[]){c->time, c->batch, c->channels}, 0, 1);
    e->x = tine_put(x);
    tine_release(x);
    return e->x ? TINE_OK : tine_last_error();
}

tine_error tine_ensemble_make(tine_ensemble *e, const tine_ensemble_config *config) {
    size_t cells = 2 * (size_t)config->models;
    *e = (tine_ensemble){.config = *config, .cells = calloc(cells, sizeof *e->cells)};
    if (!e->cells) return tine_error_set(TINE_ENOMEM, "no memory for %zu cells", cells);
    tine_error failed = TINE_OK;
    for (size_t i = 0; i < cells && !failed; i++) failed = make_cell(&e->cells[i], config, i);
    if (!failed) failed = make_ensemble(e);
    return failed ? failed : make_ensemble_input(e);
}

void tine_ensemble_free(tine_ensemble *e) {
    for (long i = 0; e->cells && i < 2 * e->config.models; i++) {
        tine_release(e->cells[i].module);
        for (int k = 0; k < TINE_CELL_WEIGHTS; k++) tine_release(e->cells[i].weights[k]);
    }
    tine_release(e->x);
    tine_release(e->module);
    free(e->cells);
    *e = (tine_ensemble){0};
}

/* A multiplication and an addition for each of the 4 gates' products with x and with h, a step, a
 * row of the batch, a cell. */
double tine_ensemble_flops(const tine_ensemble_config *c) {
    double channels = (double)c->channels, cells = 2.0 * (double)c->models;
    return 2.0 * cells * (double)c->time * (double)c->batch * 4.0 * channels * (2.0 * channels);
}
