/* What lstm.h states about calls: threads that share an LSTM, the arrays, sizes and configurations
 * that are refused, the names of weights, and the profile. */
#include <pthread.h>

#include "tests/support/guard.h"
#include "tests/support/lstm_reference.h"

struct share {
    struct tine_lstm *lstm;
    struct data data;
};

static void *run_shared(void *arg) {
    struct share *share = arg;
    for (int i = 0; i < 20; i++) forward(share->lstm, &share->data);
    return NULL;
}

Test(lstm, threads_share_an_lstm, .timeout = 60) {
    enum { T = 10, B = 5 };
    struct tine_lstm_config config = {
        .input_size = 30, .hidden_size = 50, .num_layers = 2, .bias = true};
    struct model m = make_model(config);
    struct share shares[3];
    struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    struct data want = make_data(&m, T, B, true);
    forward(lstm, &want);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        shares[i] = (struct share){lstm, want};
        shares[i].data.y = malloc(T * B * 50 * sizeof(float));
        shares[i].data.hn = shares[i].data.cn = NULL;
        pthread_create(&threads[i], NULL, run_shared, &shares[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        cr_expect(!memcmp(shares[i].data.y, want.y, T * B * 50 * sizeof(float)));
        free(shares[i].data.y);
    }
    tine_lstm_free(lstm);
    free_data(&want);
    free_model(&m);
}

/* ---- bounds and refusals ---- */

static void check_bounds(enum tine_isa isa, enum tine_lstm_type type) {
    enum { T = 5, B = 3, I = 7, H = 19 };
    struct tine_lstm_config config = {
        .input_size = I, .hidden_size = H, .bias = true, .isa = isa, .type = type};
    struct tine_guard x = tine_guard_alloc(T * B * I * 4, true),
                      y = tine_guard_alloc(T * B * H * 4, true);
    struct tine_guard h = tine_guard_alloc(B * H * 4, true), c = tine_guard_alloc(B * H * 4, true),
                      w[4];
    const float *weights[4];
    for (int k = 0; k < 4; k++) {
        size_t rows, columns;
        char name[40];
        tine_lstm_weight_info(&config, (size_t)k, name, &rows, &columns);
        w[k] = tine_guard_alloc(rows * (columns ? columns : 1) * 4, true);
        weights[k] = w[k].data;
    }
    struct tine_lstm *lstm;
    cr_assert_eq(tine_lstm_create(&config, weights, &lstm), TINE_KERNEL_OK);
    cr_assert_eq(
        tine_lstm_forward(lstm, NULL, T, B, x.data, h.data, c.data, y.data, h.data, c.data),
        TINE_KERNEL_OK);
    tine_lstm_free(lstm);
    for (int k = 0; k < 4; k++) tine_guard_free(&w[k]);
    tine_guard_free(&x), tine_guard_free(&y), tine_guard_free(&h), tine_guard_free(&c);
}

Test(lstm, touches_nothing_beyond_its_arrays, .timeout = 60) {
    for (int i = TINE_ISA_PORTABLE; i < TINE_ISA_COUNT; i++)
        for (int type = TINE_LSTM_F32; type <= TINE_LSTM_INT8 && !skipped((enum tine_isa)i); type++)
            check_bounds((enum tine_isa)i, (enum tine_lstm_type)type);
}

Test(lstm, bad_configurations_are_refused, .timeout = 10) {
    const struct tine_lstm_config bad[] = {
        {.input_size = 0, .hidden_size = 4},
        {.input_size = 4, .hidden_size = 0},
        {.input_size = 4, .hidden_size = 4, .proj_size = 4},
        {.input_size = 4, .hidden_size = 4, .reverse = true, .bidirectional = true},
        {.input_size = (size_t)-1, .hidden_size = 4},
        {.input_size = 4, .hidden_size = 4, .num_layers = (size_t)-1},
        {.input_size = 4, .hidden_size = 4, .type = (enum tine_lstm_type)9},
        {.input_size = 4, .hidden_size = 4, .isa = TINE_ISA_COUNT},
    };
    const float *none[8] = {NULL};
    struct tine_lstm *lstm = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_not_null(tine_lstm_config_defect(&bad[i]));
        cr_expect_eq(tine_lstm_create(&bad[i], none, &lstm), TINE_KERNEL_ARGUMENT);
    }
    cr_expect_null(lstm);
}

Test(lstm, sizes_past_the_address_space_are_refused, .timeout = 10) {
    struct tine_lstm_config config = {.input_size = 3, .hidden_size = 5, .bias = true};
    struct model m = make_model(config);
    struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, TINE_LSTM_F32);
    const size_t huge = (size_t)1 << 62;
    float y = 5;
    cr_expect_eq(tine_lstm_forward(lstm, NULL, huge, 1, &y, NULL, NULL, &y, NULL, NULL),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(tine_lstm_forward(lstm, NULL, 1, huge, &y, NULL, NULL, &y, NULL, NULL),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(tine_lstm_forward(lstm, NULL, (size_t)1 << 33, (size_t)1 << 33, &y, NULL, NULL, &y,
                                   NULL, NULL),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(y, 5);
    tine_lstm_free(lstm);
    free_model(&m);
}

Test(lstm, weights_are_named_as_in_torch, .timeout = 10) {
    struct tine_lstm_config config = {.input_size = 3,
                                      .hidden_size = 5,
                                      .num_layers = 2,
                                      .bias = true,
                                      .bidirectional = true,
                                      .proj_size = 2};
    char name[40];
    size_t rows, columns;
    cr_expect_eq(tine_lstm_weight_count(&config), 20);
    cr_expect(tine_lstm_weight_info(&config, 0, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_ih_l0") && rows == 20 && columns == 3);
    cr_expect(tine_lstm_weight_info(&config, 6, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_hh_l0_reverse") && rows == 20 && columns == 2);
    cr_expect(tine_lstm_weight_info(&config, 19, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_hr_l1_reverse") && rows == 2 && columns == 5);
    cr_expect(tine_lstm_weight_info(&config, 10, name, &rows, &columns));
    cr_expect(!strcmp(name, "weight_ih_l1") && columns == 4);
    cr_expect_not(tine_lstm_weight_info(&config, 20, name, &rows, &columns));
    cr_expect_eq(tine_lstm_flops(&config, 1, 1), 2.0 * 2 * ((20 * 5 + 10) + (20 * 6 + 10)));
}

Test(lstm, a_profile_adds_up_and_changes_no_bit, .timeout = 10) {
    enum { STEPS = 4, BATCH = 3, C = 40 };
    struct tine_lstm_config config = {.input_size = C, .hidden_size = C, .proj_size = 7};
    struct model m = make_model(config);
    float *x = random_values((size_t)STEPS * BATCH * C, 1), y[2][STEPS * BATCH * 7];
    for (int type = TINE_LSTM_F32; type <= TINE_LSTM_INT8; type++) {
        struct tine_lstm *lstm = create(&m, TINE_ISA_AUTO, (enum tine_lstm_type)type);
        struct tine_lstm_workspace *space;
        double phases[TINE_LSTM_PHASES] = {0}, before;
        cr_assert_eq(tine_lstm_workspace_create(&space), TINE_KERNEL_OK);
        for (int i = 0; i < 2; i++) {
            tine_lstm_workspace_profile(space, i ? phases : NULL);
            cr_assert_eq(
                tine_lstm_forward(lstm, space, STEPS, BATCH, x, NULL, NULL, y[i], NULL, NULL), 0);
        }
        cr_expect_arr_eq(y[0], y[1], sizeof y[0]);
        for (int i = TINE_LSTM_INPUT; i < TINE_LSTM_PHASES; i++)
            cr_expect_gt(phases[i], 0, "phase %d", i);
        before = phases[TINE_LSTM_GATES];
        tine_lstm_forward(lstm, space, STEPS, BATCH, x, NULL, NULL, y[0], NULL, NULL);
        cr_expect_gt(phases[TINE_LSTM_GATES], before, "a second forward adds to the first");
        before = phases[TINE_LSTM_GATES];
        tine_lstm_workspace_profile(space, NULL);
        tine_lstm_forward(lstm, space, STEPS, BATCH, x, NULL, NULL, y[0], NULL, NULL);
        cr_expect_eq(phases[TINE_LSTM_GATES], before);
        tine_lstm_workspace_free(space);
        tine_lstm_free(lstm);
    }
    free(x);
    free_model(&m);
}
