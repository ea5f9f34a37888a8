/* The context of the program's futures, and the program that uses it. */
#ifndef TINE_TESTS_SIM_CONTEXT_H
#define TINE_TESTS_SIM_CONTEXT_H

#include "runtime/api/context.h"
#include "world.h"

typedef struct sim_context sim_context;

/* ---- context.c ---- */

void sim_context_begin(sim_world *w, bool of_worker);
tine_context *sim_context_of(const sim_world *w);
/* Every future has been released, and every promise. */
void sim_context_end(sim_world *w);

/* ---- promises.c, nodes.c ---- */

/* The value that a fork's result stands for, which is checked. */
uint64_t sim_promises_result(sim_world *w, const tine_future *f, const tine_payload *p);
int64_t sim_promises_delay(sim_world *w); /* ns until something that is due happens */

#endif
