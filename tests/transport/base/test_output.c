/* Where a trace is written: what the user has at that path stays what it is. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/tine.h"
#include "runtime/trace/trace.h"

TestSuite(output, .timeout = 20);

static char dir[64];

static void directory_enter(void) {
    snprintf(dir, sizeof dir, "/tmp/tine-trace-file-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chdir(dir), 0);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void directory_leave(void) {
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(nftw(dir, entry_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static int entries(void) {
    int n = 0;
    DIR *d = opendir(".");
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static void file_make(const char *path, const char *text) {
    FILE *f = fopen(path, "we");
    cr_assert_not_null(f);
    fputs(text, f);
    cr_assert_eq(fclose(f), 0);
}

static void text_of(const char *path, char *text, size_t room) {
    FILE *f = fopen(path, "re");
    cr_assert_not_null(f, "%s", path);
    text[fread(text, 1, room - 1, f)] = 0;
    fclose(f);
}

static void check_trace(const char *path) {
    char text[4096];
    text_of(path, text, sizeof text);
    cr_expect_eq(strncmp(text, "{\"displayTimeUnit\"", 18), 0, "%s: %.40s", path, text);
    cr_expect_eq(strcmp(text + strlen(text) - 3, "]}\n"), 0, "%s ends otherwise", path);
}

static tine_error trace_write(const char *path) { return tine_trace_export(path, NULL, 0, 0); }

Test(output, a_file_is_replaced_and_keeps_its_permissions) {
    struct stat st, before;
    directory_enter();
    file_make("t.json", "an older trace");
    cr_assert_eq(chmod("t.json", 0640), 0);
    cr_assert_eq(stat("t.json", &before), 0);
    cr_expect_eq(trace_write("t.json"), TINE_OK, "%s", tine_error_message());
    cr_assert_eq(stat("t.json", &st), 0);
    cr_expect(st.st_ino != before.st_ino && (st.st_mode & 07777) == 0640);
    check_trace("t.json");
    cr_expect_eq(entries(), 1, "no temporary file is left");
    directory_leave();
}

Test(output, a_new_file_follows_the_umask) {
    struct stat st;
    directory_enter();
    umask(027);
    cr_expect_eq(trace_write("t.json"), TINE_OK);
    cr_assert_eq(stat("t.json", &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0640);
    directory_leave();
}

Test(output, a_symbolic_link_is_written_through) {
    struct stat st;
    directory_enter();
    file_make("real.json",
              "an older trace that is longer than the new one ..........................."
              "......................................................................."
              ".......................................................................");
    cr_assert_eq(symlink("real.json", "link.json"), 0);
    cr_assert_eq(symlink("none.json", "dangling.json"), 0);
    cr_expect_eq(trace_write("link.json"), TINE_OK, "%s", tine_error_message());
    cr_expect_eq(trace_write("dangling.json"), TINE_OK, "%s", tine_error_message());
    cr_expect(lstat("link.json", &st) == 0 && S_ISLNK(st.st_mode));
    cr_expect(lstat("dangling.json", &st) == 0 && S_ISLNK(st.st_mode));
    check_trace("real.json");
    check_trace("none.json");
    directory_leave();
}

Test(output, a_file_with_two_names_keeps_both) {
    directory_enter();
    file_make("a.json", "");
    cr_assert_eq(link("a.json", "b.json"), 0);
    cr_expect_eq(trace_write("a.json"), TINE_OK);
    check_trace("b.json");
    directory_leave();
}

Test(output, a_device_stays_a_device) {
    struct stat st;
    directory_enter();
    if (mknod("null", S_IFCHR | 0666, makedev(1, 3)) != 0) {
        directory_leave();
        cr_skip_test("a device node cannot be made here: %s", strerror(errno));
    }
    int fd = open("null", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        cr_expect_eq(trace_write("null"), TINE_OK, "%s", tine_error_message());
    }
    cr_expect(lstat("null", &st) == 0 && S_ISCHR(st.st_mode));
    cr_expect_eq(entries(), 1);
    directory_leave();
}

Test(output, a_pipe_gets_the_trace) {
    char text[4096] = "";
    struct stat st;
    directory_enter();
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    cr_expect_eq(trace_write("pipe"), TINE_EIO, "there is no reader, and no wait for one");
    int reader = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    cr_expect_eq(trace_write("pipe"), TINE_OK, "%s", tine_error_message());
    cr_assert_gt(read(reader, text, sizeof text - 1), 0);
    close(reader);
    cr_expect_eq(strncmp(text, "{\"displayTimeUnit\"", 18), 0, "%.40s", text);
    cr_expect(lstat("pipe", &st) == 0 && S_ISFIFO(st.st_mode));
    directory_leave();
}

/* A reader that goes away is an error of the call, and no signal for the program. */
Test(output, a_pipe_whose_reader_leaves_is_an_error) {
    enum { MANY = 4096 };
    static char name[1024];
    tine_trace_process processes[MANY];
    directory_enter();
    memset(name, 'x', sizeof name - 1);
    for (size_t i = 0; i < MANY; i++) processes[i] = (tine_trace_process){.name = name};
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    int fd = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    pid_t writer = fork();
    if (writer == 0) {
        close(fd);
        bool failed = tine_trace_export("pipe", processes, MANY, 0) == TINE_EIO;
        _exit(failed && strstr(tine_error_message(), "Broken pipe") ? 0 : 1);
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, -1), 1); /* it has begun to write, more than fits */
    close(fd);
    int status;
    cr_assert_eq(waitpid(writer, &status, 0), writer);
    cr_expect_eq(status, 0, "status 0x%x", status);
    directory_leave();
}

Test(output, standard_output_in_a_file_is_not_truncated) {
    char text[4096];
    directory_enter();
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("out", "w", stdout)) _exit(2);
        printf("what the program has printed\n");
        _exit(trace_write("/proc/self/fd/1") == TINE_OK && printf("and more\n") > 0 &&
                      !fflush(stdout)
                  ? 0
                  : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    text_of("out", text, sizeof text);
    cr_expect_eq(strncmp(text, "what the program has printed\n{", 30), 0, "%s", text);
    cr_expect_not_null(strstr(text, "]}\nand more\n"));
    directory_leave();
}

/* A symbolic link at the name that the temporary file had: "PATH.PID.part". */
Test(output, the_temporary_name_cannot_be_taken_in_advance) {
    char name[64], text[64];
    directory_enter();
    file_make("precious", "precious");
    snprintf(name, sizeof name, "t.json.%d.part", (int)getpid());
    cr_assert_eq(symlink("precious", name), 0);
    cr_expect_eq(trace_write("t.json"), TINE_OK);
    check_trace("t.json");
    text_of("precious", text, sizeof text);
    cr_expect_str_eq(text, "precious");
    directory_leave();
}
