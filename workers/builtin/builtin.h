/* The built-in functions: names, arguments and results as PyTorch's. They are ordinary registered
 * functions, each safe to repeat, and compute on one thread in a fixed order, so a result has the
 * same bits wherever it is computed. This header declares what they share with each other and with
 * the modules. Errors name the function, the argument, and what is expected. */
#ifndef TINE_WORKERS_BUILTIN_BUILTIN_H
#define TINE_WORKERS_BUILTIN_BUILTIN_H

#include "runtime/call/call.h"

/* Splitmix64 at a counter (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
 * OOPSLA 2014): number i of a seed depends on nothing before it, so any part of a sequence can be
 * computed anywhere. */
uint64_t tine_random_bits(uint64_t seed, uint64_t i);
/* n float32 numbers in [low, high), those from number `first` of this seed: low + (high - low) *
 * (bits >> 40) / 2^24. */
void tine_random_fill(float *out, int64_t n, uint64_t seed, uint64_t first, float low, float high);

/* Fails the task with "FUNCTION(): argument 'NAME' must " and the text. Returns NULL. */
void *tine_arg_fail(tine_task *task, size_t i, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool tine_dtype_floating(tine_dtype t);
/* "f32" or "float32", …; 0: another name. */
tine_dtype tine_dtype_parse(const char *name);
/* Argument `i`, such a name. 0: the task has failed. */
tine_dtype tine_arg_dtype(tine_task *task, size_t i);
/* Argument `i`, a module. NULL: the task has failed. */
const tine_value *tine_arg_module(tine_task *task, size_t i);
/* Argument `i`, an int or a list of ints: how many, or -1 when the task has failed. */
int tine_arg_ints(tine_task *task, size_t i, int64_t *out, int room);
/* The same for a list that is or is in argument `i`. */
int tine_ints_of(tine_task *task, size_t i, const tine_value *list, int64_t *out, int room);
/* A dimension as Python counts: -rank to rank - 1. -1: the task has failed. */
int tine_dim_of(tine_task *task, int64_t dim, int rank);
/* Marks a dimension. False: it was marked before, and the task has failed. */
bool tine_dim_mark(tine_task *task, int dim, bool *marked);
/* A tensor's elements before, in and behind dimension `dim`. */
void tine_split_at(const tine_value *t, int dim, int64_t *outer, int64_t *n, int64_t *inner);

/* x with elements of type `t`: x itself, or a copy that belongs to the current pool. NULL: no
 * memory. */
const tine_value *tine_converted(const tine_value *x, tine_dtype t);

#endif
