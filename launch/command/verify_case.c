/* Reading a file of `tine verify`; see verify_case.h. */
#include "launch/command/verify_case.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/value/error.h"
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

static const tine_safetensor *case_find(const case_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static const tine_safetensor *case_find(const case_reader *r, const char *format, ...) {
    char name[NAME_ROOM];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    return tine_safetensors_find(r->c->file, name);
}

bool tine_verify_single(const tine_verify_case *c) { return !c->cells.models && !c->cells.paired; }

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

static const char *const states[] = {"h_n", "c_n", "h0", "c0"}; /* of a gru not c */

/* Which dimension of the input is the batch: the one that the states have, what the metadata says,
 * or, where neither tells, the one with which the answers agree. */
static tine_error case_read_batch_first(const case_reader *r, const tine_safetensor *input) {
    tine_verify_case *c = r->c;
    const char *text = tine_safetensors_meta(c->file, "batch_first");
    int said = text ? metadata_bool(text) : -1;
    if (text && said < 0)
        return case_refuse(r, "its metadata says batch_first=%.32s; True or False is needed", text);
    c->cells.config.batch_first = said == 1;
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
    c->cells.config.batch_first = batch == input->shape[0];
    if (text && c->cells.config.batch_first != (said == 1))
        return case_refuse(r,
                           "its metadata says batch_first=%.32s, the shapes of \"input\" and "
                           "\"%s\" say otherwise",
                           text, state->name);
    return TINE_OK;
}

static tine_error case_read_single(const case_reader *r, const tine_safetensor *input) {
    tine_verify_case *c = r->c;
    const struct tine_lstm_config *k = &c->cells.config;
    tine_error e = metadata_check(r, "input_size", (int64_t)k->input_size, false);
    if (!e) e = metadata_check(r, "hidden_size", (int64_t)k->hidden_size, false);
    if (!e) e = metadata_check(r, "num_layers", (int64_t)k->num_layers, false);
    if (!e) e = metadata_check(r, "proj_size", (int64_t)k->proj_size, false);
    if (!e) e = metadata_check(r, "bias", k->bias, true);
    if (!e) e = metadata_check(r, "bidirectional", k->bidirectional, true);
    if (e) return e;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (case_find(r, "%s", states[i]) && !case_tensor(r, states[i], input->rank))
            return TINE_EINVAL;
    if (!k->gru && !case_find(r, "h0") != !case_find(r, "c0"))
        return case_refuse(r, "it has one of \"h0\" and \"c0\" without the other");
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

/* An ensemble, and none of its models is left out. */
static tine_error case_check_models(const case_reader *r) {
    size_t n = 0;
    bool plain = case_find(r, "models.0.weight_ih_l0");
    const char *cell = plain ? "" : "cell_f.", *rest;
    while (case_find(r, "models.%zu.%sweight_ih_l0", n, cell)) n++;
    for (size_t i = 0; i < tine_safetensors_count(r->c->file); i++) {
        const char *name = tine_safetensors_at(r->c->file, i)->name;
        if (model_of(name, &rest) >= (int64_t)n)
            return case_refuse(r, "it has tensor \"%.64s\", but no models.%zu.%sweight_ih_l0", name,
                               n, cell);
    }
    for (size_t i = 0; !plain && i < n; i++)
        if (!case_find(r, "models.%zu.cell_b.weight_ih_l0", i))
            return case_refuse(r, "it has no tensor \"models.%zu.cell_b.weight_ih_l0\"", i);
    if (n == 0)
        return case_refuse(r, "it has no tensor \"weight_ih_l0\", nor one under \"cell_f.\" or "
                              "\"models.0.\"");
    return metadata_check(r, "n_models", (int64_t)n, false);
}

/* "weight_ih_l0", "cell_b.bias_hh_l0", "models.3.cell_f.weight_hr_l1_reverse" … */
static bool is_weight(const char *name) {
    const char *rest;
    if (model_of(name, &rest) >= 0) name = rest;
    if (strncmp(name, "cell_f.", 7) == 0 || strncmp(name, "cell_b.", 7) == 0) name += 7;
    return strncmp(name, "weight_", 7) == 0 || strncmp(name, "bias_", 5) == 0;
}

/* What the model found is made of: an ensemble's file may hold other weights beside it. */
static bool case_has_weight(const tine_verify_case *c, const char *name) {
    const char *rest;
    if (!is_weight(name)) return false;
    if ((model_of(name, &rest) >= 0) != (c->cells.models > 0)) return false;
    if (c->cells.models) name = rest;
    return (strncmp(name, "cell_", 5) == 0) == c->cells.paired;
}

/* The floating-point tensors that `wanted` names. */
static tine_value *case_weights(const tine_verify_case *c,
                                bool (*wanted)(const tine_verify_case *c, const char *name)) {
    size_t count = tine_safetensors_count(c->file), n = 0;
    const char **keys = calloc(count + 1, sizeof *keys);
    tine_value **items = calloc(count + 1, sizeof *items), *dict = NULL;
    bool good = keys && items;
    for (size_t i = 0; good && i < count; i++) {
        const tine_safetensor *t = tine_safetensors_at(c->file, i);
        if (!tine_verify_floating(t) || !wanted(c, t->name)) continue;
        keys[n] = t->name;
        good = (items[n] = tine_verify_tensor(t));
        n += good;
    }
    if (good) dict = tine_dict_of(keys, items, n);
    while (n > 0) tine_release(items[--n]);
    free(keys);
    free(items);
    return dict;
}

static bool any_weight(const tine_verify_case *c, const char *name) { return c && is_weight(name); }

/* Which model the file holds, found as `tine predict` does. */
static tine_error case_read_model(const case_reader *r) {
    tine_verify_case *c = r->c;
    const tine_safetensor *first = case_find(r, "weight_ih_l0");
    if (first && !case_tensor(r, "weight_ih_l0", 2)) return TINE_EINVAL;
    if (!first && !case_find(r, "cell_f.weight_ih_l0") && case_check_models(r)) return TINE_EINVAL;
    tine_value *all = case_weights(c, any_weight);
    tine_error e = all ? tine_cells_detect(all, &c->cells) : TINE_ENOMEM;
    tine_release(all);
    if (!e && !(c->weights = case_weights(c, case_has_weight))) e = TINE_ENOMEM;
    if (e) case_refuse(r, "%s", tine_error_text());
    return e;
}

tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size) {
    case_reader r = {c, why, why_size};
    *c = (tine_verify_case){.path = path};
    tine_error e = tine_safetensors_open(&c->file, path, why, why_size);
    if (!e) e = case_read_model(&r);
    if (e) return e;
    const tine_safetensor *input = case_find(&r, "input");
    int rank = input && input->rank == 2 && tine_verify_single(c) ? 2 : 3; /* 2: unbatched */
    if (!(input = case_tensor(&r, "input", rank)) || !case_tensor(&r, "output", rank))
        return TINE_EINVAL;
    c->n_futures = 1;
    return tine_verify_single(c) ? case_read_single(&r, input) : TINE_OK;
}

bool tine_verify_uses(const tine_verify_case *c, const tine_safetensor *t) {
    static const char *const names[] = {"input", "output", "h_n", "h0", "c_n", "c0"};
    size_t n = !tine_verify_single(c) ? 2 : c->cells.config.gru ? 4 : 6;
    if (!tine_verify_floating(t)) return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(t->name, names[i]) == 0) return true;
    return case_has_weight(c, t->name);
}

void tine_verify_close(tine_verify_case *c) {
    tine_release(c->weights);
    tine_safetensors_close(c->file);
    *c = (tine_verify_case){0};
}
