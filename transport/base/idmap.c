/* See idmap.h. A state machine that cannot record an id cannot go on rightly, so running out of
 * memory for a table of a few kilobytes ends the process with a message; user-sized memory
 * (payloads, tensors) is never allocated here. */
#include "transport/base/idmap.h"

#include <stdlib.h>

#include "transport/base/assert.h"

static size_t place(const tine_idmap *m, uint64_t id) {
    /* Knuth's multiplicative hash: high bits are mixed best */
    uint64_t x = id * 0x9E3779B97F4A7C15u;
    return (size_t)(x >> 32) & (m->room - 1);
}

void *tine_idmap_get(const tine_idmap *m, uint64_t id) {
    if (!m->room || !id) return NULL;
    for (size_t i = place(m, id); m->entries[i].id; i = (i + 1) & (m->room - 1))
        if (m->entries[i].id == id) return m->entries[i].item;
    return NULL;
}

static void insert(tine_idmap *m, uint64_t id, void *item) {
    size_t i = place(m, id);
    while (m->entries[i].id) {
        TINE_ASSERT_TRUE(m->entries[i].id != id);
        i = (i + 1) & (m->room - 1);
    }
    m->entries[i] = (tine_idmap_entry){id, item};
}

static void resize(tine_idmap *m, size_t room) {
    tine_idmap bigger = {.room = room, .n = m->n, .entries = calloc(room, sizeof *bigger.entries)};
    TINE_ASSERT_TRUE(bigger.entries);
    for (size_t i = 0; i < m->room; i++)
        if (m->entries[i].id) insert(&bigger, m->entries[i].id, m->entries[i].item);
    free(m->entries);
    *m = bigger;
}

void tine_idmap_put(tine_idmap *m, uint64_t id, void *item) {
    TINE_ASSERT_TRUE(id != 0);
    if (m->n * 3 >= m->room * 2) resize(m, m->room ? m->room * 2 : 16);
    insert(m, id, item);
    m->n++;
}

void *tine_idmap_remove(tine_idmap *m, uint64_t id) {
    if (!m->room || !id) return NULL;
    size_t mask = m->room - 1, i = place(m, id);
    while (m->entries[i].id && m->entries[i].id != id) i = (i + 1) & mask;
    if (!m->entries[i].id) return NULL;
    void *item = m->entries[i].item;
    for (size_t j = i;;) {
        j = (j + 1) & mask;
        if (!m->entries[j].id) break;
        size_t home = place(m, m->entries[j].id);
        /* may move back to i without passing its home */
        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->entries[i] = m->entries[j];
            i = j;
        }
    }
    m->entries[i].id = 0;
    m->n--;
    if (m->room > 1024 && m->n * 8 < m->room) resize(m, m->room / 4);
    return item;
}

void tine_idmap_fini(tine_idmap *m) {
    free(m->entries);
    *m = (tine_idmap){0};
}
