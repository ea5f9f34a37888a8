/* The growing ring. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>

#include "tests/support/random.h"
#include "transport/base/ring.h"

TestSuite(ring, .timeout = 20);

Test(ring, is_first_in_first_out_while_it_grows) {
    tine_ring r = TINE_RING(uint64_t);
    uint64_t in = 0, out = 0, value, state = 3;
    cr_assert_not(tine_ring_pop(&r, &value));
    cr_assert_null(tine_ring_first(&r));
    for (int i = 0; i < 100000; i++) {
        /* two pushes for each pop: the ring grows at every position of its first item */
        if (random_below(&state, 3) < 2) {
            uint64_t *slot = tine_ring_push(&r);
            cr_assert_not_null(slot);
            *slot = in++;
        } else if (tine_ring_pop(&r, &value)) {
            cr_assert_eq(value, out);
            out++;
        }
        cr_assert_eq(r.n, in - out);
        if (r.n) cr_assert_eq(*(uint64_t *)tine_ring_at(&r, r.n - 1), in - 1);
    }
    while (tine_ring_first(&r)) {
        cr_assert(tine_ring_pop(&r, &value));
        cr_assert_eq(value, out);
        out++;
    }
    cr_assert_eq(out, in);
    tine_ring_fini(&r);
}

Test(ring, gives_a_burst_back_and_keeps_a_little) {
    tine_ring r = TINE_RING(uint64_t);
    for (int i = 0; i < 10; i++) cr_assert_not_null(tine_ring_push(&r));
    while (r.n) tine_ring_drop(&r);
    cr_assert_gt(r.room, 0);
    for (int i = 0; i < 100000; i++) cr_assert_not_null(tine_ring_push(&r));
    while (r.n) tine_ring_drop(&r);
    cr_assert_eq(r.room, 0);
    cr_assert_not_null(tine_ring_push(&r));
    tine_ring_fini(&r);
    cr_assert_eq(r.n, 0);
}

Test(ring, reserves) {
    tine_ring r = TINE_RING(uint32_t);
    cr_assert_eq(tine_ring_reserve(&r, 1000), 0);
    size_t room = r.room;
    cr_assert_geq(room, 1000);
    for (int i = 0; i < 1000; i++) cr_assert_not_null(tine_ring_push(&r));
    cr_assert_eq(r.room, room);
    cr_assert_eq(tine_ring_reserve(&r, SIZE_MAX / 2), -ENOMEM);
    cr_assert_eq(r.n, 1000);
    tine_ring_fini(&r);
    tine_ring zeroed = {0};
    tine_ring_fini(&zeroed);
}
