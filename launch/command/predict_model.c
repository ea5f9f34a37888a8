/* Reading the files of `tine predict`; see predict_model.h. */
#include "launch/command/predict_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "launch/command/npy.h"
#include "runtime/safetensors/safetensors.h"
#include "runtime/value/error.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/weights.h"

bool tine_ends_with(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcasecmp(path + n - m, ending) == 0;
}

/* A float tensor as float32; takes v over. */
static tine_value *input_floats(const char *path, tine_value *v) {
    if (!v) return NULL;
    if (!tine_dtype_floating(v->tensor.dtype)) {
        tine_error_set(TINE_EINVAL, "%s: the input must be of floats, not %s", path,
                       tine_dtype_name(v->tensor.dtype));
        tine_release(v);
        return NULL;
    }
    tine_value *floats = (tine_value *)tine_converted(v, TINE_F32);
    if (floats != v) tine_release(v);
    return floats;
}

tine_value *tine_predict_input(const char *path, tine_value **others) {
    *others = NULL;
    if (tine_ends_with(path, ".npy")) return input_floats(path, tine_npy_load(path));
    tine_value *dict = tine_load(path, NULL);
    if (!dict) return NULL;
    const tine_value *x = tine_dict_find(dict, "input");
    if (!x && dict->list.n == 1) x = dict->list.items[0];
    if (!x) {
        tine_error_set(TINE_EINVAL, "%s: it has %zu tensors, and none is called \"input\"", path,
                       dict->list.n);
        tine_release(dict);
        return NULL;
    }
    *others = dict;
    return input_floats(path, tine_ref((tine_value *)x));
}

/* What the file's metadata say of batch_first; -1: nothing. */
static int metadata_batch_first(const char *path) {
    char why[16];
    tine_safetensors *file;
    if (tine_safetensors_open(&file, path, why, sizeof why)) return -1;
    const char *text = tine_safetensors_meta(file, "batch_first");
    int said = !text ? -1 : strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0;
    tine_safetensors_close(file);
    return said;
}

static bool check_input(const tine_prediction *p, const tine_prediction_options *o) {
    const tine_value *x = p->x;
    int rank = x->tensor.rank;
    const struct tine_lstm_config *c = &p->cells.config;
    if ((rank != 2 || p->cells.models || p->cells.paired) && rank != 3) {
        tine_error_set(TINE_EINVAL, "%s: the input must have 3 dimensions, not %d", o->input, rank);
        return false;
    }
    if (x->tensor.shape[rank - 1] == (int64_t)c->input_size) return true;
    tine_error_set(TINE_EINVAL,
                   "%s: the last dimension of the input is %lld; the model %s has an input size "
                   "of %zu",
                   o->input, (long long)x->tensor.shape[rank - 1], o->model, c->input_size);
    return false;
}

/* hx and lengths of a single cell, if the input's file has them. */
static bool read_state(tine_prediction *p, const tine_value *others) {
    const tine_value *h = tine_dict_find(others, "h0"), *c = tine_dict_find(others, "c0"),
                     *lengths = tine_dict_find(others, "lengths");
    if (p->cells.models || p->cells.paired) return true;
    if (lengths) p->lengths = tine_ref((tine_value *)lengths);
    if (h && p->cells.config.gru) p->hx = tine_ref((tine_value *)h);
    if (h && c && !p->cells.config.gru) return (p->hx = tine_list(h, c));
    return true;
}

/* The items that the model is made of; others, such as the "input" and "output" of a file for `tine
 * verify`, are left out. */
static tine_value *model_weights(const tine_value *all, const tine_cells *c) {
    static const char *const beginnings[3][2] = {
        {"weight_", "bias_"}, {"cell_f.", "cell_b."}, {"models.", "models."}};
    const char *const *begin = beginnings[c->models ? 2 : c->paired];
    size_t n = 0;
    tine_value *out = NULL, **items = calloc(all->list.n + 1, sizeof *items);
    const char **keys = calloc(all->list.n + 1, sizeof *keys);
    for (size_t i = 0; keys && items && i < all->list.n; i++) {
        const char *key = all->list.keys[i];
        if (strncmp(key, begin[0], strlen(begin[0])) && strncmp(key, begin[1], strlen(begin[1])))
            continue;
        keys[n] = key;
        items[n++] = all->list.items[i];
    }
    if (keys && items)
        out = tine_dict_of(keys, items, n);
    else
        tine_error_set(TINE_ENOMEM, "no memory for %zu tensors", all->list.n);
    free(keys);
    free(items);
    return out;
}

/* Why a file holds no model that is known here, and what to do instead. */
static void refuse_model(const tine_prediction_options *o, const tine_value *all) {
    static const char name[] = ".weight_ih_l0";
    for (size_t i = 0; i < all->list.n; i++) {
        size_t n = strlen(all->list.keys[i]), m = sizeof name - 1;
        if (n <= m || strcmp(all->list.keys[i] + n - m, name) != 0) continue;
        tine_error_set(TINE_EINVAL,
                       "%s: it holds a model of several layers: export the whole as ONNX, or "
                       "compute a part of it, with --prefix %s%s%.*s say",
                       o->model, o->prefix ? o->prefix : "",
                       o->prefix && !tine_ends_with(o->prefix, ".") ? "." : "", (int)(n - m),
                       all->list.keys[i]);
        return;
    }
    tine_error_set(TINE_EINVAL, "%s: %s", o->model, tine_error_text());
}

/* Where all names begin with the same "NAME.", as DataParallel's do: *all without it. */
static bool common_prefix_strip(tine_value **all) {
    const char *first = (*all)->list.n ? (*all)->list.keys[0] : "", *dot = strchr(first, '.');
    size_t n = dot ? (size_t)(dot - first) : 0;
    for (size_t i = 0; i < (*all)->list.n; i++)
        if (strncmp((*all)->list.keys[i], first, n + 1) != 0) return false;
    char *prefix = n ? strndup(first, n) : NULL;
    tine_value *under = prefix ? tine_dict_under(*all, prefix) : NULL;
    free(prefix);
    if (!under) return false;
    tine_release(*all);
    *all = under;
    return true;
}

static bool read_model(tine_prediction *p, const tine_prediction_options *o) {
    tine_value *all = tine_load(o->model, o->prefix);
    if (!all) return false;
    bool found = tine_cells_detect(all, &p->cells) == TINE_OK;
    while (!found && common_prefix_strip(&all))
        found = tine_cells_detect(all, &p->cells) == TINE_OK;
    if (found)
        p->weights = model_weights(all, &p->cells);
    else
        refuse_model(o, all);
    tine_release(all);
    int said = p->weights ? metadata_batch_first(o->model) : -1;
    bool sequence_only = p->cells.models || p->cells.paired;
    if (p->weights && o->batch_first && (sequence_only || said == 0)) {
        tine_error_set(TINE_EINVAL,
                       sequence_only ? "%s: --batch-first is for a single lstm or gru"
                                     : "%s: its metadata say batch_first=False",
                       o->model);
        return false;
    }
    p->cells.config.batch_first = !sequence_only && (o->batch_first || said == 1);
    enum tine_gemm_type type = TINE_GEMM_F32;
    tine_gemm_type_parse(o->dtype, &type);
    p->cells.config.type = (enum tine_lstm_type)type;
    return p->weights;
}

bool tine_prediction_open(tine_prediction *p, const tine_prediction_options *o) {
    tine_value *others;
    *p = (tine_prediction){0};
    if (!read_model(p, o) || !(p->x = tine_predict_input(o->input, &others))) return false;
    bool good = check_input(p, o) && (!others || read_state(p, others));
    tine_release(others);
    p->batch_dim = p->x->tensor.rank == 2 ? -1 : p->cells.config.batch_first ? 0 : 1;
    p->batch = p->batch_dim < 0 ? 1 : p->x->tensor.shape[p->batch_dim];
    return good;
}

void tine_prediction_close(tine_prediction *p) {
    tine_release(p->weights);
    tine_release(p->x);
    tine_release(p->hx);
    tine_release(p->lengths);
    tine_release(p->module);
    *p = (tine_prediction){0};
}

void tine_prediction_name(const tine_prediction *p, char *out, size_t room) {
    const tine_cells *c = &p->cells;
    const char *cell = c->config.gru ? "gru" : "lstm", *pair = c->paired ? "pairs of " : "";
    if (c->models)
        snprintf(out, room, "ensemble of %zu %s%s", c->models, pair, cell);
    else
        snprintf(out, room, c->paired ? "pair of %s" : "%s", cell);
}

double tine_prediction_flops(const tine_prediction *p) {
    const tine_cells *c = &p->cells;
    double rows = 1;
    for (int i = 0; i + 1 < p->x->tensor.rank; i++) rows *= (double)p->x->tensor.shape[i];
    return tine_lstm_flops(&c->config, 1, 1) * rows * (double)(c->models ? c->models : 1) *
           (c->paired ? 2 : 1);
}

bool tine_predict_write(const char *path, const tine_value *results) {
    if (tine_ends_with(path, ".npy")) return tine_npy_save(path, results->list.items[0]) == TINE_OK;
    return tine_save(path, results) == TINE_OK;
}
