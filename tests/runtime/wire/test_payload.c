/* Payloads: an encoded body and the buffers beside it. */
#include <criterion/criterion.h>
#include <string.h>

#include "runtime/wire/payload.h"

Test(payload, holds_its_buffers, .timeout = 20) {
    tine_payload *p = tine_payload_new(10, 2, 3);
    p->buffers[0] = tine_buffer_new(100);
    tine_buffer *b = tine_buffer_ref(p->buffers[0]);
    memset(p->body, 1, 10);
    p->refs[0] = p->refs[1] = p->refs[2] = 2;
    cr_assert_eq(tine_payload_bytes(p), 110);
    cr_assert_eq(tine_payload_ref(p), p);
    tine_payload_unref(p);
    cr_assert_eq(atomic_load(&b->refs), 2);
    tine_payload_unref(p);
    cr_assert_eq(atomic_load(&b->refs), 1);
    tine_buffer_unref(b);
    tine_payload_unref(NULL);
    cr_assert_null(tine_payload_ref(NULL));
    cr_assert_eq(tine_payload_bytes(NULL), 0);
    cr_assert_null(tine_payload_new((size_t)1 << 40, 0, 0));
}
