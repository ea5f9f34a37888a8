/* A ring of records in memory that two processes share: one writes, the other reads, without locks
 * and without system calls.
 *
 * Shared are two counts of bytes, each on a cache line of its own: what has been written and what
 * has been read, since the beginning. Everything else is private to one side; each side keeps the
 * other's count as it last saw it, and looks again only when that count leaves it nothing to do.
 * The bytes are mapped twice in a row, so that every record is contiguous. A record begins with its
 * size and kind, and is aligned to 8.
 *
 * Trust: the other side may write anything anywhere at any time. A size is loaded once and checked
 * before it is used; a reader of a record copies each field before checking it. A count that cannot
 * be right is reported as TINE_SHM_BROKEN.
 *
 * Sleeping: a reader that finds nothing sets `asleep` and looks once more; a writer publishes and
 * then looks at `asleep`. All four accesses are sequentially consistent, so one of the two sees the
 * other. A writer without room does the same with `blocked`. The caller wakes the sleeper: a
 * function that returns true asks for it. */
#ifndef TINE_TRANSPORT_SHM_RING_H
#define TINE_TRANSPORT_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two cache lines: processors fetch them in pairs. */
enum { TINE_SHM_LINE = 128, TINE_SHM_HEAD = 8 };

/* Shared; zeroed is empty. */
typedef struct tine_shm_ring {
    _Alignas(TINE_SHM_LINE) _Atomic uint64_t written; /* bytes published; stored by the writer */
    _Alignas(TINE_SHM_LINE) _Atomic uint64_t read;    /* bytes passed; stored by the reader */
    _Alignas(TINE_SHM_LINE) _Atomic uint32_t asleep;  /* the reader wants to be woken */
    _Atomic uint32_t blocked;                         /* the writer wants to be woken */
} tine_shm_ring;

typedef struct tine_shm_writer {
    tine_shm_ring *ring;
    uint8_t *bytes;    /* `capacity` bytes, mapped twice */
    uint64_t capacity; /* a power of two */
    uint64_t at;       /* what has been written */
    uint64_t read;     /* as last seen */
} tine_shm_writer;

typedef struct tine_shm_reader {
    tine_shm_ring *ring;
    const uint8_t *bytes;
    uint64_t capacity;
    uint64_t at;      /* what has been passed */
    uint64_t written; /* as last seen */
    uint64_t told;    /* of `at`, what the writer knows */
    size_t size;      /* of the present record, with its head */
} tine_shm_reader;

typedef enum tine_shm_result {
    TINE_SHM_OK,
    TINE_SHM_NONE,   /* nothing to read, or no room */
    TINE_SHM_BROKEN, /* the other side's count, or a size, is impossible */
} tine_shm_result;

typedef struct tine_shm_record {
    const uint8_t *bytes; /* shared: the other side may change them */
    size_t size;
    uint32_t kind;
} tine_shm_record;

/* The caller's kinds start at 1. */
enum { TINE_SHM_SKIP = 0 };

/* The most bytes that a record may have. */
static inline size_t tine_shm_record_max(uint64_t capacity) {
    return (size_t)(capacity / 4 * 3) - TINE_SHM_HEAD;
}

/* *to: where the caller writes the record's `size` bytes before it calls tine_shm_write. */
tine_shm_result tine_shm_reserve(tine_shm_writer *w, size_t size, uint8_t **to);
/* Publishes the record of `size` bytes. True: wake the reader. */
bool tine_shm_write(tine_shm_writer *w, size_t size, uint32_t kind);
/* Asks to be woken when there is more room. OK: there is already room for `size` bytes. */
tine_shm_result tine_shm_block(tine_shm_writer *w, size_t size);
/* Whether there may be more room than when the writer looked last. */
bool tine_shm_has_room(const tine_shm_writer *w);

/* Whether the reader sleeps, or is about to. */
static inline bool tine_shm_is_asleep(const tine_shm_writer *w) {
    return atomic_load_explicit(&w->ring->asleep, memory_order_relaxed);
}

/* The next record, which stays until tine_shm_pass. */
tine_shm_result tine_shm_next(tine_shm_reader *r, tine_shm_record *out);
/* True: wake the writer. */
bool tine_shm_pass(tine_shm_reader *r);
/* Whether something has been written that was not passed. */
static inline bool tine_shm_readable(const tine_shm_reader *r) {
    return atomic_load(&r->ring->written) != r->at;
}
/* What has been written, as a count that tine_shm_passed compares with. At most a ring's capacity
 * ahead, whatever the other side says. */
static inline uint64_t tine_shm_written(const tine_shm_reader *r) {
    uint64_t more = atomic_load(&r->ring->written) - r->at;
    return r->at + (more < r->capacity ? more : r->capacity);
}
static inline bool tine_shm_passed(const tine_shm_reader *r, uint64_t count) {
    return (int64_t)(r->at - count) >= 0;
}
/* Asks to be woken by what is written from here on. True: something has been written already. */
static inline bool tine_shm_sleep(tine_shm_reader *r) {
    atomic_exchange(&r->ring->asleep, 1);
    return tine_shm_readable(r);
}
static inline void tine_shm_awake(tine_shm_reader *r) {
    atomic_store_explicit(&r->ring->asleep, 0, memory_order_relaxed);
}

#endif
