/* Results beside those of an earlier run. */
#include <math.h>
#include <string.h>

#include "launch/bench/results.h"
#include "launch/cli/report.h"
#include "transport/base/text.h"

/* With less, an interval says too little: five samples of a median have 94 %, four 87 %. */
static const double confidence_needed = 0.9;

typedef struct comparison_counts {
    size_t changed, same, unsure, fresh, gone;
} comparison_counts;

static const tine_result *result_find(const tine_results *in, const tine_result *row) {
    for (size_t i = 0; i < in->n; i++)
        if (!memcmp(in->rows[i].keys, row->keys, sizeof row->keys)) return &in->rows[i];
    return NULL;
}

static bool estimates_are_sure(const tine_estimate *a, const tine_estimate *b) {
    return a->confidence >= confidence_needed && b->confidence >= confidence_needed;
}

static bool estimates_differ(const tine_estimate *a, const tine_estimate *b) {
    return a->high < b->low || b->high < a->low;
}

static void change_print(FILE *f, const char *point, const tine_result_measure *m,
                         const tine_estimate *was, const tine_estimate *now, double change) {
    bool better = (now->value > was->value) == m->more_is_better;
    fprintf(f, "  %s  %s: %.4g [%.4g, %.4g], was %.4g [%.4g, %.4g]: %+.1f %%, %s\n", point, m->name,
            now->value, now->low, now->high, was->value, was->low, was->high, change,
            better ? "better" : "worse");
}

static json_object *change_json(const char *point, const tine_result_measure *m,
                                const tine_estimate *was, const tine_estimate *now, double change) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "point", json_object_new_string(point));
    json_object_object_add(o, "measure", json_object_new_string(m->name));
    json_object_object_add(o, "old", tine_json_number(was->value, 7));
    json_object_object_add(o, "new", tine_json_number(now->value, 7));
    json_object_object_add(o, "percent", tine_json_number(change, 4));
    json_object_object_add(o, "better",
                           json_object_new_boolean((now->value > was->value) == m->more_is_better));
    return o;
}

static void rows_compare(FILE *f, const tine_result_form *form, const tine_result *now,
                         const tine_result *was, comparison_counts *n, json_object *changes) {
    char point[TINE_RESULT_NAME_MAX];
    tine_result_name(form, now, -1, point);
    for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++) {
        const tine_estimate *a = &was->figures[i], *b = &now->figures[i];
        if (isnan(a->value) || isnan(b->value)) continue;
        if (!estimates_are_sure(a, b)) {
            n->unsure++;
        } else if (!estimates_differ(a, b)) {
            n->same++;
        } else {
            double change = 100 * (b->value - a->value) / fabs(a->value);
            n->changed++;
            if (f) change_print(f, point, &form->measures[i], a, b, change);
            json_object_array_add(changes, change_json(point, &form->measures[i], a, b, change));
        }
    }
}

static void machine_text(const tine_results *r, const char *member, char out[static 128]) {
    json_object *o = NULL;
    bool there = json_object_object_get_ex(r->machine, member, &o) && o;
    snprintf(out, 128, "%s", there ? json_object_get_string(o) : "unknown");
    tine_text_mask(out); /* it comes from a file */
}

static void machines_compare(FILE *f, const tine_results *now, const tine_results *was) {
    static const char *const members[] = {"cpu",         "cores",       "host",    "kernel_f32",
                                          "kernel_bf16", "kernel_int8", "tine",    "blas",
                                          "blas_core",   "linux",       "compiler"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        char a[128], b[128];
        machine_text(was, members[i], a);
        machine_text(now, members[i], b);
        if (strcmp(a, b)) fprintf(f, "  the %s is %s, was %s\n", members[i], b, a);
    }
}

static void counts_print(FILE *f, const comparison_counts *n) {
    fprintf(f, "%zu changed beyond noise, %zu did not", n->changed, n->same);
    if (n->unsure) fprintf(f, "; %zu have too few samples to tell", n->unsure);
    if (n->fresh) fprintf(f, "; %zu points are new", n->fresh);
    if (n->gone) fprintf(f, "; %zu points are only in the old results", n->gone);
    fputc('\n', f);
}

json_object *tine_results_compare(FILE *f, const tine_results *r, const tine_results *old,
                                  const char *old_name) {
    json_object *o = json_object_new_object(), *changes = json_object_new_array();
    comparison_counts n = {0};
    if (f) {
        fprintf(f, "\ncompared with %s of %s:\n", old_name, old->date);
        machines_compare(f, r, old);
    }
    for (size_t i = 0; i < r->n; i++) {
        const tine_result *was = result_find(old, &r->rows[i]);
        if (was)
            rows_compare(f, r->form, &r->rows[i], was, &n, changes);
        else
            n.fresh++;
    }
    for (size_t i = 0; i < old->n; i++)
        if (!result_find(r, &old->rows[i])) n.gone++;
    if (f) counts_print(f, &n);
    json_object_object_add(o, "with", json_object_new_string(old_name));
    json_object_object_add(o, "changed", changes);
    json_object_object_add(o, "unchanged", json_object_new_int64((int64_t)n.same));
    json_object_object_add(o, "too_few_samples", json_object_new_int64((int64_t)n.unsure));
    json_object_object_add(o, "new_points", json_object_new_int64((int64_t)n.fresh));
    json_object_object_add(o, "old_points", json_object_new_int64((int64_t)n.gone));
    return o;
}
