/* Values and calls on the wire: each comes back as it was sent, or says why it cannot be sent. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/future.h"
#include "runtime/wire/check.h"
#include "runtime/wire/wire.h"
#include "tests/support/random.h"

#define test(name) Test(values, name, .timeout = 60)

static uint64_t state = 20261123;
static uint64_t draw(uint64_t n) { return random_below(&state, n); }

static tine_value *object_value(void *ctx, tine_object id) {
    (void)id;
    return tine_ref((tine_value *)ctx);
}

static tine_value *there_and_back(const tine_value *v, const tine_encoder *e,
                                  const tine_decoder *d) {
    tine_payload *p = NULL;
    tine_value *w = NULL;
    char why[128] = "";
    cr_assert_eq(tine_payload_of_value(v, e, &p), TINE_OK, "%s", tine_error_message());
    uint32_t n_refs = p->n_refs;
    cr_assert_eq(tine_wire_check(p, TINE_CHECKED_VALUE, why, sizeof why), TINE_OK, "%s", why);
    cr_assert_eq(p->n_refs, n_refs);
    cr_assert_eq(tine_payload_value(p, d, &w), TINE_OK, "%s", tine_error_message());
    tine_payload_unref(p);
    return w;
}

static void expect_same(tine_value *v) {
    tine_value *w = there_and_back(v, NULL, NULL);
    cr_expect(tine_equal(v, w));
    tine_release(v), tine_release(w);
}

test(scalars_come_back) {
    static const int64_t ints[] = {0,
                                   1,
                                   -1,
                                   127,
                                   128,
                                   -32,
                                   -33,
                                   -128,
                                   -129,
                                   255,
                                   256,
                                   65535,
                                   65536,
                                   -32769,
                                   INT32_MAX,
                                   INT32_MIN,
                                   (int64_t)1 << 32,
                                   INT64_MAX,
                                   INT64_MIN};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) expect_same(tine_int(ints[i]));
    expect_same(tine_float(-0.0));
    expect_same(tine_float(NAN));
    expect_same(tine_float(1e300));
    expect_same(tine_none());
    expect_same(tine_bool(true));
    expect_same(tine_bool(false));
    expect_same(tine_string(""));
    expect_same(tine_string("größe"));
    expect_same(tine_string_of("a\0b", 3));
    expect_same(tine_bytes(NULL, 0));
    expect_same(tine_list_of(NULL, 0));
    expect_same(tine_dict_of(NULL, NULL, 0));
}

test(large_texts_and_bytes_come_back) {
    const size_t sizes[] = {31, 32, 255, 256, 65535, 65536, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *s = malloc(sizes[i]);
        memset(s, 'x', sizes[i]);
        expect_same(tine_string_of(s, sizes[i]));
        expect_same(tine_bytes(s, sizes[i]));
        free(s);
    }
}

test(large_bytes_travel_beside_the_body_and_can_be_sent_on) {
    char *s = calloc(1, 200000);
    tine_value *v = tine_bytes(s, 200000), *o = tine_value_as_object(v, 8, NULL),
               *l = tine_list(v, o, v);
    const tine_encoder by_value = {.by_reference = NULL};
    tine_payload *p;
    free(s);
    tine_release(v);
    cr_assert_eq(tine_payload_of_value(l, &by_value, &p), TINE_OK);
    cr_assert_eq(p->n_buffers, 1);
    cr_assert_lt(p->body_size, 50);
    tine_payload_unref(p);
    tine_value *w = there_and_back(tine_at(l, 0), NULL, NULL),
               *again = there_and_back(w, NULL, NULL);
    cr_assert(tine_equal(again, tine_at(l, 0)));
    tine_release(w), tine_release(again), tine_release(l), tine_release(o);
}

test(tensors_share_their_bytes) {
    const tine_dtype types[] = {TINE_F32, TINE_F64, TINE_BF16, TINE_I64, TINE_I32, TINE_U8};
    for (int i = 0; i < 6; i++) {
        expect_same(tine_full(types[i], 2, ((int64_t[]){3, 5}), 7));
        expect_same(tine_full(types[i], 0, NULL, 1));
        expect_same(tine_full(types[i], 8, ((int64_t[]){1, 2, 1, 2, 1, 2, 1, 2}), 3));
        expect_same(tine_full(types[i], 2, ((int64_t[]){0, 1 << 30}), 1));
    }
    tine_value *v = tine_ones(TINE_F32, 1, (int64_t[]){1000}), *w = there_and_back(v, NULL, NULL);
    cr_assert_eq(tine_data(v), tine_data(w));
    tine_value *l = tine_list(v, v, v);
    tine_payload *p;
    cr_assert_eq(tine_payload_of_value(l, NULL, &p), TINE_OK);
    cr_assert_eq(p->n_buffers, 1);
    tine_payload_unref(p);
    tine_release(v), tine_release(w), tine_release(l);
}

test(a_part_of_a_buffer_is_sent_alone_and_unaligned_bytes_are_copied) {
    tine_buffer *b = tine_buffer_new(100);
    for (int i = 0; i < 100; i++) ((uint8_t *)b->data)[i] = (uint8_t)i;
    tine_value *v = tine_tensor_over(TINE_U8, 1, (int64_t[]){8}, b, 3),
               *w = there_and_back(v, NULL, NULL);
    cr_assert(tine_equal(v, w));
    tine_payload *p, *q = tine_payload_new(64, 1, 0);
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_OK);
    cr_assert_eq(p->buffers[0]->size, 8);
    q->body_size = p->body_size;
    memcpy(q->body, p->body, p->body_size);
    q->body[3] = TINE_I64; /* the same eight bytes, at an odd address, as one int64 */
    q->body[5] = 1;
    q->buffers[0] = tine_buffer_ref(p->buffers[0]);
    tine_value *u;
    cr_assert_eq(tine_payload_value(q, NULL, &u), TINE_OK, "%s", tine_error_message());
    cr_assert_eq((uintptr_t)tine_data(u) % 8, 0);
    cr_assert_eq(((const uint8_t *)tine_data(u))[0], 3);
    tine_payload_unref(p), tine_payload_unref(q);
    tine_release(v), tine_release(w), tine_release(u);
    tine_buffer_unref(b);
}

/* Its owner would keep all of its memory for as long as the value lives. */
test(a_small_tensor_in_another_process_is_copied_where_that_is_asked_for) {
    enum { SIZE = 100 };
    tine_value *v = tine_ones(TINE_U8, 1, (int64_t[]){SIZE}), *w;
    tine_payload *p;
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_OK);
    p->buffers[0]->foreign = true;
    for (size_t below = 0; below < SIZE + 2; below += SIZE / 2) {
        const tine_decoder d = {.copy_below = below + 1};
        cr_assert_eq(tine_payload_value(p, &d, &w), TINE_OK, "%s", tine_error_message());
        cr_expect(tine_equal(v, w));
        cr_expect_eq(tine_data(w) != tine_data(v), below + 1 > SIZE, "below %zu", below + 1);
        tine_release(w);
    }
    p->buffers[0]->foreign = false;
    tine_payload_unref(p);
    tine_release(v);
}

test(objects_travel_by_reference_or_by_value) {
    tine_value *x = tine_string("put"), *o = tine_value_as_object(x, 6, NULL),
               *o2 = tine_value_as_object(x, 4, NULL);
    tine_value *m = tine_module_ref(9, "lstm", NULL), *l = tine_list(o, m, o2, o);
    tine_payload *p;
    cr_assert_eq(tine_payload_of_value(l, NULL, &p), TINE_OK);
    cr_assert_eq(p->n_refs, 3);
    cr_assert(p->refs[0] == 4 && p->refs[1] == 6 && p->refs[2] == 9);
    const tine_decoder d = {.value = object_value, .ctx = x};
    tine_value *r;
    cr_assert_eq(tine_payload_value(p, NULL, &r), TINE_EINVAL);
    cr_assert_eq(tine_payload_value(p, &d, &r), TINE_OK);
    cr_assert_eq(tine_at(r, 0), x);
    cr_assert_eq(tine_kind_of(tine_at(r, 1)), TINE_MODULE_REF);
    cr_assert_eq(tine_at(r, 1)->object, 9);
    cr_assert_str_eq(tine_at(r, 1)->bytes.data, "lstm");
    tine_payload_unref(p);
    tine_release(r), tine_release(l), tine_release(m), tine_release(o), tine_release(o2),
        tine_release(x);
}

static tine_value *random_value(int depth) {
    char text[40], keys[8][24];
    const char *names[8] = {0};
    tine_value *items[8] = {0}, *v;
    size_t n = draw(8);
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + draw(26));
    switch (draw(depth > 4 ? 7 : 9)) {
    case 0: return tine_none();
    case 1: return tine_bool(draw(2));
    case 2: return tine_int((int64_t)(draw(UINT32_MAX) << draw(32)) * (draw(2) ? 1 : -1));
    case 3: return tine_float((double)draw(1000000) / 7 - 3000);
    case 4: return tine_string_of(text, draw(sizeof text));
    case 5: return tine_bytes(text, draw(sizeof text));
    case 6:
        return tine_full((tine_dtype)(1 + draw(6)), (int)draw(4),
                         (int64_t[]){1, (int64_t)draw(3), 4}, (double)draw(100));
    default: break;
    }
    bool dict = draw(2);
    for (size_t i = 0; i < n; i++) {
        items[i] = random_value(depth + 1);
        snprintf(keys[i], sizeof keys[i], "k%zu", i);
        names[i] = keys[i];
    }
    v = dict ? tine_dict_of(names, items, n) : tine_list_of(items, n);
    for (size_t i = 0; i < n; i++) tine_release(items[i]);
    return v;
}

test(random_values_come_back) {
    for (int i = 0; i < 5000; i++) expect_same(random_value(0));
}

test(calls_come_back) {
    tine_arguments a = {0}, b = {0};
    tine_payload *p;
    cr_assert_eq(
        tine_arguments_make(&a, TINE_ARGS_(1, "x", tine_kw("dim", 2), tine_kw("keep", (bool)true))),
        TINE_OK);
    cr_assert_eq(tine_payload_of_call(&a, NULL, &p), TINE_OK);
    cr_assert_eq(tine_payload_call(p, NULL, &b), TINE_OK);
    cr_assert(b.n_positional == 2 && b.n_named == 2);
    cr_assert_str_eq(b.keys[1], "keep");
    cr_assert_eq(tine_as_int(b.named[0]), 2);
    tine_payload_unref(p);
    tine_arguments_fini(&a), tine_arguments_fini(&b);
}

test(what_cannot_be_sent_says_why) {
    tine_payload *p;
    tine_future *future = tine_future_new(NULL);
    tine_value *v = tine_list(future);
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_EINVAL);
    cr_assert_str_eq(tine_error_message(), "a future that is not resolved cannot be sent");
    tine_release(v), tine_release(future);
    enum { N = TINE_FRAME_MAX_BUFFERS + 1 };
    static tine_value *many[N];
    for (int i = 0; i < N; i++) many[i] = tine_ones(TINE_F32, 0, NULL);
    v = tine_list_of(many, N);
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_EINVAL);
    cr_assert_str_eq(tine_error_message(), "one message holds at most 1048576 tensors; stack them");
    for (int i = 0; i < N; i++) tine_release(many[i]);
    tine_release(v);
    char *s = calloc(1, 65 << 20);
    v = tine_string_of(s, 65 << 20);
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_EINVAL);
    free(s);
    tine_release(v);
}
