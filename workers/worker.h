/* A worker: one thread that receives tasks, runs each on a fiber, and replies. */
#ifndef TINE_WORKERS_WORKER_H
#define TINE_WORKERS_WORKER_H

#include "runtime/wire/message.h"
#include "transport/base/run_log.h"
#include "transport/transport.h"
#include "workers/leave.h"

typedef struct tine_worker_config {
    const char *endpoint; /* where the coordinator listens */
    const char *token;    /* how it knows a worker that it started itself, or "" */
    const char *labels;   /* separated by commas, or NULL */
    const char *slots;    /* "gpu=2,disk=1", or NULL */
    int rank;             /* under a launcher, else -1 */
    size_t stack_size;    /* 0: the default */
    size_t stays;         /* bytes of a result past which it stays here for other workers */
    tine_run_log *log;    /* shared with the process that started this one; NULL: none */
    tine_leave *leave;    /* by which it is asked to leave; NULL: it is not */
    tine_transport_config transport;
} tine_worker_config;

/* Connects, serves until the coordinator sends STOP or is lost, and cleans up. Errors: EIO, EINVAL
 * (endpoint), ENOMEM, ELOST (the coordinator was lost, or never reached), EPROTO (it rejected
 * this worker, or broke the protocol), with a sentence. */
tine_error tine_worker_run(const tine_worker_config *config);

#endif
