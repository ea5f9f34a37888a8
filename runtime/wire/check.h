/* The check of a body from a peer: see check.c. */
#ifndef TINE_RUNTIME_WIRE_CHECK_H
#define TINE_RUNTIME_WIRE_CHECK_H

#include "runtime/tine.h"
#include "runtime/wire/payload.h"

/* What a payload's body was found to be: values of `checked`. */
enum { TINE_CHECKED_NOTHING, TINE_CHECKED_VALUE, TINE_CHECKED_CALL };

/* Walks all of p's body and fills in its refs and `checked`. EPROTO with a reason in `why`;
 * ENOMEM. */
tine_error tine_wire_check(tine_payload *p, uint8_t kind, char *why, size_t why_size);

#endif
