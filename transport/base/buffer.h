/* Buffers and frames: the bytes that cross a process boundary.
 *
 * A buffer is an immutable, reference-counted run of bytes, of one tensor usually. A frame is one
 * transport message: a header (msgpack, small) and the buffers beside it, which are never copied
 * into the header. A frame holds one reference on each of its buffers. Reference counts are atomic;
 * everything else belongs to one thread at a time. */
#ifndef TINE_TRANSPORT_BASE_BUFFER_H
#define TINE_TRANSPORT_BASE_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tine_buffer {
    void *data; /* written only by the maker, before the buffer is shared */
    size_t size;
    atomic_uint refs;
    void (*release)(void *data, size_t size, void *ctx); /* NULL: data lies behind this struct */
    void *ctx;
} tine_buffer;

/* A buffer of `size` uninitialised bytes, aligned to 64; NULL when there is no memory. From 1 MiB
 * on the pages are mapped and untouched, so that a size nobody sends costs nothing. */
tine_buffer *tine_buffer_new(size_t size);
/* Wraps memory of the caller's, which `release` frees when the last reference goes. On NULL nothing
 * was taken. */
tine_buffer *tine_buffer_wrap(void *data, size_t size, void (*release)(void *, size_t, void *),
                              void *ctx);
tine_buffer *tine_buffer_ref(tine_buffer *b);
void tine_buffer_unref(tine_buffer *b); /* accepts NULL */
/* Drops a reference unless it is the last: false, and it is still there. Releases nothing, so any
 * thread may. */
bool tine_buffer_unref_unless_last(tine_buffer *b);

typedef struct tine_frame {
    uint8_t *header; /* lies behind the buffers array, in the same allocation */
    uint32_t header_size;
    uint32_t n_buffers;
    tine_buffer *buffers[];
} tine_frame;

/* Limits that every transport enforces on what it receives and on what it is asked to send. */
enum { TINE_FRAME_MAX_HEADER = 64 << 20, TINE_FRAME_MAX_BUFFERS = 4096 };

/* A frame with room for `header_size` bytes and `n_buffers` buffers (all NULL at first). NULL: no
 * memory or past a limit. */
tine_frame *tine_frame_new(size_t header_size, size_t n_buffers);
/* drops the references on its buffers; accepts NULL */
void tine_frame_free(tine_frame *f);
size_t tine_frame_bytes(const tine_frame *f); /* header and all buffers */

#endif
