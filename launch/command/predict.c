/* `tine predict MODEL --input X`: computes a model that was exported from PyTorch through fork and
 * wait. Which model a safetensors file holds is found from its tensors; see launch/MODELS.md. Both
 * files are read before the first worker starts. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/command/predict_model.h"
#include "launch/command/predict_onnx.h"
#include "runtime/value/value.h"
#include "transport/base/text.h"

typedef struct predict {
    tine_prediction_options options;
    const char *output;
    long repeat;
    bool json;
    bool is_onnx;
    tine_prediction p;
    tine_onnx_prediction *onnx; /* instead of p */
    tine_value *results;        /* of the last run */
    double *seconds;            /* of each run */
} predict;

static void predict_shape(const tine_value *v, char out[128]) {
    size_t n = 0;
    out[n++] = '[';
    for (int i = 0; i < v->tensor.rank; i++)
        n += (size_t)snprintf(out + n, 128 - n, i ? ", %lld" : "%lld",
                              (long long)v->tensor.shape[i]);
    snprintf(out + n, 128 - n, "]");
}

static bool predict_runs(predict *c) {
    tine_steps steps = {.unit = c->is_onnx ? "runs" : "slices", .total = c->repeat};
    if (!c->is_onnx) steps.total *= (long)tine_prediction_slices(&c->p);
    for (long i = 0; i < c->repeat; i++) {
        tine_steps_show(&steps, NULL);
        tine_release(c->results);
        double start = tine_seconds();
        c->results =
            c->is_onnx ? tine_onnx_prediction_run(c->onnx) : tine_prediction_run(&c->p, &steps);
        if (c->is_onnx) steps.done++;
        c->seconds[i] = tine_seconds() - start;
        if (!c->results) break;
    }
    tine_progress_end();
    return c->results;
}

/* The first run carries the weights to the workers: if there are others it is reported
 * separately. */
static double predict_median(const predict *c, double *first) {
    *first = c->seconds[0];
    if (c->repeat == 1) return c->seconds[0];
    return tine_quantile(c->seconds + 1, (size_t)c->repeat - 1, 0.5);
}

static void predict_name(const predict *c, char *out, size_t room) {
    if (c->is_onnx)
        tine_onnx_prediction_name(c->onnx, out, room);
    else
        tine_prediction_name(&c->p, out, room);
}

/* What the model is and how it is cut. */
static void predict_print_model(const predict *c) {
    char name[80], shape[128];
    const struct tine_lstm_config *k = &c->p.cells.config;
    predict_name(c, name, sizeof name);
    if (c->is_onnx) {
        printf("%s: %s, %s; %d workers\n", c->options.model, name, c->options.dtype,
               tine_worker_count());
        return;
    }
    predict_shape(c->p.x, shape);
    printf("%s: %s, %zu -> %zu, %s\n", c->options.model, name, k->input_size, k->hidden_size,
           c->options.dtype);
    printf("input       %s from %s\n", shape, c->options.input);
    printf("slices      %lld, of at most %lld rows; %d workers\n",
           (long long)tine_prediction_slices(&c->p), (long long)c->p.slice, tine_worker_count());
}

static void predict_print(const predict *c) {
    char shape[128];
    double first, median = predict_median(c, &first);
    predict_print_model(c);
    printf("first run   %.6f s, with the weights' way to the workers\n", first);
    if (c->repeat > 1) printf("latency     %.6f s, median of %ld\n", median, c->repeat - 1);
    if (c->is_onnx)
        printf("throughput  %.1f runs/s\n", 1 / median);
    else
        printf("throughput  %.1f sequences/s, %.2f GFLOP/s\n", (double)c->p.batch / median,
               1e-9 * tine_prediction_flops(&c->p) / median);
    for (size_t i = 0; i < c->results->list.n; i++) {
        predict_shape(c->results->list.items[i], shape);
        printf("%-11s %s%s%s\n", c->results->list.keys[i], shape,
               c->output && (i == 0 || !tine_ends_with(c->output, ".npy")) ? " in " : "",
               c->output && (i == 0 || !tine_ends_with(c->output, ".npy")) ? c->output : "");
    }
}

static void predict_print_json(const predict *c) {
    char name[80];
    double first, median = predict_median(c, &first);
    json_object *o = json_object_new_object(), *shape = json_object_new_array();
    const tine_value *y = c->results->list.items[0];
    predict_name(c, name, sizeof name);
    for (int i = 0; i < y->tensor.rank; i++)
        json_object_array_add(shape, json_object_new_int64(y->tensor.shape[i]));
    json_object_object_add(o, "model", json_object_new_string(c->options.model));
    json_object_object_add(o, "kind", json_object_new_string(name));
    json_object_object_add(o, "workers", json_object_new_int(tine_worker_count()));
    json_object_object_add(o, "first_seconds", tine_json_number(first, 6));
    json_object_object_add(o, "median_seconds", tine_json_number(median, 6));
    json_object_object_add(o, "output", shape);
    if (c->is_onnx) goto print;
    json_object_object_add(o, "slices", json_object_new_int64(tine_prediction_slices(&c->p)));
    json_object_object_add(o, "sequences_per_second",
                           tine_json_number((double)c->p.batch / median, 6));
    json_object_object_add(o, "gflops",
                           tine_json_number(1e-9 * tine_prediction_flops(&c->p) / median, 6));
print:
    tine_json_print(o);
}

/* Names in files may hold anything. */
static int predict_fail(int code) {
    char *text = tine_text_printable(tine_error_message(), true);
    tine_command_refuse("predict", code, "%s", text ? text : "no memory");
    free(text);
    return code;
}

static bool predict_open(predict *c) {
    if (!c->is_onnx) return tine_prediction_open(&c->p, &c->options);
    return (c->onnx = tine_onnx_prediction_open(&c->options));
}

static bool predict_prepare(predict *c) {
    if (!c->is_onnx) return tine_prediction_prepare(&c->p, &c->options);
    return tine_onnx_prediction_prepare(c->onnx, &c->options);
}

static int predict_all(predict *c, int *argc, char **argv) {
    if (!predict_open(c)) return predict_fail(2);
    if (tine_init(argc, argv, NULL)) return predict_fail(tine_last_error() == TINE_EINVAL ? 2 : 1);
    int code = 0;
    if (!predict_prepare(c) || !predict_runs(c) ||
        (c->output && !tine_predict_write(c->output, c->results)))
        code = predict_fail(1);
    else if (c->json)
        predict_print_json(c);
    else
        predict_print(c);
    return code;
}

static int predict_check(const predict *c) {
    const char *wrong = NULL;
    enum tine_gemm_type type;
    if (!c->options.input)
        wrong = "--input names no file; an .npy or a .safetensors file is needed";
    else if (!tine_gemm_type_parse(c->options.dtype, &type))
        wrong = "--dtype must be f32, bf16 or int8";
    else if (c->output && !tine_ends_with(c->output, ".npy") &&
             !tine_ends_with(c->output, ".safetensors"))
        wrong = "--output must end in .npy or .safetensors";
    else if (c->is_onnx && (c->options.batch_size || c->options.prefix || c->options.batch_first))
        wrong = "an ONNX model takes no --batch-size, --prefix and --batch-first: its graph "
                "says them";
    return wrong ? tine_command_refuse("predict", 2, "%s", wrong) : -1;
}

/* The operand: the argument that is no setting. */
static const char *predict_operand(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--tine-", 7) != 0) return argv[i];
    return NULL;
}

int tine_command_predict(int argc, char **argv) {
    predict c = {.options = {.dtype = "f32"}, .repeat = 1};
    const tine_option options[] = {
        {"--input", "X", "an .npy file, or a .safetensors file with a tensor \"input\"",
         TINE_OPTION_TEXT, &c.options.input, 0, 0},
        {"--output", "Y", "write the result: .npy, or .safetensors with h_n and c_n too",
         TINE_OPTION_TEXT, &c.output, 0, 0},
        TINE_OPTION_WORKERS,
        {"--dtype", "T", "f32 (the default), bf16 or int8: round the products' operands",
         TINE_OPTION_TEXT, &c.options.dtype, 0, 0},
        {"--batch-size", "B", "rows of the batch in one task (default: all workers are used)",
         TINE_OPTION_NUMBER, &c.options.batch_size, 1, 1000000000},
        {"--repeat", "R", "runs (default 1)", TINE_OPTION_NUMBER, &c.repeat, 1, 1000000},
        {"--prefix", "P", "the model is the part of the file under this prefix", TINE_OPTION_TEXT,
         &c.options.prefix, 0, 0},
        {"--batch-first", NULL, "the input of an lstm or gru is (batch, steps, input)",
         TINE_OPTION_FLAG, &c.options.batch_first, 0, 0},
        TINE_OPTION_ENDPOINT,
        TINE_OPTION_TRACE,
        {"--json", NULL, "print one JSON object", TINE_OPTION_FLAG, &c.json, 0, 0},
        {0},
    };
    const tine_usage usage = {
        "predict",
        "MODEL --input X",
        "Computes a model exported from PyTorch for an input, through fork and wait.\n"
        "MODEL.safetensors holds an lstm or gru, the tutorial's pair of them, or an ensemble;\n"
        "which one is found from the names and shapes of its tensors. Slices of the batch, an\n"
        "ensemble's models and a pair's cells run side by side. Of MODEL.onnx the LSTM, GRU and\n"
        "Gemm nodes do. Exit code 2 for an invalid argument or file, 1 for failure.",
        options,
        1,
        1};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    c.options.model = predict_operand(argc, argv);
    c.is_onnx = tine_ends_with(c.options.model, ".onnx");
    if ((code = predict_check(&c)) >= 0) return code;
    c.seconds = calloc((size_t)c.repeat, sizeof *c.seconds);
    code =
        c.seconds ? predict_all(&c, &argc, argv) : tine_command_refuse("predict", 1, "no memory");
    tine_release(c.results);
    tine_prediction_close(&c.p);
    tine_onnx_prediction_close(c.onnx);
    free(c.seconds);
    int ended = tine_shutdown();
    return code ? code : ended;
}
