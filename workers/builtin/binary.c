/* add, sub, mul, div, with PyTorch's broadcasting and promotion of dtypes. Without a tensor among
 * the arguments the result is a number. bf16 is computed in float32 and rounded once, except
 * quotients that are rounded to whole numbers, which PyTorch computes in bf16 step by step. */
#include <math.h>
#include <string.h>

#include "kernels/bf16.h"
#include "workers/builtin/builtin.h"

enum op { ADD, SUB, MUL, DIV, DIV_TRUNC, DIV_FLOOR, DIV_TRUNC_BF16, DIV_FLOOR_BF16 };

/* ---- quotients that are rounded ---- */

static double floor_divide(double a, double b) {
    if (b == 0) return a / b;
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
    if (quotient == 0) return copysign(0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

/* The same in float32: PyTorch's results differ between the two. */
static float floor_dividef(float a, float b) {
    if (b == 0) return a / b;
    float rest = fmodf(a, b), quotient = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
    if (quotient == 0) return copysignf(0, a / b);
    float whole = floorf(quotient);
    return quotient - whole > 0.5F ? whole + 1 : whole;
}

static float to_bf16(float x) { return tine_bf16_to_float(tine_bf16_from_float(x)); }

static float floor_divide_bf16(float a, float b) {
    if (b == 0) return a / b;
    float rest = to_bf16(fmodf(a, b)), quotient = to_bf16(to_bf16(a - rest) / b);
    if (rest != 0 && (b < 0) != (rest < 0)) quotient = to_bf16(quotient - 1);
    if (quotient == 0) return copysignf(0, a / b);
    float whole = floorf(quotient);
    return to_bf16(quotient - whole) > 0.5F ? whole + 1 : whole;
}

/* The least int by -1 wraps, where the processor would trap. b was checked not to be 0, but a peer
 * may rewrite its tensors afterwards. */
static int64_t trunc_int(int64_t a, int64_t b) {
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : b ? a / b : 0;
}
static int64_t floor_int(int64_t a, int64_t b) {
    return trunc_int(a, b) - (b != -1 && b != 0 && a % b != 0 && (a < 0) != (b < 0));
}

/* ---- runs ---- */

/* A run of n elements; a stride sa or sb of 0 repeats one element. p and q are the two operands.
 * Ints wrap: they are computed as unsigned. */
/* NOLINTBEGIN(bugprone-macro-parentheses): types and operators cannot be put in parentheses */
#define RUN(T, EXPRESSION)                                                                         \
    do {                                                                                           \
        const T *x = a, *y = b;                                                                    \
        T *z = out;                                                                                \
        if (sa && sb)                                                                              \
            for (int64_t i = 0; i < n; i++) {                                                      \
                const T p = x[i], q = y[i];                                                        \
                z[i] = (T)(EXPRESSION);                                                            \
            }                                                                                      \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++) {                                                      \
                const T p = x[i * sa], q = y[i * sb];                                              \
                z[i] = (T)(EXPRESSION);                                                            \
            }                                                                                      \
    } while (0)
#define RUNS(T, W, DIVIDED, TRUNCATED, FLOORED)                                                    \
    do {                                                                                           \
        switch (op) {                                                                              \
        case ADD: RUN(T, (W)p + (W)q); break;                                                      \
        case SUB: RUN(T, (W)p - (W)q); break;                                                      \
        case MUL: RUN(T, (W)p *(W)q); break;                                                       \
        case DIV: RUN(T, DIVIDED); break;                                                          \
        case DIV_TRUNC: RUN(T, TRUNCATED); break;                                                  \
        default: RUN(T, FLOORED);                                                                  \
        }                                                                                          \
    } while (0)
/* NOLINTEND(bugprone-macro-parentheses) */

/* Ints are divided with rounding only. */
static void binary_run(enum op op, tine_dtype t, int64_t n, const void *a, int64_t sa,
                       const void *b, int64_t sb, void *out) {
    if (op == DIV_TRUNC_BF16) {
        RUN(float, truncf(to_bf16(p / q)));
        return;
    }
    if (op == DIV_FLOOR_BF16) {
        RUN(float, floor_divide_bf16(p, q));
        return;
    }
    switch (t) {
    case TINE_F32: RUNS(float, float, p / q, truncf(p / q), floor_dividef(p, q)); break;
    case TINE_F64: RUNS(double, double, p / q, trunc(p / q), floor_divide(p, q)); break;
    case TINE_I64:
        RUNS(int64_t, uint64_t, trunc_int(p, q), trunc_int(p, q), floor_int(p, q));
        break;
    case TINE_I32:
        RUNS(int32_t, uint32_t, trunc_int(p, q), trunc_int(p, q), floor_int(p, q));
        break;
    default: RUNS(uint8_t, uint32_t, trunc_int(p, q), trunc_int(p, q), trunc_int(p, q));
    }
}

typedef struct broadcast {
    int rank;
    int64_t shape[TINE_MAX_RANK];
    int64_t a[TINE_MAX_RANK], b[TINE_MAX_RANK]; /* strides in elements, 0 where repeated */
} broadcast;

static void strides(const tine_value *v, int rank, int64_t *out) {
    int64_t stride = 1;
    for (int i = rank - 1, j = v->tensor.rank - 1; i >= 0; i--, j--) {
        out[i] = j >= 0 && v->tensor.shape[j] != 1 ? stride : 0;
        if (j >= 0) stride *= v->tensor.shape[j];
    }
}

static bool broadcast_init(tine_task *task, broadcast *w, const tine_value *a,
                           const tine_value *b) {
    int ra = a->tensor.rank, rb = b->tensor.rank;
    w->rank = ra > rb ? ra : rb;
    for (int i = 1; i <= w->rank; i++) {
        int64_t x = i <= ra ? a->tensor.shape[ra - i] : 1,
                y = i <= rb ? b->tensor.shape[rb - i] : 1;
        if (x != y && x != 1 && y != 1) {
            tine_fail(task,
                      "%s(): arguments 'input' and 'other' must have sizes that are equal or 1, "
                      "but in dimension %d they have %lld and %lld",
                      task->callable->name, w->rank - i, (long long)x, (long long)y);
            return false;
        }
        w->shape[w->rank - i] = x == 1 ? y : x;
    }
    strides(a, w->rank, w->a);
    strides(b, w->rank, w->b);
    return true;
}

/* The longest run: how many elements of the inner dimensions have one stride, 1 or 0, in each
 * operand. Dimensions of size 1 fit any stride. *outer: how many dimensions are before them. */
static int64_t run_length(const broadcast *w, int *outer) {
    int64_t n = 1;
    int d = w->rank - 1, first = d;
    while (first > 0 && w->shape[first] == 1) first--;
    bool ma = first >= 0 && w->a[first] != 0, mb = first >= 0 && w->b[first] != 0;
    for (; d >= 0; d--) {
        if (w->shape[d] != 1 && ((w->a[d] != 0) != ma || (w->b[d] != 0) != mb)) break;
        n *= w->shape[d];
    }
    *outer = d + 1;
    return n;
}

static void binary_tensors(enum op op, tine_dtype t, const broadcast *w, const uint8_t *a,
                           const uint8_t *b, uint8_t *out) {
    int outer, last = w->rank - 1;
    int64_t n = run_length(w, &outer), index[TINE_MAX_RANK] = {0}, at_a = 0, at_b = 0, sa = 0,
            sb = 0;
    size_t size = tine_dtype_size(t);
    for (int d = outer; d <= last; d++) sa |= w->a[d] != 0, sb |= w->b[d] != 0;
    for (;; out += (size_t)n * size) {
        binary_run(op, t, n, a + (size_t)at_a * size, sa, b + (size_t)at_b * size, sb, out);
        int d = outer - 1;
        for (; d >= 0; d--) {
            at_a += w->a[d], at_b += w->b[d];
            if (++index[d] < w->shape[d]) break;
            at_a -= w->a[d] * w->shape[d], at_b -= w->b[d] * w->shape[d];
            index[d] = 0;
        }
        if (d < 0) return;
    }
}

/* ---- numbers ---- */

static double number_computed(enum op op, double x, double y) {
    switch (op) {
    case ADD: return x + y;
    case SUB: return x - y;
    case MUL: return x * y;
    case DIV: return x / y;
    case DIV_TRUNC: return trunc(x / y);
    default: return floor_divide(x, y);
    }
}

static int64_t int_computed(enum op op, int64_t x, int64_t y) {
    switch (op) {
    case ADD: return (int64_t)((uint64_t)x + (uint64_t)y);
    case SUB: return (int64_t)((uint64_t)x - (uint64_t)y);
    case MUL: return (int64_t)((uint64_t)x * (uint64_t)y);
    case DIV_TRUNC: return trunc_int(x, y);
    default: return floor_int(x, y);
    }
}

static tine_value *binary_numbers(tine_task *task, enum op op, const tine_value *a,
                                  const tine_value *b) {
    if (op >= DIV && tine_number(b) == 0) return tine_arg_fail(task, 1, "not be zero");
    if (a->kind == TINE_FLOAT || b->kind == TINE_FLOAT || op == DIV)
        return tine_float(number_computed(op, tine_number(a), tine_number(b)));
    int64_t x = a->kind == TINE_INT ? a->i : a->b, y = b->kind == TINE_INT ? b->i : b->b;
    return tine_int(int_computed(op, x, y));
}

/* ---- tensors ---- */

static bool has_zero(const tine_value *x) {
    for (int64_t i = 0; i < x->tensor.elements; i++)
        if (tine_tensor_int_at(x, i) == 0) return true;
    return false;
}

/* Both operands have the dtype `t`, which is not bf16. */
static const tine_value *binary_computed(tine_task *task, enum op op, tine_dtype t,
                                         const tine_value *a, const tine_value *b) {
    broadcast w;
    void *data;
    if (!broadcast_init(task, &w, a, b)) return NULL;
    tine_value *out = tine_tensor_new(t, w.rank, w.shape, &data);
    if (!out || !out->tensor.elements) return out;
    if (op >= DIV && !tine_dtype_floating(t) && has_zero(b))
        return tine_arg_fail(task, 1, "not hold zero where ints are divided");
    binary_tensors(op, t, &w, a->tensor.data, b->tensor.data, data);
    return out;
}

/* Argument 'alpha', a number. NULL: the task has failed. */
static const tine_value *alpha_of(tine_task *task) {
    const tine_value *v = tine_arg(task, 2);
    if (v->kind == TINE_INT || v->kind == TINE_FLOAT) return v;
    if (v->kind == TINE_TENSOR && v->tensor.elements == 1)
        return tine_dtype_floating(v->tensor.dtype) ? tine_float(tine_as_float(v))
                                                    : tine_int(tine_as_int(v));
    return tine_arg_fail(task, 2, "be a number, not %s", tine_kind_name(v->kind));
}

/* b, of the dtype `inner`, times argument 'alpha'; `t` is the result's dtype. */
static const tine_value *scaled(tine_task *task, tine_dtype t, tine_dtype inner,
                                const tine_value *b) {
    const tine_value *alpha = alpha_of(task);
    int64_t most = t == TINE_U8 ? UINT8_MAX : t == TINE_I32 ? INT32_MAX : INT64_MAX;
    if (!alpha || !tine_arg_given(task, 2)) return alpha ? b : NULL;
    if (!tine_dtype_floating(t)) {
        if (alpha->kind == TINE_FLOAT)
            return tine_arg_fail(task, 2, "be an int where all tensors hold ints");
        if (alpha->i > most || alpha->i < -most - (t != TINE_U8))
            return tine_arg_fail(task, 2, "fit %s, but is %lld", tine_dtype_name(t),
                                 (long long)alpha->i);
    }
    if (!(alpha = tine_number_tensor(alpha)) || !(alpha = tine_converted(alpha, t)) ||
        !(alpha = tine_converted(alpha, inner)))
        return NULL;
    return binary_computed(task, MUL, inner, b, alpha);
}

static const tine_value *operand_of(tine_task *task, size_t i, enum op op) {
    const tine_value *v = tine_arg(task, i);
    if (v->kind == TINE_BOOL && op == SUB)
        return tine_arg_fail(task, i, "not be a bool, which cannot be subtracted");
    return tine_is_number(v) ? v : tine_arg_tensor(task, i, 0, -1);
}

/* As in PyTorch, an operand is rounded to the result's dtype first, here to bf16, unless it is the
 * only element of a factor or divisor. */
static tine_value *binary(tine_task *task, enum op op, bool has_alpha) {
    const tine_value *a = tine_arg(task, 0), *b = tine_arg(task, 1);
    if (tine_is_number(a) && tine_is_number(b)) {
        const tine_value *alpha = has_alpha ? alpha_of(task) : NULL;
        if (has_alpha && (!alpha || !(b = binary_numbers(task, MUL, b, alpha)))) return NULL;
        return binary_numbers(task, op, a, b);
    }
    if (!(a = operand_of(task, 0, op)) || !(b = operand_of(task, 1, op))) return NULL;
    tine_dtype t = tine_result_dtype(a, b);
    if (op == DIV && !tine_dtype_floating(t)) t = TINE_F32;
    tine_dtype inner = t == TINE_BF16 ? TINE_F32 : t;
    if (tine_is_number(a) && !(a = tine_number_tensor(a))) return NULL;
    if (tine_is_number(b) && !(b = tine_number_tensor(b))) return NULL;
    bool exact = op >= MUL && b->tensor.elements == 1;
    if (!(a = tine_converted(a, t)) || !(a = tine_converted(a, inner)) ||
        (!exact && !(b = tine_converted(b, t))) || !(b = tine_converted(b, inner)))
        return NULL;
    if (t == TINE_BF16 && op > DIV && !exact) op += DIV_TRUNC_BF16 - DIV_TRUNC;
    if (has_alpha && !(b = scaled(task, t, inner, b))) return NULL;
    const tine_value *out = binary_computed(task, op, inner, a, b);
    return out ? (tine_value *)tine_converted(out, t) : NULL;
}

static tine_value *divide(tine_task *task) {
    const tine_value *mode = tine_arg(task, 2);
    if (mode->kind == TINE_NONE) return binary(task, DIV, false);
    const char *text = tine_arg_string(task, 2);
    if (!text) return NULL;
    if (strcmp(text, "trunc") == 0) return binary(task, DIV_TRUNC, false);
    if (strcmp(text, "floor") == 0) return binary(task, DIV_FLOOR, false);
    return tine_arg_fail(task, 2, "be none, 'trunc' or 'floor', not '%s'", text);
}

TINE_BUILTIN(add, TINE_INPUT ", " TINE_OTHER ", *, alpha=1") { return binary(task, ADD, true); }
TINE_BUILTIN(sub, TINE_INPUT ", " TINE_OTHER ", *, alpha=1") { return binary(task, SUB, true); }
TINE_BUILTIN(mul, TINE_INPUT ", " TINE_OTHER) { return binary(task, MUL, false); }
TINE_BUILTIN(div, TINE_INPUT ", " TINE_OTHER ", *, rounding_mode=none") { return divide(task); }
