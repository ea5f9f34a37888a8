/* See golden.h. */
#include "tests/support/golden.h"

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tine_golden {
    char *bytes;
    const char *data;
    struct json_object *header;
};

static char *read_all(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *bytes = size > 0 ? malloc((size_t)size) : NULL;
    if (bytes && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

struct tine_golden *tine_golden_open(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    struct tine_golden *golden = calloc(1, sizeof *golden);
    if (!golden) return NULL;
    golden->bytes = read_all(path);
    if (golden->bytes) {
        uint64_t length;
        memcpy(&length, golden->bytes, sizeof length);
        golden->data = golden->bytes + 8 + length;
        struct json_tokener *tokener = json_tokener_new();
        golden->header = json_tokener_parse_ex(tokener, golden->bytes + 8, (int)length);
        json_tokener_free(tokener);
    }
    if (golden->header) return golden;
    tine_golden_close(golden);
    return NULL;
}

void tine_golden_close(struct tine_golden *golden) {
    if (!golden) return;
    json_object_put(golden->header);
    free(golden->bytes);
    free(golden);
}

const float *tine_golden_tensor(const struct tine_golden *golden, const char *name,
                                size_t shape[4]) {
    struct json_object *entry, *sizes, *offsets;
    if (!json_object_object_get_ex(golden->header, name, &entry)) return NULL;
    if (!json_object_object_get_ex(entry, "shape", &sizes)) return NULL;
    if (!json_object_object_get_ex(entry, "data_offsets", &offsets)) return NULL;
    for (size_t i = 0; i < 4; i++)
        shape[i] = i < json_object_array_length(sizes)
                       ? (size_t)json_object_get_int64(json_object_array_get_idx(sizes, i))
                       : 1;
    return (const float *)(const void *)(golden->data + json_object_get_int64(
                                                            json_object_array_get_idx(offsets, 0)));
}

static const char *text_of(const struct tine_golden *golden, const char *key) {
    struct json_object *meta, *value;
    if (!json_object_object_get_ex(golden->header, "__metadata__", &meta)) return "";
    return json_object_object_get_ex(meta, key, &value) ? json_object_get_string(value) : "";
}

size_t tine_golden_number(const struct tine_golden *golden, const char *key) {
    return strtoull(text_of(golden, key), NULL, 10);
}

bool tine_golden_flag(const struct tine_golden *golden, const char *key) {
    return !strcmp(text_of(golden, key), "True");
}
