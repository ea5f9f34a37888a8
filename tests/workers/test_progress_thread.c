/* When the progress thread waits in the transport, over one that says so. */
#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "runtime/wire/wire.h"
#include "workers/progress.h"

#define test(name) Test(progress_thread, name, .timeout = 20)

static sem_t waiting, wakes;
static atomic_int messages, handled;
static tine_link link_;
static tine_progress progress;

/* A PING, as often as `messages` says. */
static int waited_recv(tine_transport *t, tine_event *ev) {
    (void)t;
    *ev = (tine_event){.kind = TINE_EVENT_NONE};
    if (atomic_load(&messages) == 0) return 0;
    atomic_fetch_sub(&messages, 1);
    tine_message m = {.type = TINE_MSG_PING};
    *ev = (tine_event){.kind = TINE_EVENT_FRAME, .peer = 1, .frame = tine_wire_encode(&m)};
    return 0;
}

static void semaphore_take(sem_t *s) {
    while (sem_wait(s) != 0) {
    }
}

static void waited_wait(tine_transport *t, int64_t timeout_ns) {
    (void)t, (void)timeout_ns;
    sem_post(&waiting);
    semaphore_take(&wakes);
}

static void waited_wake(tine_transport *t) {
    (void)t;
    sem_post(&wakes);
}

static bool waited_busy(tine_transport *t) { /* an offer is accepted at once */
    (void)t;
    return true;
}

static void waited_fini(tine_transport *t) { (void)t; }

static const tine_transport_ops waited_ops = {.recv = waited_recv,
                                              .wait = waited_wait,
                                              .wake = waited_wake,
                                              .busy = waited_busy,
                                              .fini = waited_fini};
static tine_transport transport = {.ops = &waited_ops};

static bool something_waits(void *ctx) { return ctx; }
static void thread_handled(void *ctx) {
    (void)ctx;
    atomic_fetch_add(&handled, 1);
}

static int64_t nothing_is_due(void *ctx) { return ctx ? INT64_MAX : 0; }

static void begin(void) {
    static const tine_link_handler none;
    sem_init(&waiting, 0, 0);
    sem_init(&wakes, 0, 0);
    tine_link_init(&link_, &transport, &none, NULL);
    tine_progress_init(
        &progress, &link_,
        &(tine_progress_handler){something_waits, thread_handled, nothing_is_due, &link_});
    tine_progress_offer(&progress);
    semaphore_take(&waiting);
}

static void end(void) {
    tine_progress_stop(&progress);
    tine_progress_fini(&progress);
    tine_link_fini(&link_);
}

/* It polled as long as the task behind the one that runs had arrived. */
test(it_sleeps_though_a_message_was_collected) {
    atomic_store(&messages, 1);
    begin();
    cr_expect_eq(link_.collected.n, 1);
    end();
}

/* The worker's thread then waits in the transport, too: for what it was woken for. */
test(a_wake_up_that_it_has_received_is_passed_on) {
    int left;
    begin();
    tine_link_wake(&link_);
    semaphore_take(&waiting);
    tine_progress_reclaim(&progress);
    cr_assert_eq(sem_getvalue(&wakes, &left), 0);
    cr_expect_eq(left, 1, "%d wake-ups are left", left);
    end();
}

test(what_it_was_woken_for_is_handled) {
    begin();
    int before = atomic_load(&handled);
    tine_link_wake(&link_);
    semaphore_take(&waiting);
    cr_expect_gt(atomic_load(&handled), before);
    end();
}
