/* Messages and payloads for tests of the wire, and the check that a message comes back as it was
 * sent. */
#ifndef TINE_TESTS_SUPPORT_MESSAGES_H
#define TINE_TESTS_SUPPORT_MESSAGES_H

#include <criterion/criterion.h>
#include <string.h>

#include "runtime/wire/walk.h"
#include "runtime/wire/wire.h"

static inline tine_payload *payload_of(tine_value *v) {
    tine_payload *p = NULL;
    cr_assert_eq(tine_payload_of_value(v, NULL, &p), TINE_OK);
    tine_release(v);
    return p;
}

static inline tine_payload *call_payload(tine_value *v) {
    tine_payload *p = NULL;
    tine_arguments a = {0};
    cr_assert_eq(tine_arguments_make(&a, TINE_ARGS_(v)), TINE_OK);
    cr_assert_eq(tine_payload_of_call(&a, NULL, &p), TINE_OK);
    tine_arguments_fini(&a);
    tine_release(v);
    return p;
}

/* A frame with the same bytes and buffers, as a transport of another process makes it. */
static inline tine_frame *arrived(const tine_frame *f) {
    tine_frame *copy = tine_frame_new(f->header_size, f->n_buffers);
    memcpy(copy->header, f->header, f->header_size);
    for (uint32_t i = 0; i < f->n_buffers; i++) copy->buffers[i] = tine_buffer_ref(f->buffers[i]);
    return copy;
}

static inline bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* The header is one msgpack array with as many items as it says. */
static inline void expect_whole_header(const tine_frame *f, bool has_body) {
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

static inline void expect_same_terms(const tine_terms *a, const tine_terms *b) {
    cr_expect(same_text(a->name, b->name) && a->priority == b->priority &&
              a->retries == b->retries && a->failure_retries == b->failure_retries);
    cr_expect(same_text(a->label, b->label) && same_text(a->resources, b->resources) &&
              a->worker == b->worker && a->stream == b->stream);
}

static inline void expect_decoded(const tine_message *m, tine_frame *f) {
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
    cr_expect(r->item == m->item && r->memory == m->memory && r->received == m->received &&
              r->sent == m->sent);
    cr_assert(!r->terms == !m->terms);
    if (m->terms) expect_same_terms(r->terms, m->terms);
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
static inline void expect_message(const tine_message *m) {
    tine_frame *f = tine_wire_encode(m);
    cr_assert_not_null(f);
    expect_decoded(m, arrived(f));
    expect_decoded(m, f);
    tine_payload_unref(m->payload);
}
#define MESSAGE(...) expect_message(&(const tine_message){__VA_ARGS__})

#endif
