/* The built-in functions on a grid of dtypes, shapes, numbers and options: PyTorch's answers in
 * tests/golden/builtins.txt, whose format make_builtins.py describes. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/builtin/builtin.h"

enum { NAMES = 64, TOKENS = 64 };

static struct {
    char *name;
    tine_value *tensor;
} known[NAMES];
static size_t n_known;

typedef struct reader {
    char *tokens[TOKENS];
    size_t n, at;
} reader;

/* "f32[2,3]:HEX"; NULL: not a tensor */
static tine_value *read_tensor(const char *text) {
    const char *p = strchr(text, '[');
    char dtype[8] = "";
    int64_t shape[TINE_MAX_RANK];
    int rank = 0;
    void *data;
    if (!p || (size_t)(p - text) >= sizeof dtype) return NULL;
    memcpy(dtype, text, (size_t)(p - text));
    for (p++; *p != ']'; p += *p == ',') {
        cr_assert_lt(rank, TINE_MAX_RANK);
        shape[rank++] = strtoll(p, (char **)&p, 10);
    }
    p += 2;
    tine_value *v = tine_tensor_new(tine_dtype_parse(dtype), rank, shape, &data);
    cr_assert(v, "%s: %s", text, tine_error_message());
    size_t bytes = (size_t)tine_elements(v) * tine_dtype_size(tine_dtype_of(v));
    cr_assert_eq(strlen(p), 2 * bytes);
    for (size_t i = 0; i < bytes; i++) {
        char digits[3] = {p[2 * i], p[2 * i + 1], 0};
        ((uint8_t *)data)[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return v;
}

static tine_value *read_argument(reader *r) {
    const char *t = r->tokens[r->at++];
    if (strncmp(t, "i:", 2) == 0) return tine_int(strtoll(t + 2, NULL, 10));
    if (strncmp(t, "f:", 2) == 0) return tine_float(strtod(t + 2, NULL));
    if (strncmp(t, "b:", 2) == 0) return tine_bool(t[2] == '1');
    if (strncmp(t, "s:", 2) == 0) return tine_string(t + 2);
    if (strcmp(t, "none") == 0) return tine_none();
    for (size_t i = 0; *t == '@' && i < n_known; i++)
        if (strcmp(known[i].name, t + 1) == 0) return known[i].tensor;
    if (strcmp(t, "(") != 0) return read_tensor(t);
    tine_value *items[TOKENS];
    size_t n = 0;
    while (strcmp(r->tokens[r->at], ")") != 0) items[n++] = read_argument(r);
    r->at++;
    return tine_list_of(items, n);
}

static bool same(const tine_value *got, const tine_value *want, bool close) {
    static const double rtol[] = {[TINE_F32] = 1.3e-6, [TINE_F64] = 1e-7, [TINE_BF16] = 1.6e-2};
    tine_dtype t = tine_dtype_of(want);
    if (tine_dtype_of(got) != t || tine_rank(got) != tine_rank(want)) return false;
    for (int i = 0; i < tine_rank(want); i++)
        if (tine_shape(got)[i] != tine_shape(want)[i]) return false;
    size_t size = tine_dtype_size(t);
    const uint8_t *x = tine_data(got), *y = tine_data(want);
    for (int64_t i = 0; i < tine_elements(want); i++) {
        double a = tine_tensor_float_at(got, i), b = tine_tensor_float_at(want, i);
        if (isnan(a) && isnan(b)) continue;
        if (!close && memcmp(x + (size_t)i * size, y + (size_t)i * size, size) != 0) return false;
        if (close && a != b && !(fabs(a - b) <= (t == TINE_F64 ? 1e-7 : 1e-5) + rtol[t] * fabs(b)))
            return false;
    }
    return true;
}

static void check_result(const char *line, const char *sign, const tine_value *got,
                         const char *wanted, const char *function) {
    if (*sign == '!') {
        cr_expect(!got, "not refused: %s", line);
        cr_expect(got || strncmp(tine_error_message(), function, strlen(function)) == 0, "%s: %s",
                  line, tine_error_message());
        return;
    }
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (got) tine_value_write(f, got);
    fclose(f);
    cr_expect(got && tine_kind_of(got) == TINE_TENSOR &&
                  same(got, read_tensor(wanted), *sign == '~'),
              "%s: got %s", line, got ? text : tine_error_message());
    free(text);
}

static void run_call(const char *line, reader *r) {
    tine_pool pool = {0};
    tine_argument args[TOKENS];
    tine_arguments a = {0};
    tine_value *out = NULL;
    size_t n = 0;
    const char *function = r->tokens[r->at++];
    const tine_callable *c = tine_registry_function(function);
    cr_assert(c, "%s", function);
    tine_current.pool = &pool;
    while (r->at < r->n && !strchr("=~!", *r->tokens[r->at])) {
        char *key = r->tokens[r->at], *end = strchr(key, '=');
        if (end) {
            *end = 0;
            r->at++;
        }
        tine_argument v = tine_arg_value_(read_argument(r));
        args[n++] = end ? tine_keyword_(key, v) : v;
    }
    cr_assert_lt(r->at, r->n, "%s", line);
    if (tine_arguments_make(&a, args, n) == TINE_OK) tine_call_run(c, NULL, 0, &a, NULL, &out);
    check_result(line, r->tokens[r->at], out, r->tokens[r->at + 1], function);
    tine_arguments_fini(&a);
    tine_value_unref(out);
    tine_current.pool = NULL;
    tine_pool_drain(&pool);
}

Test(pytorch, answers_of_a_grid_of_calls, .timeout = 60) {
    FILE *f = fopen("tests/golden/builtins.txt", "r");
    char *line = NULL, *copy, *rest;
    size_t room = 0, calls = 0;
    cr_assert(f);
    while (getline(&line, &room, f) > 0) {
        reader r = {.n = 0};
        line[strcspn(line, "\n")] = 0;
        cr_assert(copy = strdup(line));
        for (char *t = strtok_r(copy, " ", &rest); t && r.n < TOKENS - 1;
             t = strtok_r(NULL, " ", &rest))
            r.tokens[r.n++] = t;
        tine_value *defined = r.n == 2 ? read_tensor(r.tokens[1]) : NULL;
        if (defined) {
            cr_assert_lt(n_known, NAMES);
            known[n_known].name = strdup(r.tokens[0]);
            known[n_known++].tensor = defined;
        } else if (*line != '#') {
            run_call(line, &r);
            calls++;
        }
        free(copy);
    }
    cr_expect_gt(calls, 2000);
    for (size_t i = 0; i < n_known; i++) {
        free(known[i].name);
        tine_value_unref(known[i].tensor);
    }
    free(line);
    fclose(f);
}
