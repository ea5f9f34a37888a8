/* Matrix product on operands packed once: C = C0 + A x B, where B is packed when it becomes known
 * (a module's weights) and used many times.
 *
 * One table of records: a micro-kernel, the packer for its layout, and its tile and block sizes,
 * set together and validated when registered. A micro-kernel computes up to mr rows by exactly nr
 * columns in one pass over k, each element of C being one chain of additions over k in ascending
 * order, begun at C0. So an element has the same bits whatever M is, whatever rows stand beside it
 * and wherever k is cut into blocks.
 *
 * Packed layout: panels of nr columns; within a panel k ascending in groups of kr; within a group
 * the nr columns, each with its kr values. The last panel is filled up with zeros, so are odd ends
 * of k.
 *
 * Nothing here is mutable after creation: a packed matrix may be used by any number of threads. */
#ifndef TINE_KERNELS_GEMM_H
#define TINE_KERNELS_GEMM_H

#include "kernels/cpu.h"
#include "kernels/error.h"

#include <stddef.h>
#include <stdint.h>

enum tine_gemm_type { TINE_GEMM_F32, TINE_GEMM_BF16 };

enum {
    TINE_GEMM_MR_MAX = 8,
    TINE_GEMM_NR_MAX = 64, /* and every nr divides it */
};

/* One call of a micro-kernel: rows (1..mr) x nr elements of C. */
struct tine_gemm_tile {
    size_t rows, k;
    const void *a; /* float or bf16, row r at a + r*lda elements; k values of each are read */
    size_t lda;
    const void *b;     /* the panel at the first k of this block */
    const float *init; /* where the sums begin; row r at init + r*ldinit */
    size_t ldinit;
    float *c; /* may equal init */
    size_t ldc;
    /* memory wanted next: a line touched every ahead_every steps of k, ahead_step bytes apart */
    const char *ahead;
    size_t ahead_step;
    /* rows of init wanted after this tile, touched at its beginning; same stride */
    const float *next_init;
};

struct tine_packed;

struct tine_gemm_kernel {
    const char *name; /* gemm_TYPE_ISA_MRxNR */
    enum tine_isa isa;
    enum tine_gemm_type type;
    unsigned mr, nr, kr;
    /* length of k a pass: kc x nr values of B should fill a quarter of the level-2 cache */
    size_t kc;
    unsigned ahead_every;
    size_t mc; /* rows of A a pass: mc x kc values should fit beside it */
    void (*micro)(const struct tine_gemm_tile *tile);
    /* Packs one panel: column j is the k values columns[j][0], columns[j][stride_k], … or zeros if
     * columns[j] is NULL. */
    void (*pack)(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel);
    /* Set instead of micro where a library computes the whole product (OpenBLAS). */
    void (*whole)(const struct tine_packed *b, size_t first_panel, size_t panels, size_t m,
                  const float *a, size_t lda, const float *init, size_t ldinit, float *c,
                  size_t ldc);
};

/* The record for an instruction set (AUTO: the one chosen) and type, or NULL if there is none or it
 * cannot run here. There is a bf16 record for avx512_bf16 only. */
const struct tine_gemm_kernel *tine_gemm_find(enum tine_isa isa, enum tine_gemm_type type);
/* The i-th registered record whether or not it can run, NULL past the end. */
const struct tine_gemm_kernel *tine_gemm_at(size_t i);
/* Why a record would be refused, NULL if it is sound. */
const char *tine_gemm_defect(const struct tine_gemm_kernel *kernel);

/* B (k x n) packed for one kernel. */
struct tine_packed {
    const struct tine_gemm_kernel *kernel; /* the tag: what it was packed for */
    size_t k, n, panels, panel_bytes;
    void *data;
    size_t bytes;
    bool mapped;
};

/* Packs B, whose element (i, j) stands at b[i*stride_k + j*stride_n] (any strides: row-major,
 * transposed, a slice). The bf16 kernel rounds to nearest even. On failure *out is empty. */
enum tine_kernel_error tine_gemm_pack(const struct tine_gemm_kernel *kernel, size_t k, size_t n,
                                      const float *b, ptrdiff_t stride_k, ptrdiff_t stride_n,
                                      struct tine_packed *out);
/* The same with column j of B beginning at columns[j]; NULL is a column of zeros. */
enum tine_kernel_error tine_gemm_pack_columns(const struct tine_gemm_kernel *kernel, size_t k,
                                              size_t n, const float *const *columns,
                                              ptrdiff_t stride_k, struct tine_packed *out);
void tine_gemm_packed_free(struct tine_packed *packed);

/* C (m x n) = init + A (m x k) x B. A is row-major with lda elements a row: float for an f32
 * kernel, bf16 (uint16_t) for a bf16 one. init: NULL is zeros; ldinit 0 is one row for all (a
 * bias); it may be C itself (accumulate). Reads and writes nothing outside these. No allocation. */
void tine_gemm(const struct tine_packed *b, size_t m, const void *a, size_t lda, const float *init,
               size_t ldinit, float *c, size_t ldc);
/* The columns of `panels` panels from `first_panel` on; init and c point at the first of those
 * columns. */
void tine_gemm_panels(const struct tine_packed *b, size_t first_panel, size_t panels, size_t m,
                      const void *a, size_t lda, const float *init, size_t ldinit, float *c,
                      size_t ldc);

#endif
