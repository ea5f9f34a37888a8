/* See outputs.h. */
#include "launch/bench/outputs.h"

#include <errno.h>
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/cli/report.h"
#include "transport/base/memory.h"
#include "transport/base/output.h"
#include "transport/base/text.h"

static bool output_fail(const tine_result_form *form, const char *path) {
    fprintf(stderr, "tine bench %s: %s cannot be written: %s\n", form->bench, path,
            strerror(errno));
    return false;
}

/* A run takes minutes, so what is certain to fail then is refused now. */
static bool output_possible(const tine_result_form *form, const char *path) {
    if (!path || access(path, W_OK) == 0) return true;
    if (errno != ENOENT) return output_fail(form, path);
    char *copy = tine_must_copy(path);
    bool good = access(dirname(copy), W_OK) == 0;
    free(copy);
    return good || output_fail(form, path);
}

int tine_outputs_begin(tine_outputs *o, tine_results *r, const tine_result_form *form) {
    char why[512];
    bool good = true;
    if (!tine_first_rank()) { /* it writes nothing, and may be on another host */
        tine_results_init(r, form);
        return o->from ? 0 : -1;
    }
    if (o->from)
        good = tine_results_read(r, form, o->from, why, sizeof why);
    else
        tine_results_init(r, form);
    if (good && o->compare) good = tine_results_read(&o->old, form, o->compare, why, sizeof why);
    if (!good) {
        fprintf(stderr, "tine bench %s: %s\n", form->bench, why);
        return 2;
    }
    good = output_possible(form, o->output) && output_possible(form, o->csv) &&
           output_possible(form, o->svg);
    return good ? -1 : 1;
}

static void write_json(FILE *f, const tine_results *r) {
    json_object *o = tine_results_json(r);
    fputs(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                JSON_C_TO_STRING_NOSLASHESCAPE),
          f);
    fputc('\n', f);
    json_object_put(o);
}

static bool output_write(const tine_results *r, const char *path,
                         void (*write)(FILE *f, const tine_results *r)) {
    tine_output f;
    if (!path) return true;
    bool good = tine_output_open(&f, path);
    if (good) {
        write(f.stream, r);
        good = tine_output_close(&f, path);
    }
    return good || output_fail(r->form, path);
}

static void warnings_print(const tine_results *r) {
    for (size_t i = 0; i < json_object_array_length(r->warnings); i++) {
        char *text = tine_text_printable(
            json_object_get_string(json_object_array_get_idx(r->warnings, i)), false);
        fprintf(stderr, "tine bench %s: %s\n", r->form->bench, text ? text : "no memory");
        free(text);
    }
}

int tine_outputs_end(tine_outputs *o, const tine_results *r, void (*table)(const tine_results *r)) {
    json_object *all = o->json ? tine_results_json(r) : NULL;
    if (!all) table(r);
    if (o->compare) {
        json_object *compared = tine_results_compare(all ? NULL : stdout, r, &o->old, o->compare);
        if (all)
            json_object_object_add(all, "compared", compared);
        else
            json_object_put(compared);
    }
    if (all) tine_json_print(all);
    if (!o->json) warnings_print(r);
    bool good = output_write(r, o->output, write_json);
    good = output_write(r, o->csv, tine_results_csv) && good;
    return output_write(r, o->svg, tine_results_plot) && good ? 0 : 1;
}

void tine_outputs_fini(tine_outputs *o) {
    tine_results_fini(&o->old);
    *o = (tine_outputs){0};
}

/* ---- the table ---- */

enum { CELL = 64 };

/* "9.83 [9.79, 10.8]" */
static void cell_format(const tine_estimate *e, char out[static CELL]) {
    const char *form = fabs(e->high) >= 1e4 ? "%.0f [%.0f, %.0f]" : "%.4g [%.4g, %.4g]";
    if (isnan(e->value))
        snprintf(out, CELL, "-");
    else if (e->n > 1)
        snprintf(out, CELL, form, e->value, e->low, e->high);
    else
        snprintf(out, CELL, "%.4g", e->value);
}

static bool measure_is_there(const tine_results *r, int measure) {
    for (size_t i = 0; i < r->n; i++)
        if (!isnan(r->rows[i].figures[measure].value)) return true;
    return false;
}

static size_t key_width(const tine_results *r, int key) {
    size_t width = strlen(r->form->keys[key].name);
    for (size_t i = 0; i < r->n; i++)
        if (strlen(r->rows[i].keys[key]) > width) width = strlen(r->rows[i].keys[key]);
    return width;
}

/* Row -1: the head. */
static void cell_text(const tine_results *r, long row, int measure, char out[static CELL]) {
    if (row < 0)
        snprintf(out, CELL, "%s", r->form->measures[measure].name);
    else
        cell_format(&r->rows[row].figures[measure], out);
}

static int measure_width(const tine_results *r, int measure) {
    char text[CELL];
    size_t width = 0;
    for (long i = -1; i < (long)r->n; i++) {
        cell_text(r, i, measure, text);
        if (strlen(text) > width) width = strlen(text);
    }
    return (int)width;
}

void tine_results_print(const tine_results *r) {
    char text[CELL];
    for (long i = -1; i < (long)r->n; i++) {
        for (int k = 0; k < TINE_RESULT_KEYS && r->form->keys[k].name; k++)
            printf("%-*s  ", (int)key_width(r, k),
                   i < 0 ? r->form->keys[k].name : r->rows[i].keys[k]);
        for (int m = 0; m < TINE_RESULT_MEASURES && r->form->measures[m].name; m++) {
            if (!measure_is_there(r, m)) continue;
            cell_text(r, i, m, text);
            printf("  %*s", measure_width(r, m), text);
        }
        putchar('\n');
    }
}
