/* Aligned memory on huge pages, and checked arithmetic on sizes; see mem.h. */
#include "kernels/mem.h"
#include "kernels/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)

bool tine_size_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

bool tine_size_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

/* Maps one huge page more than needed and gives the unaligned ends back. */
static bool map_huge(struct tine_mem *mem, size_t bytes) {
    size_t rounded = (bytes + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    char *raw = mmap(NULL, rounded + HUGE_PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return false;
    size_t lead = (HUGE_PAGE - ((uintptr_t)raw & (HUGE_PAGE - 1))) & (HUGE_PAGE - 1);
    if (lead) munmap(raw, lead);
    if (HUGE_PAGE - lead) munmap(raw + lead + rounded, HUGE_PAGE - lead);
    madvise(raw + lead, rounded, MADV_HUGEPAGE);
    *mem = (struct tine_mem){raw + lead, rounded, true};
    return true;
}

bool tine_mem_alloc(struct tine_mem *mem, size_t bytes) {
    memset(mem, 0, sizeof *mem);
    if (bytes > SIZE_MAX / 4) return false;
    if (bytes >= HUGE_PAGE) return map_huge(mem, bytes);
    size_t rounded = bytes ? (bytes + CACHE_LINE - 1) & ~(CACHE_LINE - 1) : CACHE_LINE;
    void *data = aligned_alloc(CACHE_LINE, rounded);
    if (!data) return false;
    memset(data, 0, rounded);
    *mem = (struct tine_mem){data, rounded, false};
    // cppcheck-suppress memleak ; *mem owns it now
    return true;
}

void tine_mem_free(struct tine_mem *mem) {
    if (mem->mapped)
        munmap(mem->data, mem->bytes);
    else
        free(mem->data);
    memset(mem, 0, sizeof *mem);
}

const char *tine_kernel_strerror(enum tine_kernel_error error) {
    switch (error) {
    case TINE_KERNEL_OK: return "success";
    case TINE_KERNEL_ARGUMENT: return "a size or option is out of range";
    case TINE_KERNEL_OVERFLOW: return "the sizes are too large for this machine's address space";
    case TINE_KERNEL_MEMORY: return "out of memory";
    case TINE_KERNEL_UNSUPPORTED: return "the kernel asked for cannot run on this machine";
    }
    return "unknown error";
}
