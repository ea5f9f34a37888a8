/* The built-in functions: names, arguments and results as PyTorch's. What is not offered is refused
 * by name: another keyword, dtype or value of an option. They are ordinary registered
 * functions, each safe to repeat, and compute on one thread in a fixed order, so a result has the
 * same bits wherever it is computed. This header declares what they share with each other and with
 * the modules. Errors name the function, the argument, and what is expected. */
#ifndef TINE_WORKERS_BUILTIN_BUILTIN_H
#define TINE_WORKERS_BUILTIN_BUILTIN_H

#include "runtime/call/call.h"

/* PyTorch's parameters, with the other names that it accepts as keywords, and "b", which was the
 * second parameter's name before. */
#define TINE_INPUT "input|x|a|x1"
#define TINE_OTHER "other|x2|b"
#define TINE_DIM "dim|axis"

/* Like TINE_REPEATABLE_FUNCTION and TINE_CLASS. A program's own of the same name win; these are
 * also called "tine.NAME", which is what the library itself calls. */
#define TINE_BUILTIN(name, parameters)                                                             \
    static tine_value *builtin_##name(tine_task *task);                                            \
    __attribute__((constructor)) static void register_builtin_##name(void) {                       \
        tine_register_builtin(#name, parameters, builtin_##name);                                  \
    }                                                                                              \
    static tine_value *builtin_##name(__attribute__((unused)) tine_task *task)
/* rewrite: see tine_class_entry; or NULL. */
#define TINE_BUILTIN_CLASS(c, rewrite)                                                             \
    __attribute__((constructor)) static void register_builtin_##c(void) {                          \
        tine_register_builtin_class(&c, rewrite);                                                  \
    }

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

/* Argument `i` is the caller's, not the default. */
bool tine_arg_given(tine_task *task, size_t i);

bool tine_dtype_floating(tine_dtype t);
/* "f32" or "float32", …; 0: another name. */
tine_dtype tine_dtype_parse(const char *name);
/* Argument `i`, such a name. 0: the task has failed. */
tine_dtype tine_arg_dtype(tine_task *task, size_t i);
/* The same, or `fallback` for none. */
tine_dtype tine_arg_dtype_or(tine_task *task, size_t i, tine_dtype fallback);
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

/* x with elements of type `t`, cut and wrapped where `t` is smaller: x itself, or a copy that
 * belongs to the current pool. NULL: no memory. */
const tine_value *tine_converted(const tine_value *x, tine_dtype t);

/* torch.stack(items).sum(dim=0) of n floating-point tensors, bit for bit and without the copy; NULL
 * with *fits false where dtypes or shapes differ. */
tine_value *tine_sum_of(tine_value *const *items, size_t n, bool *fits);

/* int, float or bool */
bool tine_is_number(const tine_value *v);
double tine_number(const tine_value *v);
/* A number as a scalar tensor that holds it exactly, of int64 or float64. */
const tine_value *tine_number_tensor(const tine_value *v);
/* The wider of two dtypes: any float is wider than any int, and float32 is wider than bf16. */
tine_dtype tine_dtype_wider(tine_dtype a, tine_dtype b);
/* torch.result_type of two tensors or numbers: a tensor without dimensions does not widen one that
 * has some, and a number does not widen a tensor, except ints to floats. A float beside ints is
 * float32. */
tine_dtype tine_result_dtype(const tine_value *a, const tine_value *b);

#endif
