/* `tine bench ensemble`: how the tutorial's ensemble scales with workers, over each transport.
 *
 * ipc, tcp and inproc are measured with local workers that this process starts, one transport after
 * the other. The ranks of a job are there already: under mpirun or srun their transport is measured
 * with them. Without a launcher mpi is measured by a job of its own: `tine run` of this command,
 * whose results are read from its output. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/gemm.h"
#include "launch/bench/machine.h"
#include "launch/bench/outputs.h"
#include "launch/bench/pool.h"
#include "launch/bench/scaling.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "runtime/settings/cores.h"
#include "runtime/value/error.h"
#include "transport/base/assert.h"
#include "transport/base/memory.h"
#include "transport/base/process.h"
#include "transport/base/text.h"
#include "transport/launcher.h"
#include "transport/transport.h"

enum { WORKERS_MAX = 4096, STEPS_MAX = 1000000, JOB_OUTPUT_MAX = 1 << 24 };

typedef struct scaling_command {
    tine_scaling_plan plan;
    tine_pool_choice pool;
    const char *transports[TINE_SCALING_LIST];
    int n_transports;
    const char *workers_text, *transports_text, *sizes_text, *scaling;
    tine_outputs outputs;
} scaling_command;

static int scaling_refuse(const char *option, const char *text, const char *expected) {
    return tine_command_refuse("bench ensemble", 2, "%s=%s: expected %s", option, text, expected);
}

/* ---- lists ---- */

/* A whole number from 1 to `max` at *at, which is moved behind it. */
static bool list_number(const char **at, long max, long *out) {
    char *end;
    errno = 0;
    *out = strtol(*at, &end, 10);
    bool good = end != *at && **at >= '0' && **at <= '9' && !errno && *out >= 1 && *out <= max;
    *at = end;
    return good;
}

static int workers_parse(scaling_command *c) {
    static const char expected[] = "at most 16 numbers of workers, rising: 1,2,4";
    tine_scaling_plan *p = &c->plan;
    const char *at = c->workers_text;
    for (;; at++) {
        bool good = p->n_workers < TINE_SCALING_LIST &&
                    list_number(&at, WORKERS_MAX, &p->workers[p->n_workers]) &&
                    (!p->n_workers || p->workers[p->n_workers] > p->workers[p->n_workers - 1]);
        if (!good || !strchr(",", *at))
            return scaling_refuse("--workers", c->workers_text, expected);
        p->n_workers++;
        if (!*at) return -1;
    }
}

/* 512: the channels; else steps x batch x channels. */
static bool size_of_text(const char **at, tine_scaling_size *s) {
    *s = (tine_scaling_size){50, 50, 0};
    if (!list_number(at, STEPS_MAX, &s->channels)) return false;
    if (**at != 'x') return s->channels <= 65536;
    s->time = s->channels;
    ++*at;
    if (!list_number(at, STEPS_MAX, &s->batch) || **at != 'x') return false;
    ++*at;
    return list_number(at, 65536, &s->channels);
}

static int sizes_parse(scaling_command *c) {
    tine_scaling_plan *p = &c->plan;
    const char *at = c->sizes_text;
    for (;; at++) {
        if (p->n_sizes == TINE_SCALING_LIST || !size_of_text(&at, &p->sizes[p->n_sizes]) ||
            !strchr(",", *at))
            return scaling_refuse("--sizes", c->sizes_text,
                                  "at most 16 sizes, STEPSxBATCHxCHANNELS or CHANNELS: "
                                  "50x50x512,1024");
        p->n_sizes++;
        if (!*at) return -1;
    }
}

static const char *transport_find(const char *name, size_t size) {
    const tine_transport_info *info;
    for (size_t i = 0; (info = tine_transport_info_at(i)); i++)
        if (strlen(info->scheme) == size && !memcmp(info->scheme, name, size)) return info->scheme;
    return NULL;
}

static int transports_parse(scaling_command *c) {
    const char *at = c->transports_text;
    for (;; at++) {
        size_t n = strcspn(at, ",");
        const char *scheme = transport_find(at, n);
        if (!scheme || c->n_transports == TINE_SCALING_LIST)
            return scaling_refuse("--transports", c->transports_text,
                                  "a list of ipc, tcp, mpi and inproc");
        c->transports[c->n_transports++] = scheme;
        at += n;
        if (!*at) return -1;
    }
}

static int scaling_parse(scaling_command *c) {
    const char *s = c->scaling;
    c->plan.strong = strcmp(s, "weak") != 0;
    c->plan.weak = strcmp(s, "strong") != 0;
    if (strcmp(s, "strong") && strcmp(s, "weak") && strcmp(s, "both"))
        return scaling_refuse("--scaling", s, "strong, weak or both");
    enum tine_gemm_type type;
    if (!tine_gemm_type_parse(c->plan.dtype, &type))
        return scaling_refuse("--dtype", c->plan.dtype, "f32, bf16 or int8");
    int code = sizes_parse(c);
    if (code < 0 && c->workers_text) code = workers_parse(c);
    if (code < 0 && c->transports_text) code = transports_parse(c);
    return code;
}

/* 1, 2, 4 … and all. */
static void workers_default(tine_scaling_plan *p, long all) {
    for (long n = 1; n < all && p->n_workers < TINE_SCALING_LIST - 1; n *= 2)
        p->workers[p->n_workers++] = n;
    p->workers[p->n_workers++] = all;
}

static int pool_choose(scaling_command *c, int argc, char **argv) {
    tine_launcher l;
    if (tine_pool_choose(argc, argv, &c->pool))
        return tine_command_refuse("bench ensemble", 2, "%s", tine_error_message());
    bool ranks = tine_launcher_rank(&l) && l.size > 1;
    if (c->pool.chosen && !ranks)
        for (int i = 0; i < c->n_transports; i++)
            if (strcmp(c->transports[i], c->pool.scheme))
                return scaling_refuse("--transports", c->transports_text,
                                      "the one of the endpoint that is set, alone");
    if (!c->n_transports && c->pool.chosen) c->transports[c->n_transports++] = c->pool.scheme;
    if (!c->n_transports) {
        c->transports[c->n_transports++] = "ipc";
        c->transports[c->n_transports++] = "tcp";
    }
    if (!c->plan.n_workers) workers_default(&c->plan, ranks ? l.size - 1 : tine_cores_available());
    return -1;
}

/* ---- mpi in a job of its own ---- */

typedef struct job_line {
    char *argv[32 + 64];
    int n;
} job_line;

static void job_add(job_line *j, char *text) {
    TINE_ASSERT_TRUE(text);
    if (j->n + 1 < (int)(sizeof j->argv / sizeof *j->argv)) j->argv[j->n++] = text;
}

/* --option=1,2,4 */
static char *job_workers(const tine_scaling_plan *p) {
    char *text = tine_must_copy("--workers");
    for (int i = 0; text && i < p->n_workers; i++) {
        char *longer = tine_text_format("%s%c%ld", text, i ? ',' : '=', p->workers[i]);
        free(text);
        text = longer;
    }
    return text;
}

static void job_compose(job_line *j, const scaling_command *c, const char *program, int argc,
                        char **argv) {
    const tine_scaling_plan *p = &c->plan;
    job_add(j, tine_must_copy(program));
    job_add(j, tine_must_copy("run"));
    job_add(j, tine_must_copy("--oversubscribe"));
    job_add(j, tine_text_format("-n%ld", p->workers[p->n_workers - 1] + 1));
    job_add(j, tine_must_copy(program));
    job_add(j, tine_must_copy("bench"));
    job_add(j, tine_must_copy("ensemble"));
    job_add(j, tine_must_copy("--transports=mpi"));
    job_add(j, tine_must_copy("--json"));
    job_add(j, job_workers(p));
    job_add(j, tine_text_format("--sizes=%s", c->sizes_text));
    job_add(j, tine_text_format("--scaling=%s", c->scaling));
    job_add(j, tine_text_format("--models=%ld", p->models));
    job_add(j, tine_text_format("--models-per-worker=%ld", p->models_per_worker));
    job_add(j, tine_text_format("--repeat=%ld", p->repeat));
    job_add(j, tine_text_format("--dtype=%s", p->dtype));
    for (int i = 1; i < argc; i++) job_add(j, tine_must_copy(argv[i])); /* settings */
}

/* What it prints; NULL: it failed, and has said why. */
static char *job_run(job_line *j) {
    int ends[2], status = 0;
    pid_t parent = getpid(), child = pipe(ends) == 0 ? fork() : -1;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (getppid() == parent) execv(j->argv[0], j->argv);
        _exit(127);
    }
    if (child < 0) return NULL;
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    char *text = tine_must_alloc(JOB_OUTPUT_MAX);
    size_t n = f ? fread(text, 1, JOB_OUTPUT_MAX - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
    bool good = waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
    if (good) return text;
    free(text);
    return NULL;
}

static tine_error measure_job(const scaling_command *c, int argc, char **argv, tine_results *r) {
    char program[4096], why[256];
    job_line j = {0};
    tine_results job;
    if (!tine_process_executable(program, sizeof program))
        return tine_error_set(TINE_EIO, "the path of this program cannot be read");
    job_compose(&j, c, program, argc, argv);
    char *text = job_run(&j);
    for (int i = 0; i < j.n; i++) free(j.argv[i]);
    if (!text) return tine_error_set(TINE_EIO, "mpi: the job that measures it has failed");
    bool good =
        tine_results_parse(&job, &tine_scaling_form, text, "the job over mpi", why, sizeof why);
    free(text);
    if (!good) return tine_error_set(TINE_EIO, "%s", why);
    for (size_t i = 0; i < job.n; i++) *tine_results_add(r) = job.rows[i];
    tine_results_fini(&job);
    return TINE_OK;
}

/* ---- local workers, and the ranks of a job ---- */

static tine_error measure_here(const scaling_command *c, const char *transport,
                               const tine_options *options, int argc, char **argv,
                               tine_results *r) {
    const tine_scaling_plan *p = &c->plan;
    long most = p->workers[p->n_workers - 1], cores = tine_cores_available();
    tine_error failed = tine_pool_open(argc, argv, options);
    if (!failed && tine_worker_count() < most)
        failed = tine_error_set(TINE_EINVAL, "%s: %ld workers are to be measured, and there are %d",
                                transport, most, tine_worker_count());
    if (!failed && options->workers && most > cores)
        tine_results_warn(r, "%s: %ld workers share %ld core%s", transport, most, cores,
                          cores == 1 ? "" : "s");
    if (!failed) failed = tine_scaling_measure(p, transport, r);
    char *sentence = failed ? tine_must_copy(tine_error_message()) : NULL;
    if (tine_shutdown() && !failed) {
        failed = TINE_EIO;
        sentence = tine_must_copy("the shutdown has failed");
    }
    if (failed) tine_error_set(failed, "%s", sentence);
    free(sentence);
    return failed;
}

static tine_error measure_transport(const scaling_command *c, const char *transport, int argc,
                                    char **argv, tine_results *r) {
    tine_options options = {0};
    char url[32];
    if (c->pool.chosen && !strcmp(transport, c->pool.scheme)) {
        tine_launcher l;
        bool ranks = tine_launcher_rank(&l) && l.size > 1;
        if (!ranks) options.workers = (int)c->plan.workers[c->plan.n_workers - 1];
        return measure_here(c, transport, &options, argc, argv, r);
    }
    snprintf(url, sizeof url, "%s://", transport);
    if (tine_transport_flags(url) & TINE_TRANSPORT_RANKS) return measure_job(c, argc, argv, r);
    const char *any = tine_transport_info_of(url)->any;
    options.endpoint = any ? any : c->pool.chosen ? "ipc://*" : NULL;
    options.workers = (int)c->plan.workers[c->plan.n_workers - 1];
    return measure_here(c, transport, &options, argc, argv, r);
}

/* The other ranks become workers once, where theirs is among the transports. */
static int measure_as_rank(const scaling_command *c, int argc, char **argv) {
    for (int i = 0; i < c->n_transports; i++)
        if (!strcmp(c->transports[i], c->pool.scheme)) {
            tine_pool_open(argc, argv, &(tine_options){0});
            fprintf(stderr, "tine bench ensemble: %s\n", tine_error_message());
            return 1;
        }
    return 0;
}

/* What was measured before a failure is kept. */
static int measure_scaling(const scaling_command *c, int argc, char **argv, tine_results *r) {
    tine_machine_watch watch;
    int code = 0;
    tine_machine_begin(&watch);
    for (int i = 0; i < c->n_transports; i++)
        if (measure_transport(c, c->transports[i], argc, argv, r)) {
            fprintf(stderr, "tine bench ensemble: %s\n", tine_error_message());
            code = 1;
        }
    tine_machine_end(&watch, r);
    return code;
}

static int bench_scaling_start(scaling_command *c, int argc, char **argv) {
    tine_results r = {0};
    int code = scaling_parse(c);
    if (code < 0) code = pool_choose(c, argc, argv);
    if (code < 0 && !tine_first_rank()) return measure_as_rank(c, argc, argv);
    if (code < 0) code = tine_outputs_begin(&c->outputs, &r, &tine_scaling_form);
    if (code < 0) {
        int failed = c->outputs.from ? 0 : measure_scaling(c, argc, argv, &r);
        code = r.n ? tine_outputs_end(&c->outputs, &r, tine_scaling_print) : 0;
        code = code ? code : failed;
    }
    tine_results_fini(&r);
    tine_outputs_fini(&c->outputs);
    return code;
}

int tine_command_bench_ensemble(int argc, char **argv) {
    scaling_command c = {.plan = {.models = 4, .models_per_worker = 1, .repeat = 7, .dtype = "f32"},
                         .sizes_text = "50x50x512",
                         .scaling = "both"};
    const tine_option options[] = {
        {"--workers", "1,2,4",
         "numbers of workers (default: 1, 2, 4 and so on, to one per core or rank)",
         TINE_OPTION_TEXT, &c.workers_text, 0, 0},
        {"--transports", "LIST",
         "of ipc, tcp, mpi, inproc (default: ipc,tcp; under mpirun that of the ranks)",
         TINE_OPTION_TEXT, &c.transports_text, 0, 0},
        {"--sizes", "LIST", "of STEPSxBATCHxCHANNELS, or of CHANNELS with 50x50 (50x50x512)",
         TINE_OPTION_TEXT, &c.sizes_text, 0, 0},
        {"--scaling", "KIND", "strong, weak or both (both)", TINE_OPTION_TEXT, &c.scaling, 0, 0},
        {"--models", "N", "models of strong scaling, in all (4)", TINE_OPTION_NUMBER,
         &c.plan.models, 1, 256},
        {"--models-per-worker", "N", "models of weak scaling (1)", TINE_OPTION_NUMBER,
         &c.plan.models_per_worker, 1, 256},
        {"--repeat", "R", "timed runs of each point, after three to warm up (7)",
         TINE_OPTION_NUMBER, &c.plan.repeat, 1, TINE_SCALING_REPEAT_MAX},
        {"--dtype", "TYPE", "f32, bf16 or int8, as for tine ensemble (f32)", TINE_OPTION_TEXT,
         &c.plan.dtype, 0, 0},
        TINE_OPTIONS_OUTPUTS(c.outputs),
        {0},
    };
    const tine_usage usage = {
        "bench ensemble",
        "",
        "Measures how the tutorial's ensemble scales over each transport: strong scaling (the "
        "same\n"
        "models on more workers) and weak scaling (as many models more). Prints medians with\n"
        "confidence intervals, the speedup against a sequential run in turns with it, efficiency,\n"
        "the serial fraction of Karp and Flatt, and how much of their time the workers compute,\n"
        "communicate and wait. Under mpirun or srun it measures the ranks; without, mpi in a job\n"
        "of its own.",
        options,
        0,
        0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    return code >= 0 ? code : bench_scaling_start(&c, argc, argv);
}
