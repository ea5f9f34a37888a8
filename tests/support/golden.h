/* The reference files in tests/golden, for the tests of kernels/ and of modules: shapes in size_t,
 * and the numbers and flags of their metadata. */
#ifndef TINE_TESTS_SUPPORT_GOLDEN_H
#define TINE_TESTS_SUPPORT_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

struct tine_golden;

struct tine_golden *tine_golden_open(const char *name); /* NULL if there is no such file */
void tine_golden_close(struct tine_golden *golden);
/* A tensor's values (float32), NULL if the file has none of that name; shape gets up to 4 sizes,
 * the rest is 1. */
const float *tine_golden_tensor(const struct tine_golden *golden, const char *name,
                                size_t shape[4]);
size_t tine_golden_number(const struct tine_golden *golden, const char *key);
bool tine_golden_flag(const struct tine_golden *golden, const char *key);

#endif
