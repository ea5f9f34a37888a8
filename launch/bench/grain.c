/* `tine bench grain`: how small tasks may be.
 *
 * A one-dimensional stencil of tasks, as in Task Bench: each task needs the results of three tasks
 * of the step before, then computes for some time. Its body shrinks until the workers spend half of
 * their time on something else; that body is METG(50 %), the minimum effective task granularity.
 * The efficiency is the time of the bodies alone, on the same workers, over that of the stencil.
 * Beside it, a chain of dependent tasks without a body, and nested forks: Fibonacci numbers, where
 * every call forks. Each figure is taken over each transport, in a Tine of its own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/bench/machine.h"
#include "launch/bench/outputs.h"
#include "launch/bench/pool.h"
#include "launch/bench/rows.h"
#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "runtime/value/error.h"

enum { MAX_WIDTH = 1024, MIN_STEPS = 20, MAX_STEPS = 5000, ROUNDS = 3, REPEAT_MAX = 1000 };
/* Seconds. */
static const double first_body = 1e-3, last_body = 0.2e-6;

static volatile uint64_t grain_seed = 1;

/* A chain of multiply-adds, which no compiler can shorten. */
static void grain_compute(int64_t iterations) {
    uint64_t x = grain_seed;
    for (int64_t i = 0; i < iterations; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        __asm__ volatile("" : "+r"(x));
    }
    grain_seed = x;
}

/* The step: one more than that of its inputs. */
TINE_FUNCTION(bench_grain, "iterations, inputs") {
    const tine_value *inputs = tine_arg(task, 1);
    int64_t step = 0;
    for (size_t i = 0; i < tine_length(inputs); i++) {
        int64_t of_input = tine_as_int(tine_at(inputs, i));
        if (of_input > step) step = of_input;
    }
    grain_compute(tine_arg_int(task, 0));
    return tine_int(step + 1);
}
TINE_FUNCTION(bench_column, "iterations") {
    grain_compute(tine_arg_int(task, 0));
    return tine_none();
}
TINE_FUNCTION(bench_chain, "i") { return tine_int(tine_arg_int(task, 0) + 1); }
TINE_FUNCTION(bench_fib, "n") {
    int64_t n = tine_arg_int(task, 0);
    if (n < 2) return tine_int(n);
    tine_future *a = tine_fork("bench_fib", n - 1), *b = tine_fork("bench_fib", n - 2);
    tine_value *x, *y;
    if (tine_wait(a, &x) || tine_wait(b, &y)) return NULL;
    return tine_int(tine_as_int(x) + tine_as_int(y));
}

typedef struct grain_sizes {
    long width, milliseconds, chain, fib, repeat;
} grain_sizes;

enum { KEY_TRANSPORT, KEY_WORKERS };
enum { METG, CHAIN, NESTED };

static const tine_result_form grain_form = {
    .bench = "grain",
    .title = "How small tasks may be",
    .keys = {{"transport", false, false}, {"workers", true, false}},
    .measures = {{"metg_us", "smallest task at 50 % efficiency (us)", false, true},
                 {"chain_per_second", "chain of tasks, per second", true, true},
                 {"nested_per_second", "nested forks, per second", true, true}},
    .x = KEY_TRANSPORT,
    .panel = -1,
    .ideal = -1,
    .logarithmic = true,
};

/* ---- the stencil ---- */

/* By the CPU's time: other load must not make bodies look longer than they are. */
static double seconds_per_iteration(void) {
    enum { ITERATIONS = 200000 };
    double best = INFINITY;
    for (int i = 0; i < 20; i++) {
        double start = tine_bench_clock();
        grain_compute(ITERATIONS);
        double took = tine_bench_clock() - start;
        if (took < best) best = took;
    }
    return best / ITERATIONS;
}

/* The next step of the row; the futures of the last one are released. */
static void stencil_step(tine_future **row, long width, int64_t iterations) {
    tine_future *next[MAX_WIDTH];
    for (long i = 0; i < width; i++) {
        long first = i > 0 ? i - 1 : 0, last = i < width - 1 ? i + 1 : i;
        tine_value *inputs =
            row[0] ? tine_list_of_futures(row + first, (size_t)(last - first + 1)) : tine_list();
        next[i] = tine_fork("bench_grain", iterations, inputs);
        tine_release(inputs);
    }
    for (long i = 0; i < width; i++) tine_release(row[i]);
    memcpy(row, next, (size_t)width * sizeof *row);
}

static tine_error stencil_run(long width, long steps, int64_t iterations, double *seconds) {
    tine_future *row[MAX_WIDTH] = {0};
    tine_error failed = TINE_OK;
    double start = tine_seconds();
    for (long i = 0; i < steps; i++) stencil_step(row, width, iterations);
    for (long i = 0; i < width; i++) {
        tine_value *v = NULL;
        if (!failed) failed = tine_wait(row[i], &v);
        if (!failed && tine_as_int(v) != steps)
            failed = tine_error_set(TINE_EFAILED, "the stencil gave a wrong value");
        tine_release(v);
        tine_release(row[i]);
    }
    *seconds = tine_seconds() - start;
    return failed;
}

/* The same bodies without the tasks: one task for each column computes all of them. */
static tine_error bodies_alone(long width, long steps, int64_t iterations, double *seconds) {
    tine_future *columns[MAX_WIDTH];
    tine_error failed = TINE_OK;
    double start = tine_seconds();
    for (long i = 0; i < width; i++) columns[i] = tine_fork("bench_column", steps * iterations);
    for (long i = 0; i < width; i++) {
        if (!failed) failed = tine_wait(columns[i], NULL);
        tine_release(columns[i]);
    }
    *seconds = tine_seconds() - start;
    return failed;
}

/* The efficiency with bodies of `body` seconds. Both runs are repeated in turns, and the best of
 * each counts: other load can only make them longer. */
static tine_error stencil_efficiency(const grain_sizes *s, double body, double per_iteration,
                                     double *efficiency) {
    int64_t iterations = (int64_t)(body / per_iteration) + 1;
    double wanted = 1e-3 * (double)s->milliseconds / body, alone = INFINITY, tasks = INFINITY, took;
    long steps = wanted < MIN_STEPS ? MIN_STEPS : wanted > MAX_STEPS ? MAX_STEPS : (long)wanted;
    tine_error failed = TINE_OK;
    for (int i = 0; i < ROUNDS && !failed; i++) {
        failed = bodies_alone(s->width, steps, iterations, &took);
        if (took < alone) alone = took;
        if (!failed) failed = stencil_run(s->width, steps, iterations, &took);
        if (took < tasks) tasks = took;
    }
    *efficiency = alone / tasks;
    return failed;
}

/* Halves the body while it is efficient; between the last two bodies the efficiency is taken to be
 * linear in the body's logarithm. */
static tine_error stencil_metg(const grain_sizes *s, double *metg) {
    double per_iteration = seconds_per_iteration(), before = 1, now, ignored;
    tine_error failed = stencil_run(s->width, MIN_STEPS, 1, &ignored); /* its mean time is known */
    *metg = 0;
    for (double body = first_body; !failed && body > last_body; body /= 2) {
        failed = stencil_efficiency(s, body, per_iteration, &now);
        if (now < 0.5) {
            if (*metg > 0) *metg = body * exp2((0.5 - now) / (before - now));
            return failed;
        }
        *metg = body;
        before = now;
    }
    return failed;
}

/* ---- the chain, and nested forks ---- */

static tine_error chain_rate(long length, double *rate) {
    tine_future *last = NULL;
    tine_value *v = NULL;
    double start = tine_seconds();
    for (long i = 0; i < length; i++) {
        tine_future *next = last ? tine_fork("bench_chain", last) : tine_fork("bench_chain", 0);
        tine_release(last);
        last = next;
    }
    tine_error failed = tine_wait(last, &v);
    *rate = (double)length / (tine_seconds() - start);
    if (!failed && tine_as_int(v) != length)
        failed = tine_error_set(TINE_EFAILED, "the chain gave a wrong value");
    tine_release(v);
    tine_release(last);
    return failed;
}

static tine_error fib_rate(long n, double *rate) {
    int64_t a = 0, b = 1; /* fib(i) and fib(i + 1) */
    for (long i = 0; i < n; i++) {
        int64_t next = a + b;
        a = b;
        b = next;
    }
    tine_value *v = NULL;
    double start = tine_seconds();
    tine_future *f = tine_fork("bench_fib", n);
    tine_error failed = tine_wait(f, &v);
    *rate = (double)(2 * b - 1) / (tine_seconds() - start); /* the number of calls */
    if (!failed && tine_as_int(v) != a)
        failed = tine_error_set(TINE_EFAILED, "fib gave a wrong value");
    tine_release(v);
    tine_release(f);
    return failed;
}

/* ---- each transport ---- */

/* One of the repetitions. A METG of 0, where no body was efficient, counts as not measured. */
static tine_error grain_round(const grain_sizes *s, const char *name, long i,
                              double samples[][REPEAT_MAX], size_t *n_metg) {
    double metg = 0;
    tine_progress("%s, %ld of %ld: stencil", name, i + 1, s->repeat);
    tine_error failed = stencil_metg(s, &metg);
    if (metg > 0) samples[METG][(*n_metg)++] = 1e6 * metg;
    tine_progress("%s, %ld of %ld: chain", name, i + 1, s->repeat);
    if (!failed) failed = chain_rate(s->chain, &samples[CHAIN][i]);
    tine_progress("%s, %ld of %ld: nested forks", name, i + 1, s->repeat);
    if (!failed) failed = fib_rate(s->fib, &samples[NESTED][i]);
    return failed;
}

static tine_error grain_measure(const grain_sizes *sizes, tine_results *r) {
    double samples[NESTED + 1][REPEAT_MAX];
    size_t n_metg = 0, n = (size_t)sizes->repeat;
    grain_sizes s = *sizes;
    tine_error failed = TINE_OK;
    tine_result *row = tine_results_add(r);
    tine_result_key_set(row, KEY_TRANSPORT, "%.*s", (int)strcspn(tine_endpoint(), ":"),
                        tine_endpoint());
    tine_result_key_set(row, KEY_WORKERS, "%d", tine_worker_count());
    if (s.width == 0) s.width = tine_worker_count();
    for (long i = 0; i < s.repeat && !failed; i++)
        failed = grain_round(&s, row->keys[KEY_TRANSPORT], i, samples, &n_metg);
    tine_progress_end();
    if (failed) return failed;
    row->figures[METG] = tine_estimate_quantile(samples[METG], n_metg, 0.5);
    row->figures[CHAIN] = tine_estimate_quantile(samples[CHAIN], n, 0.5);
    row->figures[NESTED] = tine_estimate_quantile(samples[NESTED], n, 0.5);
    return TINE_OK;
}

/* In a Tine of its own. Returns the exit code. */
static int grain_over(const char *endpoint, int argc, char **argv, const grain_sizes *s,
                      tine_results *r) {
    tine_error failed = tine_pool_open(argc, argv, &(tine_options){.endpoint = endpoint});
    if (!failed) failed = grain_measure(s, r);
    if (failed) fprintf(stderr, "tine bench grain: %s\n", tine_error_message());
    int ended = tine_shutdown();
    return failed ? 1 : ended;
}

/* Over the transport that is chosen, or over each. */
static int grain_each(int argc, char **argv, const grain_sizes *s, tine_results *r) {
    static const char *const each[] = {"inproc://*", NULL, "tcp://127.0.0.1:0"};
    tine_pool_choice choice;
    tine_machine_watch watch;
    tine_machine_begin(&watch);
    if (tine_pool_choose(argc, argv, &choice))
        return tine_command_refuse("bench grain", 2, "%s", tine_error_message());
    int code = choice.chosen ? grain_over(NULL, argc, argv, s, r) : 0;
    for (size_t i = 0; !choice.chosen && !code && i < sizeof each / sizeof *each; i++)
        code = grain_over(each[i], argc, argv, s, r);
    tine_machine_end(&watch, r);
    return code;
}

static int bench_grain_start(int argc, char **argv, const grain_sizes *s, tine_outputs *o) {
    tine_results r = {0};
    int code = tine_outputs_begin(o, &r, &grain_form);
    if (code < 0 && !o->from) {
        code = grain_each(argc, argv, s, &r);
        if (!code) code = -1;
    }
    if (code < 0) code = tine_outputs_end(o, &r, tine_results_print);
    tine_results_fini(&r);
    tine_outputs_fini(o);
    return code;
}

int tine_command_bench_grain(int argc, char **argv) {
    grain_sizes s = {0, 30, 20000, 15, 7};
    tine_outputs outputs = {0};
    const tine_option options[] = {
        TINE_OPTION_WORKERS,
        {"--endpoint", "URL", "measure over this transport alone", TINE_OPTION_SETTING, NULL, 0, 0},
        {"--width", "N", "tasks of one step of the stencil (default: one per worker)",
         TINE_OPTION_NUMBER, &s.width, 1, MAX_WIDTH},
        {"--milliseconds", "N", "what the bodies of one column take together (30)",
         TINE_OPTION_NUMBER, &s.milliseconds, 1, 100000},
        {"--chain", "N", "tasks of the chain (20000)", TINE_OPTION_NUMBER, &s.chain, 1, 10000000},
        {"--fib", "N", "the Fibonacci number that nested forks compute (15)", TINE_OPTION_NUMBER,
         &s.fib, 1, 40},
        {"--repeat", "R", "measurements of each figure (7)", TINE_OPTION_NUMBER, &s.repeat, 1,
         REPEAT_MAX},
        TINE_OPTIONS_OUTPUTS(outputs),
        {0},
    };
    const tine_usage usage = {"bench grain",
                              "",
                              "Measures how small tasks may be: a stencil of tasks whose bodies "
                              "shrink until the workers\n"
                              "are busy with them half of the time (METG), a chain of dependent "
                              "tasks, and nested forks.\n"
                              "Without --endpoint and mpirun, over inproc, ipc and tcp in turn.",
                              options,
                              0,
                              0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    return bench_grain_start(argc, argv, &s, &outputs);
}
