/* tine_load: the tensors of a file as a dict. A tensor that is aligned for its dtype lies in the
 * file's mapping, which lives as long as one of them; another is copied. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/safetensors/safetensors.h"
#include "runtime/value/error.h"
#include "runtime/value/value.h"
#include "transport/base/text.h"

typedef struct mapped_file {
    tine_safetensors *file;
    atomic_size_t refs; /* of the loader and of each tensor that lies in the mapping */
} mapped_file;

static void mapped_file_unref(void *ctx) {
    mapped_file *m = ctx;
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    tine_safetensors_close(m->file);
    free(m);
}

/* ---- dtypes that Tine lacks ---- */

static float float_of_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float f = (float)fraction * 0x1p-24f; /* below the normal range */
    uint32_t bits;
    if (exponent == 31) {
        bits = 0x7f800000 | fraction << 13;
        memcpy(&f, &bits, sizeof f);
    } else if (exponent > 0) {
        bits = (exponent + 112) << 23 | fraction << 13;
        memcpy(&f, &bits, sizeof f);
    }
    memcpy(&bits, &f, sizeof bits);
    bits |= sign;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#define WIDEN(name, from, to, value)                                                               \
    static void name(const uint8_t *p, void *out, int64_t n) {                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            from x;                                                                                \
            memcpy(&x, p + (size_t)i * sizeof x, sizeof x);                                        \
            ((to *)out)[i] = (to)(value);                                                          \
        }                                                                                          \
    }
WIDEN(widen_f16, uint16_t, float, float_of_half(x))
WIDEN(widen_bool, uint8_t, uint8_t, x != 0)
WIDEN(widen_i8, int8_t, int32_t, x)
WIDEN(widen_i16, int16_t, int32_t, x)
WIDEN(widen_u16, uint16_t, int32_t, x)
WIDEN(widen_u32, uint32_t, int64_t, x)

static const struct widening {
    const char *name;
    tine_dtype dtype; /* that holds every value of it */
    void (*widen)(const uint8_t *from, void *to, int64_t n);
} widenings[] = {
    {"F16", TINE_F32, widen_f16}, {"BOOL", TINE_U8, widen_bool}, {"I8", TINE_I32, widen_i8},
    {"I16", TINE_I32, widen_i16}, {"U16", TINE_I32, widen_u16},  {"U32", TINE_I64, widen_u32},
};

static tine_value *tensor_widened(const char *path, const tine_safetensor *t) {
    for (size_t i = 0; i < sizeof widenings / sizeof *widenings; i++) {
        const struct widening *w = &widenings[i];
        void *data;
        if (strcmp(w->name, t->dtype_name) != 0) continue;
        tine_value *v = tine_tensor_new(w->dtype, t->rank, t->shape, &data);
        if (v) w->widen(t->data, data, t->elements);
        return v;
    }
    tine_error_set(TINE_EINVAL,
                   "tine_load: %s: tensor \"%.64s\" has the dtype %.16s, which Tine does not have; "
                   "save it as another one, or load with a prefix that leaves it out",
                   path, t->name, t->dtype_name);
    return NULL;
}

static tine_value *tensor_load(const char *path, mapped_file *m, const tine_safetensor *t) {
    if (t->dtype == 0) return tensor_widened(path, t);
    if (t->elements == 0 || (uintptr_t)t->data % tine_dtype_size(t->dtype) != 0)
        return tine_tensor(t->dtype, t->rank, t->shape, t->data);
    tine_value *v =
        tine_tensor_wrap(t->dtype, t->rank, t->shape, (void *)t->data, mapped_file_unref, m);
    if (v) atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return v;
}

/* ---- the dict ---- */

/* What follows prefix and point in the name; NULL: it does not begin so. */
static const char *name_behind(const char *name, const char *prefix) {
    size_t n = strlen(prefix);
    if (n == 0) return name;
    if (strncmp(name, prefix, n) != 0) return NULL;
    if (prefix[n - 1] == '.') return name + n;
    return name[n] == '.' ? name + n + 1 : NULL;
}

static void refuse_prefix(const char *path, const tine_safetensors *file, const char *prefix) {
    const tine_safetensor *t = tine_safetensors_at(file, 0);
    if (!t)
        tine_error_set(TINE_EINVAL, "tine_load: %s: the file has no tensors", path);
    else
        tine_error_set(TINE_EINVAL,
                       "tine_load: %s: no tensor's name begins with \"%.64s\"; there are %zu, such "
                       "as \"%.64s\"",
                       path, prefix, tine_safetensors_count(file), t->name);
}

static tine_value *file_dict(const char *path, mapped_file *m, const char *prefix) {
    size_t count = tine_safetensors_count(m->file), n = 0;
    const char **keys = calloc(count + 1, sizeof *keys);
    tine_value **items = calloc(count + 1, sizeof *items), *dict = NULL;
    bool good = keys && items;
    if (!good) tine_error_set(TINE_ENOMEM, "tine_load: %s: no memory for %zu tensors", path, count);
    for (size_t i = 0; i < count && good; i++) {
        const tine_safetensor *t = tine_safetensors_at(m->file, i);
        const char *key = name_behind(t->name, prefix);
        if (!key) continue;
        keys[n] = key;
        items[n] = tensor_load(path, m, t);
        good = items[n];
        n += good;
    }
    if (good && n == 0 && *prefix)
        refuse_prefix(path, m->file, prefix);
    else if (good)
        dict = tine_dict_of(keys, items, n);
    while (n > 0) tine_release_value_(items[--n]);
    free(keys);
    free(items);
    return dict;
}

tine_value *tine_load(const char *path, const char *prefix) {
    char why[300] = "";
    if (!path) {
        tine_error_set(TINE_EINVAL, "tine_load: the path is NULL");
        return NULL;
    }
    mapped_file *m = calloc(1, sizeof *m);
    if (!m) {
        tine_error_set(TINE_ENOMEM, "tine_load: %s: no memory", path);
        return NULL;
    }
    atomic_init(&m->refs, 1);
    tine_error e = tine_safetensors_open(&m->file, path, why, sizeof why);
    if (e) tine_error_set(e, "tine_load: %s: %s", path, why);
    tine_value *dict = e ? NULL : file_dict(path, m, prefix ? prefix : "");
    mapped_file_unref(m);
    return dict;
}
