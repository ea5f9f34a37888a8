/* The writer: msgpack-c's packing functions over memory of known room, inlined to plain stores. The
 * memory is fixed, or a frame's body, which grows. */
#ifndef TINE_RUNTIME_WIRE_WRITE_H
#define TINE_RUNTIME_WIRE_WRITE_H

#include <msgpack/pack.h>
#include <stdbool.h>
#include <string.h>

#include "transport/base/frame.h"

typedef struct tine_writer {
    uint8_t *p, *end;
    tine_frame *frame; /* whose body is written; NULL: the memory is fixed */
    bool failed;       /* no memory, or no room */
} tine_writer;

/* Room for n bytes more; false: failed. */
bool tine_writer_grow(tine_writer *w, size_t n);

static inline int tine_writer_append(tine_writer *w, const void *data, size_t n) {
    if ((size_t)(w->end - w->p) < n && !tine_writer_grow(w, n)) return -1;
    memcpy(w->p, data, n);
    w->p += n;
    return 0;
}

/* tine_pack_uint64(writer, u) and so on; none of them fails where the room suffices. */
#define msgpack_pack_inline_func(name) static inline int tine_pack##name
#define msgpack_pack_user tine_writer *
#define msgpack_pack_append_buffer(writer, data, n) return tine_writer_append(writer, data, n)
#include <msgpack/pack_template.h>

static inline void tine_pack_text(tine_writer *w, const char *s, size_t n) {
    tine_pack_str(w, n);
    if (n) tine_writer_append(w, s, n);
}

#endif
