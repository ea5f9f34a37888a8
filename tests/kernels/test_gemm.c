/* Every GEMM kernel that runs on this machine against double precision: edge sizes, strides, reads
 * and writes out of bounds, and that the bits of an element depend only on its row, its column and
 * its initial value. */
#include "kernels/bf16.h"
#include "kernels/gemm.h"
#include "kernels/int8.h"
#include "tests/support/guard.h"
#include "tests/support/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct problem {
    const struct tine_gemm_kernel *kernel;
    size_t m, n, k, lda, ldc;
    /* a in the kernel's type; b is float, n rows of k (a weight) */
    struct tine_guard a, b, c, init;
    float *rounded; /* b as the kernel sees it */
    struct tine_packed packed;
};

static uint64_t seed = 1;
static float random_value(void) { return random_float(&seed); }

/* Bytes of an element of A, and elements of a row of k values. */
static size_t element(const struct tine_gemm_kernel *kernel) { return tine_gemm_a_size(kernel); }
static size_t width(const struct tine_gemm_kernel *kernel, size_t k) {
    return kernel->type == TINE_GEMM_INT8 ? tine_int8_row_bytes(k) : k;
}

static double a_at(const struct problem *p, size_t i, size_t k) {
    const char *row = (const char *)p->a.data + i * p->lda * element(p->kernel);
    if (element(p->kernel) == sizeof(float)) return ((const float *)row)[k];
    if (p->kernel->type == TINE_GEMM_BF16) return tine_bf16_to_float(((const uint16_t *)row)[k]);
    struct tine_int8_row head;
    memcpy(&head, row, sizeof head);
    return (double)head.scale * ((uint8_t)row[sizeof head + k] - head.zero);
}

/* What the kernel makes of the weights. In int8 the greatest magnitude of a column is 127 steps. */
static float *rounded_b(const struct problem *p) {
    float *out = malloc((p->n * p->k + 1) * sizeof *out);
    for (size_t j = 0; j < p->n; j++) {
        const float *column = (const float *)p->b.data + j * p->k;
        float most = 0;
        for (size_t i = 0; i < p->k; i++) most = fmaxf(most, fabsf(column[i]));
        const float inverse = 1 / (most / 127);
        for (size_t i = 0; i < p->k; i++)
            out[j * p->k + i] = p->kernel->type == TINE_GEMM_F32 ? column[i]
                                : p->kernel->type == TINE_GEMM_BF16
                                    ? tine_bf16_to_float(tine_bf16_from_float(column[i]))
                                    : most / 127 * rintf(column[i] * inverse);
    }
    return out;
}

static void fill_a(struct problem *p) {
    for (size_t i = 0; i < p->m; i++) {
        char *row = (char *)p->a.data + i * p->lda * element(p->kernel);
        const struct tine_int8_row head = {fabsf(random_value()),
                                           (int32_t)(127.5F * (1 + random_value()))};
        if (p->kernel->type == TINE_GEMM_INT8) memcpy(row, &head, sizeof head);
        for (size_t k = 0; k < width(p->kernel, p->k); k++)
            if (p->kernel->type == TINE_GEMM_F32)
                ((float *)row)[k] = random_value();
            else if (p->kernel->widens_for)
                ((float *)row)[k] = tine_bf16_to_float(tine_bf16_from_float(random_value()));
            else if (p->kernel->type == TINE_GEMM_BF16)
                ((uint16_t *)row)[k] = tine_bf16_from_float(random_value());
            else if (k >= sizeof head)
                row[k] = (char)(int)(127.5F * (1 + random_value()));
    }
}

static size_t extent(size_t rows, size_t ld, size_t last) {
    return rows ? (rows - 1) * ld + last : 0;
}

static void make(struct problem *p, bool at_end) {
    const size_t na = extent(p->m, p->lda, width(p->kernel, p->k)), nc = extent(p->m, p->ldc, p->n);
    p->a = tine_guard_alloc(na * element(p->kernel), at_end);
    p->b = tine_guard_alloc(p->n * p->k * 4, at_end);
    p->c = tine_guard_alloc(nc * 4, at_end);
    p->init = tine_guard_alloc(nc * 4, at_end);
    fill_a(p);
    for (size_t i = 0; i < p->n * p->k; i++) ((float *)p->b.data)[i] = random_value();
    p->rounded = rounded_b(p);
    for (size_t i = 0; i < nc; i++)
        ((float *)p->c.data)[i] = 777, ((float *)p->init.data)[i] = random_value();
    cr_assert_eq(tine_gemm_pack(p->kernel, p->k, p->n, p->b.data, 1, (ptrdiff_t)p->k, &p->packed),
                 TINE_KERNEL_OK);
}

static void discard(struct problem *p) {
    tine_gemm_packed_free(&p->packed);
    free(p->rounded);
    tine_guard_free(&p->a), tine_guard_free(&p->b), tine_guard_free(&p->c),
        tine_guard_free(&p->init);
}

/* |computed - exact| <= gamma (|init| + sum |a||b|), gamma = n u / (1 - n u) with n = k + 1
 * roundings of u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1);
 * products of normal floats, so no underflow. */
static void check_values(const struct problem *p, const float *init, size_t ldinit,
                         const char *what) {
    const float *c = p->c.data;
    /* int8: also the scales of a column and of both, and the conversion of a sum */
    const double more = p->kernel->type == TINE_GEMM_INT8 ? 4 : 1;
    const double roundings = ((double)p->k + more) * 0x1p-24, gamma = roundings / (1 - roundings);
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            double exact = init ? init[i * ldinit + j] : 0, sum = fabs(exact);
            for (size_t k = 0; k < p->k; k++) {
                double term = a_at(p, i, k) * (double)p->rounded[j * p->k + k];
                exact += term, sum += fabs(term);
            }
            double error = fabs(c[i * p->ldc + j] - exact);
            cr_assert(error <= gamma * sum + 1e-30,
                      "%s %s %zux%zux%zu: (%zu, %zu) is off by %g, bound %g", p->kernel->name, what,
                      p->m, p->n, p->k, i, j, error, gamma * sum);
        }
    for (size_t i = 0; i + 1 < p->m; i++)
        for (size_t j = p->n; j < p->ldc; j++)
            cr_assert_eq(c[i * p->ldc + j], 777, "wrote between the rows of C");
}

static void reset(struct problem *p) {
    for (size_t i = 0; i < extent(p->m, p->ldc, p->n); i++) ((float *)p->c.data)[i] = 777;
}

static void check_size(const struct tine_gemm_kernel *kernel, size_t m, size_t n, size_t k,
                       size_t gap, bool at_end) {
    struct problem p = {.kernel = kernel, .m = m, .n = n, .k = k, .ldc = n + gap};
    p.lda = width(kernel, k) + gap;
    make(&p, at_end);
    tine_gemm(&p.packed, m, p.a.data, p.lda, NULL, 0, p.c.data, p.ldc);
    check_values(&p, NULL, 0, "from zero");
    reset(&p);
    tine_gemm(&p.packed, m, p.a.data, p.lda, p.init.data, p.ldc, p.c.data, p.ldc);
    check_values(&p, p.init.data, p.ldc, "from C0");
    reset(&p);
    tine_gemm(&p.packed, m, p.a.data, p.lda, p.init.data, 0, p.c.data, p.ldc);
    check_values(&p, p.init.data, 0, "from a bias");
    discard(&p);
}

static const struct tine_gemm_kernel *runnable(size_t i) {
    const struct tine_gemm_kernel *kernel = tine_gemm_at(i);
    const char *why = kernel ? tine_isa_obstacle(tine_cpu(), kernel->isa) : NULL;
    if (why) fprintf(stderr, "SKIP %s: %s\n", kernel->name, why);
    return why ? NULL : kernel;
}

static void check_edges(const struct tine_gemm_kernel *kernel) {
    const size_t mr = kernel->mr > 1 ? kernel->mr : 4, nr = kernel->nr;
    const size_t ms[] = {0, 1, 2, mr - 1, mr, mr + 1, 2 * mr + 1},
                 ns[] = {0, 1, nr - 1, nr, nr + 1, 2 * nr + 3};
    const size_t ks[] = {0, 1, 2, 3, 8, 17};
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < 6; j++)
            for (size_t k = 0; k < 6; k++)
                for (size_t gap = 0; gap < 4; gap += 3)
                    check_size(kernel, ms[i], ns[j], ks[k], gap, (i + j + k) % 2);
}

Test(gemm, edge_sizes, .timeout = 120) {
    for (size_t i = 0; tine_gemm_at(i); i++)
        if (runnable(i)) check_edges(runnable(i));
}

Test(gemm, long_and_tall, .timeout = 120) {
    for (size_t i = 0; tine_gemm_at(i); i++) {
        const struct tine_gemm_kernel *kernel = runnable(i);
        if (!kernel) continue;
        check_size(kernel, 3, kernel->nr + 5, 2 * kernel->kc + 3, 1, true);
        check_size(kernel, 7, 2, kernel->kc, 0, true);
        check_size(kernel, 7, 2, kernel->kc + 1, 0, false);
        if (kernel->mc < 1000) check_size(kernel, 2 * kernel->mc + 1, kernel->nr, 5, 2, true);
    }
}

Test(gemm, random_sizes, .timeout = 120) {
    for (size_t i = 0; tine_gemm_at(i); i++)
        for (int n = 0; runnable(i) && n < 40; n++) {
            size_t r[4];
            for (int j = 0; j < 4; j++) r[j] = (size_t)((random_value() + 1) * 75);
            check_size(runnable(i), r[0], r[1], r[2], r[3] % 9, n % 2);
        }
}

/* The same matrix given row-major, transposed, with gaps, and column by column packs to the same
 * bytes. */
Test(gemm, any_strides_pack_alike, .timeout = 60) {
    enum { K = 13, N = 70 };
    static float rows[K][N + 3], columns[N][2 * K];
    const float *pointers[N];
    for (int k = 0; k < K; k++)
        for (int j = 0; j < N; j++) rows[k][j] = columns[j][2 * k] = random_value();
    for (int j = 0; j < N; j++) pointers[j] = columns[j];
    for (size_t i = 0; tine_gemm_at(i); i++) {
        const struct tine_gemm_kernel *kernel = runnable(i);
        if (!kernel) continue;
        struct tine_packed p[3];
        cr_assert_eq(tine_gemm_pack(kernel, K, N, rows[0], N + 3, 1, &p[0]), TINE_KERNEL_OK);
        cr_assert_eq(tine_gemm_pack(kernel, K, N, columns[0], 2, 2 * K, &p[1]), TINE_KERNEL_OK);
        cr_assert_eq(tine_gemm_pack_columns(kernel, K, N, pointers, 2, &p[2]), TINE_KERNEL_OK);
        for (int j = 0; j < 3; j++) {
            cr_expect_eq(p[j].kernel, kernel, "a packed matrix is tagged with its kernel");
            cr_expect(!memcmp(p[0].data, p[j].data, p[0].panels * p[0].panel_bytes));
        }
        for (int j = 0; j < 3; j++) tine_gemm_packed_free(&p[j]);
    }
}

static void check_independence(const struct tine_gemm_kernel *kernel, size_t n) {
    struct problem p = {.kernel = kernel,
                        .m = 50,
                        .n = n,
                        .k = kernel->kc + 9,
                        .lda = width(kernel, kernel->kc + 12)};
    p.ldc = p.n;
    make(&p, true);
    const size_t elem = element(kernel);
    float *alone = malloc(p.m * p.n * sizeof *alone);
    tine_gemm(&p.packed, p.m, p.a.data, p.lda, p.init.data, p.ldc, p.c.data, p.ldc);
    for (size_t rows = 1; rows <= 13; rows += rows < 3 ? 1 : 5) {
        for (size_t i = 0; i < p.m; i += rows)
            tine_gemm_panels(&p.packed, 0, p.packed.panels, i / rows % 2,
                             p.m - i < rows ? p.m - i : rows, (char *)p.a.data + i * p.lda * elem,
                             p.lda, (float *)p.init.data + i * p.ldc, p.ldc, alone + i * p.n, p.n,
                             (struct tine_gemm_ahead){0}, NULL);
        cr_expect(!memcmp(alone, p.c.data, p.m * p.n * sizeof *alone),
                  "%s: rows by %zu differ from all at once", kernel->name, rows);
    }
    free(alone);
    discard(&p);
}

Test(gemm, bits_of_a_row_depend_on_that_row_alone, .timeout = 60) {
    for (size_t i = 0; tine_gemm_at(i); i++)
        if (runnable(i) && runnable(i)->micro) {
            check_independence(runnable(i), runnable(i)->nr + 7);
            check_independence(runnable(i), 5 * runnable(i)->nr);
        }
}

/* One that widens has the bits of its float32 kernel on rounded operands, with room for B widened
 * and without, and where all of B is widened beforehand. */
static void check_widened(const struct tine_gemm_kernel *kernel) {
    const struct tine_gemm_kernel *f32 = kernel->widens_for;
    struct problem p = {.kernel = kernel, .m = 50, .n = 3 * kernel->nr, .k = 2 * kernel->kc + 9};
    p.lda = p.k, p.ldc = p.n;
    make(&p, true);
    struct tine_packed rounded;
    cr_assert_eq(tine_gemm_pack(f32, p.k, p.n, p.rounded, 1, (ptrdiff_t)p.k, &rounded),
                 TINE_KERNEL_OK);
    float *c[4], *room = aligned_alloc(64, TINE_GEMM_WIDENED_MAX * sizeof *room);
    float *all = aligned_alloc(64, p.k * p.n * sizeof *all);
    struct tine_packed whole;
    tine_gemm_widen(&p.packed, all, &whole);
    const struct tine_packed *const packed[] = {&rounded, &p.packed, &p.packed, &whole};
    for (int i = 0; i < 4; i++) {
        c[i] = malloc(p.m * p.n * sizeof *c[i]);
        for (size_t m = 0; m < p.m; m += 25)
            tine_gemm_panels(packed[i], 0, 3, i % 2, 25, (const float *)p.a.data + m * p.lda, p.lda,
                             p.init.data, 0, c[i] + m * p.n, p.n, (struct tine_gemm_ahead){0},
                             i == 2 ? room : NULL);
        cr_expect(!memcmp(c[0], c[i], p.m * p.n * sizeof *c[i]), "%s: %d", kernel->name, i);
    }
    for (int i = 0; i < 4; i++) free(c[i]);
    free(room), free(all);
    tine_gemm_packed_free(&rounded);
    discard(&p);
}

Test(gemm, widened_bf16_has_the_bits_of_float32, .timeout = 60) {
    for (size_t i = 0; tine_gemm_at(i); i++)
        if (tine_gemm_at(i)->widens_for && runnable(i)) check_widened(runnable(i));
}

Test(gemm, unsound_records_are_refused, .timeout = 10) {
    const struct tine_gemm_kernel sound = *tine_gemm_at(0);
    cr_expect_null(tine_gemm_defect(&sound));
    struct tine_gemm_kernel k = sound;
    k.nr = 24;
    cr_expect_str_eq(tine_gemm_defect(&k), "nr does not divide TINE_GEMM_NR_MAX");
    k = sound, k.mr = 9;
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.kr = 2;
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.kc = 0;
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.mc = 0;
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.micro = NULL;
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.pack = NULL;
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.name = "fast";
    cr_expect_not_null(tine_gemm_defect(&k));
    k = sound, k.widens_for = &sound;
    cr_expect_str_eq(tine_gemm_defect(&k), "it widens another type than bf16");
    struct tine_gemm_kernel wide = sound, bf16 = sound;
    bf16.type = TINE_GEMM_BF16, bf16.kr = 2, bf16.kc = 2, bf16.widens_for = &wide;
    cr_expect_null(tine_gemm_defect(&bf16));
    wide.nr = sound.nr / 2;
    cr_expect_not_null(tine_gemm_defect(&bf16));
    wide = sound, wide.mr = sound.mr - 1;
    cr_expect_not_null(tine_gemm_defect(&bf16));
    wide = sound, wide.type = TINE_GEMM_INT8;
    cr_expect_not_null(tine_gemm_defect(&bf16));
    for (size_t i = 0; tine_gemm_at(i); i++) cr_expect_null(tine_gemm_defect(tine_gemm_at(i)));
}

Test(gemm, sizes_past_the_address_space_are_refused, .timeout = 10) {
    struct tine_packed packed;
    const float one = 1;
    cr_expect_eq(tine_gemm_pack(tine_gemm_at(0), (size_t)-1, 1, &one, 0, 0, &packed),
                 TINE_KERNEL_OVERFLOW);
    cr_expect_eq(
        tine_gemm_pack(tine_gemm_at(0), (size_t)1 << 40, (size_t)1 << 40, &one, 0, 0, &packed),
        TINE_KERNEL_OVERFLOW);
    cr_expect_null(packed.data);
    tine_gemm_packed_free(&packed);
}
