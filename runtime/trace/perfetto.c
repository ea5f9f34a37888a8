/* Perfetto's binary form of a trace: TracePackets with TrackEvents. Source: perfetto_trace.proto of
 * the Perfetto project, whose field numbers are in the enums below.
 *
 * A process and each of its threads have a track, and so has each task that was ever suspended. A
 * slice has no duration in this format, but a begin and an end. A flow's start and its steps are
 * fields of the slices that they are in; its end is an instant, since a wait begins before what it
 * waits for. So the begin of a slice is written only when the next event of its track comes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/trace/export.h"
#include "transport/base/hash.h"
#include "transport/base/text.h"
#include "transport/base/vector.h"

/* ---- protobuf ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, MESSAGE_MAX = 1024 };

/* One message. The longest holds two names and some numbers. */
typedef struct message {
    uint8_t data[MESSAGE_MAX];
    size_t n;
} message;

static void message_varint(message *m, uint64_t x) {
    for (; x > 127; x >>= 7) m->data[m->n++] = (uint8_t)(x | 128);
    m->data[m->n++] = (uint8_t)x;
}

static void message_number(message *m, unsigned field, uint64_t x) {
    message_varint(m, field << 3 | VARINT);
    message_varint(m, x);
}

static void message_fixed(message *m, unsigned field, uint64_t x) {
    message_varint(m, field << 3 | FIXED64);
    for (int i = 0; i < 8; i++) m->data[m->n++] = (uint8_t)(x >> 8 * i);
}

static void message_bytes(message *m, unsigned field, const void *data, size_t n) {
    message_varint(m, field << 3 | BYTES);
    message_varint(m, n);
    memcpy(m->data + m->n, data, n);
    m->n += n;
}

/* Bytes that are not UTF-8 become '?'. */
static void message_text(message *m, unsigned field, const char *text, size_t n) {
    char clean[TINE_TRACE_LABEL_MAX];
    if (n > sizeof clean) n = sizeof clean;
    for (size_t i = 0; i < n;) {
        size_t size = tine_utf8_sequence(text + i, n - i);
        if (size)
            memcpy(clean + i, text + i, size);
        else
            clean[i] = '?';
        i += size ? size : 1;
    }
    message_bytes(m, field, clean, n);
}

/* ---- packets ---- */

enum packet_field {
    PACKET_TIMESTAMP = 8,
    PACKET_SEQUENCE = 10,
    PACKET_EVENT = 11,
    PACKET_FLAGS = 13,
    PACKET_TRACK = 60
};
enum track_field {
    TRACK_UUID = 1,
    TRACK_NAME = 2,
    TRACK_PROCESS = 3,
    TRACK_THREAD = 4,
    TRACK_PARENT = 5
};
enum event_field {
    EVENT_ANNOTATION = 4,
    EVENT_TYPE = 9,
    EVENT_TRACK = 11,
    EVENT_CATEGORY = 22,
    EVENT_NAME = 23,
    EVENT_FLOW = 47,
    EVENT_FLOW_END = 48
};
enum event_type { SLICE_BEGIN = 1, SLICE_END = 2, INSTANT = 3 };
enum {
    ANNOTATION_UINT = 3,
    ANNOTATION_NAME = 10,
    PROCESS_PID = 1,
    PROCESS_NAME = 6,
    THREAD_PID = 1,
    THREAD_TID = 2,
    THREAD_NAME = 5,
    SEQUENCE = 1,
    STATE_CLEARED = 1
};

static void packet_write(FILE *f, message *packet) {
    uint8_t head[11];
    size_t n = 0;
    message_number(packet, PACKET_SEQUENCE, SEQUENCE);
    head[n++] = 1 << 3 | BYTES; /* Trace.packet */
    size_t size = packet->n;
    for (; size > 127; size >>= 7) head[n++] = (uint8_t)(size | 128);
    head[n++] = (uint8_t)size;
    fwrite(head, 1, n, f);
    fwrite(packet->data, 1, packet->n, f);
}

static void packet_track(FILE *f, const message *track) {
    message packet = {.n = 0};
    message_bytes(&packet, PACKET_TRACK, track->data, track->n);
    packet_write(f, &packet);
}

static void packet_event(FILE *f, int64_t ts, enum event_type type, uint64_t track,
                         message *event) {
    message packet = {.n = 0};
    message_number(event, EVENT_TYPE, type);
    message_number(event, EVENT_TRACK, track);
    message_number(&packet, PACKET_TIMESTAMP, (uint64_t)ts);
    message_bytes(&packet, PACKET_EVENT, event->data, event->n);
    packet_write(f, &packet);
}

/* ---- tracks ---- */

static uint64_t track_process(uint32_t process) { return ((uint64_t)process + 1) << 16; }
static uint64_t track_thread(const tine_trace_item *i) {
    return track_process(i->process) + i->thread + 1;
}
static uint64_t track_suspended(const tine_trace_item *i) {
    uint64_t h = tine_hash(TINE_HASH_START, (const char *)&i->id, sizeof i->id);
    return tine_hash(h, (const char *)&i->process, sizeof i->process) | 1ull << 63;
}

static void tracks_write(FILE *f, const tine_trace_gathered *g, uint32_t i) {
    if (tine_trace_inproc(g, i)) return;
    const char *name = g->processes[i].name;
    message track = {.n = 0}, process = {.n = 0};
    message_number(&process, PROCESS_PID, i + 1);
    message_text(&process, PROCESS_NAME, name, strlen(name));
    message_number(&track, TRACK_UUID, track_process(i));
    message_bytes(&track, TRACK_PROCESS, process.data, process.n);
    packet_track(f, &track);
    const tine_trace_batch *threads = tine_trace_threads(g, i);
    for (uint32_t k = 0; threads && k < threads->n_threads && k < TINE_TRACE_THREADS; k++) {
        message thread = {.n = 0};
        track.n = 0;
        message_number(&thread, THREAD_PID, i + 1);
        /* A thread whose tid is the pid is the main one. */
        message_number(&thread, THREAD_TID, k == 0 ? i + 1 : (i + 1) << 8 | k);
        message_text(&thread, THREAD_NAME, threads->threads[k].data, threads->threads[k].size);
        message_number(&track, TRACK_UUID, track_process(i) + k + 1);
        message_number(&track, TRACK_PARENT, track_process(i));
        message_bytes(&track, TRACK_THREAD, thread.data, thread.n);
        packet_track(f, &track);
    }
}

/* ---- events ---- */

typedef struct open_slice {
    const tine_trace_item *item;
    uint64_t flow;
    bool begun, has_flow; /* begun: written */
} open_slice;

typedef struct open_track {
    open_slice *slices;
    size_t n, room;
} open_track;

typedef struct perfetto_writer {
    FILE *f;
    int64_t start;
    open_track *tracks; /* per process and thread */
} perfetto_writer;

static void event_name(message *event, const tine_trace_item *item) {
    char label[TINE_TRACE_LABEL_MAX];
    const char *category = tine_trace_category(item);
    message_text(event, EVENT_NAME, label, tine_trace_label(item, label));
    message_text(event, EVENT_CATEGORY, category, strlen(category));
}

static void slice_begin(perfetto_writer *w, open_slice *s) {
    message event = {.n = 0}, annotation = {.n = 0};
    if (s->begun) return;
    s->begun = true;
    event_name(&event, s->item);
    if (s->item->bytes) {
        message_text(&annotation, ANNOTATION_NAME, "bytes", 5);
        message_number(&annotation, ANNOTATION_UINT, s->item->bytes);
        message_bytes(&event, EVENT_ANNOTATION, annotation.data, annotation.n);
    }
    if (s->has_flow) message_fixed(&event, EVENT_FLOW, s->flow);
    packet_event(w->f, s->item->ts - w->start, SLICE_BEGIN, track_thread(s->item), &event);
}

/* Ends the slices of a track that end by `ts`. */
static void slices_end(perfetto_writer *w, open_track *t, int64_t ts) {
    while (t->n > 0) {
        open_slice *s = &t->slices[t->n - 1];
        int64_t end = s->item->ts + s->item->dur;
        if (end > ts) return;
        message event = {.n = 0};
        slice_begin(w, s);
        packet_event(w->f, end - w->start, SLICE_END, track_thread(s->item), &event);
        t->n--;
    }
}

static bool slice_open(perfetto_writer *w, open_track *t, const tine_trace_item *item) {
    open_slice *slices = tine_grow(t->slices, &t->room, t->n + 1, sizeof *slices);
    if (!slices) return false;
    t->slices = slices;
    slices_end(w, t, item->ts);
    if (t->n > 0) slice_begin(w, &t->slices[t->n - 1]);
    t->slices[t->n++] = (open_slice){.item = item};
    return true;
}

static void flow_write(perfetto_writer *w, open_track *t, const tine_trace_item *item) {
    open_slice *top = t->n > 0 ? &t->slices[t->n - 1] : NULL;
    if (item->phase != 'f' && top && !top->begun && !top->has_flow) {
        top->has_flow = true;
        top->flow = item->id;
        return;
    }
    message event = {.n = 0};
    message_text(&event, EVENT_NAME, "task", 4);
    message_text(&event, EVENT_CATEGORY, "task", 4);
    message_fixed(&event, item->phase == 'f' ? EVENT_FLOW_END : EVENT_FLOW, item->id);
    packet_event(w->f, item->ts - w->start, INSTANT, track_thread(item), &event);
}

static void suspended_write(perfetto_writer *w, const tine_trace_item *item) {
    uint64_t track = track_suspended(item);
    message event = {.n = 0};
    if (item->phase == 'b') {
        message descriptor = {.n = 0};
        message_number(&descriptor, TRACK_UUID, track);
        message_number(&descriptor, TRACK_PARENT, track_process(item->process));
        message_text(&descriptor, TRACK_NAME, "suspended", strlen("suspended"));
        packet_track(w->f, &descriptor);
        event_name(&event, item);
    }
    packet_event(w->f, item->ts - w->start, item->phase == 'b' ? SLICE_BEGIN : SLICE_END, track,
                 &event);
}

static bool perfetto_event(perfetto_writer *w, const tine_trace_item *item) {
    open_track *t = &w->tracks[(size_t)item->process * 256 + item->thread];
    message event = {.n = 0};
    switch (item->phase) {
    case 'X': return slice_open(w, t, item);
    case 's':
    case 't':
    case 'f': flow_write(w, t, item); break;
    case 'b':
    case 'e': suspended_write(w, item); break;
    default:
        event_name(&event, item);
        packet_event(w->f, item->ts - w->start, INSTANT, track_process(item->process), &event);
    }
    return true;
}

bool tine_trace_perfetto(FILE *f, const tine_trace_gathered *g) {
    size_t n = g->n_processes * 256;
    perfetto_writer w = {.f = f, .start = g->n ? g->items[0].ts : 0};
    message first = {.n = 0};
    w.tracks = calloc(n ? n : 1, sizeof *w.tracks);
    bool good = w.tracks;
    message_number(&first, PACKET_FLAGS, STATE_CLEARED);
    packet_write(f, &first);
    for (uint32_t i = 0; i < g->n_processes; i++) tracks_write(f, g, i);
    for (size_t i = 0; good && i < g->n; i++) good = perfetto_event(&w, &g->items[i]);
    for (size_t i = 0; good && i < n; i++) slices_end(&w, &w.tracks[i], INT64_MAX);
    for (size_t i = 0; w.tracks && i < n; i++) free(w.tracks[i].slices);
    free(w.tracks);
    return good;
}
