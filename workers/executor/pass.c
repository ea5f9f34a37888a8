/* Small results that go to other workers directly, and those that come from them: see WIRE.md. */
#include <stdlib.h>

#include "transport/base/memory.h"
#include "workers/executor/internal.h"

/* ---- to others ---- */

static void executor_pass_to(tine_executor *x, uint64_t task, uint64_t number) {
    executor_task *t = executor_task_find(x, task);
    if (!t || !t->result) return; /* one that is done is sent on by the coordinator alone */
    for (size_t i = 0; i < t->n_passes; i++)
        if (t->passes[i] == number) return;
    t->passes = tine_must_grow(t->passes, &t->room_passes, t->n_passes + 1, sizeof *t->passes);
    t->passes[t->n_passes++] = number;
}

void tine_executor_pass(tine_executor *x, const tine_message *m) {
    for (size_t i = 0; i + 1 < m->n_ids; i += 2) executor_pass_to(x, m->ids[i], m->ids[i + 1]);
}

/* Each is sent behind the DONE: whoever has it may take it that the coordinator will. */
void tine_executor_result_pass(tine_executor *x, const executor_task *t, tine_payload *payload) {
    for (size_t i = 0; i < t->n_passes; i++) {
        executor_action *action = tine_executor_push(x, TINE_EXECUTOR_PASS);
        action->a.ticket = t->passes[i];
        action->a.object = t->result;
        action->a.payload = action->owned.payload = tine_payload_ref(payload);
    }
}

void tine_executor_not_passed(tine_executor *x, tine_object object, uint64_t number) {
    if (!x->tells_passed || x->stopped) return;
    executor_action *action = tine_executor_send(x, TINE_MSG_PASS);
    uint64_t *ids = action->owned.memory = tine_must_alloc(2 * sizeof *ids);
    ids[0] = object;
    ids[1] = number;
    action->a.message.ids = ids;
    action->a.message.n_ids = 2;
}

/* ---- from others ---- */

/* Taken only where it is awaited: the coordinator drops what it knows to be here. What it does not
 * send, since it was told that it comes this way, has to be asked for; also before WELCOME, which
 * another worker's message may overtake. */
bool tine_executor_passed(tine_executor *x, const tine_message *m) {
    if (!m->object || tine_object_is_module(m->object) || x->stopped) return false;
    executor_object *o = executor_object_find(x, m->object);
    if (o && (o->state != EXECUTOR_FETCHING || o->reaching)) return false;
    if (o && !m->status && !m->text && m->payload && m->payload->n_refs == 0) {
        o->state = EXECUTOR_INCOMPLETE;
        o->payload = tine_payload_ref(m->payload);
        tine_executor_settle(x, &o->waiter);
        return true;
    }
    if (x->epoch && !x->tells_passed) return false;
    if (o)
        tine_executor_send(x, TINE_MSG_FETCH)->a.message.object = m->object;
    else
        tine_executor_object_fetch(x, m->object);
    return false;
}
