/* The ring between two threads, which ThreadSanitizer sees, and against a side that writes what is
 * impossible. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/shm/ring.h"

enum { CAPACITY = 1 << 16, RECORDS = 20000 };

/* Both sides and what wakes them. */
typedef struct scene {
    tine_shm_ring *ring;
    uint8_t *bytes;
    tine_shm_writer out;
    tine_shm_reader in;
    sem_t reader, writer;
    unsigned reader_woken, writer_woken;
} scene;

static void scene_init(scene *s) {
    int fd = memfd_create("test", MFD_CLOEXEC);
    cr_assert(fd >= 0 && ftruncate(fd, CAPACITY) == 0);
    *s = (scene){.ring = aligned_alloc(TINE_SHM_LINE, sizeof *s->ring)};
    memset(s->ring, 0, sizeof *s->ring);
    s->bytes = mmap(NULL, 2 * CAPACITY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 2; i++)
        cr_assert(mmap(s->bytes + i * CAPACITY, CAPACITY, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    close(fd);
    s->out = (tine_shm_writer){.ring = s->ring, .bytes = s->bytes, .capacity = CAPACITY};
    s->in = (tine_shm_reader){.ring = s->ring, .bytes = s->bytes, .capacity = CAPACITY};
    sem_init(&s->reader, 0, 0);
    sem_init(&s->writer, 0, 0);
}

static void scene_fini(scene *s) {
    munmap(s->bytes, 2 * CAPACITY);
    free(s->ring);
    sem_destroy(&s->reader);
    sem_destroy(&s->writer);
}

static size_t size_of(uint32_t i) { return i % 997 == 0 ? CAPACITY / 2 : i * 31 % 700; }

static void write_record(scene *s, uint32_t i) {
    uint8_t *to;
    size_t size = size_of(i);
    tine_shm_result room;
    while ((room = tine_shm_reserve(&s->out, size, &to)) == TINE_SHM_NONE) {
        if (tine_shm_block(&s->out, size) == TINE_SHM_OK) continue;
        sem_wait(&s->writer);
    }
    cr_assert_eq(room, TINE_SHM_OK);
    memset(to, (int)i, size);
    if (tine_shm_write(&s->out, size, 1 + i)) sem_post(&s->reader), s->reader_woken++;
}

static void read_record(scene *s, uint32_t i) {
    tine_shm_record r;
    tine_shm_result what;
    while ((what = tine_shm_next(&s->in, &r)) == TINE_SHM_NONE) {
        if (!tine_shm_sleep(&s->in)) sem_wait(&s->reader);
        tine_shm_awake(&s->in);
    }
    cr_assert_eq(what, TINE_SHM_OK);
    cr_assert_eq(r.kind, 1 + i);
    cr_assert(r.size >= size_of(i) && r.size < size_of(i) + 8);
    for (size_t k = 0; k < size_of(i); k++) cr_assert_eq(r.bytes[k], (uint8_t)i);
    if (tine_shm_pass(&s->in)) sem_post(&s->writer), s->writer_woken++;
}

static void *writer_main(void *arg) {
    for (uint32_t i = 0; i < RECORDS; i++) {
        write_record(arg, i);
        if (i % 100 == 0) sched_yield();
    }
    return NULL;
}

/* The semaphores have no time limit: a wake-up that is lost ends in the test's. */
Test(shm_ring, brings_every_record_in_order_and_loses_no_wake_up, .timeout = 60) {
    scene s;
    pthread_t writer;
    scene_init(&s);
    cr_assert_eq(pthread_create(&writer, NULL, writer_main, &s), 0);
    for (uint32_t i = 0; i < RECORDS; i++) read_record(&s, i);
    pthread_join(writer, NULL);
    cr_assert_gt(s.reader_woken, 0);
    cr_assert_gt(s.writer_woken, 0);
    scene_fini(&s);
}

Test(shm_ring, keeps_to_its_beginning_while_it_is_never_full, .timeout = 20) {
    scene s;
    scene_init(&s);
    for (uint32_t i = 1; i < 900; i++) {
        write_record(&s, i);
        read_record(&s, i);
        cr_assert_lt((s.out.at & (CAPACITY - 1)), CAPACITY / 8);
    }
    scene_fini(&s);
}

/* ---- the other side writes what it likes ---- */

Test(shm_ring, refuses_counts_of_a_hostile_writer, .timeout = 20) {
    static const uint64_t counts[] = {CAPACITY + 8, 4, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        scene s;
        tine_shm_record r;
        scene_init(&s);
        atomic_store(&s.ring->written, counts[i]);
        cr_expect_eq(tine_shm_next(&s.in, &r), TINE_SHM_BROKEN, "written %llx",
                     (unsigned long long)counts[i]);
        scene_fini(&s);
    }
}

Test(shm_ring, refuses_sizes_of_a_hostile_writer, .timeout = 20) {
    static const uint64_t heads[] = {0,
                                     1,
                                     UINT64_C(7) << 32 | 1,
                                     UINT64_C(12) << 32 | 1,
                                     UINT64_C(72) << 32 | 1,
                                     UINT64_C(0xfffffff8) << 32 | 1};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        scene s;
        tine_shm_record r;
        scene_init(&s);
        memcpy(s.bytes, &heads[i], sizeof heads[i]);
        atomic_store(&s.ring->written, 64);
        cr_expect_eq(tine_shm_next(&s.in, &r), TINE_SHM_BROKEN, "head %llx",
                     (unsigned long long)heads[i]);
        scene_fini(&s);
    }
}

/* Skips alone would keep the reader busy for ever. */
Test(shm_ring, refuses_two_skips_in_a_row, .timeout = 20) {
    scene s;
    tine_shm_record r;
    scene_init(&s);
    for (int i = 0; i < 2; i++) {
        uint64_t skip = UINT64_C(8) << 32 | TINE_SHM_SKIP;
        memcpy(s.bytes + 8 * i, &skip, sizeof skip);
    }
    atomic_store(&s.ring->written, 16);
    cr_expect_eq(tine_shm_next(&s.in, &r), TINE_SHM_BROKEN);
    scene_fini(&s);
}

/* A writer publishes a skip together with the record behind it. */
Test(shm_ring, refuses_a_skip_without_a_record, .timeout = 20) {
    scene s;
    tine_shm_record r;
    scene_init(&s);
    uint64_t skip = UINT64_C(8) << 32 | TINE_SHM_SKIP;
    memcpy(s.bytes, &skip, sizeof skip);
    atomic_store(&s.ring->written, 8);
    cr_expect_eq(tine_shm_next(&s.in, &r), TINE_SHM_BROKEN);
    scene_fini(&s);
}

Test(shm_ring, refuses_a_count_of_a_hostile_reader, .timeout = 20) {
    scene s;
    uint8_t *to;
    scene_init(&s);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(tine_shm_reserve(&s.out, CAPACITY / 2 - 8, &to), TINE_SHM_OK);
        tine_shm_write(&s.out, CAPACITY / 2 - 8, 1);
    }
    cr_assert_eq(tine_shm_reserve(&s.out, 8, &to), TINE_SHM_NONE);
    atomic_store(&s.ring->read, CAPACITY + 8);
    cr_expect_eq(tine_shm_reserve(&s.out, 8, &to), TINE_SHM_BROKEN);
    scene_fini(&s);
}
