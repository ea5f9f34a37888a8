/* The tutorial's modules on workers: each of its three steps gives PyTorch's answer, and the same
 * bits. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/golden.h"
#include "tests/support/traces.h"

static tine_value *tensor(const struct tine_golden *g, const char *name) {
    size_t shape[4];
    const float *data = tine_golden_tensor(g, name, shape);
    cr_assert_not_null(data, "%s", name);
    int rank = shape[2] > 1 ? 3 : shape[1] > 1 ? 2 : 1;
    return tine_tensor(TINE_F32, rank,
                       (int64_t[]){(int64_t)shape[0], (int64_t)shape[1], (int64_t)shape[2]}, data);
}

static tine_value *cell(const struct tine_golden *g, int model, const char *tag, int64_t channels) {
    static const char *const names[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"};
    tine_value *weights[4];
    char name[80];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "models.%d.%s.%s", model, tag, names[i]);
        weights[i] = tensor(g, name);
    }
    tine_value *state = tine_dict_of(names, weights, 4);
    tine_value *module = tine_module("lstm", channels, channels, tine_kw("state_dict", state));
    cr_assert_not_null(module, "%s", tine_error_message());
    tine_release(state);
    for (int i = 0; i < 4; i++) tine_release(weights[i]);
    return module;
}

static void same_answer(const char *endpoint, int workers) {
    struct tine_golden *g = tine_golden_open("ensemble_small");
    cr_assert_not_null(g);
    cluster_start(endpoint, workers);
    int64_t channels = (int64_t)tine_golden_number(g, "input_size");
    int n = (int)tine_golden_number(g, "n_models");
    tine_value *models[16];
    cr_assert(n > 1 && n <= 16);
    for (int i = 0; i < n; i++) {
        tine_value *f = cell(g, i, "cell_f", channels), *b = cell(g, i, "cell_b", channels);
        models[i] = tine_module("bilstm", f, b);
        tine_release(f), tine_release(b);
    }
    tine_value *list = tine_list_of(models, (size_t)n), *ensemble = tine_module("ensemble", list);
    tine_value *x = tensor(g, "input"), *wanted = tensor(g, "output"), *put = tine_put(x);
    tine_value *serial = cluster_take(tine_fork_method(ensemble, "forward_serial", x));
    tine_value *directions = cluster_take(tine_fork_method(ensemble, "forward_directions", put));
    tine_value *all = cluster_take(tine_fork(ensemble, put));
    cr_assert(tine_equal(serial, directions) && tine_equal(serial, all));
    for (int64_t i = 0; i < tine_elements(wanted); i++)
        cr_assert_lt(
            fabsf(((const float *)tine_data(all))[i] - ((const float *)tine_data(wanted))[i]),
            1e-5f);
    tine_value *const made[] = {serial, directions, all, x, wanted, put, list, ensemble};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) tine_release(made[i]);
    for (int i = 0; i < n; i++) tine_release(models[i]);
    cluster_stop();
    tine_golden_close(g);
}

Test(modules, the_ensemble_on_one_worker, .timeout = 60) { same_answer(NULL, 1); }
TRANSPORT_TEST(modules, the_ensemble, 60) { same_answer(endpoint, 2); }

/* Then the only fork has not run. */
Test(modules, a_pair_s_forward_half_is_written_where_the_pair_is, .timeout = 60) {
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    close(mkstemp(path));
    cluster_start(NULL, 1);
    tine_value *x = tine_call("tine.rand", tine_list(7, 3, 12)),
               *pair = tine_module("bilstm", 12, 20, tine_kw("seed", 1));
    tine_value *serial = cluster_take(tine_fork_method(pair, "forward_serial", x));
    cr_assert_eq(tine_trace_start(), TINE_OK, "%s", tine_error_message());
    tine_value *forked = cluster_take(tine_fork(pair, x));
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    cr_expect(tine_equal(forked, serial));
    tine_value *const made[] = {x, pair, serial, forked};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) tine_release(made[i]);
    cluster_stop();
    trace t = trace_read(path);
    unlink(path);
    size_t forks = 0, tasks = 0, kernels = 0;
    for (size_t i = 0; i < t.n_slices; i++) {
        forks += strcmp(t.slices[i].name, "fork tine.lstm") == 0;
        tasks += strcmp(t.slices[i].name, "tine.lstm") == 0;
        kernels += strcmp(t.slices[i].name, "lstm") == 0;
    }
    cr_expect(forks == 1 && tasks == 0 && kernels == 2, "%zu %zu %zu", forks, tasks, kernels);
    trace_close(&t);
}

Test(modules, what_is_no_module_is_refused, .timeout = 60) {
    cluster_start(NULL, 1);
    tine_value *m = tine_module("bilstm", "x", 2);
    tine_future *f = tine_fork(m, 1);
    cr_assert_eq(tine_wait(f, NULL), TINE_EFAILED);
    cr_assert(
        strstr(tine_error_message(), "bilstm(): argument 'cell_f' must be a module, not string"),
        "%s", tine_error_message());
    tine_release(f), tine_release(m);
    m = tine_module("ensemble", "x");
    f = tine_fork(m, 1);
    cr_assert_neq(tine_wait(f, NULL), TINE_OK);
    cr_assert(strstr(tine_error_message(),
                     "ensemble(): argument 'models' must be a list of at least one module"),
              "%s", tine_error_message());
    tine_release(f), tine_release(m);
    tine_value *list = tine_list(1);
    m = tine_module("ensemble", list);
    f = tine_fork(m, 1);
    cr_assert_neq(tine_wait(f, NULL), TINE_OK);
    cr_assert(strstr(tine_error_message(),
                     "ensemble(): argument 'models' must hold modules, but item 0 is int"),
              "%s", tine_error_message());
    tine_release(f), tine_release(m), tine_release(list);
    cluster_stop();
}

/* The first item of what an lstm returns. */
static const tine_value *first_output(const tine_value *result) {
    cr_assert_not_null(result, "%s", tine_error_message());
    return tine_at(result, 0);
}

/* Takes x, of 12 columns. hidden: of the forward and of the backward cell. */
static void expect_composition(const char *class, const char *dtype, bool batch_first,
                               tine_value *x, const int64_t hidden[2]) {
    tine_value *cells[2], *models[3];
    for (int i = 0; i < 2; i++) {
        cells[i] = tine_module(class, 12, hidden[i], tine_kw("batch_first", batch_first),
                               tine_kw("dtype", dtype), tine_kw("seed", i + 1));
        cr_assert_not_null(cells[i], "%s", tine_error_message());
    }
    tine_value *forward = tine_call(cells[0], x);
    tine_value *flipped = tine_call("tine.flip", x, tine_kw("dims", 0));
    tine_value *backward = tine_call(cells[1], flipped);
    tine_value *back =
        tine_call("tine.flip", (tine_value *)first_output(backward), tine_kw("dims", 0));
    tine_value *pair = tine_list((tine_value *)first_output(forward), back);
    tine_value *wanted = tine_call("tine.cat", pair, tine_kw("dim", -1));
    tine_value *bilstm = tine_module("bilstm", cells[0], cells[1]);
    tine_value *got = tine_call(bilstm, x);
    cr_assert(got && tine_equal(got, wanted), "%s %s %d", class, dtype, batch_first);
    cr_assert_eq(tine_shape(got)[0], 7);
    cr_assert_eq(tine_shape(got)[tine_rank(got) - 1], hidden[0] + hidden[1]);
    for (int i = 0; i < 3; i++) models[i] = bilstm;
    tine_value *list = tine_list_of(models, 3), *outputs[] = {wanted, wanted, wanted};
    tine_value *ensemble = tine_module("ensemble", list), *all = tine_list_of(outputs, 3);
    tine_value *stacked = tine_call("tine.stack", all);
    tine_value *sum = tine_call("tine.sum", stacked, tine_kw("dim", 0));
    tine_value *summed = tine_call(ensemble, x);
    cr_assert(summed && tine_equal(summed, sum), "%s %s %d", class, dtype, batch_first);
    tine_value *const made[] = {x,        cells[0], cells[1], forward, flipped, backward,
                                back,     pair,     wanted,   bilstm,  got,     list,
                                ensemble, all,      stacked,  sum,     summed};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) tine_release(made[i]);
}

/* The modules spare copies: the bits are those of the tutorial's own operations. */
Test(modules, are_the_tutorials_operations_bit_for_bit, .timeout = 60) {
    cluster_start(NULL, 1);
    static const char *const classes[] = {"lstm", "gru"}, *const dtypes[] = {"f32", "bf16", "int8"};
    const int64_t same[] = {20, 20}, other[] = {16, 20};
    for (int i = 0; i < 12; i++)
        expect_composition(classes[i & 1], dtypes[i / 2 % 3], i / 6,
                           tine_call("tine.rand", tine_list(7, 3, 12)), same);
    expect_composition("lstm", "f32", false, tine_call("tine.rand", tine_list(7, 3, 12)), other);
    expect_composition("gru", "f32", false, tine_call("tine.rand", tine_list(7, 12)), same);
    expect_composition("lstm", "bf16", false, tine_full(TINE_BF16, 3, TINE_SHAPE(7, 3, 12), 0.5),
                       same);
    expect_composition("lstm", "f32", false, tine_call("tine.rand", tine_list(7, 0, 12)), same);
    cluster_stop();
}
