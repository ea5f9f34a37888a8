/* Fuzz target: any frame may arrive from any peer. What the decoder accepts can be decoded into
 * values, encoded again to an equal message; its payload can be relayed in the frame that it
 * came in.
 *
 * The input is a frame. The first byte: bits 0 and 1 say how many buffers, bit 2 whether the last
 * of them has its bytes from the end of the input. Then comes one byte for each buffer's size; the
 * rest is the header. */
#include <stdlib.h>
#include <string.h>

#include "runtime/wire/check.h"
#include "runtime/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tine_frame *frame_of(const uint8_t *data, size_t size) {
    size_t n = size > 0 ? data[0] & 3 : 0, at = 1 + n;
    if (size < at) return NULL;
    size_t given = n > 0 && data[0] & 4 ? data[n] : 0;
    if (size - at < given) return NULL;
    tine_frame *f = tine_frame_new(size - at - given, n);
    if (!f) abort();
    memcpy(f->header, data + at, size - at - given);
    for (size_t i = 0; i < n; i++) {
        f->buffers[i] = tine_buffer_new(data[1 + i]);
        memset(f->buffers[i]->data, (int)i, data[1 + i]);
    }
    if (given > 0) memcpy(f->buffers[n - 1]->data, data + size - given, given);
    return f;
}

/* The same bytes, as they arrive in another process. */
static tine_frame *frame_copy(const tine_frame *f) {
    tine_frame *copy = tine_frame_new(f->header_size, f->n_buffers);
    if (!copy) abort();
    memcpy(copy->header, f->header, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++) copy->buffers[i] = tine_buffer_ref(f->buffers[i]);
    return copy;
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

/* m is read in another process, and is equal there. */
static void send_and_compare(const tine_message *m) {
    char why[200] = "";
    tine_decoded d;
    tine_frame *sent = tine_wire_encode(m), *came = sent ? frame_copy(sent) : NULL;
    if (!came || tine_wire_decode(came, &d, why, sizeof why)) abort();
    if (d.message.type != m->type || d.message.task != m->task || d.message.n_ids != m->n_ids)
        abort();
    if (m->payload && d.message.payload->n_refs != m->payload->n_refs) abort();
    tine_decoded_fini(&d);
    tine_frame_free(came);
    tine_frame_free(sent);
}

/* In the frame that it came in, which is not read any more. */
static void relay(const tine_message *m) {
    if (m->payload->checked == TINE_CHECKED_CALL)
        send_and_compare(&(tine_message){TINE_MSG_TASK, .task = 1, .target = {.name = "relayed"},
                                         .payload = m->payload});
    else
        send_and_compare(&(tine_message){TINE_MSG_RESULT, .payload = m->payload});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[200] = "";
    tine_decoded d = {0};
    tine_frame *f = frame_of(data, size);
    if (!f) return 0;
    if (tine_wire_decode(f, &d, why, sizeof why)) {
        if (why[0] == '\0') abort();
        tine_frame_free(f);
        return 0;
    }
    if (d.message.payload) look_inside(d.message.payload);
    send_and_compare(&d.message);
    const tine_message kept = {.payload = tine_payload_ref(d.message.payload)};
    tine_decoded_fini(&d);
    tine_frame_free(f);
    if (kept.payload) relay(&kept);
    tine_payload_unref(kept.payload);
    return 0;
}
