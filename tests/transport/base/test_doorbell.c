/* The doorbell: a ring before the wait counts, and many rings are one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>

#include "transport/base/doorbell.h"

static bool readable(const tine_doorbell *d) {
    struct pollfd p = {.fd = d->fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

Test(doorbell, counts_a_ring_before_the_wait, .timeout = 10) {
    tine_doorbell d;
    cr_assert_eq(tine_doorbell_init(&d), 0);
    cr_assert_not(readable(&d));
    errno = EDOM;
    for (int i = 0; i < 3; i++) tine_doorbell_ring(&d);
    cr_assert_eq(errno, EDOM);
    cr_assert(readable(&d));
    tine_doorbell_clear(&d);
    cr_assert_not(readable(&d));
    tine_doorbell_ring(&d);
    cr_assert(readable(&d));
    tine_doorbell_fini(&d);
    tine_doorbell_fini(&d);
    tine_doorbell zeroed = {0};
    tine_doorbell_fini(&zeroed);
}
