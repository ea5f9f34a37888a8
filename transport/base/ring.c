/* See ring.h. */
#include "transport/base/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"

enum { FIRST_ROOM = 16 };

int tine_ring_reserve(tine_ring *r, size_t more) {
    TINE_ASSERT(r->item_size, >, 0);
    if (more <= r->room - r->n) return 0;
    size_t room = r->room ? r->room * 2 : FIRST_ROOM;
    while (room < PTRDIFF_MAX / 2 / r->item_size && room - r->n < more) room *= 2;
    if (room - r->n < more || room > PTRDIFF_MAX / r->item_size) return -ENOMEM;
    uint8_t *items = realloc(r->items, room * r->item_size);
    if (!items) return -ENOMEM;
    /* The items that had wrapped around to the start continue behind the old end. */
    size_t wrapped = r->first + r->n > r->room ? r->first + r->n - r->room : 0;
    if (wrapped) memcpy(items + r->room * r->item_size, items, wrapped * r->item_size);
    r->items = items;
    r->room = room;
    return 0;
}

bool tine_ring_pop(tine_ring *r, void *out) {
    if (!r->n) return false;
    memcpy(out, tine_ring_at(r, 0), r->item_size);
    tine_ring_drop(r);
    return true;
}

void tine_ring_fini(tine_ring *r) {
    free(r->items);
    *r = (tine_ring){.item_size = r->item_size, .keep = r->keep};
}
