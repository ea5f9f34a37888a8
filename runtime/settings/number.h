/* The numbers of settings in text: "4", "256K", "0.25", "debug". Independent of the locale. */
#ifndef TINE_RUNTIME_SETTINGS_NUMBER_H
#define TINE_RUNTIME_SETTINGS_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tine_setting_type {
    TINE_SETTING_TEXT,
    TINE_SETTING_SLOTS, /* a text, "gpu=2,disk=1" (runtime/wire/resources.h) */
    TINE_SETTING_INT,
    TINE_SETTING_SIZE,    /* a whole number with an optional K, M, G or T (powers of 1024) */
    TINE_SETTING_SECONDS, /* digits, and optionally a point and digits; kept to microseconds */
    TINE_SETTING_SWITCH,  /* on, off: 1, 0 */
    TINE_SETTING_LEVEL,   /* error, warn, info, debug: TINE_LOG_… (log.h) */
} tine_setting_type;

/* False if the whole text is not a number of this type, which is none of texts. The range is not
 * checked. */
bool tine_setting_number_parse(tine_setting_type type, const char *text, double *out);
void tine_setting_number_format(tine_setting_type type, double x, char *out, size_t room);

#endif
