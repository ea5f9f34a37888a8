/* A thread that runs the event loop for itself leaves the lock to others, however much arrives. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>

#include "runtime/coordinator/internal.h"
#include "transport/base/clock.h"

/* A transport that always has one event more, so the loop never blocks. */

static sem_t began;

static int endless_recv(tine_transport *t, tine_event *ev) {
    (void)t;
    static atomic_bool told;
    if (!atomic_exchange(&told, true)) sem_post(&began);
    *ev = (tine_event){.kind = TINE_EVENT_WRITABLE, .peer = 1};
    return 0;
}

static const char *endless_url(const tine_transport *t) {
    (void)t;
    return "inproc://endless";
}

static void endless_nothing(tine_transport *t) { (void)t; }
static bool endless_stop(tine_transport *t) { return t != NULL; }

static const tine_transport_ops endless_ops = {
    .url = endless_url,
    .recv = endless_recv,
    .wake = endless_nothing,
    .close = endless_nothing,
    .stop = endless_stop,
    .fini = endless_nothing,
};

static tine_transport endless = {.ops = &endless_ops};
static tine_coordinator *c;
static atomic_bool over;

static bool is_over(void *arg) {
    (void)arg;
    return atomic_load(&over);
}

static bool is_never(void *arg) {
    (void)arg;
    return false;
}

static void *run_loop(void *arg) {
    (void)arg;
    tine_coordinator_lock(c);
    cr_assert_eq(tine_coordinator_until(c, is_over, NULL, INT64_MAX), TINE_OK);
    tine_coordinator_unlock(c);
    return NULL;
}

static void begin(pthread_t *runner) {
    tine_settings s = {0};
    cr_assert_eq(tine_coordinator_new(&c, &s, &endless, 1, false), TINE_OK);
    sem_init(&began, 0, 0);
    cr_assert_eq(pthread_create(runner, NULL, run_loop, NULL), 0);
    sem_wait(&began);
}

static void end(pthread_t runner) {
    pthread_join(runner, NULL);
    tine_context_unref(&c->context);
}

Test(turns, a_thread_gets_the_lock_between_two_turns, .timeout = 30) {
    pthread_t runner;
    begin(&runner);
    tine_coordinator_lock(c);
    cr_expect(c->running, "nothing ran the loop");
    atomic_store(&over, true);
    tine_coordinator_unlock(c);
    end(runner);
}

Test(turns, a_deadline_holds_while_another_thread_runs_the_loop, .timeout = 30) {
    pthread_t runner;
    begin(&runner);
    tine_coordinator_lock(c);
    cr_expect(c->running, "nothing ran the loop");
    cr_expect_eq(tine_coordinator_until(c, is_never, NULL, tine_clock_ns() + 1000000),
                 TINE_ETIMEDOUT);
    atomic_store(&over, true);
    tine_coordinator_unlock(c);
    end(runner);
}
