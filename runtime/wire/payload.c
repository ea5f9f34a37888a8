/* Payloads: see payload.h. One allocation holds the struct and its three arrays, widest first, so
 * that making and freeing the payload of a scalar argument, a few dozen bytes, is one malloc and
 * one free. */
#include "runtime/wire/payload.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"

tine_payload *tine_payload_new(size_t body_size, size_t n_buffers, size_t n_refs) {
    if (body_size > UINT32_MAX || n_buffers > UINT32_MAX || n_refs > UINT32_MAX) return NULL;
    size_t refs = n_refs * sizeof(tine_object), buffers = n_buffers * sizeof(tine_buffer *);
    tine_payload *p = malloc(sizeof *p + refs + buffers + body_size);
    if (!p) return NULL;
    atomic_init(&p->refcount, 1);
    p->body_size = (uint32_t)body_size;
    p->n_buffers = (uint32_t)n_buffers;
    p->n_refs = (uint32_t)n_refs;
    p->refs = (tine_object *)(p + 1);
    p->buffers = (tine_buffer **)(p->refs + n_refs);
    p->body = (uint8_t *)(p->buffers + n_buffers);
    memset(p->buffers, 0, buffers);
    return p;
}

tine_payload *tine_payload_ref(tine_payload *p) {
    if (p) atomic_fetch_add_explicit(&p->refcount, 1, memory_order_relaxed);
    return p;
}

void tine_payload_unref(tine_payload *p) {
    if (!p) return;
    unsigned before = atomic_fetch_sub_explicit(&p->refcount, 1, memory_order_acq_rel);
    TINE_ASSERT(before, >, 0);
    if (before > 1) return;
    for (uint32_t i = 0; i < p->n_buffers; i++) tine_buffer_unref(p->buffers[i]);
    free(p);
}

size_t tine_payload_bytes(const tine_payload *p) {
    if (!p) return 0;
    size_t bytes = p->body_size;
    for (uint32_t i = 0; i < p->n_buffers; i++)
        if (p->buffers[i]) bytes += p->buffers[i]->size;
    return bytes;
}
