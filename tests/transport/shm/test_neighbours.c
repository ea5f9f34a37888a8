/* The list of neighbours of a lane, and the lock by which an arena's process finds its readers. */
#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/shm/neighbours.h"

static tine_shm_segment *own_segment(bool watch) {
    tine_arena_place place;
    tine_shm_segment *s;
    const char *why = "";
    cr_assert_eq(tine_arena_open(8 << 20, &why), 0, "%s", why);
    cr_assert(tine_arena_get(&place));
    cr_assert_eq(tine_shm_segment_open(&s, &place, watch, &why), 0, "%s", why);
    return s;
}

Test(shm_neighbours, are_bounded, .timeout = 20) {
    tine_shm_neighbours n = {0};
    tine_shm_segment *s[TINE_SHM_NEIGHBOURS_MOST + 1];
    for (uint32_t i = 0; i <= TINE_SHM_NEIGHBOURS_MOST; i++) {
        s[i] = own_segment(false);
        s[i]->number = i + 1;
        cr_expect_eq(tine_shm_neighbours_add(&n, s[i]) != NULL, i < TINE_SHM_NEIGHBOURS_MOST);
    }
    cr_expect_null(tine_shm_neighbours_numbered(&n, TINE_SHM_NEIGHBOURS_MOST + 1));
    cr_expect_null(tine_shm_neighbours_find(&n, s[TINE_SHM_NEIGHBOURS_MOST]));
    tine_shm_neighbour *first = tine_shm_neighbours_find(&n, s[0]);
    cr_assert_eq(first, tine_shm_neighbours_numbered(&n, 1));
    tine_shm_neighbours_remove(&n, first);
    cr_expect_null(tine_shm_neighbours_numbered(&n, 1));
    cr_expect(tine_shm_neighbours_add(&n, s[TINE_SHM_NEIGHBOURS_MOST]));
    tine_shm_neighbours_fini(&n);
    for (uint32_t i = 0; i <= TINE_SHM_NEIGHBOURS_MOST; i++) {
        cr_expect_eq(atomic_load(&s[i]->refs), 1);
        tine_shm_segment_unref(s[i]);
    }
}

Test(shm_neighbours, arena_is_watched_while_it_is_mapped, .timeout = 20) {
    tine_shm_segment_unref(own_segment(false));
    cr_expect_not(tine_arena_is_watched());
    tine_shm_segment *s = own_segment(true), *plain = own_segment(false);
    cr_expect(tine_arena_is_watched());
    tine_shm_segment_unref(s);
    cr_expect_not(tine_arena_is_watched(), "a mapping without a lock does not count");
    tine_shm_segment_unref(plain);
}

Test(shm_neighbours, the_death_of_a_watcher_ends_its_lock, .timeout = 20) {
    int ready[2], go[2], status;
    char byte;
    tine_shm_segment_unref(own_segment(false));
    cr_assert(pipe(ready) == 0 && pipe(go) == 0);
    tine_arena_place place;
    cr_assert(tine_arena_get(&place));
    pid_t child = fork();
    if (!child) {
        tine_shm_segment *s;
        const char *why;
        if (tine_shm_segment_open(&s, &place, true, &why)) _exit(1);
        if (write(ready[1], "", 1) != 1 || read(go[0], &byte, 1) != 1) _exit(2);
        _exit(0); /* it is mapped still */
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_expect(tine_arena_is_watched());
    cr_assert_eq(write(go[1], "", 1), 1);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    cr_expect_not(tine_arena_is_watched());
}
