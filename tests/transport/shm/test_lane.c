/* Making and opening a lane: what is refused, and that nothing is left. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/leftovers.h"
#include "transport/shm/lane.h"

enum { CAPACITY = 1 << 16 };

static tine_shm_lane make(tine_shm_offer *offer) {
    tine_shm_lane l;
    const char *why;
    cr_assert_eq(tine_shm_lane_make(&l, CAPACITY, offer, &why), 0, "%s", why);
    return l;
}

Test(shm_lane, is_opened_by_another_process, .timeout = 20) {
    tine_shm_offer offer;
    tine_shm_lane l = make(&offer);
    cr_expect_not(tine_shm_lane_answered(&l, &offer));
    pid_t child = fork();
    if (!child) {
        tine_shm_lane other;
        tine_shm_record r;
        const char *why;
        if (tine_shm_lane_open(&other, &offer, &why)) _exit(1);
        while (tine_shm_next(&other.in, &r) == TINE_SHM_NONE) sched_yield();
        _exit(r.size == 8 && !memcmp(r.bytes, "a record", 8) ? 0 : 2);
    }
    uint8_t *to;
    cr_assert_eq(tine_shm_reserve(&l.out, 8, &to), TINE_SHM_OK);
    memcpy(to, "a record", 8);
    tine_shm_write(&l.out, 8, 1);
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    cr_expect(tine_shm_lane_answered(&l, &offer));
    tine_shm_lane_fini(&l);
}

static void refused(const tine_shm_offer *offer, const char *words) {
    tine_shm_lane l;
    const char *why = "";
    cr_expect_lt(tine_shm_lane_open(&l, offer, &why), 0, "%s", words);
    cr_expect(strstr(why, words), "%s", why);
    cr_expect_null(l.shared);
}

Test(shm_lane, refuses_what_is_not_the_offered_segment, .timeout = 20) {
    unsigned before = leftover_descriptors(), mapped = leftover_mappings("tine-lane");
    tine_shm_offer offer, wrong;
    tine_shm_lane l = make(&offer);
    wrong = offer;
    wrong.token[3] ^= 1;
    refused(&wrong, "sealed segment");
    wrong = offer;
    wrong.capacity *= 2;
    refused(&wrong, "/proc");
    wrong.capacity = CAPACITY + 8;
    refused(&wrong, "size is out of range");
    wrong.capacity = UINT64_C(1) << 40;
    refused(&wrong, "size is out of range");
    wrong = offer;
    wrong.segment = 0; /* no such file: not of this type and size */
    refused(&wrong, "/proc");
    wrong.pid = 0;
    refused(&wrong, "/proc");
    tine_shm_lane_offered_end(&l);
    refused(&offer, "/proc");
    tine_shm_lane_fini(&l);
    tine_shm_lane_fini(&l);
    cr_expect_eq(leftover_descriptors(), before);
    cr_expect_eq(leftover_mappings("tine-lane"), mapped);
}

/* One that the other side could truncate would end this process by SIGBUS. */
Test(shm_lane, refuses_a_segment_that_is_not_sealed, .timeout = 20) {
    tine_shm_offer offer;
    tine_shm_lane l = make(&offer);
    int fd = memfd_create("tine-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(ftruncate(fd, (64 << 10) + 2 * CAPACITY), 0);
    cr_assert_eq(pwrite(fd, offer.token, sizeof offer.token, 0), sizeof offer.token);
    offer.segment = (uint32_t)fd;
    refused(&offer, "sealed segment");
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
    tine_shm_lane opened;
    const char *why;
    cr_expect_eq(tine_shm_lane_open(&opened, &offer, &why), 0, "sealed, it is taken");
    tine_shm_lane_fini(&opened);
    close(fd);
    tine_shm_lane_fini(&l);
}

Test(shm_lane, a_bell_wakes_and_is_full_without_harm, .timeout = 20) {
    int bell = tine_shm_bell_make();
    cr_assert_geq(bell, 0);
    int other = tine_shm_bell_open((uint32_t)getpid(), (uint32_t)bell);
    cr_assert_geq(other, 0);
    for (int i = 0; i < 100000; i++) tine_shm_bell_ring(other);
    tine_shm_bell_clear(bell);
    char byte;
    cr_expect_eq(read(bell, &byte, 1), -1);
    cr_expect_eq(errno, EAGAIN);
    close(bell);
    tine_shm_bell_ring(other); /* no reader is left but this side: no SIGPIPE */
    close(other);
    int file = memfd_create("no-pipe", MFD_CLOEXEC);
    cr_expect_lt(tine_shm_bell_open((uint32_t)getpid(), (uint32_t)file), 0);
    close(file);
}

Test(shm_lane, this_machine_can, .timeout = 20) {
    unsigned before = leftover_descriptors();
    const char *obstacle = tine_shm_obstacle();
    cr_expect_null(obstacle, "%s", obstacle);
    cr_expect_eq(leftover_descriptors(), before);
}
