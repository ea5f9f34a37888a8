/* `tine bench fork`: the cost of fork and wait beside that of the bare transport.
 *
 * The bare figures come first, while this process has one thread and may fork a child that echoes.
 * Under mpirun the other ranks echo. Every rank opens the mpi transport equally often, which it
 * requires. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/bench/bare.h"
#include "launch/bench/flag.h"
#include "launch/bench/machine.h"
#include "launch/bench/mpi.h"
#include "launch/bench/outputs.h"
#include "launch/bench/pool.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/spawn/private.h"
#include "runtime/settings/cores.h"
#include "runtime/value/error.h"
#include "transport/transport.h"

enum { LARGE = 10000000, SMALL = 64, WAYS = 3 };

TINE_FUNCTION(bench_nothing, "") {
    (void)task;
    return tine_none();
}
TINE_FUNCTION(bench_scalar, "x") { return tine_ref((tine_value *)tine_arg(task, 0)); }
TINE_FUNCTION(bench_tensor, "x") {
    return tine_ref((tine_value *)tine_arg_tensor(task, 0, TINE_U8, 1));
}

typedef struct fork_sizes {
    long rounds, tasks, large_rounds;
} fork_sizes;

typedef struct fork_figures {
    tine_estimate p50, p99, rate, bytes_rate; /* us, us, tasks a second, GB/s */
} fork_figures;

/* One way between the processes. */
typedef struct fork_way {
    const char *name;
    const char *url; /* NULL: a private ipc path */
    bool chosen;     /* by the settings: tine_init finds it there */
    int lane;        /* as in tine_transport_config */
    size_t arena;    /* the same */
    tine_bare bare;
    fork_figures tine;
} fork_way;

typedef struct fork_run {
    fork_way ways[WAYS];
    int n, workers;
    tine_bare_trip flag, futex;
} fork_run;

static tine_error fork_round_trips(const fork_sizes *s, fork_figures *out) {
    double *samples = malloc((size_t)s->rounds * sizeof *samples);
    tine_error failed = samples ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory");
    long warm = s->rounds / 10, n = 0;
    double begin = tine_seconds();
    for (long i = 0; !failed && n < s->rounds; i++) {
        double start = tine_seconds();
        if (n > 0 && start - begin > TINE_BENCH_SECONDS) break;
        tine_future *f = tine_fork("bench_nothing");
        failed = tine_wait(f, NULL);
        if (i >= warm && start - begin >= TINE_BENCH_WARM_SECONDS)
            samples[n++] = 1e6 * (tine_seconds() - start);
        tine_release(f);
    }
    if (!failed) {
        out->p50 = tine_estimate_quantile(samples, (size_t)n, 0.5);
        out->p99 = tine_estimate_quantile(samples, (size_t)n, 0.99);
    }
    free(samples);
    return failed;
}

static tine_error fork_burst(long tasks, double *rate) {
    tine_future **futures = calloc((size_t)tasks, sizeof(tine_future *));
    if (!futures) return tine_error_set(TINE_ENOMEM, "no memory");
    double start = tine_seconds();
    for (long i = 0; i < tasks; i++) futures[i] = tine_fork("bench_scalar", i);
    tine_error failed = TINE_OK;
    for (long i = 0; !failed && i < tasks; i++) {
        tine_value *v = NULL;
        failed = tine_wait(futures[i], &v);
        if (!failed && tine_as_int(v) != i)
            failed =
                tine_error_set(TINE_EFAILED, "bench_scalar returned a wrong value for task %ld", i);
        tine_release(v);
    }
    *rate = (double)tasks / (tine_seconds() - start);
    for (long i = 0; i < tasks; i++) tine_release(futures[i]);
    free(futures);
    return failed;
}

static tine_error fork_pipelined(const fork_sizes *s, fork_figures *out) {
    double rates[TINE_BENCH_BATCHES];
    for (int i = 0; i < TINE_BENCH_BATCHES; i++) {
        tine_error failed = fork_burst(s->tasks / TINE_BENCH_BATCHES, &rates[i]);
        if (failed) return failed;
    }
    out->rate = tine_estimate_quantile(rates, TINE_BENCH_BATCHES, 0.5);
    return TINE_OK;
}

static tine_error fork_large(const fork_sizes *s, fork_figures *out) {
    void *bytes;
    tine_value *x = tine_tensor_new(TINE_U8, 1, (int64_t[]){LARGE}, &bytes);
    double *samples = malloc((size_t)s->large_rounds * sizeof *samples);
    tine_error failed = x && samples ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory");
    if (!failed) memset(bytes, 1, LARGE);
    for (long i = 0; !failed && i < s->large_rounds + 1; i++) {
        double start = tine_seconds();
        tine_future *f = tine_fork("bench_tensor", x);
        failed = tine_wait(f, NULL);
        samples[i % s->large_rounds] = 2e-9 * LARGE / (tine_seconds() - start);
        tine_release(f);
    }
    if (!failed) out->bytes_rate = tine_estimate_quantile(samples, (size_t)s->large_rounds, 0.5);
    free(samples);
    tine_release(x);
    return failed;
}

static tine_error fork_measure(const fork_sizes *s, fork_figures *out) {
    tine_progress("round trips");
    tine_error failed = fork_round_trips(s, out);
    tine_progress("pipelined tasks");
    if (!failed) failed = fork_pipelined(s, out);
    tine_progress("10 MB tensors");
    if (!failed) failed = fork_large(s, out);
    tine_progress_end();
    return failed;
}

/* ---- results ---- */

enum { KEY_WAY, KEY_SIDE, KEY_WORKERS };
enum { ROUND_TRIP_P50, ROUND_TRIP_P99, PIPELINED, BYTES };

static const tine_result_form fork_form = {
    .bench = "fork",
    .title = "Fork and wait beside the bare transport",
    .keys = {{"way", false, false}, {"side", false, false}, {"workers", true, false}},
    .measures = {{"round_trip_p50_us", "round trip, median (us)", false, true},
                 {"round_trip_p99_us", "round trip, 99 % (us)", false, true},
                 {"pipelined_per_second", "pipelined, there and back, per second", true, true},
                 {"gigabytes_per_second", "10 MB there and back (GB/s)", true, true}},
    .x = KEY_WAY,
    .panel = -1,
    .ideal = -1,
    .logarithmic = true,
};

static tine_result *fork_row(tine_results *r, const char *way, const char *side, int workers) {
    tine_result *row = tine_results_add(r);
    tine_result_key_set(row, KEY_WAY, "%s", way);
    tine_result_key_set(row, KEY_SIDE, "%s", side);
    tine_result_key_set(row, KEY_WORKERS, "%d", workers);
    return row;
}

static void fork_row_trip(tine_result *row, tine_estimate p50, tine_estimate p99) {
    row->figures[ROUND_TRIP_P50] = p50;
    row->figures[ROUND_TRIP_P99] = p99;
}

static void fork_results(const fork_run *run, tine_results *r) {
    for (int i = 0; i < run->n; i++) {
        const fork_way *w = &run->ways[i];
        tine_result *row = fork_row(r, w->name, "tine", run->workers);
        fork_row_trip(row, w->tine.p50, w->tine.p99);
        row->figures[PIPELINED] = w->tine.rate;
        row->figures[BYTES] = w->tine.bytes_rate;
        row = fork_row(r, w->name, "bare", 1);
        fork_row_trip(row, w->bare.p50, w->bare.p99);
        row->figures[PIPELINED] = w->bare.rate;
        row->figures[BYTES] = w->bare.bytes_rate;
        if (w->bare.mpi_p50.n > 0)
            fork_row_trip(fork_row(r, "MPI_Send", "bare", 1), w->bare.mpi_p50, w->bare.mpi_p99);
    }
    if (run->flag.p50.n > 0)
        fork_row_trip(fork_row(r, "flag", "bare", 1), run->flag.p50, run->flag.p99);
    fork_row_trip(fork_row(r, "futex", "bare", 1), run->futex.p50, run->futex.p99);
}

/* ---- what is measured ---- */

/* Where the user has chosen neither an endpoint nor a lane, all ways between processes of one host;
 * under mpirun its transport. */
static void ways_choose(fork_run *r, const tine_pool_choice *c) {
    if (!c->chosen && c->plain) {
        r->ways[r->n++] = (fork_way){.name = "lane", .arena = c->arena};
        r->ways[r->n++] = (fork_way){.name = "ipc", .lane = -1};
        r->ways[r->n++] = (fork_way){.name = "tcp", .lane = -1, .url = "tcp://127.0.0.1:0"};
    } else {
        r->ways[r->n++] = (fork_way){.name = c->chosen ? c->scheme : "ipc",
                                     .lane = c->lane ? 0 : -1,
                                     .arena = c->arena,
                                     .chosen = true,
                                     .url = c->any};
    }
}

static bool way_has_ranks(const fork_way *w) {
    return tine_transport_flags(w->url) & TINE_TRANSPORT_RANKS;
}

static bool bare_of_way(const fork_sizes *s, fork_way *w, char *why, size_t why_size) {
    tine_private place = {0};
    if (!w->url && tine_private_open(&place) != TINE_OK) {
        snprintf(why, why_size, "%s", tine_error_message());
        return false;
    }
    const char *url = w->url ? w->url : place.url;
    const tine_bare_config config = {.url = url,
                                     .rounds = (size_t)s->rounds,
                                     .burst = (size_t)s->tasks,
                                     .small = SMALL,
                                     .large = LARGE,
                                     .large_rounds = (size_t)s->large_rounds,
                                     .lane = w->lane,
                                     .arena = w->arena};
    tine_progress("bare %s", w->name);
    bool good = tine_first_rank() ? tine_bare_measure(&config, &w->bare, why, why_size)
                                  : tine_bare_echo(url, w->lane, w->arena, why, why_size);
    if (good && way_has_ranks(w))
        good = tine_bare_mpi(s->rounds, SMALL, &w->bare.mpi_p50, &w->bare.mpi_p99, why, why_size);
    tine_private_close(&place);
    return good;
}

/* Both sides poll the flag, so each needs a core. */
static bool measure_floors(const fork_sizes *s, fork_run *run, tine_results *r) {
    bool cores = tine_cores_available() > 1;
    if (!cores)
        tine_results_warn(r, "a flag in shared memory is not measured: it needs two cores, and "
                             "this process may use one");
    tine_progress("a flag and a futex");
    bool good = (!cores || tine_bare_flag((size_t)s->rounds, false, &run->flag)) &&
                tine_bare_flag((size_t)s->rounds, true, &run->futex);
    tine_progress_end();
    if (!good) fprintf(stderr, "tine bench fork: no memory or process for a ping-pong\n");
    return good;
}

static bool measure_bare(const fork_sizes *s, fork_run *run) {
    char why[256] = "";
    bool good = true;
    for (int i = 0; i < run->n && good; i++) good = bare_of_way(s, &run->ways[i], why, sizeof why);
    tine_progress_end();
    if (!good) tine_command_refuse("bench fork", 1, "%s", why);
    return good;
}

/* With workers of its own for each way. False: why is on standard error. */
static bool measure_tine(int argc, char **argv, const fork_sizes *s, fork_run *r) {
    for (int i = 0; i < r->n; i++) {
        fork_way *w = &r->ways[i];
        tine_options options = {.endpoint = w->chosen ? NULL : w->url,
                                .lane = w->lane < 0 ? "off" : NULL};
        tine_error failed = tine_pool_open(argc, argv, &options);
        if (!failed) failed = fork_measure(s, &w->tine);
        if (failed) fprintf(stderr, "tine bench fork: %s\n", tine_error_message());
        r->workers = tine_worker_count();
        if (tine_shutdown() || failed) return false;
    }
    return true;
}

/* The ranks of a job poll from their start until the shutdown, after which they sleep: there the
 * floors are measured last. */
static bool measure_all_ways(int argc, char **argv, const fork_sizes *s, tine_results *r) {
    tine_pool_choice choice;
    fork_run run = {0};
    if (tine_pool_choose(argc, argv, &choice)) {
        tine_command_refuse("bench fork", 1, "%s", tine_error_message());
        return false;
    }
    ways_choose(&run, &choice);
    bool ranks = way_has_ranks(&run.ways[0]);
    bool good = (ranks || measure_floors(s, &run, r)) && measure_bare(s, &run) &&
                measure_tine(argc, argv, s, &run) && (!ranks || measure_floors(s, &run, r));
    if (good) fork_results(&run, r);
    return good;
}

static int bench_fork_start(int argc, char **argv, const fork_sizes *s, tine_outputs *o) {
    tine_results r = {0};
    tine_machine_watch watch;
    int code = tine_outputs_begin(o, &r, &fork_form);
    tine_machine_begin(&watch);
    if (code < 0 && !o->from) {
        if (!measure_all_ways(argc, argv, s, &r)) code = 1;
        tine_machine_end(&watch, &r);
    }
    if (code < 0) code = tine_outputs_end(o, &r, tine_results_print);
    tine_results_fini(&r);
    tine_outputs_fini(o);
    return code;
}

int tine_command_bench_fork(int argc, char **argv) {
    fork_sizes s = {20000, 100000, 20};
    tine_outputs outputs = {0};
    const tine_option options[] = {
        TINE_OPTION_WORKERS,
        {"--endpoint", "URL", "where workers join; its transport is the one measured bare",
         TINE_OPTION_SETTING, NULL, 0, 0},
        {"--rounds", "N", "sequential round trips (20000)", TINE_OPTION_NUMBER, &s.rounds, 10,
         10000000},
        {"--tasks", "N", "pipelined tasks (100000)", TINE_OPTION_NUMBER, &s.tasks, 10, 10000000},
        {"--large", "N", "round trips of 10 MB (20)", TINE_OPTION_NUMBER, &s.large_rounds, 1,
         100000},
        TINE_OPTION_TRACE,
        TINE_OPTIONS_OUTPUTS(outputs),
        {0},
    };
    const tine_usage usage = {
        "bench fork",
        "",
        "Measures an empty fork and wait, pipelined tasks with a scalar argument and result, and "
        "a\n"
        "10 MB tensor as argument and result, each beside a ping-pong over the bare transport in\n"
        "the same run; without an endpoint over shared memory, ipc and tcp.",
        options,
        0,
        0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    return bench_fork_start(argc, argv, &s, &outputs);
}
