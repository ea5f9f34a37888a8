/* The numbers of settings, from text and to text. See number.h. */
#include "runtime/settings/number.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/log.h"

/* ---- text to number ---- */

static bool digits_parse(const char **p, uint64_t *out) {
    uint64_t x = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        if (x > (UINT64_MAX - 9) / 10) return false;
        x = x * 10 + (uint64_t)(**p - '0');
    }
    *out = x;
    return *p > start;
}

static bool size_parse(const char *text, double *out) {
    static const char suffixes[] = "KMGT";
    uint64_t x;
    if (!digits_parse(&text, &x)) return false;
    const char *suffix = *text ? strchr(suffixes, *text & ~0x20) : NULL;
    unsigned shift = suffix ? (unsigned)(suffix - suffixes + 1) * 10 : 0;
    if (suffix) text++;
    if (*text || x > (UINT64_C(1) << 52) >> shift) return false;
    *out = (double)(x << shift);
    return true;
}

/* Digits, and optionally a point and digits. strtod would follow the program's locale and accept
 * hexadecimal and "nan". */
static bool seconds_parse(const char *text, double *out) {
    uint64_t whole, fraction = 0;
    if (!digits_parse(&text, &whole)) return false;
    double x = (double)whole;
    if (*text == '.') {
        const char *start = ++text;
        if (!digits_parse(&text, &fraction)) return false;
        double scale = 1;
        for (const char *p = start; p < text; p++) scale *= 10;
        x += (double)fraction / scale;
    }
    *out = x;
    return *text == 0;
}

bool tine_setting_number_parse(tine_setting_type type, const char *text, double *out) {
    uint64_t whole;
    switch (type) {
    case TINE_SETTING_SIZE: return size_parse(text, out);
    case TINE_SETTING_SECONDS: return seconds_parse(text, out);
    case TINE_SETTING_SWITCH: *out = !strcmp(text, "on"); return *out || !strcmp(text, "off");
    case TINE_SETTING_LEVEL: *out = tine_log_level_parse(text); return *out >= 0;
    default:
        if (!digits_parse(&text, &whole) || *text || whole > INT32_MAX) return false;
        *out = (double)whole;
        return true;
    }
}

/* ---- number to text ---- */

static void size_format(double x, char *out, size_t room) {
    static const char suffixes[] = "TGMK";
    uint64_t n = (uint64_t)x;
    for (int i = 0; i < 4; i++) {
        unsigned shift = (unsigned)(4 - i) * 10;
        if (n >> shift && !(n & ((UINT64_C(1) << shift) - 1))) {
            snprintf(out, room, "%llu%c", (unsigned long long)(n >> shift), suffixes[i]);
            return;
        }
    }
    snprintf(out, room, "%llu", (unsigned long long)n);
}

static void seconds_format(double x, char *out, size_t room) {
    unsigned long long micros = (unsigned long long)(x * 1e6 + 0.5);
    int n = snprintf(out, room, "%llu.%06llu", micros / 1000000, micros % 1000000);
    while (n > 0 && out[n - 1] == '0') out[--n] = 0;
    if (n > 0 && out[n - 1] == '.') out[--n] = 0;
}

void tine_setting_number_format(tine_setting_type type, double x, char *out, size_t room) {
    switch (type) {
    case TINE_SETTING_SIZE: size_format(x, out, room); break;
    case TINE_SETTING_SECONDS: seconds_format(x, out, room); break;
    case TINE_SETTING_SWITCH: snprintf(out, room, "%s", x ? "on" : "off"); break;
    case TINE_SETTING_LEVEL: snprintf(out, room, "%s", tine_log_level_name((int)x)); break;
    default: snprintf(out, room, "%d", (int)x); break;
    }
}
