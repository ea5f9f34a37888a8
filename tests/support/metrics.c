/* See metrics.h. */
#include "tests/support/metrics.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 200 };

static size_t name_size(const char *s) {
    size_t n = 0;
    while (isalpha((unsigned char)s[n]) || s[n] == '_' || s[n] == ':' ||
           (n > 0 && isdigit((unsigned char)s[n])))
        n++;
    return n;
}

/* Behind the labels; NULL: they are wrong. */
static const char *labels_end(const char *s) {
    if (*s != '{') return s;
    for (s++; *s != '}'; s += *s == ',') {
        size_t n = name_size(s);
        if (n == 0 || s[n] != '=' || s[n + 1] != '"') return NULL;
        for (s += n + 2; *s && *s != '"'; s++)
            if (*s == '\\' && !strchr("\\\"n", *++s)) return NULL;
        if (*s++ != '"' || (*s != ',' && *s != '}')) return NULL;
    }
    return s + 1;
}

void metrics_check(const char *text) {
    char names[NAMES][80], helped[80] = "", now[80] = "";
    size_t n_names = 0;
    char *copy = strdup(text), *rest = NULL;
    cr_assert(text[0] && text[strlen(text) - 1] == '\n', "no newline at the end");
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char type[16];
        if (strncmp(line, "# HELP ", 7) == 0) {
            cr_assert_eq(sscanf(line, "# HELP %79s", helped), 1, "%s", line);
            continue;
        }
        if (line[0] == '#') {
            cr_assert_eq(sscanf(line, "# TYPE %79s %15s", now, type), 2, "%s", line);
            cr_assert_str_eq(now, helped);
            cr_assert(!strcmp(type, "counter") || !strcmp(type, "gauge"), "%s", line);
            cr_assert(strcmp(type, "counter") || strstr(now, "_total"), "%s", line);
            for (size_t i = 0; i < n_names; i++) cr_assert_str_neq(names[i], now);
            cr_assert_lt(n_names, NAMES);
            strcpy(names[n_names++], now);
            continue;
        }
        size_t n = name_size(line);
        const char *value = labels_end(line + n);
        char *end;
        cr_assert(n > 0 && value && *value == ' ', "%s", line);
        cr_assert(strlen(now) == n && strncmp(line, now, n) == 0, "%s is not under its TYPE", line);
        strtod(value + 1, &end);
        cr_assert(end > value + 1 && !*end, "%s", line);
    }
    free(copy);
}

double metrics_value(const char *text, const char *sample) {
    size_t n = strlen(sample);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, sample, n) == 0 && line[n] == ' ') return strtod(line + n, NULL);
    }
    return NAN;
}
