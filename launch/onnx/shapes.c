/* Operators that move elements. Transpose, Slice, Expand are one copy with strides. */
#include <string.h>

#include "launch/onnx/internal.h"
#include "workers/builtin/builtin.h"

/* Copies elements of `size` bytes to an array of this shape; element (i, j …) is at
 * from + i strides[0] + j strides[1] …, in bytes. */
static void strided_copy(uint8_t *to, int rank, const int64_t *shape, const uint8_t *from,
                         const int64_t *strides, size_t size) {
    int64_t index[TINE_MAX_RANK] = {0}, count = 1;
    for (int d = 0; d < rank; d++) count *= shape[d];
    for (; count > 0; count--, to += size) {
        memcpy(to, from, size);
        for (int d = rank - 1; d >= 0; d--) {
            from += strides[d];
            if (++index[d] < shape[d]) break;
            from -= strides[d] * shape[d];
            index[d] = 0;
        }
    }
}

static void strides_of(const tine_value *v, int64_t *strides) {
    int64_t step = (int64_t)tine_dtype_size(v->tensor.dtype);
    for (int d = v->tensor.rank - 1; d >= 0; d--) {
        strides[d] = step;
        step *= v->tensor.shape[d];
    }
}

static bool strided_output(onnx_call *call, const tine_value *x, int rank, const int64_t *shape,
                           const int64_t *strides, int64_t offset) {
    uint8_t *to = tine_onnx_output(call, 0, x->tensor.dtype, rank, shape);
    if (!to && !call->out[0]) return false;
    if (call->out[0]->tensor.elements > 0)
        strided_copy(to, rank, shape, x->tensor.data + offset, strides,
                     tine_dtype_size(x->tensor.dtype));
    return true;
}

bool tine_onnx_transpose(onnx_call *call) {
    const tine_value *x = call->in[0];
    const Onnx__AttributeProto *perm = tine_onnx_attribute(call->node, "perm");
    int64_t all[TINE_MAX_RANK], shape[TINE_MAX_RANK], strides[TINE_MAX_RANK];
    int rank = x->tensor.rank;
    bool seen[TINE_MAX_RANK] = {false};
    if (perm && perm->n_ints != (size_t)rank)
        return tine_onnx_refuse(call->graph, call->node, "perm has %zu axes, its input %d",
                                perm->n_ints, rank);
    strides_of(x, all);
    for (int d = 0; d < rank; d++) {
        int from = perm ? tine_onnx_axis(call, perm->ints[d], rank) : rank - 1 - d;
        if (from < 0) return false;
        if (seen[from])
            return tine_onnx_refuse(call->graph, call->node, "perm has axis %d twice", from);
        seen[from] = true;
        shape[d] = x->tensor.shape[from];
        strides[d] = all[from];
    }
    return strided_output(call, x, rank, shape, strides, 0);
}

bool tine_onnx_reshape(onnx_call *call) {
    const tine_value *x = call->in[0];
    int64_t shape[TINE_MAX_RANK], known = 1;
    int rank = tine_onnx_ints_of(call, call->in[1], shape, TINE_MAX_RANK), open = -1;
    bool zero = tine_onnx_int(call->node, "allowzero", 0) != 0;
    if (rank < 0) return false;
    for (int d = 0; d < rank; d++) {
        if (shape[d] == 0 && !zero && d < x->tensor.rank) shape[d] = x->tensor.shape[d];
        if (shape[d] < -1 || (shape[d] == -1 && open >= 0))
            return tine_onnx_refuse(call->graph, call->node, "its shape has the size %lld",
                                    (long long)shape[d]);
        if (shape[d] == -1)
            open = d;
        else if (__builtin_mul_overflow(known, shape[d], &known))
            return tine_onnx_refuse(call->graph, call->node, "its shape overflows");
    }
    if (open >= 0) shape[open] = known ? x->tensor.elements / known : 0;
    return tine_onnx_reshaped(call, 0, x, rank, shape);
}

static int64_t clamp(int64_t i, int64_t least, int64_t most) {
    return i < least ? least : i > most ? most : i;
}

/* One axis of a Slice. */
static void slice_axis(int64_t *shape, int64_t *stride, int64_t *offset, int64_t begin, int64_t end,
                       int64_t step) {
    int64_t n = *shape, last = step > 0 ? n : n - 1;
    begin = clamp(begin < 0 ? begin + n : begin, 0, last);
    end = clamp(end < 0 ? end + n : end, step > 0 ? 0 : -1, last);
    int64_t span = step > 0 ? end - begin : begin - end, size = step > 0 ? step : -step;
    int64_t count = n > 0 && span > 0 ? (span - 1) / size + 1 : 0;
    if (count > 0) *offset += begin * *stride;
    *shape = count;
    *stride = count > 1 ? *stride * step : 0;
}

/* starts, ends, axes and steps: inputs from opset 10 on, attributes before. */
static int slice_ints(onnx_call *call, size_t input, const char *name, int64_t *out) {
    const Onnx__AttributeProto *a = tine_onnx_attribute(call->node, name);
    if (call->in[input]) return tine_onnx_ints_of(call, call->in[input], out, TINE_MAX_RANK);
    if (!a) return 0;
    if (a->n_ints > TINE_MAX_RANK) {
        tine_onnx_refuse(call->graph, call->node, "%s has %zu ints", name, a->n_ints);
        return -1;
    }
    if (a->n_ints) memcpy(out, a->ints, a->n_ints * sizeof *out);
    return (int)a->n_ints;
}

bool tine_onnx_slice(onnx_call *call) {
    const tine_value *x = call->in[0];
    int64_t starts[TINE_MAX_RANK], ends[TINE_MAX_RANK], axes[TINE_MAX_RANK], steps[TINE_MAX_RANK],
        shape[TINE_MAX_RANK], strides[TINE_MAX_RANK], offset = 0;
    int n = slice_ints(call, 1, "starts", starts), m = slice_ints(call, 2, "ends", ends),
        with_axes = slice_ints(call, 3, "axes", axes),
        with_steps = slice_ints(call, 4, "steps", steps);
    bool seen[TINE_MAX_RANK] = {false};
    if (n < 0 || m < 0 || with_axes < 0 || with_steps < 0) return false;
    if (m != n || (with_axes && with_axes != n) || (with_steps && with_steps != n) ||
        n > x->tensor.rank)
        return tine_onnx_refuse(call->graph, call->node,
                                "starts, ends, axes and steps differ in length");
    memcpy(shape, x->tensor.shape, sizeof shape);
    strides_of(x, strides);
    for (int i = 0; i < n; i++) {
        int axis = tine_onnx_axis(call, with_axes ? axes[i] : i, x->tensor.rank);
        int64_t step = with_steps ? steps[i] : 1;
        if (axis < 0) return false;
        if (step == 0 || step == INT64_MIN || seen[axis])
            return tine_onnx_refuse(call->graph, call->node,
                                    "an axis occurs twice, or a step is 0");
        seen[axis] = true;
        slice_axis(&shape[axis], &strides[axis], &offset, starts[i], ends[i], step);
    }
    return strided_output(call, x, x->tensor.rank, shape, strides, offset);
}

bool tine_onnx_expand(onnx_call *call) {
    const tine_value *x = call->in[0];
    int64_t wanted[TINE_MAX_RANK], shape[TINE_MAX_RANK], all[TINE_MAX_RANK], strides[TINE_MAX_RANK];
    int n = tine_onnx_ints_of(call, call->in[1], wanted, TINE_MAX_RANK);
    if (n < 0) return false;
    int rank = n > x->tensor.rank ? n : x->tensor.rank;
    strides_of(x, all);
    for (int d = 0; d < rank; d++) {
        int a = d - (rank - x->tensor.rank), b = d - (rank - n);
        int64_t have = a < 0 ? 1 : x->tensor.shape[a], want = b < 0 ? 1 : wanted[b];
        if (want < 0 || (have != want && have != 1 && want != 1))
            return tine_onnx_refuse(call->graph, call->node, "%lld cannot become %lld",
                                    (long long)have, (long long)want);
        shape[d] = have == 1 ? want : have;
        strides[d] = have == 1 ? 0 : all[a];
    }
    return strided_output(call, x, rank, shape, strides, 0);
}

/* The axes of Squeeze and Unsqueeze, an input from opset 13 on; false with an error. */
static bool axes_read(onnx_call *call, int rank, bool *marked, int *count) {
    int64_t axes[TINE_MAX_RANK];
    *count = slice_ints(call, 1, "axes", axes);
    for (int i = 0; i < *count; i++) {
        int axis = tine_onnx_axis(call, axes[i], rank);
        if (axis < 0) return false;
        if (marked[axis])
            return tine_onnx_refuse(call->graph, call->node, "axis %d occurs twice", axis);
        marked[axis] = true;
    }
    return *count >= 0;
}

bool tine_onnx_squeeze(onnx_call *call) {
    const tine_value *x = call->in[0];
    bool drop[TINE_MAX_RANK] = {false};
    int64_t shape[TINE_MAX_RANK];
    int n, rank = 0;
    if (!axes_read(call, x->tensor.rank, drop, &n)) return false;
    for (int d = 0; d < x->tensor.rank; d++) {
        if (drop[d] && x->tensor.shape[d] != 1)
            return tine_onnx_refuse(call->graph, call->node, "axis %d has size %lld, not 1", d,
                                    (long long)x->tensor.shape[d]);
        if (n == 0 ? x->tensor.shape[d] != 1 : !drop[d]) shape[rank++] = x->tensor.shape[d];
    }
    return tine_onnx_reshaped(call, 0, x, rank, shape);
}

bool tine_onnx_unsqueeze(onnx_call *call) {
    const tine_value *x = call->in[0];
    bool add[2 * TINE_MAX_RANK] = {false};
    int64_t shape[2 * TINE_MAX_RANK], axes[TINE_MAX_RANK];
    int n = slice_ints(call, 1, "axes", axes), from = 0;
    if (n < 0) return false;
    int rank = x->tensor.rank + n;
    if (!axes_read(call, rank, add, &n)) return false;
    for (int d = 0; d < rank; d++) shape[d] = add[d] ? 1 : x->tensor.shape[from++];
    return tine_onnx_reshaped(call, 0, x, rank, shape);
}

bool tine_onnx_flatten(onnx_call *call) {
    const tine_value *x = call->in[0];
    int64_t axis = tine_onnx_int(call->node, "axis", 1), shape[2] = {1, 1};
    int rank = x->tensor.rank;
    if (axis < -rank || axis > rank)
        return tine_onnx_refuse(call->graph, call->node,
                                "axis %lld is out of range: there are %d dimensions",
                                (long long)axis, rank);
    if (axis < 0) axis += rank;
    for (int d = 0; d < rank; d++) shape[d >= axis] *= x->tensor.shape[d];
    return tine_onnx_reshaped(call, 0, x, 2, shape);
}

bool tine_onnx_shape(onnx_call *call) {
    const tine_value *x = call->in[0];
    int64_t rank = x->tensor.rank, begin = tine_onnx_int(call->node, "start", 0),
            end = tine_onnx_int(call->node, "end", rank);
    begin = begin < -rank ? 0 : begin < 0 ? begin + rank : begin > rank ? rank : begin;
    end = end < -rank ? 0 : end < 0 ? end + rank : end > rank ? rank : end;
    int64_t n = end > begin ? end - begin : 0;
    void *to = tine_onnx_output(call, 0, TINE_I64, 1, &n);
    if (n > 0 && to) memcpy(to, x->tensor.shape + begin, (size_t)n * sizeof(int64_t));
    return call->out[0];
}

bool tine_onnx_gather(onnx_call *call) {
    const tine_value *x = call->in[0], *which = call->in[1];
    int64_t shape[2 * TINE_MAX_RANK], outer = 1, inner = (int64_t)tine_dtype_size(x->tensor.dtype);
    int rank = x->tensor.rank, n = 0,
        axis = tine_onnx_axis(call, tine_onnx_int(call->node, "axis", 0), rank);
    if (axis < 0) return false;
    if (which->tensor.dtype != TINE_I64 && which->tensor.dtype != TINE_I32)
        return tine_onnx_refuse(call->graph, call->node, "its indices must be int64 or int32");
    for (int d = 0; d < rank; d++) {
        if (d < axis) outer *= x->tensor.shape[d];
        if (d > axis) inner *= x->tensor.shape[d];
        if (d != axis) shape[n++] = x->tensor.shape[d];
        for (int k = 0; d == axis && k < which->tensor.rank; k++)
            shape[n++] = which->tensor.shape[k];
    }
    uint8_t *to = tine_onnx_output(call, 0, x->tensor.dtype, n, shape);
    int64_t rows = x->tensor.shape[axis], wanted = which->tensor.elements;
    if (!call->out[0]) return false;
    for (int64_t i = 0; i < outer * wanted && inner > 0; i++) {
        int64_t row = tine_tensor_int_at(which, i % wanted);
        if (row < 0) row += rows;
        if (row < 0 || row >= rows)
            return tine_onnx_refuse(call->graph, call->node,
                                    "index %lld is out of range: the size is %lld", (long long)row,
                                    (long long)rows);
        memcpy(to + i * inner, x->tensor.data + (i / wanted * rows + row) * inner, (size_t)inner);
    }
    return true;
}

bool tine_onnx_concat(onnx_call *call) {
    const tine_value *first = call->in[0];
    int rank = first->tensor.rank,
        axis = tine_onnx_axis(call, tine_onnx_int(call->node, "axis", 0), rank);
    int64_t shape[TINE_MAX_RANK], outer = 1, inner = (int64_t)tine_dtype_size(first->tensor.dtype);
    if (axis < 0) return false;
    memcpy(shape, first->tensor.shape, sizeof shape);
    for (size_t i = 1; i < call->node->n_in; i++) {
        const tine_value *v = call->in[i];
        bool same = v && v->tensor.rank == rank && v->tensor.dtype == first->tensor.dtype;
        for (int d = 0; same && d < rank; d++) same = d == axis || v->tensor.shape[d] == shape[d];
        if (!same || __builtin_add_overflow(shape[axis], v->tensor.shape[axis], &shape[axis]))
            return tine_onnx_refuse(call->graph, call->node, "input %zu has another shape or dtype",
                                    i);
    }
    for (int d = 0; d < rank; d++) {
        if (d < axis) outer *= shape[d];
        if (d > axis) inner *= shape[d];
    }
    uint8_t *to = tine_onnx_output(call, 0, first->tensor.dtype, rank, shape);
    for (int64_t o = 0; to && o < outer; o++)
        for (size_t i = 0; i < call->node->n_in; i++) {
            int64_t size = call->in[i]->tensor.shape[axis] * inner;
            if (size > 0) to = mempcpy(to, call->in[i]->tensor.data + o * size, (size_t)size);
        }
    return call->out[0];
}

bool tine_onnx_cast(onnx_call *call) {
    const tine_value *x = call->in[0];
    tine_dtype t = tine_onnx_dtype(tine_onnx_int(call->node, "to", 0));
    if (!t) return tine_onnx_refuse(call->graph, call->node, "it casts to a type that Tine lacks");
    if (!tine_onnx_room(call, x->tensor.rank, x->tensor.shape, t)) return false;
    tine_value *v = (tine_value *)tine_converted(x, t);
    return tine_onnx_give(call, 0, v == x ? tine_ref(v) : v);
}

/* A tensor of this shape of the one element of attribute value, or of zeros. */
bool tine_onnx_constant_of_shape(onnx_call *call) {
    const Onnx__AttributeProto *a = tine_onnx_attribute(call->node, "value");
    int64_t shape[TINE_MAX_RANK], zeros[TINE_MAX_RANK] = {0};
    int rank = tine_onnx_ints_of(call, call->in[0], shape, TINE_MAX_RANK);
    if (rank < 0) return false;
    tine_value *v =
        a && a->t ? tine_onnx_tensor(call->graph->name, a->t) : tine_full(TINE_F32, 0, NULL, 0);
    bool good = v &&
                (v->tensor.elements == 1 ||
                 tine_onnx_refuse(call->graph, call->node, "its value is not one element")) &&
                strided_output(call, v, rank, shape, zeros, 0);
    tine_release(v);
    return good;
}
