/* What is bounded, and what is large: a million tasks, a million results, values past 2 GiB.
 * tests/run: one case at a time, since two of 3 GiB would each find memory enough for itself. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"

enum { MILLION = 1000000 };

TINE_FUNCTION(limits_nothing, "") {
    (void)task;
    return tine_none();
}
TINE_FUNCTION(limits_next, "i") { return tine_int(tine_arg_int(task, 0) + 1); }
TINE_FUNCTION(limits_resident, "") { /* KiB of this process */
    (void)task;
    long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return tine_int(kib);
}
TINE_FUNCTION(limits_flip_ends, "x") {
    const tine_value *x = tine_arg_tensor(task, 0, TINE_U8, 1);
    return !x ? NULL : tine_ref(x);
}

static long own_resident(void) {
    tine_value *kib = tine_call("limits_resident");
    long n = (long)tine_as_int(kib);
    tine_release(kib);
    return n;
}

/* A sanitizer's own memory would be counted with ours, and its slowness makes nothing of 3 GiB
 * quick. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define PLAIN_BUILD_ONLY() cr_skip_test("SKIP: a sanitizer's memory would be counted with ours")
#else
#define PLAIN_BUILD_ONLY() (void)0
#endif

Test(limits, a_million_forks_without_waiting, .timeout = 120) {
    PLAIN_BUILD_ONLY();
    cluster_start(NULL, 2);
    long before = own_resident();
    for (int i = 0; i < MILLION; i++) {
        tine_future *f = tine_fork("limits_nothing");
        if (i < MILLION - 1)
            tine_release(f);
        else
            cr_assert_eq(tine_wait(f, NULL), TINE_OK, "%s", tine_error_message());
        if (i == MILLION - 1) tine_release(f);
    }
    long grown = own_resident() - before;
    cr_assert_lt(grown, 200 << 10, "the coordinator grew by %ld KiB", grown);
    for (int i = 0; i < 4; i++)
        cr_assert_lt(cluster_take_int(tine_fork("limits_resident")), 100 << 10);
    cluster_stop();
}

Test(limits, a_million_results_at_512_bytes_each, .timeout = 120) {
    PLAIN_BUILD_ONLY();
    cluster_start(NULL, 2);
    tine_future **f = calloc(MILLION, sizeof *f);
    long before = own_resident();
    for (int i = 0; i < MILLION; i++) f[i] = tine_fork("limits_next", i);
    cr_assert_eq(tine_wait_all(f, MILLION, NULL), TINE_OK, "%s", tine_error_message());
    long grown = own_resident() - before;
    cr_assert_leq(grown, 500 << 10, "%ld KiB for a million results", grown);
    for (int i = 0; i < MILLION; i++) cr_assert_eq(cluster_take_int(f[i]), i + 1);
    free(f);
    cluster_stop();
}

Test(limits, try_fork_says_when_too_much_is_pending, .timeout = 30) {
    tine_options o = {.workers = 1, .max_pending = 10, .log_level = "error"};
    cluster_start_with(&o);
    int taken = 0, refused = 0;
    for (int i = 0; i < 100000 && refused == 0; i++) {
        tine_future *f = tine_try_fork("limits_next", i);
        if (!f) {
            cr_assert_eq(tine_last_error(), TINE_EAGAIN);
            refused++;
        } else {
            taken++;
        }
        tine_release(f);
    }
    cr_assert_gt(taken, 9);
    cr_assert_gt(refused, 0);
    cluster_stop();
}

static long available_kib(void) {
    long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

static void large(const char *endpoint) {
    PLAIN_BUILD_ONLY();
    const int64_t n = (3LL << 30) + 12345;
    if (available_kib() < 16L << 20) cr_skip_test("SKIP: less than 16 GiB of memory are free");
    cluster_start(endpoint, 1);
    uint8_t *data;
    tine_value *x = tine_tensor_new(TINE_U8, 1, &n, (void **)&data);
    cr_assert(x, "%s", tine_error_message());
    memset(data, 0, (size_t)n);
    for (int64_t i = 0; i < n; i += 4093) data[i] = (uint8_t)(i * 2654435761U >> 24);
    data[n - 1] = 99;
    tine_value *back = cluster_take(tine_fork("limits_flip_ends", x));
    cr_assert_eq(tine_elements(back), n);
    cr_assert_eq(memcmp(tine_data(back), data, (size_t)n), 0);
    tine_release(back);
    tine_release(x);
    cluster_stop();
}
Test(limits, three_gib_over_ipc, .timeout = 180) { large(NULL); }
Test(limits, three_gib_over_tcp, .timeout = 180) { large("tcp://127.0.0.1:0"); }
