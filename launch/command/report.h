/* What subcommands share for telling results: a clock, medians, progress on a terminal, JSON on
 * standard output. */
#ifndef TINE_LAUNCH_COMMAND_REPORT_H
#define TINE_LAUNCH_COMMAND_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

double tine_seconds(void); /* monotonic */

/* The p-quantile (0 to 1) of n > 0 samples, which are sorted. The median of an even number is the
 * mean of the middle two. */
double tine_quantile(double *samples, size_t n, double p);

/* A line on a terminal that is written over, and nothing at all where output is piped. */
void tine_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tine_progress_end(void); /* removes it */

/* The shortest text that reads back as `digits` significant digits; JSON has no NaN or infinity:
 * null. */
json_object *tine_json_number(double x, int digits);
/* Prints one object and gives it up. */
void tine_json_print(json_object *o);

#endif
