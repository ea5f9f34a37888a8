/* See json.h. */
#include "runtime/safetensors/json.h"

#include <string.h>

#include "transport/base/text.h"

static bool json_fail(tine_json_reader *r, const char *wrong) {
    if (!r->wrong) r->wrong = wrong;
    return false;
}

static void json_skip_space(tine_json_reader *r) {
    while (r->at < r->size && r->text[r->at] && strchr(" \t\n\r", r->text[r->at])) r->at++;
}

bool tine_json_is(tine_json_reader *r, char c) {
    if (r->wrong) return false;
    json_skip_space(r);
    if (r->at == r->size) return json_fail(r, "it ends too early");
    return r->text[r->at] == c;
}

bool tine_json_expect(tine_json_reader *r, char c) {
    if (!tine_json_is(r, c)) return json_fail(r, "unexpected character");
    r->at++;
    return true;
}

bool tine_json_end(tine_json_reader *r) {
    if (r->wrong) return false;
    json_skip_space(r);
    return r->at == r->size || json_fail(r, "text follows its end");
}

bool tine_json_next(tine_json_reader *r, char close, size_t *n) {
    if (tine_json_is(r, close)) {
        r->at++;
        return false;
    }
    if (*n > 0 && !tine_json_expect(r, ',')) return false;
    ++*n;
    return !r->wrong;
}

/* ---- strings ---- */

/* The four digits behind \u. */
static bool json_read_hex(tine_json_reader *r, uint32_t *out) {
    if (r->size - r->at < 4) return json_fail(r, "it ends too early");
    *out = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", c = r->text[r->at],
                   *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
        if (!digit) return json_fail(r, "invalid \\u escape");
        *out = *out << 4 | (uint32_t)(digit - digits);
        r->at++;
    }
    return true;
}

/* The character behind \u, of one escape or of two that are a surrogate pair. */
static bool json_read_unicode(tine_json_reader *r, uint32_t *out) {
    uint32_t low;
    if (!json_read_hex(r, out)) return false;
    if (*out >= 0xdc00 && *out < 0xe000) return json_fail(r, "lone surrogate");
    if (*out < 0xd800 || *out >= 0xe000) return true;
    if (r->size - r->at < 2 || memcmp(r->text + r->at, "\\u", 2) != 0)
        return json_fail(r, "lone surrogate");
    r->at += 2;
    if (!json_read_hex(r, &low)) return false;
    if (low < 0xdc00 || low >= 0xe000) return json_fail(r, "lone surrogate");
    *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static size_t json_utf8(uint32_t c, char *out) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[n] | c);
    return n;
}

/* What a backslash stands for. */
static size_t json_read_escape(tine_json_reader *r, char out[4]) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->size) return json_fail(r, "it ends too early");
    char c = r->text[r->at++];
    const char *plain = c ? strchr(from, c) : NULL;
    uint32_t wide;
    if (plain) return json_utf8((uint8_t)to[plain - from], out);
    if (c != 'u') return json_fail(r, "invalid escape");
    if (!json_read_unicode(r, &wide)) return 0;
    if (wide == 0) r->nul = true;
    return json_utf8(wide ? wide : 0xfffd, out);
}

bool tine_json_string(tine_json_reader *r, char *out, size_t room, size_t *size) {
    if (!tine_json_expect(r, '"')) return false;
    r->nul = false;
    *size = 0;
    while (r->at < r->size && r->text[r->at] != '"') {
        const char *from = r->text + r->at;
        char escaped[4];
        size_t n = tine_utf8_sequence(from, r->size - r->at);
        if (n == 0) return json_fail(r, "invalid UTF-8");
        if ((uint8_t)*from < 0x20) return json_fail(r, "control character");
        r->at += n;
        if (*from == '\\') {
            if ((n = json_read_escape(r, escaped)) == 0) return false;
            from = escaped;
        }
        if (*size + n < room) memcpy(out + *size, from, n);
        *size += n;
    }
    if (r->at == r->size) return json_fail(r, "it ends too early");
    r->at++;
    if (room > 0) out[*size < room ? *size : room - 1] = '\0';
    return true;
}

bool tine_json_whole(tine_json_reader *r, uint64_t *out) {
    if (!tine_json_is(r, '0')) {
        if (r->wrong || r->text[r->at] < '1' || r->text[r->at] > '9') return false;
    }
    size_t begin = r->at;
    *out = 0;
    for (; r->at < r->size && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(r->text[r->at] - '0'), out))
            return false;
    if (r->at < r->size && r->text[r->at] && strchr(".eE", r->text[r->at])) return false;
    return r->at - begin == 1 || r->text[begin] != '0';
}
