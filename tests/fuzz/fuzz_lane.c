/* Fuzz target: any message about a lane, and any record of its ring, may come from a peer. What is
 * borrowed lies in what can be read, and every lease comes back.
 *
 * The first byte of the input: bit 0, whether the reader is the listener; bit 1, whether the record
 * has leases. The rest is both the message and the record. Here both sides are this process. */
#include <stdlib.h>
#include <string.h>

#include "transport/zmq/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA = 8 << 20, LIMIT = 4 << 20, NUMBER = 3 };

static struct {
    tine_shm_lane made, opened;
    tine_zmq_leases leases;
    tine_buffer *own, *other; /* lent: of the arena, and lent on of the neighbour's */
} side;

static void must(bool is) {
    if (!is) abort();
}

static tine_buffer *lend(tine_buffer *b) {
    tine_shm_spot spot;
    must(tine_shm_lendable(&side.leases.lender, b, &spot));
    (void)tine_shm_lend(&side.leases.lender, &spot);
    return b;
}

/* A neighbour's buffer is one that was borrowed from there. */
static tine_buffer *borrow(const tine_arena_place *place) {
    static tine_shm_lender none;
    tine_shm_place at = {.size = 8192, .lease = 5};
    tine_shm_segment *s;
    const char *why;
    must(tine_shm_segment_open(&s, place, false, &why) == 0);
    s->number = NUMBER;
    must(tine_shm_neighbours_add(&side.leases.neighbours, s));
    side.leases.neighbours.all[0].mapped = true;
    tine_buffer *b = tine_shm_borrow(&side.made, &none, s, &at, &why);
    must(b);
    return b;
}

static void side_open(void) {
    tine_shm_offer offer = {0};
    tine_arena_place place;
    const char *why;
    must(tine_arena_open(ARENA, &why) == 0 && tine_arena_get(&place));
    must(tine_shm_lane_make(&side.made, TINE_SHM_MIN_CAPACITY, &offer, &why) == 0);
    must(tine_shm_lane_open(&side.opened, &offer, &why) == 0);
    must(tine_shm_segment_open(&side.leases.theirs, &place, false, &why) == 0);
    side.other = borrow(&place);
    tine_shm_lender_init(&side.leases.lender, &side.made, side.leases.theirs,
                         &side.leases.neighbours, true);
    side.own = tine_buffer_new(1 << 20);
    must(side.own && lend(side.own) && lend(side.other));
}

static void read_message(const uint8_t *data, size_t size) {
    tine_shm_offer offer;
    tine_arena_place place;
    uint32_t number;
    if (tine_framing_read_lane_number(data, size, &number)) must(number > 0 && size >= 5);
    (void)tine_framing_read_lane_offer(data, size, &offer);
    (void)tine_framing_read_lane_arena(data, size, &place);
    if (tine_framing_read_lane_other(data, size, &number, &place)) must(number > 0);
    bool second;
    if (tine_framing_read_lane_pair(data, size, &number, &second, &offer)) must(number > 0);
}

static void read_byte(const tine_buffer *b, size_t at) {
    (void)*((const volatile uint8_t *)b->data + at);
}

static void read_record(const tine_shm_record *r, bool leased) {
    const char *wrong = NULL;
    uint64_t before = atomic_load(&side.made.borrowed->count), foreign = 0;
    tine_frame *f = leased ? tine_zmq_record_borrow(r, LIMIT, &side.leases, &side.made, &wrong)
                           : tine_zmq_record_read(r, LIMIT, &wrong);
    must(f || wrong);
    for (uint32_t i = 0; f && i < f->n_buffers; i++) {
        const tine_buffer *b = f->buffers[i];
        if (b->size) read_byte(b, 0);
        if (b->size) read_byte(b, b->size - 1);
        foreign += b->foreign;
    }
    must(!f || tine_frame_bytes(f) <= LIMIT);
    tine_frame_free(f);
    must(atomic_load(&side.made.borrowed->count) >= before + foreign);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!side.own) side_open();
    if (size < 1) return 0;
    side.leases.lender.tells = data[0] & 1;
    read_message(data + 1, size - 1);
    /* as large as the record, so that a read past it is seen */
    uint8_t *copy = malloc(size > 1 ? size - 1 : 1);
    must(copy);
    memcpy(copy, data + 1, size - 1);
    tine_shm_record r = {copy, size - 1, 0};
    read_record(&r, data[0] & 2);
    free(copy);
    return 0;
}
