/* `tine verify FILE.safetensors…`: computes exported models through fork and wait and compares the
 * results with PyTorch's answers in the files.
 *
 * A file holds a state_dict under PyTorch's names, of an LSTM or a GRU, of the tutorial's pair of
 * them, or of an ensemble of either (workers/modules/cells.h), with "input" and the answer
 * "output"; of one cell also "h_n" and "c_n", and before it "h0" and "c0". Which model it is, sizes
 * and options follow from the weights; the metadata must agree. Input and states of one cell may be
 * unbatched. Where neither metadata nor shapes tell whether the batch comes first, both ways are
 * computed. Tensors are float32, float64 or bf16; those without a part in the computation are
 * reported. All files are read before the first worker starts, and all cases are in flight at once.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/command/verify_case.h"
#include "transport/base/text.h"

enum { UNUSED_NAMED = 8 };

static void verify_print_case(const tine_verify_case *c) {
    printf("%-44s %-9s", c->path, tine_cells_class(&c->cells));
    for (int i = 0; i < TINE_VERIFY_ANSWERS; i++) {
        if (c->answers[i].compared)
            printf("  %s %.2e", tine_verify_answer_names[i], c->answers[i].error);
        else
            printf("  %s %8s", tine_verify_answer_names[i], "-");
    }
    bool guessed = c->cells.config.batch_first && !c->batch_first_said;
    printf("  %s%s\n", tine_verify_within(c) ? "ok" : "TOO LARGE",
           guessed ? " (with batch_first=True)" : "");
}

/* One line on standard error, if there are tensors without a part in the computation. */
static void verify_print_unused(const tine_verify_case *c) {
    size_t n = 0;
    for (size_t i = 0; i < tine_safetensors_count(c->file); i++) {
        const tine_safetensor *t = tine_safetensors_at(c->file, i);
        if (tine_verify_uses(c, t) || ++n > UNUSED_NAMED) continue;
        char name[80];
        snprintf(name, sizeof name, "%s", t->name);
        tine_text_mask(name);
        if (n == 1) fprintf(stderr, "tine verify: %s: not used:", c->path);
        fprintf(stderr, "%s %s (%s)", n == 1 ? "" : ",", name, t->dtype_name);
    }
    if (n > UNUSED_NAMED) fprintf(stderr, " and %zu more", n - UNUSED_NAMED);
    if (n > 0) fputc('\n', stderr);
}

static json_object *verify_json_unused(const tine_verify_case *c) {
    json_object *list = json_object_new_array();
    for (size_t i = 0; i < tine_safetensors_count(c->file); i++) {
        const tine_safetensor *t = tine_safetensors_at(c->file, i);
        if (!tine_verify_uses(c, t)) json_object_array_add(list, json_object_new_string(t->name));
    }
    return list;
}

static json_object *verify_json_case(const tine_verify_case *c) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "file", json_object_new_string(c->path));
    json_object_object_add(o, "kind", json_object_new_string(tine_cells_class(&c->cells)));
    json_object_object_add(o, "ok", json_object_new_boolean(!c->failed && tine_verify_within(c)));
    if (tine_verify_single(c))
        json_object_object_add(o, "batch_first",
                               json_object_new_boolean(c->cells.config.batch_first));
    for (int i = 0; i < TINE_VERIFY_ANSWERS; i++)
        if (c->answers[i].compared)
            json_object_object_add(o, tine_verify_answer_names[i],
                                   tine_json_number(c->answers[i].error, 6));
    if (c->answers[0].compared) {
        json_object_object_add(o, "rtol", tine_json_number(c->answers[0].rtol, 6));
        json_object_object_add(o, "atol", tine_json_number(c->answers[0].atol, 6));
    }
    json_object_object_add(o, "unused", verify_json_unused(c));
    return o;
}

/* Forks all, then waits for all. 1: one failed or is past the limit. */
static int verify_compute(tine_verify_case *cases, int n, json_object *list) {
    int code = 0;
    for (int i = 0; i < n; i++) tine_verify_start(&cases[i]);
    for (int i = 0; i < n; i++) {
        tine_verify_case *c = &cases[i];
        tine_progress("%s", c->path);
        tine_error failed = tine_verify_finish(c);
        c->failed = failed != TINE_OK;
        tine_progress_end();
        if (list)
            json_object_array_add(list, verify_json_case(c));
        else if (!failed)
            verify_print_case(c);
        if (failed) fprintf(stderr, "tine verify: %s: %s\n", c->path, tine_error_message());
        if (!list) verify_print_unused(c);
        if (failed || !tine_verify_within(c)) code = 1;
    }
    return code;
}

static int verify_read_all(tine_verify_case *cases, int n, char **paths) {
    int code = 0;
    for (int i = 0; i < n; i++) {
        char why[300];
        if (!tine_verify_open(&cases[i], paths[i], why, sizeof why)) continue;
        code = tine_command_refuse("verify", 2, "%s: %s", paths[i], why);
    }
    return code;
}

/* The operands: what is not a setting. Returns how many. */
static int operands_of(int argc, char **argv, char **paths) {
    int n = 0;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--tine-", 7) != 0) paths[n++] = argv[i];
    return n;
}

int tine_command_verify(int argc, char **argv) {
    bool json = false;
    const tine_option options[] = {
        TINE_OPTION_WORKERS,
        TINE_OPTION_ENDPOINT,
        TINE_OPTION_TRACE,
        {"--json", NULL, "print one JSON object", TINE_OPTION_FLAG, &json, 0, 0},
        {0},
    };
    const tine_usage usage = {
        "verify",
        "FILE.safetensors...",
        "Computes each file's LSTM or GRU, pair of them, or ensemble, through fork and wait on\n"
        "workers and compares the result with PyTorch's answers in the file (output, h_n, c_n),\n"
        "with the tolerance of torch.testing.assert_close: an element may be wrong by 1e-5 and\n"
        "1.3e-6 of its size, in a bf16 file by 2^-8 and 1.6e-2 of its size. NaN is equal to NaN.\n"
        "Computes in float32. Exit code 0 if all answers are right, 1 if not, 2 for an invalid\n"
        "file.",
        options,
        1,
        -1};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    int n = 0;
    tine_verify_case *cases = calloc((size_t)argc, sizeof *cases);
    char **paths = calloc((size_t)argc, sizeof *paths);
    if (!cases || !paths) {
        code = tine_command_refuse("verify", 1, "no memory");
        goto out;
    }
    n = operands_of(argc, argv, paths);
    code = verify_read_all(cases, n, paths);
    if (code) goto out;
    if (tine_init(&argc, argv, NULL)) {
        code = tine_command_refuse("verify", tine_last_error() == TINE_EINVAL ? 2 : 1, "%s",
                                   tine_error_message());
        goto out;
    }
    json_object *list = json ? json_object_new_array() : NULL;
    code = verify_compute(cases, n, list);
    if (json) {
        json_object *o = json_object_new_object();
        json_object_object_add(o, "ok", json_object_new_boolean(code == 0));
        json_object_object_add(o, "cases", list);
        tine_json_print(o);
    }
    int ended = tine_shutdown();
    code = code ? code : ended;
out:
    for (int i = 0; cases && i < n; i++) tine_verify_close(&cases[i]);
    free(cases);
    free(paths);
    return code;
}
