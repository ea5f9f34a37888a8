/* What `tine trace` computes: a job whose figures are known, files that are damaged or hostile, and
 * a real run. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/profile/analysis.h"
#include "launch/profile/show.h"
#include "tests/launch/profile/job.h"
#include "tests/support/program.h"

#define US 1000

/* Reads `text` as a file. */
static bool read_text(tine_profile *p, const char *text, size_t size, char *why) {
    char path[] = "/tmp/tine-test-profile-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, text, size), (ssize_t)size);
    close(fd);
    bool good = tine_profile_read(p, path, why, 300);
    unlink(path);
    return good;
}

static const char job[] = JOB_HEAD JOB_EVENTS JOB_END;

static void job_read(tine_profile *p, tine_analysis *a) {
    char why[300];
    cr_assert(read_text(p, job, strlen(job), why), "%s", why);
    tine_analyse(a, p);
}

static void job_close(tine_profile *p, tine_analysis *a) {
    tine_analysis_fini(a);
    tine_profile_fini(p);
}

static const tine_function_profile *function(const tine_profile *p, const tine_analysis *a,
                                             const char *name) {
    for (size_t i = 0; i < a->n_functions; i++)
        if (strcmp(p->names[a->functions[i].name], name) == 0) return &a->functions[i];
    cr_assert(false, "no function %s", name);
    return NULL;
}

Test(profile, functions_have_their_times_and_bytes, .timeout = 10) {
    tine_profile p;
    tine_analysis a;
    job_read(&p, &a);
    cr_expect_eq(p.n_tasks, 3);
    cr_expect_eq(p.lost, 7);
    cr_expect_eq(a.n_functions, 4);
    const tine_function_profile *A = function(&p, &a, "A"), *k = function(&p, &a, "k");
    cr_expect_eq(A->n, 1);
    cr_expect_eq(A->total, 700 * US);
    cr_expect_eq(A->self, (380 - 9 - 20) * US, "without what it decodes and forks");
    cr_expect_eq(A->bytes_in, 5000);
    cr_expect_eq(k->kind, TINE_TRACE_KERNEL);
    cr_expect_eq(k->total, 200 * US);
    cr_expect_eq(function(&p, &a, "B")->self, 90 * US, "without its kernel");
    job_close(&p, &a);
}

Test(profile, workers_times_add_up_to_the_job, .timeout = 10) {
    tine_profile p;
    tine_analysis a;
    job_read(&p, &a);
    cr_expect_eq(a.job.end - a.job.begin, 995 * US);
    cr_assert_eq(a.n_workers, 2);
    const tine_worker_profile *w = &a.workers[0];
    cr_expect_eq(w->busy, (380 - 9) * US);
    cr_expect_eq(w->sending, 9 * US);
    cr_expect_eq(w->waits_inside, 300 * US);
    cr_expect_eq(w->waits_for, 215 * US);
    cr_expect_eq(w->idle, 100 * US);
    cr_expect_eq(w[1].busy, 540 * US);
    cr_expect_eq(w[1].waits_for, 355 * US);
    cr_expect_eq(w[1].idle, 100 * US);
    cr_expect_eq(w[1].tasks, 2);
    cr_expect_eq(a.overlap[0], 255 * US);
    cr_expect_eq(a.overlap[1], 560 * US);
    cr_expect_eq(a.overlap[2], 180 * US);
    job_close(&p, &a);
}

/* 1 worker from 100 to 300, 350 to 600, 610 to 620, 800 to 900; 2 from 620 to 800. */
Test(profile, tasks_at_once_over_time_are_means_of_equal_parts, .timeout = 10) {
    tine_profile p;
    tine_analysis a;
    double parts[4], all[1000], sum = 0;
    job_read(&p, &a);
    tine_overlap_parts(&a, 4, parts); /* 248.75 us each, from 5 us on */
    cr_expect_float_eq(parts[0], (253.75 - 100) / 248.75, 1e-9);
    cr_expect_float_eq(parts[1], (300 - 253.75 + 502.5 - 350) / 248.75, 1e-9);
    cr_expect_float_eq(parts[2], (600 - 502.5 + 10 + 2 * (751.25 - 620)) / 248.75, 1e-9);
    cr_expect_float_eq(parts[3], (2 * (800 - 751.25) + 100) / 248.75, 1e-9);
    tine_overlap_parts(&a, 1000, all);
    for (size_t i = 0; i < 1000; i++) sum += all[i] * .995;
    cr_expect_float_eq(sum, 560 + 2 * 180, 1e-6);
    json_object *o = tine_profile_json("x", &p, &a), *over, *tasks, *step;
    cr_assert(json_object_object_get_ex(o, "overlap_over_time", &over));
    cr_assert(json_object_object_get_ex(over, "tasks", &tasks));
    cr_assert(json_object_object_get_ex(over, "step", &step));
    cr_expect_eq(json_object_array_length(tasks), 200);
    cr_expect_float_eq(json_object_get_double(step), 995e-6 / 200, 1e-10);
    cr_expect_eq(json_object_get_double(json_object_array_get_idx(tasks, 0)), 0);
    cr_expect_eq(json_object_get_double(json_object_array_get_idx(tasks, 40)), 1);  /* 204 us */
    cr_expect_eq(json_object_get_double(json_object_array_get_idx(tasks, 140)), 2); /* 701 us */
    json_object_put(o);
    job_close(&p, &a);
}

static int64_t path_ns(const tine_profile *p, const tine_analysis *a, tine_path_kind kind,
                       const char *name) {
    for (size_t i = 0; i < a->n_path; i++)
        if (a->path[i].kind == kind && (!name || strcmp(p->names[a->path[i].name], name) == 0))
            return a->path[i].ns;
    return 0;
}

Test(profile, the_critical_path_goes_through_what_ended_last, .timeout = 10) {
    tine_profile p;
    tine_analysis a;
    job_read(&p, &a);
    cr_expect_eq(a.path_ns, 995 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_RESULT, "B"), 100 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_RUN, "B"), 290 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_START, "B"), 595 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_PROGRAM, NULL), 10 * US);
    job_close(&p, &a);
}

/* Without B, the path leads through A, which waited for C. */
Test(profile, the_critical_path_goes_through_nested_waits, .timeout = 10) {
    static const char text[] = JOB_HEAD JOB_SLICE("fork A", "fork", 1, 0, 10) JOB_FLOW("s", 1, 1, 5)
        JOB_SLICE("wait", "wait", 1, 20, 980) JOB_SLICE("A", "run", 2, 100, 200)
            JOB_FLOW("t", 1, 2, 100) JOB_SLICE("fork C", "fork", 2, 190, 20)
                JOB_FLOW("s", 3, 2, 200) JOB_SLICE("C", "run", 3, 350, 250) JOB_FLOW("t", 3, 3, 350)
                    JOB_SLICE("A", "run", 2, 620, 180) JOB_FLOW("t", 1, 2, 620)
                        JOB_FLOW("f", 3, 2, 630) JOB_FLOW("f", 1, 1, 1000) JOB_END;
    tine_profile p;
    tine_analysis a;
    char why[300];
    cr_assert(read_text(&p, text, strlen(text), why), "%s", why);
    tine_analyse(&a, &p);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_RESULT, "A"), 200 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_RUN, "A"), (180 + 100) * US, "from its fork of C");
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_RESULT, "C"), 20 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_RUN, "C"), 250 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_START, "C"), 150 * US);
    cr_expect_eq(path_ns(&p, &a, TINE_PATH_START, "A"), 95 * US);
    cr_expect_eq(a.path_ns, 995 * US);
    job_close(&p, &a);
}

Test(profile, latencies_and_gaps_are_found, .timeout = 10) {
    tine_profile p;
    tine_analysis a;
    job_read(&p, &a);
    cr_expect_eq(a.fork_to_start.n, 3);
    cr_expect_eq(a.fork_to_start.p50, 150 * US);
    cr_expect_eq(a.fork_to_start.most, 595 * US);
    cr_expect_eq(a.done_to_wait.n, 3);
    cr_expect_eq(a.done_to_wait.p50, 100 * US);
    cr_expect_eq(a.done_to_wait.most, 200 * US);
    cr_assert_eq(a.n_gaps, 5);
    cr_expect_eq(a.gaps[0].end - a.gaps[0].begin, 345 * US);
    cr_expect(strstr(a.gaps[0].cause, "B was forked but had not arrived"), "%s", a.gaps[0].cause);
    cr_expect_eq(a.gaps[1].end - a.gaps[1].begin, 320 * US);
    cr_expect(strstr(a.gaps[1].cause, "1 task was suspended here, A"), "%s", a.gaps[1].cause);
    cr_expect(strstr(a.gaps[2].cause, "no task was under way") ||
                  strstr(a.gaps[2].cause, "other workers"),
              "%s", a.gaps[2].cause);
    job_close(&p, &a);
}

Test(profile, an_attempt_that_was_lost_and_a_fork_that_never_ran_are_tasks, .timeout = 10) {
    static const char text[] = JOB_HEAD JOB_SLICE("fork A", "fork", 1, 0, 10) JOB_FLOW("s", 1, 1, 5)
        JOB_SLICE("wait", "wait", 1, 20, 10) JOB_FLOW("f", 1, 1, 25) JOB_END;
    tine_profile p;
    tine_analysis a;
    char why[300];
    cr_assert(read_text(&p, text, strlen(text), why), "%s", why);
    tine_analyse(&a, &p);
    cr_assert_eq(p.n_tasks, 1);
    cr_expect_str_eq(p.names[p.tasks[0].name], "A");
    cr_expect_eq(a.n_workers, 0);
    cr_expect_eq(a.n_functions, 0);
    job_close(&p, &a);
}

/* ---- files that are not as they should be ---- */

Test(profile, a_file_that_is_cut_off_is_refused_at_every_byte, .timeout = 60) {
    char why[300];
    size_t read = 0;
    for (size_t n = 1; n + 2 < sizeof job; n += 7) {
        tine_profile p;
        if (!read_text(&p, job, n, why)) {
            cr_expect(strstr(why, "is not a trace"), "%s", why);
            continue;
        }
        read++;
        tine_profile_fini(&p);
    }
    cr_expect_eq(read, 0);
}

Test(profile, bytes_changed_at_random_end_in_a_profile_or_in_an_error, .timeout = 60) {
    char text[sizeof job], why[300];
    size_t read = 0, refused = 0;
    srand(3);
    for (int i = 0; i < 3000; i++) {
        memcpy(text, job, sizeof job);
        /* Mostly other numbers, at times any byte. */
        for (int k = 0; k < 60; k++) {
            char *at = &text[(size_t)rand() % (sizeof job - 1)];
            if (*at >= '0' && *at <= '9') *at = (char)(rand() % 10 + '0');
            if (rand() % 100 == 0) *at = (char)(rand() % 96 + 32);
        }
        tine_profile p;
        tine_analysis a;
        if (!read_text(&p, text, sizeof job - 1, why)) {
            refused++;
            continue;
        }
        tine_analyse(&a, &p);
        json_object_put(tine_profile_json("x", &p, &a));
        FILE *out = fopen("/dev/null", "w");
        tine_profile_print(out, "x", &p, &a, (tine_text_style){.columns = 100});
        tine_profile_html(out, "x", &p, &a);
        tine_profile_svg(out, &p, &a);
        fclose(out);
        job_close(&p, &a);
        read++;
    }
    cr_expect(read > 100 && refused > 100, "%zu read, %zu refused", read, refused);
}

Test(profile, other_forms_of_the_format_are_read, .timeout = 10) {
    static const char list[] = " [ {\"name\":\"x\",\"ph\":\"X\",\"ts\":1.5,\"dur\":2,\"pid\":4,"
                               "\"tid\":9,\"args\":{\"a\":[1,{\"b\":\"]}\\\"\"}]}} ] ";
    static const char later[] = "{\"traceEvents\":[],\"otherData\":{\"events lost\":\"3\"}}";
    tine_profile p;
    char why[300];
    cr_assert(read_text(&p, list, strlen(list), why), "%s", why);
    cr_assert_eq(p.n_slices, 1);
    cr_expect_eq(p.slices[0].begin, 1500);
    cr_expect_eq(p.slices[0].kind, TINE_SLICE_OTHER);
    tine_profile_fini(&p);
    cr_assert(read_text(&p, later, strlen(later), why), "%s", why);
    cr_expect_eq(p.lost, 3);
    tine_profile_fini(&p);
    cr_expect(!read_text(&p, "{\"a\":1}", 7, why));
    cr_expect(!read_text(&p, "", 0, why));
}

/* ---- what is printed ---- */

static char *printed(const tine_profile *p, const tine_analysis *a, char form) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (form == 't')
        tine_profile_print(f, "job.json", p, a, (tine_text_style){.columns = 80});
    else if (form == 's')
        tine_profile_svg(f, p, a);
    else
        tine_profile_html(f, "job.json", p, a);
    fclose(f);
    return text;
}

Test(profile, the_time_line_shows_when_a_worker_was_busy, .timeout = 10) {
    tine_profile p;
    tine_analysis a;
    job_read(&p, &a);
    char *text = printed(&p, &a, 't');
    cr_expect(strstr(text, "7 events are missing"), "%s", text);
    cr_expect(strstr(text, "tasks at once   0: 25.6 %  1: 56.3 %  2: 18.1 %  mean 0.92 of 2"), "%s",
              text);
    cr_expect(strstr(text, "critical path, 995 us"), "%s", text);
    const char *row = strstr(strstr(text, "time line"), "worker 1");
    cr_expect(strstr(row, "worker 1                         ▁██████████▁               ▄████████▆"),
              "%s", row);
    row = strstr(row, "at once");
    cr_expect(strstr(row, "at once, of 2 workers        "), "%s", row);
    for (size_t i = 0; i < 3; i++) /* one worker of two is busy: half of the height */
        cr_expect(strstr(row, i ? "█" : "▄"), "%s", row);
    free(text);
    job_close(&p, &a);
}

Test(profile, names_of_workers_are_shown_whole, .timeout = 10) {
#define LONG_NAME "worker 1 (pid 30153, host node-17.example.org)"
    static const char name[] = LONG_NAME, text[] = "{\"traceEvents\":[\n" JOB_PROCESS(2, LONG_NAME)
                                              JOB_SLICE("task", "run", 2, 0, 10) JOB_END;
    char why[300];
    tine_profile p;
    tine_analysis a;
    cr_assert(read_text(&p, text, strlen(text), why), "%s", why);
    tine_analyse(&a, &p);
    char *table = printed(&p, &a, 't'), *at = strstr(table, name);
    cr_expect(at && at[sizeof name - 1] == ' ', "%s", table);
    free(table);
    job_close(&p, &a);
}

Test(profile, names_cannot_end_the_page_or_the_picture, .timeout = 10) {
    static const char text[] = JOB_HEAD JOB_SLICE("</script><b>&", "run", 2, 0, 10)
        JOB_SLICE("\\u001b[2J", "run", 2, 20, 10) JOB_END;
    tine_profile p;
    tine_analysis a;
    char why[300];
    cr_assert(read_text(&p, text, strlen(text), why), "%s", why);
    tine_analyse(&a, &p);
    char *page = printed(&p, &a, 'h'), *picture = printed(&p, &a, 's'),
         *table = printed(&p, &a, 't');
    cr_expect_null(strstr(page, "</script><b>"));
    cr_expect_not_null(strstr(page, "\\u003c/script>\\u003cb>&"));
    cr_expect_null(strstr(picture, "<b>"));
    cr_expect_null(strchr(table, 0x1b));
    free(page);
    free(picture);
    free(table);
    job_close(&p, &a);
}

/* Of more tasks than arrows are drawn for, those that are wide enough to be seen have them. */
Test(profile, the_picture_has_arrows_of_the_longest_of_many_tasks, .timeout = 10) {
    enum { TASKS = 60, LONG = 7 };
    char *text = NULL, why[300];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fputs(JOB_HEAD, f);
    for (int i = 0, at = 100; i < TASKS; i++) {
        int dur = i < LONG ? 1000 : 1;
        fprintf(f,
                "{\"name\":\"fork\",\"cat\":\"fork\",\"ph\":\"X\",\"ts\":%d,\"pid\":1,\"tid\":1,"
                "\"dur\":1},\n{\"name\":\"task\",\"cat\":\"task\",\"ph\":\"s\",\"ts\":%d,\"pid\":1,"
                "\"tid\":1,\"id\":\"%d\"},\n",
                i, i, i + 1);
        fprintf(
            f,
            "{\"name\":\"A\",\"cat\":\"run\",\"ph\":\"X\",\"ts\":%d,\"pid\":2,\"tid\":1,"
            "\"dur\":%d},\n{\"name\":\"task\",\"cat\":\"task\",\"ph\":\"t\",\"ts\":%d,\"pid\":2,"
            "\"tid\":1,\"id\":\"%d\"},\n",
            at, dur, at, i + 1);
        at += dur + 1;
    }
    fputs(JOB_END, f);
    fclose(f);
    tine_profile p;
    tine_analysis a;
    cr_assert(read_text(&p, text, size, why), "%s", why);
    cr_expect_eq(p.n_tasks, TASKS);
    tine_analyse(&a, &p);
    char *picture = printed(&p, &a, 's');
    int arrows = 0;
    for (char *at = picture; (at = strstr(at, "<path d=\"M")); at++) arrows++;
    cr_expect_eq(arrows - 1, LONG, "%d arrows and the head of one", arrows - 1);
    free(picture);
    free(text);
    job_close(&p, &a);
}

/* ---- a real run ---- */

Test(profile, a_run_of_the_ensemble_is_explained, .timeout = 60) {
    tine_program r = tine_program_run(
        50, "d=$(mktemp -d) && $B/tine ensemble --workers 2 --repeat 1 --channels 32 --batch 4 "
            "--models 2 --trace $d/t.json >/dev/null && $B/tine trace --json $d/t.json && "
            "$B/tine trace $d/t.json | grep -c '^critical path' && "
            "$B/tine trace --svg $d/t.svg --html $d/t.html $d/t.json && "
            "grep -c '</svg>' $d/t.svg && grep -c '</html>' $d/t.html; c=$?; rm -r $d; exit $c");
    cr_assert_eq(r.code, 0, "%s", r.error);
    json_object *o = json_tokener_parse(r.out), *v;
    cr_assert_not_null(o, "%s", r.out);
    cr_expect(json_object_object_get_ex(o, "workers", &v) && json_object_array_length(v) == 2);
    cr_expect(json_object_object_get_ex(o, "events_lost", &v) && json_object_get_int(v) == 0);
    double job_s = json_object_get_double(json_object_object_get(o, "job_seconds"));
    double path_s = json_object_get_double(json_object_object_get(o, "critical_path_seconds"));
    cr_expect(path_s > 0.99 * job_s && path_s < 1.01 * job_s, "%f of %f", path_s, job_s);
    cr_expect(strstr(r.out, "\n1\n1\n1\n"), "%s", r.out);
    json_object_put(o);
    tine_program_fini(&r);
}

Test(profile, the_command_says_what_is_wrong, .timeout = 60) {
    tine_program r =
        tine_program_run(20, "$B/tine trace /nonexistent.json; echo $?; "
                             "$B/tine trace /; echo $?; $B/tine trace Makefile; echo $?");
    cr_expect_str_eq(r.out, "2\n2\n2\n");
    cr_expect(strstr(r.error, "/nonexistent.json cannot be read: No such file"), "%s", r.error);
    cr_expect(strstr(r.error, "/ is not a regular file"), "%s", r.error);
    cr_expect(strstr(r.error, "Makefile is not a trace in the Trace Event Format"), "%s", r.error);
    tine_program_fini(&r);
    r = tine_program_run(20, "f=$(mktemp --suffix=.pftrace); printf '\\ntwelve bytes' >$f; "
                             "$B/tine trace $f; echo $?; rm $f");
    cr_expect_str_eq(r.out, "2\n");
    cr_expect(strstr(r.error, ".pftrace is for ui.perfetto.dev: tine trace reads"), "%s", r.error);
    tine_program_fini(&r);
}
