/* Fuzz target: the safetensors reader takes any bytes, and what it accepts lies inside them. */
#include "runtime/safetensors/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tine_safetensors *s;
    char why[200] = "";
    if (tine_safetensors_parse(&s, data, size, why, sizeof why)) {
        if (why[0] == '\0') abort();
        return 0;
    }
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < tine_safetensors_count(s); i++) {
        const tine_safetensor *t = tine_safetensors_at(s, i);
        const uint8_t *bytes = t->data;
        for (size_t j = 0; j < t->size; j++) sum = (uint8_t)(sum + bytes[j]);
        if (!tine_safetensors_find(s, t->name)) abort();
    }
    tine_safetensors_meta(s, "kind");
    tine_safetensors_close(s);
    return 0;
}
