/* What int8.h states about the int8 kernels: their sums are exact, so all give the same bits, and
 * nothing saturates; a NaN or an infinity reaches its row or column alone. The kernel for AVX-VNNI
 * is also compiled with the instruction of AVX512_VNNI, so that its loop runs on CPUs with that. */
#include "kernels/gemm.h"
#include "kernels/int8.h"
#include "kernels/vecmath.h"
#include "tests/support/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512vl,avx512vnni")
#define INT8_DPBUSD "vpdpbusd"
#define tine_gemm_int8_avx_vnni gemm_int8_evex
#include "kernels/gemm_avx_vnni.c"
#undef tine_gemm_int8_avx_vnni
#pragma GCC pop_options
#endif

static uint64_t seed = 3;

struct product {
    size_t m, n, k;
    float *x, *w, *init, *c;
};

static float *floats(size_t n, float scale) {
    float *v = malloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = random_float(&seed) * scale;
    return v;
}

static struct product product_make(size_t m, size_t n, size_t k) {
    return (struct product){m,
                            n,
                            k,
                            floats(m * k, 3),
                            floats(n * k, 1),
                            floats(m * n, 5),
                            calloc(m * n, sizeof(float))};
}

static void product_free(struct product *p) { free(p->x), free(p->w), free(p->init), free(p->c); }

/* C = init + quantised x W'. */
static void product_compute(struct product *p, const struct tine_gemm_kernel *kernel) {
    const size_t lda = tine_int8_row_bytes(p->k);
    char *a = malloc(p->m * lda);
    struct tine_packed packed;
    for (size_t i = 0; i < p->m; i++)
        tine_vecmath(TINE_ISA_PORTABLE)->to_int8(p->k, p->x + i * p->k, a + i * lda);
    cr_assert_eq(tine_gemm_pack(kernel, p->k, p->n, p->w, 1, (ptrdiff_t)p->k, &packed), 0);
    tine_gemm(&packed, p->m, a, lda, p->init, p->n, p->c, p->n);
    tine_gemm_packed_free(&packed);
    free(a);
}

/* The int8 kernels that run here, the portable one first; NULL past the end. */
static const struct tine_gemm_kernel *int8_kernel(size_t i) {
    const struct tine_gemm_kernel *kernel;
    for (size_t at = 0; (kernel = tine_gemm_at(at)); at++) {
        if (kernel->type != TINE_GEMM_INT8) continue;
        const char *why = tine_isa_obstacle(tine_cpu(), kernel->isa);
        if (why)
            fprintf(stderr, "SKIP %s: %s\n", kernel->name, why);
        else if (i-- == 0)
            return kernel;
    }
#ifdef __x86_64__
    if (i == 0 && !tine_isa_obstacle(tine_cpu(), TINE_ISA_AVX512_VNNI)) return &gemm_int8_evex;
#endif
    return NULL;
}

Test(gemm_int8, all_kernels_give_the_same_bits, .timeout = 120) {
    const size_t sizes[][3] = {{1, 1, 1},   {6, 64, 16},   {7, 65, 17},  {50, 130, 1024},
                               {13, 48, 3}, {5, 70, 8195}, {300, 40, 6}, {2, 16, 4096}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct product p = product_make(sizes[s][0], sizes[s][1], sizes[s][2]);
        const size_t bytes = p.m * p.n * sizeof *p.c;
        product_compute(&p, int8_kernel(0));
        float *want = memcpy(malloc(bytes), p.c, bytes);
        for (size_t i = 1; int8_kernel(i); i++) {
            product_compute(&p, int8_kernel(i));
            cr_expect(!memcmp(p.c, want, bytes), "%s differs at %zux%zux%zu", int8_kernel(i)->name,
                      p.m, p.n, p.k);
        }
        free(want);
        product_free(&p);
    }
}

/* Values at both ends of the ranges: 255 * 127 at every k, where 16-bit sums would saturate. The
 * scales are powers of two, so that C is exact. */
Test(gemm_int8, sums_do_not_saturate, .timeout = 60) {
    enum { M = 7, N = 66, K = 500 };
    for (size_t i = 0; int8_kernel(i); i++) {
        struct product p = product_make(M, N, K);
        for (int r = 0; r < M; r++)
            for (int k = 0; k < K; k++)
                p.x[r * K + k] = r % 3 == 2 && k % 2 ? 0 : r % 3 ? -255 : 255;
        for (int j = 0; j < N; j++)
            for (int k = 0; k < K; k++) p.w[j * K + k] = j % 2 ? -127 : 127;
        memset(p.init, 0, M * N * sizeof *p.init);
        product_compute(&p, int8_kernel(i));
        for (int r = 0; r < M; r++)
            for (int j = 0; j < N; j++) {
                const float sum = 255.0F * 127 * (r % 3 == 2 ? K / 2 : K);
                const float want = (r % 3 ? -sum : sum) * (j % 2 ? -1 : 1);
                cr_assert_eq(p.c[r * N + j], want, "%s: %g, not %g", int8_kernel(i)->name,
                             (double)p.c[r * N + j], (double)want);
            }
        product_free(&p);
    }
}

Test(gemm_int8, a_value_that_is_not_finite_stays_in_its_row_and_column, .timeout = 60) {
    enum { M = 8, N = 70, K = 30 };
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; int8_kernel(i); i++)
        for (int v = 0; v < 3; v++) {
            struct product p = product_make(M, N, K);
            product_compute(&p, int8_kernel(i));
            float *want = memcpy(malloc(M * N * sizeof *want), p.c, M * N * sizeof *want);
            p.x[3 * K + 11] = values[v], p.w[65 * K + 29] = values[v];
            product_compute(&p, int8_kernel(i));
            for (int r = 0; r < M; r++)
                for (int j = 0; j < N; j++)
                    if (r == 3 || j == 65)
                        cr_assert(isnan(p.c[r * N + j]), "%d, %d", r, j);
                    else
                        cr_assert_eq(p.c[r * N + j], want[r * N + j]);
            free(want);
            product_free(&p);
        }
}

Test(gemm_int8, rows_and_columns_of_zeros_add_nothing, .timeout = 60) {
    enum { M = 3, N = 20, K = 9 };
    for (size_t i = 0; int8_kernel(i); i++) {
        struct product p = product_make(M, N, K);
        memset(p.x + K, 0, K * sizeof *p.x);
        memset(p.w + 5 * K, 0, K * sizeof *p.w);
        for (int k = 0; k < K; k++) p.x[2 * K + k] = p.w[6 * K + k] = 1e-42F; /* counts as zero */
        product_compute(&p, int8_kernel(i));
        for (int j = 0; j < N; j++) {
            cr_expect_eq(p.c[N + j], p.init[N + j]);
            cr_expect_eq(p.c[2 * N + j], p.init[2 * N + j]);
        }
        for (int r = 0; r < M; r++) {
            cr_expect_eq(p.c[r * N + 5], p.init[r * N + 5]);
            cr_expect_eq(p.c[r * N + 6], p.init[r * N + 6]);
        }
        product_free(&p);
    }
}
