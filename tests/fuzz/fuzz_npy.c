/* Fuzz target: the .npy reader takes any bytes, and a tensor that it gives lies inside them. */
#include <stdlib.h>

#include "launch/command/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tine_value *v = tine_npy_parse("fuzz", data, size);
    if (v && tine_elements(v) > (int64_t)size) abort();
    tine_release(v);
    return 0;
}
