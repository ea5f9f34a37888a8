/* See cells.h. */
#include "workers/modules/cells.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/value/error.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/weights.h"

/* ---- from names and shapes ---- */

static const tine_value *matrix_find(const tine_value *dict, const char *prefix, const char *name) {
    const tine_value *v = tine_dict_find(dict, "%s%s", prefix, name);
    return v && v->kind == TINE_TENSOR && v->tensor.rank == 2 ? v : NULL;
}

/* The configuration of the cell under a prefix. */
static tine_error config_detect(const tine_value *dict, const char *prefix,
                                struct tine_lstm_config *c) {
    const tine_value *ih = matrix_find(dict, prefix, "weight_ih_l0"),
                     *hh = matrix_find(dict, prefix, "weight_hh_l0"),
                     *hr = matrix_find(dict, prefix, "weight_hr_l0");
    if (!ih || !hh)
        return tine_error_set(TINE_EINVAL,
                              "\"%sweight_ih_l0\" and \"%sweight_hh_l0\" must be "
                              "matrices",
                              prefix, prefix);
    int64_t rows = ih->tensor.shape[0], out = hh->tensor.shape[1];
    int gates = hr || rows == 4 * out ? 4 : rows == 3 * out ? 3 : 0;
    if (gates == 0 || rows < gates || rows % gates || ih->tensor.shape[1] < 1)
        return tine_error_set(TINE_EINVAL,
                              "\"%sweight_ih_l0\" has %lld rows, \"%sweight_hh_l0\" %lld columns: "
                              "an LSTM has 4 times as many, a GRU 3 times; %s",
                              prefix, (long long)rows, prefix, (long long)out,
                              rows == out ? "nn.RNN is not supported" : "this is neither");
    *c = (struct tine_lstm_config){.input_size = (size_t)ih->tensor.shape[1],
                                   .hidden_size = (size_t)(rows / gates),
                                   .proj_size = hr ? (size_t)hr->tensor.shape[0] : 0,
                                   .gru = gates == 3};
    c->bias = tine_dict_find(dict, "%sbias_ih_l0", prefix);
    c->bidirectional = tine_dict_find(dict, "%sweight_ih_l0_reverse", prefix);
    while (c->num_layers < TINE_LAYERS_MAX &&
           tine_dict_find(dict, "%sweight_ih_l%zu", prefix, c->num_layers))
        c->num_layers++;
    const char *defect = tine_lstm_config_defect(c);
    return defect ? tine_error_set(TINE_EINVAL, "the cell at \"%s\": %s", prefix, defect) : TINE_OK;
}

tine_error tine_cells_detect(const tine_value *dict, tine_cells *out) {
    static const char *const prefixes[] = {"", "cell_f.", "models.0.", "models.0.cell_f."};
    int kind = 0;
    *out = (tine_cells){0};
    while (kind < 4 && !tine_dict_find(dict, "%sweight_ih_l0", prefixes[kind])) kind++;
    if (kind == 4)
        return tine_error_set(TINE_EINVAL,
                              "its tensors are those of no known model: there is no "
                              "\"weight_ih_l0\" (an LSTM or a GRU), \"cell_f.weight_ih_l0\" (a "
                              "forward and a backward one), or either under \"models.0.\" (an "
                              "ensemble)%s%.64s%s",
                              dict->list.n ? "; its first tensor is \"" : "",
                              dict->list.n ? dict->list.keys[0] : "", dict->list.n ? "\"" : "");
    out->paired = kind % 2;
    while (kind >= 2 && out->models < TINE_MODELS_MAX &&
           tine_dict_find(dict, "models.%zu.%sweight_ih_l0", out->models,
                          out->paired ? "cell_f." : ""))
        out->models++;
    return config_detect(dict, prefixes[kind], &out->config);
}

const char *tine_cells_class(const tine_cells *c) {
    return c->models ? "ensemble" : c->paired ? "bilstm" : c->config.gru ? "gru" : "lstm";
}

/* ---- modules ---- */

static tine_value *cell_module(const struct tine_lstm_config *c, const tine_value *dict,
                               int64_t seed) {
    const char *dtype = tine_gemm_type_name((enum tine_gemm_type)c->type);
    tine_argument args[] = {TINE_ARGUMENT(c->gru ? "tine.gru" : "tine.lstm"),
                            TINE_ARGUMENT(c->input_size),
                            TINE_ARGUMENT(c->hidden_size),
                            tine_kw("num_layers", c->num_layers),
                            tine_kw("bias", c->bias),
                            tine_kw("batch_first", c->batch_first),
                            tine_kw("bidirectional", c->bidirectional),
                            tine_kw("dtype", dtype),
                            tine_kw("seed", seed),
                            tine_kw("state_dict", dict),
                            tine_kw("proj_size", c->proj_size)};
    size_t n = sizeof args / sizeof *args - (c->gru ? 1 : 0);
    if (!dict) args[9] = tine_kw("state_dict", tine_none());
    return tine_module_args(args, n);
}

/* A seed for part `i` of what has a seed. */
static int64_t seed_of_part(int64_t seed, size_t i) {
    return (int64_t)(tine_random_bits((uint64_t)seed, i) >> 1);
}

bool tine_cells_pair(const tine_cells *c, const tine_value *dict, int64_t seed, tine_value **f,
                     tine_value **b) {
    tine_value *dict_f = dict ? tine_dict_under(dict, "cell_f") : NULL,
               *dict_b = dict ? tine_dict_under(dict, "cell_b") : NULL;
    *f = *b = NULL;
    if (!dict || (dict_f && dict_b)) {
        *f = cell_module(&c->config, dict_f, seed_of_part(seed, 0));
        *b = *f ? cell_module(&c->config, dict_b, seed_of_part(seed, 1)) : NULL;
    }
    tine_release(dict_f);
    tine_release(dict_b);
    if (!*b) tine_release(*f);
    return *b;
}

static tine_value *model_make(const tine_cells *c, size_t k, const tine_value *dict, int64_t seed) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "models.%zu", k);
    tine_value *under = dict ? tine_dict_under(dict, prefix) : NULL, *f, *b, *model = NULL;
    if (dict && !under) return NULL;
    seed = seed_of_part(seed, k);
    if (!c->paired) {
        model = cell_module(&c->config, under, seed);
    } else if (tine_cells_pair(c, under, seed, &f, &b)) {
        model = tine_module("tine.bilstm", f, b);
        tine_release(f);
        tine_release(b);
    }
    tine_release(under);
    return model;
}

tine_value *tine_cells_models(const tine_cells *c, const tine_value *dict, int64_t seed) {
    tine_value **models = calloc(c->models, sizeof *models), *list = NULL;
    size_t n = 0;
    if (!models) tine_error_set(TINE_ENOMEM, "no memory for %zu models", c->models);
    while (models && n < c->models && (models[n] = model_make(c, n, dict, seed))) n++;
    if (models && n == c->models) list = tine_list_of(models, n);
    while (n > 0) tine_release(models[--n]);
    free(models);
    return list;
}

tine_value *tine_cells_module(const tine_cells *c, const tine_value *dict) {
    const char *dtype = tine_gemm_type_name((enum tine_gemm_type)c->config.type);
    if (!c->models && !c->paired) return cell_module(&c->config, dict, 0);
    return tine_module(c->models ? "tine.ensemble" : "tine.bilstm", tine_kw("state_dict", dict),
                       tine_kw("dtype", dtype));
}

/* ---- arguments ---- */

static void cells_describe(const void *config, size_t i, tine_weight *out) {
    const tine_cells *c = config;
    size_t each = tine_lstm_weight_count(&c->config), cell = i / each, rows, columns;
    char name[40], model[32] = "";
    tine_lstm_weight_info(&c->config, i % each, name, &rows, &columns);
    *out = (tine_weight){.rank = columns ? 2 : 1, .shape = {(int64_t)rows, (int64_t)columns}};
    if (c->models) snprintf(model, sizeof model, "models.%zu.", c->paired ? cell / 2 : cell);
    snprintf(out->name, sizeof out->name, "%s%s%s", model,
             !c->paired      ? ""
             : cell % 2 == 0 ? "cell_f."
                             : "cell_b.",
             name);
}

bool tine_cells_sized(tine_task *task, size_t i) {
    tine_kind kind = tine_arg(task, i)->kind;
    return kind == TINE_INT || kind == TINE_NONE;
}

/* A size of at least 1, or 0 for none. */
static bool cells_size(tine_task *task, size_t i, size_t most, size_t *out) {
    if (tine_arg(task, i)->kind == TINE_NONE) return true;
    int64_t n = tine_arg_int(task, i);
    if (task->failed) return false;
    if (n < 1 || (uint64_t)n > most)
        return tine_arg_fail(task, i, "be from 1 to %zu, not %lld", most, (long long)n);
    *out = (size_t)n;
    return true;
}

static const tine_value *cells_under_prefix(tine_task *task, const tine_value *dict,
                                            const char *prefix) {
    const tine_value *under = tine_dict_under(dict, prefix);
    if (!under || under->list.n > 0 || dict->list.n == 0) return under;
    tine_fail(task,
              "%s(): no key of the state_dict begins with \"%.64s\"; it has %zu, such as "
              "\"%.64s\"",
              task->callable->name, prefix, dict->list.n, dict->list.keys[0]);
    return NULL;
}

/* The items under `prefix`, or under the one prefix where a model of this kind begins; the
 * state_dict itself if there is none. */
static const tine_value *cells_under(tine_task *task, bool ensemble, const tine_value *dict,
                                     const char *prefix) {
    const char *const names[] = {"cell_f.weight_ih_l0", "models.0.cell_f.weight_ih_l0",
                                 "models.0.weight_ih_l0"};
    const char *found = NULL;
    size_t length = 0, n = 0;
    if (prefix) return cells_under_prefix(task, dict, prefix);
    for (size_t k = ensemble; k < (ensemble ? 3 : 1); k++)
        for (size_t i = 0; i < dict->list.n; i++) {
            const char *key = dict->list.keys[i];
            size_t tail = strlen(names[k]), size = strlen(key);
            if (size < tail || strcmp(key + size - tail, names[k]) != 0) continue;
            if (size == tail) return dict;
            if (key[size - tail - 1] != '.') continue;
            found = key;
            length = size - tail;
            n++;
        }
    if (n > 1) {
        tine_fail(task,
                  "%s(): the state_dict has weights for it under %zu prefixes, the last \"%.*s"
                  "\"; pass one as 'prefix'",
                  task->callable->name, n, (int)length, found);
        return NULL;
    }
    if (n == 0) return dict;
    char *text = strndup(found, length);
    const tine_value *under = text ? tine_dict_under(dict, text) : NULL;
    free(text);
    return under;
}

bool tine_cells_arguments(tine_task *task, bool ensemble, tine_cells *out,
                          const tine_value **dict) {
    size_t input = 0, hidden = 0, models = 0, at = ensemble;
    const tine_value *given = tine_arg(task, tine_arg_index(task, "state_dict")),
                     *prefix = tine_arg(task, tine_arg_index(task, "prefix"));
    enum tine_gemm_type type;
    *dict = NULL;
    if (!tine_operand_type_arg(task, &type) ||
        (ensemble && !cells_size(task, 0, TINE_MODELS_MAX, &models)) ||
        !cells_size(task, at, (size_t)1 << 30, &input) ||
        !cells_size(task, at + 1, (size_t)1 << 30, &hidden))
        return false;
    *out = (tine_cells){.models = models, .paired = true, .config = {.bias = true}};
    if (given->kind == TINE_DICT) {
        *dict = cells_under(task, ensemble, given,
                            prefix->kind == TINE_STRING ? tine_as_string(prefix) : NULL);
        tine_cells found;
        if (!*dict) return false;
        if (tine_cells_detect(*dict, &found) == TINE_OK && !found.models == !ensemble &&
            (ensemble || found.paired))
            *out = found;
        if (models) out->models = models;
    } else if (given->kind != TINE_NONE) {
        return tine_fail(task, "%s(): argument 'state_dict' must be a dict of tensors, not %s",
                         task->callable->name, tine_kind_name(given->kind));
    }
    if (input) out->config.input_size = input;
    if (hidden) out->config.hidden_size = hidden;
    if (out->config.num_layers == 0) out->config.num_layers = 1;
    out->config.type = (enum tine_lstm_type)type;
    if (!*dict &&
        (!out->config.input_size || !out->config.hidden_size || (ensemble && !out->models)))
        return tine_fail(task,
                         "%s(): it needs modules, or sizes (%sinput_size, hidden_size), or a "
                         "state_dict",
                         task->callable->name, ensemble ? "n_models, " : "");
    if (!*dict) return true;
    const tine_weight_set set = {ensemble ? "LSTMEnsemble" : "BidirectionalRecurrentLSTM",
                                 tine_lstm_weight_count(&out->config) *
                                     (out->models ? out->models : 1) * (out->paired ? 2 : 1),
                                 out, cells_describe};
    *dict = tine_weights_find(task, &set, *dict, "");
    return *dict;
}
