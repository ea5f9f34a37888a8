/* The `tine` command: help, wrong arguments, the JSON it prints, what verify accepts and
 * refuses. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/cli/report.h"
#include "tests/support/program.h"

#define SMALL "--models 2 --time 5 --batch 3 --channels 24 --repeat 2"

static void expect(const char *line, int code, const char *out, const char *error) {
    tine_program p = tine_program_run(40, "%s", line);
    cr_expect_eq(p.code, code, "%s: exit code %d\n%s%s", line, p.code, p.out, p.error);
    cr_expect(strstr(p.out, out), "%s printed:\n%s%s", line, p.out, p.error);
    cr_expect(strstr(p.error, error), "%s printed to standard error:\n%s", line, p.error);
    if (code == 2)
        cr_expect_eq(strcspn(p.error, "\n") + 1, strlen(p.error), "not one sentence: %s", p.error);
    tine_program_fini(&p);
}

Test(command, help_of_every_subcommand, .timeout = 60) {
    static const char *const names[] = {"ensemble",   "predict", "verify",     "worker",
                                        "info",       "run",     "bench fork", "bench grain",
                                        "bench lstm", "key",     "top",        "bench ensemble"};
    expect("$B/tine --help", 0, "ensemble", "");
    expect("$B/tine bench --help", 0, "lstm", "");
    expect("$B/tine --version", 0, "tine 0.1.0", "");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[80];
        snprintf(line, sizeof line, "$B/tine %s --help", names[i]);
        expect(line, 0, names[i], "");
    }
}

Test(command, output_that_cannot_be_written_is_a_failure, .timeout = 90) {
    static const char *const lines[] = {
        "tine info",    "tine version",       "tine --help",      "tine run --dry-run -n 2 true",
        "01_fork_wait", "tine worker --help", "tine bench --help"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        tine_program p = tine_program_run(30, "$B/%s >/dev/full", lines[i]);
        cr_expect(p.code == 1 || strstr(lines[i], "run "), "%s: exit code %d: %s", lines[i], p.code,
                  p.error);
        cr_expect_neq(p.code, 0, "%s", lines[i]);
        tine_program_fini(&p);
    }
}

Test(command, wrong_arguments_are_refused_by_name, .timeout = 60) {
    expect("$B/tine nonsense", 2, "", "no command `nonsense`");
    expect("$B/tine ensemble --nonsense", 2, "", "unknown option --nonsense");
    expect("$B/tine ensemble --repeat", 2, "", "--repeat needs a value");
    expect("$B/tine ensemble --repeat=0", 2, "", "--repeat=0: expected a whole number from 1");
    expect("$B/tine ensemble --repeat 1x", 2, "", "--repeat=1x");
    expect("$B/tine ensemble --json=1", 2, "", "--json takes no value");
    expect("$B/tine ensemble --dtype f64", 2, "", "--dtype=f64: expected f32, bf16 or int8");
    expect("$B/tine ensemble extra", 2, "", "unexpected argument extra");
    expect("$B/tine ensemble --workers many", 2, "", "many");
    expect("TINE_WORKERS=many $B/tine ensemble", 2, "", "TINE_WORKERS=many");
    expect("$B/tine verify", 2, "", "expected FILE");
    expect("$B/tine worker", 2, "", "expected ENDPOINT");
}

Test(command, info_tells_cpu_kernels_blas_transports_and_settings, .timeout = 30) {
    expect("$B/tine info", 0, "kernels       float32: gemm_f32_", "");
    expect("$B/tine info", 0, "blas          OpenBLAS", "");
    expect("d=$(mktemp -d); : >$d/libopenblas.so.0; LD_LIBRARY_PATH=$d $B/tine info; rm -r $d", 0,
           "openblas    not usable: libopenblas.so.0 cannot be loaded", "");
    expect("$B/tine info", 0, "libzmq 4.", "");
    expect("$B/tine info", 0, "lane        usable", "");
    expect("$B/tine info", 0, "tensors: ", "");
    expect("TINE_LANE=off $B/tine info", 0, "TINE_LANE               off", "");
    expect("TINE_LANE=off $B/tine info", 0, "lane        not used: TINE_LANE=off", "");
    expect("$B/tine info --topology", 0, "usable by this process", "");
    expect("TINE_WORKERS=0 $B/tine info --topology", 0, "not pinned", "");
    expect("TINE_STACK_SIZE=1M $B/tine info", 0, "environment", "");
    expect("$B/tine info --tine-stack-size=1M", 0, "command line", "");
    expect("TINE_KERNEL=portable $B/tine info", 0, "portable", "");
    expect("TINE_KERNEL=nonsense $B/tine info", 0, "nonsense", "");
}

static double number(json_object *o, const char *key) {
    json_object *v = NULL;
    cr_assert(json_object_object_get_ex(o, key, &v), "no \"%s\"", key);
    return json_object_get_double(v);
}

static void check_ensemble(const char *line, int workers, double limit) {
    tine_program p = tine_program_run(60, "%s", line);
    cr_assert_eq(p.code, 0, "%s: %d\n%s%s", line, p.code, p.out, p.error);
    json_object *o = json_tokener_parse(p.out), *variants = NULL, *v;
    cr_assert(o, "not JSON: %s", p.out);
    cr_expect_eq(number(o, "workers"), workers);
    cr_expect_gt(number(o, "peak_gflops"), 0);
    cr_expect_lt(number(o, "max_error"), limit);
    cr_expect(json_object_object_get_ex(o, "identical", &v) && json_object_get_boolean(v));
    cr_expect(json_object_object_get_ex(o, "endpoint", &v) &&
              strlen(json_object_get_string(v)) > 0);
    cr_assert(json_object_object_get_ex(o, "variants", &variants));
    cr_assert_eq(json_object_array_length(variants), 3);
    static const char *const names[] = {"sequential", "directions", "models"};
    for (size_t i = 0; i < 3; i++) {
        json_object *row = json_object_array_get_idx(variants, i);
        cr_assert(json_object_object_get_ex(row, "name", &v));
        cr_expect_str_eq(json_object_get_string(v), names[i]);
        cr_expect_gt(number(row, "gflops"), 0);
        cr_expect_leq(number(row, "seconds_min"), number(row, "seconds"));
    }
    json_object_put(o);
    tine_program_fini(&p);
}

Test(command, info_tells_where_workers_go_on_other_machines, .timeout = 30) {
    tine_program p = tine_program_run(20, "HWLOC_SYNTHETIC='core:1 pu:1' $B/tine info --topology");
    bool hwloc = strstr(p.out, "another machine");
    tine_program_fini(&p);
    if (!hwloc) cr_skip_test("SKIP: there is no libhwloc");
#define SMT "HWLOC_SYNTHETIC='pack:2 [numa] core:64 pu:2' "
    expect(SMT "TINE_WORKERS=128 $B/tine info --topology", 0,
           "worker 127   package 1, node 1, core 127, CPUs 254-255", "");
    expect(SMT "TINE_WORKERS=32 TINE_THREADS=4 $B/tine info --topology", 0,
           "worker 16    package 1, node 1, cores 64-67, CPUs 128-135", "");
    expect(SMT "TINE_WORKERS=127 $B/tine info --topology", 0, "not pinned", "");
}

Test(command, ensemble_is_identical_and_exact_over_ipc, .timeout = 100) {
    check_ensemble("$B/tine ensemble --json --workers 2 " SMALL, 2, 1e-5);
    check_ensemble("$B/tine ensemble --json --workers=1 --seed 7 " SMALL, 1, 1e-5);
}
Test(command, ensemble_over_tcp, .timeout = 100) {
    check_ensemble("$B/tine ensemble --json --workers 2 --endpoint tcp://127.0.0.1:0 " SMALL, 2,
                   1e-5);
}
Test(command, ensemble_in_bf16, .timeout = 100) {
    check_ensemble("$B/tine ensemble --json --workers 2 --dtype bf16 " SMALL, 2, 5e-2);
}
/* A size that fits no tile, one batch row, one step. */
Test(command, ensemble_of_edge_sizes, .timeout = 100) {
    check_ensemble("$B/tine ensemble --json --workers 2 --models 3 --time 1 --batch 1 --channels "
                   "37 --repeat 1",
                   2, 1e-5);
}

Test(command, ensemble_prints_a_table_and_no_progress_when_piped, .timeout = 100) {
    tine_program p = tine_program_run(60, "$B/tine ensemble --workers 2 " SMALL);
    cr_expect_eq(p.code, 0, "%s", p.error);
    cr_expect(strstr(p.out, "sequential ") && strstr(p.out, "directions ") &&
                  strstr(p.out, "models "),
              "%s", p.out);
    cr_expect(strstr(p.out, "bit-identical"), "%s", p.out);
    cr_expect(!strchr(p.out, '\r') && !strchr(p.error, '\r'));
    cr_expect_str_empty(p.error);
    tine_program_fini(&p);
}

Test(command, verify_accepts_all_golden_files, .timeout = 100) {
    expect("$B/tine verify tests/golden/*.safetensors", 0, "ensemble_edges.safetensors", "");
    expect("$B/tine verify --workers 1 --json tests/golden/*.safetensors", 0, "\"ok\": true", "");
}

/* The answer of one file is changed in its last bytes: verify has to find it. */
Test(command, verify_finds_a_wrong_answer, .timeout = 60) {
    expect("f=$(mktemp) && head -c -4 tests/golden/lstm_basic.safetensors >$f && "
           "printf '\\0\\0\\200\\77' >>$f && $B/tine verify $f; code=$?; rm $f; exit $code",
           1, "TOO LARGE", "");
}

Test(command, verify_refuses_bad_files_with_one_sentence, .timeout = 60) {
    expect("$B/tine verify tests/golden/none.safetensors", 2, "",
           "none.safetensors: cannot be opened: No such file");
    expect("$B/tine verify Makefile", 2, "", "Makefile: its header claims");
    expect("f=$(mktemp) && head -c -4 tests/golden/lstm_basic.safetensors >$f && "
           "$B/tine verify $f; code=$?; rm $f; exit $code",
           2, "", "lies at bytes");
    expect("f=$(mktemp) && printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' >$f && "
           "$B/tine verify $f; code=$?; rm $f; exit $code",
           2, "", "no tensor \"weight_ih_l0\"");
}

Test(command, worker_says_when_no_coordinator_answers, .timeout = 60) {
    tine_program p =
        tine_program_run(30, "TINE_CONNECT_TIMEOUT=0.5 $B/tine worker ipc:///nonexistent/tine");
    cr_expect_neq(p.code, 0);
    cr_expect_neq(p.code, 124, "it hung");
    cr_expect(strstr(p.error, "ipc:///nonexistent/tine"), "%s", p.error);
    tine_program_fini(&p);
}

Test(command, bench_lstm_says_what_the_time_consists_of, .timeout = 60) {
    tine_program p = tine_program_run(50, "$B/tine bench lstm --phases --quick --json --rounds 1 "
                                          "--time 3 --batch 2 --channels 40");
    cr_assert_eq(p.code, 0, "%s", p.error);
    json_object *o = json_tokener_parse(p.out), *rows = NULL;
    cr_assert(o && json_object_object_get_ex(o, "profiles", &rows), "not JSON: %s", p.out);
    cr_assert_eq(json_object_array_length(rows), 3, "f32, bf16 and int8");
    for (size_t i = 0; i < 3; i++) {
        json_object *row = json_object_array_get_idx(rows, i), *phases = NULL;
        cr_assert(json_object_object_get_ex(row, "phase_seconds", &phases));
        cr_expect_gt(number(row, "seconds"), 0);
        cr_expect_gt(number(row, "share_of_bound"), 0);
        cr_expect_gt(number(row, "packing_seconds"), 0);
        cr_expect_gt(number(row, "first_seconds"), 0);
        double sum = number(phases, "operands") + number(phases, "output");
        cr_expect_gt(number(phases, "input"), 0);
        cr_expect_gt(number(phases, "recurrent"), 0);
        cr_expect_gt(number(phases, "gates"), 0);
        sum += number(phases, "input") + number(phases, "recurrent") + number(phases, "gates");
        cr_expect_leq(sum, number(row, "seconds_timed") * 1.001, "%g s", sum); /* as printed */
    }
    json_object_put(o);
    tine_program_fini(&p);
}

Test(command, bench_lstm_measures_one_type, .timeout = 60) {
    tine_program p = tine_program_run(50, "$B/tine bench lstm --dtype int8 --quick --json "
                                          "--rounds 1 --time 3 --batch 2 --channels 40");
    cr_assert_eq(p.code, 0, "%s", p.error);
    json_object *o = json_tokener_parse(p.out), *rows = NULL;
    cr_assert(o && json_object_object_get_ex(o, "rows", &rows), "not JSON: %s", p.out);
    for (size_t i = 0; i < json_object_array_length(rows); i++)
        cr_expect_str_eq(json_object_get_string(
                             json_object_object_get(json_object_array_get_idx(rows, i), "dtype")),
                         "int8");
    cr_expect(number(o, "int8_error") > 0 && number(o, "int8_error") < 3e-2);
    json_object_put(o);
    tine_program_fini(&p);
    expect("$B/tine bench lstm --dtype f64", 2, "", "--dtype=f64: expected f32, bf16 or int8");
}

/* ---- its parts ---- */

Test(command, quantiles, .timeout = 10) {
    double x[] = {4, 1, 3, 2};
    cr_expect_eq(tine_quantile(x, 4, 0), 1);
    cr_expect_eq(tine_quantile(x, 4, 0.5), 2.5);
    cr_expect_eq(tine_quantile(x, 4, 1), 4);
    cr_expect_eq(tine_quantile(x, 1, 0.99), 1);
}

Test(command, arguments_keep_operands_and_settings, .timeout = 10) {
    long n = 0;
    bool flag = false;
    const char *text = NULL;
    const tine_option options[] = {{"--workers", "N", "", TINE_OPTION_SETTING, NULL, 0, 0},
                                   {"--n", "N", "", TINE_OPTION_NUMBER, &n, -5, 5},
                                   {"--flag", NULL, "", TINE_OPTION_FLAG, &flag, 0, 0},
                                   {"--text", "T", "", TINE_OPTION_TEXT, &text, 0, 0},
                                   {0}};
    const tine_usage usage = {"x", "A B", "", options, 0, 2};
    char *argv[] = {"tine", "--workers",        "3",  "a",   "--n=-5", "--flag", "--text",
                    "--x",  "--tine-retries=1", "--", "--n", NULL};
    int argc = 11;
    cr_assert_eq(tine_arguments_parse(&usage, &argc, argv), -1);
    cr_assert_eq(argc, 5);
    cr_expect_str_eq(argv[1], "--tine-workers=3");
    cr_expect_str_eq(argv[2], "a");
    cr_expect_str_eq(argv[3], "--tine-retries=1");
    cr_expect_str_eq(argv[4], "--n");
    cr_expect(!argv[5] && n == -5 && flag);
    cr_expect_str_eq(text, "--x");
}

/* A key, and what may be wrong with one. */
Test(command, key, .timeout = 60) {
    expect("$B/tine key | wc -c", 0, "41\n", "");
    expect("d=$(mktemp -d); $B/tine key $d/job && stat -c %a $d/job && wc -c <$d/job; rm -r $d", 0,
           "600\n41\n", "");
    expect("d=$(mktemp -d); echo mine >$d/job; $B/tine key $d/job; echo $?; cat $d/job; rm -r $d",
           0, "1\nmine\n", "job cannot be made: File exists");
    expect("$B/tine worker --key /nonexistent tcp://127.0.0.1:9", 1, "", "cannot be read");
    expect("d=$(mktemp -d); $B/tine key $d/job; chmod 644 $d/job; "
           "$B/tine worker --key $d/job tcp://127.0.0.1:9; rm -r $d",
           0, "", "job is open to other users: chmod 600 ");
    expect("TINE_KEY_FILE=/dev/null $B/tine worker tcp://127.0.0.1:9", 1, "",
           "open to other users");
    expect("TINE_KEY=abc $B/tine worker tcp://127.0.0.1:9", 1, "", "TINE_KEY holds no key");
    expect("TINE_SECURITY=yes TINE_ENDPOINT=tcp://127.0.0.1:0 $B/01_fork_wait", 1, "",
           "TINE_SECURITY=yes: expected auto, curve or none");
}

/* Workers that are started here get the key from their coordinator. */
Test(command, encrypted_endpoints, .timeout = 90) {
    expect("TINE_SECURITY=curve TINE_WORKERS=1 TINE_ENDPOINT=tcp://127.0.0.1:0 $B/02_loop", 0,
           "tensor(-100.)", "");
    expect("TINE_WORKERS=1 TINE_ENDPOINT='tcp://*:0' $B/02_loop", 0, "tensor(-100.)", "");
    expect("TINE_SECURITY=none TINE_WORKERS=1 TINE_ENDPOINT='tcp://*:0' $B/02_loop", 0,
           "tensor(-100.)", "can be reached from other hosts");
}
