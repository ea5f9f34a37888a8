/* Guarded memory; see guard.h. */
#include "tests/support/guard.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct tine_guard tine_guard_alloc(size_t bytes, bool at_end) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
    struct tine_guard guard = {.mapped = inner + 2 * page};
    char *map =
        mmap(NULL, guard.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) abort();
    if (mprotect(map, page, PROT_NONE) || mprotect(map + page + inner, page, PROT_NONE)) abort();
    guard.map = map;
    guard.data = at_end ? map + page + inner - bytes : map + page;
    return guard;
}

void tine_guard_free(struct tine_guard *guard) {
    munmap(guard->map, guard->mapped);
    guard->data = NULL;
}
