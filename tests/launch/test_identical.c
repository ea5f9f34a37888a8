/* The same program gives the same bits with 1, 2 and 4 workers, over inproc, ipc and tcp: a small
 * ensemble of bidirectional LSTMs with odd sizes, its models forked and in each its forward cell,
 * against the same calls made in one process. */
#include <criterion/criterion.h>

#include "tests/support/cluster.h"

enum { MODELS = 3, STEPS = 7, BATCH = 5, CHANNELS = 33 };

static tine_value *random_tensor(int rank, const int64_t *shape, uint32_t seed, float scale) {
    float *data;
    tine_value *t = tine_tensor_new(TINE_F32, rank, shape, (void **)&data);
    for (int64_t i = 0; i < tine_elements(t); i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = scale * ((float)(seed >> 8) / (float)(1 << 23) - 1);
    }
    return t;
}

static tine_value *make_cell(uint32_t seed) {
    static const char *const names[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"};
    tine_value *weights[4];
    for (uint32_t i = 0; i < 4; i++)
        weights[i] =
            random_tensor(i < 2 ? 2 : 1, (int64_t[]){4 * CHANNELS, CHANNELS}, seed + i, 0.2f);
    tine_value *state = tine_dict_of(names, weights, 4);
    tine_value *cell = tine_module("lstm", CHANNELS, CHANNELS, tine_kw("state_dict", state));
    tine_release(state);
    for (int i = 0; i < 4; i++) tine_release(weights[i]);
    return cell;
}

static tine_value *make_model(uint32_t seed) {
    tine_value *f = make_cell(seed), *b = make_cell(seed + 100),
               *model = tine_module("bilstm", f, b);
    tine_release(f);
    tine_release(b);
    return model;
}

static tine_value *total(tine_value **results) {
    tine_value *list = tine_list_of(results, MODELS), *stack = tine_call("stack", list);
    tine_value *sum = tine_call("sum", stack, tine_kw("dim", 0));
    cr_assert(sum, "%s", tine_error_message());
    tine_release(list);
    tine_release(stack);
    for (int i = 0; i < MODELS; i++) tine_release(results[i]);
    return sum;
}

static void ensemble(const char *endpoint, int workers) {
    cluster_start(endpoint, workers);
    tine_value *models[MODELS], *here[MODELS], *there[MODELS];
    tine_value *x = random_tensor(3, (int64_t[]){STEPS, BATCH, CHANNELS}, 5, 1),
               *input = tine_put(x);
    tine_future *f[MODELS];
    for (uint32_t i = 0; i < MODELS; i++) models[i] = make_model(1000 * i);
    for (int i = 0; i < MODELS; i++) f[i] = tine_fork(models[i], input);
    for (int i = 0; i < MODELS; i++) here[i] = tine_call_method(models[i], "forward_serial", x);
    for (int i = 0; i < MODELS; i++) there[i] = cluster_take(f[i]);
    tine_value *a = total(here), *b = total(there);
    cr_assert(tine_equal(a, b), "the bits differ with %d workers over %s", workers,
              tine_endpoint());
    cr_assert_eq(tine_elements(a), STEPS * BATCH * 2 * CHANNELS);
    tine_release(a);
    tine_release(b);
    for (int i = 0; i < MODELS; i++) tine_release(models[i]);
    tine_release(x);
    tine_release(input);
    cluster_stop();
}

static void with_all_numbers(const char *endpoint) {
    ensemble(endpoint, 1);
    ensemble(endpoint, 2);
    ensemble(endpoint, 4);
}
Test(identical, over_inproc, .timeout = 60) { with_all_numbers("inproc://identical"); }
Test(identical, over_ipc, .timeout = 60) { with_all_numbers(NULL); }
Test(identical, over_tcp, .timeout = 60) { with_all_numbers("tcp://127.0.0.1:0"); }
