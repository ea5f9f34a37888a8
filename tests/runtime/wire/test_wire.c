/* The wire: every message and value comes back as it went out, and no bytes can do harm. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/api/future.h"
#include "runtime/wire/check.h"
#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"

#define test(name) Test(wire, name, .timeout = 60)

static uint64_t state = 20261123;
static uint64_t draw(uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
}

/* ---- values ---- */

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

/* ---- messages ---- */

static tine_payload *payload_of(tine_value *v) {
    tine_payload *p = NULL;
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_OK);
    tine_release(v);
    return p;
}

static tine_payload *call_payload(tine_value *v) {
    tine_payload *p = NULL;
    tine_arguments a = {0};
    cr_assert_eq(tine_arguments_make(&a, TINE_ARGS_(v)), TINE_OK);
    cr_assert_eq(tine_payload_of_call(&a, NULL, &p), TINE_OK);
    tine_arguments_fini(&a);
    tine_release(v);
    return p;
}

/* A frame with the same bytes and buffers, as a transport of another process makes it. */
static tine_frame *arrived(const tine_frame *f) {
    tine_frame *copy = tine_frame_new(f->header_size, f->n_buffers);
    memcpy(copy->header, f->header, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++) copy->buffers[i] = tine_buffer_ref(f->buffers[i]);
    return copy;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* The header is one msgpack array with as many items as it says. */
static void expect_whole_header(const tine_frame *f, bool has_body) {
    tine_walk w = {.p = f->header, .end = f->header + f->header_size};
    tine_token t;
    size_t n, inner;
    cr_assert(tine_walk_array(&w, "", SIZE_MAX, &n));
    for (; n > 0; n--) {
        cr_assert(tine_walk_next(&w, &t));
        for (inner = t.kind == TINE_TOKEN_ARRAY ? t.n : 0; inner > 0; inner--)
            cr_assert(tine_walk_next(&w, &t));
    }
    cr_expect_eq(w.p < w.end, has_body && t.u == 1);
}

static void expect_decoded(const tine_message *m, tine_frame *f) {
    char why[200] = "";
    tine_decoded d;
    expect_whole_header(f, m->payload);
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK, "type %d: %s", m->type, why);
    const tine_message *r = &d.message;
    cr_expect(r->type == m->type && r->status == m->status && r->attempt == m->attempt &&
              r->epoch == m->epoch);
    cr_expect(r->depth == m->depth && r->flags == m->flags && r->window == m->window &&
              r->task == m->task);
    cr_expect(r->seq == m->seq && r->run_ns == m->run_ns && r->clock == m->clock &&
              r->object == m->object && r->flow == m->flow && r->grace_ns == m->grace_ns);
    cr_expect(same_text(r->terms.name, m->terms.name) && r->terms.priority == m->terms.priority &&
              r->terms.retries == m->terms.retries &&
              r->terms.failure_retries == m->terms.failure_retries);
    cr_expect(same_text(r->terms.label, m->terms.label) && r->terms.worker == m->terms.worker);
    cr_expect(same_text(r->text, m->text) && same_text(r->target.name, m->target.name));
    cr_expect(same_text(r->target.method, m->target.method) &&
              r->target.object == m->target.object);
    cr_expect_eq(r->n_ids, m->n_ids);
    for (size_t i = 0; i < m->n_ids; i++) cr_expect_eq(r->ids[i], m->ids[i]);
    cr_expect_eq(r->payload != NULL, m->payload != NULL);
    if (m->payload) {
        const tine_payload *p = m->payload, *q = r->payload;
        cr_expect_eq(q->body_size, p->body_size);
        cr_expect(memcmp(q->body, p->body, p->body_size) == 0);
        cr_expect_eq(tine_payload_tensors(q), tine_payload_tensors(p));
        cr_expect_eq(tine_payload_bytes(q), tine_payload_bytes(p));
        cr_assert_eq(q->n_refs, p->n_refs);
        for (uint32_t i = 0; i < p->n_refs; i++) cr_expect_eq(q->refs[i], p->refs[i]);
    }
    tine_payload *kept = tine_payload_ref(d.message.payload);
    tine_decoded_fini(&d);
    tine_frame_free(f);
    tine_payload_unref(kept);
}

/* By way of another process, and handed over inside this one. */
static void expect_message(const tine_message *m) {
    tine_frame *f = tine_wire_encode(m);
    cr_assert_not_null(f);
    expect_decoded(m, arrived(f));
    expect_decoded(m, f);
    tine_payload_unref(m->payload);
}
#define MESSAGE(...) expect_message(&(const tine_message){__VA_ARGS__})

test(messages_come_back) {
    const uint64_t ids[] = {5, 0, UINT64_MAX, 77};
    tine_value *o = tine_module_ref(3, "lstm", NULL);
    tine_target function = {.name = "neg"}, method = {"lstm", "forward", 3};
    MESSAGE(TINE_MSG_DONE, .task = 70000, .attempt = 1, .epoch = 2, .seq = 4, .run_ns = 123456789,
            .payload = payload_of(tine_int(4)));
    MESSAGE(TINE_MSG_DONE, .task = 7, .attempt = 1, .epoch = 2, .status = TINE_EFAILED,
            .text = "it läuft nicht");
    MESSAGE(TINE_MSG_SUSPEND, .ids = ids, .n_ids = 4);
    MESSAGE(TINE_MSG_SUSPEND, .n_ids = 0);
    MESSAGE(TINE_MSG_SUBMIT, .seq = 3, .task = 4, .target = function, .flags = 1,
            .payload = call_payload(tine_ones(TINE_F32, 1, (int64_t[]){3})));
    MESSAGE(TINE_MSG_FETCH, .object = UINT64_MAX);
    MESSAGE(TINE_MSG_PONG, .seq = 1, .clock = 1ull << 60, .memory = 1 << 30);
    MESSAGE(TINE_MSG_EVENTS, .payload = payload_of(tine_list(1, 2)));
    MESSAGE(TINE_MSG_WELCOME, .epoch = 3, .window = 4096, .flags = 1);
    MESSAGE(TINE_MSG_REJECT, .text = "no");
    MESSAGE(TINE_MSG_TASK, .task = 1, .attempt = 1, .epoch = 1, .depth = 1000, .flow = 5,
            .target = method, .payload = call_payload(o));
    MESSAGE(TINE_MSG_RESULT, .seq = 9, .payload = payload_of(tine_none()));
    MESSAGE(TINE_MSG_RESULT, .seq = 9, .status = TINE_ELOST, .text = "gone");
    MESSAGE(TINE_MSG_CREDIT, .window = 17);
    MESSAGE(TINE_MSG_DROP, .ids = ids, .n_ids = 4);
    MESSAGE(TINE_MSG_PING, .seq = 1);
    MESSAGE(TINE_MSG_TRACE, .flags = 2);
    MESSAGE(TINE_MSG_STOP, .n_ids = 0);
    MESSAGE(TINE_MSG_OBJECT, .object = 3, .task = 8, .text = "lstm",
            .payload = call_payload(tine_int(4)));
    MESSAGE(TINE_MSG_OBJECT, .object = 2, .payload = payload_of(tine_int(4)));
    MESSAGE(TINE_MSG_OBJECT, .object = 2, .status = TINE_EINVAL, .text = "no such object");
    MESSAGE(TINE_MSG_HOLD, .ids = ids, .n_ids = 4);
    MESSAGE(TINE_MSG_RELEASE, .ids = ids, .n_ids = 1);
    MESSAGE(TINE_MSG_CANCEL, .task = 70000, .seq = 9, .grace_ns = UINT64_MAX);
    MESSAGE(TINE_MSG_YIELD, .task = 5, .attempt = 2, .epoch = 1, .item = 70000,
            .payload = payload_of(tine_int(4)));
    MESSAGE(TINE_MSG_YIELD, .seq = 5, .item = 1);
    MESSAGE(TINE_MSG_PULL, .task = 4, .seq = 5, .item = UINT64_MAX);
    MESSAGE(TINE_MSG_SUBMIT_WITH, .seq = 3, .task = 4, .target = method, .flags = 1,
            .terms = {"a name", "a label", 9, INT32_MIN, 7, UINT32_MAX, 8},
            .payload = call_payload(tine_int(1)));
    MESSAGE(TINE_MSG_OBSERVE, .seq = 3, .flags = TINE_OBSERVE_CANCEL, .task = 70000, .epoch = 2);
    MESSAGE(TINE_MSG_SNAPSHOT, .seq = 3, .payload = payload_of(tine_list("pid", 7)));
    MESSAGE(TINE_MSG_SNAPSHOT, .seq = 4, .text = "no", .payload = payload_of(tine_none()));
    MESSAGE(TINE_MSG_SUBMIT_WITH, .seq = 3, .task = 4, .target = function, .terms = {.priority = 5},
            .payload = call_payload(tine_int(1)));
}

test(hello_comes_back) {
    const char *functions[] = {"neg", "", "päckchen"}, *classes[] = {"lstm"},
               *labels[] = {"big", "left"};
    const tine_hello h = {.version = TINE_PROTOCOL_VERSION,
                          .pid = 4711,
                          .rank = -1,
                          .host = "host",
                          .token = "secret",
                          .kernel = "avx512",
                          .functions = functions,
                          .classes = classes,
                          .labels = labels,
                          .n_functions = 3,
                          .n_classes = 1,
                          .n_labels = 2};
    const tine_message m = {TINE_MSG_HELLO, .hello = &h};
    char why[100];
    tine_decoded d;
    tine_frame *f = tine_wire_encode(&m);
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK);
    tine_frame_free(f);
    const tine_hello *r = d.message.hello;
    cr_assert(r->version == TINE_PROTOCOL_VERSION && r->pid == 4711 && r->rank == -1 &&
              r->n_functions == 3 && r->n_classes == 1 && r->n_labels == 2);
    cr_assert_str_eq(r->host, "host");
    cr_assert_str_eq(r->token, "secret");
    cr_assert_str_eq(r->kernel, "avx512");
    for (int i = 0; i < 3; i++) cr_assert_str_eq(r->functions[i], functions[i]);
    cr_assert_str_eq(r->classes[0], "lstm");
    cr_assert_str_eq(r->labels[1], "left");
    tine_decoded_fini(&d);
    tine_decoded_fini(&d);
}

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
    REFUSE("", "the bytes end where a value is due");
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
    REFUSE("\x92\x07\x01", "the bytes end where a value is due");
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
    REFUSE_BODY("", NULL, "the bytes end where a value is due");
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
    int accepted = 0;
    for (int i = 0; i < 200000; i++) {
        tine_decoded d = {0};
        char why[100];
        uint32_t at[2] = {(uint32_t)draw(f->header_size), (uint32_t)draw(f->header_size)};
        uint8_t before[2] = {f->header[at[0]], f->header[at[1]]};
        f->header[at[0]] = (uint8_t)draw(256);
        f->header[at[1]] = (uint8_t)draw(256);
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

test(an_error_text_that_is_not_utf8_is_sent_legibly) {
    const tine_message m = {TINE_MSG_REJECT, .text = "caf\xe9 closed"};
    char why[100];
    tine_decoded d;
    tine_frame *f = tine_wire_encode(&m);
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK);
    cr_assert_str_eq(d.message.text, "caf? closed");
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

test(a_scalar_task_is_a_few_dozen_bytes) {
    tine_message m = {TINE_MSG_TASK,
                      .task = 1000000,
                      .attempt = 1,
                      .epoch = 3,
                      .depth = 20,
                      .target = {.name = "fib"},
                      .payload = call_payload(tine_int(20))};
    tine_frame *f = tine_wire_encode(&m);
    cr_assert_leq(f->header_size, 40, "%u bytes", f->header_size);
    tine_frame_free(f);
    tine_payload_unref(m.payload);
}

/* ---- frames and payloads are one ---- */

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

test(many_ids_come_back) {
    static uint64_t ids[20000];
    for (size_t i = 0; i < 20000; i++) ids[i] = i * i * i;
    for (size_t n = 7; n < 20000; n = 3 * n - 12) MESSAGE(TINE_MSG_DROP, .ids = ids, .n_ids = n);
}

static void expect_bytes(const tine_message *m, const char *hex) {
    tine_frame *f = tine_wire_encode(m);
    char text[200] = "", *to = text;
    for (uint32_t i = 0; i < f->header_size; i++) to += sprintf(to, " %02x", f->header[i]);
    cr_expect_str_eq(text + 1, hex);
    tine_frame_free(f);
    tine_payload_unref(m->payload);
}

/* WIRE.md, "Example". */
test(the_example_of_the_text_is_true) {
    tine_value *x = tine_ones(TINE_F32, 2, ((int64_t[]){2, 3}));
    expect_bytes(&(tine_message){TINE_MSG_TASK, .task = 7, .attempt = 1, .epoch = 1,
                                 .target = {.name = "neg"}, .payload = call_payload(tine_ref(x))},
                 "9b 0a 07 01 01 00 00 a3 6e 65 67 c0 00 00 01 92 91 c7 05 01 94 01 00 02 03 80");
    expect_bytes(&(tine_message){TINE_MSG_DONE, .task = 7, .attempt = 1, .epoch = 1,
                                 .run_ns = 1000000, .payload = payload_of(x)},
                 "9a 02 07 01 01 00 ce 00 0f 42 40 00 c0 00 01 c7 05 01 94 01 00 02 03");
}
