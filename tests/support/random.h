/* Random numbers that a test draws from a seed: the same in every run. */
#ifndef TINE_TESTS_SUPPORT_RANDOM_H
#define TINE_TESTS_SUPPORT_RANDOM_H

#include <stdint.h>

/* The linear congruential generator of Knuth's MMIX; its upper bits are the random ones. */
static inline uint64_t random_next(uint64_t *state) {
    return *state = *state * 6364136223846793005u + 1442695040888963407u;
}

/* From 0 to n - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t n) {
    return (random_next(state) >> 33) % n;
}

/* From -1 to 1. */
static inline float random_float(uint64_t *state) {
    return (float)(random_next(state) >> 40) * 0x1p-23f - 1;
}

#endif
