/* See header.h. Every number is checked in 64 bits before it is used. */
#include "runtime/safetensors/header.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/text.h"

tine_error tine_header_refuse(const tine_header_reader *r, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->why, r->why_size, format, ap);
    va_end(ap);
    tine_text_mask(r->why);
    return TINE_EINVAL;
}

/* The JSON reader's error. */
static tine_error header_not_json(const tine_header_reader *r) {
    return tine_header_refuse(r, "the header is not JSON: %s at byte %zu", r->json.wrong,
                              r->json.at);
}

static const struct dtype_row {
    const char *name;
    unsigned size;
    tine_dtype dtype;
} dtypes[] = {
    {"F32", 4, TINE_F32}, {"F64", 8, TINE_F64}, {"BF16", 2, TINE_BF16}, {"I64", 8, TINE_I64},
    {"I32", 4, TINE_I32}, {"U8", 1, TINE_U8},   {"F16", 2, 0},          {"BOOL", 1, 0},
    {"I8", 1, 0},         {"I16", 2, 0},        {"U16", 2, 0},          {"U32", 4, 0},
    {"U64", 8, 0},        {"F8_E4M3", 1, 0},    {"F8_E5M2", 1, 0},      {"F8_E8M0", 1, 0},
    {"C64", 8, 0},
};

static const struct dtype_row *dtype_find(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

/* A string into the text: its offset, or an error. Metadata's values may hold \u0000. */
static tine_error header_read_text(tine_header_reader *r, bool may_hold_nul, uint32_t *out) {
    size_t n;
    *out = (uint32_t)r->text;
    if (!tine_json_string(&r->json, r->s->text + r->text, r->text_room - r->text, &n))
        return header_not_json(r);
    if (r->json.nul && !may_hold_nul)
        return tine_header_refuse(r, "\"%.64s\" holds \\u0000", r->s->text + r->text);
    r->text += n + 1;
    return TINE_OK;
}

static tine_error tensor_read_shape(tine_header_reader *r, tine_safetensor *t) {
    uint64_t elements = 1, size;
    size_t n = 0;
    t->shape = r->counting ? NULL : r->s->dimensions + r->dimensions;
    if (!tine_json_is(&r->json, '['))
        return tine_header_refuse(r, "tensor \"%.64s\" has no list \"shape\"", t->name);
    tine_json_expect(&r->json, '[');
    while (tine_json_next(&r->json, ']', &n)) {
        if (!tine_json_whole(&r->json, &size)) {
            if (r->json.wrong) break;
            return tine_header_refuse(r,
                                      "tensor \"%.64s\": dimension %zu of its "
                                      "shape is not a whole number",
                                      t->name, n - 1);
        }
        if (size > INT64_MAX || __builtin_mul_overflow(elements, size, &elements) ||
            elements > INT64_MAX)
            return tine_header_refuse(r, "tensor \"%.64s\": the product of its shape overflows",
                                      t->name);
        if (!r->counting) r->s->dimensions[r->dimensions] = (int64_t)size;
        r->dimensions++;
    }
    if (r->json.wrong) return header_not_json(r);
    if (n > TINE_MAX_RANK)
        return tine_header_refuse(r,
                                  "tensor \"%.64s\" has %zu dimensions; at most %d are supported",
                                  t->name, n, TINE_MAX_RANK);
    t->rank = (int)n;
    t->elements = (int64_t)elements;
    return TINE_OK;
}

static tine_error tensor_read_range(tine_header_reader *r, tine_safetensor *t) {
    uint64_t range[2] = {0};
    size_t n = 0;
    bool good = tine_json_is(&r->json, '[') && tine_json_expect(&r->json, '[');
    while (good && tine_json_next(&r->json, ']', &n))
        good = n <= 2 && tine_json_whole(&r->json, &range[n - 1]);
    if (r->json.wrong) return header_not_json(r);
    if (!good || n != 2)
        return tine_header_refuse(r,
                                  "tensor \"%.64s\" has no \"data_offsets\" of two whole "
                                  "numbers",
                                  t->name);
    if (range[0] > range[1] || range[1] > r->size)
        return tine_header_refuse(r, "tensor \"%.64s\" lies at bytes %ju to %ju of %ju", t->name,
                                  (uintmax_t)range[0], (uintmax_t)range[1], (uintmax_t)r->size);
    t->data = r->data + range[0];
    t->size = range[1] - range[0];
    return TINE_OK;
}

static tine_error tensor_check_size(const tine_header_reader *r, tine_safetensor *t) {
    const struct dtype_row *row = dtype_find(t->dtype_name);
    uint64_t size;
    if (!row) return TINE_OK;
    t->dtype = row->dtype;
    if (__builtin_mul_overflow((uint64_t)t->elements, row->size, &size))
        return tine_header_refuse(r, "tensor \"%.64s\": the product of its shape overflows",
                                  t->name);
    if (size != t->size)
        return tine_header_refuse(r,
                                  "tensor \"%.64s\" has %zu bytes, its shape and dtype %s need %ju",
                                  t->name, t->size, t->dtype_name, (uintmax_t)size);
    return TINE_OK;
}

static const char *const tensor_fields[] = {"dtype", "shape", "data_offsets"};

static tine_error tensor_read_field(tine_header_reader *r, tine_safetensor *t, size_t field) {
    uint32_t at;
    if (field == 1) return tensor_read_shape(r, t);
    if (field == 2) return tensor_read_range(r, t);
    if (!tine_json_is(&r->json, '"'))
        return r->json.wrong
                   ? header_not_json(r)
                   : tine_header_refuse(r, "tensor \"%.64s\" has no string \"dtype\"", t->name);
    tine_error e = header_read_text(r, false, &at);
    t->dtype_name = r->s->text + at;
    return e;
}

static tine_error tensor_read(tine_header_reader *r, tine_safetensor *t) {
    bool seen[3] = {false};
    size_t n = 0, key_size;
    char key[16];
    if (!tine_json_is(&r->json, '{'))
        return r->json.wrong
                   ? header_not_json(r)
                   : tine_header_refuse(r, "the entry \"%.64s\" is not an object", t->name);
    tine_json_expect(&r->json, '{');
    while (tine_json_next(&r->json, '}', &n)) {
        size_t field = 0;
        if (!tine_json_string(&r->json, key, sizeof key, &key_size)) break;
        while (field < 3 && strcmp(tensor_fields[field], key) != 0) field++;
        if (field == 3 || key_size >= sizeof key)
            return tine_header_refuse(r,
                                      "tensor \"%.64s\" has entries other than "
                                      "dtype, shape and data_offsets",
                                      t->name);
        if (seen[field])
            return tine_header_refuse(r, "tensor \"%.64s\" has \"%s\" twice", t->name, key);
        seen[field] = true;
        if (!tine_json_expect(&r->json, ':')) break;
        tine_error e = tensor_read_field(r, t, field);
        if (e) return e;
    }
    if (r->json.wrong) return header_not_json(r);
    for (size_t i = 0; i < 3; i++)
        if (!seen[i])
            return tine_header_refuse(r, "tensor \"%.64s\" has no \"%s\"", t->name,
                                      tensor_fields[i]);
    return tensor_check_size(r, t);
}

static tine_error metadata_read(tine_header_reader *r) {
    size_t n = 0;
    uint32_t key, value;
    if (r->metadata_seen) return tine_header_refuse(r, "__metadata__ occurs twice");
    r->metadata_seen = true;
    if (tine_json_is(&r->json, 'n')) {
        for (const char *p = "null"; *p; p++)
            if (r->json.at == r->json.size || r->json.text[r->json.at++] != *p)
                return tine_header_refuse(r, "__metadata__ is not an object");
        return TINE_OK;
    }
    if (!tine_json_is(&r->json, '{'))
        return r->json.wrong ? header_not_json(r)
                             : tine_header_refuse(r, "__metadata__ is not an object");
    tine_json_expect(&r->json, '{');
    for (tine_error e; tine_json_next(&r->json, '}', &n);) {
        if ((e = header_read_text(r, false, &key))) return e;
        if (!tine_json_expect(&r->json, ':')) break;
        if (!tine_json_is(&r->json, '"') && !r->json.wrong)
            return tine_header_refuse(r, "__metadata__ \"%.64s\" is not a string",
                                      r->s->text + key);
        if ((e = header_read_text(r, true, &value))) return e;
        if (!r->counting) r->s->metadata[n - 1] = key;
    }
    if (r->json.wrong) return header_not_json(r);
    r->s->n_metadata = n;
    return TINE_OK;
}

tine_error tine_header_read(tine_header_reader *r) {
    tine_safetensor scratch;
    size_t n = 0, tensors = 0;
    uint32_t name;
    r->text = r->dimensions = r->json.at = 0;
    r->metadata_seen = false;
    if (!tine_json_is(&r->json, '{'))
        return tine_header_refuse(r, "the header does not begin with {");
    tine_json_expect(&r->json, '{');
    while (tine_json_next(&r->json, '}', &n)) {
        tine_error e = header_read_text(r, false, &name);
        if (e) return e;
        if (!tine_json_expect(&r->json, ':')) break;
        if (strcmp(r->s->text + name, "__metadata__") == 0) {
            e = metadata_read(r);
        } else {
            tine_safetensor *t = r->counting ? &scratch : &r->s->tensors[tensors];
            *t = (tine_safetensor){.name = r->s->text + name};
            tensors++;
            e = tensor_read(r, t);
        }
        if (e) return e;
    }
    if (!tine_json_end(&r->json)) return header_not_json(r);
    r->s->n = tensors;
    return TINE_OK;
}
