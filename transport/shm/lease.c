/* See lease.h. */
#include "transport/shm/lease.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "transport/base/assert.h"
#include "transport/base/count.h"

/* A larger buffer that was not shared (tine_buffer_share) goes to the peer in pieces: copying it
 * here would delay all other peers by more than some milliseconds. */
enum { COPY_MOST = 16 << 20 };

typedef struct lender_aside {
    tine_shm_lender lender;
    SLIST_ENTRY(lender_aside) entry;
} lender_aside;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static SLIST_HEAD(, lender_aside) aside = SLIST_HEAD_INITIALIZER(aside);

/* ---- what is borrowed ---- */

typedef struct borrowed {
    tine_shm_memory *memory;
    tine_shm_returns *returns;
    tine_shm_segment *segment;
    tine_buffer *own; /* lent, and lent back: the other side's death must not free it */
    uint32_t lease;
} borrowed;

static void lease_return(tine_shm_returns *r, uint32_t lease) {
    atomic_fetch_or(&r->bits[lease / 64], UINT64_C(1) << lease % 64);
    atomic_fetch_add(&r->count, 1);
}

static void release_borrowed(void *data, size_t size, void *ctx) {
    (void)data, (void)size;
    borrowed *b = ctx;
    lease_return(b->returns, b->lease);
    tine_buffer_unref(b->own);
    tine_shm_segment_unref(b->segment);
    tine_shm_memory_unref(b->memory);
    free(b);
}

/* The segment that a borrowed buffer lies in; NULL: it is not borrowed. */
static tine_shm_segment *segment_of(const tine_buffer *b) {
    while (b && b->release == release_borrowed) {
        const borrowed *from = b->ctx;
        if (!from->own) return from->segment;
        b = from->own;
    }
    return NULL;
}

/* ---- lending ---- */

void tine_shm_lender_init(tine_shm_lender *l, const tine_shm_lane *lane, tine_shm_segment *borrower,
                          const tine_shm_neighbours *neighbours, bool tells) {
    *l = (tine_shm_lender){.memory = tine_shm_memory_ref(lane->shared),
                           .returns = lane->lent,
                           .borrower = tine_shm_segment_ref(borrower),
                           .neighbours = neighbours,
                           .tells = tells};
    l->seen = atomic_load(&l->returns->count);
    tine_arena_count_reader(1);
}

static void lender_count(const tine_shm_lender *l, uint64_t change) {
    if (l->count) tine_count_add(l->count, change);
}

static void lender_free(tine_shm_lender *l) {
    for (uint32_t i = 0; l->n && i < TINE_SHM_LEASES; i++) {
        l->n -= l->out[i] != NULL;
        tine_buffer_unref(l->out[i]);
    }
    tine_shm_segment_unref(l->borrower);
    tine_shm_memory_unref(l->memory);
    *l = (tine_shm_lender){0};
}

static bool spot_in_arena(tine_buffer *b, tine_shm_spot *out) {
    *out = (tine_shm_spot){.buffer = b, .arena = TINE_SHM_LENDERS};
    return tine_arena_holds(b->data, b->size, &out->offset) && out->offset % TINE_SHM_ALIGN == 0;
}

static bool spot_in_segment(tine_buffer *b, const tine_shm_segment *s, tine_shm_spot *out) {
    uint64_t at = (uintptr_t)b->data - (uintptr_t)s->bytes;
    *out = (tine_shm_spot){b, at, TINE_SHM_BORROWERS};
    return at < s->size && b->size <= s->size - at && at % TINE_SHM_ALIGN == 0;
}

static bool spot_in_neighbour(tine_buffer *b, const tine_shm_neighbours *n, tine_shm_spot *out) {
    tine_shm_segment *s = segment_of(b);
    const tine_shm_neighbour *which = s ? tine_shm_neighbours_find(n, s) : NULL;
    if (!which || !which->mapped || which->gone || !spot_in_segment(b, s, out)) return false;
    out->arena = TINE_SHM_NEIGHBOURS + s->number;
    return true;
}

bool tine_shm_lendable(const tine_shm_lender *l, tine_buffer *b, tine_shm_spot *out) {
    if (spot_in_arena(b, out) || spot_in_segment(b, l->borrower, out) ||
        spot_in_neighbour(b, l->neighbours, out))
        return true;
    if (b->size <= COPY_MOST) tine_buffer_share(b);
    tine_buffer *copy = atomic_load_explicit(&b->copy, memory_order_acquire);
    return copy && spot_in_arena(copy, out);
}

uint32_t tine_shm_lend(tine_shm_lender *l, const tine_shm_spot *spot) {
    uint32_t word = 0;
    TINE_ASSERT(l->n, <, TINE_SHM_LEASES);
    while (l->taken[word] == UINT64_MAX) word++;
    uint32_t lease = word * 64 + (uint32_t)__builtin_ctzll(~l->taken[word]);
    l->taken[word] |= UINT64_C(1) << lease % 64;
    l->out[lease] = tine_buffer_ref(spot->buffer);
    l->n++;
    lender_count(l, 1);
    l->lent_on += spot->arena >= TINE_SHM_NEIGHBOURS && l->tells;
    return lease;
}

void tine_shm_collect(tine_shm_lender *l) {
    uint64_t before = l->n;
    l->seen = atomic_load(&l->returns->count);
    for (uint32_t word = 0; word < TINE_SHM_LEASES / 64; word++) {
        if (!atomic_load_explicit(&l->returns->bits[word], memory_order_relaxed)) continue;
        uint64_t bits = atomic_exchange(&l->returns->bits[word], 0);
        l->broken |= (bits & ~l->taken[word]) != 0;
        for (bits &= l->taken[word]; bits; bits &= bits - 1) {
            uint32_t lease = word * 64 + (uint32_t)__builtin_ctzll(bits);
            l->taken[word] &= ~(UINT64_C(1) << lease % 64);
            tine_buffer_unref(l->out[lease]);
            l->out[lease] = NULL;
            l->n--;
        }
    }
    lender_count(l, l->n - before);
}

/* ---- what outlives its lane ---- */

/* Whether returns may come. After the borrower's death others may read what it has lent on. */
static bool lender_waits(const tine_shm_lender *l) {
    return l->n && (tine_shm_segment_lives(l->borrower) || tine_arena_is_watched());
}

/* Without memory the buffers stay lent for ever: the borrower may still read them. */
void tine_shm_lender_fini(tine_shm_lender *l) {
    if (!l->memory) return;
    tine_arena_count_reader(-1);
    tine_shm_collect(l);
    lender_count(l, -(uint64_t)l->n);
    l->count = NULL;
    bool waits = lender_waits(l);
    lender_aside *a = waits ? malloc(sizeof *a) : NULL;
    if (a) {
        a->lender = *l;
        a->lender.neighbours = NULL;
        *l = (tine_shm_lender){0};
        pthread_mutex_lock(&lock);
        SLIST_INSERT_HEAD(&aside, a, entry);
        pthread_mutex_unlock(&lock);
    } else if (!waits) {
        lender_free(l);
    }
}

/* The list is detached while it is walked, so that no buffer is dropped under the lock. */
bool tine_shm_aside_tidy(void) {
    SLIST_HEAD(, lender_aside) all = SLIST_HEAD_INITIALIZER(all);
    lender_aside *a;
    bool some = false;
    pthread_mutex_lock(&lock);
    all.slh_first = aside.slh_first;
    SLIST_INIT(&aside);
    pthread_mutex_unlock(&lock);
    while ((a = SLIST_FIRST(&all))) {
        SLIST_REMOVE_HEAD(&all, entry);
        tine_shm_collect(&a->lender);
        if (lender_waits(&a->lender)) {
            some = true;
            pthread_mutex_lock(&lock);
            SLIST_INSERT_HEAD(&aside, a, entry);
            pthread_mutex_unlock(&lock);
        } else {
            lender_free(&a->lender);
            free(a);
        }
    }
    return some;
}

/* ---- borrowing ---- */

/* What is lent now and has these bytes; NULL: nothing. */
static tine_buffer *lender_find(const tine_shm_lender *l, const uint8_t *data, uint64_t size) {
    for (uint32_t i = 0, left = l->n; left && i < TINE_SHM_LEASES; i++) {
        const tine_buffer *b = l->out[i];
        left -= b != NULL;
        uint64_t at = b ? (uintptr_t)data - (uintptr_t)b->data : 0;
        if (b && at < b->size && size <= b->size - at) return l->out[i];
    }
    return NULL;
}

/* The segment with this number from which something is lent on now; NULL: there is none. The table
 * of neighbours does not show it: a buffer of one that has gone may still be lent back. */
static tine_shm_segment *lender_segment(const tine_shm_lender *l, uint32_t number) {
    for (uint32_t i = 0, left = l->n; left && i < TINE_SHM_LEASES; i++) {
        tine_shm_segment *s = segment_of(l->out[i]);
        left -= l->out[i] != NULL;
        if (s && s != l->borrower && s->number == number) return s;
    }
    return NULL;
}

static tine_shm_segment *place_segment(const tine_shm_lender *l, tine_shm_segment *s,
                                       uint32_t arena) {
    if (arena < TINE_SHM_NEIGHBOURS) return s;
    if (!l->memory) return NULL;
    if (l->tells) return lender_segment(l, arena - TINE_SHM_NEIGHBOURS);
    const tine_shm_neighbour *n =
        tine_shm_neighbours_numbered(l->neighbours, arena - TINE_SHM_NEIGHBOURS);
    return n ? n->segment : NULL;
}

/* Where it lies, and in which segment; NULL: nowhere. */
static const uint8_t *place_find(const tine_shm_lender *l, tine_shm_segment **s,
                                 const tine_shm_place *p, tine_buffer **own) {
    bool arena = p->arena == TINE_SHM_BORROWERS,
         back = arena || (p->arena >= TINE_SHM_NEIGHBOURS && l->tells);
    *own = NULL;
    if (p->lease >= TINE_SHM_LEASES || !(*s = place_segment(l, *s, p->arena))) return NULL;
    size_t most = arena ? tine_arena_size() : (*s)->size;
    if (p->offset % TINE_SHM_ALIGN || p->offset > most || p->size > most - p->offset) return NULL;
    const uint8_t *data = arena ? tine_arena_at(p->offset) : (*s)->bytes + p->offset;
    if (!back) return data;
    *own = lender_find(l, data, p->size);
    return *own ? data : NULL;
}

tine_buffer *tine_shm_borrow(const tine_shm_lane *lane, const tine_shm_lender *l,
                             tine_shm_segment *s, const tine_shm_place *place, const char **wrong) {
    tine_buffer *own;
    const uint8_t *data = s ? place_find(l, &s, place, &own) : NULL;
    *wrong = data ? NULL : "it broke its lane: it lends what it does not have";
    if (!data) return NULL;
    borrowed *b = malloc(sizeof *b);
    tine_buffer *buffer =
        b ? tine_buffer_wrap((void *)(uintptr_t)data, (size_t)place->size, release_borrowed, b)
          : NULL;
    if (!buffer) {
        lease_return(lane->borrowed, place->lease);
        free(b);
        return NULL;
    }
    *b = (borrowed){tine_shm_memory_ref(lane->shared), lane->borrowed, tine_shm_segment_ref(s),
                    own ? tine_buffer_ref(own) : NULL, place->lease};
    buffer->foreign = true;
    return buffer;
}
