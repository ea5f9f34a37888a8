/* See ring.h. */
#include "transport/shm/ring.h"

#include <string.h>

#include "transport/base/assert.h"

enum {
    /* A writer that finds the ring empty past this part of it goes back to its start: a ring that
     * is never more than a little full keeps to memory that the caches hold. */
    REWIND_PART = 16,
    /* The reader publishes its count when it has read everything, and after each such part of the
     * capacity; only then does it look at `blocked`. That suffices: a writer is blocked only by
     * more than a quarter of the capacity. */
    TELL_PART = 8,
};

static uint64_t record_bytes(size_t size) {
    return ((uint64_t)size + TINE_SHM_HEAD + 7) & ~UINT64_C(7);
}

static _Atomic uint64_t *head_at(const uint8_t *bytes, uint64_t capacity, uint64_t at) {
    return (_Atomic uint64_t *)(uintptr_t)(bytes + (at & (capacity - 1)));
}

/* ---- writing ---- */

static void head_write(tine_shm_writer *w, uint64_t bytes, uint32_t kind) {
    atomic_store_explicit(head_at(w->bytes, w->capacity, w->at), bytes << 32 | kind,
                          memory_order_relaxed);
    w->at += bytes;
}

static tine_shm_result room_look(tine_shm_writer *w, uint64_t bytes) {
    if (w->at - w->read + bytes <= w->capacity) return TINE_SHM_OK;
    uint64_t read = atomic_load(&w->ring->read);
    if (read - w->read > w->at - w->read) return TINE_SHM_BROKEN;
    w->read = read;
    return w->at - read + bytes <= w->capacity ? TINE_SHM_OK : TINE_SHM_NONE;
}

/* The record that skips the rest of an empty ring is published with the next one. */
static void ring_rewind(tine_shm_writer *w, uint64_t bytes) {
    uint64_t offset = w->at & (w->capacity - 1);
    if (offset < w->capacity / REWIND_PART || bytes > offset) return;
    if (atomic_load_explicit(&w->ring->read, memory_order_acquire) != w->at) return;
    w->read = w->at;
    head_write(w, w->capacity - offset, TINE_SHM_SKIP);
}

tine_shm_result tine_shm_reserve(tine_shm_writer *w, size_t size, uint8_t **to) {
    TINE_ASSERT(size, <=, tine_shm_record_max(w->capacity));
    ring_rewind(w, record_bytes(size));
    tine_shm_result room = room_look(w, record_bytes(size));
    *to = room == TINE_SHM_OK ? w->bytes + ((w->at + TINE_SHM_HEAD) & (w->capacity - 1)) : NULL;
    return room;
}

bool tine_shm_write(tine_shm_writer *w, size_t size, uint32_t kind) {
    head_write(w, record_bytes(size), kind);
    atomic_exchange(&w->ring->written, w->at);
    return atomic_load(&w->ring->asleep) && atomic_exchange(&w->ring->asleep, 0);
}

tine_shm_result tine_shm_block(tine_shm_writer *w, size_t size) {
    atomic_exchange(&w->ring->blocked, 1);
    return room_look(w, record_bytes(size));
}

bool tine_shm_has_room(const tine_shm_writer *w) {
    return atomic_load_explicit(&w->ring->read, memory_order_relaxed) != w->read;
}

/* ---- reading ---- */

static tine_shm_result look(tine_shm_reader *r) {
    uint64_t written = atomic_load(&r->ring->written);
    if (written == r->at) return TINE_SHM_NONE;
    if (written - r->at > r->capacity || written % 8) return TINE_SHM_BROKEN;
    r->written = written;
    return TINE_SHM_OK;
}

tine_shm_result tine_shm_next(tine_shm_reader *r, tine_shm_record *out) {
    for (bool skipped = false;; skipped = true) {
        tine_shm_result news = r->at == r->written ? look(r) : TINE_SHM_OK;
        if (news != TINE_SHM_OK) return skipped ? TINE_SHM_BROKEN : news;
        uint64_t head =
            atomic_load_explicit(head_at(r->bytes, r->capacity, r->at), memory_order_relaxed);
        uint64_t bytes = head >> 32;
        if (bytes < TINE_SHM_HEAD || bytes % 8 || bytes > r->written - r->at)
            return TINE_SHM_BROKEN;
        if ((uint32_t)head != TINE_SHM_SKIP) {
            r->size = (size_t)bytes;
            *out =
                (tine_shm_record){.bytes = r->bytes + ((r->at + TINE_SHM_HEAD) & (r->capacity - 1)),
                                  .size = (size_t)bytes - TINE_SHM_HEAD,
                                  .kind = (uint32_t)head};
            return TINE_SHM_OK;
        }
        if (skipped) return TINE_SHM_BROKEN;
        r->at += bytes;
    }
}

bool tine_shm_pass(tine_shm_reader *r) {
    r->at += r->size;
    uint64_t untold = r->at - r->told;
    bool part = untold >= r->capacity / TELL_PART;
    if (r->at != r->written && !part) return false;
    r->told = r->at;
    if (!part) {
        atomic_store_explicit(&r->ring->read, r->at, memory_order_release);
        return false;
    }
    atomic_exchange(&r->ring->read, r->at);
    return atomic_load(&r->ring->blocked) && atomic_exchange(&r->ring->blocked, 0);
}
