/* Lines to standard error, "tine[PID]: text", one write each so that lines of several processes do
 * not mix. A line that repeats within a second is counted and written once more ("… (37 more like
 * this)"). Any thread; not from signal handlers. */
#ifndef TINE_TRANSPORT_BASE_LOG_H
#define TINE_TRANSPORT_BASE_LOG_H

#include <stdbool.h>

enum { TINE_LOG_ERROR, TINE_LOG_WARN, TINE_LOG_INFO, TINE_LOG_DEBUG };

void tine_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tine_log_level_set(int level);         /* more detailed lines are not written; default WARN */
const char *tine_log_level_name(int level); /* "warn" */
int tine_log_level_parse(const char *name); /* -1: none of that name */
void tine_log_flush(void);                  /* writes what was counted; at exit */

#endif
