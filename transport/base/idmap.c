/* See idmap.h. */
#include "transport/base/idmap.h"

#include <stdlib.h>

#include "transport/base/memory.h"

static size_t slot_of(const tine_idmap *m, uint64_t id) {
    /* Knuth's multiplicative hash: the high bits are mixed best. */
    uint64_t x = id * 0x9E3779B97F4A7C15u;
    return (size_t)(x >> 32) & (m->room - 1);
}

void *tine_idmap_get(const tine_idmap *m, uint64_t id) {
    if (!m->room || !id) return NULL;
    for (size_t i = slot_of(m, id); m->entries[i].id; i = (i + 1) & (m->room - 1))
        if (m->entries[i].id == id) return m->entries[i].item;
    return NULL;
}

static void idmap_insert(tine_idmap *m, uint64_t id, void *item) {
    size_t i = slot_of(m, id);
    while (m->entries[i].id) {
        TINE_ASSERT_TRUE(m->entries[i].id != id);
        i = (i + 1) & (m->room - 1);
    }
    m->entries[i] = (tine_idmap_entry){id, item};
}

static void idmap_resize(tine_idmap *m, size_t room) {
    tine_idmap bigger = {
        .room = room, .n = m->n, .entries = tine_must_alloc(room * sizeof *bigger.entries)};
    for (size_t i = 0; i < m->room; i++)
        if (m->entries[i].id) idmap_insert(&bigger, m->entries[i].id, m->entries[i].item);
    free(m->entries);
    *m = bigger;
}

void tine_idmap_put(tine_idmap *m, uint64_t id, void *item) {
    TINE_ASSERT_TRUE(id != 0);
    if (m->n * 3 >= m->room * 2) idmap_resize(m, m->room ? m->room * 2 : 16);
    idmap_insert(m, id, item);
    m->n++;
}

void *tine_idmap_remove(tine_idmap *m, uint64_t id) {
    if (!m->room || !id) return NULL;
    size_t mask = m->room - 1, i = slot_of(m, id);
    while (m->entries[i].id && m->entries[i].id != id) i = (i + 1) & mask;
    if (!m->entries[i].id) return NULL;
    void *item = m->entries[i].item;
    for (size_t j = i;;) {
        j = (j + 1) & mask;
        if (!m->entries[j].id) break;
        size_t home = slot_of(m, m->entries[j].id);
        /* An entry may move to i unless its home slot lies between i and j. */
        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->entries[i] = m->entries[j];
            i = j;
        }
    }
    m->entries[i].id = 0;
    m->n--;
    if (m->room > 1024 && m->n * 8 < m->room) idmap_resize(m, m->room / 4);
    return item;
}

void tine_idmap_fini(tine_idmap *m) {
    free(m->entries);
    *m = (tine_idmap){0};
}
