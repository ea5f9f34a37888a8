#include "tests/support/marks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MARKS_MAX = 8 };

static char directory[] = "/tmp/tine-marks-XXXXXX";
static char paths[MARKS_MAX][64];
static size_t n_paths;
static int changes; /* of the directory: inotify */

void marks_start(void) {
    cr_assert_not_null(mkdtemp(directory));
    changes = inotify_init1(IN_CLOEXEC);
    cr_assert_geq(inotify_add_watch(changes, directory, IN_CREATE | IN_MODIFY), 0);
}

void marks_end(void) {
    close(changes);
    while (n_paths > 0) unlink(paths[--n_paths]);
    cr_assert_eq(rmdir(directory), 0);
}

const char *marks_path(const char *name) {
    for (size_t i = 0; i < n_paths; i++)
        if (strcmp(strrchr(paths[i], '/') + 1, name) == 0) return paths[i];
    cr_assert_lt(n_paths, MARKS_MAX);
    snprintf(paths[n_paths], sizeof paths[n_paths], "%s/%s", directory, name);
    return paths[n_paths++];
}

size_t marks_add(const char *path, const char *text) {
    FILE *f = fopen(path, "a");
    if (!f) return 0;
    fputs(text, f);
    size_t size = (size_t)ftell(f);
    fclose(f);
    return size;
}

size_t marks_size(const char *name) {
    struct stat st;
    return stat(marks_path(name), &st) == 0 ? (size_t)st.st_size : 0;
}

void marks_await(const char *name, size_t size) {
    char events[4096];
    while (marks_size(name) < size) cr_assert_gt(read(changes, events, sizeof events), 0);
}
