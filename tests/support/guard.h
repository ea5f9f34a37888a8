/* Memory between two pages without access: a read or write beyond the one that it touches
 * crashes, in any build. */
#ifndef TINE_TESTS_SUPPORT_GUARD_H
#define TINE_TESTS_SUPPORT_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct tine_guard {
    void *data; /* `bytes` bytes, zeroed */
    void *map;
    size_t mapped;
};

/* at_end: data ends where the upper page begins, so its alignment depends on `bytes`; otherwise it
 * begins where the lower page ends. */
struct tine_guard tine_guard_alloc(size_t bytes, bool at_end);
void tine_guard_free(struct tine_guard *guard);

#endif
