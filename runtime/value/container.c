/* Lists and dicts, and the walks over futures inside values. Items and keys lie behind the struct
 * in one allocation. The depth is bounded when a container is made, so that every walk may recurse
 * on a task's small stack. */
#include <stdlib.h>
#include <string.h>

#include "runtime/value/value.h"
#include "transport/base/block.h"
#include "transport/base/text.h"

static bool is_container(const tine_value *v) {
    return v->kind == TINE_LIST || v->kind == TINE_DICT;
}

static int depth_of(const tine_value *v) { return is_container(v) ? v->list.depth : 0; }

tine_value *tine_container_new(tine_kind kind, size_t n, const char *const *keys,
                               tine_value **items) {
    const size_t head = sizeof((tine_value *)0)->list;
    size_t text = 0, each = keys ? sizeof(tine_value *) + sizeof(char *) : sizeof(tine_value *);
    int depth = 0;
    bool futures = false;
    for (size_t i = 0; i < n; i++) {
        if (depth_of(items[i]) > depth) depth = depth_of(items[i]);
        futures |= tine_value_holds_futures(items[i]);
        if (keys) text += strlen(keys[i]) + 1;
    }
    if (depth >= TINE_MAX_DEPTH) {
        tine_error_set(TINE_EINVAL, "lists and dicts nest at most %d deep", TINE_MAX_DEPTH);
        return NULL;
    }
    tine_value *v = tine_value_new(kind, head + n * each + text);
    if (!v) return NULL;
    v->list.n = n;
    v->list.items = (tine_value **)((char *)&v->list + head);
    v->list.keys = keys ? (char **)(v->list.items + n) : NULL;
    v->list.base = NULL;
    v->list.depth = depth + 1;
    v->list.futures = futures;
    if (n) memcpy(v->list.items, items, n * sizeof *items);
    if (!keys) return v;
    char *to = (char *)(v->list.keys + n);
    for (size_t i = 0; i < n; i++) {
        v->list.keys[i] = to;
        to = stpcpy(to, keys[i]) + 1;
    }
    return v;
}

static bool array_given(const void *array, size_t n, const char *what) {
    if (array || n == 0) return true;
    tine_error_set(TINE_EINVAL, "the array of %s is NULL", what);
    return false;
}

static tine_value *container_make(tine_kind kind, const char *const *keys, tine_value *const *items,
                                  size_t n) {
    if (!array_given(items, n, "items")) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (items[i]) continue;
        tine_error_null("item %zu of the %s is NULL", i, tine_kind_name(kind));
        return NULL;
    }
    tine_value *v = tine_container_new(kind, n, keys, (tine_value **)items);
    if (!v) return NULL;
    for (size_t i = 0; i < n; i++) tine_value_ref(items[i]);
    return tine_value_adopted(v);
}

tine_value *tine_list_of(tine_value *const *items, size_t n) {
    return container_make(TINE_LIST, NULL, items, n);
}

tine_value *tine_list_args_(const tine_argument *args, size_t n) {
    tine_value **items = calloc(n ? n : 1, sizeof *items), *list = NULL;
    size_t made = 0;
    if (!items) {
        tine_error_set(TINE_ENOMEM, "no memory for a list of %zu", n);
        return NULL;
    }
    for (; made < n; made++) {
        if (args[made].key) {
            tine_error_set(TINE_EINVAL, "a list has no keys: '%s'", args[made].key);
            goto out;
        }
        if (!(items[made] = tine_argument_value(&args[made]))) goto out;
    }
    list = tine_list_of(items, n);
out:
    while (made > 0) tine_value_unref(items[--made]);
    free(items);
    return list;
}

tine_value *tine_list_of_futures(tine_future *const *f, size_t n) {
    if (!array_given(f, n, "futures")) return NULL;
    tine_value **items = tine_block_new(n * sizeof *items), *list = NULL;
    size_t made = 0;
    if (!items) tine_error_set(TINE_ENOMEM, "no memory for a list of %zu", n);
    for (; items && made < n; made++) {
        tine_argument a = {NULL, TINE_ARG_FUTURE, {.future = f[made]}};
        if (!(items[made] = tine_argument_value(&a))) break;
    }
    if (items && made == n) list = tine_list_of(items, n);
    while (made > 0) tine_value_unref(items[--made]);
    if (items) tine_block_free(items, n * sizeof *items);
    return list;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A key that occurs twice, or NULL. */
static tine_error find_repeated_key(const char *const *keys, size_t n, const char **twice) {
    *twice = NULL;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++)
            for (size_t j = 0; j < i; j++)
                if (strcmp(keys[i], keys[j]) == 0) *twice = keys[i];
        return TINE_OK;
    }
    const char **sorted = malloc(n * sizeof *sorted);
    if (!sorted) return tine_error_set(TINE_ENOMEM, "no memory for a dict of %zu keys", n);
    memcpy(sorted, keys, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_texts);
    for (size_t i = 1; i < n && !*twice; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0) *twice = sorted[i];
    free(sorted);
    return TINE_OK;
}

tine_value *tine_dict_of(const char *const *keys, tine_value *const *items, size_t n) {
    static const char *const none[1];
    const char *twice;
    if (n == 0) keys = none;
    if (!array_given(keys, n, "keys")) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (keys[i] && tine_utf8_valid(keys[i], strlen(keys[i]))) continue;
        tine_error_set(TINE_EINVAL, "key %zu of the dict is %s", i, keys[i] ? "not UTF-8" : "NULL");
        return NULL;
    }
    if (find_repeated_key(keys, n, &twice)) return NULL;
    if (twice) {
        tine_error_set(TINE_EINVAL, "the dict has the key '%s' twice", twice);
        return NULL;
    }
    return container_make(TINE_DICT, keys, items, n);
}

static bool expect_kind(const tine_value *v, tine_kind kind) {
    if (v && v->kind == kind) return true;
    tine_value_refuse(v, tine_kind_name(kind));
    return false;
}

const tine_value *tine_at(const tine_value *list, size_t i) {
    bool dict = list && list->kind == TINE_DICT;
    if (!dict && !expect_kind(list, TINE_LIST)) return NULL;
    if (i < list->list.n) return list->list.items[i];
    tine_error_set(TINE_EINVAL, "index %zu is past the end of a %s of %zu", i,
                   tine_kind_name(list->kind), list->list.n);
    return NULL;
}

const tine_value *tine_get(const tine_value *dict, const char *key) {
    if (!expect_kind(dict, TINE_DICT)) return NULL;
    for (size_t i = 0; key && i < dict->list.n; i++)
        if (strcmp(dict->list.keys[i], key) == 0) return dict->list.items[i];
    tine_error_set(TINE_EINVAL, "the dict has no key '%s'", key ? key : "(NULL)");
    return NULL;
}

const char *tine_key_at(const tine_value *dict, size_t i) {
    if (!expect_kind(dict, TINE_DICT)) return NULL;
    if (i < dict->list.n) return dict->list.keys[i];
    tine_error_set(TINE_EINVAL, "index %zu is past the end of a dict of %zu", i, dict->list.n);
    return NULL;
}

int tine_value_futures(const tine_value *v, int (*fn)(tine_future *f, void *ctx), void *ctx) {
    if (v->kind == TINE_FUTURE) return fn(v->future, ctx);
    if (!tine_value_holds_futures(v)) return 0;
    for (size_t i = 0; i < v->list.n; i++) {
        int answer = tine_value_futures(v->list.items[i], fn, ctx);
        if (answer) return answer;
    }
    return 0;
}

tine_value *tine_value_resolve(const tine_value *v,
                               const tine_value *(*result)(tine_future *f, void *ctx), void *ctx) {
    if (v->kind == TINE_FUTURE) return tine_value_ref(result(v->future, ctx));
    if (!tine_value_holds_futures(v)) return tine_value_ref(v);
    tine_value **items = tine_block_new(v->list.n * sizeof *items), *out = NULL;
    size_t made = 0;
    if (!items) {
        tine_error_set(TINE_ENOMEM, "no memory for a %s of %zu", tine_kind_name(v->kind),
                       v->list.n);
        return NULL;
    }
    for (; made < v->list.n; made++)
        if (!(items[made] = tine_value_resolve(v->list.items[made], result, ctx))) goto out;
    out = tine_container_new(v->kind, v->list.n, (const char *const *)v->list.keys, items);
out:
    while (!out && made > 0) tine_value_unref(items[--made]);
    tine_block_free(items, v->list.n * sizeof *items);
    return out;
}

size_t tine_value_bytes(const tine_value *v) {
    size_t bytes = 0;
    if (v->object != 0) return 0;
    switch (v->kind) {
    case TINE_TENSOR: return (size_t)v->tensor.elements * tine_dtype_size(v->tensor.dtype);
    case TINE_STRING:
    case TINE_BYTES: return v->bytes.size;
    case TINE_LIST:
    case TINE_DICT:
        for (size_t i = 0; i < v->list.n; i++) bytes += tine_value_bytes(v->list.items[i]);
        return bytes;
    default: return 0;
    }
}

void tine_value_share(const tine_value *v) {
    if (v->object != 0) return;
    if (v->kind == TINE_TENSOR && !v->tensor.buffer->foreign) tine_buffer_share(v->tensor.buffer);
    if (v->kind != TINE_LIST && v->kind != TINE_DICT) return;
    for (size_t i = 0; i < v->list.n; i++) tine_value_share(v->list.items[i]);
}
