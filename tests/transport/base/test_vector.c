/* Growing arrays. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>

#include "transport/base/memory.h"
#include "transport/base/vector.h"

TestSuite(vector, .timeout = 10);

Test(vector, doubles_and_keeps_its_items) {
    int *items = NULL;
    size_t room = 0, moves = 0;
    for (int i = 0; i < 1000; i++) {
        size_t before = room;
        items = tine_must_grow(items, &room, (size_t)i + 1, sizeof *items);
        moves += room > before;
        items[i] = i;
    }
    for (int i = 0; i < 1000; i++) cr_assert_eq(items[i], i);
    cr_assert_geq(room, 1000);
    cr_assert_leq(moves, 8);
    free(items);
}

Test(vector, without_memory_stays_as_it_was) {
    size_t room = 0;
    char *items = tine_grow(NULL, &room, 3, 1);
    cr_assert_not_null(items);
    size_t before = room;
    cr_assert_null(tine_grow(items, &room, SIZE_MAX, 1));
    cr_assert_null(tine_grow(items, &room, SIZE_MAX / 8, 64));
    cr_assert_eq(room, before);
    cr_assert_eq(tine_grow(items, &room, 3, 1), items);
    free(items);
}

Test(vector, leaves_its_first_memory) {
    int first[4] = {1, 2, 3, 4}, *items = first;
    size_t room = 4;
    cr_assert_eq(tine_grow_from(items, first, &room, 4, sizeof *items), first);
    items = tine_grow_from(items, first, &room, 5, sizeof *items);
    cr_assert_not_null(items);
    cr_assert_neq(items, first);
    for (int i = 0; i < 4; i++) cr_assert_eq(items[i], i + 1);
    items = tine_grow_from(items, first, &room, 100, sizeof *items);
    cr_assert_eq(items[3], 4);
    free(items);
}

Test(vector, copies_text) {
    char *copy = tine_must_copy("a name");
    cr_assert_str_eq(copy, "a name");
    cr_assert_null(tine_must_copy(NULL));
    free(copy);
}
