/* neg, relu, tanh, sigmoid and add, sub, mul, div, with PyTorch's broadcasting and promotion of
 * dtypes. Without a tensor among the arguments the result is a number. bf16 is computed in float32
 * and rounded once. */
#include <math.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/vecmath.h"
#include "workers/builtin/builtin.h"

enum op { ADD, SUB, MUL, DIV, NEG, RELU, TANH, SIGMOID };

/* ---- conversion ---- */

static bool is_scalar(const tine_value *v) {
    return v->kind == TINE_INT || v->kind == TINE_FLOAT || v->kind == TINE_BOOL;
}

static double number_of(const tine_value *v) {
    return v->kind == TINE_INT ? (double)v->i : v->kind == TINE_BOOL ? v->b : v->d;
}

const tine_value *tine_converted(const tine_value *x, tine_dtype t) {
    void *data;
    if (x->tensor.dtype == t) return x;
    tine_value *out = tine_tensor_new(t, x->tensor.rank, x->tensor.shape, &data);
    for (int64_t i = 0; out && i < x->tensor.elements; i++) switch (t) {
        case TINE_F32: ((float *)data)[i] = (float)tine_tensor_float_at(x, i); break;
        case TINE_F64: ((double *)data)[i] = tine_tensor_float_at(x, i); break;
        case TINE_BF16:
            ((uint16_t *)data)[i] = tine_bf16_from_float((float)tine_tensor_float_at(x, i));
            break;
        case TINE_I64: ((int64_t *)data)[i] = tine_tensor_int_at(x, i); break;
        case TINE_I32: ((int32_t *)data)[i] = (int32_t)tine_tensor_int_at(x, i); break;
        case TINE_U8: ((uint8_t *)data)[i] = (uint8_t)tine_tensor_int_at(x, i); break;
        }
    return out;
}

/* The wider of two dtypes: any float is wider than any int, and float32 is wider than bf16. */
static tine_dtype promoted(tine_dtype a, tine_dtype b) {
    static const int width[] = {[TINE_U8] = 0,   [TINE_I32] = 1, [TINE_I64] = 2,
                                [TINE_BF16] = 3, [TINE_F32] = 4, [TINE_F64] = 5};
    return width[a] > width[b] ? a : b;
}

/* A number as a tensor of dtype `t`, the other operand's; a float beside an int tensor is
 * float32. */
static const tine_value *number_tensor(const tine_value *v, tine_dtype t) {
    if (v->kind == TINE_FLOAT && !tine_dtype_floating(t)) t = TINE_F32;
    if (v->kind == TINE_INT && t == TINE_I64) return tine_tensor(TINE_I64, 0, NULL, &v->i);
    return tine_full(t, 0, NULL, number_of(v));
}

/* ---- one argument ---- */

static void unary_f32(enum op op, int64_t n, const float *x, float *y) {
    const struct tine_vecmath *vec = tine_vecmath(tine_kernel_choice()->f32);
    switch (op) {
    case TANH: vec->tanh((size_t)n, x, y); break;
    case SIGMOID: vec->sigmoid((size_t)n, x, y); break;
    case RELU:
        for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
        break;
    default:
        for (int64_t i = 0; i < n; i++) y[i] = -x[i];
    }
}

static double unary_f64(enum op op, double x) {
    switch (op) {
    case TANH: return tanh(x);
    case SIGMOID: return 1 / (1 + exp(-x));
    case RELU: return x < 0 ? 0 : x;
    default: return -x;
    }
}

static void unary_int(enum op op, const tine_value *x, void *data) {
    for (int64_t i = 0; i < x->tensor.elements; i++) {
        int64_t a = tine_tensor_int_at(x, i),
                r = op == RELU ? (a < 0 ? 0 : a) : (int64_t)(0 - (uint64_t)a);
        if (x->tensor.dtype == TINE_I64)
            ((int64_t *)data)[i] = r;
        else if (x->tensor.dtype == TINE_I32)
            ((int32_t *)data)[i] = (int32_t)r;
        else
            ((uint8_t *)data)[i] = (uint8_t)r;
    }
}

static const tine_value *unary_tensor(enum op op, const tine_value *x) {
    tine_dtype t = x->tensor.dtype;
    void *data;
    if (t == TINE_BF16 || (!tine_dtype_floating(t) && (op == TANH || op == SIGMOID))) {
        if (!(x = tine_converted(x, TINE_F32)) || !(x = unary_tensor(op, x))) return NULL;
        return t == TINE_BF16 ? tine_converted(x, t) : x;
    }
    tine_value *out = tine_tensor_new(t, x->tensor.rank, x->tensor.shape, &data);
    if (!out) return NULL;
    if (t == TINE_F32)
        unary_f32(op, x->tensor.elements, (const float *)x->tensor.data, data);
    else if (t == TINE_F64)
        for (int64_t i = 0; i < x->tensor.elements; i++)
            ((double *)data)[i] = unary_f64(op, ((const double *)x->tensor.data)[i]);
    else
        unary_int(op, x, data);
    return out;
}

static tine_value *unary(tine_task *task, enum op op) {
    const tine_value *x = tine_arg(task, 0);
    if (x->kind == TINE_INT && op == NEG) return tine_int((int64_t)(0 - (uint64_t)x->i));
    if (x->kind == TINE_INT && op == RELU) return tine_int(x->i < 0 ? 0 : x->i);
    if (x->kind == TINE_INT || x->kind == TINE_FLOAT)
        return tine_float(unary_f64(op, number_of(x)));
    x = tine_arg_tensor(task, 0, 0, -1);
    return x ? (tine_value *)unary_tensor(op, x) : NULL;
}

TINE_REPEATABLE_FUNCTION(neg, "x") { return unary(task, NEG); }
TINE_REPEATABLE_FUNCTION(relu, "x") { return unary(task, RELU); }
TINE_REPEATABLE_FUNCTION(tanh, "x") { return unary(task, TANH); }
TINE_REPEATABLE_FUNCTION(sigmoid, "x") { return unary(task, SIGMOID); }

/* ---- two arguments ---- */

/* A run of n elements; a stride sa or sb of 0 repeats one element. Ints wrap: they are computed as
 * unsigned. */
/* NOLINTBEGIN(bugprone-macro-parentheses): types and operators cannot be put in parentheses */
#define RUN(T, W, OP)                                                                              \
    do {                                                                                           \
        const T *x = a, *y = b;                                                                    \
        T *z = out;                                                                                \
        if (sa && sb)                                                                              \
            for (int64_t i = 0; i < n; i++) z[i] = (T)((W)x[i] OP(W) y[i]);                        \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++) z[i] = (T)((W)x[i * sa] OP(W) y[i * sb]);              \
    } while (0)
/* NOLINTEND(bugprone-macro-parentheses) */
#define RUNS(T, W)                                                                                 \
    do {                                                                                           \
        if (op == ADD)                                                                             \
            RUN(T, W, +);                                                                          \
        else if (op == SUB)                                                                        \
            RUN(T, W, -);                                                                          \
        else                                                                                       \
            RUN(T, W, *);                                                                          \
    } while (0)

static void binary_run(enum op op, tine_dtype t, int64_t n, const void *a, int64_t sa,
                       const void *b, int64_t sb, void *out) {
    switch (t) {
    case TINE_F32:
        if (op == DIV)
            RUN(float, float, /);
        else
            RUNS(float, float);
        break;
    case TINE_F64:
        if (op == DIV)
            RUN(double, double, /);
        else
            RUNS(double, double);
        break;
    case TINE_I64: RUNS(int64_t, uint64_t); break;
    case TINE_I32: RUNS(int32_t, uint32_t); break;
    default: RUNS(uint8_t, uint32_t);
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
                      "%s(): arguments 'a' and 'b' must have sizes that are equal or 1, but in "
                      "dimension %d they have %lld and %lld",
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

static tine_value *binary_numbers(tine_task *task, enum op op, const tine_value *a,
                                  const tine_value *b) {
    if (a->kind == TINE_FLOAT || b->kind == TINE_FLOAT || op == DIV) {
        double x = number_of(a), y = number_of(b);
        if (op == DIV && y == 0) return tine_arg_fail(task, 1, "not be zero");
        return tine_float(op == ADD ? x + y : op == SUB ? x - y : op == MUL ? x * y : x / y);
    }
    uint64_t x = (uint64_t)(a->kind == TINE_INT ? a->i : a->b),
             y = (uint64_t)(b->kind == TINE_INT ? b->i : b->b);
    return tine_int((int64_t)(op == ADD ? x + y : op == SUB ? x - y : x * y));
}

static tine_value *binary(tine_task *task, enum op op) {
    const tine_value *a = tine_arg(task, 0), *b = tine_arg(task, 1);
    broadcast w;
    void *data;
    if (is_scalar(a) && is_scalar(b)) return binary_numbers(task, op, a, b);
    if (!is_scalar(a) && !(a = tine_arg_tensor(task, 0, 0, -1))) return NULL;
    if (!is_scalar(b) && !(b = tine_arg_tensor(task, 1, 0, -1))) return NULL;
    if (is_scalar(a) && !(a = number_tensor(a, b->tensor.dtype))) return NULL;
    if (is_scalar(b) && !(b = number_tensor(b, a->tensor.dtype))) return NULL;
    tine_dtype t = promoted(a->tensor.dtype, b->tensor.dtype);
    if (op == DIV && !tine_dtype_floating(t)) t = TINE_F32;
    tine_dtype inner = t == TINE_BF16 ? TINE_F32 : t;
    if (!(a = tine_converted(a, inner)) || !(b = tine_converted(b, inner)) ||
        !broadcast_init(task, &w, a, b))
        return NULL;
    tine_value *out = tine_tensor_new(inner, w.rank, w.shape, &data);
    if (out && out->tensor.elements)
        binary_tensors(op, inner, &w, a->tensor.data, b->tensor.data, data);
    return out ? (tine_value *)tine_converted(out, t) : NULL;
}

TINE_REPEATABLE_FUNCTION(add, "a, b") { return binary(task, ADD); }
TINE_REPEATABLE_FUNCTION(sub, "a, b") { return binary(task, SUB); }
TINE_REPEATABLE_FUNCTION(mul, "a, b") { return binary(task, MUL); }
TINE_REPEATABLE_FUNCTION(div, "a, b") { return binary(task, DIV); }
