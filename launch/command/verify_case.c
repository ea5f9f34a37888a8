/* Reading a file of `tine verify`; see verify_case.h. */
#include "launch/command/verify_case.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "transport/base/text.h"

const char *const tine_verify_answer_names[TINE_VERIFY_ANSWERS] = {"output", "h_n", "c_n"};

enum { NAME_ROOM = 96 };

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
    tine_text_mask(r->why);
    return TINE_EINVAL;
}

bool tine_verify_floating(const tine_safetensor *t) {
    return t->dtype == TINE_F32 || t->dtype == TINE_F64 || t->dtype == TINE_BF16;
}

/* The floating-point tensor of this name and rank; NULL with a sentence in `why`. */
static const tine_safetensor *case_tensor(const case_reader *r, const char *name, int rank) {
    const tine_safetensor *t = tine_safetensors_find(r->c->file, name);
    if (!t)
        case_refuse(r, "it has no tensor \"%s\"", name);
    else if (!tine_verify_floating(t))
        case_refuse(r, "tensor \"%s\" is %s; F32, F64 or BF16 is needed", name, t->dtype_name);
    else if (t->rank != rank)
        case_refuse(r, "tensor \"%s\" has %d dimensions, %d are needed", name, t->rank, rank);
    else
        return t;
    return NULL;
}

bool tine_verify_has(const tine_verify_case *c, const char *prefix, const char *name) {
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
    l.bias = tine_verify_has(r->c, prefix, "bias_ih_l0");
    l.bidirectional = tine_verify_has(r->c, prefix, "weight_ih_l0_reverse");
    if (tine_verify_has(r->c, prefix, "weight_hr_l0")) {
        snprintf(name, sizeof name, "%sweight_hr_l0", prefix);
        const tine_safetensor *p = case_tensor(r, name, 2);
        if (!p) return TINE_EINVAL;
        l.proj_size = p->shape[0];
    }
    for (; l.num_layers < 1000; l.num_layers++) {
        snprintf(name, sizeof name, "weight_ih_l%jd", (intmax_t)l.num_layers);
        if (!tine_verify_has(r->c, prefix, name)) break;
    }
    *out = l;
    return TINE_OK;
}

/* "True" and "1", "False" and "0"; -1: another text */
static int metadata_bool(const char *text) {
    if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0) return 1;
    return strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0 ? 0 : -1;
}

/* The metadata's value of a size or option, if there is one, must be that of the weights. */
static tine_error metadata_check(const case_reader *r, const char *key, int64_t found,
                                 bool boolean) {
    const char *said = tine_safetensors_meta(r->c->file, key);
    if (!said) return TINE_OK;
    char *end = "";
    int64_t number = boolean ? metadata_bool(said) : strtoll(said, &end, 10);
    if (number == found && *end == '\0') return TINE_OK;
    return case_refuse(r, "its metadata says %s=%.32s, the weights say %jd", key, said,
                       (intmax_t)found);
}

/* Which dimension of the input is the batch: the one that the states have, what the metadata says,
 * or, where neither tells, the one with which the answers agree. */
static tine_error case_read_batch_first(const case_reader *r, const tine_safetensor *input) {
    static const char *const states[] = {"h_n", "c_n", "h0", "c0"};
    tine_verify_case *c = r->c;
    const char *text = tine_safetensors_meta(c->file, "batch_first");
    int said = text ? metadata_bool(text) : -1;
    if (text && said < 0)
        return case_refuse(r, "its metadata says batch_first=%.32s; True or False is needed", text);
    c->lstm.batch_first = said == 1;
    c->batch_first_said = text;
    if (input->rank == 2) return TINE_OK;
    const tine_safetensor *state = NULL;
    for (size_t i = 0; i < 4 && !state; i++) state = tine_safetensors_find(c->file, states[i]);
    c->batch_first_open = input->shape[0] == input->shape[1] || !state;
    if (!state) return TINE_OK;
    int64_t batch = state->shape[1];
    if (batch != input->shape[0] && batch != input->shape[1])
        return case_refuse(r,
                           "tensor \"%s\" has a batch of %jd, which no dimension of \"input\" has",
                           state->name, (intmax_t)batch);
    if (c->batch_first_open) return TINE_OK;
    c->lstm.batch_first = batch == input->shape[0];
    if (text && c->lstm.batch_first != (said == 1))
        return case_refuse(r,
                           "its metadata says batch_first=%.32s, the shapes of \"input\" and "
                           "\"%s\" say otherwise",
                           text, state->name);
    return TINE_OK;
}

static tine_error case_read_lstm(const case_reader *r, const tine_safetensor *input) {
    tine_verify_case *c = r->c;
    tine_verify_lstm *l = &c->lstm;
    tine_error e = case_read_config(r, "", l);
    if (!e) e = metadata_check(r, "input_size", l->input_size, false);
    if (!e) e = metadata_check(r, "hidden_size", l->hidden_size, false);
    if (!e) e = metadata_check(r, "num_layers", l->num_layers, false);
    if (!e) e = metadata_check(r, "proj_size", l->proj_size, false);
    if (!e) e = metadata_check(r, "bias", l->bias, true);
    if (!e) e = metadata_check(r, "bidirectional", l->bidirectional, true);
    if (e) return e;
    for (int i = 1; i < TINE_VERIFY_ANSWERS; i++)
        if (tine_verify_has(c, "", tine_verify_answer_names[i]) &&
            !case_tensor(r, tine_verify_answer_names[i], input->rank))
            return TINE_EINVAL;
    if (tine_verify_has(c, "", "h0") != tine_verify_has(c, "", "c0"))
        return case_refuse(r, "it has one of \"h0\" and \"c0\" without the other");
    if (tine_verify_has(c, "", "h0") &&
        (!case_tensor(r, "h0", input->rank) || !case_tensor(r, "c0", input->rank)))
        return TINE_EINVAL;
    e = case_read_batch_first(r, input);
    c->n_futures = c->batch_first_open ? 2 : 1;
    return e;
}

/* "models.17.cell_f.x": 17, and *rest is "cell_f.x"; -1: another name */
static int64_t model_of(const char *name, const char **rest) {
    char *end;
    if (strncmp(name, "models.", 7) != 0 || name[7] < '0' || name[7] > '9') return -1;
    int64_t model = strtoll(name + 7, &end, 10);
    *rest = end + 1;
    return *end == '.' ? model : -1;
}

static tine_error case_read_ensemble(const case_reader *r) {
    tine_verify_case *c = r->c;
    c->ensemble = true;
    for (;; c->models++) {
        char prefix[NAME_ROOM];
        snprintf(prefix, sizeof prefix, "models.%zu.cell_f.", c->models);
        if (!tine_verify_has(c, prefix, "weight_ih_l0")) break;
        for (int cell = 0; cell < 2; cell++) {
            tine_verify_lstm l;
            tine_error e = tine_verify_cell(c, c->models, cell, &l, r->why, r->why_size);
            if (e) return e;
        }
    }
    for (size_t i = 0; i < tine_safetensors_count(c->file); i++) {
        const char *name = tine_safetensors_at(c->file, i)->name, *rest;
        if (model_of(name, &rest) >= (int64_t)c->models)
            return case_refuse(r, "it has tensor \"%.64s\", but no models.%zu.cell_f.weight_ih_l0",
                               name, c->models);
    }
    c->n_futures = c->models;
    return metadata_check(r, "n_models", (int64_t)c->models, false);
}

tine_error tine_verify_cell(tine_verify_case *c, size_t model, int cell, tine_verify_lstm *out,
                            char *why, size_t why_size) {
    case_reader r = {c, why, why_size};
    char prefix[NAME_ROOM];
    snprintf(prefix, sizeof prefix, "models.%zu.cell_%c.", model, "fb"[cell]);
    return case_read_config(&r, prefix, out);
}

static bool case_is_ensemble(const tine_verify_case *c) {
    const char *rest;
    for (size_t i = 0; i < tine_safetensors_count(c->file); i++)
        if (model_of(tine_safetensors_at(c->file, i)->name, &rest) >= 0)
            return !tine_verify_has(c, "", "weight_ih_l0");
    return false;
}

tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size) {
    case_reader r = {c, why, why_size};
    *c = (tine_verify_case){.path = path};
    tine_error e = tine_safetensors_open(&c->file, path, why, why_size);
    if (e) return e;
    const tine_safetensor *input = tine_safetensors_find(c->file, "input");
    int rank = input && input->rank == 2 ? 2 : 3; /* unbatched or batched */
    bool ensemble = case_is_ensemble(c);
    if (!ensemble && !tine_verify_has(c, "", "weight_ih_l0"))
        return case_refuse(&r, "it has no tensor \"weight_ih_l0\"");
    if (!(input = case_tensor(&r, "input", rank)) || !case_tensor(&r, "output", rank))
        return TINE_EINVAL;
    if ((e = ensemble ? case_read_ensemble(&r) : case_read_lstm(&r, input))) return e;
    c->futures = calloc(c->n_futures, sizeof(tine_future *));
    if (c->futures) return TINE_OK;
    case_refuse(&r, "no memory");
    return TINE_ENOMEM;
}

static bool is_weight(const char *name) {
    return strncmp(name, "weight_", 7) == 0 || strncmp(name, "bias_", 5) == 0;
}

bool tine_verify_uses(const tine_verify_case *c, const tine_safetensor *t) {
    static const char *const names[] = {"input", "output", "h_n", "c_n", "h0", "c0"};
    if (!tine_verify_floating(t)) return false;
    for (size_t i = 0; i < (c->ensemble ? 2 : 6); i++)
        if (strcmp(t->name, names[i]) == 0) return true;
    if (!c->ensemble) return is_weight(t->name);
    const char *rest;
    return model_of(t->name, &rest) >= 0 &&
           (strncmp(rest, "cell_f.", 7) == 0 || strncmp(rest, "cell_b.", 7) == 0) &&
           is_weight(rest + 7);
}

void tine_verify_close(tine_verify_case *c) {
    free(c->futures);
    tine_safetensors_close(c->file);
    *c = (tine_verify_case){0};
}
