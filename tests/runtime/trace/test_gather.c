/* Gathered events become one trace file: one clock for all processes, and events of a peer that are
 * cut off, in conflict or invalid. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/traces.h"

Test(gather, events_are_shown_on_one_clock, .timeout = 20) {
    tine_trace_stored here[] = {stored(TINE_TRACE_FORK, 5000000, 5001500, "f"),
                                stored(TINE_TRACE_FLOW_START, 5000100, 1, "f")};
    tine_trace_stored there[] = {stored(TINE_TRACE_RUN, 905002000, 905009000, "f"),
                                 stored(TINE_TRACE_FLOW_STEP, 905002001, 1, "f")};
    tine_payload *a = batch(here, N(here)), *b = batch(there, N(there));
    tine_trace_process processes[] = {
        {.name = "coordinator", .events = &a, .n_events = 1},
        {.name = "worker", .events = &b, .n_events = 1, .offset_ns = 900000000}};
    trace t = write_and_check(processes, 2);
    cr_assert_eq(t.n_slices, 2);
    cr_expect(t.slices[1].begin > 1.999 && t.slices[1].begin < 2.001, "%f", t.slices[1].begin);
    cr_expect_eq(t.slices[1].pid, 2);
    cr_expect_eq(count(&t, 's', NULL), 1);
    cr_expect_eq(count(&t, 'f', NULL), 1);
    trace_close(&t);
    tine_payload_unref(a);
    tine_payload_unref(b);
}

Test(gather, slices_that_overlap_in_part_are_shortened_and_counted, .timeout = 20) {
    tine_trace_stored records[] = {
        stored(TINE_TRACE_RUN, 1000, 5000, "a"), stored(TINE_TRACE_SEND, 4000, 9000, "b"),
        stored(TINE_TRACE_RUN, 5000, 6000, "c"), stored(TINE_TRACE_RUN, 5500, 5500, "d"),
        stored(TINE_TRACE_RUN, 6000, 8000, "e"), stored(TINE_TRACE_RUN, 7000, 12000, "f")};
    tine_payload *p = batch(records, N(records));
    trace t = write_and_check(&(tine_trace_process){.name = "x", .events = &p, .n_events = 1}, 1);
    cr_expect_eq(t.n_slices, 6);
    cr_expect_str_eq(string_of(json_object_object_get(t.root, "otherData"), "slices clipped"), "2");
    trace_close(&t);
    tine_payload_unref(p);
}

Test(gather, flows_and_waits_with_one_end_are_left_out, .timeout = 20) {
    tine_trace_stored records[] = {stored(TINE_TRACE_FORK, 1000, 2000, "f"),
                                   stored(TINE_TRACE_FLOW_START, 1500, 1, "f"),
                                   stored(TINE_TRACE_FLOW_START, 1600, 2, "f"),
                                   stored(TINE_TRACE_FLOW_END, 9000, 2, "outside"),
                                   stored(TINE_TRACE_ASYNC_BEGIN, 1700, 3, "f"),
                                   stored(TINE_TRACE_ASYNC_END, 1800, 4, "f"),
                                   stored(TINE_TRACE_FLOW_END, 1900, 5, "loop")};
    tine_payload *p = batch(records, N(records));
    trace t = write_and_check(&(tine_trace_process){.name = "x", .events = &p, .n_events = 1}, 1);
    cr_expect_eq(t.n_points, 0);
    trace_close(&t);
    tine_payload_unref(p);
}

Test(gather, names_are_escaped_and_made_utf8, .timeout = 20) {
    tine_trace_stored records[] = {stored(TINE_TRACE_RUN, 1000, 2000, "a\"b\\c\nd"),
                                   stored(TINE_TRACE_RUN, 3000, 4000, "gr\xc3\xbc\xc3"),
                                   stored(TINE_TRACE_RUN, 5000, 6000, "\xed\xa0\x80")};
    tine_payload *p = batch(records, N(records));
    trace t =
        write_and_check(&(tine_trace_process){.name = "pro\"cess", .events = &p, .n_events = 1}, 1);
    cr_expect_str_eq(t.slices[0].name, "a\"b\\c\nd");
    cr_expect_str_eq(t.slices[1].name, "gr\xc3\xbc?");
    cr_expect_str_eq(t.slices[2].name, "???");
    trace_close(&t);
    tine_payload_unref(p);
}

/* Every byte of a payload changed, and every length: never a crash, and what comes out is a trace
 * that passes all checks. */
Test(gather, invalid_payloads_of_a_peer_are_left_out, .timeout = 60) {
    tine_trace_stored records[] = {stored(TINE_TRACE_RUN, 1000, 2000, "f"),
                                   stored(TINE_TRACE_FLOW_STEP, 1500, 1, "f"),
                                   stored(TINE_TRACE_ASYNC_BEGIN, 1600, 1, "f")};
    tine_payload *good = batch(records, N(records));
    size_t refused = 0, tried = 0;
    for (size_t i = 0; i < good->body_size; i++) {
        for (int how = 0; how < 3; how++) {
            size_t size = how == 2 ? i : good->body_size;
            tine_payload *p = tine_payload_new(size, 0, 0);
            memcpy(p->body, good->body, size);
            if (how < 2) p->body[i] ^= how ? 0xff : 0x01;
            tine_trace_batch b = {0};
            tried++;
            if (tine_trace_batch_read(&b, p) != TINE_OK) refused++;
            tine_trace_batch_fini(&b);
            trace t =
                write_and_check(&(tine_trace_process){.name = "x", .events = &p, .n_events = 1}, 1);
            trace_close(&t);
            tine_payload_unref(p);
        }
    }
    cr_expect(refused > good->body_size && refused < tried, "%zu of %zu", refused, tried);
    tine_payload_unref(good);
}

Test(gather, a_file_that_cannot_be_written_is_an_error, .timeout = 20) {
    cr_expect_eq(tine_trace_export("/no/such/directory/trace.json", NULL, 0, 0), TINE_EIO);
    cr_expect_not_null(strstr(tine_error_message(), "/no/such/directory/trace.json"));
    cr_expect_eq(tine_trace_export("/dev/full/x", NULL, 0, 0), TINE_EIO);
}

Test(gather, no_process_is_an_empty_trace, .timeout = 20) {
    trace t = write_and_check(NULL, 0);
    cr_expect_eq(t.n_slices + t.n_points, 0);
    trace_close(&t);
}

/* ---- clocks ---- */

Test(gather, the_shortest_round_trip_gives_the_offset, .timeout = 20) {
    tine_clock c = {0};
    int64_t offset, error, truth = 123456789;
    cr_expect(!tine_clock_estimate(&c, 0, &offset, &error));
    srand(1);
    for (int i = 0; i < 100; i++) {
        int64_t sent = 1000000000 + i * 1000000, there = 5000 + rand() % 400000,
                back = 5000 + rand() % 400000;
        tine_clock_add(&c, sent, sent + there + truth, sent + there + back);
        cr_assert(tine_clock_estimate(&c, sent + there + back, &offset, &error));
        cr_expect(llabs(offset - truth) <= error + 1, "off by %lld, said %lld",
                  (long long)(offset - truth), (long long)error);
    }
    cr_expect(error < 200000);
}

Test(gather, impossible_clocks_are_ignored, .timeout = 20) {
    tine_clock c = {0};
    tine_clock_add(&c, 100, 50, 99);
    tine_clock_add(&c, 100, INT64_MAX, 200);
    tine_clock_add(&c, -5, 50, 99);
    cr_expect_eq(c.n, 0);
}

Test(gather, an_old_sample_is_replaced_for_its_drift, .timeout = 20) {
    tine_clock c = {0};
    int64_t offset, error;
    tine_clock_add(&c, 0, 1000, 1000);
    tine_clock_add(&c, 10000000000, 10000000000 + 700000, 10000000000 + 100000);
    cr_assert(tine_clock_estimate(&c, 10000100000, &offset, &error));
    cr_expect_eq(offset, 650000, "the sample of 1 us is 10 s old, worth 500 us of drift");
}
