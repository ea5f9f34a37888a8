/* See verify_case.h. */
#include "launch/command/verify_case.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/value/error.h"

const char *const tine_verify_answer_names[TINE_VERIFY_ANSWERS] = {"output", "h_n", "c_n"};

enum { NAME_ROOM = 96, MODELS_MAX = 4096 };

typedef struct case_reader {
    tine_verify_case *c;
    char *why;
    size_t why_size;
} case_reader;

static tine_error case_refuse(const case_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static tine_error case_refuse(const case_reader *r, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->why, r->why_size, format, ap);
    va_end(ap);
    return TINE_EINVAL;
}

/* ---- reading ---- */

/* The float32 tensor of this name and rank; NULL with a sentence in `why`. */
static const tine_safetensor *case_tensor(const case_reader *r, const char *name, int rank) {
    const tine_safetensor *t = tine_safetensors_find(r->c->file, name);
    if (!t)
        case_refuse(r, "it has no tensor \"%s\"", name);
    else if (t->dtype != TINE_F32)
        case_refuse(r, "tensor \"%s\" is %s, F32 is needed", name, t->dtype_name);
    else if (t->rank != rank)
        case_refuse(r, "tensor \"%s\" has %d dimensions, %d are needed", name, t->rank, rank);
    else
        return t;
    return NULL;
}

static bool case_has(const tine_verify_case *c, const char *prefix, const char *name) {
    char full[2 * NAME_ROOM];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return tine_safetensors_find(c->file, full);
}

/* Derives the configuration from the weights under `prefix` ("models.0.cell_f."). */
static tine_error case_read_config(const case_reader *r, const char *prefix,
                                   tine_verify_lstm *out) {
    char name[NAME_ROOM];
    tine_verify_lstm l = {0};
    snprintf(name, sizeof name, "%sweight_ih_l0", prefix);
    const tine_safetensor *w = case_tensor(r, name, 2);
    if (!w) return TINE_EINVAL;
    if (w->shape[0] == 0 || w->shape[0] % 4 || w->shape[1] == 0)
        return case_refuse(
            r,
            "tensor \"%s\" is %jd x %jd: four gates of a hidden size by an input size are needed",
            name, (intmax_t)w->shape[0], (intmax_t)w->shape[1]);
    l.hidden_size = w->shape[0] / 4;
    l.input_size = w->shape[1];
    l.bias = case_has(r->c, prefix, "bias_ih_l0");
    l.bidirectional = case_has(r->c, prefix, "weight_ih_l0_reverse");
    if (case_has(r->c, prefix, "weight_hr_l0")) {
        snprintf(name, sizeof name, "%sweight_hr_l0", prefix);
        const tine_safetensor *p = case_tensor(r, name, 2);
        if (!p) return TINE_EINVAL;
        l.proj_size = p->shape[0];
    }
    for (; l.num_layers < 1000; l.num_layers++) {
        snprintf(name, sizeof name, "weight_ih_l%jd", (intmax_t)l.num_layers);
        if (!case_has(r->c, prefix, name)) break;
    }
    *out = l;
    return TINE_OK;
}

static bool metadata_bool(const char *text) {
    return strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0;
}

/* The metadata's value of a size or option, if there is one, must be that of the weights. */
static tine_error metadata_check(const case_reader *r, const char *key, int64_t found,
                                 bool boolean) {
    const char *said = tine_safetensors_meta(r->c->file, key);
    if (!said) return TINE_OK;
    char *end;
    int64_t number = boolean ? metadata_bool(said) : strtoll(said, &end, 10);
    if (number == found) return TINE_OK;
    return case_refuse(r, "its metadata says %s=%.32s, the weights say %jd", key, said,
                       (intmax_t)found);
}

static tine_error case_read_lstm(const case_reader *r) {
    tine_verify_lstm *l = &r->c->lstm;
    tine_error e = case_read_config(r, "", l);
    if (!e) e = metadata_check(r, "input_size", l->input_size, false);
    if (!e) e = metadata_check(r, "hidden_size", l->hidden_size, false);
    if (!e) e = metadata_check(r, "num_layers", l->num_layers, false);
    if (!e) e = metadata_check(r, "proj_size", l->proj_size, false);
    if (!e) e = metadata_check(r, "bias", l->bias, true);
    if (!e) e = metadata_check(r, "bidirectional", l->bidirectional, true);
    if (e) return e;
    const char *batch_first = tine_safetensors_meta(r->c->file, "batch_first");
    l->batch_first = batch_first && metadata_bool(batch_first);
    for (int i = 1; i < TINE_VERIFY_ANSWERS; i++)
        if (case_has(r->c, "", tine_verify_answer_names[i]) &&
            !case_tensor(r, tine_verify_answer_names[i], 3))
            return TINE_EINVAL;
    if (case_has(r->c, "", "h0") != case_has(r->c, "", "c0"))
        return case_refuse(r, "it has one of \"h0\" and \"c0\" without the other");
    if (case_has(r->c, "", "h0") && (!case_tensor(r, "h0", 3) || !case_tensor(r, "c0", 3)))
        return TINE_EINVAL;
    r->c->n_futures = 1;
    return TINE_OK;
}

static tine_error case_read_ensemble(const case_reader *r) {
    tine_verify_case *c = r->c;
    c->ensemble = true;
    for (; c->models < MODELS_MAX; c->models++) {
        char prefix[2][NAME_ROOM];
        snprintf(prefix[0], NAME_ROOM, "models.%zu.cell_f.", c->models);
        snprintf(prefix[1], NAME_ROOM, "models.%zu.cell_b.", c->models);
        if (!case_has(c, prefix[0], "weight_ih_l0")) break;
        tine_verify_lstm l[2];
        tine_error e = case_read_config(r, prefix[0], &l[0]);
        if (!e) e = case_read_config(r, prefix[1], &l[1]);
        if (e) return e;
    }
    c->n_futures = c->models;
    return metadata_check(r, "n_models", (int64_t)c->models, false);
}

tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size) {
    case_reader r = {c, why, why_size};
    *c = (tine_verify_case){.path = path};
    tine_error e = tine_safetensors_open(&c->file, path, why, why_size);
    if (e) return e;
    e = case_has(c, "", "models.0.cell_f.weight_ih_l0") ? case_read_ensemble(&r)
                                                        : case_read_lstm(&r);
    if (e) return e;
    if (!case_tensor(&r, "input", 3) || !case_tensor(&r, "output", 3)) return TINE_EINVAL;
    c->futures = calloc(c->n_futures, sizeof(tine_future *));
    if (c->futures) return TINE_OK;
    case_refuse(&r, "no memory");
    return TINE_ENOMEM;
}

/* ---- computing ---- */

static tine_value *case_value(const tine_verify_case *c, const char *name) {
    const tine_safetensor *t = tine_safetensors_find(c->file, name);
    return t ? tine_tensor(t->dtype, t->rank, t->shape, t->data) : NULL;
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
            items[n++] = tine_tensor(t->dtype, t->rank, t->shape, t->data);
        }
        dict = tine_dict_of(keys, items, n);
    }
    for (size_t i = 0; i < n; i++) tine_release(items[i]);
    free(keys);
    free(items);
    return dict;
}

static tine_value *case_module(const tine_verify_case *c, const char *prefix,
                               const tine_verify_lstm *l) {
    tine_value *state = case_state_dict(c, prefix);
    tine_value *module =
        tine_module("lstm", l->input_size, l->hidden_size, tine_kw("num_layers", l->num_layers),
                    tine_kw("bias", l->bias), tine_kw("batch_first", l->batch_first),
                    tine_kw("bidirectional", l->bidirectional), tine_kw("proj_size", l->proj_size),
                    tine_kw("state_dict", state));
    tine_release(state);
    return module;
}

static void case_start_lstm(tine_verify_case *c, tine_value *input) {
    tine_value *module = case_module(c, "", &c->lstm);
    tine_value *h0 = case_value(c, "h0"), *c0 = case_value(c, "c0");
    tine_value *hx = NULL;
    if (case_has(c, "", "h0")) {
        hx = tine_list(h0, c0);
        c->futures[0] = tine_fork(module, input, tine_kw("hx", hx));
    } else {
        c->futures[0] = tine_fork(module, input);
    }
    tine_release(hx);
    tine_release(h0);
    tine_release(c0);
    tine_release(module);
}

static tine_value *case_cell(const tine_verify_case *c, size_t model, const char *cell) {
    char prefix[NAME_ROOM], why[200];
    case_reader r = {(tine_verify_case *)c, why, sizeof why};
    tine_verify_lstm l = {0};
    snprintf(prefix, sizeof prefix, "models.%zu.%s.", model, cell);
    return case_read_config(&r, prefix, &l) ? NULL : case_module(c, prefix, &l);
}

void tine_verify_start(tine_verify_case *c) {
    tine_value *input = case_value(c, "input");
    if (!c->ensemble) case_start_lstm(c, input);
    for (size_t i = 0; c->ensemble && i < c->models; i++) {
        tine_value *forward = case_cell(c, i, "cell_f"), *backward = case_cell(c, i, "cell_b");
        tine_value *model = tine_module("bilstm", forward, backward);
        c->futures[i] = tine_fork(model, input);
        tine_release(model);
        tine_release(backward);
        tine_release(forward);
    }
    tine_release(input);
}

/* The largest absolute difference, NaN if there is one; EINVAL if the shapes differ. */
static tine_error case_compare(tine_verify_case *c, int answer, const tine_value *got) {
    const tine_safetensor *t = tine_safetensors_find(c->file, tine_verify_answer_names[answer]);
    if (!t) return TINE_OK;
    if (!got || tine_kind_of(got) != TINE_TENSOR || tine_rank(got) != t->rank ||
        memcmp(tine_shape(got), t->shape, (size_t)t->rank * sizeof(int64_t)) != 0)
        return tine_error_set(TINE_EINVAL,
                              "the shape of \"%s\" in the file is not that of the result", t->name);
    const float *x = tine_data(got);
    const unsigned char *expected = t->data; /* perhaps unaligned */
    double worst = 0;
    for (int64_t i = 0; i < t->elements; i++) {
        float y;
        memcpy(&y, expected + (size_t)i * sizeof y, sizeof y);
        double error = fabs((double)x[i] - (double)y);
        if (isnan(error)) {
            worst = error;
            break;
        }
        if (error > worst) worst = error;
    }
    c->errors[answer] = worst;
    c->compared[answer] = true;
    return TINE_OK;
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

static tine_error case_finish_lstm(tine_verify_case *c) {
    tine_value *result;
    tine_error e = tine_wait(c->futures[0], &result);
    if (e) return e;
    const tine_value *state = tine_at(result, 1);
    e = case_compare(c, 0, tine_at(result, 0));
    for (int i = 1; !e && i < TINE_VERIFY_ANSWERS; i++)
        e = case_compare(c, i, tine_at(state, (size_t)i - 1));
    tine_release(result);
    return e;
}

tine_error tine_verify_finish(tine_verify_case *c) {
    tine_error e = c->ensemble ? case_finish_ensemble(c) : case_finish_lstm(c);
    for (size_t i = 0; i < c->n_futures; i++) {
        tine_release(c->futures[i]);
        c->futures[i] = NULL;
    }
    return e;
}

bool tine_verify_within(const tine_verify_case *c, double limit) {
    bool within = true;
    for (int i = 0; i < TINE_VERIFY_ANSWERS; i++)
        if (c->compared[i]) within = within && c->errors[i] <= limit;
    return within;
}

void tine_verify_close(tine_verify_case *c) {
    free(c->futures);
    tine_safetensors_close(c->file);
    *c = (tine_verify_case){0};
}
