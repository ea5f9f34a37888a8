/* The walker: msgpack read token by token from bytes that may hold anything. It never reads past
 * the end, and the count of an array or a map is at most the bytes that are left (an item takes one
 * at least), so an allocation by such a count stays in proportion to what was received.
 * (msgpack-c's own unpacker trusts the count: `dd ff 00 00 00` asks it for 96 GB.) It is the only
 * reader: what is checked and what is decoded cannot differ. */
#ifndef TINE_RUNTIME_WIRE_WALK_H
#define TINE_RUNTIME_WIRE_WALK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/value/object.h"
#include "runtime/tine.h"

/* Limits of WIRE.md, beside those of a frame (transport/base/buffer.h) and TINE_MAX_DEPTH. */
enum {
    TINE_WIRE_MAX_VALUES = 1 << 22, /* values in one body */
    TINE_WIRE_MAX_LIST = 1 << 20,   /* ids, objects or names in one message */
};

enum { TINE_EXT_TENSOR = 1, TINE_EXT_OBJECT = 2, TINE_EXT_MODULE = 3, TINE_EXT_BYTES = 4 };

typedef enum tine_token_kind {
    TINE_TOKEN_NIL,
    TINE_TOKEN_BOOL,
    TINE_TOKEN_UINT,     /* u: not negative */
    TINE_TOKEN_NEGATIVE, /* i */
    TINE_TOKEN_FLOAT,
    TINE_TOKEN_STR,
    TINE_TOKEN_BIN,
    TINE_TOKEN_ARRAY,
    TINE_TOKEN_MAP,
    TINE_TOKEN_EXT
} tine_token_kind;

typedef struct tine_token {
    tine_token_kind kind;
    int ext; /* its type */
    union {
        bool b;
        uint64_t u;
        int64_t i;
        double d;
        size_t n; /* STR, BIN, EXT: bytes at data; ARRAY: items; MAP: pairs */
    };
    const uint8_t *data;
} tine_token;

typedef struct tine_walk {
    const uint8_t *p, *end;
    char *why; /* the first refusal is written here */
    size_t why_size;
    bool refused;
} tine_walk;

/* These give false when the bytes are something else: `why` has the reason, and every later step
 * gives false, too. `what` names what is read, for that sentence. */
bool tine_walk_next(tine_walk *w, tine_token *out);
bool tine_walk_int(tine_walk *w, const char *what, int64_t *out);
/* UTF-8 without NULs; may_be_nil: nil gives NULL. */
bool tine_walk_text(tine_walk *w, const char *what, bool may_be_nil, const char **data, size_t *n);
bool tine_walk_end(tine_walk *w, const char *what); /* nothing may be left */
bool tine_walk_refuse(tine_walk *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool tine_walk_wide_uint(tine_walk *w, const char *what, uint64_t most, uint64_t *out);
static inline bool tine_walk_uint(tine_walk *w, const char *what, uint64_t most, uint64_t *out) {
    if (w->p == w->end || *w->p >= 0x80 || *w->p > most)
        return tine_walk_wide_uint(w, what, most, out);
    *out = *w->p++;
    return true;
}

bool tine_walk_wide_array(tine_walk *w, const char *what, size_t most, size_t *n);
static inline bool tine_walk_array(tine_walk *w, const char *what, size_t most, size_t *n) {
    size_t items = w->p == w->end ? SIZE_MAX : (size_t)*w->p ^ 0x90;
    if (items > 15 || items > most || items >= (size_t)(w->end - w->p))
        return tine_walk_wide_array(w, what, most, n);
    w->p++;
    *n = items;
    return true;
}

/* The contents of the three ext types that name a tensor, an object or a module. */
typedef struct tine_wire_tensor {
    tine_dtype dtype;
    int rank;
    int64_t shape[TINE_MAX_RANK];
    uint32_t buffer;
    size_t bytes; /* shape x dtype */
} tine_wire_tensor;
bool tine_walk_tensor(tine_walk *w, const tine_token *ext, tine_wire_tensor *out);
bool tine_walk_object(tine_walk *w, const tine_token *ext, tine_object *out);
bool tine_walk_module(tine_walk *w, const tine_token *ext, tine_object *out,
                      const char **class_name, size_t *size);
bool tine_walk_bytes(tine_walk *w, const tine_token *ext, uint32_t *buffer);

#endif
