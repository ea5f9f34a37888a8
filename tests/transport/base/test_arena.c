/* The arena: blocks do not overlap, all that is given back can be taken again and is returned to
 * the system, and a forked process leaves it alone. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/leftovers.h"
#include "tests/support/sanitizer.h"
#include "transport/base/arena.h"
#include "transport/base/buffer.h"
#include "transport/base/map.h"
#include "transport/base/pages.h"

enum { MI = 1 << 20, SIZE = 256 * MI, BLOCKS = 200 };

static void open_arena(void) {
    const char *why = "";
    cr_assert_eq(tine_arena_open(SIZE, &why), 0, "%s", why);
}

/* Bytes that the system has given it. */
static size_t resident(void) {
    tine_arena_place place;
    struct stat st;
    cr_assert(tine_arena_get(&place) && fstat((int)place.fd, &st) == 0);
    return (size_t)st.st_blocks * 512;
}

typedef struct block {
    uint8_t *data;
    size_t taken;
    uint8_t mark;
} block;

static void block_give(block *b) {
    if (!b->data) return;
    for (size_t i = 0; i < b->taken; i += 4096)
        cr_assert(b->data[i] == b->mark && b->data[b->taken - 1] == b->mark);
    tine_arena_give(b->data, b->taken);
    b->data = NULL;
}

Test(arena, blocks_do_not_overlap_and_all_comes_back, .timeout = 60) {
    static block blocks[BLOCKS];
    uint64_t seed = 1, offset;
    open_arena();
    for (unsigned i = 0, taken = 0; i < 3000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        block *b = &blocks[(seed >> 33) % BLOCKS];
        size_t size = 1 + (seed >> 40) % (i % 10 ? 100000 : 9 * MI);
        block_give(b);
        if (!(b->data = tine_arena_take(size, &b->taken))) continue;
        taken++;
        cr_assert(b->taken >= size && tine_arena_holds(b->data, b->taken, &offset));
        cr_assert_eq((uintptr_t)b->data % 4096, 0);
        b->mark = (uint8_t)i;
        for (size_t k = 0; k < b->taken; k += 4096) b->data[k] = b->mark;
        b->data[b->taken - 1] = b->mark;
        cr_assert(i < 2999 || taken > 1000, "%u blocks were taken", taken);
    }
    for (size_t i = 0; i < BLOCKS; i++) block_give(&blocks[i]);
    cr_expect_eq(tine_arena_used(), 0);
    cr_expect_leq(resident(), 2 * MI, "the token's page is left");
    size_t all = SIZE - 2 * MI, got;
    uint8_t *whole = tine_arena_take(all, &got);
    cr_assert(whole, "what is free is in one piece again");
    cr_expect_null(tine_arena_take(4 * MI, &got));
    tine_arena_give(whole, all);
}

Test(arena, is_refused_where_it_cannot_be_made, .timeout = 10) {
    const char *why = "";
    cr_expect_lt(tine_arena_open(MI, &why), 0);
    cr_expect(strstr(why, "below 4 MiB"), "%s", why);
    cr_expect_lt(tine_arena_open(UINT64_C(1) << 60, &why), 0);
    cr_expect_eq(leftover_mappings("tine-tensors"), 0);
    cr_expect_null(tine_arena_take(100, &(size_t){0}));
}

Test(arena, pages_come_from_it_and_are_returned_when_idle, .timeout = 10) {
    uint64_t offset;
    open_arena();
    tine_pages p = tine_pages_take(10 * MI);
    cr_assert(tine_arena_holds(p.data, p.size, &offset));
    memset(p.data, 1, p.size);
    cr_expect_geq(resident(), 10 * MI);
    tine_pages_give(p);
    cr_expect_eq(tine_pages_tidy(INT64_MAX), -1);
    cr_expect_eq(tine_arena_used(), 0);
    cr_expect_leq(resident(), 2 * MI);
    p = tine_pages_take(10 * MI);
    tine_arena_close();
    tine_pages_give(p);
    cr_expect_eq(tine_arena_used(), 0, "nothing is kept when nobody uses it");
    open_arena();
    tine_pages large = tine_pages_take(SIZE);
    cr_assert(large.data && !tine_arena_holds(large.data, large.size, &offset),
              "past the bound pages are not shared");
    tine_pages_give(large);
}

static bool buffer_is_shared(tine_buffer *b) {
    uint64_t offset;
    cr_assert_not_null(b);
    memset(b->data, 1, b->size);
    bool is = tine_arena_holds(b->data, b->size, &offset);
    cr_expect_eq((uintptr_t)b->data % 64, 0);
    tine_buffer_unref(b);
    return is;
}

Test(arena, holds_all_but_small_buffers_while_there_is_room, .timeout = 10) {
    const size_t from = TINE_BUFFER_SHARED_FROM;
    cr_expect_not(buffer_is_shared(tine_buffer_new(from)), "there is none");
    open_arena();
    cr_expect(buffer_is_shared(tine_buffer_new(from)));
    cr_expect(buffer_is_shared(tine_buffer_new(10 * MI)));
    cr_expect_not(buffer_is_shared(tine_buffer_new(from - 1)));
    cr_expect(buffer_is_shared(tine_buffer_new_untouched(from)));
    cr_expect(buffer_is_shared(tine_buffer_new_untouched(10 * MI)));
    cr_expect_not(buffer_is_shared(tine_buffer_new_untouched(from - 1)));
    tine_pages_tidy(INT64_MAX);
    tine_arena_close();
    cr_expect_not(buffer_is_shared(tine_buffer_new(from)), "nobody uses it");
    open_arena();
    size_t got;
    cr_assert(tine_arena_take(SIZE - 2 * MI, &got));
    for (uint8_t *rest; (rest = tine_arena_take(1, &got));)
        ;
    cr_expect_not(buffer_is_shared(tine_buffer_new(from)), "there is no room");
    cr_expect_not(buffer_is_shared(tine_buffer_new_untouched(from)));
    cr_expect_not(buffer_is_shared(tine_buffer_new_untouched(10 * MI)));
}

Test(arena, gives_what_is_announced_its_memory_as_it_comes, .timeout = 10) {
    open_arena();
    size_t before = resident();
    tine_buffer *b = tine_buffer_new_untouched(64 * MI);
    cr_expect_eq(resident(), before);
    tine_arena_touch(b->data, b->size, 0, 1);
    memset(b->data, 1, 1);
    cr_expect_leq(resident(), before + 2 * MI);
    for (size_t at = 1; at < b->size; at += MI) {
        size_t n = b->size - at < MI ? b->size - at : MI;
        tine_arena_touch(b->data, b->size, at, n);
        memset((uint8_t *)b->data + at, 1, n);
    }
    for (size_t i = 0; i < b->size; i++)
        if (((uint8_t *)b->data)[i] != 1) cr_assert_fail("byte %zu", i);
    cr_expect_eq(resident(), before + 64 * MI);
    tine_buffer_unref(b);
}

/* ---- pages of 2 MiB ---- */

/* Bytes of the mappings of this name that pages of 2 MiB back. */
static size_t backed_by_huge_pages(const char *name) {
    char line[512];
    unsigned long kib;
    size_t bytes = 0;
    bool named = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f)) {
        if (strchr(line, '-') && strstr(line, " /")) named = strstr(line, name) != NULL;
        if (named && sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1) bytes += kib * 1024;
    }
    fclose(f);
    return bytes;
}

/* Whether this kernel gives a memfd such a page when it is asked for one. */
static bool machine_has_huge_pages(void) {
    enum { COLLAPSE = 25 };
    const char *why;
    int fd = tine_map_segment("test-huge", 4 * MI, &why);
    uint8_t *room = mmap(NULL, 4 * MI, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *at = room + (-(uintptr_t)room & (2 * MI - 1));
    cr_assert(fd >= 0 && room != MAP_FAILED);
    at = mmap(at, 2 * MI, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    cr_assert(at != MAP_FAILED);
    memset(at, 1, 1);
    bool has = madvise(at, 2 * MI, COLLAPSE) == 0 && backed_by_huge_pages("test-huge") == 2 * MI;
    munmap(room, 4 * MI);
    close(fd);
    return has;
}

Test(arena, large_blocks_have_pages_of_2_mib, .timeout = 20) {
    if (!machine_has_huge_pages()) cr_skip_test("this kernel backs no memfd by pages of 2 MiB");
    open_arena();
    tine_pages p = tine_pages_take(7 * MI);
    memset(p.data, 1, p.size);
    /* fragmented memory may have fewer than fit */
    cr_expect_gt(backed_by_huge_pages("tine-tensors"), 0);
    tine_pages_give(p);
    tine_pages_tidy(INT64_MAX);
    cr_expect_eq(backed_by_huge_pages("tine-tensors"), 0);
    tine_buffer *b = tine_buffer_new_untouched(8 * MI);
    for (size_t at = 0; at < b->size; at += MI / 2) {
        tine_arena_touch(b->data, b->size, at, MI / 2);
        memset((uint8_t *)b->data + at, 1, MI / 2);
    }
    cr_expect_gt(backed_by_huge_pages("tine-tensors"), 0);
    tine_buffer_unref(b);
}

Test(arena, many_small_gaps_do_not_hide_the_room_below_them, .timeout = 20) {
    enum { BUFFERS = 5000, SMALL = 20000 };
    static tine_buffer *b[BUFFERS];
    open_arena();
    for (int i = 0; i < BUFFERS; i++) b[i] = tine_buffer_new(SMALL);
    for (int i = 0; i < BUFFERS; i += 2) tine_buffer_unref(b[i]);
    tine_pages_tidy(INT64_MAX);
    for (size_t size = 24000; size < 2 * (size_t)MI; size *= 2)
        cr_expect(buffer_is_shared(tine_buffer_new(size)), "%zu bytes", size);
    for (int i = 1; i < BUFFERS; i += 2) tine_buffer_unref(b[i]);
}

static void *take_and_give(void *ctx) {
    while (!atomic_load((atomic_bool *)ctx)) {
        tine_buffer_unref(tine_buffer_new(TINE_BUFFER_SHARED_FROM));
        tine_pages_tidy(INT64_MAX);
    }
    return NULL;
}

/* With a lock that another thread holds while it forks, a child could release nothing. */
Test(arena, a_child_that_is_forked_beside_other_threads_releases_what_it_has, .timeout = 30) {
#if defined TSAN || defined __SANITIZE_ADDRESS__
    cr_skip_test("a sanitizer's own locks may stay locked in a child of a process with threads");
#endif
    pthread_t thread[2];
    atomic_bool over = false;
    open_arena();
    tine_buffer *b = tine_buffer_new(TINE_BUFFER_SHARED_FROM);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, take_and_give, &over), 0);
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (!child) {
            tine_buffer_unref(b);
            tine_buffer_unref(tine_buffer_new(TINE_BUFFER_SHARED_FROM));
            _exit(0);
        }
        int status = -1;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    tine_buffer_unref(b);
}

Test(arena, blocks_come_back_to_it_some_at_a_time, .timeout = 10) {
    enum { BLOCKS_KEPT = 500 };
    tine_pages blocks[BLOCKS_KEPT];
    open_arena();
    for (int i = 0; i < BLOCKS_KEPT; i++) blocks[i] = tine_pages_take(TINE_BUFFER_SHARED_FROM);
    for (int i = 0; i < BLOCKS_KEPT; i++) tine_pages_give(blocks[i]);
    int calls = 0;
    while (tine_pages_tidy(INT64_MAX - 1) != -1) cr_assert_lt(calls++, 100);
    if (calls == 0) cr_skip_test("nothing is kept in a sanitizer's build");
    cr_expect_geq(calls, 4, "other threads wait for one call a short time only");
    cr_expect_eq(tine_arena_used(), 0);
}

Test(arena, a_forked_process_leaves_it_alone, .timeout = 20) {
    uint64_t offset;
    open_arena();
    tine_pages kept = tine_pages_take(2 * MI), p = tine_pages_take(2 * MI);
    memset(p.data, 7, p.size);
    tine_pages_give(kept);
    size_t used = tine_arena_used();
    pid_t child = fork();
    if (!child) {
        tine_pages_give(p);
        tine_pages own = tine_pages_take(2 * MI);
        bool right = own.data && !tine_arena_holds(own.data, own.size, &offset);
        if (right) memset(own.data, 9, own.size);
        _exit(right && tine_pages_tidy(INT64_MAX) == -1 ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    cr_expect_eq(tine_arena_used(), used);
    for (size_t i = 0; i < p.size; i++) cr_assert_eq(((uint8_t *)p.data)[i], 7);
    tine_pages_give(p);
}
