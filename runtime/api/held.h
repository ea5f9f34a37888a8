/* What forks that are held until the futures among their arguments are done (held.c) share with
 * those that are submitted at once (fork.c). */
#ifndef TINE_RUNTIME_API_HELD_H
#define TINE_RUNTIME_API_HELD_H

#include "runtime/api/context.h"

typedef struct held_fork held_fork;

/* What is called. */
typedef struct tine_fork_target {
    tine_target target;
    uint32_t flags;
    const tine_value *module; /* borrowed; NULL for a function */
    bool has_terms;
    tine_terms terms;
} tine_fork_target;

/* ---- fork.c; with the lock ---- */

tine_error tine_fork_submit(tine_context *c, tine_future *result, void *parent,
                            const tine_fork_target *to, const tine_arguments *arguments);
/* Completes f with the thread's error. */
void tine_fork_fail(tine_future *f, tine_error e);
/* For tine_arguments_resolve: what stands for the result of f as an argument. */
const tine_value *tine_result_value(tine_future *f, void *ctx);

/* ---- held.c; with the lock ---- */

/* Takes over `arguments` on success. missing: how many of the futures have no result that can be an
 * argument yet. */
tine_error tine_held_fork_begin(tine_future *result, const tine_fork_target *to,
                                tine_arguments *arguments, const tine_future_list *futures,
                                size_t missing, held_fork *before);
/* The one held last whose module, with one instance, is this one. */
held_fork *tine_held_fork_last(const tine_context *c, const tine_fork_target *to);
/* Each of a context's; NULL: the first one, or no more. */
const held_fork *tine_held_fork_next(const tine_context *c, const held_fork *h);
/* The task's name (borrowed) and when it was forked; since may be NULL. */
const char *tine_held_fork_name(const held_fork *h, int64_t *since);
/* What it waits for, a sentence without an end; to be freed. NULL without memory. */
char *tine_held_fork_describe(const held_fork *h);
/* The future of the call that waits for its turn after this one; NULL: none. */
tine_future *tine_held_fork_follower(const held_fork *h);

#endif
