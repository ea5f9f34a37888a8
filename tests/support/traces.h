/* Recorded events for tests, and the trace file that they become: it is read back with json-c and
 * checked: slices of a thread nest, a flow has a start and an end, each inside a slice, times are
 * sorted. */
#ifndef TINE_TESTS_SUPPORT_TRACES_H
#define TINE_TESTS_SUPPORT_TRACES_H

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/trace/format.h"
#include "runtime/trace/trace.h"

#define N(a) (sizeof(a) / sizeof *(a))

typedef struct slice {
    int pid, tid;
    double begin, end;
    char name[64];
} slice;

typedef struct point { /* a flow or async event */
    char phase, id[40];
    int pid, tid;
    double ts;
} point;

typedef struct trace {
    json_object *root, *events;
    slice *slices;
    point *points;
    size_t n_slices, n_points;
} trace;

static inline const char *string_of(json_object *o, const char *key) {
    json_object *v = json_object_object_get(o, key);
    return v ? json_object_get_string(v) : "";
}

static inline double number_of(json_object *o, const char *key) {
    return json_object_get_double(json_object_object_get(o, key));
}

static inline trace trace_read(const char *path) {
    trace t = {.root = json_object_from_file(path)};
    cr_assert_not_null(t.root, "the file is not JSON: %s", json_util_get_last_err());
    t.events = json_object_object_get(t.root, "traceEvents");
    size_t n = json_object_array_length(t.events);
    t.slices = calloc(n + 1, sizeof *t.slices);
    t.points = calloc(n + 1, sizeof *t.points);
    double before = 0;
    for (size_t i = 0; i < n; i++) {
        json_object *e = json_object_array_get_idx(t.events, i);
        char phase = string_of(e, "ph")[0];
        if (phase == 'M') continue;
        double ts = number_of(e, "ts");
        cr_assert(ts >= before, "sorted: %f after %f", ts, before);
        before = ts;
        if (phase == 'X') {
            slice *s = &t.slices[t.n_slices++];
            *s = (slice){(int)number_of(e, "pid"), (int)number_of(e, "tid"), ts,
                         ts + number_of(e, "dur"), ""};
            snprintf(s->name, sizeof s->name, "%s", string_of(e, "name"));
        } else {
            point *p = &t.points[t.n_points++];
            *p = (point){phase, "", (int)number_of(e, "pid"), (int)number_of(e, "tid"), ts};
            snprintf(p->id, sizeof p->id, "%s", string_of(e, "id"));
        }
    }
    return t;
}

static inline void trace_close(trace *t) {
    json_object_put(t->root);
    free(t->slices);
    free(t->points);
}

/* Nanoseconds are written with three decimals of a microsecond; doubles carry them well enough to a
 * tenth of one. */
static const double eps = 1e-4;

static inline void check_nesting(const trace *t) {
    for (size_t i = 0; i < t->n_slices; i++) {
        for (size_t k = 0; k < i; k++) {
            const slice *a = &t->slices[k], *b = &t->slices[i];
            if (a->pid != b->pid || a->tid != b->tid) continue;
            bool apart = a->end <= b->begin + eps || b->end <= a->begin + eps;
            bool inside = (b->begin + eps >= a->begin && b->end <= a->end + eps) ||
                          (a->begin + eps >= b->begin && a->end <= b->end + eps);
            cr_assert(apart || inside, "%s [%f %f] and %s [%f %f] overlap in part", a->name,
                      a->begin, a->end, b->name, b->begin, b->end);
        }
    }
}

static inline size_t count(const trace *t, char phase, const char *id) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_points; i++)
        n += t->points[i].phase == phase && (!id || strcmp(t->points[i].id, id) == 0);
    return n;
}

static inline const slice *around(const trace *t, const point *p) {
    for (size_t i = 0; i < t->n_slices; i++) {
        const slice *s = &t->slices[i];
        if (s->pid == p->pid && s->tid == p->tid && s->begin <= p->ts + eps &&
            p->ts <= s->end + eps)
            return s;
    }
    return NULL;
}

static inline void check_flows(const trace *t) {
    for (size_t i = 0; i < t->n_points; i++) {
        const point *p = &t->points[i];
        if (!strchr("stf", p->phase)) continue;
        cr_assert_eq(count(t, 's', p->id), 1, "flow %s starts once", p->id);
        cr_assert_eq(count(t, 'f', p->id), 1, "flow %s ends once", p->id);
        cr_assert_not_null(around(t, p), "the point %c of flow %s is inside a slice", p->phase,
                           p->id);
    }
    for (size_t i = 0; i < t->n_points; i++) {
        const point *p = &t->points[i];
        if (strchr("be", p->phase))
            cr_assert_eq(count(t, 'b', p->id), count(t, 'e', p->id), "suspended %s", p->id);
    }
}

static inline trace write_and_check(const tine_trace_process *processes, size_t n) {
    char path[] = "/tmp/tine-test-trace-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    cr_assert_eq(tine_trace_export(path, processes, n, 0), TINE_OK, "%s", tine_error_message());
    trace t = trace_read(path);
    unlink(path);
    check_nesting(&t);
    check_flows(&t);
    return t;
}

static inline tine_trace_stored stored(uint8_t type, uint64_t a, uint64_t b, const char *name) {
    tine_trace_stored s = {.type = type, .a = a, .b = b};
    snprintf(s.name, sizeof s.name, "%s", name);
    return s;
}

static inline tine_payload *batch(const tine_trace_stored *records, size_t n) {
    static const char threads[1][TINE_TRACE_NAME_MAX + 3] = {"main"};
    tine_payload *p = NULL;
    cr_assert_eq(tine_trace_batch_write(&p, records, n, 0, threads, 1), TINE_OK);
    return p;
}

#endif
