/* Memory that ends at a page nobody may touch, or begins after one: a read or write beyond it is a
 * crash, in any build. */
#ifndef TINE_TESTS_SUPPORT_GUARD_H
#define TINE_TESTS_SUPPORT_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct tine_guard {
    void *data; /* `bytes` bytes, zeroed */
    void *map;
    size_t mapped;
};

/* at_end: data ends where the forbidden page begins (so its alignment is whatever `bytes` makes
 * it). */
struct tine_guard tine_guard_alloc(size_t bytes, bool at_end);
void tine_guard_free(struct tine_guard *guard);

#endif
