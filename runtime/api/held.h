/* Forks that are held until the futures among their arguments are done (fork.c). */
#ifndef TINE_RUNTIME_API_HELD_H
#define TINE_RUNTIME_API_HELD_H

#include "runtime/api/context.h"

/* Each of a context's, with the lock; NULL: the first one, or no more. */
const struct held_fork *tine_held_fork_next(const tine_context *c, const struct held_fork *h);
/* The task's name (borrowed) and when it was forked. */
const char *tine_held_fork_name(const struct held_fork *h, int64_t *since);

#endif
