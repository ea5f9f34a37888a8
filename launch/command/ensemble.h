/* The tutorial's ensemble: N models of two LSTMs each, one forward and one backward in time,
 * outputs joined along the channels, the models' outputs stacked and summed. Three ways to compute
 * it, which must give the same bits. */
#ifndef TINE_LAUNCH_COMMAND_ENSEMBLE_H
#define TINE_LAUNCH_COMMAND_ENSEMBLE_H

#include <stdint.h>

#include "runtime/tine.h"

enum { TINE_ENSEMBLE_MODELS_MAX = 256 };

typedef struct tine_ensemble_config {
    long models, time, batch, channels;
    long seed;
    const char *dtype; /* of the products: "f32" or "bf16" */
} tine_ensemble_config;

/* Four weights of a cell, in the order of torch.nn.LSTM's state_dict; float32 tensors. */
enum { TINE_CELL_W_IH, TINE_CELL_W_HH, TINE_CELL_B_IH, TINE_CELL_B_HH, TINE_CELL_WEIGHTS };
typedef struct tine_ensemble_cell {
    tine_value *weights[TINE_CELL_WEIGHTS];
    tine_value *module;
} tine_ensemble_cell;

typedef struct tine_ensemble {
    tine_ensemble_config config;
    tine_ensemble_cell *forward, *backward; /* one a model */
    tine_value **models;                    /* modules of class bilstm, made of the cells */
    tine_value *x;                          /* the input, (time, batch, channels) */
    tine_value *x_put;                      /* shipped once to each worker */
} tine_ensemble;

/* Random weights, uniform in ±1/sqrt(channels) like PyTorch's, and a random input, the same for the
 * same seed. On failure tine_error_message() tells. A zeroed ensemble may be freed. */
tine_error tine_ensemble_make(tine_ensemble *e, const tine_ensemble_config *config);
void tine_ensemble_free(tine_ensemble *e);
double tine_ensemble_flops(const tine_ensemble_config *c);

/* Each computes the whole: (time, batch, 2*channels), a new reference; NULL on failure. */
tine_value *tine_ensemble_sequential(tine_ensemble *e); /* in this process, nothing forked */
/* a model at a time, its two cells forked */
tine_value *tine_ensemble_directions(tine_ensemble *e);
/* all models forked, and in each its forward cell */
tine_value *tine_ensemble_models(tine_ensemble *e);

/* The largest difference of `output` from a double-precision computation of a few batch columns.
 * Uses all cores for a moment. *columns: how many were compared. */
tine_error tine_ensemble_error(const tine_ensemble *e, const tine_value *output, double *error,
                               long *columns);

#endif
