/* What `tine bench` writes: estimates with their intervals, JSON and back, CSV, the plot, and the
 * comparison with an earlier run. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/bench/results.h"
#include "tests/support/program.h"

static const tine_result_form form = {
    .bench = "example",
    .title = "An <example> & more",
    .keys = {{"way", false, false}, {"models", true, true}, {"workers", true, false}},
    .measures = {{"seconds", "time (s)", false, true}, {"speedup", "speedup", true, true}},
    .x = 2,
    .panel = -1,
    .ideal = 1,
};

static tine_estimate around(double value, double share, long n) {
    return (tine_estimate){value, value * (1 - share), value * (1 + share), 0.95, n};
}

static void add(tine_results *r, const char *way, int workers, double seconds) {
    tine_result *row = tine_results_add(r);
    tine_result_key_set(row, 0, "%s", way);
    tine_result_key_set(row, 1, "%d", 4 * workers);
    tine_result_key_set(row, 2, "%d", workers);
    row->figures[0] = around(seconds, 0.02, 7);
    if (workers > 1) row->figures[1] = around(1 / seconds, 0.02, 7);
}

static tine_results example(void) {
    tine_results r;
    tine_results_init(&r, &form);
    add(&r, "ipc", 1, 1.0);
    add(&r, "ipc", 2, 0.55);
    add(&r, "a, \"b\" <&>", 1, 1.25);
    return r;
}

static tine_results read_back(const tine_results *r) {
    char why[256] = "";
    tine_results out;
    json_object *o = tine_results_json(r);
    bool good =
        tine_results_parse(&out, &form, json_object_to_json_string(o), "text", why, sizeof why);
    cr_assert(good, "%s", why);
    json_object_put(o);
    return out;
}

/* The table of order statistics in Le Boudec's book, appendix A, table A.1: n, the rank of the low
 * end, that of the high end, and the confidence. */
Test(results, the_interval_of_a_median_lies_between_order_statistics, .timeout = 20) {
    static const struct {
        int n, low, high;
        double confidence;
    } known[] = {{6, 1, 6, 0.969},   {7, 1, 7, 0.984},   {9, 2, 8, 0.961},
                 {11, 2, 10, 0.988}, {20, 6, 15, 0.959}, {30, 10, 21, 0.957}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        double samples[64];
        for (int i = 0; i < known[k].n; i++) samples[i] = known[k].n - i; /* sorted by the call */
        tine_estimate e = tine_estimate_quantile(samples, (size_t)known[k].n, 0.5);
        cr_expect_eq(e.low, known[k].low, "n %d: %g", known[k].n, e.low);
        cr_expect_eq(e.high, known[k].high, "n %d: %g", known[k].n, e.high);
        cr_expect_float_eq(e.confidence, known[k].confidence, 6e-4, "n %d: %g", known[k].n,
                           e.confidence);
        cr_expect_eq(e.value, (known[k].n + 1) / 2.0);
    }
}

Test(results, few_samples_have_little_confidence, .timeout = 20) {
    double samples[] = {3, 1, 2};
    tine_estimate e = tine_estimate_quantile(samples, 3, 0.5);
    cr_expect_eq(e.value, 2);
    cr_expect_eq(e.low, 1);
    cr_expect_eq(e.high, 3);
    cr_expect_float_eq(e.confidence, 0.75, 1e-12);
    e = tine_estimate_quantile(samples, 1, 0.99);
    cr_expect_eq(e.confidence, 0);
    cr_expect_eq(e.n, 1);
    cr_expect(isnan(tine_estimate_quantile(NULL, 0, 0.5).value));
}

/* Beyond 1000 samples the binomial is taken to be normal: both agree where they meet. */
Test(results, many_samples_give_the_same_interval_both_ways, .timeout = 20) {
    static double samples[1001];
    for (int n = 1000; n <= 1001; n++) {
        for (int i = 0; i < n; i++) samples[i] = i + 1;
        tine_estimate e = tine_estimate_quantile(samples, (size_t)n, 0.99);
        cr_expect_float_eq(e.low, 984, 1.1, "%d: %g", n, e.low);
        cr_expect_float_eq(e.high, 997, 2.1, "%d: %g", n, e.high);
        e = tine_estimate_quantile(samples, (size_t)n, 0.5);
        cr_expect_float_eq(e.low, 470, 1.1, "%d: %g", n, e.low);
        cr_expect_float_eq(e.high, 532, 1.1, "%d: %g", n, e.high);
    }
}

Test(results, json_is_read_back, .timeout = 20) {
    tine_results r = example(), back = read_back(&r);
    cr_assert_eq(back.n, r.n);
    cr_expect_str_eq(back.date, r.date);
    for (size_t i = 0; i < r.n; i++) {
        cr_expect_arr_eq(back.rows[i].keys, r.rows[i].keys, sizeof r.rows[i].keys);
        cr_expect_float_eq(back.rows[i].figures[0].low, r.rows[i].figures[0].low, 1e-6);
        cr_expect_eq(back.rows[i].figures[0].n, 7);
    }
    cr_expect(isnan(back.rows[0].figures[1].value), "not measured");
    tine_results_fini(&r);
    tine_results_fini(&back);
}

static json_object *compared(const tine_results *r, const tine_results *old, char **text) {
    size_t size;
    FILE *f = open_memstream(text, &size);
    json_object *o = tine_results_compare(f, r, old, "OLD.json");
    fclose(f);
    return o;
}

static int64_t count_of(json_object *o, const char *name) {
    json_object *member = NULL;
    cr_assert(json_object_object_get_ex(o, name, &member), "%s is missing", name);
    return json_object_is_type(member, json_type_array) ? (int64_t)json_object_array_length(member)
                                                        : json_object_get_int64(member);
}

Test(results, nothing_has_changed_since_the_same_file, .timeout = 20) {
    tine_results r = example(), back = read_back(&r);
    char *text;
    json_object *o = compared(&r, &back, &text);
    cr_expect_eq(count_of(o, "changed"), 0);
    cr_expect_eq(count_of(o, "unchanged"), 4);
    cr_expect(strstr(text, "0 changed beyond noise, 4 did not\n"), "%s", text);
    free(text);
    json_object_put(o);
    tine_results_fini(&r);
    tine_results_fini(&back);
}

Test(results, a_median_beyond_the_interval_is_named, .timeout = 20) {
    tine_results r = example(), old = read_back(&r);
    char *text;
    r.rows[0].figures[0] = around(1.03, 0.02, 7); /* within noise */
    r.rows[1].figures[0] = around(0.70, 0.02, 7);
    r.rows[1].figures[1] = around(2.5, 0.02, 7);
    json_object *o = compared(&r, &old, &text);
    cr_expect_eq(count_of(o, "changed"), 2);
    cr_expect_eq(count_of(o, "unchanged"), 2);
    cr_expect(strstr(text, "ipc models=8 workers=2  seconds: 0.7 "), "%s", text);
    cr_expect(strstr(text, "+27.3 %, worse"), "%s", text);
    cr_expect(strstr(text, "+37.5 %, better"), "%s", text);
    free(text);
    json_object_put(o);
    tine_results_fini(&r);
    tine_results_fini(&old);
}

Test(results, few_samples_and_other_points_are_not_compared, .timeout = 20) {
    tine_results r = example(), old = read_back(&r);
    char *text;
    r.rows[0].figures[0] = (tine_estimate){9, 8, 10, 0.75, 3};
    tine_result_key_set(&r.rows[2], 0, "tcp");
    json_object *o = compared(&r, &old, &text);
    cr_expect_eq(count_of(o, "changed"), 0);
    cr_expect_eq(count_of(o, "too_few_samples"), 1);
    cr_expect_eq(count_of(o, "new_points"), 1);
    cr_expect_eq(count_of(o, "old_points"), 1);
    free(text);
    json_object_put(o);
    tine_results_fini(&r);
    tine_results_fini(&old);
}

Test(results, what_is_not_results_is_refused, .timeout = 20) {
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "nonsense",
        "{\"bench\": \"example\", \"format\": 1}",
        "{\"bench\": \"example\", \"format\": 2, \"points\": []}",
        "{\"bench\": \"other\", \"format\": 1, \"points\": []}",
        "{\"bench\": \"example\", \"format\": 1, \"points\": [7]}",
        "{\"bench\": \"example\", \"format\": 1, \"points\": [{\"way\": \"a\"}]}",
        "{\"bench\": null, \"format\": null, \"points\": null}",
        "{\"bench\": \"\xff\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tine_results r;
        char why[256] = "";
        cr_expect(!tine_results_parse(&r, &form, texts[i], "OLD.json", why, sizeof why), "%s",
                  texts[i]);
        cr_expect(strstr(why, "OLD.json"), "%s: %s", texts[i], why);
    }
}

Test(results, figures_that_cannot_be_count_as_not_measured, .timeout = 20) {
    static const char text[] =
        "{\"bench\": \"example\", \"format\": 1, \"date\": 7, \"machine\": [], \"warnings\": {},"
        " \"points\": [{\"way\": \"\\u001b[31m\", \"models\": \"x\", \"workers\": 1e99,"
        " \"seconds\": {\"value\": 1, \"low\": 2, \"high\": 3, \"confidence\": 0.9, \"samples\": "
        "7},"
        " \"speedup\": 4}]}";
    tine_results r;
    char why[256] = "", *out;
    cr_assert(tine_results_parse(&r, &form, text, "OLD.json", why, sizeof why), "%s", why);
    cr_expect(isnan(r.rows[0].figures[0].value));
    cr_expect(isnan(r.rows[0].figures[1].value));
    cr_expect_str_eq(r.rows[0].keys[0], "?[31m");
    json_object_put(compared(&r, &r, &out));
    free(out);
    tine_results_fini(&r);
}

Test(results, csv_has_a_line_per_point, .timeout = 20) {
    tine_results r = example();
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    tine_results_csv(f, &r);
    fclose(f);
    cr_expect_str_eq(text,
                     "way,models,workers,seconds,seconds_low,seconds_high,seconds_samples,speedup,"
                     "speedup_low,speedup_high,speedup_samples\n"
                     "ipc,4,1,1,0.98,1.02,7,,,,\n"
                     "ipc,8,2,0.55,0.539,0.561,7,1.818182,1.781818,1.854545,7\n"
                     "\"a, \"\"b\"\" <&>\",4,1,1.25,1.225,1.275,7,,,,\n");
    free(text);
    tine_results_fini(&r);
}

/* A curve for both points of ipc, though they differ in the models; the other has one alone. */
Test(results, the_plot_is_well_formed_and_has_each_point, .timeout = 60) {
    tine_results r = example();
    char path[] = "/tmp/tine-plot-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    tine_results_plot(f, &r);
    fclose(f);
    tine_program p = tine_program_run(
        50,
        "python3 - %s <<'EOF'\n"
        "import sys, xml.etree.ElementTree as x\n"
        "t = x.parse(sys.argv[1]); s = '{http://www.w3.org/2000/svg}'\n"
        "print(len(t.findall('.//' + s + \"circle[@r='3']\")), "
        "len(t.findall('.//' + s + \"circle[@r='4']\")))\n"
        "print([e.text for e in t.iter(s + 'text') if e.get('class') == 'title'])\n"
        "EOF",
        path);
    cr_expect_eq(p.code, 0, "%s", p.error);
    cr_expect_eq(strncmp(p.out, "4 2\n", 4), 0, "%s", p.out);
    cr_expect(strstr(p.out, "An <example> & more"), "%s", p.out);
    tine_program_fini(&p);
    unlink(path);
    tine_results_fini(&r);
}
