/* When a loop polls before it sleeps. The load is as at a look that has just been taken. */
#include <criterion/criterion.h>

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
