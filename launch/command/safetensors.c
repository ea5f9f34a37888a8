/* The safetensors reader. See safetensors.h for what is refused.
 *
 * json-c parses the header; names and metadata stay in its tree. Every number is checked in 64 bits
 * before it is used. Offsets must lie within the data section, and the tensors, sorted by offset,
 * must cover it without gaps or overlaps. Of a key given twice json-c keeps one; the range of the
 * other is then a gap. */
#include "launch/command/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEADER_MAX = 100000000, /* the reference implementation's limit */
    HEADER_DEPTH = 4,       /* root, tensor, shape, number */
};

struct tine_safetensors {
    json_object *header;
    json_object *metadata; /* borrowed from header; NULL: none */
    tine_safetensor *tensors;
    size_t n;
    void *mapping; /* NULL: the caller's bytes */
    size_t mapping_size;
};

typedef struct tensors_reader {
    const uint8_t *data; /* the section behind the header */
    uint64_t size;
    char *why;
    size_t why_size;
} tensors_reader;

static tine_error tensors_refuse(const tensors_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static tine_error tensors_refuse(const tensors_reader *r, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->why, r->why_size, format, ap);
    va_end(ap);
    return TINE_EINVAL;
}

static const struct dtype_row {
    const char *name;
    unsigned size;
    tine_dtype dtype;
} dtypes[] = {
    {"F32", 4, TINE_F32}, {"F64", 8, TINE_F64}, {"BF16", 2, TINE_BF16}, {"I64", 8, TINE_I64},
    {"I32", 4, TINE_I32}, {"U8", 1, TINE_U8},   {"F16", 2, 0},          {"BOOL", 1, 0},
    {"I8", 1, 0},         {"I16", 2, 0},        {"U16", 2, 0},          {"U32", 4, 0},
    {"U64", 8, 0},        {"F8_E4M3", 1, 0},    {"F8_E5M2", 1, 0},
};

static const struct dtype_row *dtype_find(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

/* A whole number from 0 to 2^63-1. json-c replaces larger ones by the nearest bound, which the
 * checks that follow refuse. */
static bool json_whole_number(json_object *o, uint64_t *out) {
    if (!json_object_is_type(o, json_type_int)) return false;
    int64_t i = json_object_get_int64(o);
    if (i < 0) return false;
    *out = (uint64_t)i;
    return true;
}

static tine_error tensors_read_shape(const tensors_reader *r, tine_safetensor *t,
                                     json_object *shape) {
    if (!json_object_is_type(shape, json_type_array))
        return tensors_refuse(r, "tensor \"%.64s\" has no list \"shape\"", t->name);
    size_t rank = json_object_array_length(shape);
    if (rank > TINE_MAX_RANK)
        return tensors_refuse(r, "tensor \"%.64s\" has %zu dimensions; at most %d are supported",
                              t->name, rank, TINE_MAX_RANK);
    uint64_t elements = 1;
    for (size_t i = 0; i < rank; i++) {
        uint64_t n;
        if (!json_whole_number(json_object_array_get_idx(shape, i), &n))
            return tensors_refuse(
                r, "tensor \"%.64s\": dimension %zu of its shape is not a whole number", t->name,
                i);
        if (__builtin_mul_overflow(elements, n, &elements) || elements > INT64_MAX)
            return tensors_refuse(r, "tensor \"%.64s\": the product of its shape overflows",
                                  t->name);
        t->shape[i] = (int64_t)n;
    }
    t->rank = (int)rank;
    t->elements = (int64_t)elements;
    return TINE_OK;
}

static tine_error tensors_read_range(const tensors_reader *r, tine_safetensor *t,
                                     json_object *offsets, unsigned element_size) {
    uint64_t begin, end, size;
    if (!json_object_is_type(offsets, json_type_array) || json_object_array_length(offsets) != 2 ||
        !json_whole_number(json_object_array_get_idx(offsets, 0), &begin) ||
        !json_whole_number(json_object_array_get_idx(offsets, 1), &end))
        return tensors_refuse(r, "tensor \"%.64s\" has no \"data_offsets\" of two whole numbers",
                              t->name);
    if (begin > end || end > r->size)
        return tensors_refuse(r, "tensor \"%.64s\" lies at bytes %ju to %ju of %ju", t->name,
                              (uintmax_t)begin, (uintmax_t)end, (uintmax_t)r->size);
    if (__builtin_mul_overflow((uint64_t)t->elements, element_size, &size))
        return tensors_refuse(r, "tensor \"%.64s\": the product of its shape overflows", t->name);
    if (size != end - begin)
        return tensors_refuse(r, "tensor \"%.64s\" has %ju bytes, its shape and dtype %s need %ju",
                              t->name, (uintmax_t)(end - begin), t->dtype_name, (uintmax_t)size);
    t->data = r->data + begin;
    t->size = size;
    return TINE_OK;
}

static tine_error tensors_read_tensor(const tensors_reader *r, tine_safetensor *t, const char *name,
                                      json_object *o) {
    json_object *dtype, *shape, *offsets;
    t->name = name;
    if (!json_object_is_type(o, json_type_object))
        return tensors_refuse(r, "the entry \"%.64s\" is not an object", name);
    if (!json_object_object_get_ex(o, "dtype", &dtype) ||
        !json_object_is_type(dtype, json_type_string))
        return tensors_refuse(r, "tensor \"%.64s\" has no string \"dtype\"", name);
    if (!json_object_object_get_ex(o, "shape", &shape)) shape = NULL;
    if (!json_object_object_get_ex(o, "data_offsets", &offsets)) offsets = NULL;
    if (json_object_object_length(o) != 3 && shape && offsets)
        return tensors_refuse(
            r, "tensor \"%.64s\" has entries other than dtype, shape and data_offsets", name);
    const struct dtype_row *row = dtype_find(json_object_get_string(dtype));
    if (!row)
        return tensors_refuse(r, "tensor \"%.64s\" has the unknown dtype \"%.32s\"", name,
                              json_object_get_string(dtype));
    t->dtype = row->dtype;
    t->dtype_name = row->name;
    tine_error e = tensors_read_shape(r, t, shape);
    return e ? e : tensors_read_range(r, t, offsets, row->size);
}

static tine_error tensors_read_metadata(const tensors_reader *r, tine_safetensors *s,
                                        json_object *o) {
    if (!json_object_is_type(o, json_type_object))
        return tensors_refuse(r, "__metadata__ is not an object");
    json_object_object_foreach(o, key, value) {
        if (!json_object_is_type(value, json_type_string))
            return tensors_refuse(r, "__metadata__ \"%.64s\" is not a string", key);
    }
    s->metadata = o;
    return TINE_OK;
}

static int tensor_compare_offset(const void *a, const void *b) {
    const tine_safetensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

static tine_error tensors_check_cover(const tensors_reader *r, tine_safetensors *s) {
    if (s->n > 1) qsort(s->tensors, s->n, sizeof *s->tensors, tensor_compare_offset);
    uint64_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        const tine_safetensor *t = &s->tensors[i];
        uint64_t begin = (uint64_t)((const uint8_t *)t->data - r->data);
        if (begin < at)
            return tensors_refuse(r, "tensor \"%.64s\" overlaps the one before it", t->name);
        if (begin > at)
            return tensors_refuse(r, "%ju bytes before tensor \"%.64s\" belong to no tensor",
                                  (uintmax_t)(begin - at), t->name);
        at = begin + t->size;
    }
    if (at != r->size)
        return tensors_refuse(r, "%ju bytes at the end belong to no tensor",
                              (uintmax_t)(r->size - at));
    return TINE_OK;
}

/* The first byte outside of strings that JSON does not allow but json-c accepts (single quotes,
 * comments), or `size`. */
static size_t json_foreign_character(const char *text, size_t size) {
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            in_string = !in_string;
        else if (in_string)
            i += text[i] == '\\';
        else if (text[i] == '\'' || text[i] == '/' || text[i] == '\0')
            return i;
    }
    return size;
}

static tine_error tensors_parse_json(const tensors_reader *r, const char *text, size_t size,
                                     json_object **out) {
    while (size > 0 && text[size - 1] == ' ') size--; /* the padding that the format allows */
    if (size == 0 || text[0] != '{') return tensors_refuse(r, "the header does not begin with {");
    if (json_foreign_character(text, size) < size)
        return tensors_refuse(r, "the header is not JSON: unexpected character at byte %zu",
                              json_foreign_character(text, size));
    json_tokener *tokener = json_tokener_new_ex(HEADER_DEPTH);
    if (!tokener) {
        tensors_refuse(r, "no memory");
        return TINE_ENOMEM;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    json_object *o = json_tokener_parse_ex(tokener, text, (int)size);
    enum json_tokener_error problem = json_tokener_get_error(tokener);
    size_t at = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    if (problem == json_tokener_success && at == size && json_object_is_type(o, json_type_object)) {
        *out = o;
        return TINE_OK;
    }
    json_object_put(o);
    return tensors_refuse(r, "the header is not JSON: %s at byte %zu",
                          problem == json_tokener_success    ? "something follows"
                          : problem == json_tokener_continue ? "it ends too early"
                                                             : json_tokener_error_desc(problem),
                          at);
}

static tine_error tensors_read_entries(const tensors_reader *r, tine_safetensors *s) {
    size_t room = (size_t)json_object_object_length(s->header);
    s->tensors = calloc(room + 1, sizeof *s->tensors);
    if (!s->tensors) {
        tensors_refuse(r, "no memory for %zu tensors", room);
        return TINE_ENOMEM;
    }
    json_object_object_foreach(s->header, key, value) {
        tine_error e;
        if (strcmp(key, "__metadata__") == 0)
            e = tensors_read_metadata(r, s, value);
        else
            e = tensors_read_tensor(r, &s->tensors[s->n++], key, value);
        if (e) return e;
    }
    return tensors_check_cover(r, s);
}

tine_error tine_safetensors_parse(tine_safetensors **out, const void *bytes, size_t size, char *why,
                                  size_t why_size) {
    const uint8_t *p = bytes;
    tensors_reader r = {.why = why, .why_size = why_size};
    if (size < 8)
        return tensors_refuse(&r, "it has %zu bytes, a safetensors file has at least 8", size);
    uint64_t header = 0;
    for (int i = 0; i < 8; i++) header |= (uint64_t)p[i] << 8 * i;
    if (header > size - 8)
        return tensors_refuse(&r, "its header claims %ju bytes, %zu follow", (uintmax_t)header,
                              size - 8);
    if (header > HEADER_MAX)
        return tensors_refuse(&r, "its header of %ju bytes is past the limit of %d",
                              (uintmax_t)header, HEADER_MAX);
    r.data = p + 8 + header;
    r.size = size - 8 - header;
    tine_safetensors *s = calloc(1, sizeof *s);
    if (!s) {
        tensors_refuse(&r, "no memory");
        return TINE_ENOMEM;
    }
    tine_error e = tensors_parse_json(&r, (const char *)p + 8, header, &s->header);
    if (!e) e = tensors_read_entries(&r, s);
    if (e)
        tine_safetensors_close(s);
    else
        *out = s;
    return e;
}

tine_error tine_safetensors_open(tine_safetensors **out, const char *path, char *why,
                                 size_t why_size) {
    tine_error e = TINE_EIO;
    void *mapping = MAP_FAILED;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, why_size, "cannot be opened: %s", strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, why_size, "it is not a regular file");
        e = TINE_EINVAL;
        goto out;
    }
    if (st.st_size == 0) {
        e = tine_safetensors_parse(out, (const uint8_t[8]){0}, 0, why, why_size);
        goto out;
    }
    mapping = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
        snprintf(why, why_size, "cannot be mapped: %s", strerror(errno));
        goto out;
    }
    e = tine_safetensors_parse(out, mapping, (size_t)st.st_size, why, why_size);
    if (!e) {
        (*out)->mapping = mapping;
        (*out)->mapping_size = (size_t)st.st_size;
        mapping = MAP_FAILED;
    }
out:
    if (mapping != MAP_FAILED) munmap(mapping, (size_t)st.st_size);
    if (fd >= 0) close(fd);
    return e;
}

void tine_safetensors_close(tine_safetensors *s) {
    if (!s) return;
    json_object_put(s->header);
    free(s->tensors);
    if (s->mapping) munmap(s->mapping, s->mapping_size);
    free(s);
}

size_t tine_safetensors_count(const tine_safetensors *s) { return s->n; }

const tine_safetensor *tine_safetensors_at(const tine_safetensors *s, size_t i) {
    return i < s->n ? &s->tensors[i] : NULL;
}

const tine_safetensor *tine_safetensors_find(const tine_safetensors *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->tensors[i].name, name) == 0) return &s->tensors[i];
    return NULL;
}

const char *tine_safetensors_meta(const tine_safetensors *s, const char *key) {
    json_object *value;
    return s->metadata && json_object_object_get_ex(s->metadata, key, &value)
               ? json_object_get_string(value)
               : NULL;
}
