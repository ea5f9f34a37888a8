/* Pages for the data of large buffers, and those that were given back, kept for the next.
 *
 * A program that passes tensors of the same few sizes around would else have the kernel clear their
 * pages anew each time: 8 % of the tutorial's ensemble (tine ensemble, sequential), more than the
 * copy into them (bench_transport). What is kept is bounded, and the kernel may take it back
 * whenever memory is short. Any thread may call. */
#ifndef TINE_TRANSPORT_BASE_PAGES_H
#define TINE_TRANSPORT_BASE_PAGES_H

#include <stddef.h>

typedef struct tine_pages {
    void *data;  /* NULL: there was no memory */
    size_t size; /* bytes, a multiple of the page's */
} tine_pages;

/* At most so many bytes are kept in a process, and as many by the mpi module for what it
 * receives. */
#define TINE_PAGES_KEEP ((size_t)512 << 20)

/* Pages for `size` bytes of any content. Those that come from the kernel are untouched, so that a
 * size which a peer claims and never fills costs only address space. */
tine_pages tine_pages_take(size_t size);
void tine_pages_give(tine_pages pages);
size_t tine_pages_kept(void); /* bytes kept now */

#endif
