/* The map from ids to pointers, against a plain array. */
#include <criterion/criterion.h>

#include "tests/support/random.h"
#include "transport/base/idmap.h"

TestSuite(idmap, .timeout = 20);

Test(idmap, agrees_with_an_array) {
    enum { IDS = 512, STEPS = 200000 };
    static void *there[IDS];
    tine_idmap m = {0};
    uint64_t r = 1;
    size_t n = 0;
    cr_assert_null(tine_idmap_get(&m, 3));
    cr_assert_null(tine_idmap_remove(&m, 3));
    for (int i = 0; i < STEPS; i++) {
        uint64_t at = random_next(&r) >> 33;
        /* ids that differ in their high bits only */
        uint64_t slot = at % IDS, id = (slot + 1) << 32 | 1;
        cr_assert_eq(tine_idmap_get(&m, id), there[slot]);
        if (there[slot]) {
            cr_assert_eq(tine_idmap_remove(&m, id), there[slot]);
            there[slot] = NULL;
            n--;
        } else {
            there[slot] = &there[slot];
            tine_idmap_put(&m, id, there[slot]);
            n++;
        }
        cr_assert_eq(m.n, n);
    }
    tine_idmap_fini(&m);
}

Test(idmap, gives_memory_back) {
    tine_idmap m = {0};
    for (uint64_t id = 1; id <= 100000; id++) tine_idmap_put(&m, id, &m);
    for (uint64_t id = 1; id <= 100000; id++) cr_assert_eq(tine_idmap_remove(&m, id), &m);
    cr_assert_leq(m.room, 1024);
    tine_idmap_fini(&m);
}
