/* exp, sigmoid and tanh of every instruction set against double precision over the whole range of
 * float32: every 509th bit pattern, or every TINE_TEST_STRIDEth; 1 takes about ten minutes a
 * set. */
#include "kernels/bf16.h"
#include "kernels/int8.h"
#include "kernels/vecmath.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4099 };

static double exact_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

struct function {
    const char *name;
    double (*exact)(double);
    double bound; /* ulp, as vecmath.h states it */
};

static const struct function functions[] = {
    {"exp", exp, 2}, {"sigmoid", exact_sigmoid, 3}, {"tanh", tanh, 3}};

static float of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Distance in units of the last place of the exact value; infinite where one of the two is not a
 * number. */
static double ulps(float got, double exact) {
    if (isnan(exact)) return isnan(got) ? 0 : INFINITY;
    if (isnan(got)) return INFINITY;
    if (exact > (double)FLT_MAX * (1 + 0x1p-25))
        return isinf(got) && got > 0 ? 0 : got == FLT_MAX ? 1 : INFINITY;
    if (isinf(got)) return INFINITY;
    int exponent;
    frexp(exact, &exponent);
    double ulp = ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
    return fabs((double)got - exact) / ulp;
}

static void check_function(const struct tine_vecmath *math, const struct function *f,
                           void (*compute)(size_t, const float *, float *)) {
    static float x[BLOCK], y[BLOCK];
    const char *text = getenv("TINE_TEST_STRIDE");
    const uint64_t stride = text ? strtoull(text, NULL, 10) : 509;
    cr_assert(stride > 0);
    double worst = 0;
    float at = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX;) {
        size_t n = 0;
        for (; n < BLOCK && bits <= UINT32_MAX; n++, bits += stride) x[n] = of_bits((uint32_t)bits);
        compute(n, x, y);
        for (size_t i = 0; i < n; i++) {
            double error = ulps(y[i], f->exact(x[i]));
            if (error > worst) worst = error, at = x[i];
        }
    }
    fprintf(stderr, "%s %s: %.3f ulp at %a\n", tine_isa_name(math->isa), f->name, worst,
            (double)at);
    cr_expect_leq(worst, f->bound, "%s %s is off by %g ulp at %a", tine_isa_name(math->isa),
                  f->name, worst, (double)at);
}

static void check_special(const struct tine_vecmath *math) {
    const float x[] = {NAN,          INFINITY,      -INFINITY,   0.0f,    -0.0f,
                       FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN / 2, FLT_MAX, -FLT_MAX};
    enum { N = sizeof x / sizeof *x };
    float e[N], s[N], t[N];
    math->exp(N, x, e), math->sigmoid(N, x, s), math->tanh(N, x, t);
    cr_expect(isnan(e[0]) && isnan(s[0]) && isnan(t[0]));
    cr_expect(e[1] == INFINITY && s[1] == 1 && t[1] == 1);
    cr_expect(e[2] == 0 && s[2] == 0 && t[2] == -1);
    cr_expect(e[3] == 1 && s[3] == 0.5f && t[3] == 0 && !signbit(t[3]));
    cr_expect(e[4] == 1 && t[4] == 0 && signbit(t[4]));
    cr_expect(t[5] == FLT_TRUE_MIN && t[6] == -FLT_TRUE_MIN && t[7] == FLT_MIN / 2);
    cr_expect(e[8] == INFINITY && s[8] == 1 && t[8] == 1 && e[9] == 0 && s[9] == 0 && t[9] == -1);
}

/* The same bits wherever an element stands, at whatever alignment, and in place. */
static void check_places(const struct tine_vecmath *math) {
    float x[70], whole[70], part[70];
    for (int i = 0; i < 70; i++) x[i] = (float)(i - 35) * 0.37f;
    math->tanh(70, x, whole);
    for (size_t first = 0; first < 20; first++)
        for (size_t n = 0; n < 40; n++) {
            memcpy(part, x + first, n * sizeof *x);
            part[n] = 12345;
            math->tanh(n, part, part);
            cr_assert(!memcmp(part, whole + first, n * sizeof *x) && part[n] == 12345);
        }
}

static void check_gates(const struct tine_vecmath *math) {
    enum { ROWS = 400, G = TINE_GATE_UNITS };
    static float z[ROWS * 70], c[ROWS * 20], h[ROWS * 18], c0[ROWS * 20];
    double worst_c = 0, worst_h = 0;
    for (int i = 0; i < ROWS * 70; i++) z[i] = sinf((float)i) * (float)(i % 23);
    for (int i = 0; i < ROWS * 20; i++) c0[i] = c[i] = cosf((float)i) * 3;
    /* the worst of 48 million random units */
    z[0] = 6.84f, z[G] = 0.427f, z[2 * G] = -3.29f, c0[0] = c[0] = 1.63f;
    z[70] = -100, z[70 + G] = 100, z[70 + 3 * G] = 6.028f, c0[20] = c[20] = -5.2766f;
    math->gates(ROWS, z, 70, c, 20, h, 18);
    for (int r = 0; r < ROWS; r++)
        for (int u = 0; u < G; u++) {
            const float *row = z + r * 70 + u;
            double state = exact_sigmoid(row[G]) * (double)c0[r * 20 + u] +
                           exact_sigmoid(row[0]) * tanh(row[2 * G]);
            double out = exact_sigmoid(row[3 * G]) * tanh(state);
            worst_c = fmax(worst_c, fabs(c[r * 20 + u] - state) / (1 + fabs(state)));
            worst_h = fmax(worst_h, fabs(h[r * 18 + u] - out));
        }
    fprintf(stderr, "%s gates: c %.2g, h %.2g\n", tine_isa_name(math->isa), worst_c, worst_h);
    cr_expect_leq(worst_c, 4.5e-7);
    cr_expect_leq(worst_h, 4.5e-7);
    for (int r = 0; r < ROWS; r++)
        cr_expect_eq(c[r * 20 + G], c0[r * 20 + G], "a unit beyond the 16 was touched");
}

/* Gates that are closed, open, or not a number, beside a unit with common values. */
static void check_gates_special(const struct tine_vecmath *math) {
    enum { G = TINE_GATE_UNITS };
    static const float limits[] = {-INFINITY, -FLT_MAX, -100, 100, FLT_MAX, INFINITY};
    for (int gate = 0; gate < 4; gate++) {
        float z[4 * G], c[G], h[G];
        for (int i = 0; i < 4 * G; i++) z[i] = 0.5f;
        for (int i = 0; i < G; i++) c[i] = 2;
        for (int i = 0; i < 6; i++) z[gate * G + i] = limits[i];
        z[gate * G + 6] = NAN;
        math->gates(1, z, 4 * G, c, G, h, G);
        for (int u = 0; u < G; u++) {
            double state = exact_sigmoid(z[G + u]) * 2 + exact_sigmoid(z[u]) * tanh(z[2 * G + u]);
            double out = exact_sigmoid(z[3 * G + u]) * tanh(state);
            cr_expect(isnan(out) ? isnan(h[u]) : fabs(h[u] - out) < 3e-7, "gate %d of unit %d: %g",
                      gate, u, (double)h[u]);
            cr_expect(isnan(state) ? isnan(c[u]) : fabs(c[u] - state) < 1e-6);
        }
    }
}

/* tanh where it comes close to 1, with the other gates open: h is never past 1. */
static void check_gates_saturating(const struct tine_vecmath *math) {
    enum { G = TINE_GATE_UNITS };
    float z[4 * G], c[G], h[G];
    double worst = 0, most = 0;
    for (float x = 1; x < 12; x += 0.003f) {
        for (int u = 0; u < G; u++) {
            z[u] = z[3 * G + u] = 100, z[G + u] = -100;
            z[2 * G + u] = (x + 0.0001f * (float)u) * (u % 2 ? -1 : 1);
            c[u] = 0;
        }
        math->gates(1, z, 4 * G, c, G, h, G);
        for (int u = 0; u < G; u++) {
            worst = fmax(worst, fabs(c[u] - tanh(z[2 * G + u])));
            most = fmax(most, fmax(fabs(c[u]), fabs(h[u])));
        }
    }
    cr_expect_leq(worst, 3e-7);
    cr_expect_leq(most, 1);
}

static void check_gru_gates(const struct tine_vecmath *math) {
    enum { ROWS = 3, G = TINE_GATE_UNITS };
    float z[ROWS * 70], c[ROWS * 20], h[ROWS * 18], c0[ROWS * 20];
    for (int i = 0; i < ROWS * 70; i++) z[i] = sinf((float)i) * 5;
    for (int i = 0; i < ROWS * 20; i++) c0[i] = c[i] = cosf((float)i) * 3;
    math->gru_gates(ROWS, z, 70, c, 20, h, 18);
    for (int r = 0; r < ROWS; r++)
        for (int u = 0; u < G; u++) {
            const float *row = z + r * 70 + u;
            double n = tanh(row[2 * G] + exact_sigmoid(row[0]) * row[3 * G]),
                   update = exact_sigmoid(row[G]);
            double state = (1 - update) * n + update * (double)c0[r * 20 + u];
            cr_expect_float_eq(h[r * 18 + u], state, 2e-6);
            cr_expect_eq(c[r * 20 + u], h[r * 18 + u]);
        }
    for (int r = 0; r < ROWS; r++)
        cr_expect_eq(c[r * 20 + G], c0[r * 20 + G], "a unit beyond the 16 was touched");
}

static void check_bf16(const struct tine_vecmath *math) {
    enum { N = 37 };
    float x[N], rounded[N];
    uint16_t half[N];
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 104729 * N) {
        for (size_t i = 0; i < N; i++) x[i] = of_bits((uint32_t)(bits + i * 104729));
        if (!bits)
            x[3] = NAN, x[4] = -INFINITY, x[5] = of_bits(0x7f800001), x[6] = FLT_MAX,
            x[7] = of_bits(0x3f808000);
        math->to_bf16(N, x, half);
        math->round_bf16(N, x, rounded);
        for (size_t i = 0; i < N; i++) {
            const float want = tine_bf16_to_float(tine_bf16_from_float(x[i]));
            cr_assert_eq(half[i], tine_bf16_from_float(x[i]), "%s: bf16 of %a",
                         tine_isa_name(math->isa), (double)x[i]);
            cr_assert(!memcmp(&rounded[i], &want, sizeof want));
        }
    }
}

/* The bits of a sum in double precision, whatever the order of the vectors, and of zeros. */
static void check_sum(const struct tine_vecmath *math) {
    enum { ROWS = 5, N = 75 };
    static float x[ROWS][N + 1];
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < N; i++) x[r][i] = sinf((float)(r * N + i)) * (r % 2 ? 1e-6f : 1e3f);
    for (int r = 0; r < ROWS; r++) x[r][3] = -0.0f, x[r][4] = r ? FLT_MAX : -FLT_MAX;
    x[2][5] = NAN, x[0][6] = INFINITY;
    for (size_t rows = 0; rows <= ROWS; rows++)
        for (size_t n = 0; n <= N; n++) {
            const float *at[ROWS] = {x[0], x[1], x[2], x[3], x[4]};
            float y[N + 1];
            y[n] = 12345;
            math->sum(rows, at, n, y);
            for (size_t i = 0; i < n; i++) {
                double sum = 0;
                for (size_t r = 0; r < rows; r++) sum += (double)x[r][i];
                const float want = (float)sum;
                cr_assert(isnan(want) ? isnan(y[i]) : !memcmp(&y[i], &want, sizeof want),
                          "%s: element %zu of %zu, %zu rows", tine_isa_name(math->isa), i, n, rows);
            }
            cr_assert_eq(y[n], 12345, "an element behind the sums was touched");
        }
}

/* Half a step at most, 0 exactly, the same bytes as the portable set's, and none behind them. */
static void check_int8(const struct tine_vecmath *math) {
    enum { N = 70, ROOM = 96 };
    float x[N];
    for (size_t n = 0; n < N; n++)
        for (int shift = -1; shift <= 1; shift++) {
            uint8_t row[ROOM], want[ROOM];
            const size_t bytes = tine_int8_row_bytes(n);
            struct tine_int8_row head;
            for (size_t i = 0; i < n; i++)
                x[i] = i % 7 ? sinf((float)(i + n)) * 3 + 4 * (float)shift : 0;
            memset(row, 77, ROOM), memset(want, 77, ROOM);
            math->to_int8(n, x, row);
            tine_vecmath(TINE_ISA_PORTABLE)->to_int8(n, x, want);
            cr_assert(!memcmp(row, want, ROOM), "%s: %zu values", tine_isa_name(math->isa), n);
            memcpy(&head, row, sizeof head);
            for (size_t i = 0; i < n; i++) {
                const double got = (double)head.scale * (row[sizeof head + i] - head.zero);
                cr_assert(fabs(got - (double)x[i]) <= (double)head.scale * 0.50001);
                if (x[i] == 0) cr_assert_eq(got, 0);
            }
            for (size_t i = bytes; i < ROOM; i++) cr_assert_eq(row[i], 77);
        }
}

static void check_int8_special(const struct tine_vecmath *math) {
    const float special[] = {NAN, INFINITY, -INFINITY};
    float x[33] = {1, -2};
    uint8_t row[64];
    struct tine_int8_row head;
    for (int i = 0; i < 3; i++)
        for (int at = 0; at < 33; at++) {
            const float before = x[at];
            x[at] = special[i];
            math->to_int8(33, x, row);
            memcpy(&head, row, sizeof head);
            cr_expect(isnan(head.scale), "%s: %g at %d", tine_isa_name(math->isa),
                      (double)special[i], at);
            x[at] = before;
        }
    x[0] = FLT_MAX, x[1] = -FLT_MAX;
    math->to_int8(33, x, row);
    memcpy(&head, row, sizeof head);
    cr_expect(isfinite(head.scale) && row[sizeof head] == 255 && row[sizeof head + 1] == 0);
    x[0] = x[1] = FLT_TRUE_MIN;
    math->to_int8(33, x, row);
    memcpy(&head, row, sizeof head);
    cr_expect_eq((float)(row[sizeof head] - head.zero) * head.scale, 0);
}

static void check_set(enum tine_isa isa) {
    const char *why = tine_isa_obstacle(tine_cpu(), isa);
    if (why) {
        fprintf(stderr, "SKIP %s: %s\n", tine_isa_name(isa), why);
        return;
    }
    if (!tine_isa_row(isa)->vecmath) return; /* another row's */
    const struct tine_vecmath *math = tine_vecmath(isa);
    cr_assert_eq(math->isa, isa);
    check_function(math, &functions[0], math->exp);
    check_function(math, &functions[1], math->sigmoid);
    check_function(math, &functions[2], math->tanh);
    check_special(math);
    check_places(math);
    check_gates(math);
    check_gates_special(math);
    check_gates_saturating(math);
    check_gru_gates(math);
    check_bf16(math);
    check_sum(math);
    check_int8(math);
    check_int8_special(math);
}

#define ROW(ID, name, ...)                                                                         \
    Test(vecmath, name, .timeout = 3600) { check_set(TINE_ISA_##ID); }
TINE_ISA_TABLE(ROW)

Test(vecmath, bf16_rounds_to_nearest_even, .timeout = 10) {
    cr_expect_eq(tine_bf16_from_float(1.0f), 0x3f80);
    cr_expect_eq(tine_bf16_from_float(of_bits(0x3f808000)), 0x3f80);
    cr_expect_eq(tine_bf16_from_float(of_bits(0x3f818000)), 0x3f82);
    cr_expect_eq(tine_bf16_from_float(FLT_MAX), 0x7f80);
    cr_expect(isnan(tine_bf16_to_float(tine_bf16_from_float(of_bits(0x7f800001)))));
}
