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

/* A built-in cell reads and writes the steps in reverse; others are given a flipped copy. */
static tine_value *backward_output(tine_task *task, const bilstm *m, const tine_value *x) {
    if (tine_rnn_is(m->cell_b)) return tine_call_method(m->cell_b, "forward_flipped", x);
    return flip_time(output_of(task, tine_call(m->cell_b, flip_time(x))));
}

static tine_value *join_outputs(const tine_value *output_f, const tine_value *output_b_rev) {
    return tine_call("tine.cat", tine_list(output_f, output_b_rev), tine_kw("dim", -1));
}

static tine_value *bilstm_forward(tine_task *task) {
    const bilstm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    tine_value *result_f = NULL;
    if (!x) return NULL;
    tine_future *future_f = tine_fork(m->cell_f, x);
    tine_value *output_b_rev = backward_output(task, m, x);
    if (!output_b_rev || tine_wait(future_f, &result_f) != TINE_OK) return NULL;
    return join_outputs(output_of(task, result_f), output_b_rev);
}

static tine_value *bilstm_serial(tine_task *task) {
    const bilstm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    if (!x) return NULL;
    const tine_value *output_f = output_of(task, tine_call(m->cell_f, x));
    return output_f ? join_outputs(output_f, backward_output(task, m, x)) : NULL;
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
