/* tine_init and tine_shutdown: decide the role of this process, then set up and tear down what that
 * role needs.
 *
 *   TINE_WORKER is set           a worker that a coordinator or `tine worker` started: it serves,
 *                                then exits
 *   one of several copies that   rank 0 coordinates over mpi://, or at the endpoint that is set if
 *   mpirun or srun started       all can know it, and the other ranks serve
 *   else                         a coordinator: it listens and starts local workers (processes;
 *                                threads where the transport stays within one process)
 *
 * The file lies above all other rooms of the library because it joins them. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/blas.h"
#include "kernels/isa.h"
#include "launch/internal.h"
#include "launch/observe/metrics.h"
#include "launch/spawn/private.h"
#include "launch/spawn/spawn.h"
#include "runtime/api/forked.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/settings/settings.h"
#include "runtime/trace/trace.h"
#include "runtime/value/current.h"
#include "runtime/value/error.h"
#include "transport/base/log.h"
#include "transport/base/process.h"
#include "transport/launcher.h"
#include "transport/transport.h"

/* How long workers may take to exit at shutdown. Nothing waits for what they still compute. */
#define STOP_SECONDS 1.0
/* How long writing a trace waits for the events of workers that compute. */
#define TRACE_SECONDS 5.0

static struct {
    bool running;
    bool serving; /* this process is a worker */
    tine_settings settings;
    tine_coordinator *coordinator;
    tine_spawn *spawn; /* NULL: there are no local worker processes */
    tine_private place;
    tine_metrics_server *metrics;
    pthread_t *threads; /* inproc:// workers */
    int n_threads;
    int ranks; /* of a job, which connect to an endpoint that is set; 0: none do */
    char url[512];
} state;

static atomic_bool stopping; /* the end of a worker is expected */

/* ---- local workers ---- */

static void worker_died(void *ctx, int slot, pid_t pid, const char *reason,
                        const tine_run_log *log) {
    (void)ctx;
    if (atomic_load(&stopping)) return;
    const char *how = reason ? reason : "was ended by the program";
    tine_log(reason ? TINE_LOG_WARN : TINE_LOG_INFO, "worker %d (pid %d) %s", slot, (int)pid, how);
    tine_trace_instant("worker died");
    tine_coordinator_worker_died(state.coordinator, (uint32_t)pid, how, log);
}

/* Whether this process has started such a worker. */
static bool worker_is_local(uint32_t pid, const char *token) {
    int slot = state.spawn ? tine_spawn_slot(state.spawn, token) : -1;
    return slot >= 0 && pid != 0 && tine_spawn_pid(state.spawn, slot) == (pid_t)pid;
}

/* Also where a wrapper (worker_command) stands between this process and the worker. */
static bool worker_is_ours(const char *token) {
    return state.spawn && tine_spawn_slot(state.spawn, token) >= 0;
}

/* The worker has lost its connection but lives (it may be stopped): kill it to free its slot. */
static void worker_disconnected(uint32_t pid, const char *token) {
    int slot = state.spawn && !atomic_load(&stopping) ? tine_spawn_slot(state.spawn, token) : -1;
    if (slot >= 0 && tine_spawn_pid(state.spawn, slot) == (pid_t)pid) kill((pid_t)pid, SIGKILL);
}

static void worker_end(uint32_t pid, const char *token, int flags) {
    int slot = state.spawn && !atomic_load(&stopping) ? tine_spawn_slot(state.spawn, token) : -1;
    if (slot >= 0)
        tine_spawn_end(state.spawn, slot, (pid_t)pid, flags & TINE_WORKER_REPLACE,
                       flags & TINE_WORKER_NOW);
}

static void worker_end_task(const char *token, uint64_t task) {
    int slot = state.spawn && !atomic_load(&stopping) ? tine_spawn_slot(state.spawn, token) : -1;
    if (slot >= 0) tine_spawn_end_task(state.spawn, slot, task);
}

static void worker_start_failed(void *ctx, unsigned failures, const char *reason) {
    (void)ctx;
    if (!atomic_load(&stopping)) tine_coordinator_start_failed(state.coordinator, failures, reason);
}

/* Makes the private directory and the endpoint anew where a cleaner of /tmp has removed them. */
static bool worker_can_connect(void *ctx, char *reason, size_t room) {
    (void)ctx;
    char why[192];
    if (state.place.lock > 0 && tine_private_restore(&state.place) != 0)
        snprintf(why, sizeof why, "its directory cannot be made: %s", strerror(errno));
    else if (tine_coordinator_endpoint_restore(state.coordinator, why, sizeof why) == 0)
        return true;
    snprintf(reason, room, "cannot connect: the endpoint %s has been removed, and %s", state.url,
             why);
    return false;
}

/* By default a worker gets this process's own command line, so that it reaches tine_init in the
 * same way. */
static tine_error workers_spawn(const tine_settings *s, const char *const *command) {
    char **own = command ? NULL : tine_process_arguments();
    char **argv = command ? (char **)command : own, **environment = tine_settings_forward(s);
    tine_error e = TINE_EIO;
    if (!argv || !environment) {
        tine_error_set(e, "cannot start workers: the command line of this program cannot be read");
    } else {
        tine_spawn_config config = {.program = command ? command[0] : NULL,
                                    .argv = argv,
                                    .endpoint = state.url,
                                    .environment = environment,
                                    .workers = s->workers,
                                    .threads = s->threads,
                                    .died = worker_died,
                                    .failed = worker_start_failed,
                                    .ready = worker_can_connect};
        e = tine_spawn_start(&state.spawn, &config);
    }
    tine_settings_forward_free(environment);
    free(own);
    return e;
}

static void *worker_thread_main(void *arg) {
    (void)arg;
    tine_trace_inproc_worker();
    if (tine_serve(&state.settings, state.url, -1, NULL, NULL) != TINE_OK)
        tine_log(TINE_LOG_INFO, "worker thread: %s", tine_error_message());
    tine_error_clear();
    return NULL;
}

static tine_error workers_start_threads(const tine_settings *s) {
    state.threads = calloc((size_t)s->workers, sizeof *state.threads);
    if (!state.threads)
        return tine_error_set(TINE_ENOMEM, "no memory for %d worker threads", s->workers);
    tine_blas_threads(s->threads);
    for (; state.n_threads < s->workers; state.n_threads++) {
        /* Not tine_thread_start, which blocks all signals: tasks run here, and the overflow of a
         * task's stack raises SIGSEGV. */
        pthread_t *thread = &state.threads[state.n_threads];
        int failed = pthread_create(thread, NULL, worker_thread_main, NULL);
        if (failed != 0)
            return tine_error_set(TINE_EIO, "cannot start a worker thread: %s", strerror(failed));
    }
    return TINE_OK;
}

/* ---- as coordinator ---- */

static tine_error coordinate(const tine_settings *s, const char *const *command, const char *url,
                             int remote) {
    tine_transport *transport;
    unsigned flags = tine_transport_flags(url);
    bool threads = flags & TINE_TRANSPORT_THREADS;
    bool replaced = !threads && !(flags & TINE_TRANSPORT_KILLS_JOB);
    int local = remote > 0 ? 0 : s->workers;
    int await = remote > 0 ? remote : s->await_workers;
    tine_error e = tine_descriptors_check(threads ? 0 : local);
    if (e == TINE_OK) e = tine_listen_at(&state.settings, url, state.ranks, &transport);
    if (e != TINE_OK) return e;
    snprintf(state.url, sizeof state.url, "%s", transport->ops->url(transport));
    e = tine_coordinator_new(&state.coordinator, s, transport, await, replaced);
    if (e != TINE_OK) return e;
    tine_coordinator_on_unreachable(state.coordinator, worker_disconnected);
    tine_coordinator_on_task_end(state.coordinator, worker_end_task);
    tine_coordinator_on_worker_end(state.coordinator, worker_end);
    if (local > 0 && !threads) tine_coordinator_know_local(state.coordinator, worker_is_local);
    if (state.place.url[0] && local > 0 && await <= local)
        tine_coordinator_admit(state.coordinator, worker_is_ours);
    if (s->metrics) e = tine_metrics_serve(&state.metrics, s->metrics, state.coordinator);
    if (e == TINE_OK && s->trace) e = tine_coordinator_trace_record(state.coordinator, true);
    if (e == TINE_OK && local > 0)
        e = threads ? workers_start_threads(s) : workers_spawn(s, command);
    return e != TINE_OK ? e : tine_coordinator_open(state.coordinator, await, s->connect_timeout);
}

static void tear_down(void) {
    atomic_store(&stopping, true);
    tine_metrics_stop(state.metrics);
    if (state.spawn) tine_spawn_retire(state.spawn, 2 * STOP_SECONDS);
    if (state.coordinator) tine_coordinator_stop(state.coordinator, STOP_SECONDS);
    if (state.spawn) tine_spawn_stop(state.spawn, STOP_SECONDS);
    tine_spawn_free(state.spawn);
    /* Before the join: a worker thread that had not joined yet ends with its connection. */
    tine_coordinator_free(state.coordinator);
    for (int i = 0; i < state.n_threads; i++) pthread_join(state.threads[i], NULL);
    tine_private_close(&state.place);
    tine_settings_fini(&state.settings);
    free(state.threads);
    memset(&state, 0, sizeof state);
    atomic_store(&stopping, false);
    tine_log_flush();
}

static void become_worker(const char *endpoint, int rank) {
    state.serving = true;
    tine_serve_and_exit(&state.settings, endpoint, rank);
}

/* A rank of a job whose endpoint is set: over ZeroMQ, so that its workers may die. */
static tine_error init_rank_at(const char *url, const char *const *command,
                               const tine_launcher *launcher) {
    if (strchr(url, '*'))
        return tine_error_set(TINE_EINVAL,
                              "endpoint %s: the other %d ranks of this job cannot connect to it: "
                              "name the host of rank 0",
                              url, launcher->size - 1);
    if (launcher->rank > 0) become_worker(url, launcher->rank);
    state.ranks = launcher->size;
    return coordinate(&state.settings, command, url, launcher->size - 1);
}

static tine_error init_role(const char *const *command, const tine_launcher *launcher) {
    const tine_settings *s = &state.settings;
    const struct tine_kernel_choice *kernels = tine_kernel_choice();
    if (kernels->error[0] != 0) return tine_error_set(TINE_EINVAL, "%s", kernels->error);
    if (s->worker) become_worker(s->worker, -1);
    const char *url = s->endpoint;
    if (launcher->size == 1 && !url)
        tine_log(TINE_LOG_WARN, "%s started one process only: workers are started on this host",
                 launcher->name);
    if (launcher->size > 1 && !url) {
        if (!launcher->usable) return tine_error_set(TINE_EIO, "%s", launcher->why);
        url = tine_transport_info_with(TINE_TRANSPORT_RANKS)->any;
    }
    if (tine_transport_flags(url) & TINE_TRANSPORT_RANKS) {
        if (!launcher->size)
            return tine_error_set(TINE_EINVAL,
                                  "endpoint %s needs mpirun or srun: start the program with "
                                  "`tine run -n 3 PROGRAM`",
                                  url);
        if (launcher->rank > 0) become_worker(url, launcher->rank);
        return coordinate(s, command, url, launcher->size - 1);
    }
    if (launcher->size > 1 && tine_url_is_common(url)) return init_rank_at(url, command, launcher);
    if (!url) {
        tine_error e = tine_private_open(&state.place);
        if (e != TINE_OK) return e;
        url = state.place.url;
    }
    return coordinate(s, command, url, 0);
}

/* A rank but the first does not return, unless by its endpoint it is a program of its own. */
static tine_error init_refuse(tine_error e, const tine_launcher *launcher) {
    const tine_settings *s = &state.settings;
    unsigned flags = tine_transport_flags(s->endpoint);
    bool alone = flags && !(flags & TINE_TRANSPORT_RANKS) && s->endpoint && !s->worker &&
                 !tine_url_is_common(s->endpoint);
    if (launcher->rank > 0 && !alone)
        tine_rank_refuse(launcher, tine_kernel_choice()->error_is_of_cpu);
    return e;
}

/* The program may change its directory before the trace is written. */
static void trace_path_settle(tine_settings *s) {
    char *absolute = s->trace ? tine_process_absolute(s->trace) : NULL;
    if (!absolute) return;
    free(s->trace);
    s->trace = absolute;
}

tine_error tine_init(int *argc, char **argv, const tine_options *options) {
    if (tine_forked()) return tine_forked_refuse();
    if (state.serving)
        return tine_error_set(TINE_ESTATE,
                              "tine_init: this process is a worker, in which tasks call, fork and "
                              "wait without it");
    if (state.running)
        return tine_error_set(TINE_ESTATE, "tine_init: this process is initialised "
                                           "already; call tine_shutdown first");
    tine_launcher launcher;
    if (!tine_launcher_rank(&launcher)) launcher = (tine_launcher){0};
    tine_error e = tine_settings_resolve(&state.settings, options, argc, argv);
    if (e != TINE_OK) return init_refuse(e, &launcher);
    trace_path_settle(&state.settings);
    tine_log_level_set(state.settings.log_level);
    tine_trace_capacity(state.settings.trace_events);
    if (!state.settings.worker && launcher.rank == 0) tine_settings_warn_unknown();
    e = init_role(options ? options->worker_command : NULL, &launcher);
    if (e == TINE_OK) {
        state.running = true;
    } else {
        init_refuse(e, &launcher);
        /* tearing down may overwrite the message */
        char *sentence = strdup(tine_error_message());
        tear_down();
        tine_error_set(e, "%s", sentence ? sentence : "tine_init failed");
        free(sentence);
    }
    return e;
}

int tine_shutdown(void) {
    int status = 0;
    if (tine_forked()) {
        tine_forked_refuse();
        return 1;
    }
    if (state.serving || tine_current.task) {
        tine_log(TINE_LOG_ERROR,
                 "tine_shutdown was called in a task, which would end with it: nothing is shut "
                 "down; call it in the program");
        return 1;
    }
    if (!state.running) return 0;
    if (tine_coordinator_in_callback()) {
        tine_log(TINE_LOG_ERROR, "tine_shutdown was called in a callback, "
                                 "which runs on a thread that it would wait for: "
                                 "nothing is shut down; call it outside of callbacks");
        return 1;
    }
    if (state.settings.trace &&
        tine_coordinator_trace_write(state.coordinator, state.settings.trace, TRACE_SECONDS,
                                     state.settings.trace_seconds) != TINE_OK) {
        tine_log(TINE_LOG_ERROR, "%s", tine_error_message());
        status = 1;
    }
    tear_down();
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tine_log(TINE_LOG_ERROR, "standard output could not be written: %s", strerror(errno));
        status = 1;
    }
    return status;
}

static bool tine_runs(void) { return state.running && !tine_forked(); }

int tine_worker_count(void) {
    return tine_runs() ? tine_coordinator_workers(state.coordinator) : 0;
}

size_t tine_workers(tine_worker_status *out, size_t room) {
    return tine_runs() ? tine_coordinator_list_workers(state.coordinator, out, room) : 0;
}

tine_error tine_pool_check(const char *call) {
    if (tine_forked()) return tine_forked_refuse();
    if (tine_current.task)
        return tine_error_set(TINE_ESTATE, "a task has no pool: it cannot call %s", call);
    return tine_runs() ? TINE_OK : tine_error_set(TINE_ESTATE, "%s: call tine_init first", call);
}

size_t tine_tasks(tine_task_status *out, size_t room) {
    return tine_pool_check("tine_tasks") == TINE_OK
               ? tine_coordinator_list_tasks(state.coordinator, out, room)
               : 0;
}

tine_error tine_count(tine_counts *out) {
    if (!out) return tine_error_set(TINE_EINVAL, "tine_count: out is NULL");
    *out = (tine_counts){0};
    tine_error e = tine_pool_check("tine_count");
    return e != TINE_OK ? e : tine_coordinator_count(state.coordinator, out);
}

tine_error tine_worker_end(uint32_t id, int flags) {
    tine_error e = tine_pool_check("tine_worker_end");
    return e != TINE_OK ? e : tine_coordinator_end_worker(state.coordinator, id, flags);
}

tine_error tine_drain(double seconds) {
    if (seconds != seconds) return tine_error_set(TINE_EINVAL, "the seconds to wait are NaN");
    tine_error e = tine_pool_check("tine_drain");
    return e != TINE_OK ? e : tine_coordinator_drain(state.coordinator, seconds);
}

int tine_shutdown_after(double seconds) {
    tine_error e = tine_runs() ? tine_drain(seconds) : TINE_OK;
    if (e != TINE_OK) tine_log(TINE_LOG_WARN, "tine_shutdown_after: %s", tine_error_message());
    return tine_shutdown() || e != TINE_OK;
}

const char *tine_endpoint(void) { return tine_runs() ? state.url : NULL; }

static tine_error trace_switch(const char *call, bool on) {
    if (tine_forked()) return tine_forked_refuse();
    if (!state.running) return tine_error_set(TINE_ESTATE, "%s: call tine_init first", call);
    return tine_coordinator_trace_record(state.coordinator, on);
}

tine_error tine_trace_start(void) { return trace_switch("tine_trace_start", true); }
tine_error tine_trace_stop(void) { return trace_switch("tine_trace_stop", false); }

tine_error tine_trace_write(const char *path) {
    if (tine_forked()) return tine_forked_refuse();
    if (!state.running)
        return tine_error_set(TINE_ESTATE, "tine_trace_write: call tine_init first");
    if (!path) return tine_error_set(TINE_EINVAL, "tine_trace_write: the path is NULL");
    return tine_coordinator_trace_write(state.coordinator, path, TRACE_SECONDS,
                                        state.settings.trace_seconds);
}
