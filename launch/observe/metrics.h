/* Metrics: a snapshot of the job (runtime/coordinator/snapshot.h) in the text exposition format of
 * Prometheus, version 0.0.4, and the HTTP server that gives them out. */
#ifndef TINE_LAUNCH_OBSERVE_METRICS_H
#define TINE_LAUNCH_OBSERVE_METRICS_H

#include <stdio.h>

#include "runtime/coordinator/coordinator.h"

/* `snapshot` may come from another process: what it lacks is left out. */
void tine_metrics_write(FILE *f, const tine_value *snapshot);

typedef struct tine_metrics_server tine_metrics_server;
/* Serves GET /metrics at "HOST:PORT", ":PORT" or "PORT" (the loopback address); port 0: any free
 * one. EINVAL: what is no address; EIO: it is taken, or libmicrohttpd is missing. */
tine_error tine_metrics_serve(tine_metrics_server **out, const char *at, tine_coordinator *c);
void tine_metrics_stop(tine_metrics_server *s); /* accepts NULL */

#endif
