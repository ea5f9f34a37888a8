/* See weights.h. */
#include "workers/modules/weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "runtime/call/signature.h"
#include "runtime/value/error.h"
#include "transport/base/assert.h"
#include "workers/builtin/builtin.h"

enum { NAMES_SHOWN = 8 };

size_t tine_arg_index(const tine_task *task, const char *name) {
    const tine_signature *s = task->callable->signature;
    size_t i = 0;
    while (i < s->n && strcmp(s->parameters[i].name, name) != 0) i++;
    TINE_ASSERT(i, <, s->n);
    return i;
}

static const tine_value *arg_named(tine_task *task, const char *name) {
    return tine_arg(task, tine_arg_index(task, name));
}

bool tine_operand_type_arg(tine_task *task, enum tine_gemm_type *out) {
    const char *name = tine_arg_string(task, tine_arg_index(task, "dtype"));
    if (!name) return false;
    if (tine_gemm_type_parse(name, out)) return true;
    tine_dtype t = tine_dtype_parse(name);
    *out = t == TINE_BF16 ? TINE_GEMM_BF16 : TINE_GEMM_F32;
    return t == TINE_F32 || t == TINE_BF16 ||
           tine_fail(task, "%s(): dtype must be f32, bf16 or int8, not %.64s", task->callable->name,
                     t ? tine_dtype_name(t) : name);
}

const tine_value *tine_floats_of(tine_task *task, const tine_value *x, const char *what) {
    if (x->tensor.dtype == TINE_F32) return x;
    if (tine_dtype_floating(x->tensor.dtype)) return tine_converted(x, TINE_F32);
    tine_fail(task, "%s(): %s must be a float tensor, not %s", task->callable->name, what,
              tine_dtype_name(x->tensor.dtype));
    return NULL;
}

tine_value *tine_bf16_tensor(const tine_value *v) {
    return (tine_value *)tine_converted(v, TINE_BF16);
}

/* ---- keys ---- */

/* The part of a key behind a prefix, which ends with a point or is empty; NULL: another key. */
static const char *key_behind(const char *key, const char *prefix) {
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0) return NULL;
    if (n == 0 || prefix[n - 1] == '.') return key + n;
    return key[n] == '.' ? key + n + 1 : NULL;
}

tine_value *tine_dict_under(const tine_value *dict, const char *prefix) {
    size_t n = 0;
    if (!*prefix) return (tine_value *)dict;
    const char **keys = calloc(dict->list.n + 1, sizeof *keys);
    tine_value **items = calloc(dict->list.n + 1, sizeof *items), *out = NULL;
    for (size_t i = 0; keys && items && i < dict->list.n; i++) {
        const char *key = key_behind(dict->list.keys[i], prefix);
        if (!key) continue;
        keys[n] = key;
        items[n++] = dict->list.items[i];
    }
    if (keys && items)
        out = tine_dict_of(keys, items, n);
    else
        tine_error_set(TINE_ENOMEM, "no memory for a dict of %zu keys", dict->list.n);
    free(keys);
    free(items);
    return out;
}

static const tine_value *dict_item(const tine_value *dict, const char *key) {
    for (size_t i = 0; i < dict->list.n; i++)
        if (strcmp(dict->list.keys[i], key) == 0) return dict->list.items[i];
    return NULL;
}

const tine_value *tine_dict_find(const tine_value *dict, const char *format, ...) {
    char key[128];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(key, sizeof key, format, ap);
    va_end(ap);
    return n < (int)sizeof key ? dict_item(dict, key) : NULL;
}

/* ---- what load_state_dict refuses ---- */

static void names_write(FILE *to, size_t *n, const char *name) {
    if (*n < NAMES_SHOWN) fprintf(to, "%s\"%.64s\"", *n ? ", " : "", name);
    ++*n;
}

static void names_end(FILE *to, size_t n) {
    if (n > NAMES_SHOWN) fprintf(to, " and %zu more", n - NAMES_SHOWN);
    fputc('.', to);
}

static void shape_write(FILE *to, const int64_t *shape, int rank) {
    fputs("torch.Size([", to);
    for (int i = 0; i < rank; i++) fprintf(to, i ? ", %lld" : "%lld", (long long)shape[i]);
    fputs("])", to);
}

static bool weight_fits(const tine_weight *w, const tine_value *v) {
    return v->kind == TINE_TENSOR && v->tensor.rank == w->rank &&
           memcmp(v->tensor.shape, w->shape, (size_t)w->rank * sizeof *w->shape) == 0;
}

static void mismatch_write(FILE *to, const tine_weight *w, const tine_value *v) {
    if (v->kind != TINE_TENSOR) {
        fprintf(to, " \"%s\" is not a tensor.", w->name);
        return;
    }
    fprintf(to, " size mismatch for %s: copying a param with shape ", w->name);
    shape_write(to, v->tensor.shape, v->tensor.rank);
    fputs(" from checkpoint, the shape in current model is ", to);
    shape_write(to, w->shape, w->rank);
    fputc('.', to);
}

static bool set_has(const tine_weight_set *set, const char *name) {
    tine_weight w;
    for (size_t i = 0; i < set->n; i++) {
        set->describe(set->config, i, &w);
        if (strcmp(w.name, name) == 0) return true;
    }
    return false;
}

/* The parts of PyTorch's sentence. `under` are the items of the prefix. */
enum { SAME, SHAPES_DIFFER, KEYS_DIFFER };
static int differences_write(FILE *to, const tine_weight_set *set, const tine_value *under) {
    tine_weight w;
    size_t missing = 0, unexpected = 0, wrong = 0;
    for (size_t i = 0; i < set->n; i++) {
        set->describe(set->config, i, &w);
        if (dict_item(under, w.name)) continue;
        if (missing == 0) fputs(" Missing key(s) in state_dict: ", to);
        names_write(to, &missing, w.name);
    }
    if (missing) names_end(to, missing);
    for (size_t i = 0; i < under->list.n && under->list.n + missing > set->n; i++) {
        if (set_has(set, under->list.keys[i])) continue;
        if (unexpected == 0) fputs(" Unexpected key(s) in state_dict: ", to);
        names_write(to, &unexpected, under->list.keys[i]);
    }
    if (unexpected) names_end(to, unexpected);
    for (size_t i = 0; i < set->n && wrong < NAMES_SHOWN; i++) {
        set->describe(set->config, i, &w);
        const tine_value *v = dict_item(under, w.name);
        if (!v || weight_fits(&w, v)) continue;
        mismatch_write(to, &w, v);
        wrong++;
    }
    return missing || unexpected ? KEYS_DIFFER : wrong ? SHAPES_DIFFER : SAME;
}

static void keys_write(FILE *to, const tine_value *dict, const char *prefix) {
    size_t n = 0;
    if (dict->list.n == 0) {
        fputs(" It has no keys.", to);
        return;
    }
    fputs(" Its keys", to);
    if (*prefix) fprintf(to, " under \"%.64s\"", prefix);
    fputs(" are ", to);
    for (size_t i = 0; i < dict->list.n; i++) names_write(to, &n, dict->list.keys[i]);
    names_end(to, n);
}

/* False: the task has failed with the sentence. */
static bool weights_check(tine_task *task, const tine_weight_set *set, const tine_value *dict,
                          const tine_value *under, const char *prefix) {
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) return tine_fail(task, "%s(): no memory", task->callable->name);
    int wrong = differences_write(to, set, under);
    if (wrong == KEYS_DIFFER)
        keys_write(to, under->list.n ? under : dict, under->list.n ? prefix : "");
    if (fclose(to) != 0)
        tine_fail(task, "%s(): no memory", task->callable->name);
    else if (wrong)
        tine_fail(task, "Error(s) in loading state_dict for %s:%s", set->class, text);
    free(text);
    return !task->failed;
}

/* ---- the prefix ---- */

/* Whether every weight is under the prefix, and, with `shapes`, has its shape. */
static bool prefix_holds(const tine_weight_set *set, const tine_value *dict, const char *prefix,
                         bool shapes) {
    tine_weight w;
    for (size_t i = 0; i < set->n; i++) {
        set->describe(set->config, i, &w);
        const tine_value *v = tine_dict_find(dict, "%s%s", prefix, w.name);
        if (!v || (shapes && !weight_fits(&w, v))) return false;
    }
    return true;
}

/* The prefixes under which all weights are: how many, the last one, and the first few as a text. */
static size_t prefixes_of(const tine_weight_set *set, const tine_value *dict, bool shapes,
                          char *last, size_t room, FILE *names) {
    tine_weight w;
    size_t n = 0;
    set->describe(set->config, 0, &w);
    size_t length = strlen(w.name);
    for (size_t i = 0; i < dict->list.n; i++) {
        const char *key = dict->list.keys[i];
        size_t before = strlen(key) < length ? 0 : strlen(key) - length;
        if (before == 0 || before >= room || key[before - 1] != '.' ||
            strcmp(key + before, w.name) != 0)
            continue;
        char prefix[128];
        snprintf(prefix, sizeof prefix, "%.*s", (int)before, key);
        if (!prefix_holds(set, dict, prefix, shapes)) continue;
        snprintf(last, room, "%s", prefix);
        names_write(names, &n, prefix);
    }
    return n;
}

/* The prefix found by itself: "" where the keys are the module's own, or where none is found. */
static bool prefix_find(tine_task *task, const tine_weight_set *set, const tine_value *dict,
                        char prefix[128]) {
    *prefix = 0;
    if (set->n == 0) return true;
    tine_weight w;
    set->describe(set->config, 0, &w);
    if (dict_item(dict, w.name)) return true;
    char *names = NULL;
    size_t size, n;
    FILE *to = open_memstream(&names, &size);
    if (!to) return tine_fail(task, "%s(): no memory", task->callable->name);
    n = prefixes_of(set, dict, true, prefix, 128, to);
    if (n == 0) n = prefixes_of(set, dict, false, prefix, 128, to);
    if (fclose(to) != 0)
        tine_fail(task, "%s(): no memory", task->callable->name);
    else if (n > 1)
        tine_fail(task,
                  "%s(): the state_dict has weights for it under %zu prefixes: %s%s; pass one as "
                  "'prefix'",
                  task->callable->name, n, names, n > NAMES_SHOWN ? " ..." : "");
    free(names);
    return !task->failed;
}

/* ---- initial weights ---- */

/* Weight `part` of a seed, from numbers of its own. Normal: Box and Muller's transform. */
static const tine_value *weight_draw(const tine_weight *w, uint64_t seed, uint64_t part) {
    enum { PART_BITS = 40 };
    void *data;
    tine_value *v = tine_tensor_new(TINE_F32, w->rank, w->shape, &data);
    if (!v) return NULL;
    float *x = data;
    uint64_t first = (part + 1) << PART_BITS;
    if (w->init == TINE_INIT_UNIFORM)
        tine_random_fill(x, v->tensor.elements, seed, first, -w->scale, w->scale);
    for (int64_t i = 0; i < v->tensor.elements && w->init != TINE_INIT_UNIFORM; i++) {
        double a = (double)(tine_random_bits(seed, first + 2 * (uint64_t)i) >> 11) + 1;
        double b = (double)(tine_random_bits(seed, first + 2 * (uint64_t)i + 1) >> 11);
        x[i] = w->init == TINE_INIT_CONSTANT
                   ? w->scale
                   : (float)(w->scale * sqrt(-2 * log(a * 0x1p-53)) *
                             cos(2 * 3.14159265358979323846 * b * 0x1p-53));
    }
    return v;
}

const tine_value *tine_weights_find(tine_task *task, const tine_weight_set *set,
                                    const tine_value *dict, const char *prefix) {
    char found[128];
    if (dict->kind != TINE_DICT) {
        tine_fail(task, "%s(): argument 'state_dict' must be a dict of tensors, not %s",
                  task->callable->name, tine_kind_name(dict->kind));
        return NULL;
    }
    if (!prefix) {
        if (!prefix_find(task, set, dict, found)) return NULL;
        prefix = found;
    }
    const tine_value *under = tine_dict_under(dict, prefix);
    return under && weights_check(task, set, dict, under, prefix) ? under : NULL;
}

bool tine_weights_get(tine_task *task, const tine_weight_set *set, const tine_value **out) {
    const tine_value *dict = arg_named(task, "state_dict"), *prefix = arg_named(task, "prefix"),
                     *under = NULL;
    int64_t seed = tine_arg_int(task, tine_arg_index(task, "seed"));
    const char *text =
        prefix->kind == TINE_NONE ? NULL : tine_arg_string(task, tine_arg_index(task, "prefix"));
    tine_weight w;
    if (task->failed) return false;
    if (dict->kind != TINE_NONE && !(under = tine_weights_find(task, set, dict, text)))
        return false;
    for (size_t i = 0; i < set->n; i++) {
        set->describe(set->config, i, &w);
        out[i] = under ? tine_floats_of(task, dict_item(under, w.name), w.name)
                       : weight_draw(&w, (uint64_t)seed, i);
        if (!out[i]) return false;
    }
    return true;
}

/* The arguments that were given, by name, with the state_dict cut to the prefix. */
tine_value *tine_weights_rewrite(tine_task *task) {
    const tine_signature *s = task->callable->signature;
    const tine_value *dict = arg_named(task, "state_dict"), *prefix = arg_named(task, "prefix");
    if (dict->kind != TINE_DICT || prefix->kind != TINE_STRING) return tine_none();
    const tine_value *under = tine_dict_under(dict, tine_as_string(prefix));
    const char **keys = calloc(s->n + 1, sizeof *keys);
    tine_value **items = calloc(s->n + 1, sizeof *items), *out = NULL;
    size_t n = 0;
    for (size_t i = 0; keys && items && under && i < s->n; i++) {
        const tine_value *v = tine_arg(task, i);
        if (v == s->parameters[i].fallback) continue;
        /* nothing under the prefix: the error names the keys of the whole dict */
        if (under->list.n > 0 && v == dict) v = under;
        if (under->list.n > 0 && v == prefix) continue;
        keys[n] = s->parameters[i].name;
        items[n++] = (tine_value *)v;
    }
    if (keys && items && under) out = tine_dict_of(keys, items, n);
    free(keys);
    free(items);
    return out ? out : tine_fail(task, "%s(): %s", task->callable->name, tine_error_text());
}
