/* The tutorial's ensemble of bidirectional LSTMs, small: models are forked, and each forks its
 * forward cell.
 *
 *     $ build/03_ensemble
 *     4 models, output 6 x 2 x 16, the same bits when computed here: yes */
#include <stdio.h>

#include "runtime/tine.h"

enum { MODELS = 4, T = 6, B = 2, C = 8 };

/* stack(results).sum(dim=0) */
static tine_value *total(tine_value **results) {
    tine_value *list = tine_list_of(results, MODELS);
    tine_value *stacked = tine_call("stack", list);
    tine_value *sum = tine_call("sum", stacked, tine_kw("dim", 0));
    tine_release(stacked);
    tine_release(list);
    for (int i = 0; i < MODELS; i++) tine_release(results[i]);
    return sum;
}

static tine_value *forked(tine_value **models, tine_value *x) {
    tine_future *futures[MODELS];
    tine_value *results[MODELS] = {NULL};
    for (int i = 0; i < MODELS; i++) futures[i] = tine_fork(models[i], x);
    tine_wait_all(futures, MODELS, results);
    for (int i = 0; i < MODELS; i++) tine_release(futures[i]);
    return total(results);
}

static tine_value *one_by_one(tine_value **models, tine_value *x) {
    tine_value *results[MODELS];
    for (int i = 0; i < MODELS; i++) results[i] = tine_call(models[i], x);
    return total(results);
}

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    tine_value *models[MODELS];
    /* Modules: their weights, here initial ones, travel to a worker once, with the first call. */
    for (int i = 0; i < MODELS; i++) models[i] = tine_module("bilstm", C, C, tine_kw("seed", i));
    tine_value *x = tine_call("rand", T, B, C);
    tine_value *a = forked(models, x), *b = one_by_one(models, x);
    int failed = !a || !b;
    if (!failed) {
        const int64_t *shape = tine_shape(a);
        printf("%d models, output %d x %d x %d, the same bits when computed here: %s\n", MODELS,
               (int)shape[0], (int)shape[1], (int)shape[2], tine_equal(a, b) ? "yes" : "no");
    } else {
        fprintf(stderr, "%s\n", tine_error_message());
    }
    tine_release(b);
    tine_release(a);
    tine_release(x);
    for (int i = 0; i < MODELS; i++) tine_release(models[i]);
    return tine_shutdown() || failed;
}
