/* The coordinator's side of the public calls: a context (context.h) over a loop. */
#ifndef TINE_RUNTIME_COORDINATOR_COORDINATOR_H
#define TINE_RUNTIME_COORDINATOR_COORDINATOR_H

#include "runtime/coordinator/loop.h"
#include "runtime/settings/settings.h"

typedef struct tine_coordinator tine_coordinator;

/* Takes over the transport (also on an error). `expected`: workers that count as all, see
 * scheduler.h; `return`: more may come, or lost ones come back. */
tine_error tine_coordinator_new(tine_coordinator **out, const tine_settings *s,
                                tine_transport *transport, int expected, bool workers_return);
tine_loop *tine_coordinator_loop(tine_coordinator *c);
/* Installs it as the process's context, waits until n workers have joined. ETIMEDOUT with a
 * sentence. */
tine_error tine_coordinator_open(tine_coordinator *c, int n, double seconds);
int tine_coordinator_workers(tine_coordinator *c);
uint64_t tine_coordinator_completed(tine_coordinator *c);

/* From here on all processes record, workers that join later too. */
tine_error tine_coordinator_trace_start(tine_coordinator *c);
/* Gathers what was recorded (waits at most `seconds` for workers that compute) and writes the
 * file. */
tine_error tine_coordinator_trace_write(tine_coordinator *c, const char *path, double seconds);

/* Stops the loop; the context is taken away. */
void tine_coordinator_stop(tine_coordinator *c, double seconds);
void tine_coordinator_free(tine_coordinator *c); /* accepts NULL */

#endif
