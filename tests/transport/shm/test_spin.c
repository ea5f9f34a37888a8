/* When a loop polls before it sleeps. The load is as at a look that has just been taken. */
#include <criterion/criterion.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport/shm/spin.h"

static const int64_t NOW = 1000000000, LONG = 100000000;

/* Two cores, nothing else runs, and the waits so far took 2 us. */
static tine_shm_spin calm(void) {
    return (tine_shm_spin){.cores = 2, .typical = 2000, .looked = NOW, .look_ns = INT64_MAX / 2};
}

Test(spin, it_does_not_poll_while_its_peers_need_all_cores) {
    tine_shm_spin s = calm();
    s.others = 1;
    cr_expect_gt(tine_shm_spin_begin(&s, NOW), 4000);
    s.others = 2;
    cr_expect_eq(tine_shm_spin_begin(&s, NOW), 0);
}

Test(spin, it_does_not_poll_while_more_threads_run_than_there_are_cores) {
    tine_shm_spin s = calm();
    s.beyond = 1;
    cr_expect_eq(tine_shm_spin_begin(&s, NOW), 0);
    s.spared = 1;
    cr_expect_gt(tine_shm_spin_begin(&s, NOW), 4000);
}

/* A thread of the kernel runs for some 10 us, and a look may come just then. */
Test(spin, one_look_that_shows_another_thread_is_not_believed) {
    tine_shm_spin s = calm();
    tine_shm_spin_saw(&s, NOW, 1);
    cr_expect_gt(tine_shm_spin_begin(&s, NOW), 4000);
    cr_expect_lt(s.look_ns, 1000000, "the next comes soon");
    tine_shm_spin_saw(&s, NOW + s.look_ns, 0);
    cr_expect_gt(tine_shm_spin_begin(&s, s.looked), 4000);
    tine_shm_spin_saw(&s, NOW + LONG, 1); /* long after the other one */
    cr_expect_gt(tine_shm_spin_begin(&s, s.looked), 4000);
}

Test(spin, two_looks_in_a_row_are) {
    tine_shm_spin s = calm();
    tine_shm_spin_saw(&s, NOW, 1);
    tine_shm_spin_saw(&s, NOW + s.look_ns, 1);
    cr_expect_eq(tine_shm_spin_begin(&s, s.looked), 0);
    tine_shm_spin_saw(&s, NOW + s.look_ns, 1);
    cr_expect_eq(tine_shm_spin_begin(&s, s.looked), 0);
    tine_shm_spin_saw(&s, NOW + s.look_ns, 0);
    cr_expect_gt(tine_shm_spin_begin(&s, s.looked), 4000);
}

Test(spin, the_first_look_is) {
    tine_shm_spin s = {.cores = 2, .typical = 2000};
    tine_shm_spin_saw(&s, NOW, 1);
    cr_expect_eq(tine_shm_spin_begin(&s, NOW), 0);
}

Test(spin, one_core_is_believed_at_once) {
    tine_shm_spin s = calm();
    tine_shm_spin_saw(&s, NOW, INT_MAX);
    cr_expect_eq(tine_shm_spin_begin(&s, NOW), 0);
}

/* Two sides that have slept wait for each other's wake-ups, 55 us each. One that polls for less
 * would sleep each time, and so would the other. */
Test(spin, it_polls_until_the_other_side_has_woken_up) {
    tine_shm_spin s = calm();
    s.typical = 110000;
    cr_expect_gt(tine_shm_spin_begin(&s, NOW), 60000);
}

/* Each loss of the core doubles the time without polling, from less than a millisecond. */
Test(spin, a_lost_core_stops_it_for_a_while) {
    tine_shm_spin s = calm();
    int64_t now = NOW, before = 0;
    for (int i = 0; i < 6; i++) {
        cr_assert_gt(tine_shm_spin_begin(&s, now), 0);
        tine_shm_spin_polled(&s, now + LONG);
        now += LONG;
        cr_expect_eq(tine_shm_spin_begin(&s, now), 0);
        int64_t off = s.off_until - now;
        cr_expect(before ? off == 2 * before : off < 1000000, "%lld ns", (long long)off);
        before = off;
        now = s.off_until;
    }
}

/* ---- the load of this machine ---- */

static atomic_bool over;

static void *busy(void *arg) {
    while (!atomic_load_explicit(&over, memory_order_relaxed)) tine_shm_relax();
    return arg;
}

static int threads_runnable(void) {
    int n = 0;
    FILE *f = fopen("/proc/loadavg", "re");
    if (f && fscanf(f, "%*s %*s %*s %d", &n) != 1) n = 0;
    if (f) fclose(f);
    return n;
}

/* Each wait looks at the load, and would be a short one. */
Test(spin, it_does_not_poll_beside_busy_threads_on_all_cores, .timeout = 60) {
    enum { WAITS = 200 };
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN), n = cores + 1, polls = 0, seen = 0;
    pthread_t *threads = calloc((size_t)n, sizeof *threads);
    for (int i = 0; i < n; i++) cr_assert_eq(pthread_create(&threads[i], NULL, busy, NULL), 0);
    for (int i = 0; i < WAITS; i++) {
        tine_shm_spin s = {.listens = true, .typical = 2000};
        seen += threads_runnable() > cores;
        polls += tine_shm_spin_begin(&s, NOW) > 0;
    }
    atomic_store(&over, true);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    free(threads);
    if (seen < WAITS / 2) cr_skip_test("this system does not tell what is runnable");
    cr_expect_leq(polls, WAITS / 20, "%d of %d waits poll", polls, WAITS);
}
