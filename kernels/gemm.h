/* GEMM with one operand packed in advance: C = C0 + A x B, where B is packed once (a module's
 * weights) and used many times.
 *
 * A kernel is a record: a micro-kernel, the packing for its layout, and its tile and block sizes,
 * named as in BLIS (Van Zee and van de Geijn, BLIS: A Framework for Rapidly Instantiating BLAS
 * Functionality, ACM TOMS 41(3), 2015). The records stand in the table of isa.h. A micro-kernel
 * computes up to mr rows by exactly nr columns in one pass over k; each element of C is one chain
 * of additions over k in ascending order that begins at C0. So the bits of an element do not depend
 * on m, on the other rows, or on where k is cut into blocks.
 *
 * Packed layout: panels of nr columns; within a panel k ascending in groups of kr; within a group
 * the nr columns, each with its kr values. The last panel and the last group are padded with zeros.
 * In int8 each block of kc values of a panel has a head; see int8.h.
 *
 * A packed matrix is immutable: any number of threads may use it. */
#ifndef TINE_KERNELS_GEMM_H
#define TINE_KERNELS_GEMM_H

#include "kernels/error.h"
#include "kernels/isa.h"

#include <stddef.h>
#include <stdint.h>

enum tine_gemm_type { TINE_GEMM_F32, TINE_GEMM_BF16, TINE_GEMM_INT8 };

enum {
    TINE_GEMM_MR_MAX = 8,
    TINE_GEMM_NR_MAX = 64, /* and every nr divides it */
    /* Most values of B in a pass of a kernel that widens: 128 KiB as float32, in the level-2 cache.
     * With half as many a forward of 50 rows and 1024 channels takes 4 % more time, with twice as
     * many about the same (tine bench lstm --dtype bf16, Emerald Rapids). */
    TINE_GEMM_WIDENED_MAX = 512 * TINE_GEMM_NR_MAX,
};

/* One call of a micro-kernel: rows (1..mr) x nr elements of C, or twice as many columns. */
struct tine_gemm_tile {
    size_t rows, k;
    /* float, bf16 or uint8, row r at a + r*lda elements; k values of each are read, in int8 with
     * the padding */
    const void *a; /* float where the kernel widens */
    size_t lda;
    const char *heads; /* int8: the heads of the rows, at heads + r*lda; else not used */
    const void *b;     /* the panel at the first k of this block, in int8 its head */
    /* another panel likewise, of the next nr columns of init and c; NULL: one panel only. It is set
     * only with at most paired_rows rows */
    const void *second;
    const float *init; /* where the sums begin; row r at init + r*ldinit */
    size_t ldinit;
    float *c; /* may equal init */
    size_t ldc;
    /* memory that is needed later: the kernel prefetches one cache line every prefetch_every steps
     * of k, prefetch_step bytes apart, from here on */
    const char *prefetch;
    size_t prefetch_step;
    /* for a kernel that widens: where the micro-kernel also writes the values of B as float32, for
     * the other tiles of the pass; NULL: there are none */
    float *widened;
};

struct tine_packed;

struct tine_gemm_kernel {
    const char *name; /* gemm_TYPE_ISA_MRxNR */
    enum tine_isa isa;
    enum tine_gemm_type type;
    unsigned mr, nr, kr;
    /* k values per pass: kc x nr values of B fill a quarter of the level-2 cache (tuned with `tine
     * bench lstm`) */
    size_t kc;
    unsigned prefetch_every; /* steps of k (of kr values) per cache line */
    size_t mc;               /* rows of A per pass: mc x kc values fit beside them */
    size_t paired_rows;      /* a product of so many rows or fewer takes two panels at a time */
    void (*micro)(const struct tine_gemm_tile *tile);
    /* Set where a kernel for bf16 widens B to float32, which is exact, and multiplies in float32: A
     * consists of float32, rounded to bf16 values. The first tile of a pass, computed by micro,
     * leaves B widened, as this kernel for float32 has it packed, which computes the others. */
    const struct tine_gemm_kernel *widens_for;
    /* Packs one panel: column j is the k values columns[j][0], columns[j][stride_k], … or zeros if
     * columns[j] is NULL. */
    void (*pack)(size_t k, const float *const *columns, ptrdiff_t stride_k, void *panel);
    /* Set instead of micro where a library computes the whole product (OpenBLAS). */
    void (*whole)(const struct tine_packed *b, size_t first_panel, size_t panels, size_t m,
                  const float *a, size_t lda, const float *init, size_t ldinit, float *c,
                  size_t ldc);
};

/* The record for an instruction set (AUTO: the one chosen) and type: its own, else its base's. NULL
 * if there is none or the instruction set cannot run here. */
const struct tine_gemm_kernel *tine_gemm_find(enum tine_isa isa, enum tine_gemm_type type);
/* The record for a computation whose operands have this type: where there is none for bf16 that for
 * float32, then the caller rounds (operand.h), for int8 the portable one. AUTO: the choice of
 * tine_kernel_choice(). NULL if the instruction set cannot run here. */
const struct tine_gemm_kernel *tine_gemm_choose(enum tine_isa isa, enum tine_gemm_type type);
/* The choice of tine_kernel_choice() for a type. */
enum tine_isa tine_gemm_isa(enum tine_gemm_type type);
/* "f32", "bf16", "int8" */
const char *tine_gemm_type_name(enum tine_gemm_type type);
/* False: no such name; *out is untouched. */
bool tine_gemm_type_parse(const char *name, enum tine_gemm_type *out);
/* A row's record for a type, or NULL. */
const struct tine_gemm_kernel *tine_gemm_of_row(const struct tine_isa_row *row,
                                                enum tine_gemm_type type);
/* Bytes of an element of A. */
size_t tine_gemm_a_size(const struct tine_gemm_kernel *kernel);
/* The i-th record of the table, whether or not it can run; NULL past the end. */
const struct tine_gemm_kernel *tine_gemm_at(size_t i);
/* Why a record is defective, a constant clause; NULL if it is sound. */
const char *tine_gemm_defect(const struct tine_gemm_kernel *kernel);

/* B (k x n) packed for one kernel. */
struct tine_packed {
    const struct tine_gemm_kernel *kernel; /* whose layout it has */
    size_t k, n, panels, panel_bytes;
    void *data;
    size_t bytes;
    bool mapped;
};

/* Packs B, whose element (i, j) stands at b[i*stride_k + j*stride_n] (any strides: row-major,
 * transposed, a slice). A bf16 kernel rounds to nearest even, an int8 one quantises. On failure
 * *out is empty. */
enum tine_kernel_error tine_gemm_pack(const struct tine_gemm_kernel *kernel, size_t k, size_t n,
                                      const float *b, ptrdiff_t stride_k, ptrdiff_t stride_n,
                                      struct tine_packed *out);
/* The same with column j of B beginning at columns[j]; NULL is a column of zeros. */
enum tine_kernel_error tine_gemm_pack_columns(const struct tine_gemm_kernel *kernel, size_t k,
                                              size_t n, const float *const *columns,
                                              ptrdiff_t stride_k, struct tine_packed *out);
/* B, packed for a kernel that widens, as its kernel for float32 has it, in k x nr x panels floats
 * at `out`: for several products of many rows. What tine_gemm_panels computes with it has the same
 * bits. Not to be freed. */
void tine_gemm_widen(const struct tine_packed *b, float *out, struct tine_packed *wide);
void tine_gemm_packed_free(struct tine_packed *packed);

/* C (m x n) = init + A (m x k) x B. A is row-major with lda elements a row: float for an f32
 * kernel and one that widens, bf16 (uint16_t) for another bf16 one, for an int8 one rows of int8.h,
 * lda bytes apart. init: NULL is zeros; ldinit 0 is one row for all (a bias); it may be C itself
 * (accumulate). Reads and writes nothing outside these. No allocation. */
void tine_gemm(const struct tine_packed *b, size_t m, const void *a, size_t lda, const float *init,
               size_t ldinit, float *c, size_t ldc);
/* Memory that the caller uses after a product, and that the product brings into the level-2 cache
 * where it has more than one tile of rows. */
struct tine_gemm_ahead {
    const void *data;
    size_t bytes;
};
/* The columns of `panels` panels from `first_panel` on; init and c point at the first of those
 * columns. down: the last panel first. Who multiplies by a matrix again and again alternates: what
 * was read last is still cached, while in one order a matrix larger than a cache is never there
 * when it is read again. widened: room for TINE_GEMM_WIDENED_MAX floats, for a kernel that widens;
 * NULL: each tile widens B for itself, with the same result. */
void tine_gemm_panels(const struct tine_packed *b, size_t first_panel, size_t panels, bool down,
                      size_t m, const void *a, size_t lda, const float *init, size_t ldinit,
                      float *c, size_t ldc, struct tine_gemm_ahead ahead, float *widened);

#endif
