/* The class "lstm" as torch.nn.LSTM: every reference case through its constructor and forward, and
 * PyTorch's sentences for what is wrong. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/lstm.h"
#include "tests/support/golden.h"
#include "workers/builtin/builtin.h"

static tine_pool pool;
static void open_pool(void) { tine_current.pool = &pool; }
static void close_pool(void) {
    tine_current.pool = NULL;
    tine_pool_drain(&pool);
}
TestSuite(lstm, .init = open_pool, .fini = close_pool);
#define test(name) Test(lstm, name, .timeout = 60)

typedef struct model {
    struct tine_lstm_config config;
    tine_value *state; /* state_dict */
    void *self;
    const tine_class_entry *class;
} model;

static tine_value *golden_tensor(const struct tine_golden *g, const char *name, int rank) {
    size_t shape[4];
    int64_t sizes[4];
    const float *data = tine_golden_tensor(g, name, shape);
    if (!data) return NULL;
    for (int i = 0; i < 4; i++) sizes[i] = (int64_t)shape[i];
    return tine_tensor(TINE_F32, rank, sizes, data);
}

static tine_value *state_dict(const struct tine_golden *g, const struct tine_lstm_config *c,
                              size_t leave_out) {
    enum { MOST = 64 };
    static char text[MOST][40];
    const char *names[MOST];
    tine_value *items[MOST];
    size_t n = 0, rows, columns, all = tine_lstm_weight_count(c);
    for (size_t i = 0; i < all; i++) {
        if (i == leave_out) continue;
        tine_lstm_weight_info(c, i, text[i], &rows, &columns);
        names[n] = text[i];
        items[n++] = golden_tensor(g, text[i], columns ? 2 : 1);
    }
    return tine_dict_of(names, items, n);
}

static tine_error init_args(model *m, const tine_argument *args, size_t n) {
    tine_arguments a = {0};
    m->class = tine_registry_class("lstm");
    tine_error e = tine_arguments_make(&a, args, n);
    if (e == TINE_OK) e = tine_call_init(m->class, &a, NULL, &m->self);
    tine_arguments_fini(&a);
    return e;
}
#define init(m, ...) init_args(m, TINE_ARGS_(__VA_ARGS__))

static tine_value *forward_args(model *m, const tine_argument *args, size_t n) {
    tine_arguments a = {0};
    tine_value *out = NULL;
    if (tine_arguments_make(&a, args, n) == TINE_OK)
        tine_call_run(tine_class_method(m->class, "forward"), m->self, 0, &a, NULL, &out);
    tine_arguments_fini(&a);
    if (out) tine_pool_adopt(&out->handle);
    return out;
}
#define forward(m, ...) forward_args(m, TINE_ARGS_(__VA_ARGS__))

static void model_open(model *m, const struct tine_golden *g) {
    struct tine_lstm_config *c = &m->config;
    *c = (struct tine_lstm_config){.input_size = tine_golden_number(g, "input_size"),
                                   .hidden_size = tine_golden_number(g, "hidden_size"),
                                   .num_layers = tine_golden_number(g, "num_layers"),
                                   .proj_size = tine_golden_number(g, "proj_size"),
                                   .bias = tine_golden_flag(g, "bias"),
                                   .batch_first = tine_golden_flag(g, "batch_first"),
                                   .bidirectional = tine_golden_flag(g, "bidirectional")};
    tine_value *state = state_dict(g, c, SIZE_MAX);
    tine_error e =
        init(m, c->input_size, c->hidden_size, c->num_layers, c->bias,
             tine_kw("batch_first", c->batch_first), tine_kw("bidirectional", c->bidirectional),
             tine_kw("proj_size", c->proj_size), tine_kw("state_dict", state));
    cr_assert_eq(e, TINE_OK, "%s", tine_error_message());
}

static void model_close(model *m) { m->class->class->fini(m->self); }

static double largest_error(const tine_value *a, const tine_value *b) {
    double most = 0;
    cr_assert_eq(tine_rank(a), tine_rank(b));
    for (int i = 0; i < tine_rank(a); i++) cr_assert_eq(tine_shape(a)[i], tine_shape(b)[i]);
    for (int64_t i = 0; i < tine_elements(a); i++)
        most = fmax(most, fabs((double)((const float *)tine_data(a))[i] -
                               (double)((const float *)tine_data(b))[i]));
    return most;
}

test(every_reference_case) {
    static const char *const cases[] = {"lstm_basic",         "lstm_state",       "lstm_one_step",
                                        "lstm_odd_sizes",     "lstm_no_bias",     "lstm_two_layers",
                                        "lstm_bidirectional", "lstm_batch_first", "lstm_projection",
                                        "lstm_tile_edges"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tine_golden *g = tine_golden_open(cases[i]);
        cr_assert_not_null(g, "%s", cases[i]);
        model m;
        model_open(&m, g);
        tine_value *h0 = golden_tensor(g, "h0", 3), *c0 = golden_tensor(g, "c0", 3);
        tine_value *hx = h0 ? tine_list(h0, c0) : tine_none();
        tine_value *r = forward(&m, golden_tensor(g, "input", 3), tine_kw("hx", hx));
        cr_assert_not_null(r, "%s: %s", cases[i], tine_error_message());
        const tine_value *states = tine_at(r, 1);
        cr_expect_lt(largest_error(tine_at(r, 0), golden_tensor(g, "output", 3)), 1e-5, "%s",
                     cases[i]);
        cr_expect_lt(largest_error(tine_at(states, 0), golden_tensor(g, "h_n", 3)), 1e-5, "%s",
                     cases[i]);
        cr_expect_lt(largest_error(tine_at(states, 1), golden_tensor(g, "c_n", 3)), 1e-5, "%s",
                     cases[i]);
        model_close(&m);
        tine_golden_close(g);
    }
}

static void expect_error(const tine_value *v, const char *wanted) {
    cr_expect_null(v);
    cr_expect_str_eq(tine_error_message(), wanted);
}

test(an_unbatched_input_gives_unbatched_results) {
    struct tine_golden *g = tine_golden_open("lstm_one_step");
    model m;
    model_open(&m, g);
    tine_value *x = golden_tensor(g, "input", 3),
               *flat = tine_tensor(TINE_F32, 2, (int64_t[]){1, 8}, tine_data(x));
    tine_value *a = forward(&m, x), *b = forward(&m, flat);
    cr_assert_eq(tine_rank(tine_at(b, 0)), 2);
    cr_assert_eq(tine_rank(tine_at(tine_at(b, 1), 1)), 2);
    cr_assert(memcmp(tine_data(tine_at(a, 0)), tine_data(tine_at(b, 0)), 64) == 0);
    model_close(&m);
    tine_golden_close(g);
}

test(wrong_inputs_are_refused_as_pytorch_does) {
    struct tine_golden *g = tine_golden_open("lstm_basic"); /* T, B, I, H = 5, 3, 8, 16 */
    model m;
    model_open(&m, g);
    tine_value *x = golden_tensor(g, "input", 3),
               *h = tine_zeros(TINE_F32, 3, (int64_t[]){1, 3, 16});
    tine_value *h2 = tine_zeros(TINE_F32, 3, (int64_t[]){2, 3, 16}),
               *flat = tine_zeros(TINE_F32, 2, (int64_t[]){1, 16});
    expect_error(forward(&m, tine_zeros(TINE_F32, 1, (int64_t[]){8})),
                 "LSTM: Expected input to be 2D or 3D, got 1D instead");
    expect_error(forward(&m, tine_zeros(TINE_F32, 2, (int64_t[]){5, 7})),
                 "input.size(-1) must be equal to input_size. Expected 8, got 7");
    expect_error(forward(&m, tine_zeros(TINE_F32, 3, (int64_t[]){0, 3, 8})),
                 "Expected sequence length to be larger than 0 in RNN");
    expect_error(forward(&m, x, tine_list(h2, h)),
                 "Expected hidden[0] size (1, 3, 16), got [2, 3, 16]");
    expect_error(forward(&m, x, tine_list(h, h2)),
                 "Expected hidden[1] size (1, 3, 16), got [2, 3, 16]");
    expect_error(forward(&m, x, tine_list(flat, flat)),
                 "For batched 3-D input, hx and cx should also be 3-D but got (2-D, 2-D) tensors");
    expect_error(
        forward(&m, x, h),
        "lstm.forward(): argument 'hx' must be none or a list of two tensors, h_0 and c_0");
    expect_error(forward(&m, tine_zeros(TINE_F64, 2, (int64_t[]){5, 8})),
                 "lstm.forward(): the input must be float32, not float64");
    expect_error(forward(&m, 1), "lstm.forward(): argument 'input' must be tensor, not int");
    model_close(&m);
    tine_golden_close(g);
}

static void refuse_init(tine_error e, const char *wanted) {
    cr_expect_neq(e, TINE_OK);
    cr_expect_str_eq(tine_error_message(), wanted);
}

test(wrong_weights_are_refused_as_pytorch_does) {
    struct tine_golden *g = tine_golden_open("lstm_basic");
    struct tine_lstm_config c = {.input_size = 8, .hidden_size = 16, .num_layers = 1, .bias = true};
    tine_value *all = state_dict(g, &c, SIZE_MAX), *missing = state_dict(g, &c, 1),
               *one = tine_int(1);
    tine_value *odd = tine_dict_of(
        (const char *[]){"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "x"},
        (tine_value *[]){all->list.items[0], all->list.items[1], all->list.items[2],
                         all->list.items[3], one},
        5);
    model m;
#define refuse(text, ...) refuse_init(init(&m, __VA_ARGS__), text)
    refuse(
        "Error(s) in loading state_dict for LSTM: Missing key(s) in state_dict: \"weight_hh_l0\". "
        "Its keys are \"weight_ih_l0\", \"bias_ih_l0\", \"bias_hh_l0\".",
        8, 16, tine_kw("state_dict", missing));
    refuse(
        "Error(s) in loading state_dict for LSTM: Unexpected key(s) in state_dict: \"x\". "
        "Its keys are \"weight_ih_l0\", \"weight_hh_l0\", \"bias_ih_l0\", \"bias_hh_l0\", \"x\".",
        8, 16, tine_kw("state_dict", odd));
    refuse("Error(s) in loading state_dict for LSTM: size mismatch for weight_ih_l0: copying a "
           "param with "
           "shape torch.Size([64, 8]) "
           "from checkpoint, the shape in current model is torch.Size([64, 9]).",
           9, 16, tine_kw("state_dict", all));
    refuse("dropout should be a number in range [0, 1] representing the probability of an element "
           "being zeroed",
           8, 16, tine_kw("dropout", 1.5));
    refuse("lstm(): argument 'state_dict' must be a dict of tensors, not int", 8, 16,
           tine_kw("state_dict", one));
    refuse("lstm(): hidden_size must be at least 1, got 0", 8, 0, tine_kw("state_dict", all));
    refuse("lstm(): argument 'bias' must be a bool, 0 or 1, not 2", 8, 16, 1, 2,
           tine_kw("state_dict", all));
    refuse("lstm(): dtype must be f32, bf16 or int8, not float64", 8, 16, tine_kw("dtype", "f64"),
           tine_kw("state_dict", all));
    cr_expect_neq(init(&m, 8, 16, tine_kw("proj_size", 16), tine_kw("state_dict", all)), TINE_OK);
    cr_expect_neq(init(&m, INT64_MAX, INT64_MAX, tine_kw("state_dict", all)), TINE_OK);
    tine_golden_close(g);
}

test(int8_products_take_float32) {
    struct tine_golden *g = tine_golden_open("lstm_basic");
    struct tine_lstm_config c = {.input_size = 8, .hidden_size = 16, .num_layers = 1, .bias = true};
    model m;
    cr_assert_eq(init(&m, 8, 16, tine_kw("dtype", "int8"),
                      tine_kw("state_dict", state_dict(g, &c, SIZE_MAX))),
                 TINE_OK, "%s", tine_error_message());
    tine_value *x = golden_tensor(g, "input", 3), *wanted = golden_tensor(g, "output", 3);
    const double error = largest_error(tine_at(forward(&m, x), 0), wanted);
    cr_assert(error > 1e-5 && error < 0.02, "%g", error);
    model_close(&m);
    tine_golden_close(g);
}

test(bf16_weights_and_inputs) {
    struct tine_golden *g = tine_golden_open("lstm_basic");
    struct tine_lstm_config c = {.input_size = 8, .hidden_size = 16, .num_layers = 1, .bias = true};
    model m;
    cr_assert_eq(init(&m, 8, 16, tine_kw("dtype", "bf16"),
                      tine_kw("state_dict", state_dict(g, &c, SIZE_MAX))),
                 TINE_OK, "%s", tine_error_message());
    tine_value *x = golden_tensor(g, "input", 3), *wanted = golden_tensor(g, "output", 3);
    tine_value *r = forward(&m, x);
    cr_assert_lt(largest_error(tine_at(r, 0), wanted), 0.02);
    void *data;
    tine_value *narrow = tine_tensor_new(TINE_BF16, 3, tine_shape(x), &data);
    for (int64_t i = 0; i < tine_elements(x); i++)
        ((uint16_t *)data)[i] = tine_bf16_from_float(((const float *)tine_data(x))[i]);
    r = forward(&m, narrow);
    cr_assert_eq(tine_dtype_of(tine_at(r, 0)), TINE_BF16);
    cr_assert_eq(tine_dtype_of(tine_at(tine_at(r, 1), 1)), TINE_BF16);
    model_close(&m);
    tine_golden_close(g);
}
