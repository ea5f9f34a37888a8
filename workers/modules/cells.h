/* Models made of LSTM or GRU cells, as the tutorial's classes save them: one cell; one forward and
 * one backward (BidirectionalRecurrentLSTM: cell_f., cell_b.); several of either (LSTMEnsemble:
 * models.0., models.1. …). All cells of a model have the same configuration. */
#ifndef TINE_WORKERS_MODULES_CELLS_H
#define TINE_WORKERS_MODULES_CELLS_H

#include "kernels/lstm.h"
#include "runtime/call/call.h"

enum { TINE_MODELS_MAX = 1024, TINE_LAYERS_MAX = 1024 };

typedef struct tine_cells {
    size_t models; /* 0: not in a list */
    bool paired;   /* cell_f and cell_b */
    struct tine_lstm_config config;
} tine_cells;

/* What a state_dict holds, from its names and shapes; batch_first and the type are not in them.
 * EINVAL with a sentence: none of these. */
tine_error tine_cells_detect(const tine_value *dict, tine_cells *out);

/* "lstm", "gru", "bilstm" or "ensemble": the class of the whole. */
const char *tine_cells_class(const tine_cells *c);
/* The whole as a module, with the weights of a dict. NULL on failure. */
tine_value *tine_cells_module(const tine_cells *c, const tine_value *dict);
/* The list of an ensemble's models. Weights are those of `dict`, exactly, or, where it is NULL,
 * drawn from the seed. NULL on failure. */
tine_value *tine_cells_models(const tine_cells *c, const tine_value *dict, int64_t seed);
/* The same for the cells of a pair. False on failure. */
bool tine_cells_pair(const tine_cells *c, const tine_value *dict, int64_t seed, tine_value **f,
                     tine_value **b);

/* Argument `i`, a module or a list of them in most calls, is a size or none instead. */
bool tine_cells_sized(tine_task *task, size_t i);
/* The model that the arguments of "bilstm" and "ensemble" describe: sizes (parameters 0 to 2 of an
 * ensemble, 0 and 1 of a pair; int or none), dtype, state_dict and prefix. *dict gets the items of
 * the state_dict, or NULL. False: the task has failed. */
bool tine_cells_arguments(tine_task *task, bool ensemble, tine_cells *out, const tine_value **dict);

#endif
