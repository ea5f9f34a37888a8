/* The heap of times. */
#include <criterion/criterion.h>

#include "tests/support/random.h"
#include "transport/base/timers.h"

TestSuite(timers, .timeout = 20);

enum { N = 300 };
static tine_timer timers[N];
static tine_timers heap;

static int64_t earliest(void) {
    int64_t due = INT64_MAX;
    for (int i = 0; i < N; i++)
        if (timers[i].at > 0 && timers[i].due < due) due = timers[i].due;
    return due;
}

Test(timers, the_first_one_is_due_first_whatever_is_added_and_removed) {
    uint64_t state = 5;
    size_t n = 0;
    for (int round = 0; round < 20000; round++) {
        tine_timer *t = &timers[random_below(&state, N)];
        bool in = t->at > 0;
        if (in) {
            tine_timers_remove(&heap, t);
        } else {
            t->due = (int64_t)random_below(&state, 100); /* many are equal */
            tine_timers_add(&heap, t);
        }
        n += in ? -1 : 1;
        cr_assert_eq(heap.n, n);
        cr_assert_eq(tine_timers_next(&heap), earliest());
    }
    for (tine_timer *t; (t = tine_timers_first(&heap)); tine_timers_remove(&heap, t))
        cr_assert_eq(t->due, earliest());
    cr_assert_eq(tine_timers_next(&heap), INT64_MAX);
    tine_timers_remove(&heap, &timers[0]); /* it is in none */
    tine_timers_fini(&heap);
}
