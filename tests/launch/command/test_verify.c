/* `tine verify` on files that are not the plain case: golden files, some with a few bytes of their
 * headers or answers replaced by others of the same length. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/program.h"

/* Runs the command on a golden file that went through `edit`, a shell command. */
static void verify(const char *file, const char *edit, const char *options, int code,
                   const char *out, const char *error) {
    /* on a busy machine a worker may join late, which the log says */
    tine_program p =
        tine_program_run(40,
                         "export TINE_LOG_LEVEL=error; f=$(mktemp) && %s "
                         "<tests/golden/%s.safetensors >$f && ! cmp -s $f "
                         "tests/golden/%s.safetensors && $B/tine verify --workers 1 %s $f; "
                         "code=$?; rm $f; exit $code",
                         edit, file, file, options);
    cr_expect_eq(p.code, code, "%s, %s: exit code %d\n%s", file, edit, p.code, p.error);
    cr_expect(strstr(p.out, out), "%s, %s: no \"%s\" in:\n%s", file, edit, out, p.out);
    cr_expect(strstr(p.error, error), "%s, %s: no \"%s\" in:\n%s", file, edit, error, p.error);
    if (!*error) cr_expect_str_eq(p.error, "");
    tine_program_fini(&p);
}
#define test(name) Test(verify, name, .timeout = 60)
#define SED(script) "LC_ALL=C sed '" script "'"
/* the last bytes of the file, of c_n or output */
#define END(bytes, octal) "(head -c -" #bytes " && printf '" octal "') "

test(reports_tensors_that_are_not_used) {
    verify("lstm_basic", SED("s/\"h_n\"/\"h_x\"/"), "", 0, "  h_n        -",
           "not used: h_x (F32)\n");
    verify("lstm_basic", SED("s/\"h_n\"/\"h_x\"/"), "--json", 0, "\"unused\": [ \"h_x\" ]", "");
    verify("ensemble_small",
           SED("s/\"models.0.cell_f.bias_hh_l0\"/\"models.0.cell_x.bias_hh_l0\"/"), "", 1, "",
           "bias_hh_l0");
}

test(a_name_cannot_write_to_the_terminal) {
    verify("lstm_basic", SED("s/\"h_n\"/\"h\\\\n\"/"), "", 0, "", "not used: h? (F32)\n");
}

test(a_missing_model_is_named) {
    verify("ensemble_small", SED("s/\"models\\.1\\./\"models.9./g"), "", 2, "",
           "but no models.1.cell_f.weight_ih_l0");
    verify("ensemble_small", SED("s/\"models\\.0\\./\"models.9./g"), "", 2, "",
           "but no models.0.cell_f.weight_ih_l0");
    verify("ensemble_small", SED("s/\"models\\.1\\.cell_f/\"models.1.cell_x/g"), "", 2, "",
           "but no models.1.cell_f.weight_ih_l0");
    verify("ensemble_small", SED("s/\"models\\.1\\.cell_b/\"models.1.cell_x/g"), "", 2, "",
           "no tensor \"models.1.cell_b.weight_ih_l0\"");
}

/* The model is found as `tine predict` finds it; each of its answers is compared. */
test(finds_grus_pairs_and_ensembles_of_cells) {
    verify("gru", SED("s/\"bidirectional\":/\"b_directional\":/"), "", 0, " gru ", "");
    verify("gru", SED("s/\"batch_first\":/\"batch_f_rst\":/"), "", 0, "ok (with batch_first=True)",
           "");
    verify("gru", END(4, "\\0\\0\\0\\100"), "", 1, "TOO LARGE", "");
    verify("gru", SED("s/\"num_layers\":\"2\"/\"num_layers\":\"3\"/"), "", 2, "",
           "its metadata says num_layers=3, the weights say 2");
    verify("pair", END(4, "\\0\\0\\0\\100"), "", 1, " bilstm ", "");
    verify("pair", SED("s/\"cell_b/\"cell_x/g"), "", 1, "", "\"cell_b.weight_ih_l0\"");
    verify("pair", SED("s/\"kind\"/\"kinx\"/"), "--json", 0, "\"kind\": \"bilstm\"", "");
    verify("ensemble_gru", END(4, "\\0\\0\\0\\100"), "", 1, " ensemble ", "");
    verify("ensemble_gru", SED("s/\"models\\.1\\./\"models.9./g"), "", 2, "",
           "but no models.1.weight_ih_l0");
}

#define UNSAID "s/\"batch_first\":/\"batch_f_rst\":/"
#define DENIED "s/\"batch_first\":\"True\"/\"batch_first\":\"0\"   /"
#define CLAIMED "s/\"batch_first\":\"False\"/\"batch_first\":\"1\"    /"

test(finds_the_batch_without_metadata) {
    verify("lstm_batch_first", SED(UNSAID), "", 0, "ok (with batch_first=True)", "");
    verify("lstm_square", SED(UNSAID), "", 0, "ok (with batch_first=True)", "");
    verify("lstm_square", SED(UNSAID), "--json", 0, "\"batch_first\": true", "");
    verify("lstm_basic", SED(UNSAID), "", 0, "  ok\n", "");
    verify("lstm_basic", SED(UNSAID ";s/\"h_n\"/\"h_x\"/;s/\"c_n\"/\"c_x\"/"), "", 0, "  ok\n",
           "not used: h_x (F32), c_x (F32)");
    verify("lstm_batch_first",
           SED(UNSAID ";s/\"h_n\"/\"h_x\"/;s/\"c_n\"/\"c_x\"/;s/\"h0\"/\"h1\"/;s/\"c0\"/\"c1\"/"),
           "", 1, "TOO LARGE", "not used");
}

test(says_that_the_metadata_is_wrong_about_the_batch) {
    verify("lstm_batch_first", SED(DENIED), "", 2, "",
           "its metadata says batch_first=0, the shapes of \"input\" and \"h_n\" say otherwise");
    verify("lstm_basic", SED(CLAIMED), "", 2, "", "its metadata says batch_first=1, the shapes");
    verify("lstm_square", SED(DENIED), "", 1, "",
           "its metadata says batch_first=0, but the answers are those of the opposite");
    verify("lstm_basic", SED("s/\"batch_first\":\"False\"/\"batch_first\":\"maybe\"/"), "", 2, "",
           "batch_first=maybe; True or False is needed");
}

test(metadata_that_is_no_number_is_refused) {
    verify("lstm_basic", SED("s/\"hidden_size\":\"16\"/\"hidden_size\":\"1x\"/"), "", 2, "",
           "its metadata says hidden_size=1x, the weights say 16");
}

test(finds_wrong_answers_of_every_dtype) {
    verify("lstm_bf16", END(2, "\\000\\100"), "", 1, "TOO LARGE", "");
    verify("lstm_f64", END(8, "\\0\\0\\0\\0\\0\\0\\0\\100"), "", 1, "TOO LARGE", "");
    verify("lstm_unbatched", END(4, "\\0\\0\\0\\100"), "", 1, "TOO LARGE", "");
}

/* 20,000 instead of a state of another size: the relative tolerance does not hide it. */
test(finds_wrong_large_answers) {
    verify("lstm_large_state", END(4, "\\000\\100\\234\\106"), "", 1, "TOO LARGE", "");
}

test(nan_and_infinity_are_right_only_where_expected) {
    verify("lstm_basic", END(4, "\\0\\0\\300\\177"), "", 1, "c_n nan", "");
    verify("lstm_basic", END(4, "\\0\\0\\200\\177"), "", 1, "c_n inf  TOO LARGE", "");
    /* The batch's first element has a NaN in the input; all of its answers are NaN. */
    verify("lstm_special_values", SED("s/\\x00\\x00\\xc0\\x7f/\\x00\\x00\\x80\\x3f/g"), "", 1,
           "TOO LARGE", "");
}
