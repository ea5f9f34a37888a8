/* The part of Criterion that the tests of kernels and fibers use. tests/check_arm64 builds them
 * with it: Debian's Criterion for arm64 cannot be installed beside that of another architecture. */
#ifndef TINE_TESTS_ARM64_CRITERION_H
#define TINE_TESTS_ARM64_CRITERION_H

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct criterion_case {
    const char *suite, *name;
    void (*run)(void);
    double timeout; /* seconds */
    int signal;     /* that the case must end by; 0: it ends by itself */
    struct criterion_case *next;
};

void criterion_add(struct criterion_case *one);
/* A check has failed: prints it with its message, a format and its arguments, or NULL. */
void criterion_failed(bool fatal, const char *file, int line, const char *check, ...);
_Noreturn void criterion_skip(const char *format, ...);

#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_##_run(void);                                                      \
    __attribute__((constructor)) static void suite_##_##name_##_add(void) {                        \
        static struct criterion_case one = {                                                       \
            .suite = #suite_, .name = #name_, .run = suite_##_##name_##_run, __VA_ARGS__};         \
        criterion_add(&one);                                                                       \
    }                                                                                              \
    static void suite_##_##name_##_run(void)

#define CHECK_(fatal, holds, ...)                                                                  \
    ((holds) ? (void)0 : criterion_failed(fatal, __FILE__, __LINE__, #holds, ##__VA_ARGS__, NULL))
#define cr_assert(holds, ...) CHECK_(true, holds, ##__VA_ARGS__)
#define cr_expect(holds, ...) CHECK_(false, holds, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...) cr_expect((a) == (b), ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...) cr_expect((a) != (b), ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...) cr_expect((a) > (b), ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...) cr_expect((a) < (b), ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...) cr_expect((a) <= (b), ##__VA_ARGS__)
#define cr_expect_not(a, ...) cr_expect(!(a), ##__VA_ARGS__)
#define cr_expect_null(a, ...) cr_expect(!(a), ##__VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL, ##__VA_ARGS__)
#define cr_expect_not_null(a, ...) cr_expect((a) != NULL, ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) cr_expect(!strcmp(a, b), ##__VA_ARGS__)
#define cr_expect_arr_eq(a, b, bytes, ...) cr_expect(!memcmp(a, b, bytes), ##__VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                                           \
    cr_assert(fabs((double)(a) - (double)(b)) <= (e), ##__VA_ARGS__)
#define cr_expect_float_eq(a, b, e, ...)                                                           \
    cr_expect(fabs((double)(a) - (double)(b)) <= (e), ##__VA_ARGS__)
#define cr_skip_test(...) criterion_skip(__VA_ARGS__)

#endif
