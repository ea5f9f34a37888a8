/* Messages: each comes back as it was sent, and has the bytes that WIRE.md shows. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/messages.h"

#define test(name) Test(messages, name, .timeout = 60)

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
    MESSAGE(TINE_MSG_PONG, .seq = 1, .clock = 1ull << 60, .memory = 1 << 30, .received = 7,
            .sent = 1ull << 40, .ids = (const uint64_t[]){0, 5}, .n_ids = 2);
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
            .terms = &(tine_terms){.name = "a name",
                                   .label = "a label",
                                   .resources = "gpu=2",
                                   .worker = 9,
                                   .priority = INT32_MIN,
                                   .retries = 7,
                                   .failure_retries = UINT32_MAX,
                                   .stream = 8},
            .payload = call_payload(tine_int(1)));
    MESSAGE(TINE_MSG_OBSERVE, .seq = 3, .flags = TINE_OBSERVE_CANCEL, .task = 70000, .epoch = 2);
    MESSAGE(TINE_MSG_SNAPSHOT, .seq = 3, .payload = payload_of(tine_list("pid", 7)));
    MESSAGE(TINE_MSG_SNAPSHOT, .seq = 4, .text = "no", .payload = payload_of(tine_none()));
    MESSAGE(TINE_MSG_DEMAND, .seq = 70000, .attempt = 3);
    MESSAGE(TINE_MSG_REACH, .seq = UINT64_MAX, .text = "tcp://10.0.0.2:7000");
    MESSAGE(TINE_MSG_REACH, .object = 6, .seq = 7);
    MESSAGE(TINE_MSG_LEAVE, .ids = ids, .n_ids = 3);
    MESSAGE(TINE_MSG_LEAVE, .n_ids = 0);
    MESSAGE(TINE_MSG_PASS, .ids = ids, .n_ids = 4);
    MESSAGE(TINE_MSG_DONE_PASSED, .task = 7, .attempt = 1, .epoch = 2, .run_ns = 5, .object = 20,
            .ids = ids, .n_ids = 3, .payload = payload_of(tine_int(4)));
    MESSAGE(TINE_MSG_SUBMIT_WITH, .seq = 3, .task = 4, .target = function,
            .terms = &(tine_terms){.priority = 5}, .payload = call_payload(tine_int(1)));
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
                          .slots = "gpu=2,disk",
                          .n_functions = 3,
                          .n_classes = 1,
                          .n_labels = 2};
    const tine_message m = {TINE_MSG_HELLO, .hello = &h};
    char why[100];
    tine_decoded d;
    tine_frame *f = tine_wire_encode(&m);
    cr_assert_eq(tine_wire_decode(f, &d, why, sizeof why), TINE_OK);
    const tine_hello *r = d.message.hello;
    cr_assert(r->version == TINE_PROTOCOL_VERSION && r->pid == 4711 && r->rank == -1 &&
              r->n_functions == 3 && r->n_classes == 1 && r->n_labels == 2);
    cr_assert_str_eq(r->host, "host");
    cr_assert_str_eq(r->token, "secret");
    cr_assert_str_eq(r->kernel, "avx512");
    for (int i = 0; i < 3; i++) cr_assert_str_eq(r->functions[i], functions[i]);
    cr_assert_str_eq(r->classes[0], "lstm");
    cr_assert_str_eq(r->labels[1], "left");
    cr_assert_str_eq(r->slots, "gpu=2,disk");
    tine_decoded_fini(&d);
    tine_decoded_fini(&d);
    tine_frame_free(f);
}

/* The header of a message whose only other byte is its type. */
static void expect_size(tine_message m, size_t size) {
    tine_frame *f = tine_wire_encode(&m);
    cr_expect_eq(f->header_size, 2 + size, "%u bytes", f->header_size);
    tine_frame_free(f);
    expect_message(&m);
}

test(numbers_and_texts_have_the_shortest_form) {
    const uint64_t most[] = {0x7f, 0xff, 0xffff, 0xffffffff, UINT64_MAX};
    const size_t sizes[] = {1, 2, 3, 5, 9}, texts[] = {31, 0xff, 0xffff, 0x10000},
                 heads[] = {1, 2, 3, 5}, lists[] = {15, 0xffff, 0x10000}, list_heads[] = {1, 3, 5};
    static char text[0x10001];
    static uint64_t ids[0x10000];
    for (int i = 0; i < 5; i++) {
        expect_size((tine_message){TINE_MSG_FETCH, .object = most[i]}, sizes[i]);
        if (i < 4) expect_size((tine_message){TINE_MSG_FETCH, .object = most[i] + 1}, sizes[i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        memset(text, 'x', texts[i]);
        text[texts[i]] = 0;
        expect_size((tine_message){TINE_MSG_REJECT, .text = text}, heads[i] + texts[i]);
    }
    for (int i = 0; i < 3; i++)
        expect_size((tine_message){TINE_MSG_DROP, .ids = ids, .n_ids = lists[i]},
                    list_heads[i] + lists[i]);
}

test(numbers_with_a_sign_come_back) {
    const int32_t of[] = {0,   -1,  -32,    -33,   -128,      -129,     -32768,
                          127, 128, -32769, 32767, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        MESSAGE(TINE_MSG_SUBMIT_WITH, .target = {.name = "neg"},
                .terms = &(tine_terms){.priority = of[i]}, .payload = call_payload(tine_int(1)));
}

test(many_ids_come_back) {
    static uint64_t ids[20000];
    for (size_t i = 0; i < 20000; i++) ids[i] = i * i * i;
    for (size_t n = 7; n < 20000; n = 3 * n - 12) MESSAGE(TINE_MSG_DROP, .ids = ids, .n_ids = n);
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
