/* A worker in another language, written from runtime/wire/WIRE.md and transport/zmq/FRAMING.md
 * alone: it joins, serves what no C worker does, and leaves when told to. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"

typedef struct foreign {
    pid_t pid;
    int out; /* what it prints */
} foreign;

static foreign foreign_start(void) {
    int fd[2];
    cr_assert_eq(pipe(fd), 0);
    const char *endpoint = tine_endpoint(); /* a forked process gets none */
    foreign f = {fork(), fd[0]};
    cr_assert_geq(f.pid, 0);
    if (f.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd[1], STDOUT_FILENO);
        close(fd[0]);
        execl("/usr/bin/python3", "python3", "tests/python/worker.py", endpoint, (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    char line[32];
    ssize_t n = read(f.out, line, sizeof line); /* it writes its line at once */
    cr_assert(n >= 6 && memcmp(line, "joined", 6) == 0, "it did not join");
    return f;
}

/* Everything it says until it closes its output: it has ended in peace. */
static void foreign_end(foreign *f, const char *last) {
    char text[200];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof text - 1 && (got = read(f->out, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = 0;
    int status;
    cr_assert_eq(waitpid(f->pid, &status, 0), f->pid);
    cr_assert_eq(status, 0, "it ended with %#x and said: %s", status, text);
    cr_assert(strstr(text, last), "it said: %s", text);
    close(f->out);
}

static void serves(const char *url) {
    foreign f;
    tine_value *r;
    cluster_start(url, 1);
    f = foreign_start();
    tine_value *a = tine_tensor(TINE_F32, 1, (int64_t[]){2}, (float[]){1, 2});
    tine_value *b = tine_tensor(TINE_F32, 1, (int64_t[]){3}, (float[]){10, 20, 30});
    r = cluster_take(tine_fork("py.outer", a, tine_kw("b", b)));
    tine_value *wanted =
        tine_tensor(TINE_F32, 2, (int64_t[]){2, 3}, (float[]){10, 20, 30, 20, 40, 60});
    cr_assert(tine_equal(r, wanted));
    tine_release(r);

    /* A chain through both kinds of workers: what Python returns goes on to a C worker, and
     * back. */
    tine_future *there = tine_fork("neg", tine_fork("py.outer", a, b)),
                *sum = tine_fork("sum", there);
    r = cluster_take(sum);
    cr_assert_eq(tine_as_float(r), -180.0);
    tine_release(r);

    tine_value *text = tine_string("grüße"),
               *list = tine_list(1, -2.5, text, tine_none(), (bool)true);
    tine_value *echo = cluster_take(tine_fork("py.echo", list, tine_kw("key", INT64_MIN)));
    cr_assert(tine_equal(tine_at(tine_at(echo, 0), 0), list));
    cr_assert_eq(tine_as_int(tine_get(tine_at(echo, 1), "key")), INT64_MIN);
    tine_release(echo), tine_release(list), tine_release(text);

    /* A body that goes to it as a buffer, beside a tensor, and comes back inline. */
    char letters[20000] = "";
    memset(letters, 'x', sizeof letters - 1);
    echo = cluster_take(tine_fork("py.echo", letters, a));
    cr_assert_str_eq(tine_as_string(tine_at(tine_at(echo, 0), 0)), letters);
    cr_assert(tine_equal(tine_at(tine_at(echo, 0), 1), a));
    tine_release(echo);
    tine_release(wanted), tine_release(b), tine_release(a);
    cr_assert_eq(tine_shutdown(), 0);
    foreign_end(&f, "stopped");
}

Test(foreign, a_python_worker_serves_over_ipc, .timeout = 60) { serves("ipc://*"); }
Test(foreign, a_python_worker_serves_over_tcp, .timeout = 60) { serves("tcp://127.0.0.1:*"); }

Test(foreign, large_tensors_go_in_pieces_both_ways, .timeout = 60) {
    cluster_start("ipc://*", 1);
    foreign f = foreign_start();
    /* 48 MB: more than a window */
    tine_value *big = tine_ones(TINE_F32, 2, (int64_t[]){4000, 3000});
    tine_value *echo = cluster_take(tine_fork("py.echo", big));
    cr_assert(tine_equal(tine_at(tine_at(echo, 0), 0), big));
    tine_release(echo), tine_release(big);
    cr_assert_eq(tine_shutdown(), 0);
    foreign_end(&f, "stopped");
}

Test(foreign, its_errors_reach_the_caller, .timeout = 60) {
    cluster_start("ipc://*", 1);
    foreign f = foreign_start();
    tine_future *failed = tine_fork("py.fail", "the reason");
    cr_assert_eq(tine_wait(failed, NULL), TINE_EFAILED);
    cr_assert(strstr(tine_error_message(), "the reason") && strstr(tine_error_message(), "py.fail"),
              "%s", tine_error_message());
    tine_release(failed);
    failed = tine_fork("py.outer", 1, 2);
    cr_assert_eq(tine_wait(failed, NULL), TINE_EINVAL);
    tine_release(failed);
    cr_assert_eq(tine_shutdown(), 0);
    foreign_end(&f, "stopped");
}

/* It is told while it waits, and one behind it does not start. */
TRANSPORT_TEST_REMOTE(foreign, its_tasks_are_cancelled, 60) {
    cluster_start(endpoint ? endpoint : "ipc://*", 1);
    foreign f = foreign_start();
    tine_future *waits = tine_fork("py.wait", "/nonexistent"), *queued = tine_fork("py.wait", "/");
    cr_assert_eq(tine_cancel(queued, 0), TINE_OK);
    cr_assert_eq(tine_wait(queued, NULL), TINE_ECANCELED);
    cr_assert_eq(tine_wait_for(waits, 0.1, NULL), TINE_ETIMEDOUT);
    cr_assert_eq(tine_cancel(waits, 0), TINE_OK);
    cr_assert_eq(tine_wait(waits, NULL), TINE_ECANCELED);
    tine_value *v = cluster_take(tine_fork("py.echo", 1)); /* it is free again */
    tine_release(v);
    tine_release(waits), tine_release(queued);
    cr_assert_eq(tine_shutdown(), 0);
    foreign_end(&f, "stopped");
}

static int64_t echoed(const tine_value *v) { return tine_as_int(tine_at(tine_at(v, 0), 0)); }

/* What is queued behind a task that waits goes to another one, and the task ends. */
Test(foreign, it_leaves, .timeout = 60) {
    char gate[] = "/tmp/tine-foreign-XXXXXX", line[64] = "";
    tine_worker_status status;
    int fd = mkstemp(gate);
    cr_assert_geq(fd, 0);
    unlink(gate);
    close(fd);
    cluster_start_with(&(tine_options){.workers = -1});
    foreign first = foreign_start();
    for (int i = 0; i < 20; i++) { /* they are taken to be short, and queued at the worker */
        tine_release(cluster_take(tine_fork("py.echo", i)));
        tine_release(cluster_take(tine_fork("py.wait", "/")));
    }
    tine_future *waits = tine_fork("py.wait", gate), *f[10];
    cr_assert_eq(tine_wait_for(waits, 0.1, NULL), TINE_ETIMEDOUT);
    for (int i = 0; i < 10; i++) f[i] = tine_fork("py.echo", i);
    cr_assert_eq(tine_workers(&status, 1), 1);
    cr_assert_gt(status.running, 1, "nothing is queued there");
    kill(first.pid, SIGTERM);
    for (size_t n = 0; !strstr(line, "leaves");) { /* behind what is left of its first line */
        ssize_t got = read(first.out, line + n, sizeof line - 1 - n);
        cr_assert_gt(got, 0, "it said: %s", line);
        n += (size_t)got;
    }
    foreign second = foreign_start();
    for (int i = 0; i < 10; i++) {
        tine_value *v = cluster_take(f[i]);
        cr_assert_eq(echoed(v), i);
        tine_release(v);
    }
    cr_assert(!tine_done(waits));
    close(creat(gate, 0600));
    tine_workers(&status, 1); /* asks it for its memory, after which it looks for the file */
    tine_release(cluster_take(waits));
    foreign_end(&first, "stopped");
    unlink(gate);
    cr_assert_eq(tine_shutdown(), 0);
    foreign_end(&second, "stopped");
}

TRANSPORT_TEST_REMOTE(foreign, it_yields_values, 60) {
    cluster_start(endpoint ? endpoint : "ipc://*", 1);
    foreign f = foreign_start();
    tine_future *stream = tine_fork_with(TINE_FORK_OPTIONS(.stream = 3), "py.count", 20);
    tine_value *v;
    for (int64_t i = 1; i <= 20; i++) {
        cr_assert_eq(tine_next(stream, &v), TINE_OK, "%s", tine_error_message());
        cr_assert_eq(tine_as_int(v), i);
        tine_release(v);
    }
    cr_assert_eq(tine_next(stream, NULL), TINE_ENDED);
    cr_assert_eq(cluster_take_int(stream), 20);
    cr_assert_eq(cluster_take_int(tine_fork("py.count", 20)), 1); /* nobody takes more */
    stream = tine_fork_with(TINE_FORK_OPTIONS(.stream = 1), "py.count", 1000000);
    cr_assert_eq(tine_next(stream, NULL), TINE_OK);
    tine_release(stream); /* is a cancel */
    v = cluster_take(tine_fork("py.echo", 1));
    tine_release(v);
    cr_assert_eq(tine_shutdown(), 0);
    foreign_end(&f, "stopped");
}
