/* `tine bench fork`: the cost of fork and wait beside that of the bare transport.
 *
 * The bare figures come first, while this process has one thread and may fork a child that echoes.
 * Under mpirun the other ranks echo. Every rank opens the mpi transport equally often, which it
 * requires. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/bench/bare.h"
#include "launch/bench/flag.h"
#include "launch/bench/mpi.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/spawn/private.h"
#include "runtime/settings/settings.h"
#include "runtime/value/error.h"
#include "transport/launcher.h"
#include "transport/transport.h"

enum { LARGE = 10000000, SMALL = 64, WAYS = 3, ARGUMENTS = 64 };

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
    double p50, p99, rate, bytes_rate;
} fork_figures;

/* One way between the processes. */
typedef struct fork_way {
    const char *name;
    const char *url; /* NULL: a private ipc path */
    bool chosen;     /* by the settings: tine_init finds it there */
    int lane;        /* as in tine_transport_config */
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
        if (i >= warm) samples[n++] = tine_seconds() - start;
        tine_release(f);
    }
    if (!failed) {
        out->p50 = tine_quantile(samples, (size_t)n, 0.5);
        out->p99 = tine_quantile(samples, (size_t)n, 0.99);
    }
    free(samples);
    return failed;
}

static tine_error fork_pipelined(const fork_sizes *s, fork_figures *out) {
    tine_future **futures = calloc((size_t)s->tasks, sizeof(tine_future *));
    if (!futures) return tine_error_set(TINE_ENOMEM, "no memory");
    double start = tine_seconds();
    for (long i = 0; i < s->tasks; i++) futures[i] = tine_fork("bench_scalar", i);
    tine_error failed = TINE_OK;
    for (long i = 0; !failed && i < s->tasks; i++) {
        tine_value *v = NULL;
        failed = tine_wait(futures[i], &v);
        if (!failed && tine_as_int(v) != i)
            failed =
                tine_error_set(TINE_EFAILED, "bench_scalar returned a wrong value for task %ld", i);
        tine_release(v);
    }
    out->rate = (double)s->tasks / (tine_seconds() - start);
    for (long i = 0; i < s->tasks; i++) tine_release(futures[i]);
    free(futures);
    return failed;
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
        samples[i % s->large_rounds] = tine_seconds() - start;
        tine_release(f);
    }
    if (!failed)
        out->bytes_rate = 2.0 * LARGE / tine_quantile(samples, (size_t)s->large_rounds, 0.5);
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

/* ---- output ---- */

static void fork_print_row(const char *label, const char *unit, int digits, const fork_way *ways,
                           int n, double scale, size_t tine, size_t bare) {
    printf("%-36s %5s", label, unit);
    for (int i = 0; i < n; i++) {
        double a = *(const double *)((const char *)&ways[i].tine + tine);
        double b = *(const double *)((const char *)&ways[i].bare + bare);
        printf("  %9.*f%9.*f", digits, a * scale, digits, b * scale);
    }
    putchar('\n');
}

#define ROW(label, unit, digits, scale, field)                                                     \
    fork_print_row(label, unit, digits, r->ways, r->n, scale, offsetof(fork_figures, field),       \
                   offsetof(tine_bare, field))

static void fork_print_table(const fork_run *r) {
    printf("%d worker%s; each pair of columns: Tine, and the transport alone\n\n%-42s", r->workers,
           r->workers == 1 ? "" : "s", "");
    for (int i = 0; i < r->n; i++) printf("  %9s%9s", r->ways[i].name, "bare");
    putchar('\n');
    ROW("empty fork + wait, round trip, p50", "us", 1, 1e6, p50);
    ROW("                               p99", "us", 1, 1e6, p99);
    ROW("pipelined, a scalar there and back", "k/s", 0, 1e-3, rate);
    ROW("10 MB tensor there and back", "GB/s", 2, 1e-9, bytes_rate);
    printf("\na flag in shared memory, there and back: p50 %.2f us, p99 %.2f us; a futex: p50 %.2f "
           "us, p99 %.2f us\n",
           r->flag.p50 * 1e6, r->flag.p99 * 1e6, r->futex.p50 * 1e6, r->futex.p99 * 1e6);
    const tine_bare *b = &r->ways[0].bare;
    if (b->mpi_p50 > 0)
        printf("MPI_Send and MPI_Recv, %d bytes there and back: p50 %.2f us, p99 %.2f us\n", SMALL,
               b->mpi_p50 * 1e6, b->mpi_p99 * 1e6);
}

static json_object *fork_json_figures(double p50, double p99, double rate, double bytes_rate) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "round_trip_p50_us", tine_json_number(p50 * 1e6, 5));
    json_object_object_add(o, "round_trip_p99_us", tine_json_number(p99 * 1e6, 5));
    json_object_object_add(o, "pipelined_per_second", tine_json_number(rate, 6));
    json_object_object_add(o, "gigabytes_per_second", tine_json_number(bytes_rate * 1e-9, 5));
    return o;
}

static json_object *fork_json_trip(double p50, double p99) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "round_trip_p50_us", tine_json_number(p50 * 1e6, 5));
    json_object_object_add(o, "round_trip_p99_us", tine_json_number(p99 * 1e6, 5));
    return o;
}

/* "tine" and "transport" are those of the first way, which is what Tine uses by itself. */
static void fork_print_json(const fork_run *r) {
    json_object *o = json_object_new_object(), *ways = json_object_new_object();
    json_object_object_add(o, "workers", json_object_new_int(r->workers));
    for (int i = 0; i < r->n; i++) {
        const fork_figures *t = &r->ways[i].tine;
        const tine_bare *b = &r->ways[i].bare;
        json_object *way = json_object_new_object();
        json_object *tine = fork_json_figures(t->p50, t->p99, t->rate, t->bytes_rate);
        json_object *bare = fork_json_figures(b->p50, b->p99, b->rate, b->bytes_rate);
        if (i == 0) {
            json_object_object_add(o, "tine", json_object_get(tine));
            json_object_object_add(o, "transport", json_object_get(bare));
        }
        json_object_object_add(way, "tine", tine);
        json_object_object_add(way, "transport", bare);
        json_object_object_add(ways, r->ways[i].name, way);
    }
    json_object_object_add(o, "ways", ways);
    json_object_object_add(o, "flag", fork_json_trip(r->flag.p50, r->flag.p99));
    json_object_object_add(o, "futex", fork_json_trip(r->futex.p50, r->futex.p99));
    const tine_bare *b = &r->ways[0].bare;
    if (b->mpi_p50 > 0) json_object_object_add(o, "mpi", fork_json_trip(b->mpi_p50, b->mpi_p99));
    tine_json_print(o);
}

/* ---- what is measured ---- */

static bool is_default(const tine_settings *s, const char *name) {
    tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(s, rows, TINE_SETTINGS_MAX);
    for (size_t i = 0; i < n && i < TINE_SETTINGS_MAX; i++)
        if (!strcmp(rows[i].name, name)) return !strcmp(rows[i].origin, "default");
    return false;
}

/* Where the user has chosen neither an endpoint nor a lane, all ways between processes of one host;
 * under mpirun its transport. */
static void ways_choose(fork_run *r, const tine_settings *s) {
    tine_launcher l;
    const tine_transport_info *info = tine_transport_info_of(s->endpoint);
    if (!s->endpoint && tine_launcher_rank(&l) && l.usable && l.size > 1)
        info = tine_transport_info_with(TINE_TRANSPORT_RANKS);
    if (!info && is_default(s, "endpoint") && is_default(s, "lane")) {
        r->ways[r->n++] = (fork_way){.name = "lane"};
        r->ways[r->n++] = (fork_way){.name = "ipc", .lane = -1};
        r->ways[r->n++] = (fork_way){.name = "tcp", .lane = -1, .url = "tcp://127.0.0.1:0"};
    } else {
        r->ways[r->n++] = (fork_way){.name = info ? info->scheme : "ipc",
                                     .lane = s->lane ? 0 : -1,
                                     .chosen = true,
                                     .url = info ? info->any : NULL};
    }
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
                                     .lane = w->lane};
    tine_progress("bare %s", w->name);
    bool good = tine_first_rank() ? tine_bare_measure(&config, &w->bare, why, why_size)
                                  : tine_bare_echo(url, w->lane, why, why_size);
    if (good && tine_transport_flags(url) & TINE_TRANSPORT_RANKS)
        good = tine_bare_mpi(s->rounds, SMALL, &w->bare.mpi_p50, &w->bare.mpi_p99, why, why_size);
    tine_private_close(&place);
    return good;
}

/* Each use of the arguments takes the settings out of its copy. */
static int arguments_copy(int argc, char **argv, char *copy[ARGUMENTS]) {
    int n = argc < ARGUMENTS - 1 ? argc : ARGUMENTS - 1;
    memcpy(copy, argv, (size_t)n * sizeof *copy);
    copy[n] = NULL;
    return n;
}

static bool measure_bare(int argc, char **argv, const fork_sizes *s, fork_run *r) {
    char why[256] = "", *copy[ARGUMENTS];
    tine_settings settings = {0};
    int n = arguments_copy(argc, argv, copy);
    bool good = !tine_settings_resolve(&settings, NULL, &n, copy);
    if (!good) snprintf(why, sizeof why, "%s", tine_error_message());
    if (good) ways_choose(r, &settings);
    tine_settings_fini(&settings);
    if (good && tine_first_rank() &&
        !(tine_bare_flag((size_t)s->rounds, false, &r->flag) &&
          tine_bare_flag((size_t)s->rounds, true, &r->futex))) {
        snprintf(why, sizeof why, "no memory or process for a ping-pong");
        good = false;
    }
    for (int i = 0; i < r->n && good; i++) good = bare_of_way(s, &r->ways[i], why, sizeof why);
    tine_progress_end();
    if (!good) fprintf(stderr, "tine bench fork: %s\n", why);
    return good;
}

/* With workers of its own for each way. False: why is on standard error. */
static bool measure_tine(int argc, char **argv, const fork_sizes *s, fork_run *r) {
    for (int i = 0; i < r->n; i++) {
        fork_way *w = &r->ways[i];
        tine_options options = {.endpoint = w->chosen ? NULL : w->url,
                                .lane = w->lane < 0 ? "off" : NULL};
        char *copy[ARGUMENTS], **rest = copy;
        int n = arguments_copy(argc, argv, copy);
        tine_error failed = tine_init(&n, rest, &options);
        if (!failed) failed = fork_measure(s, &w->tine);
        if (failed) fprintf(stderr, "tine bench fork: %s\n", tine_error_message());
        r->workers = tine_worker_count();
        if (tine_shutdown() || failed) return false;
    }
    return true;
}

int tine_command_bench_fork(int argc, char **argv) {
    fork_sizes s = {5000, 100000, 20};
    bool json = false;
    const tine_option options[] = {
        TINE_OPTION_WORKERS,
        {"--endpoint", "URL", "where workers join; its transport is the one measured bare",
         TINE_OPTION_SETTING, NULL, 0, 0},
        {"--rounds", "N", "sequential round trips (5000)", TINE_OPTION_NUMBER, &s.rounds, 10,
         10000000},
        {"--tasks", "N", "pipelined tasks (100000)", TINE_OPTION_NUMBER, &s.tasks, 10, 10000000},
        {"--large", "N", "round trips of 10 MB (20)", TINE_OPTION_NUMBER, &s.large_rounds, 1,
         100000},
        TINE_OPTION_TRACE,
        {"--json", NULL, "print one JSON object", TINE_OPTION_FLAG, &json, 0, 0},
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
    fork_run run = {0};
    if (!measure_bare(argc, argv, &s, &run) || !measure_tine(argc, argv, &s, &run)) return 1;
    json ? fork_print_json(&run) : fork_print_table(&run);
    return 0;
}
