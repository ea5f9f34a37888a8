/* The LSTM of every kernel against a plain one in double precision, over options and sizes; and
 * what lstm.h states about the bits of a row. */
#include "tests/support/lstm_reference.h"

static const struct {
    struct tine_lstm_config config;
    size_t steps, batch;
    bool state;
} cases[] = {
    {{.input_size = 1, .hidden_size = 1, .bias = true}, 3, 1, false},
    {{.input_size = 3, .hidden_size = 15, .bias = true}, 4, 7, true},
    {{.input_size = 16, .hidden_size = 16}, 4, 6, true},
    {{.input_size = 17, .hidden_size = 17, .bias = true}, 9, 5, false},
    {{.input_size = 33, .hidden_size = 65, .bias = true, .reverse = true}, 5, 3, true},
    {{.input_size = 20, .hidden_size = 31, .num_layers = 3, .bias = true, .batch_first = true},
     6,
     4,
     true},
    {{.input_size = 20, .hidden_size = 32, .num_layers = 2, .bias = true, .bidirectional = true},
     5,
     9,
     true},
    {{.input_size = 9,
      .hidden_size = 40,
      .num_layers = 4,
      .bidirectional = true,
      .batch_first = true,
      .proj_size = 7},
     6,
     3,
     true},
    {{.input_size = 5, .hidden_size = 24, .bias = true, .proj_size = 23}, 7, 2, false},
    {{.input_size = 5, .hidden_size = 24, .bias = true, .proj_size = 1, .batch_first = true},
     7,
     13,
     true},
    {{.input_size = 6, .hidden_size = 10, .bias = true}, 3, 301, true}, /* more rows than a pass */
    {{.input_size = 6, .hidden_size = 10, .bias = true}, 600, 1, true}, /* several chunks */
    {{.input_size = 1100, .hidden_size = 20, .bias = true}, 2, 2, false}, /* k in two blocks */
    {{.input_size = 8, .hidden_size = 16, .bias = true}, 1, 1, false},
};

static void check_cases(enum tine_isa isa) {
    if (skipped(isa)) return;
    static const double bounds[] = {1e-5, 3e-2, 3e-2};
    double worst[3] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int type = TINE_LSTM_F32; type <= TINE_LSTM_INT8; type++) {
            double error = check(cases[i].config, cases[i].steps, cases[i].batch, cases[i].state,
                                 isa, (enum tine_lstm_type)type);
            cr_expect_leq(error, bounds[type], "%s: case %zu in %s is off by %g",
                          tine_isa_name(isa), i, tine_gemm_type_name((enum tine_gemm_type)type),
                          error);
            worst[type] = fmax(worst[type], error);
        }
    fprintf(stderr, "%s differs from double precision by %.2g in f32, %.2g in bf16, %.2g in int8\n",
            tine_isa_name(isa), worst[0], worst[1], worst[2]);
}

#define ROW(ID, name, ...)                                                                         \
    Test(lstm, name, .timeout = 120) { check_cases(TINE_ISA_##ID); }
TINE_ISA_TABLE(ROW)
#undef ROW

Test(lstm, bf16_by_instruction_and_by_rounding_agree, .timeout = 60) {
    struct tine_lstm_config config = {.input_size = 64, .hidden_size = 64, .bias = true};
    if (skipped(TINE_ISA_AVX512_BF16)) return;
    struct model m = make_model(config);
    struct data a = make_data(&m, 10, 5, true), b = a;
    struct tine_lstm *native = create(&m, TINE_ISA_AVX512_BF16, TINE_LSTM_BF16);
    struct tine_lstm *rounded = create(&m, TINE_ISA_PORTABLE, TINE_LSTM_BF16);
    b.y = malloc(10 * 5 * 64 * sizeof *b.y);
    forward(native, &a);
    forward(rounded, &b);
    for (size_t i = 0; i < 10 * 5 * 64; i++) cr_assert_float_eq(a.y[i], b.y[i], 2e-3);
    tine_lstm_free(native), tine_lstm_free(rounded);
    free(b.y);
    free_data(&a);
    free_model(&m);
}

/* The sums are exact and the gates those of AVX-512: the same bits with and without VNNI. */
Test(lstm, int8_with_and_without_vnni_is_the_same, .timeout = 60) {
    struct tine_lstm_config config = {
        .input_size = 70, .hidden_size = 50, .num_layers = 2, .bias = true, .proj_size = 21};
    if (skipped(TINE_ISA_AVX512_VNNI)) return;
    for (int gru = 0; gru < 2; gru++) {
        config.gru = gru;
        if (gru) config.proj_size = 0;
        struct model m = make_model(config);
        const size_t bytes = 10 * 7 * m.width * sizeof(float);
        struct data d = make_data(&m, 10, 7, true);
        struct tine_lstm *vnni = create(&m, TINE_ISA_AVX512_VNNI, TINE_LSTM_INT8),
                         *avx2 = create(&m, TINE_ISA_AVX512, TINE_LSTM_INT8);
        cr_expect_str_eq(tine_lstm_kernel_name(avx2), "gemm_int8_avx2_6x16");
        forward(vnni, &d);
        float *want = memcpy(malloc(bytes), d.y, bytes);
        forward(avx2, &d);
        cr_expect(!memcmp(d.y, want, bytes));
        free(want);
        tine_lstm_free(vnni), tine_lstm_free(avx2);
        free_data(&d);
        free_model(&m);
    }
}

Test(lstm, nothing_to_do_leaves_the_state, .timeout = 10) {
    struct tine_lstm_config config = {
        .input_size = 3, .hidden_size = 5, .bias = true, .bidirectional = true};
    struct model m = make_model(config);
    struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    struct data none = make_data(&m, 0, 4, true), empty = make_data(&m, 4, 0, true);
    forward(lstm, &none);
    cr_expect(!memcmp(none.hn, none.h0, 2 * 4 * 5 * sizeof(float)) &&
              !memcmp(none.cn, none.c0, 2 * 4 * 5 * sizeof(float)));
    forward(lstm, &empty);
    tine_lstm_free(lstm);
    free_data(&none), free_data(&empty);
    free_model(&m);
}

/* A row has the same bits alone, with other rows, in other chunks of time, and in a used
 * workspace. */
static void check_bits(enum tine_isa isa, enum tine_lstm_type type) {
    enum { T = 21, B = 50, I = 19, H = 37 };
    if (skipped(isa)) return;
    struct tine_lstm_config config = {
        .input_size = I, .hidden_size = H, .bias = true, .bidirectional = true};
    struct model m = make_model(config);
    struct tine_lstm *lstm = create(&m, isa, type);
    struct data all = make_data(&m, T, B, false);
    struct tine_lstm_workspace *space;
    cr_assert_eq(tine_lstm_workspace_create(&space), TINE_KERNEL_OK);
    forward(lstm, &all);
    for (size_t rows = 1; rows < B; rows = rows * 3 + 1) {
        for (size_t first = 0; first + rows <= B; first += 11) {
            struct data some = make_data(&m, T, rows, false);
            for (size_t t = 0; t < T; t++)
                memcpy(some.x + t * rows * I, all.x + (t * B + first) * I,
                       rows * I * sizeof(float));
            cr_assert_eq(
                tine_lstm_forward(lstm, space, T, rows, some.x, NULL, NULL, some.y, NULL, NULL),
                TINE_KERNEL_OK);
            for (size_t t = 0; t < T; t++)
                cr_assert(!memcmp(some.y + t * rows * 2 * H, all.y + (t * B + first) * 2 * H,
                                  rows * 2 * H * sizeof(float)),
                          "%s: %zu rows from %zu differ at step %zu", tine_lstm_kernel_name(lstm),
                          rows, first, t);
            free_data(&some);
        }
    }
    tine_lstm_workspace_free(space);
    tine_lstm_free(lstm);
    free_data(&all);
    free_model(&m);
}

/* OpenBLAS chooses its method by the number of rows, so its bits depend on it. */
Test(lstm, a_rows_bits_do_not_depend_on_its_batch, .timeout = 120) {
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        if (isa == TINE_ISA_OPENBLAS) continue;
        for (int type = TINE_LSTM_F32; type <= TINE_LSTM_INT8; type++)
            check_bits(isa, (enum tine_lstm_type)type);
    }
}

/* reverse is the flip of the input and of the output, bit for bit; so is a second direction. */
Test(lstm, reverse_is_a_flip, .timeout = 60) {
    enum { T = 30, B = 9, I = 12, H = 20 };
    struct tine_lstm_config config = {.input_size = I, .hidden_size = H, .bias = true};
    struct model m = make_model(config);
    struct tine_lstm *forwards = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    m.config.reverse = true;
    struct tine_lstm *backwards = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    struct data a = make_data(&m, T, B, true), b = make_data(&m, T, B, false);
    for (size_t t = 0; t < T; t++)
        memcpy(b.x + t * B * I, a.x + (T - 1 - t) * B * I, B * I * sizeof(float));
    free(a.h0), free(a.c0);
    a.h0 = a.c0 = NULL;
    forward(forwards, &a);
    forward(backwards, &b);
    for (size_t t = 0; t < T; t++)
        cr_assert(!memcmp(b.y + t * B * H, a.y + (T - 1 - t) * B * H, B * H * sizeof(float)));
    cr_expect(!memcmp(a.hn, b.hn, B * H * sizeof(float)) &&
              !memcmp(a.cn, b.cn, B * H * sizeof(float)));
    tine_lstm_free(forwards), tine_lstm_free(backwards);
    free_data(&a), free_data(&b);
    free_model(&m);
}

/* So is a forward that is told to run the other way, of layers and directions too. Its rows may lie
 * apart, and nothing between them is written. */
Test(lstm, a_reversed_forward_is_a_flip, .timeout = 60) {
    enum { T = 30, B = 9, I = 12, H = 20, APART = 7 };
    for (int kind = 0; kind < 4; kind++) {
        struct tine_lstm_config config = {.input_size = I,
                                          .hidden_size = H,
                                          .bias = true,
                                          .num_layers = kind == 1 ? 2 : 1,
                                          .bidirectional = kind == 2,
                                          .reverse = kind == 3};
        struct model m = make_model(config);
        struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
        struct data a = make_data(&m, T, B, true), b = make_data(&m, T, B, false);
        const size_t width = tine_lstm_output_size(&m.config);
        for (size_t t = 0; t < T; t++)
            memcpy(b.x + t * B * I, a.x + (T - 1 - t) * B * I, B * I * sizeof(float));
        free(a.h0), free(a.c0);
        a.h0 = a.c0 = NULL;
        forward(lstm, &a);
        const size_t stride = width + APART;
        float *apart = malloc(T * B * stride * sizeof *apart);
        for (size_t i = 0; i < T * B * stride; i++) apart[i] = 12345;
        cr_assert_eq(tine_lstm_forward_columns(lstm, NULL, T, B, true, b.x, b.y, width),
                     TINE_KERNEL_OK);
        cr_assert_eq(tine_lstm_forward_columns(lstm, NULL, T, B, true, b.x, apart, stride),
                     TINE_KERNEL_OK);
        for (size_t t = 0; t < T; t++)
            cr_assert(!memcmp(b.y + t * B * width, a.y + (T - 1 - t) * B * width,
                              B * width * sizeof(float)),
                      "kind %d, step %zu", kind, t);
        for (size_t i = 0; i < (size_t)T * B; i++) {
            cr_assert(!memcmp(apart + i * stride, b.y + i * width, width * sizeof(float)));
            for (size_t k = width; k < stride; k++) cr_assert_eq(apart[i * stride + k], 12345);
        }
        free(apart);
        tine_lstm_free(lstm);
        free_data(&a), free_data(&b);
        free_model(&m);
    }
}
