/* The built-in functions: names, arguments and results as PyTorch's. They are ordinary registered
 * functions, each safe to repeat, and compute on one thread in a fixed order, so an answer has the
 * same bits wherever it is computed. This header is what the files builtin_*.c share. */
#ifndef TINE_WORKERS_BUILTIN_BUILTIN_H
#define TINE_WORKERS_BUILTIN_BUILTIN_H

#include "runtime/call/call.h"

/* Splitmix64 at a counter (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
 * OOPSLA 2014): number i of a seed depends on nothing before it, so any part can be made
 * anywhere. */
uint64_t tine_random_bits(uint64_t seed, uint64_t i);
/* n float32 numbers of [low, high), numbers `first` on of this seed: low + (high - low) * (bits >>
 * 40) / 2^24. */
void tine_random_fill(float *out, int64_t n, uint64_t seed, uint64_t first, float low, float high);

bool tine_dtype_floating(tine_dtype t);
/* "f32" or "float32", …; 0 when it is neither. */
tine_dtype tine_dtype_parse(const char *name);
/* Argument `i`, such a name. 0: the task has failed. */
tine_dtype tine_arg_dtype(tine_task *task, size_t i);
/* A dimension as Python counts: -rank to rank - 1. -1: the task has failed. */
int tine_dim_of(tine_task *task, int64_t dim, int rank);
/* Argument `i`, ints (one, or a list), into out; how many, or -1 when the task has failed. */
int tine_arg_ints(tine_task *task, size_t i, int64_t *out, int room);
/* A tensor's elements before, in and behind dimension `dim`. */
void tine_split_at(const tine_value *t, int dim, int64_t *outer, int64_t *n, int64_t *inner);

/* Operations that modules use too; results belong to the current pool. */
tine_value *tine_flip(tine_task *task, const tine_value *x, const int64_t *dims, int n);
tine_value *tine_cat(tine_task *task, tine_value *const *tensors, size_t n, int64_t dim);

#endif
