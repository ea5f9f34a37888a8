/* Bytes that are no message: they are refused with a reason, and none does harm. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/messages.h"
#include "tests/support/random.h"

#define test(name) Test(refusals, name, .timeout = 60)

static void refuse_bytes(const void *data, size_t n, const char *reason) {
    char why[200] = "";
    tine_decoded d = {0};
    tine_frame *f = tine_frame_new(n, 0);
    memcpy(f->header, data, n);
    cr_expect_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_EPROTO);
    cr_expect(strstr(why, reason), "it says: %s", why);
    tine_frame_free(f);
}
#define REFUSE(bytes, reason) refuse_bytes(bytes, sizeof(bytes) - 1, reason)

test(a_wrong_version_names_both) {
    REFUSE("\x93\x01\xa4tine\x07", "the peer uses protocol version 7, this process version 3");
}

/* The HELLO of version 1, whole. */
test(version_1_is_refused_with_one_sentence) {
    char why[200] = "";
    tine_decoded d;
    static const uint8_t hello[] =
        "\x9a\x01\xa4tine\x01\xcd\x12\x34\xff\xa4host\xa0\xa0\x91\xa3neg\x90";
    tine_frame *f = tine_frame_new(sizeof hello - 1, 0);
    memcpy(f->header, hello, sizeof hello - 1);
    cr_expect_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_EPROTO);
    cr_expect_str_eq(why, "the peer uses protocol version 1, this process version 3");
    tine_frame_free(f);
}

test(hostile_headers_are_refused_with_a_reason) {
    REFUSE("", "the bytes end where a value is expected");
    REFUSE("GET / HTTP/1.1\r\n\r\n", "the header is not an array");
    REFUSE("\xdd\xff\x00\x00\x00", "items are announced");
    REFUSE("\xdf\xff\xff\xff\xff", "items are announced");
    REFUSE("\x92\x63\x00", "message type 99 is unknown");
    REFUSE("\x92\x00\x00", "message type 0 is unknown");
    REFUSE("\x92\x0e\xcf\xff\xff", "the bytes end inside a value");
    REFUSE("\x92\x0e\xd3\xff\xff\xff\xff\xff\xff\xff\xff", "a seq is not an unsigned integer");
    REFUSE("\x93\x0e\x01\x01", "has 2 entries, not 3");
    REFUSE("\x92\x0e\x01\x01", "1 bytes follow the end of the header");
    REFUSE("\x92\x09\xa2\xff\xff", "not UTF-8");
    REFUSE("\x92\x09\xa2\x00\x61", "holds a NUL");
    REFUSE("\x92\x09\xc0", "a rejection has no reason");
    REFUSE("\x92\x09\xdb\xff\xff\xff\xff", "bytes are announced");
    REFUSE("\x92\x0d\xdd\x00\x10\x00\x01", "items are announced");
    REFUSE("\x92\x05\xc1", "0xc1 begins no msgpack value");
    REFUSE("\x93\x01\xa4tins\x01", "does not begin with \"tine\"");
    REFUSE("\x92\x07\x00", "events have no body");
    REFUSE("\x92\x07\x00\xc0", "events have no body");
    REFUSE("\x92\x07\x01", "the bytes end where a value is expected");
    REFUSE("\x92\x07\x02", "the buffer of a body is missing");
    REFUSE("\x92\x07\x02\xc0", "1 bytes follow the end of the header");
    REFUSE("\x92\x07\x03\xc0", "the place of a body is 3, the most is 2");
    REFUSE("\x92\x07\xc0\xc0", "the place of a body is not an unsigned integer");
    REFUSE("\x95\x0b\x01\x01\xa1x\x00\xc0", "1 bytes follow the end of the header");
}

/* An EVENTS message around a body. */
static void refuse_body(const void *body, size_t n, tine_buffer *buffer, const char *reason) {
    char why[200] = "";
    tine_decoded d = {0};
    tine_frame *f = tine_frame_new(n + 3, buffer ? 1 : 0);
    memcpy(f->header, (const uint8_t[]){0x92, 7, 1}, 3);
    memcpy(f->header + 3, body, n);
    if (buffer) f->buffers[0] = tine_buffer_ref(buffer);
    cr_expect_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_EPROTO);
    cr_expect(strstr(why, reason), "it says: %s", why);
    tine_frame_free(f);
}
#define REFUSE_BODY(bytes, buffer, reason) refuse_body(bytes, sizeof(bytes) - 1, buffer, reason)

test(hostile_bodies_are_refused_with_a_reason) {
    tine_buffer *b = tine_buffer_new(12);
    REFUSE_BODY("", NULL, "the bytes end where a value is expected");
    REFUSE_BODY("\x01\x01", NULL, "follow the end of a body");
    REFUSE_BODY("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", NULL, "past 2^63 - 1");
    REFUSE_BODY("\xa1\xff", NULL, "a string is not UTF-8");
    REFUSE_BODY("\x81\x01\x01", NULL, "a key is not a string");
    REFUSE_BODY("\x82\xa1k\x01\xa1k\x01", NULL, "the key 'k' occurs twice");
    REFUSE_BODY("\xd4\x09\x00", NULL, "ext type 9 is unknown");
    REFUSE_BODY("\xc7\x04\x01\x93\x01\x00\x03", NULL, "buffer 0 is mentioned, there are 0");
    REFUSE_BODY("\xc7\x04\x01\x93\x01\x01\x03", b, "buffer 1 is mentioned, there are 1");
    REFUSE_BODY("\xc7\x04\x01\x93\x01\x00\x04", b, "a tensor of 16 bytes lies in a buffer of 12");
    REFUSE_BODY("\xc7\x04\x01\x93\x09\x00\x03", b, "a dtype is 9");
    REFUSE_BODY("\xc7\x04\x01\x93\x00\x00\x03", b, "unknown dtype");
    REFUSE_BODY("\xc7\x04\x01\x93\x01\x00\xff", b, "not an unsigned integer");
    REFUSE_BODY("\xc7\x15\x01\x94\x01\x00\xcf\x40\x00\x00\x00\x00\x00\x00\x00\xcf\x40\x00\x00\x00"
                "\x00\x00\x00\x00",
                b, "too many elements");
    REFUSE_BODY("\xc7\x0c\x01\x9b\x01\x00\x01\x01\x01\x01\x01\x01\x01\x01\x03", b,
                "an ext has 11 items, the most is 10");
    REFUSE_BODY("\xc7\x05\x01\x93\x01\x00\x03\x00", b, "follow the end of an ext");
    REFUSE_BODY("\xc0", b, "buffer 0 is never mentioned");
    REFUSE_BODY("\xc7\x02\x02\x91\x00", NULL, "an object's id is 0");
    REFUSE_BODY("\xc7\x02\x02\x91\x05", NULL, "the odd id of a module");
    REFUSE_BODY("\xc7\x04\x03\x92\x04\xa1x", NULL, "the even id of a value");
    char deep[66];
    memset(deep, 0x91, 65);
    deep[65] = (char)0xc0;
    refuse_body(deep, 66, NULL, "nest more than 64 deep");
    tine_buffer_unref(b);
}

test(a_frame_cut_anywhere_is_refused) {
    tine_value *v = tine_list("text", 1.5, tine_none());
    tine_message m = {TINE_MSG_TASK,
                      .task = 1,
                      .attempt = 1,
                      .epoch = 1,
                      .target = {.name = "neg"},
                      .payload = call_payload(v)};
    tine_frame *f = tine_wire_encode(&m);
    char why[100];
    tine_decoded d;
    for (uint32_t n = f->header_size; n-- > 0;) {
        f->header_size = n;
        tine_frame *cut = arrived(f);
        cr_expect_eq(tine_wire_decode(cut, &d, why, sizeof why), TINE_EPROTO, "%u bytes", n);
        tine_frame_free(cut);
    }
    tine_frame_free(f);
    tine_payload_unref(m.payload);
}

test(changed_bytes_never_do_harm) {
    tine_value *t = tine_ones(TINE_F32, 2, ((int64_t[]){2, 3})),
               *r = tine_module_ref(9, "lstm", NULL);
    tine_value *v = tine_dict_of((const char *[]){"a", "b"}, (tine_value *[]){t, r}, 2);
    tine_message m = {TINE_MSG_TASK, .task = 1, .attempt = 1, .target = {.name = "neg"},
                      .payload = call_payload(v)};
    tine_frame *f = tine_wire_encode(&m);
    uint64_t seed = 20261123;
    int accepted = 0;
    for (int i = 0; i < 200000; i++) {
        tine_decoded d = {0};
        char why[100];
        uint32_t at[2] = {(uint32_t)random_below(&seed, f->header_size),
                          (uint32_t)random_below(&seed, f->header_size)};
        uint8_t before[2] = {f->header[at[0]], f->header[at[1]]};
        f->header[at[0]] = (uint8_t)random_below(&seed, 256);
        f->header[at[1]] = (uint8_t)random_below(&seed, 256);
        tine_frame *changed = arrived(f);
        if (tine_wire_decode(changed, &d, why, sizeof why) == TINE_OK) {
            tine_arguments a = {0};
            accepted++;
            if (d.message.payload && d.message.type == TINE_MSG_TASK)
                cr_assert_eq(tine_payload_call(d.message.payload, NULL, &a), TINE_OK, "%s",
                             tine_error_message());
            tine_arguments_fini(&a);
            tine_decoded_fini(&d);
        }
        tine_frame_free(changed);
        f->header[at[1]] = before[1];
        f->header[at[0]] = before[0];
    }
    cr_assert_gt(accepted, 0);
    tine_frame_free(f);
    tine_payload_unref(m.payload);
    tine_release(t), tine_release(r);
}
