/* The modules against PyTorch's answers over their parameters (tests/golden/make_modules.py), in
 * every kernel. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/isa.h"
#include "runtime/safetensors/safetensors.h"
#include "tests/support/cluster.h"

TestSuite(modules_golden, .timeout = 60);

static const char path[] = "tests/golden/models/modules.safetensors";
enum { MOST = 15 };

typedef struct spec {
    char text[256];
    tine_argument args[MOST];
    tine_value *owned[MOST];
    size_t n, n_owned;
} spec;

/* "[2,3]" */
static tine_value *list_of(const char *text) {
    int64_t n[8];
    size_t count = 0;
    for (char *at = (char *)text + 1; *at && *at != ']'; at += *at == ',')
        n[count++] = strtoll(at, &at, 10);
    tine_value *items[8], *list;
    for (size_t i = 0; i < count; i++) items[i] = tine_int(n[i]);
    list = tine_list_of(items, count);
    for (size_t i = 0; i < count; i++) tine_release(items[i]);
    return list;
}

static tine_argument argument_of(spec *s, const char *text) {
    char *end;
    long long i = strtoll(text, &end, 10);
    if (!*end) return TINE_ARGUMENT(i);
    double d = strtod(text, &end);
    if (!*end) return TINE_ARGUMENT(d);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return TINE_ARGUMENT((bool)(*text == 't'));
    if (*text != '[') return TINE_ARGUMENT(text);
    tine_value *list = list_of(text);
    s->owned[s->n_owned++] = list;
    return TINE_ARGUMENT(list);
}

static void spec_parse(spec *s, const char *line, const char *separator) {
    char *rest = s->text;
    *s = (spec){0};
    snprintf(s->text, sizeof s->text, "%s", line);
    for (char *word; (word = strtok_r(rest, separator, &rest));) {
        char *equals = strchr(word, '=');
        if (equals) *equals = 0;
        s->args[s->n] = argument_of(s, equals ? equals + 1 : word);
        if (equals) s->args[s->n].key = word;
        s->n++;
    }
}

static tine_value *module_make(spec *s, tine_value *state, const char *prefix) {
    bool weights = strcmp(s->args[0].s, "dropout") != 0;
    if (state && weights) {
        s->args[s->n++] = tine_kw("state_dict", state);
        if (prefix) s->args[s->n++] = tine_kw("prefix", prefix);
    }
    tine_value *module = tine_module_args(s->args, s->n);
    cr_assert_not_null(module, "%s: %s", s->text, tine_error_message());
    for (size_t i = 0; i < s->n_owned; i++) tine_release(s->owned[i]);
    return module;
}

/* "sequential linear:5:9 relu": its modules find their weights by the prefixes "0", "1" … */
static tine_value *sequential_make(const char *line, tine_value *state) {
    spec s = {0}, part;
    spec_parse(&s, line, " ");
    for (size_t i = 1; i < s.n; i++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "%zu", i - 1);
        spec_parse(&part, s.args[i].s, ":");
        if (part.n == 1) continue;
        tine_value *module = module_make(&part, state, prefix);
        s.args[i] = TINE_ARGUMENT(module);
        s.owned[s.n_owned++] = module;
    }
    return module_make(&s, NULL, NULL);
}

static tine_value *item(const tine_value *dict, const char *name) {
    for (size_t i = 0; dict && i < tine_length(dict); i++)
        if (strcmp(tine_key_at(dict, i), name) == 0) return (tine_value *)tine_at(dict, i);
    return NULL;
}

static tine_value *forward(const tine_value *module, const tine_value *in) {
    const tine_value *h = item(in, "hx0"), *c = item(in, "hx1"), *lengths = item(in, "lengths");
    tine_value *hx = !h ? tine_none() : c ? tine_list(h, c) : tine_ref((tine_value *)h), *out;
    tine_future *f = h && lengths ? tine_fork(module, item(in, "input"), hx, lengths)
                     : lengths ? tine_fork(module, item(in, "input"), tine_kw("lengths", lengths))
                     : h       ? tine_fork(module, item(in, "input"), hx)
                               : tine_fork(module, item(in, "input"));
    cr_assert_eq(tine_wait(f, &out), TINE_OK, "%s", tine_error_message());
    tine_release(f);
    tine_release(hx);
    return out;
}

static void compare(const char *line, const tine_value *got, const tine_value *wanted) {
    cr_assert_eq(tine_kind_of(got), TINE_TENSOR, "%s", line);
    cr_assert_eq(tine_rank(got), tine_rank(wanted), "%s: rank %d", line, tine_rank(got));
    for (int i = 0; i < tine_rank(got); i++)
        cr_assert_eq(tine_shape(got)[i], tine_shape(wanted)[i], "%s", line);
    const float *a = tine_data(got), *b = tine_data(wanted);
    for (int64_t i = 0; i < tine_elements(got); i++)
        cr_assert(fabs((double)a[i] - (double)b[i]) <= 1e-5, "%s: element %lld is %g, not %g", line,
                  (long long)i, (double)a[i], (double)b[i]);
}

static void run_case(const char *key, const char *line) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%s.state", key);
    tine_value *state = tine_load(path, prefix), *module;
    snprintf(prefix, sizeof prefix, "%s.in", key);
    tine_value *in = tine_load(path, prefix);
    snprintf(prefix, sizeof prefix, "%s.out", key);
    tine_value *wanted = tine_load(path, prefix), *got;
    cr_assert(in && wanted, "%s", line);
    spec s;
    spec_parse(&s, line, " ");
    if (strncmp(line, "sequential", 10) == 0) {
        module = sequential_make(line, state);
    } else {
        module = module_make(&s, state, NULL);
    }
    got = forward(module, in);
    if (tine_kind_of(got) == TINE_TENSOR) {
        compare(line, got, item(wanted, "0"));
    } else {
        compare(line, tine_at(got, 0), item(wanted, "0"));
        const tine_value *h = tine_at(got, 1);
        bool pair = tine_kind_of(h) == TINE_LIST;
        compare(line, pair ? tine_at(h, 0) : h, item(wanted, "1"));
        if (pair) compare(line, tine_at(h, 1), item(wanted, "2"));
    }
    tine_release(got);
    tine_release(module);
    tine_release(state);
    tine_release(in);
    tine_release(wanted);
}

static void run_all(const char *kernel) {
    tine_safetensors *file;
    char why[200], key[16];
    const char *line;
    int n = 0;
    cr_assert_eq(setenv("TINE_KERNEL", kernel, 1), 0);
    if (*tine_kernel_choice()->error) {
        fprintf(stderr, "SKIP %s: %s\n", kernel, tine_kernel_choice()->error);
        return;
    }
    cr_assert_eq(tine_safetensors_open(&file, path, why, sizeof why), TINE_OK, "%s", why);
    cluster_start("inproc://modules_golden", 1);
    for (; snprintf(key, sizeof key, "%d", n), (line = tine_safetensors_meta(file, key)); n++)
        run_case(key, line);
    cr_expect_eq(n, 77);
    cluster_stop();
    tine_safetensors_close(file);
}

#define ROW(ID, name, ...)                                                                         \
    Test(modules_golden, name) { run_all(#name); }
TINE_ISA_TABLE(ROW)
