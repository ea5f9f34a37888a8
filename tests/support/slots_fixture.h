/* Workers that offer slots, and tasks that take some. */
#ifndef TINE_TESTS_SUPPORT_SLOTS_FIXTURE_H
#define TINE_TESTS_SUPPORT_SLOTS_FIXTURE_H

#include "tests/support/scheduler_fixture.h"

/* `input`: the only argument; 0: none. */
static inline uint64_t fork_taking(uint64_t ticket, const char *name, uint32_t flags,
                                   tine_object input, const tine_terms *terms) {
    uint64_t task = 0;
    tine_payload *p = payload_with(8, &input, input != 0);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = name}, flags, p,
                                     terms, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return task;
}
#define TAKE(ticket, ...) fork_taking(ticket, "f", 0, 0, &(tine_terms){__VA_ARGS__})
#define TAKE_OF(ticket, input, ...) fork_taking(ticket, "f", 0, input, &(tine_terms){__VA_ARGS__})

static inline uint32_t join_offering(tine_peer peer, const char *slots) {
    const char *functions[] = {"f", "g"};
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .host = "a",
                        .functions = functions,
                        .n_functions = 2,
                        .slots = slots};
    tine_scheduler_peer_up(F.scheduler, peer, F.now);
    receive(peer, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    return ++F.epochs;
}

static inline size_t tasks_at(tine_peer peer) { return count_sent(peer, TINE_MSG_TASK); }

static inline bool task_is_sent(uint64_t task) {
    for (size_t i = 0; i < tasks_at(0); i++)
        if (sent(0, TINE_MSG_TASK, i)->a.message.task == task) return true;
    return false;
}

static inline void finish_after(tine_peer peer, uint32_t epoch, uint64_t task, uint64_t run_ns) {
    receive(peer, (tine_message){.type = TINE_MSG_DONE,
                                 .task = task,
                                 .attempt = 1,
                                 .epoch = epoch,
                                 .status = TINE_EFAILED,
                                 .run_ns = run_ns,
                                 .text = "x"});
    take();
}

/* The mean of the function's time becomes small. */
static inline void finish(tine_peer peer, uint32_t epoch, uint64_t task) {
    finish_after(peer, epoch, task, 1000);
}

static inline void done_keeping(tine_peer peer, uint32_t epoch, uint64_t task, uint32_t attempt,
                                tine_object id) {
    receive(peer, (tine_message){.type = TINE_MSG_DONE,
                                 .task = task,
                                 .attempt = attempt,
                                 .epoch = epoch,
                                 .object = id,
                                 .run_ns = 1000});
    take();
}

#endif
