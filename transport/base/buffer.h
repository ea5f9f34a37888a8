/* Buffers: immutable, reference-counted runs of bytes, each usually of one tensor. The reference
 * count is atomic; everything else is written before the buffer is shared. */
#ifndef TINE_TRANSPORT_BASE_BUFFER_H
#define TINE_TRANSPORT_BASE_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* bytes from which on a buffer lies where other processes of this host can read it, where there
     * is such memory: lending it then takes less time than two copies (bench_tensors). */
    TINE_BUFFER_SHARED_FROM = 16 << 10,
    /* from here on it has pages of its own in any case */
    TINE_BUFFER_LARGE = 1 << 20
};

typedef struct tine_buffer {
    void *data;
    size_t size;
    atomic_uint refs;
    /* The bytes lie in another process, which may rewrite them: code that parses them copies them
     * first. */
    bool foreign;
    void (*release)(void *data, size_t size, void *ctx); /* NULL: data lies behind this struct */
    void *ctx;
    /* The same bytes in the arena (arena.h): see tine_buffer_share. Freed with this one. */
    _Atomic(struct tine_buffer *) copy;
} tine_buffer;

/* A buffer of `size` uninitialised bytes, aligned to 64; NULL without memory. From 1 MiB on, and
 * where they can be shared from TINE_BUFFER_SHARED_FROM on, the bytes are pages (pages.h). */
tine_buffer *tine_buffer_new(size_t size);
/* The same, for a size that a peer announces: one that sends nothing costs no memory. */
tine_buffer *tine_buffer_new_untouched(size_t size);
/* A buffer over the caller's memory, which `release` frees when the last reference is dropped. NULL
 * without memory: then release is not called. */
tine_buffer *tine_buffer_wrap(void *data, size_t size, void (*release)(void *, size_t, void *),
                              void *ctx);
tine_buffer *tine_buffer_ref(tine_buffer *b);
void tine_buffer_unref(tine_buffer *b); /* accepts NULL */
/* Copies a large buffer that does not lie in the arena into it, for peers to read, once. Without
 * room, and while no peer reads from there, nothing happens. Any thread. */
void tine_buffer_share(tine_buffer *b);
/* Drops a reference unless it is the last; false: it is, and is kept. Runs no release callback, so
 * any thread may call it. */
bool tine_buffer_unref_unless_last(tine_buffer *b);

#endif
