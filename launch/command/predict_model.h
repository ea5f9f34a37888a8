/* The model and the input of `tine predict`: reading them (predict_model.c), and one run through
 * fork and wait (predict_run.c). */
#ifndef TINE_LAUNCH_COMMAND_PREDICT_MODEL_H
#define TINE_LAUNCH_COMMAND_PREDICT_MODEL_H

#include "launch/cli/report.h"
#include "workers/modules/cells.h"

typedef struct tine_prediction_options {
    const char *model, *input, *prefix, *dtype;
    bool batch_first;
    long batch_size; /* rows of a slice; 0: as many as keep the workers busy */
} tine_prediction_options;

typedef struct tine_prediction {
    tine_value *weights; /* a state_dict */
    tine_cells cells;
    tine_value *x; /* (steps, batch, input), or batch_first, or without a batch; float32 */
    tine_value *hx, *lengths; /* of the input's file, or NULL; then there are no slices */
    tine_value *module;
    int batch_dim; /* -1: none */
    int64_t batch, slice;
} tine_prediction;

/* Reads both files. False: tine_error_message() says why. */
bool tine_prediction_open(tine_prediction *p, const tine_prediction_options *o);
/* Makes the module and cuts the batch; Tine runs. */
bool tine_prediction_prepare(tine_prediction *p, const tine_prediction_options *o);
/* How many slices a run forks. */
int64_t tine_prediction_slices(const tine_prediction *p);
/* One run: a dict of output and, for one cell, h_n and c_n; NULL on failure. Counts its slices in
 * `steps` and shows them. */
tine_value *tine_prediction_run(const tine_prediction *p, tine_steps *steps);
void tine_prediction_close(tine_prediction *p); /* accepts a zeroed one */

/* "ensemble of 4 pairs of lstm", without more than `room` bytes. */
void tine_prediction_name(const tine_prediction *p, char *out, size_t room);
/* Floating-point operations of the products in a run. */
double tine_prediction_flops(const tine_prediction *p);

/* Whether a file's name ends so, in any case. */
bool tine_ends_with(const char *path, const char *ending);
/* The input of a model: an .npy file's array, or of a safetensors file the tensor "input" or its
 * only one, as float32. *others: what else the file holds. NULL on failure. */
tine_value *tine_predict_input(const char *path, tine_value **others);
/* Writes a dict of tensors: its first one to an .npy file, or all to a safetensors file. */
bool tine_predict_write(const char *path, const tine_value *results);

#endif
