/* See pool.h. A handle knows its slot in a pool, so taking it out needs no search as a rule. */
#include <stdlib.h>

#include "runtime/value/current.h"
#include "runtime/value/value.h"
#include "transport/base/assert.h"
#include "transport/base/vector.h"

/* A value can be in the pools of several tasks, on several threads, and twice in one: hence the
 * atomic accesses, the hint that is checked, and the count, without which each release of a value
 * that is in no pool would search. */
static void handle_set_slot(tine_handle *h, uint32_t slot) {
    __atomic_store_n(&h->slot, slot, __ATOMIC_RELAXED);
}

static void handle_count_place(tine_handle *h, bool more) {
    uint16_t n = __atomic_load_n(&h->pools, __ATOMIC_RELAXED);
    while (n < UINT16_MAX &&
           !__atomic_compare_exchange_n(&h->pools, &n, (uint16_t)(more ? n + 1 : n - 1), true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static bool pool_grow(tine_pool *p) {
    if (p->room == 0) {
        p->slots = p->few;
        p->room = TINE_POOL_FEW;
        return true;
    }
    size_t room = p->room;
    tine_pool_slot *slots = tine_grow_from(p->slots, p->few, &room, room + 1, sizeof *slots);
    if (!slots) return false;
    p->slots = slots;
    p->room = (uint32_t)room;
    return true;
}

/* Without memory the reference stays the caller's, and leaks if the caller relies on the pool. */
static void pool_push(tine_pool *p, tine_handle *h, bool noted) {
    if (h->kind == TINE_HANDLE_STATIC || (p->n == p->room && !pool_grow(p))) return;
    p->slots[p->n++] = (tine_pool_slot){h, noted};
    handle_set_slot(h, p->n);
    handle_count_place(h, true);
}

void tine_pool_adopt(tine_handle *h) {
    if (tine_current.pool) pool_push(tine_current.pool, h, false);
}

void tine_pool_note(tine_handle *h) {
    if (tine_current.pool) pool_push(tine_current.pool, h, true);
}

/* The slot of a handle in this pool, from 1; 0: it is not there. */
static uint32_t pool_find(const tine_pool *p, const tine_handle *h, bool noted) {
    uint16_t places = __atomic_load_n(&h->pools, __ATOMIC_RELAXED);
    if (places == 0) return 0;
    uint32_t slot = __atomic_load_n(&h->slot, __ATOMIC_RELAXED);
    if (slot > 0 && slot <= p->n && p->slots[slot - 1].handle == h) {
        if (p->slots[slot - 1].noted == noted) return slot;
        if (places == 1) return 0;
    }
    for (slot = p->n; slot > 0; slot--)
        if (p->slots[slot - 1].handle == h && p->slots[slot - 1].noted == noted) break;
    return slot;
}

static void pool_clear(tine_pool *p, uint32_t slot) {
    handle_count_place(p->slots[slot - 1].handle, false);
    p->slots[slot - 1].handle = NULL;
    /* make, use, release in a loop needs one slot */
    while (p->n > 0 && !p->slots[p->n - 1].handle) p->n--;
}

static bool pool_take(tine_pool *p, const tine_handle *h, bool noted) {
    uint32_t slot = p ? pool_find(p, h, noted) : 0;
    if (slot > 0) pool_clear(p, slot);
    return slot > 0;
}

/* The maker's reference is taken out before one that was noted: a value that is made here, kept in
 * a module with tine_ref and then released must stay. In the other pool it is the reverse: what a
 * callback took with tine_ref is released by its task, and its maker's reference at the end. */
void tine_pool_forget(tine_handle *h) {
    if (h->kind == TINE_HANDLE_STATIC) return;
    tine_pool *p = tine_current.pool, *other = tine_current.other;
    if (!p && !other) return;
    if (pool_take(p, h, false) || pool_take(p, h, true)) return;
    if (!pool_take(other, h, true)) pool_take(other, h, false);
}

bool tine_pool_gives(tine_handle *h) {
    tine_pool *p = tine_current.pool;
    if (!p || h->kind == TINE_HANDLE_STATIC || pool_find(p, h, false) > 0) return false;
    return pool_take(p, h, true);
}

void tine_pool_drain(tine_pool *p) {
    while (p->n > 0) {
        tine_pool_slot s = p->slots[--p->n];
        if (!s.handle) continue;
        handle_count_place(s.handle, false);
        if (!s.noted) tine_handle_unref(s.handle);
    }
    if (p->room > TINE_POOL_FEW) free(p->slots);
    tine_pool_init(p);
}

void (*tine_future_free)(tine_handle *h);
void (*tine_stream_release)(tine_handle *h);

void tine_handle_ref(tine_handle *h) {
    if (h && h->kind != TINE_HANDLE_STATIC)
        atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
}

void tine_handle_unref(tine_handle *h) {
    if (!h || h->kind >= TINE_HANDLE_STREAM) {
        if (h && h->kind == TINE_HANDLE_STREAM) tine_stream_release(h);
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel);
    TINE_ASSERT(before, >, 0);
    if (before > 1) return;
    if (h->kind == TINE_HANDLE_VALUE)
        tine_value_free((tine_value *)h);
    else
        tine_future_free(h);
}
