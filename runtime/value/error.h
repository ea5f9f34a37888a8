/* The last error of the running thread, or inside a task of that task, with its sentence. */
#ifndef TINE_RUNTIME_VALUE_ERROR_H
#define TINE_RUNTIME_VALUE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#include "runtime/tine.h"

typedef struct tine_failure {
    tine_error code;
    char *text; /* malloc'ed, or NULL */
    bool seen;  /* its sentence was read, or a wait has succeeded since: no NULL is due to it */
} tine_failure;

/* Sets the last error, printf-like; returns `e` so that `return tine_error_set(…)` reads well. The
 * arguments may quote the sentence that is replaced. */
tine_error tine_error_set(tine_error e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
tine_error tine_error_setv(tine_error e, const char *format, va_list ap);
/* A value or handle is NULL, as the format says. If the last failed call may have returned it, its
 * error is kept and returned; else EINVAL. */
tine_error tine_error_null(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* tine_error_message for the library: it does not count as read. */
const char *tine_error_text(void);
void tine_error_clear(void);
void tine_failure_fini(tine_failure *f);

#endif
