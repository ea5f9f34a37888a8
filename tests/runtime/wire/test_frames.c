/* Frames and payloads share their memory: a body is sent from where it was encoded, and relayed
 * from where it arrived. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/messages.h"

#define test(name) Test(frames, name, .timeout = 60)

static void fill(uint8_t *to, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = (uint8_t)(i * 7);
}

static tine_message result_message(uint64_t seq, tine_payload *p) {
    return (tine_message){TINE_MSG_RESULT, .seq = seq, .payload = p};
}

static void expect_result(tine_frame *f, uint64_t seq, const tine_value *v) {
    char why[100] = "";
    tine_decoded d;
    tine_value *w;
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK, "%s", why);
    cr_expect_eq(d.message.seq, seq);
    cr_assert_eq(tine_payload_value(d.message.payload, NULL, &w), TINE_OK);
    cr_expect(tine_equal(v, w));
    tine_release(w);
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

test(a_small_body_is_sent_from_where_it_was_encoded) {
    tine_value *v = tine_int(42);
    tine_payload *p = payload_of(tine_ref(v));
    const tine_message m = result_message(9, p);
    tine_frame *f = tine_wire_encode(&m);
    cr_assert_eq(f, p, "no allocation of its own");
    cr_assert_eq(f->header + f->header_size, p->body + p->body_size);
    expect_result(arrived(f), 9, v);
    tine_frame_free(f);
    tine_payload_unref(p);
    tine_release(v);
}

test(a_payload_sent_twice_at_once_is_copied_if_it_is_small) {
    tine_value *v = tine_string("twice");
    tine_payload *p = payload_of(tine_ref(v));
    const tine_message one = result_message(1, p), two = result_message(70000, p);
    tine_frame *first = tine_wire_encode(&one), *second = tine_wire_encode(&two);
    cr_assert_eq(first, p);
    cr_assert_neq(second, p);
    tine_payload_unref(p);
    expect_result(arrived(first), 1, v);
    expect_result(arrived(second), 70000, v);
    expect_result(second, 70000, v);
    tine_frame_free(first);
    tine_release(v);
}

test(the_room_is_free_again_once_a_message_is_sent) {
    tine_value *v = tine_string("again");
    tine_payload *p = payload_of(tine_ref(v));
    for (uint64_t seq = 0; seq < 3; seq++) {
        const tine_message m = result_message(seq << 20, p);
        tine_frame *f = tine_wire_encode(&m);
        cr_assert_eq(f, p);
        expect_result(arrived(f), seq << 20, v);
        tine_frame_free(f);
    }
    tine_payload_unref(p);
    tine_release(v);
}

test(a_header_that_does_not_fit_the_room_goes_in_a_frame_of_its_own) {
    char name[TINE_FRAME_ROOM + 1];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (size_t n = 60; n < sizeof name; n++) {
        tine_message m = {TINE_MSG_TASK,
                          .task = UINT64_MAX,
                          .attempt = UINT32_MAX,
                          .epoch = UINT32_MAX,
                          .depth = UINT32_MAX,
                          .flow = UINT64_MAX,
                          .target = {.name = name + sizeof name - 1 - n},
                          .payload = call_payload(tine_int(1))};
        tine_frame *f = tine_wire_encode(&m);
        cr_expect(n > 80 || f == m.payload);
        cr_expect(n < sizeof name - 1 || f != m.payload);
        expect_decoded(&m, arrived(f));
        expect_decoded(&m, f);
        tine_payload_unref(m.payload);
    }
}

test(a_large_body_is_a_buffer_that_all_its_frames_share) {
    uint8_t *bytes = malloc(60000);
    fill(bytes, 60000);
    tine_value *t = tine_ones(TINE_F32, 1, (int64_t[]){3}), *b = tine_bytes(bytes, 60000),
               *v = tine_list(t, b);
    tine_payload *p = payload_of(tine_ref(v));
    cr_assert_eq(p->n_buffers, 1);
    cr_assert_gt(p->body_size, 60000);
    const tine_message one = result_message(1, p), two = result_message(2, p);
    tine_frame *first = tine_wire_encode(&one), *second = tine_wire_encode(&two);
    cr_assert(first->header_size < 20 && second->header_size < 20);
    cr_assert(first->n_buffers == 2 && second->n_buffers == 2);
    cr_assert_eq(first->buffers[1]->data, p->body);
    cr_assert_eq(second->buffers[1]->data, p->body);
    tine_payload_unref(p);
    expect_result(arrived(first), 1, v);
    tine_frame_free(first);
    expect_result(second, 2, v);
    tine_release(v), tine_release(t), tine_release(b);
    free(bytes);
}

/* SUBMIT in, TASK out: from the allocation that came in, if nobody else sends from it. */
static void expect_relayed(size_t text_size, const char *name) {
    char *text = malloc(text_size + 1);
    memset(text, 'x', text_size);
    text[text_size] = 0;
    tine_message in = {TINE_MSG_SUBMIT, .seq = 1, .task = 2, .target = {.name = "neg"},
                       .payload = call_payload(tine_string(text))};
    tine_frame *sent = tine_wire_encode(&in), *came = arrived(sent);
    char why[100] = "";
    tine_decoded d;
    cr_assert_eq(tine_wire_decode(came, &d, why, sizeof why), TINE_OK, "%s", why);
    tine_payload *p = tine_payload_ref(d.message.payload);
    cr_assert_eq(p, came);
    tine_message out = {TINE_MSG_TASK,       .task = UINT64_MAX,       .attempt = 1,
                        .epoch = UINT32_MAX, .target = {.name = name}, .payload = p};
    tine_frame *early = tine_wire_encode(&out);
    cr_expect_neq(early, came, "the frame that came is still being read");
    tine_decoded_fini(&d);
    tine_frame_free(came);
    tine_frame *later = tine_wire_encode(&out);
    cr_expect(later == p || strlen(name) > 90);
    expect_decoded(&out, arrived(early));
    expect_decoded(&out, arrived(later));
    tine_frame_free(early), tine_frame_free(later), tine_frame_free(sent);
    tine_payload_unref(p);
    tine_payload_unref(in.payload);
    free(text);
}

test(a_payload_is_relayed_in_the_frame_that_it_came_in) {
    char long_name[300];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    const size_t sizes[] = {0, 1, 4000, 4096, 5000, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        expect_relayed(sizes[i], "neg");
        expect_relayed(sizes[i], long_name);
    }
}

/* A worker in another language may send any body inline; it is relayed as a buffer. */
test(a_large_body_may_come_inline) {
    enum { N = 100000 };
    tine_frame *f = tine_frame_new(3 + 5 + N, 0);
    memcpy(f->header, (const uint8_t[]){0x92, 7, 1, 0xc6, 0, N >> 16, N >> 8 & 255, N & 255}, 8);
    fill(f->header + 8, N);
    char why[100] = "";
    tine_decoded d;
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK, "%s", why);
    tine_payload *p = tine_payload_ref(d.message.payload);
    tine_decoded_fini(&d);
    tine_frame_free(f);
    const tine_message m = {TINE_MSG_EVENTS, .payload = p};
    tine_frame *on = tine_wire_encode(&m);
    cr_assert_eq(on->header_size, 3);
    cr_assert_eq(on->n_buffers, 1);
    cr_assert_eq(on->buffers[0]->data, p->body);
    expect_decoded(&m, arrived(on));
    tine_frame_free(on);
    tine_payload_unref(p);
}

test(objects_that_a_body_mentions_are_gathered_from_it) {
    enum { N = 300 };
    static tine_value *refs[N];
    for (int i = 0; i < N; i++)
        refs[i] = tine_module_ref((tine_object)(2 * (N - i / 2) + 1), "lstm", NULL);
    for (size_t n = 0; n <= N; n += n < 12 ? 1 : 36) {
        tine_message m = result_message(1, payload_of(tine_list_of(refs, n)));
        cr_assert_eq(m.payload->n_refs, (n + 1) / 2);
        expect_message(&m);
    }
    for (int i = 0; i < N; i++) tine_release(refs[i]);
}
