/* The private directory of a local endpoint, and the lifeline that a local worker holds. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
    char socket[160];
    snprintf(socket, sizeof socket, "%s/socket", a.dir);
    close(open(socket, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
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
    tine_run_log *log;
    cr_expect_eq(tine_lifeline_start("tcp://host:1", &words, &log), TINE_OK);
    cr_expect_eq(words, -1);
    cr_expect_null(log);
    cr_expect_null(getenv("TINE_WORKER"));
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
