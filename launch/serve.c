/* This process as a worker. */
#include <poll.h>
#include <stdlib.h>

#include "launch/internal.h"
#include "launch/leave.h"
#include "launch/security.h"
#include "launch/spawn/lifeline.h"
#include "runtime/value/error.h"
#include "transport/base/log.h"
#include "workers/blas.h"
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
    /* A worker thread starts after its listener: if that is gone, waiting is pointless. */
    if (tine_transport_flags(endpoint) & TINE_TRANSPORT_THREADS) config.transport.connect_ns = 1;
    return tine_worker_run(&config);
}

void tine_serve_and_exit(const tine_settings *s, const char *endpoint, int rank) {
    int crash_fd = -1;
    tine_run_log *log;
    tine_error e = tine_lifeline_start(endpoint, &crash_fd, &log);
    tine_fiber_report_to(crash_fd);
    tine_blas_threads(s->threads);
    bool local = s->token[0] != 0; /* its coordinator ends it */
    bool ranks = tine_transport_flags(endpoint) & TINE_TRANSPORT_RANKS; /* the launcher does */
    tine_leave *leave = local || ranks ? NULL : tine_leave_on_signals(s->grace);
    if (e == TINE_OK) e = tine_serve(s, endpoint, rank, log, leave);
    if (e == TINE_OK && log) atomic_store(&log->dismissed, 1);
    if (e != TINE_OK)
        tine_log(e == TINE_ELOST && local ? TINE_LOG_INFO : TINE_LOG_ERROR, "worker: %s",
                 tine_error_message());
    tine_log_flush();
    /* If the coordinator has died, the watchdog removes the private directory and ends this
     * process; an exit now would end the watchdog before it is done. */
    if (e == TINE_ELOST && local) poll(NULL, 0, WATCHDOG_MS);
    exit(e == TINE_OK ? 0 : 1);
}
