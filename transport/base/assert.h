/* The always-on assertion: a bug in Tine stops the process and prints both operands. Bad input from
 * a peer, a file or a user never comes here: it is an error code. */
#ifndef TINE_TRANSPORT_BASE_ASSERT_H
#define TINE_TRANSPORT_BASE_ASSERT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TINE_ASSERT(a, op, b)                                                                      \
    do {                                                                                           \
        intmax_t tine_a_ = (intmax_t)(a), tine_b_ = (intmax_t)(b);                                 \
        if (!(tine_a_ op tine_b_)) {                                                               \
            fprintf(stderr, "tine: bug at %s:%d in %s: %s (%jd) " #op " %s (%jd) does not hold\n", \
                    __FILE__, __LINE__, __func__, #a, tine_a_, #b, tine_b_);                       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* For a condition without operands worth printing: prints the condition. */
#define TINE_ASSERT_TRUE(condition)                                                                \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "tine: bug at %s:%d in %s: %s does not hold\n", __FILE__, __LINE__,    \
                    __func__, #condition);                                                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
