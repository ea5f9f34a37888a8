/* A strict reader of JSON (RFC 8259), token by token and without a tree, for files whose grammar is
 * known. The caller sees every key, also one that is there twice. After the first error every call
 * returns false, so that callers need to look at `wrong` at the end only. */
#ifndef TINE_RUNTIME_SAFETENSORS_JSON_H
#define TINE_RUNTIME_SAFETENSORS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tine_json_reader {
    const char *text; /* not NUL-terminated */
    size_t size, at;
    const char *wrong; /* what is wrong at `at`; NULL: nothing so far */
    bool nul;          /* the last string holds \u0000 */
} tine_json_reader;

/* Whether the next character behind white space is `c`. False at the end, which is an error. */
bool tine_json_is(tine_json_reader *r, char c);
/* Skips `c`. Another character is an error. */
bool tine_json_expect(tine_json_reader *r, char c);
/* White space up to the end. Anything else is an error. */
bool tine_json_end(tine_json_reader *r);
/* One step in a list or an object whose opening bracket has been read: whether there is another
 * item, whose index becomes *n. Begin with 0. `close` is read. */
bool tine_json_next(tine_json_reader *r, char close, size_t *n);
/* A string, decoded: *size bytes; those that fit are put in out[0..room), with a NUL behind
 * them. \u0000 becomes U+FFFD, with `nul` set. A decoded string is not longer than its text. */
bool tine_json_string(tine_json_reader *r, char *out, size_t room, size_t *size);
/* A whole number up to 2^64 - 1, without sign, point and exponent. False and no error: the value is
 * another one. */
bool tine_json_whole(tine_json_reader *r, uint64_t *out);

#endif
