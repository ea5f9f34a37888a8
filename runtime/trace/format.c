/* Encodes and decodes recorded events. See format.h. Names repeat (a few functions, thousands of
 * events), so each is written once and events refer to it by index. */
#include "runtime/trace/format.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/hash.h"

/* ---- numbers ---- */

static uint8_t *trace_put(uint8_t *p, uint64_t x, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) *p++ = (uint8_t)(x >> 8 * i);
    return p;
}

static uint64_t trace_get(const uint8_t *p, unsigned bytes) {
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
    return x;
}

/* ---- writing ---- */

/* Distinct names: a hash table with open addressing, whose slots hold an index + 1. */
typedef struct name_table {
    uint32_t *slots, mask, n;
    const char **names;
    size_t bytes;
} name_table;

static bool trace_table_init(name_table *t, size_t most) {
    uint32_t size = 16;
    while (size < 2 * most) size *= 2;
    t->slots = calloc(size, sizeof *t->slots);
    t->names = malloc((most ? most : 1) * sizeof *t->names);
    t->mask = size - 1;
    return t->slots && t->names;
}

static void trace_table_fini(name_table *t) {
    free(t->slots);
    free(t->names);
}

static uint32_t trace_table_index(name_table *t, const char *name) {
    uint32_t at = (uint32_t)tine_hash(TINE_HASH_START, name, strlen(name)) & t->mask;
    while (t->slots[at] && strcmp(t->names[t->slots[at] - 1], name) != 0) at = (at + 1) & t->mask;
    if (!t->slots[at]) {
        t->names[t->n] = name;
        t->bytes += 1 + strlen(name);
        t->slots[at] = ++t->n;
    }
    return t->slots[at] - 1;
}

static uint8_t *trace_put_name(uint8_t *p, const char *name) {
    *p++ = (uint8_t)strlen(name);
    while (*name) *p++ = (uint8_t)*name++;
    return p;
}

/* The head of a msgpack bin 32, used for any size. */
enum { BIN_HEAD = 5 };
static uint8_t *trace_put_bin_head(uint8_t *p, size_t size) {
    *p++ = 0xc6;
    for (int shift = 24; shift >= 0; shift -= 8) *p++ = (uint8_t)(size >> shift);
    return p;
}

static uint8_t *trace_put_event(uint8_t *p, const tine_trace_stored *r, uint32_t name) {
    *p++ = r->type;
    *p++ = r->thread;
    p = trace_put(p, name, 4);
    p = trace_put(p, r->a, 8);
    p = trace_put(p, r->b, 8);
    return trace_put(p, r->bytes, 8);
}

tine_error tine_trace_batch_write(tine_payload **out, const tine_trace_stored *records, size_t n,
                                  uint64_t lost, const char (*threads)[TINE_TRACE_NAME_MAX + 3],
                                  size_t n_threads) {
    name_table t = {0};
    uint32_t *index = malloc((n ? n : 1) * sizeof *index);
    tine_payload *payload = NULL;
    if (!index || !trace_table_init(&t, n)) goto out;
    for (size_t i = 0; i < n; i++) index[i] = trace_table_index(&t, records[i].name);
    size_t size = 4 + 8 + 4 + 4 + 4 + t.bytes + n * TINE_TRACE_EVENT_BYTES;
    for (size_t i = 0; i < n_threads; i++) size += 1 + strlen(threads[i]);
    payload = tine_payload_new(BIN_HEAD + size, 0, 0);
    if (!payload) goto out;
    uint8_t *p = trace_put_bin_head(payload->body, size);
    memcpy(p, "TTR2", 4);
    p = trace_put(p + 4, lost, 8);
    p = trace_put(p, n_threads, 4);
    for (size_t i = 0; i < n_threads; i++) p = trace_put_name(p, threads[i]);
    p = trace_put(p, t.n, 4);
    for (size_t i = 0; i < t.n; i++) p = trace_put_name(p, t.names[i]);
    p = trace_put(p, n, 4);
    for (size_t i = 0; i < n; i++) p = trace_put_event(p, &records[i], index[i]);
    *out = payload;
out:
    trace_table_fini(&t);
    free(index);
    return payload ? TINE_OK : TINE_ENOMEM;
}

bool tine_trace_is_full(const tine_payload *batch) {
    return batch && batch->body_size >= (size_t)TINE_TRACE_BATCH * TINE_TRACE_EVENT_BYTES;
}

/* ---- reading ---- */

typedef struct trace_reader {
    const uint8_t *p;
    size_t left;
    bool bad;
} trace_reader;

static uint64_t trace_reader_take(trace_reader *r, unsigned bytes) {
    if (r->bad || r->left < bytes) {
        r->bad = true;
        return 0;
    }
    uint64_t x = trace_get(r->p, bytes);
    r->p += bytes;
    r->left -= bytes;
    return x;
}

/* The bytes of a msgpack bin value of any of its three sizes. */
static trace_reader trace_reader_open(const tine_payload *p) {
    trace_reader r = {p->body, p->body_size, false};
    uint64_t kind = trace_reader_take(&r, 1);
    unsigned bytes = kind == 0xc4 ? 1 : kind == 0xc5 ? 2 : kind == 0xc6 ? 4 : 0;
    size_t size = 0;
    for (unsigned i = 0; i < bytes; i++) size = size << 8 | (size_t)trace_reader_take(&r, 1);
    if (bytes == 0 || size != r.left) r.bad = true;
    return r;
}

static tine_trace_text *trace_reader_take_names(trace_reader *r, uint32_t *n_out) {
    uint32_t n = (uint32_t)trace_reader_take(r, 4);
    if (r->bad || n > r->left) { /* each takes at least a byte */
        r->bad = true;
        return NULL;
    }
    tine_trace_text *names = calloc(n ? n : 1, sizeof *names);
    if (!names) return NULL;
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        uint8_t size = (uint8_t)trace_reader_take(r, 1);
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
    trace_reader r = trace_reader_open(p);
    if (r.left < 4 || memcmp(r.p, "TTR2", 4) != 0) r.bad = true;
    trace_reader_take(&r, 4);
    b.lost = trace_reader_take(&r, 8);
    if (!r.bad && !(b.threads = trace_reader_take_names(&r, &b.n_threads)) && !r.bad)
        goto no_memory;
    if (!r.bad && !(b.names = trace_reader_take_names(&r, &b.n_names)) && !r.bad) goto no_memory;
    b.n_events = (uint32_t)trace_reader_take(&r, 4);
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
    free(b->threads);
    free(b->names);
    *b = (tine_trace_batch){0};
}

bool tine_trace_batch_event(const tine_trace_batch *b, uint32_t i, tine_trace_event *out) {
    const uint8_t *p = b->events + (size_t)i * TINE_TRACE_EVENT_BYTES;
    tine_trace_event e = {p[0],
                          p[1],
                          (uint32_t)trace_get(p + 2, 4),
                          trace_get(p + 6, 8),
                          trace_get(p + 14, 8),
                          trace_get(p + 22, 8)};
    if (!tine_trace_is_slice(e.type) && !tine_trace_is_marker(e.type)) return false;
    if (e.thread >= b->n_threads || e.name >= b->n_names) return false;
    *out = e;
    return true;
}
