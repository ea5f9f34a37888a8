/* Ids of objects: values that were put have even ones, modules odd ones. */
#ifndef TINE_RUNTIME_VALUE_OBJECT_H
#define TINE_RUNTIME_VALUE_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t tine_object; /* 0 is none */
static inline bool tine_object_is_module(tine_object id) { return (id & 1) != 0; }

#endif
