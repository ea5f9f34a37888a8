/* The lanes of one seed: a listener and up to four connectors that lend each other buffers, with
 * the rings, leases and arenas of the product (transport/shm) in one process.
 *
 * A connector may die at any moment, also while it holds what it has borrowed, and while others
 * read what it has lent; a lane may end while both live. A bell arrives late, or never: then only
 * the timer wakes its owner. Each buffer has a pattern of its own, which is compared whenever it is
 * received and dropped: memory that were used again while somebody reads it would be found.
 *
 * All share one arena, which each maps at an address of its own. So what a dead one had there is
 * kept until the seed ends, as the mappings of others keep it where it is a process. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "transport/base/arena.h"
#include "transport/shm/lease.h"

enum {
    SIDES = 5, /* the listener, and the connectors */
    HELD = 12,
    STEPS = 600,
    ARENA = 4 << 20,
    BLOCKS = 256,
    BLOCK = 512,
    RING = TINE_SHM_MIN_CAPACITY,
    GRAVES = 64,
    DEAD = INT32_MAX, /* the pid of no process */
};

typedef struct lane_value {
    tine_buffer *buffer;
    uint64_t id;
} lane_value;

/* One side of a lane. */
typedef struct lane_end {
    tine_shm_lane lane;
    tine_shm_lender lender;
    tine_shm_neighbours neighbours;
} lane_end;

typedef struct lane_side {
    bool lives, asleep, unheard; /* unheard: a bell of its was lost since it fell asleep */
    bool known;                  /* connector: the listener has a lane to it */
    unsigned bells;              /* on their way */
    tine_shm_segment *arena;     /* as others map it */
    lane_value held[HELD];
    size_t n_held;
    lane_end own, listener; /* connector: the two ends of its lane */
} lane_side;

typedef struct lane_record {
    tine_shm_place place;
    uint64_t id;
} lane_record;

/* What the dead had. */
typedef struct lane_grave {
    lane_end end;
    lane_value held[HELD];
    size_t n_held;
} lane_grave;

static struct lanes {
    sim_rng random;
    sim_counts *counts;
    lane_side sides[SIDES];
    lane_grave graves[GRAVES];
    size_t n_graves;
    uint8_t *blocks; /* of the arena, taken once: giving pages back is a system call each */
    bool used[BLOCKS];
    uint64_t made, freed, ids;
    uint32_t numbers;
    bool loses_bells;
} L;

static bool lanes_chance(uint64_t n) { return sim_one_in(&L.random, n); }
static size_t lanes_pick(size_t n) { return (size_t)sim_below(&L.random, n); }

/* ---- values ---- */

static void value_freed(void *data, size_t size, void *ctx) {
    (void)size, (void)ctx;
    L.used[((uint8_t *)data - L.blocks) / BLOCK] = false;
    L.freed++;
}

static void value_check(const lane_value *v) {
    const uint64_t *words = v->buffer->data;
    size_t n = v->buffer->size / sizeof *words;
    for (size_t i = 0; i < n; i++)
        if (words[i] != v->id)
            sim_fail("lanes: value %llu has the bytes of %llu", (unsigned long long)v->id,
                     (unsigned long long)words[i]);
}

static void value_drop(lane_side *s, size_t i) {
    value_check(&s->held[i]);
    tine_buffer_unref(s->held[i].buffer);
    s->held[i] = s->held[--s->n_held];
}

static void value_hold(lane_side *s, lane_value v) {
    value_check(&v);
    if (s->n_held == HELD) value_drop(s, lanes_pick(HELD));
    s->held[s->n_held++] = v;
}

static void value_make(lane_side *s) {
    size_t at = 0, size = BLOCK - 8 * lanes_pick(16);
    while (at < BLOCKS && L.used[at]) at++;
    if (at == BLOCKS) return;
    L.used[at] = true;
    uint64_t *words = (uint64_t *)(void *)(L.blocks + at * BLOCK);
    lane_value v = {.id = ++L.ids};
    for (size_t i = 0; i < size / sizeof *words; i++) words[i] = v.id;
    v.buffer = tine_buffer_wrap(words, size, value_freed, NULL);
    if (!v.buffer) abort();
    L.made++;
    value_hold(s, v);
}

/* ---- bells and sleep ---- */

static void bell_ring(lane_side *to) {
    if (L.loses_bells && lanes_chance(6)) {
        to->unheard = true;
        L.counts->bells_lost++;
    } else {
        to->bells++;
    }
}

static lane_end *end_at(size_t side, size_t connector) {
    lane_side *c = &L.sides[connector];
    return side ? &c->own : &c->listener;
}

/* The connectors with a lane that this side has. */
static bool has_lane(size_t side, size_t connector) {
    const lane_side *c = &L.sides[connector];
    return side ? side == connector && c->lives && c->own.lane.shared : c->known;
}

static void wake(size_t side) {
    for (size_t c = 1; c < SIDES; c++)
        if (has_lane(side, c)) tine_shm_awake(&end_at(side, c)->lane.in);
    L.sides[side].asleep = L.sides[side].unheard = false;
}

static void fall_asleep(size_t side) {
    bool ready = false;
    for (size_t c = 1; c < SIDES; c++)
        if (has_lane(side, c)) ready |= tine_shm_sleep(&end_at(side, c)->lane.in);
    L.sides[side].asleep = true;
    if (ready) wake(side);
}

/* One that sleeps while there is something to read is about to be woken. */
static void bells_check(void) {
    for (size_t side = 0; side < SIDES; side++) {
        const lane_side *s = &L.sides[side];
        if (!s->lives || !s->asleep || s->bells || s->unheard) continue;
        for (size_t c = 1; c < SIDES; c++)
            if (has_lane(side, c) && tine_shm_readable(&end_at(side, c)->lane.in))
                sim_fail("lanes: side %zu sleeps, has something to read, and no bell comes", side);
    }
}

/* ---- records ---- */

static void value_send(size_t side, size_t connector) {
    lane_side *from = &L.sides[side];
    if (!from->n_held || !has_lane(side, connector)) return;
    lane_end *e = end_at(side, connector);
    const lane_value v = from->held[lanes_pick(from->n_held)];
    tine_shm_spot spot;
    uint8_t *to;
    if (!tine_shm_lender_room(&e->lender) || !tine_shm_lendable(&e->lender, v.buffer, &spot))
        return;
    if (tine_shm_reserve(&e->lane.out, sizeof(lane_record), &to) != TINE_SHM_OK) return;
    const lane_record r = {
        {v.buffer->size, spot.offset, tine_shm_lend(&e->lender, &spot), spot.arena}, v.id};
    memcpy(to, &r, sizeof r);
    L.counts->lent++;
    L.counts->lent_back += spot.arena == TINE_SHM_BORROWERS;
    L.counts->lent_on += spot.arena >= TINE_SHM_NEIGHBOURS;
    if (tine_shm_write(&e->lane.out, sizeof r, 1)) bell_ring(&L.sides[side ? 0 : connector]);
}

static void neighbours_tidy(lane_end *e) {
    for (uint32_t i = e->neighbours.n; i-- > 0;) {
        tine_shm_neighbour *n = &e->neighbours.all[i];
        if (n->gone && tine_shm_passed(&e->lane.in, n->until))
            tine_shm_neighbours_remove(&e->neighbours, n);
    }
}

/* False: nothing had come. */
static bool value_receive(size_t side, size_t connector) {
    lane_end *e = end_at(side, connector);
    tine_shm_record record;
    lane_record r;
    const char *wrong;
    tine_shm_result what = tine_shm_next(&e->lane.in, &record);
    if (what == TINE_SHM_BROKEN || (what == TINE_SHM_OK && record.size != sizeof r))
        sim_fail("lanes: a record is broken");
    if (what == TINE_SHM_NONE) return false;
    memcpy(&r, record.bytes, sizeof r);
    tine_shm_segment *lender = L.sides[side ? 0 : connector].arena;
    lane_value v = {tine_shm_borrow(&e->lane, &e->lender, lender, &r.place, &wrong), r.id};
    if (!v.buffer) sim_fail("lanes: value %llu is refused: %s", (unsigned long long)r.id, wrong);
    value_hold(&L.sides[side], v);
    /* whether or not it is woken: the writer of this simulation tries again by itself */
    (void)tine_shm_pass(&e->lane.in);
    if (side) neighbours_tidy(e);
    return true;
}

static void end_collect(lane_end *e) {
    if (tine_shm_is_returned(&e->lender)) tine_shm_collect(&e->lender);
    if (e->lender.broken) sim_fail("lanes: a lease was returned that was not out");
}

/* ---- joining, dying, leaving ---- */

static tine_shm_segment *arena_map(void) {
    tine_arena_place place;
    tine_shm_segment *s;
    const char *why;
    if (!tine_arena_get(&place) || tine_shm_segment_open(&s, &place, false, &why)) abort();
    s->number = ++L.numbers;
    return s;
}

static void neighbour_add(lane_end *e, tine_shm_segment *s) {
    tine_shm_neighbour *n = tine_shm_neighbours_add(&e->neighbours, s);
    if (n) n->mapped = true;
}

/* A connector whose lane has ended goes, with what it still holds. */
static void side_leave(size_t i) {
    lane_side *c = &L.sides[i];
    if (c->known || !c->arena) return;
    while (c->n_held) value_drop(c, c->n_held - 1);
    c->arena->place.pid = DEAD;
    tine_shm_segment_unref(c->arena);
    *c = (lane_side){0};
}

static void side_join(size_t i) {
    lane_side *c = &L.sides[i];
    tine_shm_offer offer = {0};
    const char *why;
    if (c->known || c->lives) return;
    side_leave(i); /* the one that was here has died */
    *c = (lane_side){.lives = true, .known = true, .arena = arena_map()};
    if (tine_shm_lane_make(&c->listener.lane, RING, &offer, &why) ||
        tine_shm_lane_open(&c->own.lane, &offer, &why))
        sim_fail("lanes: no lane: %s", why);
    tine_shm_lane_offered_end(&c->listener.lane);
    tine_shm_lender_init(&c->listener.lender, &c->listener.lane, c->arena, &c->listener.neighbours,
                         true);
    tine_shm_lender_init(&c->own.lender, &c->own.lane, L.sides[0].arena, &c->own.neighbours, false);
    for (size_t k = 1; k < SIDES; k++) {
        lane_side *other = &L.sides[k];
        if (k == i || !other->known || !other->lives) continue;
        neighbour_add(&c->listener, other->arena);
        neighbour_add(&c->own, other->arena);
        neighbour_add(&other->listener, c->arena);
        neighbour_add(&other->own, c->arena);
    }
    wake(0); /* a lane that is new is not asleep: nor is its listener */
}

static void side_die(size_t i) {
    lane_side *c = &L.sides[i];
    if (!c->lives || L.n_graves == GRAVES) return;
    lane_grave *g = &L.graves[L.n_graves++];
    g->end = c->own;
    memcpy(g->held, c->held, sizeof g->held);
    g->n_held = c->n_held;
    g->end.lender.neighbours = NULL;
    L.counts->holders_died += c->n_held > 0;
    c->own = (lane_end){0};
    c->n_held = 0;
    c->lives = c->asleep = false;
    c->bells = 0;
    c->arena->place.pid = DEAD;
}

static void end_close(lane_end *e) {
    end_collect(e);
    tine_shm_lender_fini(&e->lender);
    tine_shm_neighbours_fini(&e->neighbours);
    tine_shm_lane_fini(&e->lane);
}

/* The listener has noticed that the connector has died, or both end their lane. */
static void lane_close(size_t i) {
    lane_side *c = &L.sides[i];
    if (!c->known) return;
    while (value_receive(0, i)) {
    }
    while (c->lives && value_receive(i, i)) {
    }
    for (size_t k = 1; k < SIDES; k++) {
        lane_side *other = &L.sides[k];
        if (k == i || !other->known) continue;
        tine_shm_neighbour *n = tine_shm_neighbours_find(&other->listener.neighbours, c->arena);
        if (n) tine_shm_neighbours_remove(&other->listener.neighbours, n);
        n = other->lives ? tine_shm_neighbours_find(&other->own.neighbours, c->arena) : NULL;
        if (!n) continue;
        n->gone = true;
        n->until = tine_shm_written(&other->own.lane.in);
        neighbours_tidy(&other->own);
    }
    L.counts->lanes_aside += c->lives && c->listener.lender.n > 0;
    end_close(&c->listener);
    if (c->lives) end_close(&c->own);
    c->known = false;
}

/* ---- the run ---- */

static void lanes_step(void) {
    size_t side = lanes_pick(SIDES), c = side ? side : 1 + lanes_pick(SIDES - 1);
    lane_side *s = &L.sides[side];
    switch (lanes_pick(64)) {
    case 0: side_die(1 + lanes_pick(SIDES - 1)); return;
    case 1: lane_close(c); return;
    case 2: side_leave(c); return;
    case 3:
    case 4:
    case 5:
    case 6: side_join(c); return;
    case 7: (void)tine_shm_aside_tidy(); return;
    case 8: /* the timer */
        if (s->lives) wake(side);
        return;
    default: break;
    }
    if (!s->lives) return;
    if (s->asleep) {
        if (!s->bells || lanes_chance(2)) return;
        s->bells--;
        wake(side);
        return;
    }
    switch (lanes_pick(8)) {
    case 0: value_make(s); break;
    case 1:
    case 2:
    case 3: value_send(side, c); break;
    case 4:
    case 5:
        if (has_lane(side, c)) value_receive(side, c);
        break;
    case 6:
        if (s->n_held) value_drop(s, lanes_pick(s->n_held));
        if (has_lane(side, c)) end_collect(end_at(side, c));
        break;
    default: fall_asleep(side);
    }
}

/* What is in the rings arrives, everybody drops what it holds, and all leases come back. */
static void lanes_end(void) {
    for (size_t c = 1; c < SIDES; c++)
        if (!L.sides[c].lives) lane_close(c);
    for (size_t side = 0; side < SIDES; side++) {
        if (L.sides[side].lives) wake(side);
        for (size_t c = 1; c < SIDES; c++)
            while (has_lane(side, c) && value_receive(side, c)) {
            }
    }
    for (size_t side = 0; side < SIDES; side++)
        while (L.sides[side].n_held) value_drop(&L.sides[side], L.sides[side].n_held - 1);
    for (int round = 0; round < 4; round++) { /* a lease that is lent on comes back in turn */
        (void)tine_shm_aside_tidy();
        for (size_t c = 1; c < SIDES; c++) {
            if (has_lane(c, c)) end_collect(&L.sides[c].own);
            if (has_lane(0, c)) end_collect(&L.sides[c].listener);
        }
    }
    for (size_t c = 1; c < SIDES; c++) {
        const lane_side *s = &L.sides[c];
        if (!s->known || !s->lives) continue;
        if (s->own.lender.n || s->listener.lender.n)
            sim_fail("lanes: %u and %u leases of connector %zu did not come back", s->own.lender.n,
                     s->listener.lender.n, c);
    }
    for (size_t c = 1; c < SIDES; c++) {
        lane_close(c);
        side_leave(c);
    }
    L.sides[0].arena->place.pid = DEAD; /* what the dead have lent comes back to nobody */
    while (L.n_graves > 0) {
        lane_grave *g = &L.graves[--L.n_graves];
        while (g->n_held) tine_buffer_unref(g->held[--g->n_held].buffer);
        end_close(&g->end);
    }
    if (tine_shm_aside_tidy()) sim_fail("lanes: leases of ended lanes did not come back");
    tine_shm_segment_unref(L.sides[0].arena);
    if (L.made != L.freed)
        sim_fail("lanes: %llu of %llu buffers were freed", (unsigned long long)L.freed,
                 (unsigned long long)L.made);
}

const char *sim_lanes_run(uint64_t seed, sim_counts *counts) {
    const char *why = tine_shm_obstacle();
    if (why || (!tine_arena_is_open() && tine_arena_open(ARENA, &why))) return why;
    static uint8_t *blocks;
    size_t taken;
    if (!blocks && !(blocks = tine_arena_take((size_t)BLOCKS * BLOCK, &taken))) abort();
    L = (struct lanes){.random = {sim_mix(seed, 77)}, .counts = counts, .blocks = blocks};
    L.loses_bells = lanes_chance(2);
    L.sides[0] = (lane_side){.lives = true, .arena = arena_map()};
    for (size_t i = 1; i < SIDES; i++) side_join(i);
    for (int i = 0; i < STEPS; i++) {
        lanes_step();
        bells_check();
    }
    lanes_end();
    return NULL;
}
