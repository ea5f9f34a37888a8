/* See results.h: the table, and its JSON. */
#include "launch/bench/results.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "launch/cli/report.h"
#include "runtime/tine.h"
#include "transport/base/memory.h"
#include "transport/base/text.h"

enum { RESULTS_FORMAT = 1, RESULTS_FILE_MAX = 1 << 24, RESULTS_ROWS_MAX = 4096 };

void tine_results_init(tine_results *r, const tine_result_form *form) {
    time_t now = time(NULL);
    struct tm utc;
    *r = (tine_results){.form = form, .warnings = json_object_new_array()};
    strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
}

void tine_results_fini(tine_results *r) {
    free(r->rows);
    json_object_put(r->machine);
    json_object_put(r->warnings);
    *r = (tine_results){0};
}

tine_result *tine_results_add(tine_results *r) {
    r->rows = tine_must_grow(r->rows, &r->room, r->n + 1, sizeof *r->rows);
    tine_result *row = &r->rows[r->n++];
    *row = (tine_result){0};
    for (int i = 0; i < TINE_RESULT_MEASURES; i++)
        row->figures[i] = tine_estimate_quantile(NULL, 0, 0.5);
    return row;
}

void tine_result_key_set(tine_result *row, int key, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(row->keys[key], TINE_RESULT_KEY_MAX, format, ap);
    va_end(ap);
    tine_text_mask(row->keys[key]);
}

void tine_results_warn(tine_results *r, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    if (text) json_object_array_add(r->warnings, json_object_new_string(text));
    free(text);
}

const char *tine_result_name(const tine_result_form *form, const tine_result *row, int but,
                             char out[static TINE_RESULT_NAME_MAX]) {
    const size_t size = TINE_RESULT_NAME_MAX;
    size_t at = 0;
    *out = 0;
    for (int i = 0; i < TINE_RESULT_KEYS && form->keys[i].name && at < size; i++) {
        if (i == but || !row->keys[i][0]) continue;
        bool number = form->keys[i].number;
        int n = snprintf(out + at, size - at, "%s%s%s%s", at ? " " : "",
                         number ? form->keys[i].name : "", number ? "=" : "", row->keys[i]);
        at += n > 0 ? (size_t)n : 0;
    }
    return out;
}

/* ---- JSON ---- */

static json_object *estimate_json(const tine_estimate *e) {
    enum { DIGITS = 7 };
    json_object *o = json_object_new_object();
    json_object_object_add(o, "value", tine_json_number(e->value, DIGITS));
    json_object_object_add(o, "low", tine_json_number(e->low, DIGITS));
    json_object_object_add(o, "high", tine_json_number(e->high, DIGITS));
    json_object_object_add(o, "confidence", tine_json_number(e->confidence, 4));
    json_object_object_add(o, "samples", json_object_new_int64(e->n));
    return o;
}

static json_object *result_json(const tine_result_form *form, const tine_result *row) {
    json_object *o = json_object_new_object();
    for (int i = 0; i < TINE_RESULT_KEYS && form->keys[i].name; i++)
        json_object_object_add(o, form->keys[i].name,
                               form->keys[i].number
                                   ? json_object_new_int64(strtoll(row->keys[i], NULL, 10))
                                   : json_object_new_string(row->keys[i]));
    for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++)
        json_object_object_add(o, form->measures[i].name,
                               isnan(row->figures[i].value) ? NULL
                                                            : estimate_json(&row->figures[i]));
    return o;
}

json_object *tine_results_json(const tine_results *r) {
    json_object *o = json_object_new_object(), *points = json_object_new_array();
    json_object_object_add(o, "bench", json_object_new_string(r->form->bench));
    json_object_object_add(o, "format", json_object_new_int(RESULTS_FORMAT));
    json_object_object_add(o, "date", json_object_new_string(r->date));
    json_object_object_add(o, "machine", json_object_get(r->machine));
    json_object_object_add(o, "warnings", json_object_get(r->warnings));
    for (size_t i = 0; i < r->n; i++)
        json_object_array_add(points, result_json(r->form, &r->rows[i]));
    json_object_object_add(o, "points", points);
    return o;
}

static double member_number(json_object *o, const char *name) {
    json_object *member = NULL;
    if (!json_object_object_get_ex(o, name, &member) || !member) return NAN;
    return json_object_get_double(member);
}

/* What is not a figure, or not a possible one, counts as not measured. */
static tine_estimate estimate_of(json_object *o) {
    tine_estimate e = tine_estimate_quantile(NULL, 0, 0.5);
    if (!json_object_is_type(o, json_type_object)) return e;
    tine_estimate given = {member_number(o, "value"), member_number(o, "low"),
                           member_number(o, "high"), member_number(o, "confidence"), 0};
    double n = member_number(o, "samples");
    bool possible = isfinite(given.value) && given.low <= given.value &&
                    given.value <= given.high && isfinite(given.low) && isfinite(given.high) &&
                    given.confidence >= 0 && given.confidence <= 1 && n >= 1 && n <= 1e15;
    if (possible) given.n = (long)n;
    return possible ? given : e;
}

static bool result_read(tine_results *r, json_object *point) {
    const tine_result_form *form = r->form;
    json_object *member = NULL;
    if (!json_object_is_type(point, json_type_object)) return false;
    tine_result *row = tine_results_add(r);
    for (int i = 0; i < TINE_RESULT_KEYS && form->keys[i].name; i++) {
        if (!json_object_object_get_ex(point, form->keys[i].name, &member) || !member) return false;
        if (form->keys[i].number)
            tine_result_key_set(row, i, "%lld", (long long)json_object_get_int64(member));
        else
            tine_result_key_set(row, i, "%s", json_object_get_string(member));
    }
    for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++)
        if (json_object_object_get_ex(point, form->measures[i].name, &member))
            row->figures[i] = estimate_of(member);
    return true;
}

static bool results_fill(tine_results *r, json_object *o) {
    json_object *member = NULL, *points = NULL;
    if (json_object_object_get_ex(o, "date", &member) && member) {
        snprintf(r->date, sizeof r->date, "%s", json_object_get_string(member));
        tine_text_mask(r->date);
    }
    if (json_object_object_get_ex(o, "machine", &member)) r->machine = json_object_get(member);
    if (json_object_object_get_ex(o, "warnings", &member) &&
        json_object_is_type(member, json_type_array)) {
        json_object_put(r->warnings);
        r->warnings = json_object_get(member);
    }
    if (!json_object_object_get_ex(o, "points", &points) ||
        !json_object_is_type(points, json_type_array))
        return false;
    size_t n = json_object_array_length(points);
    bool good = n <= RESULTS_ROWS_MAX;
    for (size_t i = 0; i < n && good; i++)
        good = result_read(r, json_object_array_get_idx(points, i));
    return good;
}

bool tine_results_parse(tine_results *r, const tine_result_form *form, const char *text,
                        const char *from, char *why, size_t size) {
    json_object *o = tine_utf8_valid(text, strlen(text)) ? json_tokener_parse(text) : NULL,
                *bench = NULL, *format = NULL;
    bool ours = json_object_is_type(o, json_type_object) &&
                json_object_object_get_ex(o, "bench", &bench) && bench &&
                json_object_object_get_ex(o, "format", &format) &&
                json_object_get_int(format) == RESULTS_FORMAT;
    bool same = ours && !strcmp(json_object_get_string(bench), form->bench);
    tine_results_init(r, form);
    bool good = same && results_fill(r, o);
    if (!good) {
        snprintf(why, size, "%s: not %s of tine bench %s: expected what its --output wrote", from,
                 ours && !same ? "the results" : "results", form->bench);
        tine_results_fini(r);
    }
    json_object_put(o);
    return good;
}

bool tine_results_read(tine_results *r, const tine_result_form *form, const char *path, char *why,
                       size_t size) {
    *r = (tine_results){0};
    FILE *f = fopen(path, "re");
    char *text = f ? tine_must_alloc(RESULTS_FILE_MAX + 1) : NULL;
    size_t n = f ? fread(text, 1, RESULTS_FILE_MAX + 1, f) : 0;
    bool good = f && !ferror(f) && n <= RESULTS_FILE_MAX;
    if (!good) snprintf(why, size, "%s cannot be read, or has more than 16 MiB", path);
    if (f) fclose(f);
    if (good) {
        text[n] = 0;
        good = tine_results_parse(r, form, text, path, why, size);
    }
    free(text);
    return good;
}
