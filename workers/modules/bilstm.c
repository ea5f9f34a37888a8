/* The tutorial's two modules. "bilstm" holds two lstm modules, "ensemble" a list of bilstms; what
 * they hold are references, so the cells' weights live wherever a cell's forward runs, once there.
 * Each has a method for each of the tutorial's three steps:
 *
 *   forward_serial       nothing is forked
 *   bilstm.forward       the forward cell is forked, the backward one called meanwhile
 *   ensemble.forward_directions   the models one after another, each by bilstm.forward
 *   ensemble.forward     the models forked, and inside each its forward cell
 *
 * All compute the same operations on the same numbers: the results are bit-identical. */
#include <stdlib.h>

#include "workers/builtin/builtin.h"

/* ---- bilstm ---- */

typedef struct bilstm {
    tine_value *cell_f, *cell_b;
} bilstm;

static bool is_module(tine_task *task, const tine_value *v, const char *what) {
    if (v->kind == TINE_MODULE_REF) return true;
    tine_fail(task, "%s(): %s must be a module, not %s", task->callable->name, what,
              tine_kind_name(v->kind));
    return false;
}

static void *bilstm_init(tine_task *task) {
    const tine_value *f = tine_arg(task, 0), *b = tine_arg(task, 1);
    if (!is_module(task, f, "cell_f") || !is_module(task, b, "cell_b")) return NULL;
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

/* output, _ = result of an lstm */
static const tine_value *output_of(tine_task *task, const tine_value *result) {
    if (!result) return NULL;
    const tine_value *output = result->kind == TINE_LIST ? tine_at(result, 0) : result;
    if (output && output->kind == TINE_TENSOR) return output;
    tine_fail(task, "%s(): a cell returned no output tensor", task->callable->name);
    return NULL;
}

static tine_value *backward_output(tine_task *task, const bilstm *m, const tine_value *x) {
    const int64_t dims[] = {0};
    tine_value *x_rev = tine_flip(task, x, dims, 1);
    const tine_value *output_b = output_of(task, tine_call(m->cell_b, x_rev));
    return output_b ? tine_flip(task, output_b, dims, 1) : NULL;
}

static tine_value *concatenated(tine_task *task, const tine_value *output_f,
                                tine_value *output_b_rev) {
    if (!output_f || !output_b_rev) return NULL;
    return tine_cat(task, (tine_value *[]){(tine_value *)output_f, output_b_rev}, 2, -1);
}

static tine_value *bilstm_forward(tine_task *task) {
    const bilstm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    tine_value *result_f = NULL;
    if (!x) return NULL;
    /* The forward layer, forked: it can run in parallel to the backward one. */
    tine_future *future_f = tine_fork(m->cell_f, x);
    tine_value *output_b_rev = backward_output(task, m, x);
    if (!output_b_rev || tine_wait(future_f, &result_f) != TINE_OK) return NULL;
    return concatenated(task, output_of(task, result_f), output_b_rev);
}

static tine_value *bilstm_serial(tine_task *task) {
    const bilstm *m = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    if (!x) return NULL;
    const tine_value *output_f = output_of(task, tine_call(m->cell_f, x));
    return output_f ? concatenated(task, output_f, backward_output(task, m, x)) : NULL;
}

static const tine_class bilstm_class = {
    .name = "bilstm",
    .parameters = "cell_f, cell_b",
    .init = bilstm_init,
    .fini = bilstm_fini,
    .methods = (const tine_method[]){{"forward", "x", bilstm_forward, TINE_REPEATABLE},
                                     {"forward_serial", "x", bilstm_serial, TINE_REPEATABLE},
                                     {0}},
};
TINE_CLASS(bilstm_class)

/* ---- ensemble ---- */

static void *ensemble_init(tine_task *task) {
    const tine_value *models = tine_arg(task, 0);
    if (models->kind != TINE_LIST || models->list.n == 0)
        return tine_fail(task,
                         "ensemble(): argument 'models' must be a list of at least one module");
    for (size_t i = 0; i < models->list.n; i++)
        if (!is_module(task, models->list.items[i], "each of models")) return NULL;
    return tine_ref(models);
}

static void ensemble_fini(void *self) { tine_value_unref(self); }

/* torch.stack(results).sum(dim=0) */
static tine_value *summed(tine_value *results) {
    return tine_call("sum", tine_call("stack", results), tine_kw("dim", 0));
}

static tine_value *ensemble_each(tine_task *task, const char *method) {
    const tine_value *models = tine_self(task);
    size_t n = models->list.n, made = 0;
    tine_value **results = calloc(n, sizeof *results), *all = NULL;
    if (!results) return tine_fail(task, "ensemble: no memory");
    for (; made < n; made++)
        if (!(results[made] =
                  tine_call_method(models->list.items[made], method, tine_arg(task, 0))))
            break;
    if (made == n) all = summed(tine_list_of(results, n));
    free(results);
    return all;
}

static tine_value *ensemble_serial(tine_task *task) {
    return ensemble_each(task, "forward_serial");
}
static tine_value *ensemble_directions(tine_task *task) { return ensemble_each(task, "forward"); }

static tine_value *ensemble_forward(tine_task *task) {
    const tine_value *models = tine_self(task);
    size_t n = models->list.n;
    tine_future **futures = calloc(n, sizeof *futures);
    tine_value **results = calloc(n, sizeof *results), *all = NULL;
    if (!futures || !results) {
        tine_fail(task, "ensemble: no memory");
        goto out;
    }
    for (size_t i = 0; i < n; i++) futures[i] = tine_fork(models->list.items[i], tine_arg(task, 0));
    if (tine_wait_all(futures, n, results) == TINE_OK) all = summed(tine_list_of(results, n));
out:
    free(futures);
    free(results);
    return all;
}

static const tine_class ensemble_class = {
    .name = "ensemble",
    .parameters = "models",
    .init = ensemble_init,
    .fini = ensemble_fini,
    .methods =
        (const tine_method[]){{"forward", "x", ensemble_forward, TINE_REPEATABLE},
                              {"forward_directions", "x", ensemble_directions, TINE_REPEATABLE},
                              {"forward_serial", "x", ensemble_serial, TINE_REPEATABLE},
                              {0}},
};
TINE_CLASS(ensemble_class)
