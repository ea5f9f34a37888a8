/* Memory for packed weights and workspaces: aligned to a cache line, zeroed, and on huge pages
 * where it is large.
 *
 * Packed weights are read from end to end at every time step. With 4 KiB pages a 16 MiB matrix
 * takes 4,096 TLB entries per step, with 2 MiB pages eight. */
#ifndef TINE_KERNELS_MEM_H
#define TINE_KERNELS_MEM_H

#include <stdbool.h>
#include <stddef.h>

struct tine_mem {
    void *data; /* NULL if empty */
    size_t bytes;
    bool mapped;
};

/* Zeroed memory of at least `bytes` bytes (0 gives one cache line). False if there is none; then
 * *mem is empty. */
bool tine_mem_alloc(struct tine_mem *mem, size_t bytes);
void tine_mem_free(struct tine_mem *mem);

/* *out = a * b, or *out = a + b; false if that does not fit. */
bool tine_size_mul(size_t a, size_t b, size_t *out);
bool tine_size_add(size_t a, size_t b, size_t *out);

#endif
