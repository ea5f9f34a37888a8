/* Recorded events to bytes and back. See trace_format.h. Names repeat (a few functions, thousands
 * of events), so each is written once and events refer to it. */
#include "runtime/trace/trace_format.h"

#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static uint8_t *put(uint8_t *p, uint64_t x, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) *p++ = (uint8_t)(x >> 8 * i);
    return p;
}

static uint64_t get(const uint8_t *p, unsigned bytes) {
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
    return x;
}

/* ---- writing ---- */

typedef struct table { /* of distinct names: open addressing, places hold an index + 1 */
    uint32_t *places, mask, n;
    const char **names;
    size_t bytes;
} table;

static bool table_init(table *t, size_t most) {
    uint32_t size = 16;
    while (size < 2 * most) size *= 2;
    t->places = calloc(size, sizeof *t->places);
    t->names = malloc((most ? most : 1) * sizeof *t->names);
    t->mask = size - 1;
    return t->places && t->names;
}

static void table_fini(table *t) {
    free(t->places);
    free(t->names);
}

static uint32_t table_index(table *t, const char *name) {
    uint32_t h = 2166136261u;
    for (const char *c = name; *c; c++) h = (h ^ (uint8_t)*c) * 16777619u;
    uint32_t at = h & t->mask;
    while (t->places[at] && strcmp(t->names[t->places[at] - 1], name) != 0) at = (at + 1) & t->mask;
    if (!t->places[at]) {
        t->names[t->n] = name;
        t->bytes += 1 + strlen(name);
        t->places[at] = ++t->n;
    }
    return t->places[at] - 1;
}

static uint8_t *put_name(uint8_t *p, const char *name) {
    *p++ = (uint8_t)strlen(name);
    while (*name) *p++ = (uint8_t)*name++;
    return p;
}

/* The head of msgpack's bin 32, whatever the size. */
enum { BIN_HEAD = 5 };
static uint8_t *put_bin_head(uint8_t *p, size_t size) {
    *p++ = 0xc6;
    for (int shift = 24; shift >= 0; shift -= 8) *p++ = (uint8_t)(size >> shift);
    return p;
}

static uint8_t *put_event(uint8_t *p, const tine_trace_stored *r, uint32_t name) {
    *p++ = r->type;
    *p++ = r->lane;
    p = put(p, name, 4);
    p = put(p, r->a, 8);
    return put(p, r->b, 8);
}

tine_error tine_trace_batch_write(tine_payload **out, const tine_trace_stored *records, size_t n,
                                  uint64_t lost, const char (*lanes)[TINE_TRACE_NAME_MAX + 3],
                                  size_t n_lanes) {
    table t = {0};
    uint32_t *index = malloc((n ? n : 1) * sizeof *index);
    tine_payload *payload = NULL;
    if (!index || !table_init(&t, n)) goto out;
    for (size_t i = 0; i < n; i++) index[i] = table_index(&t, records[i].name);
    size_t size = 4 + 8 + 4 + 4 + 4 + t.bytes + n * TINE_TRACE_EVENT_BYTES;
    for (size_t i = 0; i < n_lanes; i++) size += 1 + strlen(lanes[i]);
    payload = tine_payload_new(BIN_HEAD + size, 0, 0);
    if (!payload) goto out;
    uint8_t *p = put_bin_head(payload->body, size);
    memcpy(p, "TTR1", 4);
    p = put(p + 4, lost, 8);
    p = put(p, n_lanes, 4);
    for (size_t i = 0; i < n_lanes; i++) p = put_name(p, lanes[i]);
    p = put(p, t.n, 4);
    for (size_t i = 0; i < t.n; i++) p = put_name(p, t.names[i]);
    p = put(p, n, 4);
    for (size_t i = 0; i < n; i++) p = put_event(p, &records[i], index[i]);
    *out = payload;
out:
    table_fini(&t);
    free(index);
    return payload ? TINE_OK : TINE_ENOMEM;
}

/* ---- reading ---- */

typedef struct reader {
    const uint8_t *p;
    size_t left;
    bool bad;
} reader;

static uint64_t take(reader *r, unsigned bytes) {
    if (r->bad || r->left < bytes) {
        r->bad = true;
        return 0;
    }
    uint64_t x = get(r->p, bytes);
    r->p += bytes;
    r->left -= bytes;
    return x;
}

/* The bytes of a msgpack bin value of any of its three sizes. */
static reader open_bin(const tine_payload *p) {
    reader r = {p->body, p->body_size, false};
    uint64_t kind = take(&r, 1);
    unsigned bytes = kind == 0xc4 ? 1 : kind == 0xc5 ? 2 : kind == 0xc6 ? 4 : 0;
    size_t size = 0;
    for (unsigned i = 0; i < bytes; i++) size = size << 8 | (size_t)take(&r, 1);
    if (bytes == 0 || size != r.left) r.bad = true;
    return r;
}

static tine_trace_text *take_names(reader *r, uint32_t *n_out) {
    uint32_t n = (uint32_t)take(r, 4);
    if (r->bad || n > r->left) { /* each takes a byte at least */
        r->bad = true;
        return NULL;
    }
    tine_trace_text *names = calloc(n ? n : 1, sizeof *names);
    if (!names) return NULL;
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        uint8_t size = (uint8_t)take(r, 1);
        if (size > r->left) r->bad = true;
        if (r->bad) break;
        names[i] = (tine_trace_text){(const char *)r->p, size};
        r->p += size;
        r->left -= size;
    }
    *n_out = n;
    return names;
}

tine_error tine_trace_batch_read(tine_trace_batch *out, const tine_payload *p) {
    tine_trace_batch b = {0};
    reader r = open_bin(p);
    if (r.left < 4 || memcmp(r.p, "TTR1", 4) != 0) r.bad = true;
    take(&r, 4);
    b.lost = take(&r, 8);
    if (!r.bad && !(b.lanes = take_names(&r, &b.n_lanes)) && !r.bad) goto no_memory;
    if (!r.bad && !(b.names = take_names(&r, &b.n_names)) && !r.bad) goto no_memory;
    b.n_events = (uint32_t)take(&r, 4);
    b.events = r.p;
    if (r.left != (uint64_t)b.n_events * TINE_TRACE_EVENT_BYTES) r.bad = true;
    if (r.bad) {
        tine_trace_batch_fini(&b);
        return TINE_EPROTO;
    }
    *out = b;
    return TINE_OK;
no_memory:
    tine_trace_batch_fini(&b);
    return TINE_ENOMEM;
}

void tine_trace_batch_fini(tine_trace_batch *b) {
    free(b->lanes);
    free(b->names);
    *b = (tine_trace_batch){0};
}

bool tine_trace_batch_event(const tine_trace_batch *b, uint32_t i, tine_trace_event *out) {
    const uint8_t *p = b->events + (size_t)i * TINE_TRACE_EVENT_BYTES;
    tine_trace_event e = {p[0], p[1], (uint32_t)get(p + 2, 4), get(p + 6, 8), get(p + 14, 8)};
    if (!tine_trace_is_slice(e.type) && !tine_trace_is_point(e.type)) return false;
    if (e.lane >= b->n_lanes || e.name >= b->n_names) return false;
    *out = e;
    return true;
}
