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

static tine_value *tensor_value(const tine_safetensor *t) {
    void *data;
    if (t->dtype == TINE_F32 || !tine_verify_floating(t))
        return tine_tensor(t->dtype, t->rank, t->shape, t->data);
    tine_value *v = tine_tensor_new(TINE_F32, t->rank, t->shape, &data);
    for (int64_t i = 0; v && i < t->elements; i++) ((float *)data)[i] = (float)element_at(t, i);
    return v;
}

static tine_value *case_value(const tine_verify_case *c, const char *name) {
    const tine_safetensor *t = tine_safetensors_find(c->file, name);
    return t ? tensor_value(t) : NULL;
}

/* The tensors whose names begin with `prefix` and weight_ or bias_, without the prefix. */
static tine_value *case_state_dict(const tine_verify_case *c, const char *prefix) {
    size_t count = tine_safetensors_count(c->file), n = 0, length = strlen(prefix);
    const char **keys = calloc(count, sizeof *keys);
    tine_value **items = calloc(count, sizeof *items), *dict = NULL;
    if (keys && items) {
        for (size_t i = 0; i < count; i++) {
            const tine_safetensor *t = tine_safetensors_at(c->file, i);
            const char *name = t->name + length;
            if (strncmp(t->name, prefix, length) != 0) continue;
            if (strncmp(name, "weight_", 7) != 0 && strncmp(name, "bias_", 5) != 0) continue;
            if (t->dtype == 0) continue;
            keys[n] = name;
            items[n++] = tensor_value(t);
        }
        dict = tine_dict_of(keys, items, n);
    }
    for (size_t i = 0; i < n; i++) tine_release(items[i]);
    free(keys);
    free(items);
    return dict;
}

static tine_value *case_module(const tine_verify_case *c, const char *prefix,
                               const tine_verify_lstm *l, bool batch_first) {
    tine_value *state = case_state_dict(c, prefix);
    tine_value *module =
        tine_module("lstm", l->input_size, l->hidden_size, tine_kw("num_layers", l->num_layers),
                    tine_kw("bias", l->bias), tine_kw("batch_first", batch_first),
                    tine_kw("bidirectional", l->bidirectional), tine_kw("proj_size", l->proj_size),
                    tine_kw("state_dict", state));
    tine_release(state);
    return module;
}

static void case_start_lstm(tine_verify_case *c, tine_value *input) {
    tine_value *h0 = case_value(c, "h0"), *c0 = case_value(c, "c0"), *hx = NULL;
    if (tine_verify_has(c, "", "h0")) hx = tine_list(h0, c0);
    for (size_t i = 0; i < c->n_futures; i++) {
        tine_value *module = case_module(c, "", &c->lstm, c->lstm.batch_first != (i == 1));
        if (hx)
            c->futures[i] = tine_fork(module, input, tine_kw("hx", hx));
        else
            c->futures[i] = tine_fork(module, input);
        tine_release(module);
    }
    tine_release(hx);
    tine_release(h0);
    tine_release(c0);
}

static tine_value *case_cell(tine_verify_case *c, size_t model, int cell) {
    char prefix[64], why[200];
    tine_verify_lstm l = {0};
    snprintf(prefix, sizeof prefix, "models.%zu.cell_%c.", model, "fb"[cell]);
    if (tine_verify_cell(c, model, cell, &l, why, sizeof why)) return NULL;
    return case_module(c, prefix, &l, false);
}

void tine_verify_start(tine_verify_case *c) {
    tine_value *input = case_value(c, "input");
    if (!c->ensemble) case_start_lstm(c, input);
    for (size_t i = 0; c->ensemble && i < c->models; i++) {
        tine_value *forward = case_cell(c, i, 0), *backward = case_cell(c, i, 1);
        tine_value *model = tine_module("bilstm", forward, backward);
        c->futures[i] = tine_fork(model, input);
        tine_release(model);
        tine_release(backward);
        tine_release(forward);
    }
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

static tine_error case_finish_ensemble(tine_verify_case *c) {
    tine_value **results = calloc(c->models, sizeof(tine_value *));
    if (!results) return tine_error_set(TINE_ENOMEM, "no memory");
    tine_error e = tine_wait_all(c->futures, c->models, results);
    /* If the wait failed there are NULLs in the list, and the calls below fail with its error. */
    tine_value *list = tine_list_of(results, c->models);
    tine_value *stacked = tine_call("stack", list);
    tine_value *sum = tine_call("sum", stacked, tine_kw("dim", 0));
    if (!e) e = sum ? case_compare(c, 0, sum) : tine_last_error();
    tine_release(sum);
    tine_release(stacked);
    tine_release(list);
    for (size_t i = 0; i < c->models; i++) tine_release(results[i]);
    free(results);
    return e;
}

static tine_error case_finish_way(tine_verify_case *c, size_t way) {
    tine_value *result;
    tine_error e = tine_wait(c->futures[way], &result);
    if (e) return e;
    const tine_value *state = tine_at(result, 1);
    e = case_compare(c, 0, tine_at(result, 0));
    for (int i = 1; !e && i < TINE_VERIFY_ANSWERS; i++)
        e = case_compare(c, i, tine_at(state, (size_t)i - 1));
    tine_release(result);
    return e;
}

/* Where the batch can be either dimension, the other way counts if only with it the answers agree,
 * and the metadata does not say otherwise. */
static tine_error case_finish_lstm(tine_verify_case *c) {
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
    c->lstm.batch_first = !c->lstm.batch_first;
    return TINE_OK;
}

tine_error tine_verify_finish(tine_verify_case *c) {
    tine_error e = c->ensemble ? case_finish_ensemble(c) : case_finish_lstm(c);
    for (size_t i = 0; i < c->n_futures; i++) {
        tine_release(c->futures[i]);
        c->futures[i] = NULL;
    }
    return e;
}
