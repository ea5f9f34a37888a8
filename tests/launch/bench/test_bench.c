/* tests/run: one case at a time
 *
 * `tine bench ensemble`, `fork` and `grain` as commands. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/mpirun.h"
#include "tests/support/program.h"

#define TINY "--sizes 3x2x8 --repeat 6 --models 2"

static json_object *member_of(json_object *o, const char *name) {
    json_object *member = NULL;
    cr_assert(json_object_object_get_ex(o, name, &member), "%s is missing", name);
    return member;
}

static double value_of(json_object *point, const char *measure) {
    return json_object_get_double(member_of(member_of(point, measure), "value"));
}

static bool point_is(json_object *point, const char *key, const char *value) {
    return !strcmp(json_object_get_string(member_of(point, key)), value);
}

/* What the command prints, as JSON; it must succeed. */
static json_object *measured(int seconds, const char *line) {
    tine_program p = tine_program_run(seconds, "%s", line);
    cr_assert_eq(p.code, 0, "%s: exit code %d\n%s", line, p.code, p.error);
    json_object *o = json_tokener_parse(p.out);
    cr_assert(o, "not JSON: %s", p.out);
    tine_program_fini(&p);
    return o;
}

static void expect_machine(json_object *o) {
    static const char *const members[] = {"cpu",  "cores",    "kernel_f32",  "blas",
                                          "tine", "governor", "load_before", "steal_percent"};
    json_object *machine = member_of(o, "machine");
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) member_of(machine, members[i]);
    cr_expect(json_object_is_type(member_of(o, "warnings"), json_type_array));
}

static void expect_scaling_point(json_object *point) {
    double p = json_object_get_double(member_of(point, "workers"));
    json_object *seconds = member_of(point, "seconds");
    cr_expect_eq(json_object_get_int(member_of(seconds, "samples")), 6);
    cr_expect_gt(json_object_get_double(member_of(seconds, "confidence")), 0.95);
    cr_expect_gt(value_of(point, "seconds"), 0);
    cr_expect_float_eq(value_of(point, "efficiency"), value_of(point, "speedup") / p, 1e-4);
    cr_expect_eq(member_of(point, "karp_flatt") == NULL, p == 1);
    double shares =
        value_of(point, "busy") + value_of(point, "communication") + value_of(point, "waiting");
    cr_expect_float_eq(shares, 1, 1e-3, "%g", shares);
}

Test(bench, ensemble_measures_strong_and_weak_scaling_over_each_transport, .timeout = 100) {
    json_object *o =
        measured(90, "$B/tine bench ensemble " TINY " --workers 1,2 --transports ipc,tcp --json");
    json_object *points = member_of(o, "points");
    static const char *const transports[] = {"ipc", "tcp"}, *const kinds[] = {"strong", "weak"},
                             *const workers[] = {"1", "2"};
    expect_machine(o);
    cr_assert_eq(json_object_array_length(points), 8);
    for (size_t i = 0; i < 8; i++) {
        json_object *point = json_object_array_get_idx(points, i);
        cr_expect(point_is(point, "transport", transports[i / 4]));
        cr_expect(point_is(point, "scaling", kinds[i / 2 % 2]));
        cr_expect(point_is(point, "models", i / 2 % 2 ? "1" : "2"));
        cr_expect(point_is(point, "workers", workers[i % 2]));
        expect_scaling_point(point);
    }
    json_object_put(o);
}

/* The ranks are there from start to end: with one worker the other one is held. */
Test(bench, ensemble_measures_the_ranks_of_a_job, .timeout = 120) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    char line[400];
    snprintf(line, sizeof line,
             "mpirun %s --oversubscribe --bind-to none -n 3 $B/tine bench ensemble " TINY
             " --json --transports mpi,ipc --scaling strong",
             tine_mpirun_root());
    json_object *o = measured(100, line), *points = member_of(o, "points");
    cr_assert_eq(json_object_array_length(points), 4);
    for (size_t i = 0; i < 4; i++) {
        json_object *point = json_object_array_get_idx(points, i);
        cr_expect(point_is(point, "transport", i < 2 ? "mpi" : "ipc"));
        cr_expect(point_is(point, "workers", i % 2 ? "2" : "1"));
        expect_scaling_point(point);
    }
    json_object_put(o);
}

Test(bench, ensemble_measures_mpi_in_a_job_of_its_own, .timeout = 120) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    json_object *o = measured(100, "export OMPI_ALLOW_RUN_AS_ROOT=1 "
                                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; $B/tine bench ensemble " TINY
                                   " --json --transports mpi --workers 1 --scaling weak");
    json_object *points = member_of(o, "points");
    cr_assert_eq(json_object_array_length(points), 1);
    cr_expect(point_is(json_object_array_get_idx(points, 0), "transport", "mpi"));
    expect_scaling_point(json_object_array_get_idx(points, 0));
    json_object_put(o);
}

/* What --output wrote is compared with itself, and with a copy in which a median is far away. */
Test(bench, ensemble_compares_and_plots_what_it_wrote, .timeout = 100) {
    tine_program p = tine_program_run(
        90,
        "d=$(mktemp -d) && cd $d && T=%s/tine && case $T in /*) ;; *) T=$OLDPWD/$T;; esac\n"
        "$T bench ensemble " TINY " --workers 1 --transports ipc --scaling strong --output a.json "
        "--csv a.csv --svg a.svg >table || exit 9\n"
        "$T bench ensemble --from a.json --compare a.json >same || exit 8\n"
        "python3 -c 'import json; o = json.load(open(\"a.json\")); s = "
        "o[\"points\"][0][\"seconds\"]\n"
        "for k in \"value\", \"low\", \"high\": s[k] *= 100\n"
        "json.dump(o, open(\"b.json\", \"w\"))'\n"
        "$T bench ensemble --from a.json --compare b.json >changed || exit 7\n"
        "cat table same changed; wc -l <a.csv\n"
        "python3 -c 'import xml.dom.minidom as x; x.parse(\"a.svg\"); print(\"well-formed\")'\n"
        "ls; cd /; rm -r $d",
        tine_program_build());
    cr_expect_eq(p.code, 0, "%s\n%s", p.out, p.error);
    static const char *const parts[] = {"strong   ipc        3x2x8",
                                        "96.9 % or more",
                                        "compared with a.json of 20",
                                        "0 changed beyond noise",
                                        "strong ipc 3x2x8 models=2 workers=1  seconds: ",
                                        "1 changed beyond noise",
                                        "\n2\nwell-formed\na.csv\na.json\na.svg\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_expect(strstr(p.out, parts[i]), "without %s:\n%s", parts[i], p.out);
    tine_program_fini(&p);
}

static void expect_refused(const char *arguments, int code, const char *sentence) {
    tine_program p = tine_program_run(40, "$B/tine bench ensemble %s", arguments);
    cr_expect_eq(p.code, code, "%s: exit code %d\n%s%s", arguments, p.code, p.out, p.error);
    cr_expect(strstr(p.error, sentence), "%s: %s", arguments, p.error);
    cr_expect_str_eq(p.out, "", "%s", arguments);
    tine_program_fini(&p);
}

Test(bench, ensemble_refuses_by_name_before_it_measures, .timeout = 90) {
    expect_refused("--sizes 3x4", 2, "--sizes=3x4: expected at most 16 sizes");
    expect_refused("--sizes 0x3x4", 2, "--sizes=0x3x4");
    expect_refused("--sizes 3x4x5,", 2, "--sizes=3x4x5,");
    expect_refused("--sizes 99999999999999999999", 2, "--sizes=9999");
    expect_refused("--workers 2,1", 2, "--workers=2,1: expected at most 16 numbers");
    expect_refused("--workers=-1", 2, "--workers=-1");
    expect_refused("--workers=", 2, "--workers=: expected");
    expect_refused("--transports ipc,pigeon", 2, "--transports=ipc,pigeon: expected a list of ipc");
    expect_refused("--scaling sideways", 2, "--scaling=sideways: expected strong, weak or both");
    expect_refused("--dtype f64", 2, "--dtype=f64");
    expect_refused("--repeat 0", 2, "--repeat=0");
    expect_refused("--tine-endpoint=tcp://127.0.0.1:0 --transports ipc", 2, "the endpoint that is");
    expect_refused("--output /nonexistent/a.json", 1, "/nonexistent/a.json cannot be written");
    expect_refused("--svg /nonexistent/a.svg", 1, "/nonexistent/a.svg cannot be written");
    expect_refused("--compare /nonexistent/a.json", 2, "/nonexistent/a.json cannot be read");
    expect_refused("--compare /etc/passwd", 2, "/etc/passwd: not results of tine bench ensemble");
    expect_refused("--from /dev/zero", 2, "/dev/zero cannot be read, or has more than 16 MiB");
}

/* /dev/full accepts an open and refuses a write. Named through /proc, where nothing can take its
 * place; that devices stay is tested in transport/base/test_output.c with nodes of its own. */
Test(bench, outputs_that_fail_are_a_failure, .timeout = 100) {
    tine_program p = tine_program_run(
        90,
        "d=$(mktemp -d); $B/tine bench ensemble " TINY
        " --workers 1 --transports inproc --scaling weak --output $d/a.json >/dev/null 2>&1 &&\n"
        "$B/tine bench ensemble --from $d/a.json --output $d/b.json --csv /proc/self/fd/1 | grep "
        "-c "
        "'^weak,inproc,3x2x8,1,1,' &&\n"
        "! $B/tine bench ensemble --from $d/a.json --svg /proc/self/fd/8 8>/dev/full >/dev/null\n"
        "c=$?; rm -r $d; exit $c");
    cr_expect_eq(p.code, 0, "%s\n%s", p.out, p.error);
    cr_expect_str_eq(p.out, "1\n");
    cr_expect(strstr(p.error, "/proc/self/fd/8 cannot be written"), "%s", p.error);
    tine_program_fini(&p);
}

Test(bench, fork_measures_every_way_beside_its_transport, .timeout = 100) {
    json_object *o =
        measured(60, "$B/tine bench fork --json --workers 1 --rounds 200 --tasks 2000 --large 2");
    json_object *points = member_of(o, "points");
    static const char *const ways[] = {"lane", "ipc", "tcp"}, *const sides[] = {"tine", "bare"};
    expect_machine(o);
    cr_assert_geq(json_object_array_length(points), 7);
    for (size_t i = 0; i < 6; i++) {
        json_object *point = json_object_array_get_idx(points, i);
        cr_expect(point_is(point, "way", ways[i / 2]));
        cr_expect(point_is(point, "side", sides[i % 2]));
        cr_expect_gt(value_of(point, "round_trip_p50_us"), 0);
        cr_expect_geq(value_of(point, "round_trip_p99_us"), value_of(point, "round_trip_p50_us"));
        cr_expect_gt(value_of(point, "pipelined_per_second"), 0);
        cr_expect_gt(value_of(point, "gigabytes_per_second"), 0);
    }
    json_object *last = json_object_array_get_idx(points, json_object_array_length(points) - 1);
    cr_expect(point_is(last, "way", "futex"));
    cr_expect_gt(value_of(last, "round_trip_p50_us"), 0);
    json_object_put(o);
}

/* A rank that may use one core cannot poll a flag beside the other side, and says so. */
Test(bench, fork_leaves_out_a_flag_on_one_core, .timeout = 100) {
    json_object *o = measured(90, "taskset -c $(taskset -cp $$ | sed 's/.*: *//; s/[-,].*//') "
                                  "$B/tine bench fork --json --workers 1 --rounds 20 --tasks 70 "
                                  "--large 1 --tine-endpoint=tcp://127.0.0.1:0");
    json_object *points = member_of(o, "points");
    for (size_t i = 0; i < json_object_array_length(points); i++)
        cr_expect(!point_is(json_object_array_get_idx(points, i), "way", "flag"));
    cr_expect(strstr(json_object_get_string(member_of(o, "warnings")), "needs two cores"));
    json_object_put(o);
}

Test(bench, grain_measures_each_transport, .timeout = 100) {
    json_object *o = measured(90, "$B/tine bench grain --json --workers 1 --milliseconds 1 --chain "
                                  "100 --fib 6 --repeat 2");
    json_object *points = member_of(o, "points");
    static const char *const names[] = {"inproc", "ipc", "tcp"};
    expect_machine(o);
    cr_assert_eq(json_object_array_length(points), 3);
    for (size_t i = 0; i < 3; i++) {
        json_object *point = json_object_array_get_idx(points, i);
        cr_expect(point_is(point, "transport", names[i]));
        cr_expect_gt(value_of(point, "chain_per_second"), 0);
        cr_expect_gt(value_of(point, "nested_per_second"), 0);
    }
    json_object_put(o);
}
