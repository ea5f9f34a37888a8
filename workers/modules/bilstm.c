/* The class "bilstm", the tutorial's BidirectionalRecurrentLSTM: two lstm modules, one over the
 * steps in order, one over them in reverse. It holds references, so that a cell's weights are where
 * the cell runs.
 *
 *   forward          the forward cell is forked, and the backward one called meanwhile
 *   forward_serial   nothing is forked
 *
 * Both compute the same operations on the same numbers: the results are bit-identical.
 *
 * A module made of sizes or a state_dict makes its cells where it is made. */
#include <stdlib.h>
#include <string.h>

#include "runtime/api/cancel.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/cells.h"
#include "workers/modules/rnn.h"
#include "workers/modules/weights.h"

typedef struct bilstm {
    tine_value *cell_f, *cell_b;
} bilstm;

static void *bilstm_init(tine_task *task) {
    const tine_value *f = tine_arg_module(task, 0), *b = f ? tine_arg_module(task, 1) : NULL;
    if (!b) return NULL;
    bilstm *m = malloc(sizeof *m);
    if (!m) return tine_fail(task, "bilstm(): no memory");
    *m = (bilstm){tine_ref(f), tine_ref(b)};
    return m;
}

static void bilstm_fini(void *self) {
    bilstm *m = self;
    tine_value_unref(m->cell_f);
    tine_value_unref(m->cell_b);
    free(m);
}

/* output, _ = result */
static const tine_value *output_of(tine_task *task, const tine_value *result) {
    if (!result) return NULL;
    const tine_value *output = result->kind == TINE_LIST ? tine_at(result, 0) : result;
    if (output && output->kind == TINE_TENSOR) return output;
    return tine_fail(task, "%s(): a cell must return a tensor, or a tuple that begins with one",
                     task->callable->name);
}

/* In the calls below a NULL argument means that the call that made it failed; its error is passed
 * on. */

static tine_value *flip_time(const tine_value *x) {
    return tine_call("tine.flip", x, tine_kw("dims", 0));
}

/* What the backward cell has computed. A built-in cell reads and writes the steps in reverse, and
 * its output is the right half of a tensor twice as wide, so that the forward one's need only be
 * written into the left half; others are given a flipped copy. */
typedef struct backward {
    tine_value *output; /* float32, if it is half of a pair */
    bool half;
} backward;

static backward backward_run(tine_task *task, const bilstm *m, const tine_value *x) {
    if (tine_rnn_is(m->cell_b))
        return (backward){tine_rnn_half(task, m->cell_b, x, NULL, NULL), true};
    return (backward){flip_time(output_of(task, tine_call(m->cell_b, flip_time(x)))), false};
}

/* In the type of a cell's output. */
static tine_value *pair_typed(const tine_value *x, tine_value *pair) {
    return x->tensor.dtype == TINE_BF16 ? tine_bf16_tensor(pair) : pair;
}

/* The width of a row, in bytes, and the number of rows. */
static size_t rows_of(const tine_value *t, size_t *n) {
    int64_t width = t->tensor.rank ? t->tensor.shape[t->tensor.rank - 1] : 1;
    *n = width ? (size_t)(t->tensor.elements / width) : 0;
    return (size_t)width * tine_dtype_size(t->tensor.dtype);
}

static bool fits_left_half(const tine_value *f, const tine_value *pair) {
    int last = pair->tensor.rank - 1;
    return f->tensor.dtype == pair->tensor.dtype && f->tensor.rank == last + 1 &&
           !memcmp(f->tensor.shape, pair->tensor.shape, (size_t)last * sizeof(int64_t)) &&
           2 * f->tensor.shape[last] == pair->tensor.shape[last];
}

/* The right half as a tensor of its own, for an output of another shape. */
static tine_value *right_half(const tine_value *pair) {
    int64_t shape[TINE_MAX_RANK];
    void *data;
    size_t n, width = rows_of(pair, &n) / 2;
    memcpy(shape, pair->tensor.shape, sizeof shape);
    shape[pair->tensor.rank - 1] /= 2;
    tine_value *out = tine_tensor_new(pair->tensor.dtype, pair->tensor.rank, shape, &data);
    for (size_t i = 0; out && i < n; i++)
        memcpy((char *)data + i * width, pair->tensor.data + (2 * i + 1) * width, width);
    return out;
}

static tine_value *join_outputs(const tine_value *x, const tine_value *output_f, backward b) {
    if (b.half && output_f) b.output = pair_typed(x, b.output);
    if (!output_f || !b.output) return NULL;
    if (b.half && fits_left_half(output_f, b.output)) {
        size_t n, width = rows_of(output_f, &n);
        for (size_t i = 0; i < n; i++) /* nobody else has it yet */
            memcpy((char *)b.output->tensor.buffer->data + 2 * i * width,
                   output_f->tensor.data + i * width, width);
        return b.output;
    }
    tine_value *output_b = b.half ? right_half(b.output) : b.output;
    return tine_call("tine.cat", tine_list(output_f, output_b), tine_kw("dim", -1));
}

/* The forward cell runs here: into the left half, if that is possible. */
static tine_value *join_forward(tine_task *task, const bilstm *m, const tine_value *x, backward b) {
    bool fits = false;
    if (b.half && tine_rnn_is(m->cell_f)) {
        tine_value *pair = tine_rnn_half(task, m->cell_f, x, b.output, &fits);
        if (fits) return pair ? pair_typed(x, pair) : NULL;
    }
    return join_outputs(x, output_of(task, tine_call(m->cell_f, x)), b);
}

static tine_value *bilstm_forward(tine_task *task) {
    const bilstm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    tine_value *result_f = NULL;
    if (!x) return NULL;
    tine_future *future_f = tine_fork(m->cell_f, x);
    backward b = backward_run(task, m, x);
    if (!b.output) return NULL;
    if (b.half && tine_rnn_is(m->cell_f) && tine_future_take_back(future_f))
        return join_forward(task, m, x, b);
    if (tine_wait(future_f, &result_f) != TINE_OK) return NULL;
    return join_outputs(x, output_of(task, result_f), b);
}

static tine_value *bilstm_serial(tine_task *task) {
    const bilstm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    if (!x) return NULL;
    backward b = backward_run(task, m, x);
    return b.output ? join_forward(task, m, x, b) : NULL;
}

static tine_value *bilstm_rewrite(tine_task *task) {
    const tine_value *dict;
    tine_cells c;
    tine_value *f, *b;
    if (!tine_cells_sized(task, 0)) return tine_none();
    int64_t seed = tine_arg_int(task, tine_arg_index(task, "seed"));
    if (task->failed || !tine_cells_arguments(task, false, &c, &dict) ||
        !tine_cells_pair(&c, dict, seed, &f, &b))
        return NULL;
    return tine_dict_of((const char *[]){"cell_f", "cell_b"}, (tine_value *[]){f, b}, 2);
}

static const tine_class bilstm_class = {
    .name = "bilstm",
    .parameters =
        "cell_f|input_size=none, cell_b|hidden_size=none, *, dtype='f32', " TINE_WEIGHTS_PARAMETERS,
    .init = bilstm_init,
    .fini = bilstm_fini,
    .methods = (const tine_method[]){{"forward", "x", bilstm_forward, TINE_REPEATABLE},
                                     {"forward_serial", "x", bilstm_serial, TINE_REPEATABLE},
                                     {0}},
};
TINE_BUILTIN_CLASS(bilstm_class, bilstm_rewrite)
