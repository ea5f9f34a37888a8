/* Signatures: a PARAMETERS text as Python writes it, parsed once at registration, and the binding
 * of a call's arguments to it. */
#ifndef TINE_RUNTIME_CALL_SIGNATURE_H
#define TINE_RUNTIME_CALL_SIGNATURE_H

#include "runtime/call/call.h"

enum tine_parameter_kind {
    TINE_PARAMETER_ANY,       /* by position or by name */
    TINE_PARAMETER_KEYWORD,   /* after "*": by name only */
    TINE_PARAMETER_REST,      /* "*tensors": a list of the remaining positional arguments */
    TINE_PARAMETER_REST_NAMED /* "**options": a dict of the remaining keyword arguments */
};

enum { TINE_ALIASES = 3 };

typedef struct tine_parameter {
    char *name;
    char *aliases[TINE_ALIASES]; /* "input|x|a": other names for a keyword argument */
    size_t n_aliases;
    enum tine_parameter_kind kind;
    tine_value *fallback; /* its default; NULL: required, if ANY or KEYWORD */
} tine_parameter;

struct tine_signature {
    size_t n;
    size_t n_positional;     /* the ANY ones, which come first */
    size_t rest, rest_named; /* where these two kinds are; n: nowhere */
    tine_parameter parameters[];
};

/* NULL with a reason in `why` when the text is no parameter list, or without memory. */
tine_signature *tine_signature_parse(const char *text, char *why, size_t why_size);
void tine_signature_free(tine_signature *s); /* accepts NULL */
/* bound[0..n): a new reference for each parameter, in no pool. Errors: EINVAL with Python's
 * sentence, ENOMEM; bound is all NULL then. */
tine_error tine_signature_bind(const tine_signature *s, const char *name, const tine_arguments *a,
                               tine_value **bound);

#endif
