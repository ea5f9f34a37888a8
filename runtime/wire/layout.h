/* The header's fields by message type. Writing and reading go through one table, so they cannot
 * differ. */
#ifndef TINE_RUNTIME_WIRE_LAYOUT_H
#define TINE_RUNTIME_WIRE_LAYOUT_H

#include "runtime/wire/message.h"

/* A letter for each field, in the header's order; encode.c and decode.c give them their meaning.
 * 'B', where the body is, comes last. */
typedef struct tine_layout {
    const char *fields;
    uint8_t entries; /* of the header's array: the type and the fields */
    bool body;       /* has a 'B' */
} tine_layout;

extern const tine_layout tine_layouts[TINE_MSG_LAST_];
extern const char tine_wire_magic[4];

/* Where the body is: the values of field 'B'. */
enum { TINE_BODY_NONE, TINE_BODY_INLINE, TINE_BODY_BESIDE };

#endif
