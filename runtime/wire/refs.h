/* A set of object ids that grows: what a body mentions, gathered while it is written or checked. */
#ifndef TINE_RUNTIME_WIRE_REFS_H
#define TINE_RUNTIME_WIRE_REFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "runtime/wire/payload.h"

typedef struct tine_refs {
    tine_object *ids; /* `few`, or allocated */
    size_t n, room;
    tine_object few[8];
} tine_refs;

static inline void tine_refs_init(tine_refs *r) {
    r->ids = r->few;
    r->n = 0;
    r->room = sizeof r->few / sizeof *r->few;
}
bool tine_refs_add(tine_refs *r, tine_object id); /* false: no memory */
void tine_refs_sort(tine_refs *r);                /* ascending, once each */
static inline void tine_refs_fini(tine_refs *r) {
    if (r->ids != r->few) free(r->ids);
}

#endif
