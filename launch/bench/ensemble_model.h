/* The tutorial's ensemble with random weights: N models of two LSTMs each, one forward and one
 * backward in time, their outputs joined along the channels, the models' outputs stacked and
 * summed. The computation is the class "ensemble" (workers/modules/ensemble.c); here are the
 * weights and the input. */
#ifndef TINE_LAUNCH_BENCH_ENSEMBLE_MODEL_H
#define TINE_LAUNCH_BENCH_ENSEMBLE_MODEL_H

#include "runtime/tine.h"

enum { TINE_ENSEMBLE_MODELS_MAX = 256 };

typedef struct tine_ensemble_config {
    long models, time, batch, channels;
    long seed;
    const char *dtype; /* of the products: "f32", "bf16" or "int8" */
} tine_ensemble_config;

/* Weights of a cell, in the order of torch.nn.LSTM's state_dict; float32 tensors. */
enum { TINE_CELL_W_IH, TINE_CELL_W_HH, TINE_CELL_B_IH, TINE_CELL_B_HH, TINE_CELL_WEIGHTS };
typedef struct tine_ensemble_cell {
    tine_value *weights[TINE_CELL_WEIGHTS];
    tine_value *module;
} tine_ensemble_cell;

typedef struct tine_ensemble {
    tine_ensemble_config config;
    tine_ensemble_cell *cells; /* of model m: 2m forward, 2m + 1 backward in time */
    tine_value *module;        /* of class "ensemble" */
    tine_value *x;             /* the input, (time, batch, channels), put */
} tine_ensemble;

/* Weights uniform in ±1/sqrt(channels), like PyTorch's, and an input uniform in [0, 1): functions
 * of the seed. On failure tine_error_message() holds the reason, and what was made is to be freed.
 * A zeroed ensemble may be freed. */
tine_error tine_ensemble_make(tine_ensemble *e, const tine_ensemble_config *config);
void tine_ensemble_free(tine_ensemble *e);
/* Floating-point operations of the matrix products of one run. */
double tine_ensemble_flops(const tine_ensemble_config *c);

#endif
