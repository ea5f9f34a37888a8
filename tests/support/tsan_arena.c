/* Criterion under ThreadSanitizer. Its sandbox maps an arena at an address that it draws with
 * rand_r. ThreadSanitizer leaves programs only a small part of that range (on x86-64 from
 * 0x5500_0000_0000 to 0x5680_0000_0000), and Criterion gives up at the first refusal: "Could not
 * initialize inheritable arena". So, in that build alone, rand_r draws addresses from this part:
 * 0x2000_0000_0000 + (rand_r() & 0x3fffff) * 2^24 is how the sandbox makes an address of it. It
 * tries again where something is mapped already. */
#include "tests/support/sanitizer.h"

#if defined(TSAN) && defined(__x86_64__)
#include <stdlib.h>

__attribute__((visibility("default"))) int rand_r(unsigned *seed) {
    const unsigned first = (0x550000000000 - 0x200000000000) >> 24,
                   count = (0x568000000000 - 0x550000000000) >> 24;
    *seed = *seed * 1103515245u + 12345u;
    return (int)(first + (*seed >> 8) % count);
}
#else
typedef int tine_tsan_arena_unused;
#endif
