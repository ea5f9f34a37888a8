/* The header's fields by message type, and what each field is. Writing and reading go through this
 * table, so they cannot differ. */
#ifndef TINE_RUNTIME_WIRE_LAYOUT_H
#define TINE_RUNTIME_WIRE_LAYOUT_H

#include "runtime/wire/message.h"

typedef enum tine_field_kind {
    TINE_FIELD_U64,
    TINE_FIELD_U32,
    TINE_FIELD_I32,
    TINE_FIELD_TEXT, /* NULL: nil */
    TINE_FIELD_NAME, /* a text; NULL is sent as "" */
    TINE_FIELD_IDS,
    TINE_FIELD_NAMES,
    TINE_FIELD_MAGIC,
    TINE_FIELD_VERSION, /* u32, this library's */
} tine_field_kind;

typedef struct tine_field {
    uint16_t kind;
    /* In the message, or in its hello or terms. n_at: of NAMES, their number, a uint32_t. */
    uint16_t at, n_at;
    uint64_t most;    /* of a number without a sign */
    const char *what; /* "a task" */
} tine_field;

typedef struct tine_fields {
    const tine_field *of; /* in the header's order */
    uint8_t n;
} tine_fields;

typedef struct tine_layout {
    tine_fields fields; /* of HELLO: in its hello; SUBMIT_WITH: those of terms follow */
    bool body;          /* where the body is comes last: TINE_BODY_… */
    uint8_t entries;    /* of the header's array: the type, all fields, where the body is */
} tine_layout;

extern const tine_layout tine_layouts[TINE_MSG_LAST_];
extern const tine_fields tine_terms_fields;
extern const char tine_wire_magic[4];

enum { TINE_BODY_NONE, TINE_BODY_INLINE, TINE_BODY_BESIDE };

#endif
