/* The writer beneath msgpack-c's packer: bytes into memory that grows, or into memory given, which
 * then must suffice. */
#ifndef TINE_RUNTIME_WIRE_WRITE_H
#define TINE_RUNTIME_WIRE_WRITE_H

#include <msgpack/pack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct tine_writer {
    uint8_t *data;
    size_t n, room;
    bool grows;  /* data is malloc'ed, or `few` */
    bool failed; /* no memory, or no room */
    msgpack_packer pack;
    uint8_t few[256]; /* a scalar call needs no more: no allocation */
} tine_writer;

static inline int tine_writer_write(void *ctx, const char *data, size_t n) {
    tine_writer *w = ctx;
    if (n > w->room - w->n) {
        size_t room = 2 * w->room > w->n + n ? 2 * w->room : w->n + n;
        uint8_t *more =
            !w->grows || w->failed ? NULL : realloc(w->data == w->few ? NULL : w->data, room);
        if (!more) {
            w->failed = true;
            return -1;
        }
        if (w->data == w->few) memcpy(more, w->few, w->n);
        w->data = more;
        w->room = room;
    }
    memcpy(w->data + w->n, data, n);
    w->n += n;
    return 0;
}

/* memory NULL: it grows. Not to be moved afterwards. */
static inline void tine_writer_init(tine_writer *w, void *memory, size_t room) {
    w->grows = !memory;
    w->data = w->grows ? w->few : memory;
    w->n = 0;
    w->room = w->grows ? sizeof w->few : room;
    w->failed = false;
    msgpack_packer_init(&w->pack, w, tine_writer_write);
}

static inline void tine_writer_fini(tine_writer *w) {
    if (w->grows && w->data != w->few) free(w->data);
}

static inline void tine_writer_text(tine_writer *w, const char *s, size_t n) {
    msgpack_pack_str(&w->pack, n);
    if (n) msgpack_pack_str_body(&w->pack, s, n);
}

#endif
