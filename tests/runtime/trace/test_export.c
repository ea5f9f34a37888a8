/* What a trace file shows beyond single events: bytes, the program's own calls, the last seconds,
 * what tine_trace_stop leaves, and the same in Perfetto's format, whose messages are decoded here
 * with the field numbers of perfetto_trace.proto. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/traces.h"

/* Writes the records, and returns the file's content. */
static char *exported(const tine_trace_stored *records, size_t n, const char *suffix,
                      int64_t last_ns, size_t *size) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/tine-test-export-XXXXXX%s", suffix);
    close(mkstemps(path, (int)strlen(suffix)));
    tine_payload *p = batch(records, n);
    tine_trace_process process = {.name = "w\xff", .events = &p, .n_events = 1};
    cr_assert_eq(tine_trace_export(path, &process, 1, last_ns), TINE_OK, "%s",
                 tine_error_message());
    FILE *f = fopen(path, "rb");
    char *data = calloc(1, 1 << 20);
    *size = fread(data, 1, (1 << 20) - 1, f);
    fclose(f);
    unlink(path);
    tine_payload_unref(p);
    return data;
}

/* ---- Perfetto ---- */

typedef struct reader {
    const uint8_t *p, *end;
} reader;

typedef struct field {
    unsigned number;
    uint64_t value; /* a number, or the length of `bytes` */
    const uint8_t *bytes;
} field;

static uint64_t varint(reader *r) {
    uint64_t x = 0;
    for (int shift = 0;; shift += 7) {
        cr_assert(r->p < r->end && shift < 64, "a number is cut off");
        x |= (uint64_t)(*r->p & 127) << shift;
        if (!(*r->p++ & 128)) return x;
    }
}

static bool next_field(reader *r, field *f) {
    if (r->p == r->end) return false;
    uint64_t tag = varint(r);
    *f = (field){.number = (unsigned)(tag >> 3)};
    switch (tag & 7) {
    case 0: f->value = varint(r); return true;
    case 1:
        cr_assert(r->end - r->p >= 8);
        memcpy(&f->value, r->p, 8);
        r->p += 8;
        return true;
    default: cr_assert_eq(tag & 7, 2, "wire type %d", (int)(tag & 7));
    }
    f->value = varint(r);
    cr_assert(f->value <= (uint64_t)(r->end - r->p), "a message is cut off");
    f->bytes = r->p;
    r->p += f->value;
    return true;
}

static bool find(const field *message, unsigned number, field *out) {
    reader r = {message->bytes, message->bytes + message->value};
    while (next_field(&r, out))
        if (out->number == number) return true;
    return false;
}

static uint64_t number_in(const field *message, unsigned number) {
    field f;
    return find(message, number, &f) ? f.value : 0;
}

/* One line per packet: "track T thread main", "TS begin NAME flow F bytes B". */
static char *perfetto_text(const char *data, size_t size) {
    reader r = {(const uint8_t *)data, (const uint8_t *)data + size};
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    field packet, track, event, part, inner;
    while (next_field(&r, &packet)) {
        cr_assert_eq(packet.number, 1);
        cr_assert_eq(number_in(&packet, 10), 1, "each packet has its sequence");
        if (find(&packet, 60, &track)) {
            if (find(&track, 3, &part) && find(&part, 6, &inner))
                fprintf(out, "process %.*s\n", (int)inner.value, (const char *)inner.bytes);
            if (find(&track, 4, &part) && find(&part, 5, &inner))
                fprintf(out, "thread %.*s\n", (int)inner.value, (const char *)inner.bytes);
            if (find(&track, 2, &inner))
                fprintf(out, "track %.*s\n", (int)inner.value, (const char *)inner.bytes);
        }
        if (!find(&packet, 11, &event)) continue;
        static const char *const types[] = {"?", "begin", "end", "instant"};
        fprintf(out, "%d %s", (int)number_in(&packet, 8), types[number_in(&event, 9) & 3]);
        if (find(&event, 23, &part))
            fprintf(out, " %.*s", (int)part.value, (const char *)part.bytes);
        if (find(&event, 47, &part)) fprintf(out, " flow %d", (int)part.value);
        if (find(&event, 48, &part)) fprintf(out, " last of flow %d", (int)part.value);
        if (find(&event, 4, &part)) fprintf(out, " bytes %d", (int)number_in(&part, 3));
        fputc('\n', out);
    }
    fclose(out);
    return text;
}

Test(export, perfetto_has_the_same_slices_flows_and_waits, .timeout = 20) {
    tine_trace_stored records[] = {
        stored(TINE_TRACE_FORK, 1000, 2000, "f"),   stored(TINE_TRACE_FLOW_START, 1500, 7, "f"),
        stored(TINE_TRACE_RUN, 3000, 6000, "f"),    stored(TINE_TRACE_FLOW_STEP, 6000, 7, "f"),
        stored(TINE_TRACE_SEND, 4000, 5500, "x"),   stored(TINE_TRACE_ASYNC_BEGIN, 6000, 9, "f"),
        stored(TINE_TRACE_ASYNC_END, 7000, 9, "f"), stored(TINE_TRACE_WAIT, 6500, 8000, "wait"),
        stored(TINE_TRACE_FLOW_END, 7900, 7, ""),   stored(TINE_TRACE_INSTANT, 9000, 0, "died"),
    };
    records[4].bytes = 300;
    size_t size;
    char *data = exported(records, N(records), ".pftrace", 0, &size);
    char *text = perfetto_text(data, size);
    cr_expect_str_eq(text, "process w?\n"
                           "thread main\n"
                           "0 begin fork f flow 7\n"
                           "1000 end\n"
                           "2000 begin f flow 7\n"
                           "track suspended\n"
                           "5000 begin f\n"
                           "3000 begin send x bytes 300\n"
                           "4500 end\n"
                           "5000 end\n"
                           "6000 end\n"
                           "6900 instant task last of flow 7\n"
                           "8000 instant died\n"
                           "5500 begin wait\n"
                           "7000 end\n");
    free(text);
    free(data);
}

/* ---- the last seconds ---- */

Test(export, only_the_last_seconds_are_written_if_asked, .timeout = 20) {
    tine_trace_stored records[] = {stored(TINE_TRACE_RUN, 1000, 2000, "early"),
                                   stored(TINE_TRACE_RUN, 3000, 6000, "across"),
                                   stored(TINE_TRACE_RUN, 8000, 9000, "late")};
    size_t size;
    char *all = exported(records, N(records), ".json", 0, &size);
    char *last = exported(records, N(records), ".json", 4000, &size);
    cr_expect(strstr(all, "early") && strstr(all, "across") && strstr(all, "late"));
    cr_expect(!strstr(last, "early") && strstr(last, "across") && strstr(last, "late"), "%s", last);
    free(all);
    free(last);
}

/* ---- a real run ---- */

TINE_FUNCTION(export_twice, "x") { return tine_call("add", tine_arg(task, 0), tine_arg(task, 0)); }

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    char *data = calloc(1, 1 << 20);
    cr_assert(f && fread(data, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return data;
}

static int64_t most_bytes(const char *data, const char *name) {
    json_object *root = json_tokener_parse(data), *bytes;
    json_object *events = json_object_object_get(root, "traceEvents");
    int64_t most = -1;
    for (size_t i = 0; i < json_object_array_length(events); i++) {
        json_object *e = json_object_array_get_idx(events, i);
        if (strcmp(json_object_get_string(json_object_object_get(e, "name")), name) != 0) continue;
        json_object *args = json_object_object_get(e, "args");
        int64_t n =
            json_object_object_get_ex(args, "bytes", &bytes) ? json_object_get_int64(bytes) : 0;
        if (n > most) most = n;
    }
    json_object_put(root);
    return most;
}

static tine_value *ones(void) {
    float *x = malloc(10000 * sizeof *x);
    for (int i = 0; i < 10000; i++) x[i] = 1;
    tine_value *v = tine_tensor(TINE_F32, 1, &(int64_t){10000}, x);
    free(x);
    return v;
}

Test(export, bytes_and_calls_are_shown_until_recording_stops, .timeout = 60) {
    char path[] = "/tmp/tine-test-export-XXXXXX";
    close(mkstemp(path));
    cluster_start(NULL, 1);
    cr_assert_eq(tine_trace_stop(), TINE_OK);
    cr_assert_eq(tine_trace_start(), TINE_OK);
    tine_value *v;
    cr_assert_eq(tine_wait(tine_fork("export_twice", ones()), &v), TINE_OK);
    cr_assert_not_null(tine_call("export_twice", ones()));
    cr_assert_eq(tine_trace_stop(), TINE_OK);
    cr_assert_not_null(tine_call("neg", ones()));
    cr_assert_eq(tine_wait(tine_fork("neg", ones()), &v), TINE_OK);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    cluster_stop();
    char *data = read_file(path);
    unlink(path);
    cr_expect_geq(most_bytes(data, "decode export_twice"), 40000);
    cr_expect_geq(most_bytes(data, "encode result"), 40000);
    cr_expect_geq(most_bytes(data, "send TASK"), 40000);
    cr_expect_geq(most_bytes(data, "receive DONE"), 40000);
    cr_expect_not_null(strstr(data, "\"name\":\"export_twice\",\"cat\":\"call\""));
    cr_expect_null(strstr(data, "neg"), "recording was stopped");
    free(data);
}
