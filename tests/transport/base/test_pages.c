/* Pages given back serve the next buffers, within bounds. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport/base/buffer.h"
#include "transport/base/pages.h"

enum { MI = 1 << 20 };

static void need_keeping(void) {
    tine_pages_give(tine_pages_take(MI));
    if (tine_pages_kept() == 0) cr_skip_test("nothing is kept in a sanitizer's build");
}

static long faults(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_minflt;
}

static tine_pages take(size_t size) {
    tine_pages p = tine_pages_take(size);
    cr_assert_not_null(p.data);
    cr_assert_geq(p.size, size);
    return p;
}

static void give(size_t size) { tine_pages_give(take(size)); }

Test(pages, of_a_buffer_serve_the_next_without_being_cleared_anew, .timeout = 10) {
    const size_t size = 10 * MI;
    need_keeping();
    for (int i = 0; i < 3; i++) {
        tine_buffer *b = tine_buffer_new(size);
        cr_assert_not_null(b);
        long before = faults();
        memset(b->data, i + 1, size);
        long met = faults() - before;
        if (i == 0)
            cr_assert_gt(met, 0, "fresh pages must be met one by one, or this test shows nothing");
        else
            cr_assert_eq(met, 0, "%ld page faults in round %d", met, i);
        tine_buffer_unref(b);
    }
}

Test(pages, of_the_best_fit_are_taken, .timeout = 10) {
    need_keeping();
    tine_pages a = take(11 * MI), b = take(10 * MI), c = take(12 * MI);
    tine_pages_give(a);
    tine_pages_give(b);
    tine_pages_give(c);
    tine_pages p = take(10 * MI - 5);
    cr_assert_eq(p.data, b.data);
    tine_pages q = take(10 * MI - 5);
    cr_assert_eq(q.data, a.data);
    tine_pages_give(p);
    tine_pages_give(q);
}

Test(pages, a_quarter_too_large_are_left, .timeout = 10) {
    need_keeping();
    give(16 * MI);
    size_t before = tine_pages_kept();
    tine_pages p = take(12 * MI);
    cr_assert_eq(tine_pages_kept(), before);
    tine_pages_give(p);
}

Test(pages, kept_are_bounded_and_the_oldest_go, .timeout = 10) {
    need_keeping();
    tine_pages blocks[40];
    for (int i = 0; i < 40; i++) blocks[i] = take(32 * MI);
    for (int i = 0; i < 40; i++) {
        tine_pages_give(blocks[i]);
        cr_assert_leq(tine_pages_kept(), TINE_PAGES_KEEP);
    }
    cr_assert_gt(tine_pages_kept(), TINE_PAGES_KEEP - 32 * MI);
    for (int i = 39; i >= 24; i--) cr_assert_eq(take(32 * MI).data, blocks[i].data, "block %d", i);
    cr_assert_lt(tine_pages_kept(), 32 * MI, "only 16 of 32 MiB fit into %zu", TINE_PAGES_KEEP);
}

Test(pages, kept_are_bounded_in_number, .timeout = 10) {
    enum { BLOCKS = 3000, PAGE = 4096 };
    static tine_pages blocks[BLOCKS];
    need_keeping();
    for (int i = 0; i < BLOCKS; i++) blocks[i] = take(PAGE);
    size_t before = tine_pages_kept();
    for (int i = 0; i < BLOCKS; i++) tine_pages_give(blocks[i]);
    cr_expect_gt(tine_pages_kept() - before, 500 * PAGE);
    cr_expect_lt(tine_pages_kept() - before, 1500 * PAGE, "some must have gone");
    for (int i = BLOCKS - 1; i >= BLOCKS - 500; i--)
        cr_assert_eq(take(PAGE).data, blocks[i].data, "the latest are left: block %d", i);
}

Test(pages, of_every_size_serve_the_next_of_that_size_or_a_little_less, .timeout = 10) {
    need_keeping();
    munmap(take(MI).data, MI); /* which that has kept */
    for (size_t pages = 4; pages < 25000; pages += 1 + pages / 7) {
        const size_t size = pages * 4096;
        tine_pages p = take(size);
        tine_pages_give(p);
        tine_pages same = take(size);
        cr_assert_eq(same.data, p.data, "%zu bytes", size);
        tine_pages_give(p);
        tine_pages less = take(size - size / 6);
        cr_assert_eq(less.data, p.data, "%zu bytes for a sixth less", size);
        munmap(less.data, less.size); /* or a later round would take it */
    }
}

Test(pages, past_half_of_what_may_be_kept_go_back, .timeout = 10) {
    need_keeping();
    size_t before = tine_pages_kept();
    give(TINE_PAGES_KEEP / 2 + MI);
    cr_assert_eq(tine_pages_kept(), before);
}

Test(pages, kept_are_not_in_the_way_where_address_space_is_limited, .timeout = 10) {
    need_keeping();
    tine_pages a = take(200 * MI), b = take(200 * MI);
    tine_pages_give(a);
    tine_pages_give(b);
    cr_assert_geq(tine_pages_kept(), 400 * MI);
    struct rlimit limit = {0};
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    cr_assert(statm && fscanf(statm, "%ld", &pages) == 1);
    fclose(statm);
    limit.rlim_cur = limit.rlim_max = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + 200 * MI;
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    tine_pages p = tine_pages_take(500 * MI);
    cr_expect_not_null(p.data);
    tine_pages_give(p);
}

Test(pages, of_an_absurd_size_are_refused, .timeout = 10) {
    cr_assert_null(tine_pages_take(SIZE_MAX).data);
    cr_assert_null(tine_pages_take((size_t)1 << 62).data);
    cr_assert_null(tine_buffer_new(SIZE_MAX));
}
