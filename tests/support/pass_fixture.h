/* A scheduler with two workers, and a task that takes a result of each: what one worker passes to
 * the other one directly. */
#ifndef TINE_TESTS_PASS_FIXTURE_H
#define TINE_TESTS_PASS_FIXTURE_H

#include "tests/support/scheduler_fixture.h"

static action made[3], joined;    /* a task at each of two workers, and one of both results */
static tine_object ids[3], last;  /* their results */
static tine_peer here, elsewhere; /* where the last one runs; where its other input is made */

static tine_object fork_at(uint64_t ticket, uint32_t worker, const tine_object *refs, size_t n) {
    uint64_t task;
    tine_payload *p = payload_with(8, refs, n);
    tine_terms terms = {.worker = worker};
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &(tine_target){.name = "f"}, 0, p,
                                     worker ? &terms : NULL, &task),
                 TINE_OK);
    tine_payload_unref(p);
    return tine_scheduler_result(F.scheduler, task);
}

static void open_workers(bool pair) {
    fixture_open((tine_scheduler_config){0});
    join(1);
    join(2);
    if (pair) tine_scheduler_paired(F.scheduler, 1, 2);
}

/* What was taken has the PASS, if there is one. */
static void fork_three(void) {
    for (uint32_t w = 1; w <= 2; w++) {
        ids[w] = fork_at(w, w, NULL, 0);
        take();
        made[w] = *sent(w, TINE_MSG_TASK, 0);
    }
    last = fork_at(3, 0, ids + 1, 2);
    take();
    joined = *sent(0, TINE_MSG_TASK, 0);
    here = joined.a.peer;
    elsewhere = 3 - here;
}

static void release_three(void) {
    for (int i = 1; i <= 2; i++) tine_scheduler_object_release(F.scheduler, ids[i]);
    tine_scheduler_object_release(F.scheduler, last);
    take();
}

static void end_three(void) {
    done(elsewhere, &made[elsewhere], 1000);
    done(here, &made[here], 1000);
    done(here, &joined, 1000);
    take();
    release_three();
}

static void release_and_close(void) {
    release_three();
    if (stats().running + stats().waiting == 0) cr_expect_eq(stats().objects, 0);
    fixture_close();
}

#endif
