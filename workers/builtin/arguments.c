/* Arguments that several built-in functions take. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/call/signature.h"
#include "transport/base/text.h"
#include "workers/builtin/builtin.h"

void *tine_arg_fail(tine_task *task, size_t i, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    tine_fail(task, "%s(): argument '%s' must %s", task->callable->name,
              task->callable->signature->parameters[i].name, text ? text : "be another");
    free(text);
    return NULL;
}

bool tine_arg_given(tine_task *task, size_t i) {
    return tine_arg(task, i) != task->callable->signature->parameters[i].fallback;
}

bool tine_dtype_floating(tine_dtype t) { return t == TINE_F32 || t == TINE_F64 || t == TINE_BF16; }

tine_dtype tine_dtype_parse(const char *name) {
    static const char *const brief[] = {
        [TINE_F32] = "f32", [TINE_F64] = "f64", [TINE_BF16] = "bf16",
        [TINE_I64] = "i64", [TINE_I32] = "i32", [TINE_U8] = "u8"};
    for (int t = TINE_F32; t <= TINE_U8; t++)
        if (strcmp(name, brief[t]) == 0 || strcmp(name, tine_dtype_name(t)) == 0) return t;
    return 0;
}

tine_dtype tine_arg_dtype(tine_task *task, size_t i) {
    const char *name = tine_arg_string(task, i);
    tine_dtype t = name ? tine_dtype_parse(name) : 0;
    if (name && !t)
        tine_arg_fail(task, i, "be a dtype (f32, f64, bf16, i64, i32 or u8), not '%s'", name);
    return t;
}

tine_dtype tine_arg_dtype_or(tine_task *task, size_t i, tine_dtype fallback) {
    return tine_arg(task, i)->kind == TINE_NONE ? fallback : tine_arg_dtype(task, i);
}

const tine_value *tine_arg_module(tine_task *task, size_t i) {
    const tine_value *v = tine_arg(task, i);
    if (!v || v->kind == TINE_MODULE_REF) return v;
    return tine_arg_fail(task, i, "be a module, not %s", tine_kind_name(v->kind));
}

int tine_dim_of(tine_task *task, int64_t dim, int rank) {
    int most = rank > 0 ? rank : 1; /* a scalar has dimensions -1 and 0, as in PyTorch */
    if (dim >= -most && dim < most) return (int)(dim < 0 ? dim + most : dim);
    tine_fail(task, "%s(): a dim must be from %d to %d, not %lld", task->callable->name, -most,
              most - 1, (long long)dim);
    return -1;
}

bool tine_dim_mark(tine_task *task, int dim, bool *marked) {
    if (marked[dim])
        tine_fail(task, "%s(): dims must differ, but %d is given twice", task->callable->name, dim);
    bool fresh = !marked[dim];
    marked[dim] = true;
    return fresh;
}

int tine_ints_of(tine_task *task, size_t i, const tine_value *list, int64_t *out, int room) {
    if (list->list.n > (size_t)room) {
        tine_arg_fail(task, i, "hold at most %d ints, not %zu", room, list->list.n);
        return -1;
    }
    for (size_t k = 0; k < list->list.n; k++) {
        const tine_value *item = list->list.items[k];
        if (item->kind != TINE_INT) {
            tine_arg_fail(task, i, "hold ints, but item %zu is %s", k, tine_kind_name(item->kind));
            return -1;
        }
        out[k] = item->i;
    }
    return (int)list->list.n;
}

int tine_arg_ints(tine_task *task, size_t i, int64_t *out, int room) {
    const tine_value *v = tine_arg(task, i);
    if (!v) return -1;
    if (v->kind == TINE_LIST) return tine_ints_of(task, i, v, out, room);
    out[0] = tine_arg_int(task, i);
    return task->failed ? -1 : 1;
}

void tine_split_at(const tine_value *t, int dim, int64_t *outer, int64_t *n, int64_t *inner) {
    *outer = *inner = 1;
    *n = t->tensor.rank ? t->tensor.shape[dim] : 1;
    for (int i = 0; i < t->tensor.rank; i++) {
        if (i < dim) *outer *= t->tensor.shape[i];
        if (i > dim) *inner *= t->tensor.shape[i];
    }
}
