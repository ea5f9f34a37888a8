/* See progress.h. */
#include "tests/support/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/tine.h"

enum { LARGE = 40 << 20, ROUNDS = 20, WARM_UPS = 60 };

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
    if (tine_elements(tine_arg(task, 1)) != LARGE) return tine_fail(task, "x has another size");
    return opened(tine_arg_string(task, 0), O_WRONLY);
}

TINE_FUNCTION(progress_make, "n") { return tine_ones(TINE_U8, 1, (int64_t[]){tine_arg_int(task, 0)}); }

/* Forks with a large argument and computes on: what it forked runs on the other worker meanwhile. */
TINE_FUNCTION(progress_parent, "path") {
    const char *path = tine_arg_string(task, 0);
    tine_value *x = tine_ones(TINE_U8, 1, (int64_t[]){LARGE}), *wrote;
    tine_future *f = tine_fork("progress_write", path, x);
    tine_value *read = opened(path, O_RDONLY);
    if (tine_wait(f, &wrote)) return NULL;
    return tine_bool(tine_as_bool(read) && tine_as_bool(wrote));
}

const char *progress_of_an_argument(void) {
    scene s;
    tine_value *v = NULL;
    if (!scene_open(&s)) return "no FIFO";
    tine_future *f = tine_fork("progress_parent", s.fifo);
    bool right = tine_wait(f, &v) == TINE_OK && tine_as_bool(v);
    tine_release(v);
    tine_release(f);
    scene_close(&s);
    return right ? NULL : "the parent or its child failed";
}

static bool run(tine_future *f) {
    tine_error e = tine_wait(f, NULL);
    tine_release(f);
    return e == TINE_OK;
}

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
    tine_future *made = tine_fork("progress_make", LARGE), *read = tine_fork("progress_read", s->fifo);
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

const char *progress_of_a_result(void) {
    scene s;
    bool met = false;
    const char *wrong = NULL;
    if (!scene_open(&s)) return "no FIFO";
    for (int i = 0; i < ROUNDS && !met && !wrong; i++) wrong = round_of_results(&s, &met);
    scene_close(&s);
    if (wrong) return wrong;
    return met ? NULL : "the worker was never in its next task when a result came: nothing was shown";
}
