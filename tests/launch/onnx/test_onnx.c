/* ONNX models against PyTorch and ONNX's reference implementation (tests/golden/make_onnx.py), and
 * files that are refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/sanitizer.h"

TestSuite(onnx, .timeout = 60);

#ifndef TINE_ONNX
Test(onnx, all) { fprintf(stderr, "SKIP onnx: built without protobuf-c\n"); }
#else
#include "launch/onnx/onnx.h"

#define DIR "tests/golden/models/onnx/"

static tine_value *part(const char *name, const char *which) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.%s", name, which);
    tine_value *dict = tine_load(DIR "cases.safetensors", prefix);
    cr_assert_not_null(dict, "%s", tine_error_message());
    return dict;
}

static void compare(const char *name, const tine_value *got, const tine_value *wanted) {
    cr_assert_eq(tine_length(got), tine_length(wanted), "%s", name);
    for (size_t i = 0; i < tine_length(wanted); i++) {
        const char *key = tine_key_at(wanted, i);
        const tine_value *a = tine_get(got, key), *b = tine_at(wanted, i);
        cr_assert(a && tine_dtype_of(a) == tine_dtype_of(b) && tine_rank(a) == tine_rank(b),
                  "%s: %s", name, key);
        for (int d = 0; d < tine_rank(a); d++)
            cr_assert_eq(tine_shape(a)[d], tine_shape(b)[d], "%s: %s", name, key);
        if (tine_dtype_of(a) != TINE_F32) {
            cr_expect(tine_equal(a, b), "%s: %s", name, key);
            continue;
        }
        for (int64_t k = 0; k < tine_elements(a); k++) {
            double x = (double)((const float *)tine_data(a))[k],
                   y = (double)((const float *)tine_data(b))[k];
            cr_assert(fabs(x - y) <= 1e-5 * fmax(1, fabs(y)),
                      "%s: element %lld of %s is %g, not %g", name, (long long)k, key, x, y);
        }
    }
}

static void run_case(const char *name) {
    char path[100];
    snprintf(path, sizeof path, DIR "%s.onnx", name);
    tine_onnx *g = tine_onnx_open(path);
    cr_assert_not_null(g, "%s", tine_error_message());
    tine_value *in = part(name, "in"), *wanted = part(name, "out"), *got;
    cr_assert(tine_onnx_prepare(g, "f32"), "%s", tine_error_message());
    for (int run = 0; run < 2; run++) {
        cr_assert_not_null(got = tine_onnx_run(g, in), "%s", tine_error_message());
        compare(name, got, wanted);
        tine_release(got);
    }
    tine_onnx_close(g);
    tine_release(in), tine_release(wanted);
}

TRANSPORT_TEST(onnx, graphs_give_what_pytorch_and_the_reference_give, 60) {
    static const char *const names[] = {"stateful", "classifier",  "classifier_torchscript",
                                        "shapes",   "arithmetic",  "reverse",
                                        "folded",   "activations", "old"};
    cluster_start(endpoint, 2);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) run_case(names[i]);
    cluster_stop();
}

static void refused(const char *path, const char *with) {
    cr_expect_null(tine_onnx_open(path));
    cr_expect(strstr(tine_error_message(), with), "\"%s\" does not say \"%s\"",
              tine_error_message(), with);
}

Test(onnx, what_is_not_supported_is_named) {
    refused(DIR "refused_split.onnx", "node \"last\" (Split): this operator is not supported");
    refused(DIR "refused_gru_before_reset.onnx", "node \"last\" (GRU): linear_before_reset is 0");
    refused(DIR "refused_lstm_activations.onnx",
            "node \"last\" (LSTM): only the default activations");
    refused(DIR "refused_lstm_clip.onnx", "node \"last\" (LSTM): clip");
    refused(DIR "refused_lstm_layout.onnx", "node \"last\" (LSTM): layout=1");
    refused(DIR "refused_lstm_peepholes.onnx", "node \"last\" (LSTM): peepholes");
    refused(DIR "none.onnx", "cannot be opened");
    refused("/dev/null", "not a regular file");
    refused("Makefile", "it is not an ONNX model");
}

/* ThreadSanitizer has little to find in one thread, and takes a minute for all bytes. */
#ifdef TSAN
enum { STRIDE = 11, LEAST = 10 };
#else
enum { STRIDE = 1, LEAST = 100 };
#endif

/* A file whose bytes are replaced, one at a time, is refused or computes something: it never
 * crashes. Nothing is forked: Tine does not run. */
Test(onnx, no_byte_of_a_file_can_crash_the_reader) {
    static const char *const names[] = {DIR "shapes.onnx", DIR "reverse.onnx",
                                        DIR "arithmetic.onnx", DIR "activations.onnx"};
    tine_value *in[] = {part("shapes", "in"), part("reverse", "in"), part("arithmetic", "in"),
                        part("activations", "in")};
    int refusals = 0, runs = 0;
    for (size_t n = 0; n < 4; n++) {
        uint8_t bytes[4096];
        FILE *f = fopen(names[n], "re");
        size_t size = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        for (size_t i = 0; i < size; i += STRIDE) {
            uint8_t before = bytes[i];
            bytes[i] = (uint8_t)(before ^ 0x81);
            tine_onnx *g = tine_onnx_parse("changed", bytes, size);
            tine_value *out = g ? tine_onnx_run(g, in[n]) : NULL;
            refusals += !g, runs += out != NULL;
            if (!out) cr_assert(*tine_error_message());
            tine_release(out);
            tine_onnx_close(g);
            bytes[i] = before;
        }
    }
    cr_expect(refusals > LEAST && runs > LEAST, "%d %d", refusals, runs);
    for (size_t n = 0; n < 4; n++) tine_release(in[n]);
}

/* ---- files made by hand: fields of protobuf as "tag length bytes" ---- */

static size_t field(uint8_t *to, int number, const void *bytes, size_t n) {
    to[0] = (uint8_t)(number << 3 | 2);
    to[1] = (uint8_t)n;
    memcpy(to + 2, bytes, n);
    return n + 2;
}

static size_t graph_file(uint8_t *to, const uint8_t *graph, size_t size) {
    static const uint8_t opset[] = {0x42, 2, 0x10, 18};
    memcpy(to, opset, sizeof opset);
    return sizeof opset + field(to + sizeof opset, 7, graph, size);
}

static void bytes_refused(const uint8_t *file, size_t size, const char *with) {
    cr_expect_null(tine_onnx_parse("hostile", file, size));
    cr_expect(strstr(tine_error_message(), with), "\"%s\" does not say \"%s\"",
              tine_error_message(), with);
}

/* A million nodes of two bytes each would take 100 MB: unpacking stops. */
Test(onnx, many_empty_nodes_are_refused) {
    const size_t n = 2000000;
    uint8_t *file = malloc(n + 20);
    memcpy(file, "\x42\x02\x10\x12\x3a\x80\x89\x7a", 8); /* graph: 2,000,000 bytes */
    for (size_t i = 0; i < n; i += 2) file[8 + i] = 0x0a, file[9 + i] = 0;
    bytes_refused(file, n + 8, "too many parts");
    free(file);
}

Test(onnx, graphs_that_are_not_sound_are_refused) {
    uint8_t graph[120], file[128], node[100], tensor[60];
    size_t n = field(node, 1, "x", 1);
    n += field(node + n, 2, "x", 1);
    n += field(node + n, 4, "Relu", 4);
    bytes_refused(file, graph_file(file, graph, field(graph, 1, node, n)),
                  "is made by a later node");
    n = field(node, 1, "q", 1);
    n += field(node + n, 2, "x", 1);
    n += field(node + n, 4, "Relu", 4);
    bytes_refused(file, graph_file(file, graph, field(graph, 1, node, n)),
                  "nothing makes its input \"q\"");
    n = field(node, 2, "x", 1);
    n += field(node + n, 4, "Relu", 4);
    bytes_refused(file, graph_file(file, graph, field(graph, 1, node, n)), "it has 0 inputs");
    n += field(node + n, 7, "com.evil", 8);
    bytes_refused(file, graph_file(file, graph, field(graph, 1, node, n)),
                  "the domain \"com.evil\"");
    n = field(tensor, 8, "w", 1);
    memcpy(tensor + n, "\x08\x80\x80\x80\x80\x10\x10\x01", 8); /* dims [2^32], float32 */
    bytes_refused(file, graph_file(file, graph, field(graph, 5, tensor, n + 8)),
                  "is shorter than its shape");
    bytes_refused(file, graph_file(file, graph, 0), "it has no output");
    /* a constant that a node would expand to 2^40 bytes */
    n = field(tensor, 8, "w", 1);
    memcpy(tensor + n, "\x10\x01\x4a\x04\0\0\0\0", 8); /* a float32 scalar */
    size_t g = field(graph, 5, tensor, n + 8);
    n = field(tensor, 8, "s", 1);
    memcpy(tensor + n, "\x08\x01\x10\x07\x4a\x08\0\0\0\0\x40\0\0\0", 14); /* [2^38] */
    g += field(graph + g, 5, tensor, n + 14);
    n = field(node, 1, "w", 1);
    n += field(node + n, 1, "s", 1);
    n += field(node + n, 2, "x", 1);
    n += field(node + n, 4, "Expand", 6);
    g += field(graph + g, 1, node, n);
    bytes_refused(file, graph_file(file, graph, g), "its result does not fit");
}
#endif
