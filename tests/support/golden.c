/* See golden.h. */
#include "tests/support/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/safetensors/safetensors.h"

struct tine_golden *tine_golden_open(const char *name) {
    char path[512], why[256];
    tine_safetensors *file;
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    if (tine_safetensors_open(&file, path, why, sizeof why) == TINE_OK)
        return (struct tine_golden *)file;
    fprintf(stderr, "%s: %s\n", path, why);
    return NULL;
}

void tine_golden_close(struct tine_golden *golden) {
    tine_safetensors_close((tine_safetensors *)golden);
}

const float *tine_golden_tensor(const struct tine_golden *golden, const char *name,
                                size_t shape[4]) {
    const tine_safetensor *t = tine_safetensors_find((const tine_safetensors *)golden, name);
    if (!t) return NULL;
    for (int i = 0; i < 4; i++) shape[i] = i < t->rank ? (size_t)t->shape[i] : 1;
    return t->data;
}

static const char *text_of(const struct tine_golden *golden, const char *key) {
    const char *text = tine_safetensors_meta((const tine_safetensors *)golden, key);
    return text ? text : "";
}

size_t tine_golden_number(const struct tine_golden *golden, const char *key) {
    return strtoull(text_of(golden, key), NULL, 10);
}

bool tine_golden_flag(const struct tine_golden *golden, const char *key) {
    return !strcmp(text_of(golden, key), "True");
}
