/* Packing, and the loops around a micro-kernel; see gemm.h.
 *
 * The loops are those of Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication,
 * ACM TOMS 34(3), 2008) with B packed beforehand and A not packed. Outermost first: mc rows of A, a
 * panel of B, kc of k, tiles of mr rows. A pass is one panel by one block of kc: its kc x nr values
 * of B stay in the level-2 cache while every tile reads them, and meanwhile the tiles prefetch the
 * values of the next pass, so that B streams in from memory during the arithmetic, and what the
 * caller uses next. The prefetches are spread over the steps of k: where each tile began with those
 * of its successor's 24 lines of C0, B waited for them, 1 to 3 % of a forward of 50 rows and 1024
 * channels (tine bench lstm). Rows are split evenly (50 rows by 6 are 5 x 6 + 4 x 5, not 8 x 6 +
 * 2): a short tile has too few sums in flight to hide the latency of FMA. */
#include "kernels/gemm.h"
#include "kernels/int8.h"
#include "kernels/mem.h"

#include <string.h>

/* Of sums, and of A where a product is computed for what it leaves of B. */
enum { ZEROS = 512 };
static const float zeros[ZEROS];

/* Of B. */
static size_t element_size(const struct tine_gemm_kernel *kernel) {
    static const size_t sizes[] = {sizeof(float), sizeof(uint16_t), sizeof(uint8_t)};
    return sizes[kernel->type];
}

const char *tine_gemm_defect(const struct tine_gemm_kernel *kernel) {
    if (!kernel->name || strncmp(kernel->name, "gemm_", 5) != 0)
        return "its name does not begin with gemm_";
    if (kernel->isa <= TINE_ISA_AUTO || kernel->isa >= TINE_ISA_COUNT)
        return "its instruction set is unknown";
    if (kernel->mr < 1 || kernel->mr > TINE_GEMM_MR_MAX) return "mr is out of range";
    if (kernel->nr < 1 || TINE_GEMM_NR_MAX % kernel->nr)
        return "nr does not divide TINE_GEMM_NR_MAX";
    if (kernel->kr * element_size(kernel) != sizeof(float)) return "kr does not fit its type";
    if (kernel->kc < 1 || kernel->kc % kernel->kr) return "kc is 0 or not a multiple of kr";
    if (kernel->type == TINE_GEMM_INT8 && kernel->kc != TINE_INT8_KC)
        return "kc is not that of int8.h";
    if (kernel->mc < kernel->mr) return "mc is less than mr";
    if (kernel->paired_rows > kernel->mr) return "paired_rows is more than mr";
    if (kernel->paired_rows && kernel->widens_for) return "it widens and has paired_rows";
    if (kernel->micro && kernel->prefetch_every < 1) return "prefetch_every is 0";
    if (kernel->widens_for && kernel->type != TINE_GEMM_BF16)
        return "it widens another type than bf16";
    if (kernel->widens_for &&
        (kernel->widens_for->type != TINE_GEMM_F32 || !kernel->widens_for->micro ||
         kernel->widens_for->nr != kernel->nr || kernel->widens_for->mr < kernel->mr))
        return "it widens for a kernel of another type or other tiles";
    if (kernel->widens_for && kernel->kc * kernel->nr > TINE_GEMM_WIDENED_MAX)
        return "kc x nr values are more than TINE_GEMM_WIDENED_MAX";
    if (!kernel->pack) return "it has no packer";
    if (!kernel->micro == !kernel->whole) return "it does not have exactly one of micro and whole";
    return NULL;
}

size_t tine_gemm_a_size(const struct tine_gemm_kernel *kernel) {
    return kernel->widens_for ? sizeof(float) : element_size(kernel);
}

enum tine_isa tine_gemm_isa(enum tine_gemm_type type) {
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    return type == TINE_GEMM_INT8   ? choice->int8
           : type == TINE_GEMM_BF16 ? choice->bf16
                                    : choice->f32;
}

static const char *const type_names[] = {"f32", "bf16", "int8"};

const char *tine_gemm_type_name(enum tine_gemm_type type) { return type_names[type]; }

bool tine_gemm_type_parse(const char *name, enum tine_gemm_type *out) {
    for (int type = TINE_GEMM_F32; type <= TINE_GEMM_INT8; type++) {
        if (strcmp(name, type_names[type]) != 0) continue;
        *out = (enum tine_gemm_type)type;
        return true;
    }
    return false;
}

const struct tine_gemm_kernel *tine_gemm_of_row(const struct tine_isa_row *row,
                                                enum tine_gemm_type type) {
    return type == TINE_GEMM_INT8   ? row->gemm_int8
           : type == TINE_GEMM_BF16 ? row->gemm_bf16
                                    : row->gemm_f32;
}

const struct tine_gemm_kernel *tine_gemm_choose(enum tine_isa isa, enum tine_gemm_type type) {
    if (isa == TINE_ISA_AUTO) isa = tine_gemm_isa(type);
    if (isa == TINE_ISA_AUTO || tine_isa_obstacle(tine_cpu(), isa)) return NULL;
    const struct tine_gemm_kernel *kernel = tine_gemm_find(isa, type);
    if (kernel) return kernel;
    return type == TINE_GEMM_INT8 ? tine_isa_row(TINE_ISA_PORTABLE)->gemm_int8
                                  : tine_gemm_find(isa, TINE_GEMM_F32);
}

const struct tine_gemm_kernel *tine_gemm_at(size_t i) {
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        const struct tine_isa_row *row = tine_isa_row(isa);
        if (row->gemm_f32 && i-- == 0) return row->gemm_f32;
        if (row->gemm_bf16 && i-- == 0) return row->gemm_bf16;
        if (row->gemm_int8 && i-- == 0) return row->gemm_int8;
    }
    return NULL;
}

const struct tine_gemm_kernel *tine_gemm_find(enum tine_isa isa, enum tine_gemm_type type) {
    if (isa == TINE_ISA_AUTO) isa = tine_gemm_isa(type);
    if (tine_isa_obstacle(tine_cpu(), isa)) return NULL;
    for (; isa != TINE_ISA_AUTO; isa = tine_isa_row(isa)->base) {
        const struct tine_gemm_kernel *kernel = tine_gemm_of_row(tine_isa_row(isa), type);
        if (kernel) return kernel;
    }
    return NULL;
}

/* ---- packing ---- */

/* Bytes of the head of each block of kc of a panel. */
static size_t head_size(const struct tine_gemm_kernel *kernel) {
    return kernel->type == TINE_GEMM_INT8 ? TINE_INT8_HEAD(kernel->nr) : 0;
}

static enum tine_kernel_error packed_alloc(const struct tine_gemm_kernel *kernel, size_t k,
                                           size_t n, struct tine_packed *out) {
    memset(out, 0, sizeof *out);
    size_t panels = n / kernel->nr + (n % kernel->nr != 0);
    size_t kpad, bytes, heads, total;
    if (!tine_size_add(k, kernel->kr - 1, &kpad)) return TINE_KERNEL_OVERFLOW;
    kpad -= kpad % kernel->kr;
    heads = k ? (k - 1) / kernel->kc + 1 : 1;
    if (!tine_size_mul(kpad, (size_t)kernel->nr * element_size(kernel), &bytes) ||
        !tine_size_mul(heads, head_size(kernel), &heads) || !tine_size_add(bytes, heads, &bytes) ||
        !tine_size_mul(bytes, panels, &total))
        return TINE_KERNEL_OVERFLOW;
    struct tine_mem mem;
    if (!tine_mem_alloc(&mem, total)) return TINE_KERNEL_MEMORY;
    *out = (struct tine_packed){kernel, k, n, panels, bytes, mem.data, mem.bytes, mem.mapped};
    return TINE_KERNEL_OK;
}

enum tine_kernel_error tine_gemm_pack_columns(const struct tine_gemm_kernel *kernel, size_t k,
                                              size_t n, const float *const *columns,
                                              ptrdiff_t stride_k, struct tine_packed *out) {
    enum tine_kernel_error error = packed_alloc(kernel, k, n, out);
    if (error) return error;
    for (size_t p = 0; p < out->panels; p++) {
        const float *edge[TINE_GEMM_NR_MAX] = {NULL};
        size_t first = p * kernel->nr, count = n - first < kernel->nr ? n - first : kernel->nr;
        memcpy(edge, columns + first, count * sizeof *edge);
        kernel->pack(k, edge, stride_k, (char *)out->data + p * out->panel_bytes);
    }
    return TINE_KERNEL_OK;
}

enum tine_kernel_error tine_gemm_pack(const struct tine_gemm_kernel *kernel, size_t k, size_t n,
                                      const float *b, ptrdiff_t stride_k, ptrdiff_t stride_n,
                                      struct tine_packed *out) {
    enum tine_kernel_error error = packed_alloc(kernel, k, n, out);
    if (error || k == 0) return error;
    for (size_t p = 0; p < out->panels; p++) {
        const float *columns[TINE_GEMM_NR_MAX] = {NULL};
        for (size_t j = 0; j < kernel->nr && p * kernel->nr + j < n; j++)
            columns[j] = b + (ptrdiff_t)(p * kernel->nr + j) * stride_n;
        kernel->pack(k, columns, stride_k, (char *)out->data + p * out->panel_bytes);
    }
    return TINE_KERNEL_OK;
}

void tine_gemm_widen(const struct tine_packed *b, float *out, struct tine_packed *wide) {
    const struct tine_gemm_kernel *kernel = b->kernel;
    const size_t nr = kernel->nr, panel_bytes = b->k * nr * sizeof *out;
    float row[TINE_GEMM_NR_MAX];
    struct tine_gemm_tile tile = {
        .rows = 1, .a = zeros, .init = zeros, .c = row, .prefetch = (const char *)zeros};
    *wide = (struct tine_packed){kernel->widens_for,      b->k, b->n, b->panels, panel_bytes, out,
                                 panel_bytes * b->panels, false};
    for (size_t p = 0; p < b->panels; p++)
        for (size_t k = 0; k < b->k; k += ZEROS) {
            tile.k = b->k - k < ZEROS ? b->k - k : ZEROS;
            tile.b = (const char *)b->data + p * b->panel_bytes + k * nr * element_size(kernel);
            tile.widened = out + (p * b->k + k) * nr;
            kernel->micro(&tile);
        }
}

void tine_gemm_packed_free(struct tine_packed *packed) {
    struct tine_mem mem = {packed->data, packed->bytes, packed->mapped};
    tine_mem_free(&mem);
    memset(packed, 0, sizeof *packed);
}

/* ---- the loops ---- */

/* A matrix of as many bytes stays in the level-2 cache. A kernel that widens has shorter blocks,
 * since they are there twice. */
static size_t resident_bytes(const struct tine_gemm_kernel *kernel) {
    return kernel->widens_for ? (size_t)512 << 10
                              : 2 * kernel->kc * kernel->nr * element_size(kernel);
}

/* One panel by one block of k, for all rows of the block of mc. */
struct pass {
    const struct tine_gemm_kernel *kernel;
    size_t m, k;
    const char *a, *heads; /* heads: of the rows, in int8 */
    size_t lda, elem;      /* elem: bytes of an element of A */
    /* rows in tiles: the last `larger` have one row more than `small` */
    size_t tiles, small, larger;
    /* B is small enough to stay in the level-2 cache: nothing to prefetch */
    bool resident;
    const char *b, *next; /* this block of the panel, and that of the next pass or NULL */
    size_t second;        /* bytes from this panel to the one computed with it; 0: none */
    const float *init;
    size_t ldinit;
    float *c;
    size_t ldc;
    struct tine_gemm_ahead *ahead; /* what of it is to be prefetched */
    float *widened;                /* as in tine_gemm_panels */
};

static void pass_split_rows(struct pass *p) {
    const size_t mr = p->kernel->mr;
    p->tiles = (p->m + mr - 1) / mr;
    p->small = p->m / p->tiles, p->larger = p->m % p->tiles;
}

/* Lets a tile prefetch from `from` on, as much as it can, in `steps` steps; with fewer lines than
 * that it comes to each several times. Returns the bytes. */
static size_t tile_prefetch(struct tine_gemm_tile *tile, size_t steps, const void *from,
                            size_t bytes) {
    if (bytes > steps * 64) bytes = steps * 64;
    tile->prefetch = from;
    tile->prefetch_step = steps ? bytes / steps : 0;
    return bytes;
}

/* The first tile of a pass widens B for the others where that pays: storing it takes about as long
 * as the tile, so that with 2 tiles a product takes 10 % less time where each widens for itself,
 * with 4 the same (Emerald Rapids). */
static bool pass_widens(const struct pass *p) { return p->widened && p->tiles >= 4; }

static void pass_run_tiles(const struct pass *p) {
    const struct tine_gemm_kernel *kernel = p->kernel;
    const size_t steps = (p->k + kernel->kr - 1) / kernel->kr;
    /* bytes of B in the next pass: a step is 4 bytes of each column for every type. One tile alone
     * reads B once, as fast as the hardware's own prefetching brings it; prefetches beside it cost
     * 2 % of a forward of batch 1 (tine bench lstm). The tiles share them evenly: where the first
     * ones prefetched a line a step, and the others none, these had to wait for the line fill
     * buffers of a CPU whose level-3 cache is slow, 2 to 4 % of a forward of 50 and 128 rows and
     * 1024 channels (the same command, Emerald Rapids) */
    size_t left = p->resident || p->tiles == 1 || !p->next ? 0 : steps * kernel->nr * 4;
    const char *next = p->next;
    void (*micro)(const struct tine_gemm_tile *) = kernel->micro;
    /* prefetches of a tile; a pass has at most kc steps */
    size_t row = 0, fetches = (unsigned)steps / kernel->prefetch_every;
    struct tine_gemm_tile tile = {.k = p->k,
                                  .lda = p->lda,
                                  .b = p->b,
                                  .second = p->second ? p->b + p->second : NULL,
                                  .ldinit = p->ldinit,
                                  .ldc = p->ldc,
                                  .widened = pass_widens(p) ? p->widened : NULL};
    for (size_t i = 0; i < p->tiles; i++) {
        /* the larger ones last: one of 6 rows that widens spills sums */
        tile.rows = p->small + (i >= p->tiles - p->larger);
        tile.a = p->a + row * p->lda * p->elem;
        tile.heads = p->heads + row * p->lda * p->elem;
        tile.init = p->init + row * p->ldinit;
        tile.c = p->c + row * p->ldc;
        if (p->tiles > 1 && p->ahead->bytes) {
            const size_t bytes = tile_prefetch(&tile, fetches, p->ahead->data, p->ahead->bytes);
            p->ahead->data = (const char *)p->ahead->data + bytes;
            p->ahead->bytes -= bytes;
        } else if (left) {
            const size_t bytes = tile_prefetch(&tile, fetches, next, left / (p->tiles - i));
            next += bytes, left -= bytes;
        } else { /* what is in the level-1 cache */
            tile.prefetch = tile.a, tile.prefetch_step = 0;
        }
        micro(&tile);
        row += tile.rows;
        if (tile.widened) {
            micro = kernel->widens_for->micro;
            fetches = p->k / kernel->widens_for->prefetch_every;
            tile.b = tile.widened, tile.widened = NULL;
        }
    }
}

/* The last panel of a matrix whose n is not a multiple of nr: one tile of rows at a time, through a
 * buffer of nr columns. */
static void pass_run_edge(struct pass pass, size_t columns) {
    float buffer[TINE_GEMM_MR_MAX * TINE_GEMM_NR_MAX];
    const size_t nr = pass.kernel->nr, m = pass.m;
    for (size_t row = 0; row < m; row += pass.kernel->mr) {
        struct pass part = pass;
        part.m = m - row < pass.kernel->mr ? m - row : pass.kernel->mr;
        part.a += row * pass.lda * pass.elem;
        part.heads += row * pass.lda * pass.elem;
        part.init = part.c = buffer;
        pass_split_rows(&part);
        part.ldinit = part.ldc = nr;
        memset(buffer, 0, part.m * nr * sizeof *buffer);
        for (size_t r = 0; r < part.m; r++)
            memcpy(buffer + r * nr, pass.init + (row + r) * pass.ldinit, columns * sizeof *buffer);
        pass_run_tiles(&part);
        for (size_t r = 0; r < part.m; r++)
            memcpy(pass.c + (row + r) * pass.ldc, buffer + r * nr, columns * sizeof *buffer);
    }
}

/* after: the panel that is read next, none if it is past the last one. */
static void gemm_run_panel(const struct tine_packed *b, size_t panel, size_t after,
                           struct pass pass) {
    const struct tine_gemm_kernel *kernel = b->kernel;
    const char *data = b->data;
    const size_t columns = b->n - panel * kernel->nr;
    const size_t block = kernel->kc * kernel->nr * element_size(kernel) + head_size(kernel);
    const char *a = pass.a;
    size_t k = 0;
    pass.b = data + panel * b->panel_bytes;
    do {
        pass.k = b->k - k < kernel->kc ? b->k - k : kernel->kc;
        pass.a = a + k * pass.elem;
        bool last = k + pass.k >= b->k;
        pass.next = !last               ? pass.b + block
                    : after < b->panels ? data + after * b->panel_bytes
                                        : NULL;
        if (columns < kernel->nr)
            pass_run_edge(pass, columns);
        else
            pass_run_tiles(&pass);
        pass.init = pass.c, pass.ldinit = pass.ldc;
        pass.b += block;
        k += pass.k;
    } while (k < b->k);
}

void tine_gemm_panels(const struct tine_packed *b, size_t first_panel, size_t panels, bool down,
                      size_t m, const void *a, size_t lda, const float *init, size_t ldinit,
                      float *c, size_t ldc, struct tine_gemm_ahead ahead, float *widened) {
    const struct tine_gemm_kernel *kernel = b->kernel;
    if (m == 0 || panels == 0) return;
    if (kernel->whole) {
        kernel->whole(b, first_panel, panels, m, a, lda, init, ldinit, c, ldc);
        return;
    }
    /* the edge of a matrix is computed alone */
    const bool paired = m <= kernel->paired_rows && (first_panel + panels) * kernel->nr <= b->n;
    const size_t elem = tine_gemm_a_size(kernel);
    const size_t head = kernel->type == TINE_GEMM_INT8 ? sizeof(struct tine_int8_row) : 0;
    for (size_t row = 0; row < m; row += kernel->mc) {
        struct pass pass = {
            .kernel = kernel,
            .m = m - row < kernel->mc ? m - row : kernel->mc,
            .a = (const char *)a + row * lda * elem + head,
            .heads = (const char *)a + row * lda * elem,
            .lda = lda,
            .elem = elem,
            .ldinit = init ? ldinit : 0,
            .ldc = ldc,
            .ahead = &ahead,
            .widened = kernel->widens_for ? widened : NULL,
            .resident = b->panels * b->panel_bytes <= resident_bytes(kernel),
        };
        pass_split_rows(&pass);
        for (size_t i = 0, n; i < panels; i += n) {
            n = paired && panels - i > 1 ? 2 : 1;
            const size_t p = down ? panels - n - i : i, panel = first_panel + p;
            pass.init = init ? init + row * ldinit + p * kernel->nr : zeros;
            pass.c = c + row * ldc + p * kernel->nr;
            pass.second = n == 2 ? b->panel_bytes : 0;
            gemm_run_panel(b, panel, down ? panel - 1 : panel + n, pass);
        }
    }
}

void tine_gemm(const struct tine_packed *b, size_t m, const void *a, size_t lda, const float *init,
               size_t ldinit, float *c, size_t ldc) {
    tine_gemm_panels(b, 0, b->panels, false, m, a, lda, init, ldinit, c, ldc,
                     (struct tine_gemm_ahead){0}, NULL);
}
