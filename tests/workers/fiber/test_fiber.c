/* Fibers: switching, what a switch keeps apart, and what a suspended one costs. */
#include <criterion/criterion.h>
#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/value/current.h"
#include "tests/support/fibers.h"
#include "tests/support/sanitizer.h"

static tine_fiber *fiber_of(tine_fiber_pool *p, void (*entry)(void *), void *arg) {
    tine_fiber *f = tine_fiber_new(p, entry, arg, "test");
    cr_assert_not_null(f, "%s", tine_error_message());
    return f;
}

/* ---- switching ---- */

typedef struct steps {
    int n[8], count, me;
    struct steps *log;
} steps;

static void three_steps(void *arg) {
    steps *s = arg;
    for (int i = 0; i < 3; i++) {
        s->log->n[s->log->count++] = s->me;
        if (i < 2) tine_fiber_yield();
    }
}

Test(fiber, two_fibers_take_turns, .timeout = 20) {
    tine_fiber_pool *p = pool_of(0, 0);
    steps log = {.count = 0}, a = {.me = 1, .log = &log}, b = {.me = 2, .log = &log};
    tine_fiber *fa = fiber_of(p, three_steps, &a), *fb = fiber_of(p, three_steps, &b);
    for (int i = 0; i < 3; i++) {
        cr_expect(!tine_fiber_ended(fa));
        tine_fiber_resume(fa);
        tine_fiber_resume(fb);
    }
    cr_expect(tine_fiber_ended(fa) && tine_fiber_ended(fb));
    cr_expect_eq(log.count, 6);
    for (int i = 0; i < 6; i++) cr_expect_eq(log.n[i], 1 + i % 2);
    cr_expect_eq(tine_fiber_live(p), 2);
    tine_fiber_free(fa);
    tine_fiber_free(fb);
    cr_expect_eq(tine_fiber_live(p), 0);
    tine_fiber_pool_free(p);
}

static void resume_other(void *arg) {
    tine_fiber *inner = arg, *me = tine_fiber_running();
    tine_fiber_resume(inner);
    cr_expect_eq(tine_fiber_running(), me);
    tine_fiber_yield();
    tine_fiber_resume(inner);
}

Test(fiber, a_fiber_may_resume_another, .timeout = 20) {
    tine_fiber_pool *p = pool_of(0, 0);
    steps log = {.count = 0};
    log.log = &log;
    tine_fiber *inner = fiber_of(p, three_steps, &log), *outer = fiber_of(p, resume_other, inner);
    tine_fiber_resume(outer);
    cr_expect_null(tine_fiber_running());
    tine_fiber_resume(outer);
    cr_expect(tine_fiber_ended(outer));
    tine_fiber_resume(inner);
    cr_expect(tine_fiber_ended(inner));
    cr_expect_eq(log.count, 3);
    tine_fiber_free(inner);
    tine_fiber_free(outer);
    tine_fiber_pool_free(p);
}

static int some_context;
static void fail_and_check(void *arg) {
    cr_expect_eq(tine_current.failure.code, TINE_OK, "a new fiber has no error");
    cr_expect_null(tine_current.pool);
    cr_expect_eq((void *)tine_current.context, (void *)&some_context, "the context is inherited");
    tine_error_set(TINE_EFAILED, "of %s", (const char *)arg);
    tine_fiber_yield();
    cr_expect_eq(tine_current.failure.code, TINE_EFAILED);
    cr_expect_not_null(strstr(tine_current.failure.text, arg));
}

Test(fiber, each_has_a_state_of_its_own, .timeout = 20) {
    tine_fiber_pool *p = pool_of(0, 0);
    tine_current.context = (struct tine_context *)&some_context;
    tine_error_set(TINE_EINVAL, "of the scheduler");
    tine_fiber *a = fiber_of(p, fail_and_check, "first"),
               *b = fiber_of(p, fail_and_check, "second");
    for (int i = 0; i < 2; i++) {
        tine_fiber_resume(a);
        tine_fiber_resume(b);
        cr_expect_eq(tine_current.failure.code, TINE_EINVAL);
    }
    tine_fiber_free(a);
    tine_fiber_free(b);
    tine_current.context = NULL;
    tine_error_clear();
    tine_fiber_pool_free(p);
}

/* Enough live values that the compiler has to keep some in every callee-saved register across the
 * switch. */
static void keep_registers(void *arg) {
    volatile uint64_t *out = arg;
    uint64_t a = out[0], b = out[1], c = out[2], d = out[3], e = out[4], f = out[5], g = out[6],
             h = out[7];
    double x = (double)a, y = (double)b;
    for (int i = 0; i < 100; i++) {
        a += b * 3 + 1, b ^= c, c += d, d ^= e << 1, e += f, f ^= g, g += h, h ^= a, x += y,
            y *= 1.0000001;
        tine_fiber_yield();
    }
    out[0] = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)x;
}

Test(fiber, registers_are_kept, .timeout = 20) {
    tine_fiber_pool *p = pool_of(0, 0);
    uint64_t results[2][8];
    for (int together = 0; together < 2; together++) {
        uint64_t in[2][8] = {{1, 2, 3, 4, 5, 6, 7, 8}, {11, 12, 13, 14, 15, 16, 17, 18}};
        tine_fiber *f[2] = {fiber_of(p, keep_registers, in[0]), fiber_of(p, keep_registers, in[1])};
        for (int k = 0; k < 2 * 101; k++) tine_fiber_resume(f[together ? k % 2 : k / 101]);
        for (int i = 0; i < 2; i++) {
            cr_assert(tine_fiber_ended(f[i]));
            tine_fiber_free(f[i]);
        }
        results[together][0] = in[0][0];
        results[together][1] = in[1][0];
    }
    cr_expect_eq(results[0][0], results[1][0]);
    cr_expect_eq(results[0][1], results[1][1]);
    tine_fiber_pool_free(p);
}

static void round_up(void *arg) {
    (void)arg;
    cr_expect_eq(fegetround(), FE_TONEAREST);
    fesetround(FE_UPWARD);
    tine_fiber_yield();
    cr_expect_eq(fegetround(), FE_UPWARD);
}

Test(fiber, a_rounding_mode_stays_with_its_task, .timeout = 20) {
    tine_fiber_pool *p = pool_of(0, 0);
    tine_fiber *a = fiber_of(p, round_up, NULL), *b = fiber_of(p, round_up, NULL);
    tine_fiber_resume(a);
    cr_expect_eq(fegetround(), FE_TONEAREST);
    tine_fiber_resume(b);
    tine_fiber_resume(a);
    tine_fiber_resume(b);
    cr_expect_eq(fegetround(), FE_TONEAREST);
    tine_fiber_free(a);
    tine_fiber_free(b);
    tine_fiber_pool_free(p);
}

static void check_alignment(void *arg) {
    char buffer[64];
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    cr_expect_eq(frame % 16, 0);
    snprintf(buffer, sizeof buffer, "%f %Lf", *(double *)arg, (long double)*(double *)arg);
    cr_expect_str_eq(buffer, "2.500000 2.500000");
}

Test(fiber, the_stack_is_aligned_as_the_abi_wants, .timeout = 20) {
    tine_fiber_pool *p = pool_of(0, 0);
    double x = 2.5;
    tine_fiber *f = fiber_of(p, check_alignment, &x);
    tine_fiber_resume(f);
    tine_fiber_free(f);
    tine_fiber_pool_free(p);
}

/* ---- stacks ---- */

static void touch(void *arg) {
    volatile char *memory = __builtin_alloca(*(size_t *)arg);
    for (size_t i = 0; i < *(size_t *)arg; i += 1024) memory[i] = 1;
    tine_fiber_yield();
}

Test(fiber, nearly_all_of_the_stack_can_be_used, .timeout = 20) {
    const size_t sizes[] = {16 << 10, 64 << 10, 256 << 10, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tine_fiber_pool *p = pool_of(sizes[i], 1);
        size_t use = sizes[i] - (8 << 10);
        for (int again = 0; again < 2; again++) {
            tine_fiber *f = fiber_of(p, touch, &use);
            tine_fiber_resume(f);
            tine_fiber_resume(f);
            cr_expect(tine_fiber_ended(f));
            tine_fiber_free(f);
        }
        tine_fiber_pool_free(p);
    }
}

static long resident_kib(void) {
    long all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    cr_assert_eq(fscanf(f, "%ld %ld", &all, &resident), 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void suspend(void *arg) {
    (void)arg;
    tine_fiber_yield();
}

/* The chain of a thousand nested forks, and thirty times that: what is suspended costs what it
 * touched. */
Test(fiber, thousands_can_be_suspended, .timeout = 60) {
    tine_fiber_pool *p = pool_of(0, 0);
#ifdef TSAN
    enum {
        MANY = 1000
    }; /* ThreadSanitizer's own limit is 8,000 threads and fibers, with a large record each */
#else
    enum { MANY = 30000 };
#endif
    static tine_fiber *all[MANY];
    long before = resident_kib();
    for (int i = 0; i < MANY; i++) {
        all[i] = fiber_of(p, suspend, NULL);
        tine_fiber_resume(all[i]);
    }
    double each = (double)(resident_kib() - before) / MANY;
    cr_expect_eq(tine_fiber_live(p), MANY);
#if !defined(TSAN) && !defined(__SANITIZE_ADDRESS__)
    cr_expect(each < 12, "%.1f KiB each; three pages at most", each);
#endif
    (void)each;
    for (int i = 0; i < MANY; i++) {
        tine_fiber_resume(all[i]);
        tine_fiber_free(all[i]);
    }
    tine_fiber_pool_free(p);
}

#ifndef TSAN
Test(fiber, past_the_limit_on_mappings_is_a_clean_error, .timeout = 60) {
    tine_fiber_pool *p = pool_of(16 << 10, 0);
    size_t limit = 0, n = 0, room = 1 << 20;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    cr_assert(f && fscanf(f, "%zu", &limit) == 1);
    fclose(f);
    if (limit > 200000) cr_skip_test("vm.max_map_count is %zu: too many to try", limit);
    tine_fiber **all = calloc(room, sizeof *all);
    while (n < room && (all[n] = tine_fiber_new(p, suspend, NULL, "many"))) n++;
    cr_expect(n < limit / 2 && n > limit / 4, "%zu fibers, %zu mappings", n, limit);
    cr_expect_eq(tine_last_error(), TINE_ENOMEM);
    cr_expect_not_null(strstr(tine_error_message(), "vm.max_map_count"));
    void *still = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_expect_neq(still, MAP_FAILED, "the rest of the process still gets memory");
    munmap(still, 1 << 20);
    tine_fiber_free(all[--n]);
    cr_expect_not_null(all[n] = tine_fiber_new(p, suspend, NULL, "again"));
    for (n++; n > 0;) tine_fiber_free(all[--n]);
    free(all);
    tine_fiber_pool_free(p);
}
#endif

static void *use_a_pool(void *arg) {
    tine_fiber_pool *p = pool_of(0, 4);
    tine_fiber *f[8];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 8; i++) f[i] = fiber_of(p, suspend, arg);
        for (int i = 0; i < 16; i++) tine_fiber_resume(f[i % 8]);
        for (int i = 0; i < 8; i++) tine_fiber_free(f[i]);
    }
    tine_fiber_pool_free(p);
    return NULL;
}

Test(fiber, each_thread_has_a_pool, .timeout = 60) {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&t[i], NULL, use_a_pool, NULL), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}
