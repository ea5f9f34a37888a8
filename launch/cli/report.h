/* What subcommands share for their results: a clock, quantiles, progress on a terminal, and JSON on
 * standard output. */
#ifndef TINE_LAUNCH_CLI_REPORT_H
#define TINE_LAUNCH_CLI_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

double tine_seconds(void); /* monotonic */

/* The p-quantile (0 to 1) of n > 0 samples, which are sorted. The median of an even number is the
 * mean of the middle two. */
double tine_quantile(double *samples, size_t n, double p);

/* Replaces the progress line, cut to the width of the terminal. Does nothing where standard error
 * is no terminal. */
void tine_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tine_progress_end(void); /* removes the line */

/* Progress in steps of about equal length: "models: 3 of 24 runs, 1.8 runs/s, 12 s left". */
typedef struct tine_steps {
    const char *unit; /* "runs" */
    long total, done;
    double began, shown; /* of tine_steps_show */
} tine_steps;

/* What the next step is; from the second on at most ten lines a second are drawn. `what` may be
 * NULL. */
void tine_steps_show(tine_steps *s, const char *what);

/* The number with `digits` significant digits; null for NaN and infinities, which JSON lacks. */
json_object *tine_json_number(double x, int digits);
/* Prints an object and releases it. */
void tine_json_print(json_object *o);

#endif
