/* See report.h. */
#include "launch/cli/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/base/text.h"

double tine_seconds(void) { return 1e-9 * (double)tine_clock_ns(); }

static int double_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double tine_quantile(double *samples, size_t n, double p) {
    qsort(samples, n, sizeof *samples, double_compare);
    double at = p * (double)(n - 1);
    size_t low = (size_t)at;
    size_t high = low + 1 < n ? low + 1 : low;
    return samples[low] + (at - (double)low) * (samples[high] - samples[low]);
}

static bool progress_on_terminal(void) { return isatty(STDOUT_FILENO) && isatty(STDERR_FILENO); }

void tine_progress(const char *format, ...) {
    if (!progress_on_terminal()) return;
    va_list ap;
    va_start(ap, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fflush(stderr);
}

void tine_progress_end(void) {
    if (progress_on_terminal()) fputs("\r\033[K", stderr);
}

json_object *tine_json_number(double x, int digits) {
    if (!isfinite(x)) return NULL;
    char text[40];
    locale_t before = tine_text_locale_enter();
    snprintf(text, sizeof text, "%.*g", digits, x);
    tine_text_locale_leave(before);
    return json_object_new_double_s(x, text);
}

void tine_json_print(json_object *o) {
    puts(json_object_to_json_string_ext(o,
                                        JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}
