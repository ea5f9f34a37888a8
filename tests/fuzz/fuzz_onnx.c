/* Fuzz target: the ONNX reader takes any bytes, and runs what it accepts on small inputs. Modules
 * are not made, since Tine does not run: their nodes end a run with an error. */
#include "launch/onnx/onnx.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tine_onnx *g = tine_onnx_parse("fuzz", data, size);
    if (!g) {
        if (!*tine_error_message()) abort();
        return 0;
    }
    const char *keys[8];
    tine_value *items[8], *x = tine_ones(TINE_F32, 3, (int64_t[]){2, 3, 4});
    size_t n = 0;
    for (; n < 8 && (keys[n] = tine_onnx_input(g, n)); n++) items[n] = x;
    tine_value *in = tine_dict_of(keys, items, n), *out = in ? tine_onnx_run(g, in) : NULL;
    tine_release(out);
    tine_release(in);
    tine_release(x);
    tine_onnx_close(g);
    return 0;
}
