/* The class "ensemble", the tutorial's LSTMEnsemble: a list of modules whose outputs for one input
 * are stacked and summed. A method for each of the tutorial's three steps:
 *
 *   forward_serial       nothing is forked
 *   forward_directions   the models one after another, each by its forward
 *   forward              the models forked
 *
 * All compute the same operations on the same numbers: the results are bit-identical. A model may
 * also be an lstm or a gru, whose output counts.
 *
 * A module made of sizes or a state_dict makes its models where it is made. */
#include <stdlib.h>

#include "workers/builtin/builtin.h"
#include "workers/modules/cells.h"
#include "workers/modules/weights.h"

static void *ensemble_init(tine_task *task) {
    const tine_value *models = tine_arg(task, 0);
    if (models->kind != TINE_LIST || models->list.n == 0)
        return tine_arg_fail(task, 0, "be a list of at least one module");
    for (size_t i = 0; i < models->list.n; i++) {
        tine_kind kind = models->list.items[i]->kind;
        if (kind != TINE_MODULE_REF)
            return tine_arg_fail(task, 0, "hold modules, but item %zu is %s", i,
                                 tine_kind_name(kind));
    }
    return tine_ref(models);
}

static void ensemble_fini(void *self) { tine_value_unref(self); }

/* torch.stack(results).sum(dim=0) */
static tine_value *sum_results(tine_value *const *results, size_t n) {
    bool fits;
    tine_value *sum = tine_sum_of(results, n, &fits);
    if (fits) return sum;
    return tine_call("tine.sum", tine_call("tine.stack", tine_list_of(results, n)),
                     tine_kw("dim", 0));
}

/* output, _ = result, for a model that returns its state too. */
static tine_value *model_output(tine_value *result) {
    if (!result || result->kind != TINE_LIST || result->list.n == 0) return result;
    return result->list.items[0];
}

/* The method, if the model has it, or forward: an lstm has only this. */
static const char *method_of(const tine_value *model, const char *method) {
    const tine_class_entry *class = tine_registry_class(model->bytes.data);
    return class && !tine_class_method(class, method) ? "forward" : method;
}

static tine_value *call_each(tine_task *task, const char *method) {
    const tine_value *models = tine_self(task);
    size_t n = models->list.n, made = 0;
    tine_value **results = calloc(n, sizeof *results), *sum = NULL;
    if (!results) return tine_fail(task, "%s(): no memory", task->callable->name);
    for (; made < n; made++) {
        const tine_value *model = models->list.items[made];
        results[made] =
            model_output(tine_call_method(model, method_of(model, method), tine_arg(task, 0)));
        if (!results[made]) break;
    }
    if (made == n) sum = sum_results(results, n);
    free(results);
    return sum;
}

static tine_value *ensemble_serial(tine_task *task) { return call_each(task, "forward_serial"); }
static tine_value *ensemble_directions(tine_task *task) { return call_each(task, "forward"); }

static tine_value *ensemble_forward(tine_task *task) {
    const tine_value *models = tine_self(task);
    size_t n = models->list.n;
    tine_future **futures = calloc(n, sizeof *futures);
    tine_value **results = calloc(n, sizeof *results), *sum = NULL;
    if (!futures || !results) {
        tine_fail(task, "%s(): no memory", task->callable->name);
        goto out;
    }
    for (size_t i = 0; i < n; i++) futures[i] = tine_fork(models->list.items[i], tine_arg(task, 0));
    if (tine_wait_all(futures, n, results) != TINE_OK) goto out;
    for (size_t i = 0; i < n; i++) results[i] = model_output(results[i]);
    sum = sum_results(results, n);
out:
    free(futures);
    free(results);
    return sum;
}

static tine_value *ensemble_rewrite(tine_task *task) {
    const tine_value *dict;
    tine_cells c;
    if (!tine_cells_sized(task, 0)) return tine_none();
    int64_t seed = tine_arg_int(task, tine_arg_index(task, "seed"));
    if (task->failed || !tine_cells_arguments(task, true, &c, &dict)) return NULL;
    tine_value *list = tine_cells_models(&c, dict, seed);
    return list ? tine_dict_of((const char *[]){"models"}, &list, 1) : NULL;
}

static const tine_class ensemble_class = {
    .name = "ensemble",
    .parameters = "models|n_models=none, input_size=none, hidden_size=none, *, "
                  "dtype='f32', " TINE_WEIGHTS_PARAMETERS,
    .init = ensemble_init,
    .fini = ensemble_fini,
    .methods =
        (const tine_method[]){{"forward", "x", ensemble_forward, TINE_REPEATABLE},
                              {"forward_directions", "x", ensemble_directions, TINE_REPEATABLE},
                              {"forward_serial", "x", ensemble_serial, TINE_REPEATABLE},
                              {0}},
};
TINE_BUILTIN_CLASS(ensemble_class, ensemble_rewrite)
