/* See framing.h. All numbers are big-endian, as msgpack's are. */
#include "transport/zmq/framing.h"

#include <string.h>

#include "transport/base/crc32c.h"
#include "transport/base/frame.h"

static const uint8_t magic[4] = {'T', 'I', 'N', 'E'};

static void put_number(uint8_t *p, uint64_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, v >>= 8) p[i] = (uint8_t)v;
}

static uint64_t get_number(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

void tine_framing_hello(uint8_t out[FRAMING_HELLO_BYTES], const tine_framing_peer *p) {
    out[0] = FRAMING_HELLO;
    memcpy(out + 1, magic, sizeof magic);
    out[5] = FRAMING_VERSION;
    put_number(out + 6, p->chunk, 4);
    put_number(out + 10, p->window, 4);
    out[14] = p->flags;
    put_number(out + 15, tine_crc32c(0, out, 15), 4);
}

size_t tine_framing_head(uint8_t out[FRAMING_CHECKED_HEAD], uint8_t kind, bool checked,
                         uint32_t crc) {
    out[0] = kind;
    if (!checked) return FRAMING_PLAIN_HEAD;
    put_number(out + 1, crc, 4);
    return FRAMING_CHECKED_HEAD;
}

uint32_t tine_framing_head_crc(const uint8_t *p) { return (uint32_t)get_number(p + 1, 4); }

uint32_t tine_framing_crc_size(uint32_t crc, uint64_t size) {
    uint8_t bytes[8];
    put_number(bytes, size, 8);
    return tine_crc32c(crc, bytes, sizeof bytes);
}

void tine_framing_ack(uint8_t out[FRAMING_ACK_BYTES], uint64_t read) { put_number(out, read, 8); }

static void put_offer(uint8_t *out, const tine_shm_offer *offer) {
    const uint32_t numbers[] = {offer->pid, offer->segment, offer->bell, offer->other_bell};
    for (int i = 0; i < 4; i++) put_number(out + 4 * i, numbers[i], 4);
    put_number(out + 16, offer->capacity, 8);
    memcpy(out + 24, offer->token, sizeof offer->token);
}

static void get_offer(const uint8_t *p, tine_shm_offer *out) {
    *out = (tine_shm_offer){.pid = (uint32_t)get_number(p, 4),
                            .segment = (uint32_t)get_number(p + 4, 4),
                            .bell = (uint32_t)get_number(p + 8, 4),
                            .other_bell = (uint32_t)get_number(p + 12, 4),
                            .capacity = get_number(p + 16, 8)};
    memcpy(out->token, p + 24, sizeof out->token);
}

void tine_framing_lane_offer(uint8_t out[FRAMING_LANE_OFFER_BYTES], const tine_shm_offer *offer) {
    out[0] = FRAMING_LANE_OFFER;
    put_offer(out + 1, offer);
}

bool tine_framing_read_lane_offer(const uint8_t *p, size_t n, tine_shm_offer *out) {
    if (n != FRAMING_LANE_OFFER_BYTES) return false;
    get_offer(p + 1, out);
    return true;
}

static void put_place(uint8_t *out, const tine_arena_place *place) {
    put_number(out, place->pid, 4);
    put_number(out + 4, place->fd, 4);
    put_number(out + 8, place->size, 8);
    memcpy(out + 16, place->token, sizeof place->token);
}

static void get_place(const uint8_t *p, tine_arena_place *out) {
    *out = (tine_arena_place){.pid = (uint32_t)get_number(p, 4),
                              .fd = (uint32_t)get_number(p + 4, 4),
                              .size = get_number(p + 8, 8)};
    memcpy(out->token, p + 16, sizeof out->token);
}

void tine_framing_lane_arena(uint8_t out[FRAMING_LANE_ARENA_BYTES], const tine_arena_place *place) {
    out[0] = FRAMING_LANE_ARENA;
    put_place(out + 1, place);
}

bool tine_framing_read_lane_arena(const uint8_t *p, size_t n, tine_arena_place *out) {
    if (n != FRAMING_LANE_ARENA_BYTES) return false;
    get_place(p + 1, out);
    return true;
}

void tine_framing_lane_number(uint8_t out[FRAMING_LANE_NUMBER_BYTES], uint8_t what,
                              uint32_t number) {
    out[0] = what;
    put_number(out + 1, number, 4);
}

bool tine_framing_read_lane_number(const uint8_t *p, size_t n, uint32_t *number) {
    if (n < FRAMING_LANE_NUMBER_BYTES) return false;
    *number = (uint32_t)get_number(p + 1, 4);
    return *number > 0;
}

void tine_framing_lane_other(uint8_t out[FRAMING_LANE_OTHER_BYTES], uint32_t number,
                             const tine_arena_place *place) {
    tine_framing_lane_number(out, FRAMING_LANE_OTHER, number);
    put_place(out + FRAMING_LANE_NUMBER_BYTES, place);
}

bool tine_framing_read_lane_other(const uint8_t *p, size_t n, uint32_t *number,
                                  tine_arena_place *out) {
    if (n != FRAMING_LANE_OTHER_BYTES || !tine_framing_read_lane_number(p, n, number)) return false;
    get_place(p + FRAMING_LANE_NUMBER_BYTES, out);
    return true;
}

void tine_framing_lane_pair(uint8_t out[FRAMING_LANE_PAIR_BYTES], uint32_t number, bool second,
                            const tine_shm_offer *offer) {
    tine_framing_lane_number(out, FRAMING_LANE_PAIR, number);
    out[FRAMING_LANE_NUMBER_BYTES] = second;
    put_offer(out + FRAMING_LANE_NUMBER_BYTES + 1, offer);
}

bool tine_framing_read_lane_pair(const uint8_t *p, size_t n, uint32_t *number, bool *second,
                                 tine_shm_offer *out) {
    if (n != FRAMING_LANE_PAIR_BYTES || !tine_framing_read_lane_number(p, n, number)) return false;
    if (p[FRAMING_LANE_NUMBER_BYTES] > 1) return false;
    *second = p[FRAMING_LANE_NUMBER_BYTES];
    get_offer(p + FRAMING_LANE_NUMBER_BYTES + 1, out);
    return true;
}

void tine_framing_chunk(uint8_t out[FRAMING_CHUNK_BYTES], uint64_t offset) {
    put_number(out, offset, 8);
}

size_t tine_framing_open_bytes(uint32_t n_buffers) { return 4 + 8 * ((size_t)n_buffers + 1); }

void tine_framing_open(uint8_t *out, uint32_t n_buffers) { put_number(out, n_buffers, 4); }

void tine_framing_open_size(uint8_t *out, uint32_t index, uint64_t size) {
    put_number(out + 4 + 8 * (size_t)index, size, 8);
}

const char *tine_framing_read_hello(const uint8_t *p, size_t n, tine_framing_peer *out) {
    if (n < 6 || p[0] != FRAMING_HELLO || memcmp(p + 1, magic, sizeof magic))
        return "its first message is not a hello";
    if (p[5] != FRAMING_VERSION) return "it speaks another version of the framing, here it is 2";
    if (n < FRAMING_HELLO_BYTES) return "its hello is cut short";
    if (get_number(p + 15, 4) != tine_crc32c(0, p, 15)) return FRAMING_DAMAGED;
    uint64_t c = get_number(p + 6, 4), w = get_number(p + 10, 4);
    if (c < FRAMING_MIN_CHUNK || c > FRAMING_MAX_CHUNK)
        return "its hello names a chunk size out of range";
    if (w < 4 * (c + FRAMING_COST)) return "its hello names a window of less than four chunks";
    *out = (tine_framing_peer){(uint32_t)c, (uint32_t)w, p[14]};
    return NULL;
}

const char *tine_framing_read_ack(const uint8_t *p, size_t n, uint64_t *read) {
    if (n != FRAMING_ACK_BYTES) return "an acknowledgement is malformed";
    *read = get_number(p, 8);
    return NULL;
}

const char *tine_framing_read_chunk(const uint8_t *p, size_t n, uint64_t *offset) {
    if (n != FRAMING_CHUNK_BYTES) return "a chunk message is malformed";
    *offset = get_number(p, 8);
    return NULL;
}

const char *tine_framing_read_open_length(const uint8_t *p, size_t n, size_t *bytes) {
    if (n < 4) return "an open message is cut short";
    uint64_t count = get_number(p, 4);
    if (count > TINE_FRAME_MAX_BUFFERS) return "an open message claims too many buffers";
    *bytes = tine_framing_open_bytes((uint32_t)count);
    return n <= *bytes ? NULL : "an open message's length does not match its count";
}

const char *tine_framing_read_open(const uint8_t *p, size_t n, uint64_t max_frame,
                                   uint32_t *n_buffers, uint64_t *total) {
    size_t bytes;
    const char *wrong = tine_framing_read_open_length(p, n, &bytes);
    if (wrong) return wrong;
    if (n != bytes) return "an open message's length does not match its count";
    uint64_t count = get_number(p, 4), sum = 0;
    for (uint32_t i = 0; i <= count; i++) {
        uint64_t size = tine_framing_read_open_size(p, i);
        if (i == 0 && size > TINE_FRAME_MAX_HEADER) return "a frame's header is past the limit";
        if (size > max_frame - sum) return "a frame is past max_frame";
        sum += size;
    }
    if (sum == 0) return "an open message claims an empty frame";
    *n_buffers = (uint32_t)count;
    *total = sum;
    return NULL;
}

uint64_t tine_framing_read_open_size(const uint8_t *p, uint32_t index) {
    return get_number(p + 4 + 8 * (size_t)index, 8);
}
