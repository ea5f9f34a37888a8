/* Pages for the data of large buffers; pages that are given back are kept for the next buffer.
 *
 * Without that the kernel clears the pages of each tensor again: 8 % of the tutorial's ensemble
 * (tine ensemble, sequential), more than the copy into them (bench_transport). What is kept is
 * bounded, and the kernel may reclaim it when memory is short; what lies in the arena (arena.h),
 * which it cannot reclaim, is returned to it after a second. Any thread may call. */
#ifndef TINE_TRANSPORT_BASE_PAGES_H
#define TINE_TRANSPORT_BASE_PAGES_H

#include <stddef.h>
#include <stdint.h>

typedef struct tine_pages {
    void *data;  /* NULL: no memory */
    size_t size; /* bytes, a multiple of the page's */
} tine_pages;

/* The most bytes that a process keeps; the mpi module keeps as many for what it receives. */
#define TINE_PAGES_KEEP ((size_t)512 << 20)

/* Pages for `size` bytes, with any content; from the arena where it has room. */
tine_pages tine_pages_take(size_t size);
/* The same, from the arena only. */
tine_pages tine_pages_take_shared(size_t size);
/* The same as tine_pages_take, but untouched, and of the arena at most a quarter of what is free:
 * a size which a peer claims and never sends costs no memory, and leaves the others room. */
tine_pages tine_pages_take_untouched(size_t size);
void tine_pages_give(tine_pages pages);
size_t tine_pages_kept(void); /* bytes kept now */
/* Returns to the system the arena's pages that have been kept for a second; with INT64_MAX, all of
 * them. Result: ns until there is more to do; -1: nothing is left. */
int64_t tine_pages_tidy(int64_t now_ns);

#endif
