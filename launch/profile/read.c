/* Reads a trace file. The file is mapped; each event is parsed by itself, so memory follows the
 * number of events and not the length of the text. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/profile/internal.h"
#include "launch/profile/scan.h"
#include "transport/base/hash.h"
#include "transport/base/memory.h"
#include "transport/base/text.h"

typedef struct trace_reading {
    tine_profile *p;
    tine_profile_points points;
    tine_idmap rows; /* process and thread to index + 1 */
    size_t room_slices, room_rows, room_marks;
    json_tokener *parser;
} trace_reading;

/* ---- names ---- */

int32_t tine_profile_name(tine_profile *p, const char *raw) {
    char name[512];
    snprintf(name, sizeof name, "%s", raw);
    tine_text_mask(name);
    uint64_t h = tine_hash(TINE_HASH_START, name, strlen(name)) | 1;
    for (;; h += 2) { /* a hash that two names share: the next one */
        size_t i = (size_t)(uintptr_t)tine_idmap_get(&p->by_name, h);
        if (i == 0) break;
        if (strcmp(p->names[i - 1], name) == 0) return (int32_t)i - 1;
    }
    char **names = tine_must_grow(p->names, &p->room_names, p->n_names + 1, sizeof *names);
    p->names = names;
    names[p->n_names] = tine_must_copy(name);
    tine_idmap_put(&p->by_name, h, (void *)(uintptr_t)++p->n_names);
    return (int32_t)p->n_names - 1;
}

/* ---- rows ---- */

/* The index of a thread's row, which is added if it is new. */
static int32_t reading_row(trace_reading *r, uint32_t process, uint32_t thread) {
    tine_profile *p = r->p;
    uint64_t key = ((uint64_t)process + 1) << 32 | thread;
    size_t i = (size_t)(uintptr_t)tine_idmap_get(&r->rows, key);
    if (i > 0) return (int32_t)i - 1;
    tine_profile_row *rows = tine_must_grow(p->rows, &r->room_rows, p->n_rows + 1, sizeof *rows);
    p->rows = rows;
    rows[p->n_rows] = (tine_profile_row){.process = process,
                                         .thread = thread,
                                         .process_name = TINE_NO_INDEX,
                                         .thread_name = TINE_NO_INDEX,
                                         .label = TINE_NO_INDEX};
    tine_idmap_put(&r->rows, key, (void *)(uintptr_t)++p->n_rows);
    return (int32_t)p->n_rows - 1;
}

/* ---- fields of an event ---- */

static const char *field_text(json_object *event, const char *key) {
    json_object *v;
    return json_object_object_get_ex(event, key, &v) && json_object_is_type(v, json_type_string)
               ? json_object_get_string(v)
               : "";
}

/* A time in us, as ns. */
static bool field_time(json_object *event, const char *key, int64_t *out) {
    json_object *v;
    if (!json_object_object_get_ex(event, key, &v)) return false;
    double us = json_object_get_double(v);
    if (!(us >= 0 && us < 1e15)) return false;
    *out = llround(us * 1000);
    return true;
}

static bool field_id(json_object *event, const char *key, uint32_t *out) {
    json_object *v;
    if (!json_object_object_get_ex(event, key, &v)) return false;
    int64_t x = json_object_get_int64(v);
    if (x < 0 || x > INT32_MAX) return false;
    *out = (uint32_t)x;
    return true;
}

static uint64_t field_bytes(json_object *event) {
    json_object *args, *bytes;
    if (!json_object_object_get_ex(event, "args", &args) ||
        !json_object_object_get_ex(args, "bytes", &bytes))
        return 0;
    int64_t n = json_object_get_int64(bytes);
    return n > 0 ? (uint64_t)n : 0;
}

static uint8_t field_kind(json_object *event) {
    static const char *const kinds[] = {
        [TINE_TRACE_RUN] = "run",         [TINE_TRACE_FORK] = "fork",
        [TINE_TRACE_WAIT] = "wait",       [TINE_TRACE_ENCODE] = "encode",
        [TINE_TRACE_DECODE] = "decode",   [TINE_TRACE_SEND] = "send",
        [TINE_TRACE_RECEIVE] = "receive", [TINE_TRACE_KERNEL] = "kernel",
        [TINE_TRACE_LOOP] = "loop",       [TINE_TRACE_CALL] = "call"};
    const char *category = field_text(event, "cat");
    for (size_t i = 1; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i], category) == 0) return (uint8_t)i;
    return TINE_SLICE_OTHER;
}

/* ---- events ---- */

static void reading_metadata(trace_reading *r, json_object *event, uint32_t process,
                             uint32_t thread) {
    const char *what = field_text(event, "name");
    json_object *args;
    if (!json_object_object_get_ex(event, "args", &args)) return;
    bool thread_name = strcmp(what, "thread_name") == 0;
    bool labels = strcmp(what, "process_labels") == 0;
    if (!thread_name && !labels && strcmp(what, "process_name") != 0) return;
    int32_t name = tine_profile_name(r->p, field_text(args, labels ? "labels" : "name"));
    int32_t i = reading_row(r, process, thread); /* may move the rows */
    tine_profile_row *row = &r->p->rows[i];
    *(thread_name ? &row->thread_name : labels ? &row->label : &row->process_name) = name;
}

static bool reading_slice(trace_reading *r, json_object *event, int64_t at, int32_t row) {
    tine_profile *p = r->p;
    int64_t duration = 0;
    if (!field_time(event, "dur", &duration)) return false;
    tine_slice *slices =
        tine_must_grow(p->slices, &r->room_slices, p->n_slices + 1, sizeof *slices);
    TINE_ASSERT_TRUE(p->n_slices < INT32_MAX);
    p->slices = slices;
    slices[p->n_slices++] = (tine_slice){.begin = at,
                                         .end = at + duration,
                                         .bytes = field_bytes(event),
                                         .name = tine_profile_name(p, field_text(event, "name")),
                                         .row = row,
                                         .around = TINE_NO_INDEX,
                                         .task = TINE_NO_INDEX,
                                         .kind = field_kind(event)};
    if (at + duration > p->end) p->end = at + duration;
    return true;
}

static void reading_point(trace_reading *r, json_object *event, int64_t at, int32_t row,
                          char phase) {
    const char *text = field_text(event, "id");
    bool async = phase == 'b' || phase == 'e';
    uint64_t id = async ? tine_hash(TINE_HASH_START, text, strlen(text)) : strtoull(text, NULL, 16);
    if (id == 0) {
        r->p->unreadable++;
        return;
    }
    tine_profile_point *items =
        tine_must_grow(r->points.items, &r->points.room, r->points.n + 1, sizeof *items);
    r->points.items = items;
    items[r->points.n++] =
        (tine_profile_point){.at = at,
                             .id = id,
                             .name = tine_profile_name(r->p, field_text(event, "name")),
                             .row = row,
                             .phase = phase};
}

static void reading_mark(trace_reading *r, json_object *event, int64_t at, int32_t row) {
    tine_profile *p = r->p;
    tine_span *marks = tine_must_grow(p->marks, &r->room_marks, p->n_marks + 1, sizeof *marks);
    p->marks = marks;
    marks[p->n_marks++] = (tine_span){at, at, tine_profile_name(p, field_text(event, "name")), row};
    if (at > p->end) p->end = at;
}

static void reading_event(trace_reading *r, json_object *event) {
    char phase = field_text(event, "ph")[0];
    uint32_t process = 0, thread = 0;
    int64_t at;
    bool placed = field_id(event, "pid", &process) && field_id(event, "tid", &thread);
    if (phase == 'M') {
        if (placed) reading_metadata(r, event, process, thread);
        return;
    }
    if (!placed || !field_time(event, "ts", &at)) {
        r->p->unreadable++;
        return;
    }
    int32_t row = reading_row(r, process, thread);
    if (phase == 'X') {
        if (!reading_slice(r, event, at, row)) r->p->unreadable++;
    } else if (phase && strchr("stfbe", phase)) {
        reading_point(r, event, at, row, phase);
    } else if (phase == 'i' || phase == 'I') {
        reading_mark(r, event, at, row);
    }
}

/* ---- the file ---- */

static json_object *reading_parse(trace_reading *r, const char *text, size_t size) {
    json_tokener_reset(r->parser);
    json_object *o = json_tokener_parse_ex(r->parser, text, (int)size);
    bool whole = o && json_tokener_get_error(r->parser) == json_tokener_success;
    if (whole) return o;
    json_object_put(o);
    return NULL;
}

/* The events, from `[` to `]`. A file of Chrome's array form may lack the end. */
static bool reading_events(trace_reading *r, tine_json_scan *s) {
    size_t begin;
    if (!tine_json_skip(s, '[')) return false;
    while (!tine_json_skip(s, ']')) {
        if (!tine_json_value(s, &begin) || s->at - begin > 1 << 20) return false;
        json_object *event = reading_parse(r, s->text + begin, s->at - begin);
        if (!json_object_is_type(event, json_type_object)) {
            json_object_put(event);
            s->at = begin;
            return false;
        }
        reading_event(r, event);
        json_object_put(event);
        if (!tine_json_skip(s, ',') && tine_json_peek(s) != ']') return false;
    }
    return true;
}

static void reading_other(trace_reading *r, const char *text, size_t size) {
    json_object *o = size < 1 << 20 ? reading_parse(r, text, size) : NULL;
    if (o) r->p->lost = strtoull(field_text(o, "events lost"), NULL, 10);
    json_object_put(o);
}

static bool reading_text(trace_reading *r, tine_json_scan *s) {
    bool found = false;
    if (tine_json_peek(s) == '[') return reading_events(r, s);
    if (!tine_json_skip(s, '{')) return false;
    while (!tine_json_skip(s, '}')) {
        size_t key, begin;
        if (tine_json_peek(s) != '"' || !tine_json_value(s, &key)) return false;
        size_t length = s->at - key;
        const char *name = s->text + key;
        if (!tine_json_skip(s, ':')) return false;
        if (length == 13 && memcmp(name, "\"traceEvents\"", 13) == 0) {
            if (!reading_events(r, s)) return false;
            found = true;
        } else if (!tine_json_value(s, &begin)) {
            return false;
        } else if (length == 11 && memcmp(name, "\"otherData\"", 11) == 0) {
            reading_other(r, s->text + begin, s->at - begin);
        }
        if (!tine_json_skip(s, ',') && tine_json_peek(s) != '}') return false;
    }
    return found;
}

static bool file_map(const char *path, tine_json_scan *s, char *why, size_t size) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool good = fd >= 0 && fstat(fd, &st) == 0;
    if (good && !S_ISREG(st.st_mode)) {
        snprintf(why, size, "%s is not a regular file", path);
        close(fd);
        return false;
    }
    s->size = good ? (size_t)st.st_size : 0;
    void *map = s->size ? mmap(NULL, s->size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    good = good && map != MAP_FAILED;
    if (!good) snprintf(why, size, "%s cannot be read: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    s->text = map;
    return good;
}

bool tine_profile_read(tine_profile *out, const char *path, char *why, size_t size) {
    tine_profile p = {0};
    tine_json_scan s = {0};
    if (!file_map(path, &s, why, size)) return false;
    trace_reading r = {.p = &p, .parser = json_tokener_new()};
    TINE_ASSERT_TRUE(r.parser);
    bool good = reading_text(&r, &s);
    if (good)
        tine_profile_join(&p, &r.points);
    else if (tine_trace_for_perfetto(path))
        snprintf(why, size,
                 "%s is for ui.perfetto.dev: tine trace reads a trace that was written to a name "
                 "without .pftrace at its end",
                 path);
    else
        snprintf(why, size,
                 "%s is not a trace in the Trace Event Format: byte %zu is not as expected", path,
                 s.at);
    json_tokener_free(r.parser);
    if (s.text) munmap((void *)(uintptr_t)s.text, s.size);
    tine_idmap_fini(&r.rows);
    free(r.points.items);
    if (good)
        *out = p;
    else
        tine_profile_fini(&p);
    return good;
}

void tine_profile_fini(tine_profile *p) {
    for (size_t i = 0; i < p->n_names; i++) free(p->names[i]);
    free(p->names);
    free(p->slices);
    free(p->tasks);
    free(p->suspended);
    free(p->rows);
    free(p->marks);
    free(p->waits);
    tine_idmap_fini(&p->by_name);
    *p = (tine_profile){0};
}
