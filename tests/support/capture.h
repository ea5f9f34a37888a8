/* What a function writes to standard error. */
#ifndef TINE_TESTS_SUPPORT_CAPTURE_H
#define TINE_TESTS_SUPPORT_CAPTURE_H

#include <stddef.h>

/* To be freed. */
char *capture_standard_error(void (*fn)(void));
size_t capture_count(const char *text, const char *part); /* how often `part` is in it */
/* From now on it goes to a pipe, whose other end this is. */
int capture_pipe(void);

#endif
