/* The queue of what the executor asks its caller to do. See internal.h. */
#include "workers/executor/internal.h"

#include <stdlib.h>

executor_action *tine_executor_push(tine_executor *x, tine_executor_action_kind kind) {
    executor_action *action = tine_ring_push(&x->actions);
    TINE_ASSERT_TRUE(action);
    *action = (executor_action){.a = {.kind = kind}};
    return action;
}

executor_action *tine_executor_send(tine_executor *x, tine_message_type type) {
    executor_action *action = tine_executor_push(x, TINE_EXECUTOR_SEND);
    x->n_sent += tine_message_counts(type);
    action->a.message.type = type;
    return action;
}

static void executor_owned_free(executor_owned *o) {
    if (o->memory) free(o->memory);
    if (o->payload) tine_payload_unref(o->payload);
    if (o->object) tine_executor_object_free(o->object);
    *o = (executor_owned){0};
}

bool tine_executor_next(tine_executor *x, tine_executor_action *out) {
    executor_owned_free(&x->last);
    executor_action *first = tine_ring_first(&x->actions);
    if (!first) return false;
    *out = first->a;
    x->last = first->owned;
    tine_ring_drop(&x->actions);
    return true;
}

bool tine_executor_next_early(tine_executor *x, tine_executor_action *out) {
    for (size_t i = 0; i < x->actions.n; i++) {
        executor_action early = *(executor_action *)tine_ring_at(&x->actions, i);
        if (early.a.kind != TINE_EXECUTOR_SEND && early.a.kind != TINE_EXECUTOR_REACH) continue;
        for (; i > 0; i--)
            *(executor_action *)tine_ring_at(&x->actions, i) =
                *(executor_action *)tine_ring_at(&x->actions, i - 1);
        *(executor_action *)tine_ring_first(&x->actions) = early;
        return tine_executor_next(x, out);
    }
    return false;
}

void tine_executor_actions_free(tine_executor *x) {
    executor_owned_free(&x->last);
    for (executor_action action; tine_ring_pop(&x->actions, &action);) {
        if (action.a.kind == TINE_EXECUTOR_COMPLETE || action.a.kind == TINE_EXECUTOR_YIELD)
            tine_payload_unref(action.a.payload);
        executor_owned_free(&action.owned);
    }
    tine_ring_fini(&x->actions);
}
