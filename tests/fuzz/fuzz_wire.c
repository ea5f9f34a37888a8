/* Fuzz target: any frame may arrive from any peer. What the decoder accepts can be decoded into
 * values, encoded again, and then says the same.
 *
 * The input is a frame: one byte says how many buffers (0 to 3), one byte each how long they are,
 * the rest is the header. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tine_frame *frame_of(const uint8_t *data, size_t size) {
    size_t n = size > 0 ? data[0] & 3 : 0, at = 1 + n;
    if (size < at) return NULL;
    tine_frame *f = tine_frame_new(size - at, n);
    if (!f) abort();
    memcpy(f->header, data + at, size - at);
    for (size_t i = 0; i < n; i++) {
        f->buffers[i] = tine_buffer_new(data[1 + i]);
        memset(f->buffers[i]->data, (int)i, data[1 + i]);
    }
    return f;
}

/* Objects are unknown here; modules are only named. */
static tine_value *no_value(void *ctx, tine_object id) {
    (void)ctx, (void)id;
    return NULL;
}

static void look_inside(tine_payload *p) {
    const tine_decoder decoder = {.value = no_value};
    tine_value *v;
    tine_arguments a = {0};
    if (tine_payload_value(p, &decoder, &v) == TINE_OK) {
        if (!tine_equal(v, v) && tine_kind_of(v) > TINE_DICT) abort();
        tine_release(v);
    }
    if (tine_payload_call(p, &decoder, &a) == TINE_OK) tine_arguments_fini(&a);
    tine_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[200] = "";
    tine_decoded first = {0}, second = {0};
    tine_frame *f = frame_of(data, size), *again = NULL;
    if (!f) return 0;
    if (tine_wire_decode(f, &first, why, sizeof why)) {
        if (why[0] == '\0') abort();
        goto out;
    }
    if (first.message.payload) look_inside(first.message.payload);
    again = tine_wire_encode(&first.message);
    if (!again || tine_wire_decode(again, &second, why, sizeof why)) abort();
    if (second.message.type != first.message.type || second.message.task != first.message.task ||
        second.message.n_ids != first.message.n_ids)
        abort();
out:
    tine_decoded_fini(&second);
    tine_decoded_fini(&first);
    tine_frame_free(again);
    tine_frame_free(f);
    return 0;
}
