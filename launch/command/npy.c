/* See npy.h. The header is a Python dict with the keys descr, fortran_order and shape. */
#include "launch/command/npy.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/value/error.h"
#include "runtime/value/value.h"
#include "transport/base/map.h"
#include "transport/base/output.h"
#include "workers/builtin/builtin.h"

static const char magic[6] = "\x93NUMPY";

static const struct {
    const char *descr;
    tine_dtype dtype;
} descriptions[] = {{"<f4", TINE_F32}, {"<f8", TINE_F64}, {"<i4", TINE_I32},
                    {"<i8", TINE_I64}, {"|u1", TINE_U8},  {"|b1", TINE_U8}};
enum { N_DESCRIPTIONS = sizeof descriptions / sizeof *descriptions };

typedef struct npy_header {
    const char *name; /* of the file, for sentences */
    const char *at, *end;
    char descr[16];
    bool fortran, seen[3]; /* of descr, fortran_order, shape */
    int rank;
    int64_t shape[TINE_MAX_RANK];
} npy_header;

static tine_value *npy_refuse(const char *name, const char *why) {
    tine_error_set(TINE_EINVAL, "%s: %s", name, why);
    return NULL;
}

static char npy_peek(npy_header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n')) h->at++;
    return h->at < h->end ? *h->at : 0;
}

static bool npy_take(npy_header *h, const char *token) {
    size_t n = strlen(token);
    npy_peek(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, token, n) != 0) return false;
    h->at += n;
    return true;
}

/* 'text' or "text" */
static bool npy_string(npy_header *h, char *out, size_t room) {
    char quote = npy_peek(h);
    size_t n = 0;
    if (quote != '\'' && quote != '"') return false;
    for (h->at++; h->at < h->end && *h->at != quote; h->at++)
        if (n + 1 < room) out[n++] = *h->at;
    out[n] = 0;
    return h->at++ < h->end;
}

/* (5, 4), (5,) or () */
static bool npy_shape(npy_header *h) {
    if (!npy_take(h, "(")) return false;
    while (!npy_take(h, ")")) {
        int64_t n = 0;
        if (h->rank == TINE_MAX_RANK || npy_peek(h) < '0' || npy_peek(h) > '9') return false;
        for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *h->at - '0', &n))
                return false;
        h->shape[h->rank++] = n;
        if (!npy_take(h, ",") && npy_peek(h) != ')') return false;
    }
    return true;
}

static bool npy_entry(npy_header *h) {
    char key[16];
    if (!npy_string(h, key, sizeof key) || !npy_take(h, ":")) return false;
    int which = strcmp(key, "descr") == 0           ? 0
                : strcmp(key, "fortran_order") == 0 ? 1
                : strcmp(key, "shape") == 0         ? 2
                                                    : -1;
    if (which < 0 || h->seen[which]) return false;
    h->seen[which] = true;
    if (which == 0) return npy_string(h, h->descr, sizeof h->descr);
    if (which == 2) return npy_shape(h);
    h->fortran = npy_take(h, "True");
    return h->fortran || npy_take(h, "False");
}

static bool npy_dict(npy_header *h) {
    if (!npy_take(h, "{")) return false;
    while (!npy_take(h, "}")) {
        if (!npy_entry(h)) return false;
        if (!npy_take(h, ",") && npy_peek(h) != '}') return false;
    }
    return npy_peek(h) == 0 && h->at == h->end && h->seen[0] && h->seen[1] && h->seen[2];
}

/* A tensor of elements that lie column-major: the first index changes first. */
static tine_value *npy_transposed(const npy_header *h, tine_dtype t, const uint8_t *data) {
    const size_t size = tine_dtype_size(t);
    size_t steps[TINE_MAX_RANK], step = size;
    int64_t index[TINE_MAX_RANK] = {0};
    void *to;
    tine_value *v = tine_tensor_new(t, h->rank, h->shape, &to);
    for (int d = 0; d < h->rank; step *= (size_t)h->shape[d++]) steps[d] = step;
    for (int64_t i = 0; v && i < v->tensor.elements; i++) {
        memcpy((uint8_t *)to + (size_t)i * size, data, size);
        for (int d = h->rank - 1; d >= 0; d--) {
            data += steps[d];
            if (++index[d] < h->shape[d]) break;
            data -= steps[d] * (size_t)h->shape[d];
            index[d] = 0;
        }
    }
    return v;
}

static tine_value *npy_tensor(const npy_header *h, const uint8_t *data, size_t size) {
    int64_t elements;
    size_t i = 0, bytes;
    while (i < N_DESCRIPTIONS && strcmp(descriptions[i].descr, h->descr) != 0) i++;
    if (i == N_DESCRIPTIONS) {
        tine_error_set(TINE_EINVAL,
                       "%s: its dtype is '%s'; <f4, <f8, <i4, <i8, |u1 or |b1 is needed: "
                       "x.astype('<f4')",
                       h->name, h->descr);
        return NULL;
    }
    if (tine_shape_count(descriptions[i].dtype, h->rank, h->shape, &elements, &bytes))
        return npy_refuse(h->name, "its shape is too large for memory");
    if (bytes != size) {
        tine_error_set(TINE_EINVAL, "%s: its shape needs %zu bytes, %zu follow the header", h->name,
                       bytes, size);
        return NULL;
    }
    if (h->fortran) return npy_transposed(h, descriptions[i].dtype, data);
    return tine_tensor(descriptions[i].dtype, h->rank, h->shape, data);
}

tine_value *tine_npy_parse(const char *name, const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    npy_header h = {.name = name};
    if (size < 10 || memcmp(p, magic, sizeof magic) != 0)
        return npy_refuse(name, "it is not a .npy file");
    size_t wide = p[6] == 1 ? 2 : 4, length = (size_t)(p[8] | p[9] << 8);
    if (p[6] < 1 || p[6] > 3) return npy_refuse(name, "its version of the .npy format is unknown");
    if (wide == 4 && size >= 12) length |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (size < 8 + wide || length > size - 8 - wide)
        return npy_refuse(name, "its header is longer than the file");
    h.at = (const char *)p + 8 + wide;
    h.end = h.at + length;
    const uint8_t *data = (const uint8_t *)h.end;
    if (!npy_dict(&h))
        return npy_refuse(name, "its header is not a dict of descr, fortran_order and "
                                "shape (of at most 8 dimensions)");
    return npy_tensor(&h, data, size - 8 - wide - length);
}

tine_value *tine_npy_load(const char *path) {
    char why[128];
    void *bytes;
    size_t size;
    int rc = tine_map_file(path, &bytes, &size, why, sizeof why);
    if (rc) {
        tine_error_set(rc == -EINVAL ? TINE_EINVAL : TINE_EIO, "%s: %s", path, why);
        return NULL;
    }
    if (!size) return npy_refuse(path, "it is empty");
    tine_value *v = tine_npy_parse(path, bytes, size);
    munmap(bytes, size);
    return v;
}

static void npy_write(FILE *to, const char *descr, const tine_value *v) {
    char header[256];
    int n = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     descr);
    for (int i = 0; i < v->tensor.rank; i++)
        n += snprintf(header + n, sizeof header - (size_t)n, i ? ", %lld" : "%lld",
                      (long long)v->tensor.shape[i]);
    n += snprintf(header + n, sizeof header - (size_t)n, v->tensor.rank == 1 ? ",), }" : "), }");
    int padded = (10 + n + 1 + 63) / 64 * 64 - 10; /* the data are aligned to 64 bytes */
    fwrite(magic, 1, sizeof magic, to);
    fprintf(to, "%c%c%c%c%s%*s\n", 1, 0, padded & 255, padded >> 8, header, padded - n - 1, "");
    size_t bytes = (size_t)v->tensor.elements * tine_dtype_size(v->tensor.dtype);
    if (bytes) fwrite(v->tensor.data, 1, bytes, to);
}

tine_error tine_npy_save(const char *path, const tine_value *tensor) {
    tine_output f;
    const tine_value *v =
        tensor->tensor.dtype == TINE_BF16 ? tine_converted(tensor, TINE_F32) : tensor;
    if (!v) return TINE_ENOMEM;
    size_t i = 0;
    while (descriptions[i].dtype != v->tensor.dtype) i++;
    bool good = tine_output_open(&f, path);
    if (good) {
        npy_write(f.stream, descriptions[i].descr, v);
        good = tine_output_close(&f, path);
    }
    int saved = errno;
    if (v != tensor) tine_release(v);
    return good ? TINE_OK
                : tine_error_set(TINE_EIO, "%s cannot be written: %s", path, strerror(saved));
}
