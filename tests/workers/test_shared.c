/* Shared memory between the processes of one host as programs see it: what is in use, what it
 * costs, and that a program runs the same without it. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/program.h"

enum { WORKERS = 2, SETTLES = 64 << 10, MI = 1 << 20, LARGE = 32 * MI };

/* Bytes that this process's arena has in use. */
static int64_t arena_bytes(void) {
    char path[300], target[64];
    struct stat st;
    int64_t sum = 0;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        if (!strncmp(target, "/memfd:tine-tensors", 19) && !stat(path, &st))
            sum += (int64_t)st.st_blocks * 512;
    }
    if (d) closedir(d);
    return sum;
}

/* "r--s tine-tensors": how this address is mapped here, and of what. */
static const char *mapping_of(const void *at, char *text, size_t size) {
    char line[512], perms[5], name[256];
    uintptr_t from, to, address = (uintptr_t)at;
    FILE *f = fopen("/proc/self/maps", "re");
    snprintf(text, size, "nothing");
    while (f && fgets(line, sizeof line, f)) {
        name[0] = 0;
        int n = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %255s", &from, &to, perms,
                       name);
        if (n >= 3 && from <= address && address < to)
            snprintf(text, size, "%s %s", perms,
                     strncmp(name, "/memfd:", 7) ? "own memory" : name + 7);
    }
    if (f) fclose(f);
    return text;
}

TINE_FUNCTION(shared_mapping, "x") {
    char text[300];
    return tine_string(mapping_of(tine_data(tine_arg(task, 0)), text, sizeof text));
}
TINE_FUNCTION(shared_bytes, "") {
    (void)task;
    return tine_int(arena_bytes());
}
TINE_FUNCTION(shared_make, "n") {
    void *data;
    int64_t n = tine_arg_int(task, 0);
    tine_value *x = tine_tensor_new(TINE_U8, 1, &n, &data);
    if (x) memset(data, 7, (size_t)n);
    return x;
}

static tine_worker_status workers[WORKERS];
static const size_t NONE = SIZE_MAX; /* of an arena */
static const char SHARED[] = "r--s tine-tensors", COPIED[] = "rw-p own memory";

static tine_future *on(int i, const char *name, const tine_value *x) {
    tine_fork_options o = {.worker = workers[i].id};
    return x ? tine_fork_with(&o, name, x) : tine_fork_with(&o, name);
}

/* Processes that have just met agree on what they share while tasks are sent already, which are
 * copied then. */
static void await_mapping(int i, const tine_value *x, const char *want) {
    for (bool is = false; !is;) {
        tine_value *v = cluster_take(on(i, "shared_mapping", x));
        is = !strcmp(tine_as_string(v), want);
        tine_release(v);
    }
}

static void begin(const char *endpoint, const char *lane, size_t arena) {
    tine_options o = {.endpoint = endpoint,
                      .workers = WORKERS,
                      .log_level = "error",
                      .lane = lane,
                      .arena = arena};
    cluster_start_with(&o);
    cr_assert_eq(tine_workers(workers, WORKERS), WORKERS);
    tine_value *x = tine_ones(TINE_U8, 1, (int64_t[]){SETTLES});
    for (int i = 0; i < WORKERS; i++) await_mapping(i, x, lane || arena == NONE ? COPIED : SHARED);
    tine_release(x);
}

/* In the memory of the program, where the workers cannot write. */
TRANSPORT_TEST_REMOTE(shared, a_put_value_exists_once_for_all_workers, 60) {
    begin(endpoint, NULL, 0);
    void *data;
    tine_value *x = tine_tensor_new(TINE_U8, 1, (int64_t[]){LARGE}, &data);
    cr_assert_not_null(x);
    memset(data, 7, LARGE);
    tine_value *put = tine_put(x);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < WORKERS; i++) await_mapping(i, put, SHARED);
    cr_expect(arena_bytes() >= LARGE && arena_bytes() < LARGE + MI, "%" PRId64, arena_bytes());
    for (int i = 0; i < WORKERS; i++)
        cr_expect_lt(cluster_take_int(on(i, "shared_bytes", NULL)), MI);
    tine_release(put);
    tine_release(x);
    cluster_stop();
}

/* It lies in the program's heap: one copy serves all. */
TRANSPORT_TEST_REMOTE(shared, memory_of_the_program_is_copied_once_for_all_workers, 60) {
    begin(endpoint, NULL, 0);
    uint8_t *own = malloc(LARGE);
    memset(own, 7, LARGE);
    tine_value *x = tine_tensor(TINE_U8, 1, (int64_t[]){LARGE}, own), *put = tine_put(x);
    free(own);
    for (int i = 0; i < WORKERS; i++) await_mapping(i, put, SHARED);
    cr_expect(arena_bytes() >= LARGE && arena_bytes() < LARGE + MI, "%" PRId64, arena_bytes());
    tine_release(put);
    tine_release(x);
    cluster_stop();
}

static bool is_mapped(const tine_value *x, const char *want) {
    char text[300];
    return !strcmp(mapping_of(tine_data(x), text, sizeof text), want);
}

/* Of worker 0, whose first results may be copied as well. */
static tine_value *result_of(const char *name, const char *want) {
    for (;;) {
        tine_value *v =
            cluster_take(tine_fork_with(TINE_FORK_OPTIONS(.worker = workers[0].id), name, 4 * MI));
        if (is_mapped(v, want)) return v;
        tine_release(v);
    }
}

/* And a worker reads it in the memory of another one. */
TRANSPORT_TEST_REMOTE(shared, results_are_read_where_they_were_made, 60) {
    static const char *const names[] = {"shared_make", "zeros"};
    begin(endpoint, NULL, 0);
    for (int k = 0; k < 2; k++) {
        tine_value *v = result_of(names[k], SHARED);
        await_mapping(0, v, "rw-s tine-tensors");
        await_mapping(1, v, SHARED);
        tine_release(v);
    }
    cluster_stop();
}

static bool is_filled(const tine_value *x, int64_t n) {
    const uint8_t *data = tine_data(x);
    for (int64_t i = 0; i < n; i++)
        if (data[i] != 7) return false;
    return tine_elements(x) == n;
}

/* The program keeps four times as much as its workers may share: they copy what does not fit. */
TRANSPORT_TEST_REMOTE(shared, past_the_bound_tensors_are_copied_and_no_task_fails, 60) {
    enum { BOUND = 8 * MI, EACH = 2 * MI, N = 32 };
    tine_value *v[N];
    unsigned shared = 0;
    begin(endpoint, NULL, BOUND);
    for (int i = 0; i < N; i++) v[i] = cluster_take(tine_fork("shared_make", EACH));
    for (int i = 0; i < N; i++) {
        cr_expect(is_filled(v[i], EACH), "tensor %d", i);
        shared += is_mapped(v[i], SHARED);
    }
    cr_expect(shared > 0 && shared < N, "%u of %d", shared, N);
    for (int i = 0; i < WORKERS; i++)
        cr_expect_leq(cluster_take_int(on(i, "shared_bytes", NULL)), BOUND);
    for (int i = 0; i < N; i++) tine_release(v[i]);
    cluster_stop();
}

/* ---- what is in use ---- */

static char *trace_text(void) {
    char path[] = "/tmp/tine-test-trace-XXXXXX", *text = NULL;
    size_t size = 0;
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    cr_assert_eq(tine_trace_write(path), TINE_OK, "%s", tine_error_message());
    FILE *f = fopen(path, "re");
    cr_assert(f && getdelim(&text, &size, 0, f) > 0);
    fclose(f);
    unlink(path);
    return text;
}

static void expect_traced(const char *endpoint, const char *lane, size_t arena, const char *with,
                          const char *without) {
    begin(endpoint, lane, arena);
    cr_assert_eq(tine_trace_start(), TINE_OK);
    char *text = trace_text();
    while (with && !strstr(text, with)) { /* they agree on it while tasks are sent */
        free(text);
        text = trace_text();
    }
    cr_expect_not(strstr(text, without), "\"%s\"", without);
    free(text);
    cluster_stop();
}

TRANSPORT_TEST_REMOTE(shared, a_trace_says_that_tensors_are_shared, 60) {
    expect_traced(endpoint, NULL, 0, ", shared memory and tensors)", ", shared memory)");
}
TRANSPORT_TEST_REMOTE(shared, a_trace_says_that_messages_alone_are_shared, 60) {
    expect_traced(endpoint, NULL, NONE, ", shared memory)", "and tensors");
}
TRANSPORT_TEST_REMOTE(shared, a_trace_says_nothing_of_what_is_turned_off, 60) {
    expect_traced(endpoint, "off", 0, NULL, "shared memory");
}

/* What follows the label, in text like "3 processes that share tensors: 32.0 MiB". */
static double info_number(const char *info, const char *label, const char *behind) {
    const char *at = strstr(info, label);
    at = at && behind ? strstr(at, behind) : at;
    cr_assert(at, "no \"%s\": %s", label, info);
    return atof(at + strlen(behind ? behind : label));
}

/* Those of other tests count, too. */
TRANSPORT_TEST_REMOTE(shared, tine_info_counts_what_is_in_use, 60) {
    begin(endpoint, NULL, 0);
    void *data;
    tine_value *x = tine_tensor_new(TINE_U8, 1, (int64_t[]){LARGE}, &data);
    cr_assert_not_null(x);
    memset(data, 7, LARGE);
    for (int i = 0; i < WORKERS; i++) await_mapping(i, x, SHARED);
    tine_program p = tine_program_run(50, "$B/tine info");
    cr_assert_eq(p.code, 0);
    cr_expect_geq(info_number(p.out, "lanes of ", NULL), 1 + WORKERS, "%s", p.out);
    cr_expect_geq(info_number(p.out, "segments ", NULL), 1 + WORKERS, "%s", p.out);
    cr_expect_geq(info_number(p.out, "segments ", "tensors: "), (double)LARGE / MI, "%s", p.out);
    tine_program_fini(&p);
    tine_release(x);
    cluster_stop();
}

/* ---- without it ---- */

TRANSPORT_TEST_REMOTE(shared, turned_off_everything_is_copied, 60) {
    begin(endpoint, "off", 0);
    tine_value *x = tine_ones(TINE_U8, 1, (int64_t[]){4 * MI}), *put = tine_put(x);
    await_mapping(0, put, COPIED);
    tine_value *v = result_of("shared_make", COPIED);
    cr_expect_eq(arena_bytes(), 0);
    tine_release(v);
    tine_release(put);
    tine_release(x);
    cluster_stop();
}
