/* tine_save: a dict of tensors as a file. As the reference implementation does, tensors of larger
 * elements come first and the header's length is a multiple of 8, so that each is aligned. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/value/error.h"
#include "runtime/value/value.h"
#include "transport/base/output.h"

static const char *const dtype_names[] = {
    [TINE_F32] = "F32", [TINE_F64] = "F64", [TINE_BF16] = "BF16",
    [TINE_I64] = "I64", [TINE_I32] = "I32", [TINE_U8] = "U8"};

static size_t tensor_bytes(const tine_value *v) {
    return (size_t)v->tensor.elements * tine_dtype_size(v->tensor.dtype);
}

static void key_write(FILE *to, const char *text) {
    fputc('"', to);
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20)
            fprintf(to, "\\u%04x", *p);
        else if (*p == '"' || *p == '\\')
            fprintf(to, "\\%c", *p);
        else
            fputc(*p, to);
    }
    fputc('"', to);
}

static int compare_entries(const void *a, const void *b, void *dict) {
    const tine_value *d = dict;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    size_t x = tine_dtype_size(d->list.items[i]->tensor.dtype),
           y = tine_dtype_size(d->list.items[j]->tensor.dtype);
    if (x != y) return x > y ? -1 : 1;
    return strcmp(d->list.keys[i], d->list.keys[j]);
}

static tine_error check_dict(const char *path, const tine_value *dict) {
    if (!path) return tine_error_set(TINE_EINVAL, "tine_save: the path is NULL");
    if (!dict) return tine_error_null("tine_save: the dict is NULL");
    if (dict->kind != TINE_DICT)
        return tine_error_set(TINE_EINVAL, "tine_save: a dict of tensors is needed, not %s",
                              tine_kind_name(dict->kind));
    for (size_t i = 0; i < dict->list.n; i++) {
        const char *key = dict->list.keys[i];
        if (dict->list.items[i]->kind != TINE_TENSOR)
            return tine_error_set(TINE_EINVAL, "tine_save: \"%.64s\" must be a tensor, not %s", key,
                                  tine_kind_name(dict->list.items[i]->kind));
        if (strcmp(key, "__metadata__") == 0)
            return tine_error_set(TINE_EINVAL,
                                  "tine_save: a tensor cannot be called \"__metadata__\"");
    }
    return TINE_OK;
}

/* The JSON header of the entries in `order`, padded with spaces; malloc'ed. */
static char *header_text(const tine_value *dict, const size_t *order, size_t *size) {
    char *text = NULL;
    uint64_t at = 0;
    FILE *to = open_memstream(&text, size);
    if (!to) return NULL;
    fputc('{', to);
    for (size_t i = 0; i < dict->list.n; i++) {
        const tine_value *v = dict->list.items[order[i]];
        if (i) fputc(',', to);
        key_write(to, dict->list.keys[order[i]]);
        fprintf(to, ":{\"dtype\":\"%s\",\"shape\":[", dtype_names[v->tensor.dtype]);
        for (int d = 0; d < v->tensor.rank; d++)
            fprintf(to, d ? ",%jd" : "%jd", (intmax_t)v->tensor.shape[d]);
        fprintf(to, "],\"data_offsets\":[%ju,%ju]}", (uintmax_t)at,
                (uintmax_t)(at + tensor_bytes(v)));
        at += tensor_bytes(v);
    }
    fputc('}', to);
    for (long n = ftell(to); n % 8; n++) fputc(' ', to);
    if (fclose(to) == 0) return text;
    free(text);
    return NULL;
}

static void tensors_write(FILE *to, const char *header, size_t size, const tine_value *dict,
                          const size_t *order) {
    for (int i = 0; i < 8; i++) fputc((int)((uint64_t)size >> 8 * i & 255), to);
    fwrite(header, 1, size, to);
    for (size_t i = 0; i < dict->list.n; i++) {
        const tine_value *v = dict->list.items[order[i]];
        if (tensor_bytes(v)) fwrite(v->tensor.data, 1, tensor_bytes(v), to);
    }
}

tine_error tine_save(const char *path, const tine_value *dict) {
    tine_error e = check_dict(path, dict);
    if (e) return e;
    size_t *order = calloc(dict->list.n + 1, sizeof *order), size = 0;
    char *header = NULL;
    tine_output f;
    for (size_t i = 0; order && i < dict->list.n; i++) order[i] = i;
    if (order) {
        qsort_r(order, dict->list.n, sizeof *order, compare_entries, (void *)dict);
        header = header_text(dict, order, &size);
    }
    bool opened = header && tine_output_open(&f, path);
    if (opened) tensors_write(f.stream, header, size, dict, order);
    if (!header)
        e = tine_error_set(TINE_ENOMEM, "tine_save: %s: no memory", path);
    else if (!opened || !tine_output_close(&f, path))
        e = tine_error_set(TINE_EIO, "tine_save: %s cannot be written: %s", path, strerror(errno));
    free(header);
    free(order);
    return e;
}
