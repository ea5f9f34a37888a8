#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/crc32c.h"

TestSuite(crc32c, .timeout = 30);

/* RFC 3720, appendix B.4; the bytes of the checksum are written there in the order of the wire. */
Test(crc32c, examples_of_the_standard) {
    uint8_t bytes[32] = {0};
    cr_assert_eq(tine_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    cr_assert_eq(tine_crc32c(0, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
    cr_assert_eq(tine_crc32c(0, bytes, 32), 0x46dd794e);
    cr_assert_eq(tine_crc32c(0, "123456789", 9), 0xe3069283);
    cr_assert_eq(tine_crc32c(0, bytes, 0), 0);
}

Test(crc32c, instruction_table_and_copy_agree_at_every_length) {
    enum { N = 40000 };
    uint8_t *bytes = malloc(N), *copy = malloc(N);
    for (int i = 0; i < N; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    for (size_t n = 0; n < N; n += n < 300 ? 1 : 1021) {
        size_t shift = n % 9 < N - n ? n % 9 : 0;
        uint32_t crc = tine_crc32c_portable(7, bytes + shift, n);
        cr_assert_eq(tine_crc32c(7, bytes + shift, n), crc, "%zu bytes", n);
        cr_assert_eq(tine_crc32c_copy(7, copy, bytes + shift, n), crc, "%zu bytes", n);
        cr_assert_eq(memcmp(copy, bytes + shift, n), 0);
        uint32_t half = tine_crc32c(7, bytes + shift, n / 3);
        cr_assert_eq(tine_crc32c(half, bytes + shift + n / 3, n - n / 3), crc, "%zu bytes", n);
    }
    free(bytes), free(copy);
}

Test(crc32c, every_flipped_bit_is_seen) {
    uint8_t bytes[4000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31);
    uint32_t crc = tine_crc32c(0, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_neq(tine_crc32c(0, bytes, sizeof bytes), crc, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}
