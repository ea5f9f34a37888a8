/* See text.h. */
#include "transport/base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

char *tine_text_formatv(const char *format, va_list ap) {
    char *text = NULL;
    return vasprintf(&text, format, ap) < 0 ? NULL : text;
}

char *tine_text_format(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    return text;
}

/* ---- UTF-8 ---- */

size_t tine_utf8_sequence(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    if (p[0] < 0x80) return 1;
    size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || size > n) return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    /* The second byte's range excludes overlong forms, surrogates and what is past U+10FFFF. */
    bool wrong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                 (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return wrong ? 0 : size;
}

bool tine_utf8_valid(const char *s, size_t n) {
    while (n) {
        uint64_t eight;
        if (n >= sizeof eight) {
            memcpy(&eight, s, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                s += sizeof eight;
                n -= sizeof eight;
                continue;
            }
        }
        size_t size = tine_utf8_sequence(s, n);
        if (!size) return false;
        s += size;
        n -= size;
    }
    return true;
}

/* ---- the nearest name ---- */

enum { COMPARED = 63 };

/* Levenshtein's distance, one row of the table at a time. */
static size_t edit_distance(const char *a, size_t n, const char *b) {
    size_t m = strnlen(b, COMPARED), row[COMPARED + 1];
    if (n > COMPARED) n = COMPARED;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < other ? change : other;
        }
    }
    return row[m];
}

void tine_nearest_try(tine_nearest *best, const char *candidate) {
    size_t distance = edit_distance(best->name, best->size, candidate);
    if (distance >= best->limit) return;
    best->limit = distance;
    best->found = candidate;
}
