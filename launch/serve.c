/* This process as a worker. */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/blas.h"
#include "launch/internal.h"
#include "launch/leave.h"
#include "launch/security.h"
#include "launch/spawn/lifeline.h"
#include "runtime/trace/trace.h"
#include "runtime/value/error.h"
#include "transport/base/clock.h"
#include "transport/base/log.h"
#include "workers/fiber/fiber.h"
#include "workers/worker.h"

/* How long a worker that has lost its coordinator waits for its watchdog to end the process. */
enum { WATCHDOG_MS = 2000 };

tine_transport_config tine_transport_config_of(const tine_settings *s) {
    return (tine_transport_config){.max_frame = s->max_frame,
                                   .lane = s->lane ? 0 : -1,
                                   .arena = s->arena,
                                   .connect_ns = (int64_t)(s->connect_timeout * 1e9),
                                   .heartbeat_ns = (int64_t)(s->heartbeat * 1e9)};
}

tine_error tine_serve(const tine_settings *s, const char *endpoint, int rank, tine_run_log *log,
                      tine_leave *leave) {
    char key[TINE_ZMQ_KEY_SIZE];
    tine_transport_config transport = tine_transport_config_of(s);
    tine_error e = tine_security_set(s, endpoint, false, &transport, key);
    if (e != TINE_OK) return e;
    tine_worker_config config = {.endpoint = endpoint,
                                 .log = log,
                                 .leave = leave,
                                 .token = s->token,
                                 .labels = s->labels,
                                 .slots = s->slots,
                                 .rank = rank,
                                 .stack_size = s->stack_size,
                                 .stays = s->stay_bytes,
                                 .transport = transport};
    config.transport.patient = s->rejoin;
    /* A worker thread starts after its listener: if that is gone, waiting is pointless. */
    if (tine_transport_flags(endpoint) & TINE_TRANSPORT_THREADS) config.transport.connect_ns = 1;
    return tine_worker_run(&config);
}

/* ---- coming back ---- */

enum {
    REJOIN_FIRST_MS = 100, /* before the second attempt in a row; it doubles */
    REJOIN_LONGEST_MS = 5000,
    REJOIN_SERVED_MS = 2000, /* the loss of one that has served so long is the first one in a row */
    /* Of an attempt: a little longer than the transport waits for an answer. */
    REJOIN_CONNECT_S = 4,
};

/* Waits before the next attempt. The workers of a job have lost their coordinator together, and do
 * not all come back at the same time. */
static void rejoin_wait(unsigned failures, bool joined) {
    int ms = failures == 0 ? 0 : REJOIN_FIRST_MS << (failures < 7 ? failures - 1 : 6);
    if (ms > REJOIN_LONGEST_MS) ms = REJOIN_LONGEST_MS;
    if (!(failures & (failures - 1))) /* ever more rarely */
        tine_log(TINE_LOG_WARN,
                 "worker: the coordinator %s: %s; the worker tries to join in %.2g s",
                 joined ? "is lost" : "cannot be reached", tine_error_message(), (double)ms / 1e3);
    poll(NULL, 0, ms - ms * (getpid() % 32) / 64);
}

/* Returns when a coordinator has ended or refused the worker, when it has left, and when it has
 * never reached one. */
static tine_error serve_and_rejoin(const tine_settings *s, const char *endpoint,
                                   tine_leave *leave) {
    static tine_run_log log; /* counts the coordinators that have welcomed the worker */
    tine_settings next = *s;
    for (unsigned failures = 0;; failures++) {
        uint64_t before = atomic_load(&log.joined);
        int64_t began = tine_clock_ns();
        tine_error e = tine_serve(&next, endpoint, -1, &log, leave);
        bool never = atomic_load(&log.joined) == 0, joined = atomic_load(&log.joined) > before;
        /* EIO: the name of its host cannot be resolved, as where the network is down */
        bool again = e == TINE_ELOST || e == TINE_EIO;
        if (!again || never || tine_leave_asked(leave)) return e;
        if (joined && tine_clock_ns() - began >= REJOIN_SERVED_MS * INT64_C(1000000)) failures = 0;
        rejoin_wait(failures, joined);
        next.connect_timeout = REJOIN_CONNECT_S;
        tine_trace_record(false); /* of the coordinator that is lost */
    }
}

/* At level info where rank 0 is taken to say it: `srun --multi-prog` starts several programs. */
void tine_rank_refuse(const tine_launcher *l, bool host) {
    char name[256] = "?";
    int level = tine_launcher_speaks(l, host) ? TINE_LOG_ERROR : TINE_LOG_INFO;
    gethostname(name, sizeof name - 1);
    tine_log(level, "rank %d on %s: %s", l->rank, name, tine_error_message());
    tine_log_flush();
    exit(1);
}

void tine_serve_and_exit(const tine_settings *s, const char *endpoint, int rank) {
    int crash_fd = -1;
    tine_run_log *log;
    tine_error e = tine_lifeline_start(endpoint, &crash_fd, &log);
    tine_fiber_report_to(crash_fd);
    tine_blas_threads(s->threads);
    bool local = s->token[0] != 0; /* its coordinator has started it, and ends it */
    bool supervised = log;         /* that, or `tine supervise`, which starts another one */
    bool ranks = tine_transport_flags(endpoint) & TINE_TRANSPORT_RANKS;
    tine_leave *leave = local ? NULL : tine_leave_on_signals(s->grace, ranks ? rank : -1, log);
    tine_settings own = *s;
    own.rejoin &= !supervised && rank < 0; /* a job would not end before a rank that comes back */
    if (e == TINE_OK)
        e = own.rejoin ? serve_and_rejoin(&own, endpoint, leave)
                       : tine_serve(&own, endpoint, rank, log, leave);
    if (e == TINE_OK && log) atomic_store(&log->dismissed, 1);
    tine_launcher launcher;
    if (rank > 0 && (e == TINE_EINVAL || e == TINE_EIO) && tine_launcher_rank(&launcher))
        tine_rank_refuse(&launcher, true);
    if (e != TINE_OK)
        tine_log(e == TINE_ELOST && supervised ? TINE_LOG_INFO : TINE_LOG_ERROR, "worker: %s",
                 tine_error_message());
    tine_log_flush();
    /* If the coordinator has died, the watchdog removes the private directory and ends this
     * process; an exit now would end the watchdog before it is done. */
    if (e == TINE_ELOST && supervised) poll(NULL, 0, WATCHDOG_MS);
    exit(e == TINE_OK ? 0 : 1);
}
