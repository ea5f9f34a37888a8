/* See walk.h. */
#include "runtime/wire/walk.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "runtime/value/value.h"
#include "transport/base/text.h"

bool tine_walk_refuse(tine_walk *w, const char *format, ...) {
    if (!w->refused && w->why_size) {
        va_list ap;
        va_start(ap, format);
        vsnprintf(w->why, w->why_size, format, ap);
        va_end(ap);
    }
    w->refused = true;
    w->p = w->end;
    return false;
}

static size_t walk_left(const tine_walk *w) { return (size_t)(w->end - w->p); }

/* Big-endian, n is 0, 1, 2, 4 or 8. The caller checked that they are there. */
static uint64_t walk_take(tine_walk *w, size_t n) {
    const uint8_t *p = w->p;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    w->p += n;
    switch (n) {
    case 1: return *p;
    case 2: return memcpy(&u16, p, sizeof u16), be16toh(u16);
    case 4: return memcpy(&u32, p, sizeof u32), be32toh(u32);
    case 8: return memcpy(&u64, p, sizeof u64), be64toh(u64);
    default: return 0;
    }
}

static bool walk_sized(tine_walk *w, tine_token *t, tine_token_kind kind, size_t n) {
    if (n > walk_left(w))
        return tine_walk_refuse(w, "%zu bytes are announced and %zu are left", n, walk_left(w));
    t->kind = kind;
    t->n = n;
    t->data = w->p;
    w->p += n;
    return true;
}

static bool walk_count(tine_walk *w, tine_token *t, tine_token_kind kind, size_t n) {
    size_t least = kind == TINE_TOKEN_MAP ? 2 : 1;
    if (n > walk_left(w) / least)
        return tine_walk_refuse(w, "%zu items are announced and %zu bytes are left", n,
                                walk_left(w));
    t->kind = kind;
    t->n = n;
    return true;
}

static bool walk_ext(tine_walk *w, tine_token *t, size_t n) {
    if (walk_left(w) < 1) return tine_walk_refuse(w, "the bytes end inside an ext");
    t->ext = (int8_t)*w->p++;
    return walk_sized(w, t, TINE_TOKEN_EXT, n);
}

static void walk_float(tine_walk *w, tine_token *t, bool wide) {
    uint64_t u = walk_take(w, wide ? 8 : 4);
    t->kind = TINE_TOKEN_FLOAT;
    if (wide) {
        memcpy(&t->d, &u, sizeof t->d);
    } else {
        uint32_t narrow = (uint32_t)u;
        float f;
        memcpy(&f, &narrow, sizeof f);
        t->d = f;
    }
}

static void walk_signed(tine_walk *w, tine_token *t, size_t n) {
    uint64_t u = walk_take(w, n), sign = (uint64_t)1 << (8 * n - 1);
    t->kind = u & sign ? TINE_TOKEN_NEGATIVE : TINE_TOKEN_UINT;
    t->u = (u ^ sign) - sign;
}

static void walk_unsigned(tine_walk *w, tine_token *t, size_t n) {
    t->kind = TINE_TOKEN_UINT;
    t->u = walk_take(w, n);
}

/* The types 0xc0 to 0xdf: after the first byte come `extra` bytes of a length or a number
 * (msgpack's specification, "Formats"). */
static bool walk_typed(tine_walk *w, tine_token *t, uint8_t c) {
    static const uint8_t extra[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8,
                                      1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    size_t n = extra[c & 31];
    if (n > walk_left(w)) return tine_walk_refuse(w, "the bytes end inside a value");
    switch (c) {
    case 0xc0: t->kind = TINE_TOKEN_NIL; return true;
    case 0xc2:
    case 0xc3:
        t->kind = TINE_TOKEN_BOOL;
        t->b = c & 1;
        return true;
    case 0xc4:
    case 0xc5:
    case 0xc6: return walk_sized(w, t, TINE_TOKEN_BIN, walk_take(w, n));
    case 0xc7:
    case 0xc8:
    case 0xc9: return walk_ext(w, t, walk_take(w, n));
    case 0xca:
    case 0xcb: walk_float(w, t, n == 8); return true;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf: walk_unsigned(w, t, n); return true;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: walk_signed(w, t, n); return true;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return walk_ext(w, t, (size_t)1 << (c - 0xd4));
    case 0xd9:
    case 0xda:
    case 0xdb: return walk_sized(w, t, TINE_TOKEN_STR, walk_take(w, n));
    case 0xdc:
    case 0xdd: return walk_count(w, t, TINE_TOKEN_ARRAY, walk_take(w, n));
    case 0xde:
    case 0xdf: return walk_count(w, t, TINE_TOKEN_MAP, walk_take(w, n));
    default: return tine_walk_refuse(w, "0x%02x begins no msgpack value", c);
    }
}

bool tine_walk_next(tine_walk *w, tine_token *t) {
    if (walk_left(w) == 0) return tine_walk_refuse(w, "the bytes end where a value is expected");
    uint8_t c = *w->p++;
    t->data = NULL;
    t->ext = 0;
    if (c < 0x80 || c >= 0xe0) {
        t->kind = c < 0x80 ? TINE_TOKEN_UINT : TINE_TOKEN_NEGATIVE;
        t->i = (int8_t)c;
        return true;
    }
    if (c < 0x90) return walk_count(w, t, TINE_TOKEN_MAP, c & 15);
    if (c < 0xa0) return walk_count(w, t, TINE_TOKEN_ARRAY, c & 15);
    if (c < 0xc0) return walk_sized(w, t, TINE_TOKEN_STR, c & 31);
    return walk_typed(w, t, c);
}

static bool walk_refuse_uint(tine_walk *w, const char *what, uint64_t most, const tine_token *t) {
    if (t->kind != TINE_TOKEN_UINT)
        return tine_walk_refuse(w, "%s is not an unsigned integer", what);
    return tine_walk_refuse(w, "%s is %llu, the most is %llu", what, (unsigned long long)t->u,
                            (unsigned long long)most);
}

static bool walk_any_uint(tine_walk *w, const char *what, uint64_t most, uint64_t *out) {
    tine_token t;
    if (!tine_walk_next(w, &t)) return false;
    if (t.kind != TINE_TOKEN_UINT || t.u > most) return walk_refuse_uint(w, what, most, &t);
    *out = t.u;
    return true;
}

/* One of 1, 2, 4 or 8 bytes in front of others, as most are, takes a fifth of a token's
 * instructions: the 8 bytes behind its first one hold it. */
bool tine_walk_wide_uint(tine_walk *w, const char *what, uint64_t most, uint64_t *out) {
    uint64_t u;
    if (walk_left(w) <= sizeof u || *w->p < 0xcc || *w->p > 0xcf)
        return walk_any_uint(w, what, most, out);
    size_t n = (size_t)1 << (*w->p - 0xcc);
    memcpy(&u, w->p + 1, sizeof u);
    u = be64toh(u) >> (64 - 8 * n);
    if (u > most) return walk_any_uint(w, what, most, out);
    w->p += 1 + n;
    *out = u;
    return true;
}

bool tine_walk_int(tine_walk *w, const char *what, int64_t *out) {
    tine_token t;
    if (!tine_walk_next(w, &t)) return false;
    if (t.kind != TINE_TOKEN_NEGATIVE && (t.kind != TINE_TOKEN_UINT || t.u > INT64_MAX))
        return tine_walk_refuse(w, "%s is not a 64-bit integer", what);
    *out = t.i;
    return true;
}

bool tine_walk_wide_array(tine_walk *w, const char *what, size_t most, size_t *n) {
    tine_token t;
    if (!tine_walk_next(w, &t)) return false;
    if (t.kind != TINE_TOKEN_ARRAY) return tine_walk_refuse(w, "%s is not an array", what);
    if (t.n > most)
        return tine_walk_refuse(w, "%s has %zu items, the most is %zu", what, t.n, most);
    *n = t.n;
    return true;
}

/* Short and ASCII without NULs, as names are. */
static bool text_is_plain(const uint8_t *s, size_t n) {
    if (n > 32) return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] - 1u >= 0x7f) return false;
    return true;
}

bool tine_walk_text(tine_walk *w, const char *what, bool may_be_nil, const char **data, size_t *n) {
    tine_token t;
    *data = NULL;
    *n = 0;
    if (may_be_nil && walk_left(w) && *w->p == 0xc0) { /* without a token, as most are */
        w->p++;
        return true;
    }
    if (!tine_walk_next(w, &t)) return false;
    if (t.kind != TINE_TOKEN_STR) return tine_walk_refuse(w, "%s is not a string", what);
    if (!text_is_plain(t.data, t.n) &&
        (memchr(t.data, 0, t.n) || !tine_utf8_valid((const char *)t.data, t.n)))
        return tine_walk_refuse(w, "%s is not UTF-8 or holds a NUL", what);
    *data = (const char *)t.data;
    *n = t.n;
    return true;
}

bool tine_walk_end(tine_walk *w, const char *what) {
    return walk_left(w) == 0
               ? !w->refused
               : tine_walk_refuse(w, "%zu bytes follow the end of %s", walk_left(w), what);
}

/* An ext's data is msgpack again: one array. */
static bool ext_enter(tine_walk *w, const tine_token *ext, tine_walk *in, size_t *n) {
    *in = (tine_walk){
        .p = ext->data, .end = ext->data + ext->n, .why = w->why, .why_size = w->why_size};
    return tine_walk_array(in, "an ext", TINE_MAX_RANK + 2, n);
}

static bool ext_leave(tine_walk *w, tine_walk *in, bool good) {
    if (good && tine_walk_end(in, "an ext")) return true;
    w->why_size = 0; /* it was written by the inner walk */
    return tine_walk_refuse(w, "%s", "");
}

static bool ext_tensor(tine_walk *in, size_t n, tine_wire_tensor *out) {
    uint64_t dtype, buffer, size;
    int64_t elements;
    if (n < 2) return tine_walk_refuse(in, "a tensor needs a dtype and a buffer");
    if (!tine_walk_uint(in, "a dtype", TINE_U8, &dtype) ||
        !tine_walk_uint(in, "a buffer's number", UINT32_MAX, &buffer))
        return false;
    out->dtype = (tine_dtype)dtype;
    out->rank = (int)n - 2;
    out->buffer = (uint32_t)buffer;
    for (int i = 0; i < out->rank; i++) {
        if (!tine_walk_uint(in, "a size of a tensor", INT64_MAX, &size)) return false;
        out->shape[i] = (int64_t)size;
    }
    if (tine_shape_count(out->dtype, out->rank, out->shape, &elements, &out->bytes) != TINE_OK)
        return tine_walk_refuse(in, "a tensor has an unknown dtype or too many elements");
    return true;
}

bool tine_walk_tensor(tine_walk *w, const tine_token *ext, tine_wire_tensor *out) {
    tine_walk in;
    size_t n;
    return ext_leave(w, &in, ext_enter(w, ext, &in, &n) && ext_tensor(&in, n, out));
}

static bool ext_object(tine_walk *in, size_t n, size_t wanted, tine_object *out) {
    if (n != wanted) return tine_walk_refuse(in, "a reference has %zu items, not %zu", n, wanted);
    return tine_walk_uint(in, "an object", UINT64_MAX, out) &&
           (*out || tine_walk_refuse(in, "an object's id is 0"));
}

bool tine_walk_object(tine_walk *w, const tine_token *ext, tine_object *out) {
    tine_walk in;
    size_t n;
    return ext_leave(w, &in, ext_enter(w, ext, &in, &n) && ext_object(&in, n, 1, out));
}

bool tine_walk_module(tine_walk *w, const tine_token *ext, tine_object *out,
                      const char **class_name, size_t *size) {
    tine_walk in;
    size_t n;
    return ext_leave(w, &in,
                     ext_enter(w, ext, &in, &n) && ext_object(&in, n, 2, out) &&
                         tine_walk_text(&in, "a class's name", false, class_name, size));
}

bool tine_walk_bytes(tine_walk *w, const tine_token *ext, uint32_t *buffer) {
    tine_walk in;
    size_t n;
    uint64_t u;
    bool good = ext_enter(w, ext, &in, &n) &&
                (n == 1 || tine_walk_refuse(&in, "bytes need one buffer")) &&
                tine_walk_uint(&in, "a buffer's number", UINT32_MAX, &u);
    if (good) *buffer = (uint32_t)u;
    return ext_leave(w, &in, good);
}
