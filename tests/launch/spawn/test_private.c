/* The private directory of a local endpoint, and the lifeline that a local worker holds. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/spawn/lifeline.h"
#include "launch/spawn/private.h"

TestSuite(spawn_private, .timeout = 30);

static char *fresh_base(char *base) {
    cr_assert_not_null(mkdtemp(base));
    setenv("XDG_RUNTIME_DIR", base, 1);
    return base;
}

static int entries(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static void endpoint_make(const char *in) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.80s/socket", in);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

Test(spawn_private, the_endpoint_is_private_and_removed) {
    char base[] = "/tmp/tine-base-XXXXXX";
    fresh_base(base);
    tine_private a, b, none = {0};
    cr_assert_eq(tine_private_open(&a), TINE_OK, "%s", tine_error_message());
    cr_assert_eq(tine_private_open(&b), TINE_OK);
    cr_expect_eq(strncmp(a.url, "ipc:///tmp/tine-base-", 21), 0, "%s", a.url);
    cr_expect_eq(entries(base), 2, "the one that is held is not swept");
    struct stat st;
    cr_expect(stat(a.dir, &st) == 0 && (st.st_mode & 07777) == 0700);
    endpoint_make(a.dir);
    tine_private_close(&a);
    tine_private_close(&b);
    tine_private_close(&b);
    tine_private_close(&none);
    cr_expect_eq(rmdir(base), 0, "nothing is left in it");
}

Test(spawn_private, directories_of_dead_coordinators_are_swept) {
    char base[] = "/tmp/tine-base-XXXXXX";
    fresh_base(base);
    pid_t pid = fork();
    if (pid == 0) {
        tine_private place;
        _exit(tine_private_open(&place) == TINE_OK ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    cr_assert_eq(entries(base), 1, "the dead one left a directory");
    char foreign[64], link[64];
    snprintf(foreign, sizeof foreign, "%s/somebody", base);
    snprintf(link, sizeof link, "%s/tine-%u-1-abcdef", base, (unsigned)geteuid());
    cr_assert_eq(mkdir(foreign, 0700), 0);
    cr_assert_eq(symlink(foreign, link), 0);
    tine_private place;
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    cr_expect_eq(entries(base), 3, "what is not ours, a link with our name, and the new one");
    tine_private_close(&place);
    unlink(link);
    rmdir(foreign);
    cr_expect_eq(rmdir(base), 0);
}

/* ---- what is the user's ---- */

static char *text_at(char *text, size_t room, const char *format, const char *a) {
    snprintf(text, room, format, a, (unsigned)geteuid());
    return text;
}

static void file_make(const char *path) {
    close(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
}

/* A directory with our prefix that somebody else made, with whatever in it, and old. */
static void directory_make(const char *path, const char *file) {
    char inside[128];
    struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(inside, sizeof inside, "%s/%s", path, file);
    file_make(inside);
    cr_assert_eq(utimensat(AT_FDCWD, path, old, 0), 0);
}

static void directory_check(const char *path, const char *file) {
    char inside[128];
    snprintf(inside, sizeof inside, "%s/%s", path, file);
    cr_expect_eq(unlink(inside), 0, "%s was removed", inside);
    cr_expect_eq(rmdir(path), 0, "%s was removed, or something is left in it", path);
}

Test(spawn_private, a_directory_of_the_user_with_our_prefix_is_not_swept) {
    char base[] = "/tmp/tine-base-XXXXXX", notes[64], named[64], empty[64];
    fresh_base(base);
    directory_make(text_at(notes, sizeof notes, "%s/tine-%u-notes", base), "thesis.txt");
    directory_make(text_at(named, sizeof named, "%s/tine-%u-1-abcdef", base), "lock");
    cr_assert_eq(mkdir(text_at(empty, sizeof empty, "%s/tine-%u-empty", base), 0700), 0);
    tine_private place;
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    tine_private_close(&place);
    directory_check(notes, "thesis.txt");
    directory_check(named, "lock");
    cr_expect_eq(rmdir(empty), 0);
    cr_expect_eq(rmdir(base), 0);
}

/* A copy of a private directory, lock file and all, is the user's. */
Test(spawn_private, a_copy_of_a_directory_is_not_swept) {
    char base[] = "/tmp/tine-base-XXXXXX", copy[64], command[256];
    fresh_base(base);
    tine_private place;
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    text_at(copy, sizeof copy, "%s/tine-%u-copy", base);
    snprintf(command, sizeof command, "cp -a %s %s", place.dir, copy);
    cr_assert_eq(system(command), 0);
    tine_private_close(&place);
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    tine_private_close(&place);
    directory_check(copy, "lock");
    cr_expect_eq(rmdir(base), 0);
}

Test(spawn_private, a_file_that_was_put_into_a_directory_stays) {
    char base[] = "/tmp/tine-base-XXXXXX", file[128];
    fresh_base(base);
    tine_private place, before;
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    before = place;
    snprintf(file, sizeof file, "%s/core", place.dir);
    file_make(file);
    tine_private_close(&place);
    cr_expect_eq(unlink(file), 0);
    cr_expect_eq(rmdir(before.dir), 0, "nothing else is in it");
    cr_expect_eq(rmdir(base), 0);
}

/* A worker removes the directory of its dead coordinator's endpoint; a named endpoint may lie in
 * any directory. */
Test(spawn_private, the_directory_of_a_named_endpoint_is_not_removed) {
    char base[] = "/tmp/tine-base-XXXXXX", dir[64], url[96];
    fresh_base(base);
    text_at(dir, sizeof dir, "%s/tine-%u-notes", base);
    directory_make(dir, "thesis.txt");
    endpoint_make(dir);
    snprintf(url, sizeof url, "ipc://%s/socket", dir);
    tine_private_remove_of(url);
    snprintf(url, sizeof url, "%s/socket", dir);
    cr_expect_eq(unlink(url), 0);
    directory_check(dir, "thesis.txt");
    tine_private place;
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    tine_private_remove_of(place.url);
    cr_expect_eq(entries(base), 0, "a private one is removed");
    tine_private_close(&place);
    cr_expect_eq(rmdir(base), 0);
}

Test(spawn_private, a_runtime_directory_that_others_may_read_is_not_used) {
    char base[] = "/tmp/tine-base-XXXXXX";
    fresh_base(base);
    cr_assert_eq(chmod(base, 0755), 0);
    tine_private place;
    cr_assert_eq(tine_private_open(&place), TINE_OK);
    cr_expect_neq(strncmp(place.dir, base, strlen(base)), 0);
    tine_private_close(&place);
    rmdir(base);
}

/* ---- the lifeline ---- */

Test(spawn_private, a_remote_worker_has_no_lifeline) {
    int words = 7;
    unsetenv("TINE_LIFELINE");
    setenv("TINE_WORKER", "tcp://host:1", 1);
    signal(SIGINT, SIG_DFL);
    tine_run_log *log;
    cr_expect_eq(tine_lifeline_start("tcp://host:1", &words, &log), TINE_OK);
    cr_expect_eq(words, -1);
    cr_expect_null(log);
    cr_expect_null(getenv("TINE_WORKER"));
    struct sigaction interrupt;
    cr_assert_eq(sigaction(SIGINT, NULL, &interrupt), 0);
    cr_expect_eq(interrupt.sa_handler, SIG_DFL, "Ctrl-C ends it");
}

Test(spawn_private, an_invalid_lifeline_is_refused) {
    const char *wrong[] = {"",     "3",      "x",       "3:x",   "3:1x", "3:1",
                           "3:1:", "3:1:4x", "999:1:4", "0:1:4", "3:0:4"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int words;
        tine_run_log *log;
        setenv("TINE_LIFELINE", wrong[i], 1);
        cr_expect_eq(tine_lifeline_start("ipc:///x", &words, &log), TINE_EINVAL, "%s", wrong[i]);
    }
    cr_expect_not_null(strstr(tine_error_message(), "TINE_LIFELINE=3:0:4"));
}
