/* The queue of ready tasks. */
#include <criterion/criterion.h>

#include "tests/support/random.h"
#include "transport/base/ready.h"

TestSuite(ready, .timeout = 20);

Test(ready, is_deepest_first_then_oldest) {
    enum { N = 300 };
    static tine_ready_link links[N];
    tine_ready q = {0};
    uint64_t r = 7;
    cr_assert_null(tine_ready_first(&q));
    for (size_t i = 0; i < N; i++) {
        links[i].depth = (uint32_t)(random_next(&r) >> 33) % 5 * 40;
        links[i].order = (random_next(&r) >> 33) % 100000;
        tine_ready_push(&q, &links[i]);
    }
    for (size_t i = 0; i < N; i += 3) tine_ready_remove(&q, &links[i]);
    for (size_t i = 0; i < N; i += 3) tine_ready_push(&q, &links[i]);
    uint32_t depth = UINT32_MAX;
    uint64_t order = 0;
    for (size_t i = 0; i < N; i++) {
        tine_ready_link *l = tine_ready_first(&q);
        cr_assert(l->depth < depth || (l->depth == depth && l->order >= order));
        depth = l->depth;
        order = l->order;
        tine_ready_remove(&q, l);
        cr_assert(!l->queued);
    }
    cr_assert_null(tine_ready_first(&q));
    tine_ready_fini(&q);
}

Test(ready, next_gives_the_first_ones_list) {
    tine_ready_link old = {.order = 1}, again = {.order = 2}, young = {.order = 3},
                    deep = {.depth = 1};
    tine_ready q = {0};
    tine_ready_push(&q, &old);
    tine_ready_push(&q, &young);
    tine_ready_push(&q, &again);
    tine_ready_push(&q, &deep);
    cr_assert_eq(tine_ready_first(&q), &deep);
    cr_assert_null(tine_ready_next(&q, &deep));
    tine_ready_remove(&q, &deep);
    cr_assert_eq(tine_ready_first(&q), &old);
    cr_assert_eq(tine_ready_next(&q, &old), &young, "one that runs again is not in the list");
    tine_ready_remove(&q, &old);
    cr_assert_eq(tine_ready_first(&q), &again);
    cr_assert_eq(tine_ready_next(&q, &again), &young);
    cr_assert_null(tine_ready_next(&q, &young));
    tine_ready_remove(&q, &again);
    tine_ready_remove(&q, &young);
    tine_ready_fini(&q);
}

Test(ready, takes_any_depth) {
    tine_ready q = {0};
    tine_ready_link deep = {.depth = UINT32_MAX, .order = 2},
                    deeper = {.depth = UINT32_MAX - 1, .order = 1}, flat = {.order = 0};
    tine_ready_push(&q, &deep);
    tine_ready_push(&q, &flat);
    tine_ready_push(&q, &deeper);
    cr_assert_eq(tine_ready_first(&q), &deeper, "past the limit the oldest is first");
    tine_ready_remove(&q, &deeper);
    tine_ready_remove(&q, &deep);
    cr_assert_eq(tine_ready_first(&q), &flat);
    tine_ready_remove(&q, &flat);
    tine_ready_fini(&q);
}
