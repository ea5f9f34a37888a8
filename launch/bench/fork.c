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
#include "launch/bench/mpi.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/spawn/private.h"
#include "runtime/settings/settings.h"
#include "runtime/value/error.h"
#include "transport/launcher.h"
#include "transport/transport.h"

enum { LARGE = 10000000, SMALL = 64 };

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

static void fork_print_table(const fork_figures *t, const tine_bare *b, const char *scheme) {
    char bare[40];
    snprintf(bare, sizeof bare, "bare %s", scheme);
    printf("%d worker%s at %s\n\n", tine_worker_count(), tine_worker_count() == 1 ? "" : "s",
           tine_endpoint());
    printf("%-44s %12s %12s %8s\n", "", "tine", bare, "ratio");
    printf("%-44s %9.1f us %9.1f us %8.2f\n", "empty fork + wait, round trip, p50", t->p50 * 1e6,
           b->p50 * 1e6, t->p50 / b->p50);
    printf("%-44s %9.1f us %9.1f us %8.2f\n", "                               p99", t->p99 * 1e6,
           b->p99 * 1e6, t->p99 / b->p99);
    printf("%-44s %10.0f/s %10.0f/s %8.2f\n", "pipelined, a scalar argument and result", t->rate,
           b->rate, t->rate / b->rate);
    printf("%-44s %7.2f GB/s %7.2f GB/s %8.2f\n", "10 MB tensor as argument and result",
           t->bytes_rate * 1e-9, b->bytes_rate * 1e-9, t->bytes_rate / b->bytes_rate);
    if (b->mpi_p50 > 0)
        printf("\nMPI_Send and MPI_Recv, %d bytes there and back: p50 %.2f us, p99 %.2f us\n",
               SMALL, b->mpi_p50 * 1e6, b->mpi_p99 * 1e6);
}

static json_object *fork_json_figures(double p50, double p99, double rate, double bytes_rate) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "round_trip_p50_us", tine_json_number(p50 * 1e6, 5));
    json_object_object_add(o, "round_trip_p99_us", tine_json_number(p99 * 1e6, 5));
    json_object_object_add(o, "pipelined_per_second", tine_json_number(rate, 6));
    json_object_object_add(o, "gigabytes_per_second", tine_json_number(bytes_rate * 1e-9, 5));
    return o;
}

static void fork_print_json(const fork_figures *t, const tine_bare *b) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "workers", json_object_new_int(tine_worker_count()));
    json_object_object_add(o, "endpoint", json_object_new_string(tine_endpoint()));
    json_object_object_add(o, "tine", fork_json_figures(t->p50, t->p99, t->rate, t->bytes_rate));
    json_object_object_add(o, "transport",
                           fork_json_figures(b->p50, b->p99, b->rate, b->bytes_rate));
    if (b->mpi_p50 > 0) {
        json_object *m = json_object_new_object();
        json_object_object_add(m, "round_trip_p50_us", tine_json_number(b->mpi_p50 * 1e6, 5));
        json_object_object_add(m, "round_trip_p99_us", tine_json_number(b->mpi_p99 * 1e6, 5));
        json_object_object_add(o, "mpi", m);
    }
    tine_json_print(o);
}

/* Where the bare measurement listens: the transport that tine_init is going to use, at an address
 * of its own. */
static bool bare_url(const tine_settings *s, tine_private *place, const char **out) {
    tine_launcher l;
    const tine_transport_info *info = tine_transport_info_of(s->endpoint);
    if (!s->endpoint && tine_launcher_rank(&l) && l.usable && l.size > 1)
        info = tine_transport_info_with(TINE_TRANSPORT_RANKS);
    if (info && info->any) {
        *out = info->any;
        return true;
    }
    *out = place->url;
    return tine_private_open(place) == TINE_OK;
}

static bool measure_bare(int argc, char **argv, const fork_sizes *s, tine_bare *out, char *scheme) {
    char why[256] = "";
    tine_settings settings = {0};
    tine_private place = {0};
    const char *url;
    char *copy[64];
    int n = argc < 63 ? argc : 63;
    memcpy(copy, argv, (size_t)n * sizeof *copy);
    copy[n] = NULL;
    bool good =
        !tine_settings_resolve(&settings, NULL, &n, copy) && bare_url(&settings, &place, &url);
    if (!good) {
        snprintf(why, sizeof why, "%s", tine_error_message());
    } else {
        const tine_bare_config config = {url,   (size_t)s->rounds,      (size_t)s->tasks, SMALL,
                                         LARGE, (size_t)s->large_rounds};
        snprintf(scheme, 16, "%.*s", (int)strcspn(url, ":"), url);
        tine_progress("bare %s", scheme);
        good = tine_first_rank() ? tine_bare_measure(&config, out, why, sizeof why)
                                 : tine_bare_echo(url, why, sizeof why);
        if (good && tine_transport_flags(url) & TINE_TRANSPORT_RANKS)
            good = tine_bare_mpi(s->rounds, SMALL, &out->mpi_p50, &out->mpi_p99, why, sizeof why);
        tine_progress_end();
    }
    if (!good) fprintf(stderr, "tine bench fork: %s\n", why);
    tine_private_close(&place);
    tine_settings_fini(&settings);
    return good;
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
        "the same run.",
        options,
        0,
        0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    tine_bare bare = {0};
    fork_figures tine = {0};
    char scheme[16];
    if (!measure_bare(argc, argv, &s, &bare, scheme)) return 1;
    tine_error failed = tine_init(&argc, argv, NULL);
    if (!failed) failed = fork_measure(&s, &tine);
    if (failed)
        fprintf(stderr, "tine bench fork: %s\n", tine_error_message());
    else
        json ? fork_print_json(&tine, &bare) : fork_print_table(&tine, &bare, scheme);
    int ended = tine_shutdown();
    return failed ? 1 : ended;
}
