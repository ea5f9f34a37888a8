/* See scan.h. Brackets are counted outside of strings; whether a value is valid JSON is for the
 * parser to say. */
#include "launch/profile/scan.h"

#include <string.h>

char tine_json_peek(tine_json_scan *s) {
    while (s->at < s->size && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at]) s->at++;
    return s->at < s->size ? s->text[s->at] : 0;
}

bool tine_json_skip(tine_json_scan *s, char c) {
    if (tine_json_peek(s) != c) return false;
    s->at++;
    return true;
}

static bool scan_string(tine_json_scan *s) {
    for (s->at++; s->at < s->size; s->at++) {
        if (s->text[s->at] == '\\')
            s->at++;
        else if (s->text[s->at] == '"')
            return s->at++, true;
    }
    return false;
}

static bool scan_nested(tine_json_scan *s) {
    size_t depth = 0;
    while (s->at < s->size) {
        char c = s->text[s->at];
        if (c == '"') {
            if (!scan_string(s)) return false;
            continue;
        }
        s->at++;
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) return true;
    }
    return false;
}

bool tine_json_value(tine_json_scan *s, size_t *begin) {
    char c = tine_json_peek(s);
    *begin = s->at;
    if (c == '"') return scan_string(s);
    if (c == '{' || c == '[') return scan_nested(s);
    while (s->at < s->size && s->text[s->at] && !strchr(",]} \t\r\n", s->text[s->at])) s->at++;
    return s->at > *begin;
}
