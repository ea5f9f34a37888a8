/* The weights of a module: from the arguments state_dict and prefix, as PyTorch's load_state_dict
 * takes them, or drawn from a seed, as PyTorch initialises them.
 *
 * A state_dict may hold the weights of more than this module. With `prefix` only those under it
 * count. Without, those whose names are exactly the module's count, else those under the only
 * prefix that all of the module's weights are under. */
#ifndef TINE_WORKERS_MODULES_WEIGHTS_H
#define TINE_WORKERS_MODULES_WEIGHTS_H

#include "kernels/gemm.h"
#include "runtime/call/call.h"

/* The last parameters of every class with weights. */
#define TINE_WEIGHTS_PARAMETERS "state_dict=none, prefix=none, seed=0"

typedef struct tine_weight {
    char name[80];
    int rank;
    int64_t shape[TINE_MAX_RANK];
    enum { TINE_INIT_UNIFORM, TINE_INIT_NORMAL, TINE_INIT_CONSTANT } init;
    float scale; /* uniform in ±scale, the standard deviation, or the constant */
} tine_weight;

typedef struct tine_weight_set {
    const char *class; /* PyTorch's name: "LSTM" */
    size_t n;
    const void *config;
    void (*describe)(const void *config, size_t i, tine_weight *out);
} tine_weight_set;

/* The items of a state_dict that are the set's, by the rule above; `prefix` NULL: find it. NULL:
 * the task has failed, with PyTorch's sentence and the keys that there are. */
const tine_value *tine_weights_find(tine_task *task, const tine_weight_set *set,
                                    const tine_value *dict, const char *prefix);
/* float32 tensors, which belong to the task's pool. False: the task has failed. */
bool tine_weights_get(tine_task *task, const tine_weight_set *set, const tine_value **out);

/* Where a module is made: with a prefix, only what is under it travels to the workers. */
tine_value *tine_weights_rewrite(tine_task *task);

/* The items under a prefix ("models.0", "models.0."), without it; the dict itself for "". NULL: no
 * memory. */
tine_value *tine_dict_under(const tine_value *dict, const char *prefix);
/* The item of that key, or NULL. */
const tine_value *tine_dict_find(const tine_value *dict, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The parameter 'dtype', the type of the products' operands: f32, bf16 or int8. False: the task has
 * failed. */
bool tine_operand_type_arg(tine_task *task, enum tine_gemm_type *out);
/* The index of a parameter, which the function has. */
size_t tine_arg_index(const tine_task *task, const char *name);
/* x as float32, converted if need be. NULL: the task has failed; `what` names x. */
const tine_value *tine_floats_of(tine_task *task, const tine_value *x, const char *what);
/* A float32 result as bf16, or none. */
tine_value *tine_bf16_tensor(const tine_value *v);

#endif
