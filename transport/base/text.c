/* See text.h. */
#include "transport/base/text.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *tine_text_formatv(const char *format, va_list ap) {
    char *text = NULL;
    locale_t before = tine_text_locale_enter();
    int n = vasprintf(&text, format, ap);
    tine_text_locale_leave(before);
    return n < 0 ? NULL : text;
}

char *tine_text_format(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    return text;
}

/* ---- the C locale ---- */

static locale_t c_locale;

static void c_locale_make(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* (locale_t)0, which changes nothing, without memory. */
static locale_t c_locale_get(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, c_locale_make);
    return c_locale;
}

locale_t tine_text_locale_enter(void) { return uselocale(c_locale_get()); }

void tine_text_locale_leave(locale_t before) { uselocale(before); }

double tine_text_double(const char *text, char **end) {
    locale_t before = tine_text_locale_enter();
    double x = strtod(text, end);
    tine_text_locale_leave(before);
    return x;
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

static bool eight_are_ascii(const char *s) {
    uint64_t eight;
    memcpy(&eight, s, sizeof eight);
    return !(eight & UINT64_C(0x8080808080808080));
}

bool tine_utf8_valid(const char *s, size_t n) {
    for (size_t size;; s += size, n -= size) {
        for (; n >= 8 && eight_are_ascii(s); n -= 8) s += 8;
        for (; n > 0 && (uint8_t)*s < 0x80; n--) s++;
        if (n == 0) return true;
        size = tine_utf8_sequence(s, n);
        if (!size) return false;
    }
}

/* ---- what is shown ---- */

/* Where a character begins, at or before byte n. */
static size_t text_boundary(const char *text, size_t n) {
    size_t back = n;
    while (back > 0 && n - back < 3 && ((uint8_t)text[back] & 0xc0) == 0x80) back--;
    return back;
}

char *tine_text_cut(const char *text, size_t most) {
    enum { NOTE = 48 }; /* the sentence in the middle */
    size_t size = strlen(text);
    if (size <= most) return strdup(text);
    size_t keep = (most - NOTE) / 2, head = text_boundary(text, keep), tail = size - keep;
    while (tail < size && ((uint8_t)text[tail] & 0xc0) == 0x80) tail++;
    return tine_text_format("%.*s ... [%zu bytes left out] ... %s", (int)head, text, tail - head,
                            text + tail);
}

/* Its code point, if the character must not be shown; else 0. */
static unsigned text_hidden(const char *s, size_t size, bool lines) {
    const uint8_t *p = (const uint8_t *)s;
    if (size == 1)
        return (p[0] < 0x20 && !(lines && strchr("\n\t", p[0]))) || p[0] == 0x7f ? p[0] : 0;
    unsigned code = size == 2   ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
                    : size == 3 ? (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu)
                                : 0;
    bool hidden = (code >= 0x80 && code < 0xa0) || (code >= 0x200e && code <= 0x200f) ||
                  (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return hidden ? code : 0;
}

char *tine_text_printable(const char *text, bool lines) {
    size_t left = strlen(text);
    char *out = malloc(4 * left + 1), *to = out; /* one byte becomes at most four */
    while (out && left > 0) {
        size_t size = tine_utf8_sequence(text, left);
        unsigned hidden = size ? text_hidden(text, size, lines) : (uint8_t)*text;
        if (size == 0) size = 1;
        if (hidden)
            to += sprintf(to, size == 1 ? "\\x%02x" : "\\u%04x", hidden);
        else
            to = mempcpy(to, text, size);
        text += size;
        left -= size;
    }
    if (out) *to = 0;
    return out;
}

/* How many bytes at s begin a character of more bytes; 0: they do not. */
static size_t text_fragment(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2, have = 1;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    while (have < n && (p[have] & 0xc0) == 0x80) have++;
    return have < size ? have : 0;
}

void tine_text_mend(char *text) {
    size_t left = strlen(text);
    if (tine_utf8_valid(text, left)) return;
    char *to = text;
    while (left > 0) {
        size_t whole = tine_utf8_sequence(text, left), cut = whole ? 0 : text_fragment(text, left);
        size_t step = whole ? whole : cut ? cut : 1;
        if (whole)
            memmove(to, text, whole);
        else if (!cut)
            *to = '?';
        to += whole ? whole : !cut;
        text += step;
        left -= step;
    }
    *to = 0;
}

void tine_text_mask(char *text) {
    for (size_t left = strlen(text); left > 0;) {
        size_t n = tine_utf8_sequence(text, left);
        bool control = (uint8_t)*text < 0x20 || *text == 0x7f ||
                       (n == 2 && (uint8_t)text[0] == 0xc2 && (uint8_t)text[1] < 0xa0);
        size_t step = n ? n : 1;
        if (n == 0 || control) memset(text, '?', step);
        text += step;
        left -= step;
    }
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
