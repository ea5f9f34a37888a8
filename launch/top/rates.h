/* A snapshot as JSON, and what two of them say together: rates. */
#ifndef TINE_LAUNCH_TOP_RATES_H
#define TINE_LAUNCH_TOP_RATES_H

#include <json-c/json.h>

#include "runtime/value/value.h"

/* A new object. What JSON has no form for becomes null. */
json_object *tine_rates_json(const tine_value *v);
/* Adds to each worker, and to "tasks", tasks, bytes in and out per second since `before` (NULL:
 * since it joined). */
void tine_rates_add(json_object *now, json_object *before);
/* A field as a number, or a text; 0, "" where it is missing. */
double tine_rates_number(json_object *o, const char *key);
const char *tine_rates_text(json_object *o, const char *key);
json_object *tine_rates_field(json_object *o, const char *key);
/* The rows of a list; 0: it is none. */
size_t tine_rates_rows(json_object *o, const char *key);
json_object *tine_rates_row(json_object *o, const char *key, size_t i);

#endif
