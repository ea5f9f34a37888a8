/* Results as CSV: a line per point, quoted as in RFC 4180. A figure has four columns, named after
 * its measure: the value, NAME_low, NAME_high, NAME_samples; all empty where it was not
 * measured. */
#include <math.h>
#include <string.h>

#include "launch/bench/results.h"

static void csv_text(FILE *f, const char *text) {
    if (!strpbrk(text, ",\"")) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"') fputc('"', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

static void csv_head(FILE *f, const tine_result_form *form) {
    for (int i = 0; i < TINE_RESULT_KEYS && form->keys[i].name; i++)
        fprintf(f, "%s%s", i ? "," : "", form->keys[i].name);
    for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++) {
        const char *name = form->measures[i].name;
        fprintf(f, ",%s,%s_low,%s_high,%s_samples", name, name, name, name);
    }
    fputs("\n", f);
}

static void csv_row(FILE *f, const tine_result_form *form, const tine_result *row) {
    for (int i = 0; i < TINE_RESULT_KEYS && form->keys[i].name; i++) {
        if (i) fputc(',', f);
        csv_text(f, row->keys[i]);
    }
    for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++) {
        const tine_estimate *e = &row->figures[i];
        if (isnan(e->value))
            fputs(",,,,", f);
        else
            fprintf(f, ",%.7g,%.7g,%.7g,%ld", e->value, e->low, e->high, e->n);
    }
    fputs("\n", f);
}

void tine_results_csv(FILE *f, const tine_results *r) {
    csv_head(f, r->form);
    for (size_t i = 0; i < r->n; i++) csv_row(f, r->form, &r->rows[i]);
}
