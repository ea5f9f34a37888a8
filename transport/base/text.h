/* Texts: formatting into memory, numbers as in the C locale, UTF-8, and the nearest of several
 * names. */
#ifndef TINE_TRANSPORT_BASE_TEXT_H
#define TINE_TRANSPORT_BASE_TEXT_H

#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* printf into malloc'ed memory; NULL: no memory. */
char *tine_text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *tine_text_formatv(const char *format, va_list ap) __attribute__((format(printf, 1, 0)));

/* A malloc'ed copy of at most `most` bytes (64 or more). A longer text is cut in the middle,
 * between two characters, with a note of how much is left out: its beginning says what failed, its
 * end why. NULL: no memory. */
char *tine_text_cut(const char *text, size_t most);
/* A malloc'ed copy in which nothing can act on a terminal or forge a line: control characters, the
 * ones that change the direction of text, and bytes that are no UTF-8 become \x1b or \u202e. With
 * `lines`, newlines and tabs stay. NULL: no memory. */
char *tine_text_printable(const char *text, bool lines);

/* Replaces control characters and what is not UTF-8, such as the rest of a name that was cut, by
 * '?', in place. */
void tine_text_mask(char *text);

/* Makes the text UTF-8, in place: what is left of a character that was cut, by a precision or the
 * end of a buffer, is taken out, and other bytes that are no UTF-8 become '?'. */
void tine_text_mend(char *text);

/* Between enter and leave this thread's numbers have a decimal point, whatever locale the program
 * has set: for what machines read, and for what is to look the same everywhere. */
locale_t tine_text_locale_enter(void);
void tine_text_locale_leave(locale_t before);
/* strtod in the C locale. */
double tine_text_double(const char *text, char **end);

/* The bytes of the UTF-8 sequence at s (n > 0 bytes are there), or 0: it is none. RFC 3629: no
 * surrogates, no overlong forms, nothing past U+10FFFF. */
size_t tine_utf8_sequence(const char *s, size_t n);
/* All of it is UTF-8. NULs are allowed. */
bool tine_utf8_valid(const char *s, size_t n);

/* The candidate nearest to a name that is not known, by edit distance (insert, drop or change one
 * character; only the first 63 characters count).
 *
 *     tine_nearest best = {.name = name, .size = strlen(name), .limit = 3};
 *     for (…) tine_nearest_try(&best, candidate);
 *     if (best.found) …("did you mean %s?", best.found); */
typedef struct tine_nearest {
    const char *name;
    size_t size;
    size_t limit; /* candidates this many edits off or more do not count; the best one's distance */
    const char *found; /* NULL: none so far; of equally near ones the first */
} tine_nearest;

void tine_nearest_try(tine_nearest *best, const char *candidate);

#endif
