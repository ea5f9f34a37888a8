/* What threads keep of the small records that they free. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <pthread.h>

#include "transport/base/block.h"

TestSuite(block, .timeout = 20);

enum { SIZE = 100, MANY = 1000 };

/* Under a sanitizer nothing is kept. */
static bool keeps(void) {
    void *p = tine_block_new(SIZE);
    cr_assert_not_null(p);
    tine_block_free(p, SIZE);
    return tine_block_kept[tine_block_units(SIZE)] != NULL;
}

Test(block, one_that_was_freed_is_taken_again) {
    if (!keeps()) cr_skip("nothing is kept here");
    void *p = tine_block_new(SIZE);
    tine_block_free(p, SIZE);
    cr_expect_eq(tine_block_new(SIZE - 1), p, "of the same number of units");
    void *larger = tine_block_new(SIZE + TINE_BLOCK_UNIT);
    cr_expect_neq(larger, p);
    tine_block_free(larger, SIZE + TINE_BLOCK_UNIT);
    free(p);
}

Test(block, large_and_empty_ones_are_mallocs) {
    const size_t large = TINE_BLOCK_UNIT * TINE_BLOCK_UNITS + TINE_BLOCK_MORE + 1;
    void *p = tine_block_new(large), *empty = tine_block_new(0);
    cr_assert(p && empty);
    cr_expect_eq(tine_block_units(large), 0);
    cr_expect_eq(tine_block_units(large - 1), TINE_BLOCK_UNITS);
    tine_block_free(p, large);
    tine_block_free(empty, 0);
    cr_expect_null(tine_block_kept[0]);
}

Test(block, what_is_kept_is_bounded) {
    if (!keeps()) cr_skip("nothing is kept here");
    enum { LARGE = TINE_BLOCK_UNIT * TINE_BLOCK_UNITS, MOST = TINE_BLOCK_KEEPS / LARGE };
    static void *blocks[MOST + MANY], *small[MANY];
    for (size_t i = 0; i < MANY; i++) cr_assert_not_null(small[i] = tine_block_new(SIZE));
    for (size_t i = 0; i < MOST + MANY; i++) cr_assert_not_null(blocks[i] = tine_block_new(LARGE));
    for (size_t i = 0; i < MOST + MANY; i++) tine_block_free(blocks[i], LARGE);
    size_t n = 0;
    for (size_t i = 0; i < MANY; i++) tine_block_free(small[i], SIZE);
    for (size_t i = 1; i <= TINE_BLOCK_UNITS; i++)
        for (const tine_block *b = tine_block_kept[i]; b; b = b->next) n += i * TINE_BLOCK_UNIT;
    cr_expect_leq(n, TINE_BLOCK_KEEPS, "%zu bytes of all sizes", n);
    cr_expect_gt(n, TINE_BLOCK_KEEPS - 2 * LARGE);
}

static void *take_and_free(void *unused) {
    (void)unused;
    void *blocks[MANY];
    for (size_t i = 0; i < MANY; i++) cr_assert_not_null(blocks[i] = tine_block_new(SIZE));
    for (size_t i = 0; i < MANY; i++) tine_block_free(blocks[i], SIZE);
    return NULL;
}

static void run_thread(void) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, take_and_free, NULL), 0);
    pthread_join(thread, NULL);
}

Test(block, a_thread_that_ends_keeps_nothing) {
    if (!keeps()) cr_skip("nothing is kept here");
    run_thread(); /* what a first thread costs stays */
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 10; i++) run_thread();
    size_t after = mallinfo2().uordblks;
    cr_expect_lt(after, before + MANY * SIZE, "%zu bytes, then %zu", before, after);
}

Test(block, a_small_record_takes_no_more_than_from_malloc) {
    if (!keeps()) cr_skip("sizes are not rounded here");
    for (size_t size = 1; size <= 600; size++) {
        void *p = tine_block_new(size), *q = malloc(size);
        cr_assert(p && q);
        cr_expect_eq(malloc_usable_size(p), malloc_usable_size(q), "%zu bytes", size);
        free(q);
        free(p);
    }
}
