/* See rates.h. */
#include "launch/top/rates.h"

#include <string.h>

#include "launch/cli/report.h"

json_object *tine_rates_json(const tine_value *v) {
    json_object *o = NULL;
    switch (v->kind) {
    case TINE_BOOL: return json_object_new_boolean(v->b);
    case TINE_INT: return json_object_new_int64(v->i);
    case TINE_FLOAT: return tine_json_number(v->d, 15);
    case TINE_STRING: return json_object_new_string_len(v->bytes.data, (int)v->bytes.size);
    case TINE_LIST:
        o = json_object_new_array();
        for (size_t i = 0; i < v->list.n; i++)
            json_object_array_add(o, tine_rates_json(v->list.items[i]));
        return o;
    case TINE_DICT:
        o = json_object_new_object();
        for (size_t i = 0; i < v->list.n; i++)
            json_object_object_add(o, v->list.keys[i], tine_rates_json(v->list.items[i]));
        return o;
    default: return NULL;
    }
}

/* ---- reading ---- */

json_object *tine_rates_field(json_object *o, const char *key) {
    json_object *field = NULL;
    if (!o || !json_object_is_type(o, json_type_object)) return NULL;
    return json_object_object_get_ex(o, key, &field) ? field : NULL;
}

double tine_rates_number(json_object *o, const char *key) {
    json_object *field = tine_rates_field(o, key);
    return json_object_is_type(field, json_type_int) || json_object_is_type(field, json_type_double)
               ? json_object_get_double(field)
               : 0;
}

const char *tine_rates_text(json_object *o, const char *key) {
    json_object *field = tine_rates_field(o, key);
    return json_object_is_type(field, json_type_string) ? json_object_get_string(field) : "";
}

size_t tine_rates_rows(json_object *o, const char *key) {
    json_object *list = tine_rates_field(o, key);
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

json_object *tine_rates_row(json_object *o, const char *key, size_t i) {
    return json_object_array_get_idx(tine_rates_field(o, key), i);
}

/* ---- rates ---- */

static const char *const rate_names[][2] = {{"done", "tasks_per_second"},
                                            {"bytes_in", "bytes_in_per_second"},
                                            {"bytes_out", "bytes_out_per_second"}};
enum { RATES = 3 };

static void rates_of_worker(json_object *w, json_object *before, double seconds,
                            double sum[RATES]) {
    if (!before) seconds = tine_rates_number(w, "seconds");
    for (int i = 0; i < RATES; i++) {
        double more =
            tine_rates_number(w, rate_names[i][0]) - tine_rates_number(before, rate_names[i][0]);
        double rate = seconds > 0 && more > 0 ? more / seconds : 0;
        json_object_object_add(w, rate_names[i][1], tine_json_number(rate, 6));
        sum[i] += rate;
    }
}

/* Both lists are in the order in which workers have joined, which their ids count. */
void tine_rates_add(json_object *now, json_object *before) {
    double seconds = tine_rates_number(now, "uptime") - tine_rates_number(before, "uptime");
    double sum[RATES] = {0};
    size_t n = tine_rates_rows(now, "workers"), old = tine_rates_rows(before, "workers"), k = 0;
    json_object *tasks = tine_rates_field(now, "tasks");
    for (size_t i = 0; i < n; i++) {
        json_object *w = tine_rates_row(now, "workers", i), *was = NULL;
        double id = tine_rates_number(w, "id");
        if (!json_object_is_type(w, json_type_object)) continue;
        while (k < old && tine_rates_number(tine_rates_row(before, "workers", k), "id") < id) k++;
        if (k < old) was = tine_rates_row(before, "workers", k);
        rates_of_worker(w, was && tine_rates_number(was, "id") == id ? was : NULL, seconds, sum);
    }
    for (int i = 0; i < RATES && json_object_is_type(tasks, json_type_object); i++)
        json_object_object_add(tasks, rate_names[i][1], tine_json_number(sum[i], 6));
}
