/* Computing a file of `tine verify` on workers, in float32 whatever the file's dtype is, and
 * comparing with its answers; see verify_case.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "launch/command/verify_case.h"
#include "runtime/value/error.h"

/* An element of the file, which may be unaligned. */
static double element_at(const tine_safetensor *t, int64_t i) {
    const unsigned char *p = t->data;
    double d;
    float f;
    uint16_t b;
    switch (t->dtype) {
    case TINE_F64: memcpy(&d, p + (size_t)i * sizeof d, sizeof d); return d;
    case TINE_BF16: memcpy(&b, p + (size_t)i * sizeof b, sizeof b); return tine_bf16_to_float(b);
    default: memcpy(&f, p + (size_t)i * sizeof f, sizeof f); return f;
    }
}

tine_value *tine_verify_tensor(const tine_safetensor *t) {
    void *data;
    if (t->dtype == TINE_F32 || !tine_verify_floating(t))
        return tine_tensor(t->dtype, t->rank, t->shape, t->data);
    tine_value *v = tine_tensor_new(TINE_F32, t->rank, t->shape, &data);
    for (int64_t i = 0; v && i < t->elements; i++) ((float *)data)[i] = (float)element_at(t, i);
    return v;
}

static tine_value *case_value(const tine_verify_case *c, const char *name) {
    const tine_safetensor *t = tine_safetensors_find(c->file, name);
    return t ? tine_verify_tensor(t) : NULL;
}

/* hx of a single cell; NULL: the file has none. */
static tine_value *case_state(const tine_verify_case *c) {
    tine_value *h = case_value(c, "h0");
    if (!h || c->cells.config.gru) return h;
    tine_value *cell = case_value(c, "c0"), *hx = tine_list(h, cell);
    tine_release(cell);
    tine_release(h);
    return hx;
}

void tine_verify_start(tine_verify_case *c) {
    tine_value *input = case_value(c, "input"), *hx = NULL;
    if (tine_verify_single(c)) hx = case_state(c);
    for (size_t i = 0; i < c->n_futures; i++) {
        tine_cells way = c->cells;
        way.config.batch_first = c->cells.config.batch_first != (i == 1);
        tine_value *module = tine_cells_module(&way, c->weights);
        if (hx)
            c->futures[i] = tine_fork(module, input, tine_kw("hx", hx));
        else
            c->futures[i] = tine_fork(module, input);
        tine_release(module);
    }
    tine_release(hx);
    tine_release(input);
}

/* ---- comparing ---- */

/* As torch.testing.assert_close for this dtype. Tine computes in float32, so float64 answers have
 * the tolerance of float32. In bf16, PyTorch rounds the states of every step, which are of the
 * order of 1, to 2^-9 of their size: the absolute tolerance is twice that. */
static void tolerance_of(const tine_safetensor *t, double *rtol, double *atol) {
    bool bf16 = t->dtype == TINE_BF16;
    *rtol = bf16 ? 1.6e-2 : 1.3e-6;
    *atol = bf16 ? 0x1p-8 : 1e-5;
}

/* Compares one element: equal infinities are equal, and NaN is equal to NaN. */
static void answer_add(tine_verify_answer *a, double got, double wanted) {
    if (got == wanted || (isnan(got) && isnan(wanted))) return;
    double error = fabs(got - wanted), excess = error / (a->atol + a->rtol * fabs(wanted));
    if (!isfinite(got) || !isfinite(wanted)) excess = INFINITY;
    if (!isnan(a->error) && !(error <= a->error)) a->error = error;
    if (!(excess <= a->excess)) a->excess = excess;
}

/* EINVAL: the shapes differ. */
static tine_error case_compare(tine_verify_case *c, int answer, const tine_value *got) {
    const tine_safetensor *t = tine_safetensors_find(c->file, tine_verify_answer_names[answer]);
    tine_verify_answer *a = &c->answers[answer];
    if (!t) return TINE_OK;
    if (!got || tine_kind_of(got) != TINE_TENSOR || tine_rank(got) != t->rank ||
        memcmp(tine_shape(got), t->shape, (size_t)t->rank * sizeof(int64_t)) != 0)
        return tine_error_set(TINE_EINVAL,
                              "the shape of \"%s\" in the file is not that of the result", t->name);
    *a = (tine_verify_answer){.compared = true};
    tolerance_of(t, &a->rtol, &a->atol);
    const float *x = tine_data(got);
    for (int64_t i = 0; i < t->elements; i++) answer_add(a, x[i], element_at(t, i));
    return TINE_OK;
}

bool tine_verify_within(const tine_verify_case *c) {
    for (int i = 0; i < TINE_VERIFY_ANSWERS; i++)
        if (c->answers[i].compared && !(c->answers[i].excess <= 1)) return false;
    return true;
}

/* The result is the output; of a single cell [output, [h_n, c_n]], of a gru [output, h_n]. */
static tine_error case_finish_way(tine_verify_case *c, size_t way) {
    tine_value *result;
    tine_error e = tine_wait(c->futures[way], &result);
    if (e) return e;
    bool single = tine_verify_single(c), gru = c->cells.config.gru;
    const tine_value *state = single ? tine_at(result, 1) : NULL;
    e = case_compare(c, 0, single ? tine_at(result, 0) : result);
    if (!e && single) e = case_compare(c, 1, gru ? state : tine_at(state, 0));
    if (!e && single && !gru) e = case_compare(c, 2, tine_at(state, 1));
    tine_release(result);
    return e;
}

/* Where the batch can be either dimension, the other way counts if only with it the answers agree,
 * and the metadata does not say otherwise. */
static tine_error case_finish(tine_verify_case *c) {
    tine_verify_case other = *c;
    tine_error e = case_finish_way(c, 0);
    if (c->n_futures == 1 || (!e && tine_verify_within(c))) return e;
    if (case_finish_way(&other, 1) || !tine_verify_within(&other))
        return e ? case_finish_way(c, 0) : TINE_OK; /* sets the first way's error again */
    if (c->batch_first_said)
        return tine_error_set(TINE_EINVAL,
                              "its metadata says batch_first=%s, but the answers are those of the "
                              "opposite",
                              c->batch_first_said);
    memcpy(c->answers, other.answers, sizeof c->answers);
    c->cells.config.batch_first = !c->cells.config.batch_first;
    return TINE_OK;
}

tine_error tine_verify_finish(tine_verify_case *c) {
    tine_error e = case_finish(c);
    for (size_t i = 0; i < c->n_futures; i++) {
        tine_release(c->futures[i]);
        c->futures[i] = NULL;
    }
    return e;
}
