/* The safetensors reader. See safetensors.h for what is refused.
 *
 * The header is read twice: first to check it and to count tensors and dimensions, then to fill in
 * tables of the right size. Names and metadata are decoded into one block of memory. Tables sorted
 * by name show keys that are there twice; the tensors, sorted by offset, must cover the data
 * section without gaps or overlaps. */
#include "runtime/safetensors/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/safetensors/header.h"
#include "transport/base/map.h"

enum { HEADER_MAX = 100000000 /* the reference implementation's limit */ };

static tine_error header_no_memory(const tine_header_reader *r) {
    tine_header_refuse(r, "no memory for its header");
    return TINE_ENOMEM;
}

/* ---- order ---- */

static int index_compare_offset(const void *a, const void *b, void *of) {
    const tine_safetensor *t = of, *x = &t[*(const uint32_t *)a], *y = &t[*(const uint32_t *)b];
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

static int index_compare_name(const void *a, const void *b, void *of) {
    const tine_safetensor *t = of;
    return strcmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

static int text_compare(const void *a, const void *b, void *text) {
    return strcmp((char *)text + *(const uint32_t *)a, (char *)text + *(const uint32_t *)b);
}

static tine_error header_check_names(const tine_header_reader *r, tine_safetensors *s) {
    for (uint32_t i = 0; i < s->n; i++) s->by_name[i] = i;
    qsort_r(s->by_name, s->n, sizeof *s->by_name, index_compare_name, s->tensors);
    qsort_r(s->metadata, s->n_metadata, sizeof *s->metadata, text_compare, s->text);
    for (size_t i = 1; i < s->n; i++) {
        const char *name = s->tensors[s->by_name[i]].name;
        if (strcmp(name, s->tensors[s->by_name[i - 1]].name) == 0)
            return tine_header_refuse(r, "tensor \"%.64s\" occurs twice", name);
    }
    for (size_t i = 1; i < s->n_metadata; i++)
        if (text_compare(&s->metadata[i - 1], &s->metadata[i], s->text) == 0)
            return tine_header_refuse(r, "__metadata__ \"%.64s\" occurs twice",
                                      s->text + s->metadata[i]);
    return TINE_OK;
}

static tine_error header_check_cover(const tine_header_reader *r, tine_safetensors *s) {
    for (uint32_t i = 0; i < s->n; i++) s->by_offset[i] = i;
    qsort_r(s->by_offset, s->n, sizeof *s->by_offset, index_compare_offset, s->tensors);
    uint64_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        const tine_safetensor *t = tine_safetensors_at(s, i);
        uint64_t begin = (uint64_t)((const uint8_t *)t->data - r->data);
        if (begin < at)
            return tine_header_refuse(r, "tensor \"%.64s\" overlaps the one before it", t->name);
        if (begin > at)
            return tine_header_refuse(r, "%ju bytes before tensor \"%.64s\" belong to no tensor",
                                      (uintmax_t)(begin - at), t->name);
        at = begin + t->size;
    }
    if (at != r->size)
        return tine_header_refuse(r, "%ju bytes at the end belong to no tensor",
                                  (uintmax_t)(r->size - at));
    return TINE_OK;
}

static tine_error header_parse(tine_header_reader *r, tine_safetensors *s) {
    r->s = s;
    r->counting = true;
    r->text_room = r->json.size + 1; /* decoded strings are not longer than their texts */
    if (!(s->text = malloc(r->text_room))) return header_no_memory(r);
    tine_error e = tine_header_read(r);
    if (e) return e;
    r->text_room = r->text + 1;
    char *text = realloc(s->text, r->text_room);
    if (text) s->text = text;
    s->tensors = calloc(s->n + 1, sizeof *s->tensors);
    s->dimensions = calloc(r->dimensions + 1, sizeof *s->dimensions);
    s->by_offset = calloc(s->n + 1, sizeof *s->by_offset);
    s->by_name = calloc(s->n + 1, sizeof *s->by_name);
    s->metadata = calloc(s->n_metadata + 1, sizeof *s->metadata);
    if (!s->tensors || !s->dimensions || !s->by_offset || !s->by_name || !s->metadata)
        return header_no_memory(r);
    r->counting = false;
    if (!(e = tine_header_read(r))) e = header_check_names(r, s);
    return e ? e : header_check_cover(r, s);
}

tine_error tine_safetensors_parse(tine_safetensors **out, const void *bytes, size_t size, char *why,
                                  size_t why_size) {
    const uint8_t *p = bytes;
    tine_header_reader r = {.why = why, .why_size = why_size};
    if (size < 8)
        return tine_header_refuse(&r, "it has %zu bytes, a safetensors file has at least 8", size);
    uint64_t header = 0;
    for (int i = 0; i < 8; i++) header |= (uint64_t)p[i] << 8 * i;
    if (header > size - 8)
        return tine_header_refuse(&r, "its header claims %ju bytes, %zu follow", (uintmax_t)header,
                                  size - 8);
    if (header > HEADER_MAX)
        return tine_header_refuse(&r, "its header of %ju bytes is past the limit of %d",
                                  (uintmax_t)header, HEADER_MAX);
    r.data = p + 8 + header;
    r.size = size - 8 - header;
    r.json = (tine_json_reader){.text = (const char *)p + 8, .size = header};
    tine_safetensors *s = calloc(1, sizeof *s);
    if (!s) return header_no_memory(&r);
    tine_error e = header_parse(&r, s);
    if (e)
        tine_safetensors_close(s);
    else
        *out = s;
    return e;
}

tine_error tine_safetensors_open(tine_safetensors **out, const char *path, char *why,
                                 size_t why_size) {
    void *mapping;
    size_t size;
    int rc = tine_map_file(path, &mapping, &size, why, why_size);
    if (rc) return rc == -EINVAL ? TINE_EINVAL : TINE_EIO;
    const void *bytes = mapping ? mapping : "";
    tine_error e = tine_safetensors_parse(out, bytes, size, why, why_size);
    if (!e) {
        (*out)->mapping = mapping;
        (*out)->mapping_size = size;
    } else if (mapping) {
        munmap(mapping, size);
    }
    return e;
}

void tine_safetensors_close(tine_safetensors *s) {
    if (!s) return;
    free(s->text);
    free(s->tensors);
    free(s->dimensions);
    free(s->by_offset);
    free(s->by_name);
    free(s->metadata);
    if (s->mapping) munmap(s->mapping, s->mapping_size);
    free(s);
}

size_t tine_safetensors_count(const tine_safetensors *s) { return s->n; }

const tine_safetensor *tine_safetensors_at(const tine_safetensors *s, size_t i) {
    return i < s->n ? &s->tensors[s->by_offset[i]] : NULL;
}

const tine_safetensor *tine_safetensors_find(const tine_safetensors *s, const char *name) {
    for (size_t from = 0, to = s->n; from < to;) {
        size_t middle = from + (to - from) / 2;
        const tine_safetensor *t = &s->tensors[s->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0) return t;
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

const char *tine_safetensors_meta(const tine_safetensors *s, const char *key) {
    for (size_t i = 0; i < s->n_metadata; i++) {
        const char *at = s->text + s->metadata[i];
        if (strcmp(at, key) == 0) return at + strlen(at) + 1;
    }
    return NULL;
}
