/* The socket file of an ipc:// endpoint: what the user has at a path is not replaced, and what was
 * made there is removed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/zmq/internal.h"

TestSuite(zmq_path, .timeout = 20);

static char dir[64];

static void directory_enter(void) {
    snprintf(dir, sizeof dir, "/tmp/tine-zmq-path-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chdir(dir), 0);
}

static void directory_leave(void) { cr_expect_eq(rmdir(dir), 0, "something is left in %s", dir); }

static const tine_transport_ops *ops(void) {
    char why[200] = "";
    return tine_transport_for("ipc://", why, sizeof why);
}

static int path_listen(const char *name, tine_transport **t, char why[300]) {
    char url[128];
    snprintf(url, sizeof url, "ipc://%s/%s", dir, name);
    return ops()->listen(t, url, &(tine_transport_config){0}, why, 300);
}

static bool is_socket(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int socket_bind(const char *path, int type) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

Test(zmq_path, what_is_no_socket_is_refused_and_stays) {
    char why[300], text[16] = "";
    tine_transport *t;
    directory_enter();
    int fd = open("notes.txt", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    cr_assert_eq(write(fd, "notes", 5), 5);
    cr_assert_eq(symlink("notes.txt", "link"), 0);
    cr_assert_eq(symlink("nothing", "dangling"), 0);
    cr_assert_eq(mkdir("directory", 0700), 0);
    const char *const names[] = {"notes.txt", "link", "dangling", "directory"};
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(path_listen(names[i], &t, why), -EIO, "%s", names[i]);
        cr_expect_not_null(strstr(why, "it is not a socket"), "%s", why);
    }
    cr_expect_eq(pread(fd, text, 15, 0), 5);
    struct stat st;
    cr_expect(fstat(fd, &st) == 0 && st.st_nlink == 1, "notes.txt is still there");
    close(fd);
    cr_expect(lstat("link", &st) == 0 && S_ISLNK(st.st_mode));
    cr_expect_eq(unlink("notes.txt") | unlink("link") | unlink("dangling") | rmdir("directory"), 0);
    directory_leave();
}

/* What a listener leaves that is killed. */
static void listener_dies(const char *name) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        char why[300];
        tine_transport *t;
        _exit(path_listen(name, &t, why) != 0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
}

Test(zmq_path, a_socket_of_a_listener_that_was_killed_is_replaced) {
    char why[300];
    tine_transport *t;
    directory_enter();
    listener_dies("s");
    cr_assert(is_socket("s"));
    cr_assert_eq(path_listen("s", &t, why), 0, "%s", why);
    ops()->fini(t);
    directory_leave();
}

/* Its program may be about to listen, or to remove it. */
Test(zmq_path, a_socket_that_tine_has_not_made_stays) {
    char why[300];
    tine_transport *t;
    directory_enter();
    int stream = socket_bind("s", SOCK_STREAM), datagram = socket_bind("d", SOCK_DGRAM);
    cr_assert_eq(listen(stream, 1), 0);
    cr_expect_eq(path_listen("s", &t, why), -EIO);
    cr_expect_not_null(strstr(why, "in use"), "%s", why);
    cr_expect_eq(path_listen("d", &t, why), -EIO, "of another type");
    cr_expect(is_socket("s") && is_socket("d"));
    close(stream);
    close(datagram);
    cr_expect_eq(path_listen("s", &t, why), -EIO);
    cr_expect_not_null(strstr(why, "remove it if no program needs it"), "%s", why);
    cr_expect(is_socket("s"));
    cr_expect_eq(unlink("s") | unlink("d"), 0);
    directory_leave();
}

Test(zmq_path, the_socket_is_removed_at_the_end) {
    char why[300];
    tine_transport *t;
    directory_enter();
    cr_assert_eq(path_listen("s", &t, why), 0, "%s", why);
    cr_expect(is_socket("s"));
    ops()->stop(t);
    ops()->fini(t);
    directory_leave();
}

Test(zmq_path, what_took_its_place_is_not_removed) {
    char why[300];
    tine_transport *t;
    directory_enter();
    cr_assert_eq(path_listen("s", &t, why), 0, "%s", why);
    cr_assert_eq(rename("s", "moved"), 0);
    close(open("s", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ops()->fini(t);
    cr_expect_eq(unlink("s"), 0, "the user's file was removed");
    cr_expect_eq(unlink("moved"), 0);
    directory_leave();
}

/* Whether a process of the user `uid` is let in. */
static bool is_admitted(tine_transport *t, uid_t uid) {
    const tine_zmq *z = (const tine_zmq *)t;
    pid_t pid = fork();
    if (pid == 0) {
        char greeting;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool joined = setresuid(uid, uid, uid) == 0 &&
                      connect(fd, (const struct sockaddr *)&z->local, z->local_size) == 0;
        _exit(!joined ? 2 : read(fd, &greeting, 1) == 1);
    }
    int status, end = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = end, .events = POLLIN};
    for (tine_event ev; poll(&p, 1, 0) == 0; ops()->wait(t, 1000000))
        cr_assert_eq(ops()->recv(t, &ev), 0);
    close(end);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2, "status %x", status);
    return WEXITSTATUS(status) == 1;
}

Test(zmq_path, an_abstract_socket_is_for_this_user_and_root, .timeout = 30) {
    char why[300], url[64];
    tine_transport *t;
    if (geteuid() != 0) cr_skip_test("needs root, to be another user");
    snprintf(url, sizeof url, "ipc://@tine-test-%d-%lld", getpid(), (long long)tine_clock_ns());
    cr_assert_eq(ops()->listen(&t, url, NULL, why, sizeof why), 0, "%s", why);
    cr_expect(is_admitted(t, 0));
    cr_expect_not(is_admitted(t, 65534));
    cr_expect(is_admitted(t, 0));
    ops()->fini(t);
}

/* How many connections wait in the queue of a listening socket; they are ended. */
static int queue_empty(int fd) {
    int n = 0, one;
    for (; (one = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0; n++) close(one);
    return n;
}

/* An attempt that gave way to another would leave a dead connection there. */
Test(zmq_path, a_connector_waits_in_the_queue_with_one_attempt) {
    char why[300], url[128];
    tine_transport *t;
    tine_event ev = {0};
    directory_enter();
    int fd = socket_bind("s", SOCK_STREAM | SOCK_NONBLOCK);
    cr_assert_eq(listen(fd, 8), 0);
    snprintf(url, sizeof url, "ipc://%s/s", dir);
    const tine_transport_config config = {.connect_ns = 4000000000}; /* longer than one over tcp */
    cr_assert_eq(ops()->connect(&t, url, &config, why, sizeof why), 0, "%s", why);
    while (ops()->recv(t, &ev) == 0 && ev.kind == TINE_EVENT_NONE) ops()->wait(t, -1);
    cr_expect_eq(ev.kind, TINE_EVENT_LOST);
    cr_expect_not_null(strstr(ev.reason, "no answer"), "%s", ev.reason);
    ops()->fini(t);
    cr_expect_eq(queue_empty(fd), 1);
    close(fd);
    cr_expect_eq(unlink("s"), 0);
    directory_leave();
}
