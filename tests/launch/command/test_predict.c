/* `tine predict` on the tutorial's ensemble as PyTorch saves it, and on single cells. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/command/npy.h"
#include "tests/support/program.h"

#define GOLDEN "tests/golden/models/"
#define TUTORIAL "$B/tine predict " GOLDEN "tutorial.safetensors --input " GOLDEN "tutorial_x.npy "
#define test(name) Test(predict, name, .timeout = 60)

static void expect(const char *line, int code, const char *out, const char *error) {
    /* on a busy machine a worker may join late, which the log says */
    tine_program p = tine_program_run(40, "export TINE_LOG_LEVEL=error; %s", line);
    cr_expect_eq(p.code, code, "%s: exit code %d\n%s", line, p.code, p.error);
    cr_expect(strstr(p.out, out), "%s: no \"%s\" in:\n%s", line, out, p.out);
    cr_expect(strstr(p.error, error), "%s: no \"%s\" in:\n%s", line, error, p.error);
    if (!*error) cr_expect_str_eq(p.error, "");
    tine_program_fini(&p);
}

static char out[80];
static void path_make(const char *ending) {
    snprintf(out, sizeof out, "/tmp/tine-predict-%d%s", (int)getpid(), ending);
}

/* The result of a command line, to which --output is added. */
static tine_value *result_of(const char *line) {
    char full[400];
    path_make(".npy");
    snprintf(full, sizeof full, "%s --output %s", line, out);
    expect(full, 0, "throughput", "");
    tine_value *v = tine_npy_load(out);
    cr_assert_not_null(v, "%s", tine_error_message());
    cr_assert_eq(unlink(out), 0);
    return v;
}

static double largest_error(const tine_value *a, const tine_value *b) {
    double most = 0;
    cr_assert_eq(tine_elements(a), tine_elements(b));
    for (int64_t i = 0; i < tine_elements(a); i++)
        most = fmax(most, fabs((double)((const float *)tine_data(a))[i] -
                               (double)((const float *)tine_data(b))[i]));
    return most;
}

test(the_tutorials_ensemble_has_pytorchs_answer_and_the_same_bits_in_slices) {
    tine_value *wanted = tine_npy_load(GOLDEN "tutorial_y.npy"),
               *whole = result_of(TUTORIAL "--workers 2"),
               *slices = result_of(TUTORIAL "--workers 2 --batch-size 1 --repeat 3"),
               *bf16 = result_of(TUTORIAL "--workers 1 --dtype bf16"),
               *int8 = result_of(TUTORIAL "--workers 1 --dtype int8");
    cr_expect_leq(largest_error(whole, wanted), 1e-5);
    cr_expect(tine_equal(whole, slices));
    cr_expect(largest_error(bf16, wanted) > 1e-5 && largest_error(bf16, wanted) < 1e-2);
    cr_expect(largest_error(int8, wanted) > 1e-5 && largest_error(int8, wanted) < 2e-2);
    tine_release(wanted), tine_release(whole), tine_release(slices);
    tine_release(bf16), tine_release(int8);
    expect(TUTORIAL "--workers 1 --batch-size 3", 0, "ensemble of 3 pairs of lstm, 6 -> 6, f32",
           "");
    expect(TUTORIAL "--workers 1 --batch-size 3 --json", 0, "\"slices\": 2", "");
    expect("$B/tine predict --workers 1 " GOLDEN
           "tutorial.safetensors --prefix models.1 --input " GOLDEN "tutorial_x.npy",
           0, ": pair of lstm, 6 -> 6, f32", "");
}

/* A module that holds only the model, such as DataParallel, puts its name in front of all. */
test(a_prefix_that_all_names_have_is_left_out) {
    tine_value *dict = tine_load(GOLDEN "tutorial.safetensors", NULL), *items[40], *renamed;
    char names[40][80], line[400];
    const char *keys[40];
    size_t n = tine_length(dict);
    cr_assert(n > 0 && n <= 40);
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "module.net.%s", tine_key_at(dict, i));
        keys[i] = names[i];
        items[i] = (tine_value *)tine_at(dict, i);
    }
    path_make(".safetensors");
    cr_assert_not_null(renamed = tine_dict_of(keys, items, n));
    cr_assert_eq(tine_save(out, renamed), TINE_OK);
    snprintf(line, sizeof line, "$B/tine predict --workers 1 %s --input " GOLDEN "tutorial_x.npy",
             out);
    expect(line, 0, "ensemble of 3 pairs of lstm, 6 -> 6, f32", "");
    cr_assert_eq(unlink(out), 0);
    tine_release(renamed), tine_release(dict);
}

/* What `tine verify` compares, `tine predict` writes. */
test(single_cells_write_their_states) {
    static const char *const cases[] = {"lstm_state", "lstm_batch_first", "lstm_bidirectional",
                                        "lstm_projection", "lstm_unbatched"};
    path_make(".safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[400], path[80];
        snprintf(path, sizeof path, "tests/golden/%s.safetensors", cases[i]);
        snprintf(line, sizeof line, "$B/tine predict --workers 1 %s --input %s --output %s", path,
                 path, out);
        expect(line, 0, "c_n ", "");
        tine_value *got = tine_load(out, NULL), *wanted = tine_load(path, NULL);
        cr_assert(got && wanted);
        cr_expect_leq(largest_error(tine_get(got, "output"), tine_get(wanted, "output")), 1e-5,
                      "%s", path);
        cr_expect_leq(largest_error(tine_get(got, "h_n"), tine_get(wanted, "h_n")), 1e-5, "%s",
                      path);
        cr_expect_leq(largest_error(tine_get(got, "c_n"), tine_get(wanted, "c_n")), 1e-5, "%s",
                      path);
        tine_release(got), tine_release(wanted);
    }
    cr_assert_eq(unlink(out), 0);
}

/* PyTorch's own export of the tutorial's ensemble. */
test(an_onnx_model_has_pytorchs_answer) {
#ifdef TINE_ONNX
    const char *line =
        "$B/tine predict " GOLDEN "tutorial.onnx --input " GOLDEN "tutorial_x.npy --workers 2";
    tine_value *wanted = tine_npy_load(GOLDEN "tutorial_y.npy"), *got = result_of(line);
    cr_expect_leq(largest_error(got, wanted), 1e-5);
    tine_release(wanted), tine_release(got);
    expect(line, 0, "ONNX graph of 30 nodes, 6 of them LSTM or GRU, f32; 2 workers", "");
    char rounded[400];
    snprintf(rounded, sizeof rounded, "%s --dtype int8", line);
    wanted = tine_npy_load(GOLDEN "tutorial_y.npy"), got = result_of(rounded);
    cr_expect(largest_error(got, wanted) > 1e-5 && largest_error(got, wanted) < 2e-2);
    tine_release(wanted), tine_release(got);
    expect("$B/tine predict --workers 1 " GOLDEN "onnx/refused_split.onnx --input " GOLDEN
           "tutorial_x.npy",
           2, "", "node \"last\" (Split): this operator is not supported");
    expect("$B/tine predict --workers 1 " GOLDEN "onnx/stateful.onnx --input " GOLDEN
           "tutorial_x.npy",
           1, "", "the model has 3 inputs");
    expect("$B/tine predict " GOLDEN "tutorial.onnx --batch-size 2 --input " GOLDEN
           "tutorial_x.npy",
           2, "", "an ONNX model takes no --batch-size");
#else
    fprintf(stderr, "SKIP onnx: built without protobuf-c\n");
#endif
}

test(what_is_wrong_is_one_sentence) {
    expect("$B/tine predict", 2, "", "expected MODEL --input X");
    expect("$B/tine predict " GOLDEN "tutorial.safetensors", 2, "", "--input names no file");
    expect(TUTORIAL "--dtype f64", 2, "", "--dtype must be f32, bf16 or int8");
    expect(TUTORIAL "--output x.txt", 2, "", "--output must end in .npy or .safetensors");
    expect(TUTORIAL "--batch-first", 2, "", "--batch-first is for a single lstm or gru");
    expect(TUTORIAL "--prefix models.9", 2, "", "no tensor's name begins with \"models.9\"");
    expect(TUTORIAL "--batch-size 0", 2, "", "--batch-size");
    expect("$B/tine predict " GOLDEN "modules.safetensors --input " GOLDEN "tutorial_x.npy", 2, "",
           "export the whole as ONNX, or compute a part of it, with --prefix ");
    expect("$B/tine predict " GOLDEN "onnx/cases.safetensors --input " GOLDEN "tutorial_x.npy", 2,
           "", "its tensors are those of no known model: there is no \"weight_ih_l0\"");
    expect(
        "$B/tine predict " GOLDEN "tutorial.safetensors --input " GOLDEN "tutorial_y.npy", 2, "",
        "the last dimension of the input is 12; the model tests/golden/models/tutorial.safetensors "
        "has an input size of 6");
    expect("$B/tine predict " GOLDEN "tutorial.safetensors --input " GOLDEN "tutorial.safetensors",
           2, "", "none is called \"input\"");
    expect("$B/tine predict " GOLDEN "tutorial.safetensors --input Makefile.npy", 2, "",
           "Makefile.npy: cannot be opened");
    expect(TUTORIAL "--workers 1 --output /nonexistent/y.npy", 1, "",
           "/nonexistent/y.npy cannot be written");
}

static void npy_refused(const char *header, size_t data, const char *with) {
    uint8_t bytes[300] = "\x93NUMPY\x01";
    size_t n = strlen(header);
    bytes[8] = (uint8_t)n;
    memcpy(bytes + 10, header, n);
    cr_expect_null(tine_npy_parse("x.npy", bytes, 10 + n + data));
    cr_expect(strstr(tine_error_message(), with), "\"%s\" does not say \"%s\"",
              tine_error_message(), with);
}

test(arrays_that_are_not_valid_are_refused) {
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4,
                "needs 8 bytes, 4 follow");
    npy_refused("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", 8,
                "its dtype is '>f4'");
    npy_refused("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1)}", 4, "needs 8 bytes");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9)}", 8,
                "too large");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 8,
                "not a dict");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4,
                "at most 8");
    npy_refused("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4,
                "not a dict");
    npy_refused("{'descr': '<f4', 'shape': ()}", 4, "not a dict");
    npy_refused("{'descr': '<f4", 4, "not a dict");
    cr_expect_null(tine_npy_parse("x.npy", "\x93NUMPY\x01\0\xff\xff", 10));
    cr_expect(strstr(tine_error_message(), "longer than the file"));
    cr_expect_null(tine_npy_parse("x.npy", "PK", 2));
}

/* numpy.save writes what torch's permute() gives in the order in which it lies. */
test(column_major_arrays_are_read) {
    static const char header[] = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 2), }";
    uint8_t bytes[100] = "\x93NUMPY\x01";
    size_t n = sizeof header - 1;
    bytes[8] = (uint8_t)n;
    memcpy(bytes + 10, header, n);
    for (uint8_t i = 0; i < 12; i++) bytes[10 + n + i] = i;
    tine_value *v = tine_npy_parse("x.npy", bytes, 10 + n + 12);
    cr_assert_not_null(v, "%s", tine_error_message());
    for (int i = 0; i < 12; i++)
        cr_expect_eq(((const uint8_t *)tine_data(v))[i], i / 6 + i / 2 % 3 * 2 + i % 2 * 6);
    tine_release(v);
}

test(arrays_of_every_dtype_are_written_and_read) {
    path_make(".npy");
    for (int t = TINE_F32; t <= TINE_U8; t++)
        for (int rank = 0; rank < 4; rank++) {
            tine_value *v = tine_full(t, rank, (int64_t[]){3, 0, 2} + (rank < 3), 7), *r;
            cr_assert_eq(tine_npy_save(out, v), TINE_OK);
            cr_assert_not_null(r = tine_npy_load(out), "%s", tine_error_message());
            cr_expect_eq(tine_elements(r), tine_elements(v));
            cr_expect(t == TINE_BF16 ? tine_dtype_of(r) == TINE_F32 : tine_equal(r, v));
            tine_release(v), tine_release(r);
        }
    cr_assert_eq(unlink(out), 0);
}
