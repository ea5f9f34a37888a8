/* What the files of tine_init share: init.c (the role of this process), serve.c (as a worker),
 * listen.c (the coordinator's endpoint). */
#ifndef TINE_LAUNCH_INTERNAL_H
#define TINE_LAUNCH_INTERNAL_H

#include "runtime/settings/settings.h"
#include "transport/base/run_log.h"
#include "transport/launcher.h"
#include "transport/transport.h"
#include "workers/leave.h"

/* serve.c */
tine_transport_config tine_transport_config_of(const tine_settings *s);
/* Serves until the coordinator has ended, or the worker has left. `log` and `leave` may be NULL. */
tine_error tine_serve(const tine_settings *s, const char *endpoint, int rank, tine_run_log *log,
                      tine_leave *leave);
/* Serves and ends the process: in a worker tine_init does not return. */
void tine_serve_and_exit(const tine_settings *s, const char *endpoint, int rank);
/* This rank, which is not the first, cannot become a worker, for the reason in tine_error_message:
 * it ends. `host`: the reason may be one of this host. */
void tine_rank_refuse(const tine_launcher *l, bool host);

/* listen.c */
/* Listens, and sets the key that workers are told. `ranks`: of a job, which connect to the
 * endpoint; 0: none do. */
tine_error tine_listen_at(tine_settings *s, const char *url, int ranks, tine_transport **out);
/* Raises the limit of descriptors. EIO: so many workers do not fit. */
tine_error tine_descriptors_check(int workers);
/* Whether other processes can know the endpoint from its URL: it has a path, or a port. Else each
 * rank is a program of its own. */
bool tine_url_is_common(const char *url);

/* ESTATE: the caller of this function of the header has no pool of workers. */
tine_error tine_pool_check(const char *call);

#endif
