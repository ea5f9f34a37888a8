/* state_dicts as PyTorch saves them: prefixes, nested classes, the keys that are missing or
 * unexpected, and initial weights where there is none. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/cells.h"

TestSuite(state_dict, .timeout = 60);

/* PyTorch's ensemble of 3 pairs, 6 channels; see tests/golden/make_modules.py. */
static const char path[] = "tests/golden/models/tutorial.safetensors";

static tine_value *load(const char *prefix) {
    tine_value *dict = tine_load(path, prefix);
    cr_assert_not_null(dict, "%s", tine_error_message());
    return dict;
}

/* Everything behind the header of an .npy file. */
static tine_value *npy(const char *name, int rank, const int64_t *shape) {
    void *data;
    tine_value *v = tine_tensor_new(TINE_F32, rank, shape, &data);
    FILE *f = fopen(name, "re");
    cr_assert(f && fseek(f, 128, SEEK_SET) == 0);
    cr_assert_eq(fread(data, sizeof(float), (size_t)tine_elements(v), f), (size_t)tine_elements(v));
    fclose(f);
    return v;
}

static tine_value *input(void) {
    return npy("tests/golden/models/tutorial_x.npy", 3, (int64_t[]){5, 4, 6});
}

static void check_answer(tine_value *module) {
    tine_value *x = input(),
               *y = npy("tests/golden/models/tutorial_y.npy", 3, (int64_t[]){5, 4, 12});
    cr_assert_not_null(module, "%s", tine_error_message());
    tine_value *got = cluster_take(tine_fork(module, x));
    cr_assert_eq(tine_elements(got), tine_elements(y));
    for (int64_t i = 0; i < tine_elements(y); i++)
        cr_assert(fabsf(((const float *)tine_data(got))[i] - ((const float *)tine_data(y))[i]) <=
                  1e-5f);
    tine_release(got), tine_release(x), tine_release(y), tine_release(module);
}

static void refused(tine_value *module, const char *with) {
    tine_value *x = input();
    tine_future *f = tine_fork(module, x);
    cr_expect_neq(tine_wait(f, NULL), TINE_OK);
    cr_expect(strstr(tine_error_message(), with), "\"%s\" does not say \"%s\"",
              tine_error_message(), with);
    tine_release(f), tine_release(x), tine_release(module);
}

TRANSPORT_TEST(state_dict, the_tutorials_ensemble_as_pytorch_saves_it, 60) {
    cluster_start(endpoint, 2);
    tine_value *dict = load(NULL);
    check_answer(tine_module("ensemble", tine_kw("state_dict", dict)));
    check_answer(tine_module("ensemble", 3, 6, 6, tine_kw("state_dict", dict)));
    tine_release(dict);
    cluster_stop();
}

/* One model of the ensemble, by a prefix of tine_load, of tine_module, or found. */
Test(state_dict, a_prefix_is_given_or_found) {
    cluster_start(NULL, 1);
    tine_value *all = load(NULL), *one = load("models.1"), *cell = load("models.1.cell_b."),
               *x = input();
    tine_value *modules[] = {
        tine_module("lstm", 6, 6, tine_kw("state_dict", cell)),
        tine_module("lstm", 6, 6, tine_kw("state_dict", all), tine_kw("prefix", "models.1.cell_b")),
        tine_module("lstm", 6, 6, tine_kw("state_dict", one), tine_kw("prefix", "cell_b.")),
    };
    tine_value *wanted = NULL;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        tine_value *got = cluster_take(tine_fork(modules[i], x));
        cr_expect(!wanted || tine_equal(got, wanted));
        tine_release(wanted), tine_release(modules[i]);
        wanted = got;
    }
    tine_value *const wrapped = tine_dict_of(
        (const char *[]){"net.lstm.weight_ih_l0", "net.lstm.weight_hh_l0", "net.lstm.bias_ih_l0",
                         "net.lstm.bias_hh_l0", "net.fc.weight"},
        (tine_value *[]){(tine_value *)tine_get(cell, "weight_ih_l0"),
                         (tine_value *)tine_get(cell, "weight_hh_l0"),
                         (tine_value *)tine_get(cell, "bias_ih_l0"),
                         (tine_value *)tine_get(cell, "bias_hh_l0"),
                         (tine_value *)tine_get(cell, "weight_hh_l0")},
        5);
    tine_value *found = tine_module("lstm", 6, 6, tine_kw("state_dict", wrapped));
    tine_value *got = cluster_take(tine_fork(found, x));
    cr_expect(tine_equal(got, wanted));
    tine_value *pair = tine_module("bilstm", tine_kw("state_dict", one)),
               *same = tine_module("bilstm", 6, 6, tine_kw("state_dict", all),
                                   tine_kw("prefix", "models.1"));
    tine_value *a = cluster_take(tine_fork(pair, x)), *b = cluster_take(tine_fork(same, x));
    cr_expect(tine_equal(a, b));
    tine_value *const made[] = {got, found, wrapped, wanted, all, one, cell, x, pair, same, a, b};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) tine_release(made[i]);
    cluster_stop();
}

Test(state_dict, keys_that_are_missing_or_unexpected_are_named_with_those_that_exist) {
    cluster_start(NULL, 1);
    tine_value *all = load(NULL), *one = load("models.0"), *cell = load("models.0.cell_f");
    refused(tine_module("lstm", 6, 6, tine_kw("state_dict", all)),
            "the state_dict has weights for it under 6 prefixes: \"models.0.cell_b.\"");
    refused(tine_module("bilstm", tine_kw("state_dict", all)),
            "bilstm(): the state_dict has weights for it under 3 prefixes, the last \"models.2.\"");
    refused(tine_module("lstm", 6, 6, tine_kw("state_dict", all), tine_kw("prefix", "models.7")),
            "Missing key(s) in state_dict: \"weight_ih_l0\", \"weight_hh_l0\", \"bias_ih_l0\", "
            "\"bias_hh_l0\". Its keys are \"models.0.cell_b.");
    refused(tine_module("lstm", 6, 6, 2, tine_kw("state_dict", cell)),
            "Missing key(s) in state_dict: \"weight_ih_l1\", \"weight_hh_l1\", \"bias_ih_l1\", "
            "\"bias_hh_l1\". Its keys are \"bias_hh_l0\", \"bias_ih_l0\", \"weight_hh_l0\", "
            "\"weight_ih_l0\".");
    refused(tine_module("gru", 6, 6, tine_kw("state_dict", cell)),
            "Error(s) in loading state_dict for GRU: size mismatch for weight_ih_l0: copying a "
            "param with shape torch.Size([24, 6]) from checkpoint, the shape in current model is "
            "torch.Size([18, 6]).");
    refused(tine_module("bilstm", 6, 7, tine_kw("state_dict", one)),
            "state_dict for BidirectionalRecurrentLSTM: size mismatch for cell_f.weight_ih_l0");
    refused(tine_module("ensemble", 4, tine_kw("state_dict", all)),
            "state_dict for LSTMEnsemble: Missing key(s) in state_dict: "
            "\"models.3.cell_f.weight_ih_l0\", ");
    refused(tine_module("ensemble", 2, tine_kw("state_dict", all)),
            "Unexpected key(s) in state_dict: \"models.2.cell_b.");
    refused(tine_module("linear", 6, 6, tine_kw("state_dict", cell)),
            "state_dict for Linear: Missing key(s) in state_dict: \"weight\", \"bias\". Unexpected "
            "key(s) in state_dict: \"bias_hh_l0\"");
    refused(tine_module("ensemble", tine_kw("state_dict", all), tine_kw("prefix", "net")),
            "ensemble(): no key of the state_dict begins with \"net\"; it has 24, such as");
    refused(tine_module("bilstm", tine_kw("state_dict", cell)),
            "Missing key(s) in state_dict: \"cell_f.weight_ih_l0\"");
    refused(tine_module("ensemble"),
            "ensemble(): it needs modules, or sizes (n_models, input_size, "
            "hidden_size), or a state_dict");
    refused(tine_module("bilstm", 0, 3), "'cell_f' must be from 1 to 1073741824, not 0");
    refused(tine_module("bilstm", 3, 3, tine_kw("state_dict", 3)),
            "must be a dict of tensors, not int");
    tine_release(all), tine_release(one), tine_release(cell);
    cluster_stop();
}

static double largest(const tine_value *v) {
    double most = 0;
    for (int64_t i = 0; i < tine_elements(v); i++)
        most = fmax(most, fabs((double)((const float *)tine_data(v))[i]));
    return most;
}

/* Without a state_dict: a seed gives the same everywhere, another one others; the weights' range is
 * PyTorch's, seen in a linear layer of the identity. */
TRANSPORT_TEST(state_dict, initial_weights_come_from_a_seed, 60) {
    cluster_start(endpoint, 2);
    const char *const classes[] = {"lstm", "gru", "bilstm", "linear", "embedding"};
    tine_value *x = tine_ones(TINE_F32, 3, (int64_t[]){2, 1, 3});
    for (size_t i = 0; i < 4; i++) {
        tine_value *a = tine_module(classes[i], 3, 4, tine_kw("seed", 7)),
                   *b = tine_module(classes[i], 3, 4, tine_kw("seed", 7)),
                   *c = tine_module(classes[i], 3, 4), *p, *q, *r;
        p = cluster_take(tine_fork(a, x)), q = tine_call(b, x), r = cluster_take(tine_fork(c, x));
        cr_expect(tine_equal(p, q) && !tine_equal(p, r), "%s", classes[i]);
        tine_release(a), tine_release(b), tine_release(c), tine_release(p), tine_release(q),
            tine_release(r);
    }
    enum { N = 100 };
    void *data;
    tine_value *eye = tine_tensor_new(TINE_F32, 2, (int64_t[]){N, N}, &data);
    for (int i = 0; i < N * N; i++) ((float *)data)[i] = i % (N + 1) == 0;
    tine_value *linear = tine_module("linear", N, N, false),
               *w = cluster_take(tine_fork(linear, eye));
    cr_expect(largest(w) <= 0.1 && largest(w) > 0.0999);
    int64_t indices[N];
    for (int i = 0; i < N; i++) indices[i] = i;
    tine_value *embedding = tine_module("embedding", N, N, 3),
               *which = tine_tensor(TINE_I64, 1, (int64_t[]){N}, indices);
    tine_value *rows = cluster_take(tine_fork(embedding, which));
    double sum = 0, squares = 0;
    for (int i = 0; i < N * N; i++)
        sum += ((const float *)tine_data(rows))[i],
            squares += pow((double)((const float *)tine_data(rows))[i], 2);
    cr_expect(fabs(sum) / N / N < 0.04 && fabs(squares / N / N - 0.99) < 0.05, "%g %g", sum,
              squares);
    for (int j = 0; j < N; j++) cr_expect_eq(((const float *)tine_data(rows))[3 * N + j], 0);
    tine_value *const made[] = {x, eye, linear, w, embedding, which, rows};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) tine_release(made[i]);
    cluster_stop();
}

Test(state_dict, what_modules_do_not_take_is_refused) {
    cluster_start("inproc://refused", 1);
    tine_value *x = input(), *i = tine_full(TINE_I64, 1, (int64_t[]){2}, 9), *m;
#define CALL_REFUSED(module, argument, with)                                                       \
    m = module;                                                                                    \
    cr_expect_null(tine_call(m, argument));                                                        \
    cr_expect(strstr(tine_error_message(), with), "%s", tine_error_message());                     \
    tine_release(m)
    CALL_REFUSED(tine_module("embedding", 9, 3), i,
                 "index out of range in self: 9, where num_embeddings is 9");
    CALL_REFUSED(tine_module("embedding", 9, 3), x,
                 "must be an int64 or int32 tensor, not float32");
    CALL_REFUSED(tine_module("embedding", 9, 3, 9), i,
                 "'padding_idx' must be within num_embeddings=9, not 9");
    CALL_REFUSED(tine_module("linear", 5, 3), x, "have a last dimension of in_features=5, not 6");
    CALL_REFUSED(tine_module("linear", 0, 3), x, "'in_features' must be from 1 to 2^30, not 0");
    CALL_REFUSED(tine_module("layer_norm", 5), x, "have normalized_shape as its last 1 dimension");
    CALL_REFUSED(tine_module("dropout", 1.5), x,
                 "dropout probability has to be between 0 and 1, but got 1.5");
    CALL_REFUSED(tine_module("sequential", 1), x,
                 "must hold modules and names of functions, but item 0 is int");
    CALL_REFUSED(tine_module("sequential", "relu", "nothing"), x, "nothing");
    tine_value *gru = tine_module("gru", 6, 2);
    struct {
        tine_value *lengths;
        const char *with;
    } const cases[] = {
        {tine_list(1, 2, 3),
         "Expected `len(lengths)` to be equal to batch_size, but got 3 (batch_size=4)"},
        {tine_list(1, 2, 0, 4), "Length of all samples has to be greater than 0"},
        {tine_list(1, 2, 6, 4), "a length of 6 is more than the input's 5 steps"},
        {tine_list(1, 2, "x", 4), "hold ints, but item 2 is string"},
        {tine_ones(TINE_F32, 1, (int64_t[]){4}), "'lengths' must be a list of ints"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        cr_expect_null(tine_call(gru, x, tine_kw("lengths", cases[k].lengths)));
        cr_expect(strstr(tine_error_message(), cases[k].with), "%s", tine_error_message());
        tine_release(cases[k].lengths);
    }
    cr_expect_null(tine_call(gru, x, tine_kw("hx", x)));
    cr_expect(strstr(tine_error_message(), "Expected hidden size (1, 4, 2), got [5, 4, 6]"), "%s",
              tine_error_message());
    tine_release(gru), tine_release(x), tine_release(i);
    cluster_stop();
}

/* A row of a packed sequence has the bits that it has alone. */
Test(state_dict, a_packed_row_has_the_bits_of_the_row_alone) {
    cluster_start("inproc://packed", 1);
    tine_value *x = tine_call("rand", 7, 5, 6, tine_kw("seed", 3)),
               *m = tine_module("lstm", 6, 20, 2, tine_kw("bidirectional", true));
    const int lengths[5] = {3, 7, 1, 7, 5};
    tine_value *list = tine_list(3, 7, 1, 7, 5), *all = tine_call(m, x, tine_kw("lengths", list));
    tine_release(list);
    cr_assert_not_null(all, "%s", tine_error_message());
    const float *y = tine_data(tine_at(all, 0));
    for (int b = 0; b < 5; b++) {
        void *data;
        tine_value *row = tine_tensor_new(TINE_F32, 3, (int64_t[]){lengths[b], 1, 6}, &data);
        for (int t = 0; t < lengths[b]; t++)
            memcpy((float *)data + 6 * t, (const float *)tine_data(x) + (5 * t + b) * 6,
                   6 * sizeof(float));
        tine_value *alone = tine_call(m, row);
        for (int t = 0; t < 7; t++)
            for (int j = 0; j < 40; j++) {
                float got = y[(5 * t + b) * 40 + j];
                cr_assert_eq(got, t < lengths[b]
                                      ? ((const float *)tine_data(tine_at(alone, 0)))[40 * t + j]
                                      : 0);
            }
        tine_release(row), tine_release(alone);
    }
    tine_release(all), tine_release(m), tine_release(x);
    cluster_stop();
}

Test(state_dict, which_model_a_dict_holds_is_found) {
    tine_cells c;
    tine_value *all = load(NULL), *cell = load("models.2.cell_b"), *one = load("models.0");
    cr_expect_eq(tine_cells_detect(all, &c), TINE_OK);
    cr_expect(c.models == 3 && c.paired && c.config.hidden_size == 6 && !c.config.gru);
    cr_expect_str_eq(tine_cells_class(&c), "ensemble");
    cr_expect_eq(tine_cells_detect(one, &c), TINE_OK);
    cr_expect_str_eq(tine_cells_class(&c), "bilstm");
    cr_expect_eq(tine_cells_detect(cell, &c), TINE_OK);
    cr_expect_str_eq(tine_cells_class(&c), "lstm");
    tine_release(all), tine_release(cell), tine_release(one);
    /* 31: an lstm with two layers, directions, a projection, no bias; 34: a gru; 59: neither */
    const char *const path_modules = "tests/golden/models/modules.safetensors";
    cell = tine_load(path_modules, "31.state");
    cr_expect_eq(tine_cells_detect(cell, &c), TINE_OK);
    cr_expect(c.config.num_layers == 2 && c.config.proj_size == 2 && c.config.bidirectional &&
              !c.config.bias);
    tine_release(cell);
    cell = tine_load(path_modules, "34.state");
    cr_expect_eq(tine_cells_detect(cell, &c), TINE_OK);
    cr_expect_str_eq(tine_cells_class(&c), "gru");
    tine_release(cell);
    cell = tine_load(path_modules, "59.state");
    cr_expect_eq(tine_cells_detect(cell, &c), TINE_EINVAL);
    tine_release(cell);
    tine_value *w = tine_ones(TINE_F32, 2, (int64_t[]){4, 4});
    cell =
        tine_dict_of((const char *[]){"weight_ih_l0", "weight_hh_l0"}, (tine_value *[]){w, w}, 2);
    cr_expect_eq(tine_cells_detect(cell, &c), TINE_EINVAL);
    cr_expect(strstr(tine_error_message(), "nn.RNN is not supported"));
    tine_release(w), tine_release(cell);
}
