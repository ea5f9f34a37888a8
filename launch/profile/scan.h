/* Finds the values in a JSON text without parsing them. A trace may have a gigabyte; the parser
 * gets one event at a time. */
#ifndef TINE_LAUNCH_PROFILE_SCAN_H
#define TINE_LAUNCH_PROFILE_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tine_json_scan {
    const char *text;
    size_t at, size;
} tine_json_scan;

/* The next character that is not white space; 0 at the end. */
char tine_json_peek(tine_json_scan *s);
/* Skips `c`, if it is the next character. */
bool tine_json_skip(tine_json_scan *s, char c);
/* Skips a value; *begin is where it starts. False: the text ends in it, or there is none. */
bool tine_json_value(tine_json_scan *s, size_t *begin);

#endif
