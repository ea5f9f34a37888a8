/* See crc32c.h.
 *
 * The checksum is linear: that of two runs of bytes, one behind the other, is the first one's moved
 * on by as many zero bytes as the second has, plus (exclusive or) the second one's. The instruction
 * takes three cycles and a new one may begin in each, so three runs of STRIDE bytes are added up at
 * once and joined by tables that move a checksum on by STRIDE zero bytes. */
#include "transport/base/crc32c.h"

#include <pthread.h>
#include <string.h>

enum {
    POLYNOMIAL = (int)0x82f63b78, /* reflected */
    STRIDE = 1024,
    COPY_PIECE = 16 << 10, /* copied, then added up: half of a first-level cache */
};

static uint32_t bytes_table[8][256];  /* [k][b]: b followed by k zero bytes */
static uint32_t stride_table[4][256]; /* a byte of a checksum, moved on by STRIDE zero bytes */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static uint32_t crc_zeros(uint32_t crc, size_t n) {
    for (size_t i = 0; i < n; i++) crc = crc >> 8 ^ bytes_table[0][crc & 255];
    return crc;
}

static void tables_fill(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? (uint32_t)POLYNOMIAL : 0);
        bytes_table[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 1; k < 8; k++) bytes_table[k][b] = crc_zeros(bytes_table[k - 1][b], 1);
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 0; k < 4; k++) stride_table[k][b] = crc_zeros(b << 8 * k, STRIDE);
}

/* Both take and give the checksum without the inversions at its beginning and end. */
static uint32_t crc_tables(uint32_t crc, const uint8_t *p, size_t n) {
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);
        crc = bytes_table[7][low & 255] ^ bytes_table[6][low >> 8 & 255] ^
              bytes_table[5][low >> 16 & 255] ^ bytes_table[4][low >> 24] ^ bytes_table[3][p[4]] ^
              bytes_table[2][p[5]] ^ bytes_table[1][p[6]] ^ bytes_table[0][p[7]];
    }
    for (; n; n--, p++) crc = crc >> 8 ^ bytes_table[0][(crc ^ *p) & 255];
    return crc;
}

#ifdef __x86_64__
static uint32_t crc_stride(uint32_t crc) {
    return stride_table[0][crc & 255] ^ stride_table[1][crc >> 8 & 255] ^
           stride_table[2][crc >> 16 & 255] ^ stride_table[3][crc >> 24];
}

static uint64_t eight_bytes(const uint8_t *p) {
    uint64_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

__attribute__((target("sse4.2"))) static uint32_t crc_instruction(uint32_t crc, const uint8_t *p,
                                                                  size_t n) {
    for (; n >= 3 * STRIDE; n -= 3 * STRIDE, p += 3 * STRIDE) {
        uint64_t a = crc, b = 0, c = 0;
        for (size_t i = 0; i < STRIDE; i += 8) {
            a = __builtin_ia32_crc32di(a, eight_bytes(p + i));
            b = __builtin_ia32_crc32di(b, eight_bytes(p + STRIDE + i));
            c = __builtin_ia32_crc32di(c, eight_bytes(p + 2 * STRIDE + i));
        }
        crc = crc_stride(crc_stride((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
    }
    uint64_t wide = crc;
    for (; n >= 8; n -= 8, p += 8) wide = __builtin_ia32_crc32di(wide, eight_bytes(p));
    crc = (uint32_t)wide;
    for (; n; n--, p++) crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#endif

uint32_t tine_crc32c_portable(uint32_t crc, const void *p, size_t n) {
    pthread_once(&tables_once, tables_fill);
    return ~crc_tables(~crc, p, n);
}

uint32_t tine_crc32c(uint32_t crc, const void *p, size_t n) {
    pthread_once(&tables_once, tables_fill);
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) return ~crc_instruction(~crc, p, n);
#endif
    return ~crc_tables(~crc, p, n);
}

uint32_t tine_crc32c_copy(uint32_t crc, void *to, const void *from, size_t n) {
    for (size_t at = 0, now; at < n; at += now) {
        now = n - at < COPY_PIECE ? n - at : COPY_PIECE;
        memcpy((uint8_t *)to + at, (const uint8_t *)from + at, now);
        crc = tine_crc32c(crc, (uint8_t *)to + at, now);
    }
    return crc;
}
