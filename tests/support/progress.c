/* See progress.h. */
#include "tests/support/progress.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/tine.h"

enum { LARGE = 40 << 20, ROUNDS = 20, MEETINGS = 100, WARM_UPS = 60, SHORT_ONES = 100 };

typedef struct scene {
    char dir[200], fifo[208];
} scene;

static bool scene_open(scene *s) {
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%s/progress-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(s->dir)) return false;
    snprintf(s->fifo, sizeof s->fifo, "%s/fifo", s->dir);
    return mkfifo(s->fifo, 0600) == 0;
}

static void scene_close(scene *s) {
    unlink(s->fifo);
    rmdir(s->dir);
}

static tine_value *opened(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return tine_bool(fd >= 0);
}

TINE_FUNCTION(progress_read, "path") { return opened(tine_arg_string(task, 0), O_RDONLY); }

TINE_FUNCTION(progress_write, "path, x") {
    (void)tine_arg(task, 1);
    return opened(tine_arg_string(task, 0), O_WRONLY);
}

TINE_FUNCTION(progress_small, "i") { return tine_int(tine_arg_int(task, 0)); }

TINE_FUNCTION(progress_make, "n") {
    return tine_ones(TINE_U8, 1, (int64_t[]){tine_arg_int(task, 0)});
}

/* Forks children with large arguments, then small ones; the last large one opens the FIFO. It
 * computes on: what it forked runs on the other worker meanwhile. */
TINE_FUNCTION(progress_parent, "path, bytes, large, small") {
    const char *path = tine_arg_string(task, 0);
    tine_value *x = tine_ones(TINE_U8, 1, (int64_t[]){tine_arg_int(task, 1)});
    int64_t large = tine_arg_int(task, 2), small = tine_arg_int(task, 3), n = 0;
    tine_future **f = calloc((size_t)(large + small), sizeof *f);
    if (!f) return NULL;
    for (; n < large; n++)
        f[n] = tine_fork("progress_write", n + 1 < large ? "/dev/null" : path, x);
    for (; n < large + small; n++) f[n] = tine_fork("progress_small", n);
    tine_value *read = opened(path, O_RDONLY);
    tine_error e = tine_wait_all(f, (size_t)n, NULL);
    free(f);
    return e ? NULL : tine_ref(read);
}

TINE_FUNCTION(progress_tell, "path") {
    int fd = open(tine_arg_string(task, 0), O_WRONLY | O_CLOEXEC);
    bool told = fd >= 0 && write(fd, "t", 1) == 1;
    if (fd >= 0) close(fd);
    return tine_bool(told);
}

/* Computes until all its forks have run: all but the first few stay here until they are asked
 * for. */
TINE_FUNCTION(progress_crowd, "path, n") {
    char byte;
    int64_t n = tine_arg_int(task, 1), told = 0;
    int fd = open(tine_arg_string(task, 0), O_RDWR | O_CLOEXEC);
    if (fd < 0) return tine_fail(task, "no FIFO");
    for (int64_t i = 0; i < n; i++) tine_fork("progress_tell", tine_arg(task, 0));
    while (told < n && read(fd, &byte, 1) == 1) told++;
    close(fd);
    return tine_bool(told == n);
}

/* A lock that a task holds over its calls of Tine and that a release wants, as an interpreter's. */
static pthread_mutex_t interpreter;
__attribute__((constructor)) static void make_interpreter(void) {
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&interpreter, &recursive);
    pthread_mutexattr_destroy(&recursive);
}

static void release_with_lock(void *ctx) {
    pthread_mutex_lock(&interpreter);
    free(ctx);
    pthread_mutex_unlock(&interpreter);
}

/* When the child opens the FIFO its argument has gone, and is released about now; then Tine is
 * called again. */
TINE_FUNCTION(progress_locked_parent, "path, bytes") {
    int64_t bytes = tine_arg_int(task, 1);
    bool right = true;
    for (int i = 0; i < 4 && right; i++) {
        void *data = aligned_alloc(64, (size_t)bytes);
        if (!data) break;
        memset(data, 1, (size_t)bytes);
        pthread_mutex_lock(&interpreter);
        tine_value *x = tine_tensor_wrap(TINE_U8, 1, &bytes, data, release_with_lock, data);
        tine_future *child = tine_fork("progress_write", tine_arg(task, 0), x);
        tine_release(x);
        tine_value *read = opened(tine_arg_string(task, 0), O_RDONLY);
        tine_future *small = tine_fork("progress_small", i);
        pthread_mutex_unlock(&interpreter);
        right = tine_as_bool(read) && !tine_wait(small, NULL) && !tine_wait(child, NULL);
    }
    return tine_bool(right);
}

static bool run(tine_future *f) {
    tine_error e = tine_wait(f, NULL);
    tine_release(f);
    return e == TINE_OK;
}

static int released[2]; /* a pipe */
static void release_and_tell(void *ctx) {
    free(ctx);
    if (write(released[1], "r", 1) != 1) abort();
}

static bool told(void) {
    struct pollfd p = {.fd = released[0], .events = POLLIN};
    char r;
    return poll(&p, 1, 20000) == 1 && read(released[0], &r, 1) == 1;
}

/* The child has its argument and computes, nothing else is sent, and the program does not call. */
static const char *one_release(const scene *s, int64_t bytes) {
    void *data = aligned_alloc(64, (size_t)bytes);
    if (!data) return "no memory";
    memset(data, 1, (size_t)bytes);
    tine_value *x = tine_tensor_wrap(TINE_U8, 1, &bytes, data, release_and_tell, data);
    tine_future *child = tine_fork("progress_write", s->fifo, x);
    tine_release(x);
    bool came = told();
    bool right = tine_as_bool(opened(s->fifo, O_RDONLY)) && run(child);
    return !right ? "the child failed"
           : came ? NULL
                  : "a tensor was not released when it had been sent";
}

const char *progress_of_a_release(void) {
    static const int64_t sizes[] = {192 << 10, 2 << 20, 5 << 20, 10000000, LARGE};
    const char *wrong = NULL;
    scene s;
    if (pipe(released) || !scene_open(&s)) return "no pipe or FIFO";
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !wrong; i++)
        wrong = one_release(&s, sizes[i]);
    scene_close(&s);
    close(released[0]);
    close(released[1]);
    return wrong;
}

static void tell_and_release_with_lock(void *ctx) {
    if (write(released[1], "r", 1) != 1) abort();
    release_with_lock(ctx);
}

const char *progress_with_a_lock_held_by_the_program(void) {
    scene s;
    int64_t bytes = LARGE;
    void *data = aligned_alloc(64, (size_t)bytes);
    if (!data || pipe(released) || !scene_open(&s)) return "no memory, pipe or FIFO";
    memset(data, 1, (size_t)bytes);
    pthread_mutex_lock(&interpreter);
    tine_value *x = tine_tensor_wrap(TINE_U8, 1, &bytes, data, tell_and_release_with_lock, data);
    tine_future *child = tine_fork("progress_write", s.fifo, x);
    tine_release(x);
    tine_value *read = opened(s.fifo, O_RDONLY);
    bool begun = told();
    tine_future *small = tine_fork("progress_small", 1);
    pthread_mutex_unlock(&interpreter);
    bool right = tine_as_bool(read) && run(small) && run(child);
    scene_close(&s);
    close(released[0]);
    close(released[1]);
    return !right  ? "a child failed"
           : begun ? NULL
                   : "the release did not begin: nothing was shown";
}

static const char *play(tine_future *(*fork)(const char *fifo)) {
    scene s;
    tine_value *v = NULL;
    if (!scene_open(&s)) return "no FIFO";
    tine_future *f = fork(s.fifo);
    bool right = tine_wait(f, &v) == TINE_OK && tine_as_bool(v);
    tine_release(v);
    tine_release(f);
    scene_close(&s);
    return right ? NULL : "the parent or a child failed";
}

static tine_future *one(const char *fifo) {
    return tine_fork("progress_parent", fifo, LARGE, 1, 0);
}
static tine_future *crowd(const char *fifo) { return tine_fork("progress_crowd", fifo, 300); }
static tine_future *overtaken(const char *fifo) {
    return tine_fork("progress_parent", fifo, 4 * LARGE, 1, 1500);
}
static tine_future *more(const char *fifo) {
    return tine_fork("progress_parent", fifo, LARGE, 8, 0);
}
static tine_future *locked(const char *fifo) {
    return tine_fork("progress_locked_parent", fifo, LARGE);
}

const char *progress_of_an_argument(void) { return play(one); }
const char *progress_while_small_results_come(void) { return play(overtaken); }
const char *progress_past_what_a_transport_queues(void) { return play(more); }
const char *progress_of_queued_forks(void) { return play(crowd); }
const char *progress_with_a_lock_held(void) { return play(locked); }

/* Both functions become known as short ones, which a worker is given in advance. */
static bool warm_up(void) {
    for (int i = 0; i < WARM_UPS; i++)
        if (!run(tine_fork("progress_make", 1)) || !run(tine_fork("progress_read", "/dev/null")))
            return false;
    return true;
}

/* The worker's next task was inside open() when the result had come. */
static const char *round_of_results(const scene *s, bool *met) {
    tine_value *v = NULL;
    if (!warm_up()) return "a short task failed";
    tine_future *made = tine_fork("progress_make", LARGE),
                *read = tine_fork("progress_read", s->fifo);
    if (tine_wait(made, &v) || tine_elements(v) != LARGE) return "the large result is not right";
    int fd = open(s->fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    *met = fd >= 0;
    if (!*met) fd = open(s->fifo, O_WRONLY | O_CLOEXEC);
    bool right = fd >= 0 && run(read);
    if (fd >= 0) close(fd);
    tine_release(v);
    tine_release(made);
    return right ? NULL : "the task that read failed";
}

/* Calls of one function: short ones, whose results may leave together, and one that computes. */
static const char *round_of_short_results(const scene *s) {
    tine_future *f[SHORT_ONES + 1];
    for (int i = 0; i < SHORT_ONES; i++) f[i] = tine_fork("progress_read", "/nowhere");
    f[SHORT_ONES] = tine_fork("progress_read", s->fifo);
    if (tine_wait_all(f, SHORT_ONES, NULL)) return "a short task failed";
    int fd = open(s->fifo, O_WRONLY | O_CLOEXEC);
    bool right = fd >= 0 && tine_wait(f[SHORT_ONES], NULL) == TINE_OK;
    if (fd >= 0) close(fd);
    for (int i = 0; i <= SHORT_ONES; i++) tine_release(f[i]);
    return right ? NULL : "the task that read failed";
}

const char *progress_of_short_results(void) {
    scene s;
    const char *wrong = NULL;
    if (!scene_open(&s)) return "no FIFO";
    for (int i = 0; i < ROUNDS && !wrong; i++) wrong = round_of_short_results(&s);
    scene_close(&s);
    return wrong;
}

const char *progress_of_a_result(void) {
    scene s;
    bool met = false;
    const char *wrong = NULL;
    if (!scene_open(&s)) return "no FIFO";
    for (int i = 0; i < MEETINGS && !met && !wrong; i++) wrong = round_of_results(&s, &met);
    scene_close(&s);
    if (wrong) return wrong;
    return met ? NULL
               : "the worker was never in its next task when a result came: nothing was shown";
}
