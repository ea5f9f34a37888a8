/* See report.h. */
#include "launch/cli/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* A line as wide as the terminal would wrap, and \r would not lead back to its beginning. */
static int progress_columns(void) {
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col - 1 : 79;
}

void tine_progress(const char *format, ...) {
    char line[256];
    if (!isatty(STDERR_FILENO)) return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    fprintf(stderr, "\r\033[K%.*s", progress_columns(), line);
    fflush(stderr);
}

void tine_progress_end(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

void tine_steps_show(tine_steps *s, const char *what) {
    double now = tine_seconds();
    if (s->began == 0) s->began = now;
    if (s->done > 1 && now - s->shown < 0.1) return; /* the first rate is always drawn */
    s->shown = now;
    const char *colon = what ? ": " : "";
    double rate = (double)s->done / (now - s->began);
    if (s->done == 0 || !isfinite(rate))
        tine_progress("%s%s%ld of %ld %s", what ? what : "", colon, s->done, s->total, s->unit);
    else
        tine_progress("%s%s%ld of %ld %s, %.*g %s/s, %.0f s left", what ? what : "", colon, s->done,
                      s->total, s->unit, rate < 999.5 ? 3 : 9, rate < 999.5 ? rate : round(rate),
                      s->unit, ceil((double)(s->total - s->done) / rate));
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
