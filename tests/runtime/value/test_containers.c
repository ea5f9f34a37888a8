/* The small containers under the two state machines: ids, ready queues, payloads. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/idmap.h"
#include "runtime/wire/payload.h"
#include "transport/base/ready.h"

TestSuite(containers, .timeout = 20);

static uint64_t random_next(uint64_t *state) {
    return *state = *state * 6364136223846793005u + 1442695040888963407u;
}

Test(containers, idmap_agrees_with_an_array) {
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

Test(containers, idmap_gives_memory_back) {
    tine_idmap m = {0};
    for (uint64_t id = 1; id <= 100000; id++) tine_idmap_put(&m, id, &m);
    for (uint64_t id = 1; id <= 100000; id++) cr_assert_eq(tine_idmap_remove(&m, id), &m);
    cr_assert_leq(m.room, 1024);
    tine_idmap_fini(&m);
}

Test(containers, ready_is_deepest_first_then_oldest) {
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
    tine_ready_remove(&q, &links[17]);
    tine_ready_push(&q, &links[17]);
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

Test(containers, ready_takes_any_depth) {
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

Test(containers, a_payload_holds_its_buffers) {
    tine_payload *p = tine_payload_new(10, 2, 3);
    p->buffers[0] = tine_buffer_new(100);
    tine_buffer *b = tine_buffer_ref(p->buffers[0]);
    memset(p->body, 1, 10);
    p->refs[0] = p->refs[1] = p->refs[2] = 2;
    cr_assert_eq(tine_payload_bytes(p), 110);
    cr_assert_eq(tine_payload_ref(p), p);
    tine_payload_unref(p);
    cr_assert_eq(atomic_load(&b->refs), 2);
    tine_payload_unref(p);
    cr_assert_eq(atomic_load(&b->refs), 1);
    tine_buffer_unref(b);
    tine_payload_unref(NULL);
    cr_assert_null(tine_payload_ref(NULL));
    cr_assert_eq(tine_payload_bytes(NULL), 0);
    cr_assert_null(tine_payload_new((size_t)1 << 40, 0, 0));
}
