/* Marks: files to which tasks append, so that a test sees what they did in other processes. */
#ifndef TINE_TESTS_SUPPORT_MARKS_H
#define TINE_TESTS_SUPPORT_MARKS_H

#include <stddef.h>

void marks_start(void);                   /* none yet, in a directory of their own */
void marks_end(void);                     /* removes them */
const char *marks_path(const char *name); /* an argument for tasks; valid until marks_end */

size_t marks_add(const char *path, const char *text); /* in a task; the file's size then */
size_t marks_size(const char *name);                  /* 0: there is none */
void marks_await(const char *name, size_t size);      /* blocks until the file has that size */

#endif
