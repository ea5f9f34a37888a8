/* See vector.h. */
#include "transport/base/vector.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 8 };

void *tine_grow_from(void *array, const void *first, size_t *room, size_t need, size_t item_size) {
    if (need <= *room) return array;
    size_t more = *room > SIZE_MAX / 2 ? SIZE_MAX : *room * 2;
    if (more < FIRST_ROOM) more = FIRST_ROOM;
    if (more < need) more = need;
    if (more > PTRDIFF_MAX / item_size) return NULL;
    void *p = realloc(array == first ? NULL : array, more * item_size);
    if (!p) return NULL;
    if (array && array == first) memcpy(p, first, *room * item_size);
    *room = more;
    return p;
}

void *tine_grow(void *array, size_t *room, size_t need, size_t item_size) {
    return tine_grow_from(array, NULL, room, need, item_size);
}
