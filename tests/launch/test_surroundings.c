/* What surrounds a program is left as it was: its signals, directory and process group, for the
 * coordinator and its workers. Each case is a program of its own (cluster_program), in a session
 * and an empty directory of its own. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/tine.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"

enum { LIMIT_MS = 30000 };

extern char **environ;

/* ---- the tasks ---- */

TINE_FUNCTION(pid_of_worker, "") {
    (void)task;
    return tine_int(getpid());
}

TINE_FUNCTION(directory_of_worker, "") {
    char here[4096];
    (void)task;
    return tine_string(getcwd(here, sizeof here) ? here : "?");
}

TINE_FUNCTION(limit_of_worker, "") {
    struct rlimit r;
    (void)task;
    return tine_int(getrlimit(RLIMIT_NOFILE, &r) ? -1 : (int64_t)r.rlim_cur);
}

TINE_FUNCTION(blas_threads_of_worker, "") {
    const char *n = getenv("OPENBLAS_NUM_THREADS");
    (void)task;
    return tine_int(n ? atoi(n) : -1);
}

TINE_FUNCTION(product_of_ints, "") {
    tine_value *x = tine_ones(TINE_I64, 1, TINE_SHAPE(3));
    (void)task;
    return tine_call("matmul", x, x);
}

TINE_FUNCTION(die, "") {
    (void)task;
    raise(SIGKILL);
    return tine_none();
}

/* A process that setsid has detached and that does not end by itself; "exec": another program. */
TINE_FUNCTION(start_process, "how") {
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        close(1);
        if (strcmp(tine_arg_string(task, 0), "exec") == 0)
            execlp("sleep", "sleep", "1000", (char *)NULL);
        for (;;) pause();
    }
    return tine_int(pid);
}

/* ---- the programs ---- */

static void say(const char *text, int64_t n) { dprintf(1, "%s %lld\n", text, (long long)n); }

static int64_t ask(const char *function, const char *argument) {
    tine_value *v = NULL;
    tine_future *f = argument ? tine_fork(function, argument) : tine_fork(function);
    int64_t i = tine_wait(f, &v) == TINE_OK ? tine_as_int(v) : -1;
    tine_release(v);
    tine_release(f);
    return i;
}

static sem_t order;
static void order_take(int sig) {
    (void)sig;
    sem_post(&order);
}
static void order_await(void) {
    while (sem_wait(&order) != 0) continue;
}

static int program_group(void) {
    tine_options o = {.workers = 1, .log_level = "error"};
    if (tine_init(NULL, NULL, &o)) return 1;
    say("up", ask("pid_of_worker", NULL));
    order_await();
    say("still", ask("pid_of_worker", NULL));
    return tine_shutdown();
}

static int program_directory(void) {
    tine_options o = {.workers = 1, .log_level = "error"};
    if (chdir("work") || tine_init(NULL, NULL, &o)) return 1;
    tine_future *f = tine_fork("directory_of_worker");
    tine_value *v = NULL;
    if (tine_wait(f, &v)) return 2;
    dprintf(1, "it is %s.\n", tine_as_string(v));
    tine_release(v);
    tine_release(f);
    return tine_shutdown();
}

static int program_relative(void) {
    tine_options o = {
        .workers = 1, .log_level = "error", .endpoint = "ipc://socket", .trace = "trace.json"};
    if (tine_init(NULL, NULL, &o) || chdir("/")) return 1;
    int64_t before = ask("pid_of_worker", NULL);
    ask("die", NULL);
    int64_t after = ask("pid_of_worker", NULL);
    say("replaced", before > 0 && after > 0 && before != after);
    return tine_shutdown();
}

static int program_descendants(const char *how) {
    tine_options o = {.workers = 1, .log_level = "error"};
    if (tine_init(NULL, NULL, &o)) return 1;
    say("worker", ask("pid_of_worker", NULL));
    say("process", ask("start_process", how));
    order_await();
    return tine_shutdown();
}

/* The soft limit, that of 40 workers within a hard limit of 128, and of one. */
static int64_t blas_threads(const tine_options *o) {
    if (tine_init(NULL, NULL, o)) return -1;
    int64_t n = ask("blas_threads_of_worker", NULL);
    return tine_shutdown() ? -1 : n;
}

static int program_threads(void) {
    tine_options o = {.workers = 1, .log_level = "error"};
    unsetenv("OPENBLAS_NUM_THREADS");
    unsetenv("OMP_NUM_THREADS");
    say("one", blas_threads(&o));
    say("here", getenv("OPENBLAS_NUM_THREADS") != NULL);
    setenv("OMP_NUM_THREADS", "3", 1);
    say("omp", blas_threads(&o));
    setenv("OPENBLAS_NUM_THREADS", "5", 1);
    say("given", blas_threads(&o));
    return 0;
}

/* A worker that finds no OpenBLAS; this process has one. */
static int program_no_blas(void) {
    tine_options o = {.workers = 1, .log_level = "error"};
    char here[256];
    FILE *f = fopen("libopenblas.so.0", "w");
    if (!f || fclose(f) || !getcwd(here, sizeof here)) return 1;
    setenv("LD_LIBRARY_PATH", here, 1);
    if (tine_init(NULL, NULL, &o)) return 1;
    say("pid", ask("pid_of_worker", NULL) > 0);
    tine_value *x = tine_ones(TINE_F32, 2, TINE_SHAPE(1, 1)), *y = NULL;
    tine_future *product = tine_fork("matmul", x, x);
    say("error", tine_wait(product, &y));
    say("sentence",
        strstr(tine_error_message(), "libopenblas.so.0 cannot be loaded; inst") != NULL);
    tine_release(product);
    say("ints", ask("product_of_ints", NULL));
    tine_release(x);
    unlink("libopenblas.so.0");
    return tine_shutdown();
}

static int program_descriptors(void) {
    struct rlimit r = {100, 1000};
    tine_options o = {.workers = 1, .log_level = "error"}, many = {.workers = 40};
    if (setrlimit(RLIMIT_NOFILE, &r)) return 1;
    for (int i = 0; i < 2; i++) {
        if (tine_init(NULL, NULL, &o) || getrlimit(RLIMIT_NOFILE, &r)) return 1;
        say("limit", (int64_t)r.rlim_cur);
        say("worker", ask("limit_of_worker", NULL));
        if (ask("pid_of_worker", NULL) <= 0 || tine_shutdown()) return 1;
    }
    r = (struct rlimit){128, 128};
    if (setrlimit(RLIMIT_NOFILE, &r)) return 1;
    say("many", tine_init(NULL, NULL, &many));
    say("sentence", strstr(tine_error_message(), "ulimit -n") != NULL);
    if (tine_init(NULL, NULL, &o) || ask("pid_of_worker", NULL) <= 0) return 1;
    return tine_shutdown();
}

int test_program(void) {
    static const struct rlimit no_core = {0};
    const char *name = getenv("TEST_CASE");
    setrlimit(RLIMIT_CORE, &no_core);
    sem_init(&order, 0, 0);
    signal(SIGUSR1, order_take);
    setsid();
    if (strcmp(name, "group") == 0) return program_group();
    if (strcmp(name, "directory") == 0) return program_directory();
    if (strcmp(name, "relative") == 0) return program_relative();
    if (strcmp(name, "descriptors") == 0) return program_descriptors();
    if (strcmp(name, "threads") == 0) return program_threads();
    if (strcmp(name, "no blas") == 0) return program_no_blas();
    return program_descendants(name);
}

/* ---- the tests ---- */

static char base[64];
static FILE *from;

static void directory_enter(void) {
    snprintf(base, sizeof base, "/tmp/tine-test-XXXXXX");
    cr_assert_not_null(mkdtemp(base));
    cr_assert_eq(chdir(base), 0);
    setenv("XDG_RUNTIME_DIR", base, 1);
}

static pid_t program_start(const char *name) {
    int out;
    setenv("TEST_CASE", name, 1);
    pid_t pid = cluster_program(&out);
    from = fdopen(out, "r");
    return pid;
}

static int64_t answer(const char *text) {
    char line[256] = "";
    size_t n = strlen(text);
    cr_assert_not_null(fgets(line, sizeof line, from), "the program has ended");
    cr_assert_eq(strncmp(line, text, n), 0, "%s", line);
    return atoll(line + n);
}

static int program_end(pid_t pid) {
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    fclose(from);
    return status;
}

static int entries(void) {
    int n = 0;
    DIR *d = opendir(base);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static void await_empty(void) {
    char events[4096];
    int changes = inotify_init1(IN_CLOEXEC);
    cr_assert_geq(inotify_add_watch(changes, base, IN_DELETE), 0);
    while (entries() > 0) cr_assert_gt(read(changes, events, sizeof events), 0);
    close(changes);
}

static int watch(int64_t pid) {
    int fd = process_open((pid_t)pid);
    cr_assert_geq(fd, 0, "process %lld", (long long)pid);
    return fd;
}

static void check_ends(int pidfd, const char *what) {
    cr_expect(process_ends(pidfd, LIMIT_MS), "%s lives on", what);
    close(pidfd);
}

/* A terminal that closes, or `timeout`, sends a signal to coordinator and workers at once. */
static void check_group_signal(int sig) {
    directory_enter();
    pid_t pid = program_start("group");
    int worker = watch(answer("up"));
    cr_assert_eq(entries(), 1, "the private directory");
    cr_assert_eq(kill(-pid, sig), 0);
    int status = program_end(pid);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == sig, "status 0x%x", status);
    check_ends(worker, "the worker");
    cr_expect_eq(entries(), 0, "the private directory is left");
    cr_expect_eq(rmdir(base), 0);
}

TestSuite(surroundings, .timeout = 90);

Test(surroundings, nothing_is_left_when_the_group_gets_sighup) { check_group_signal(SIGHUP); }
Test(surroundings, nothing_is_left_when_the_group_gets_sigterm) { check_group_signal(SIGTERM); }
Test(surroundings, nothing_is_left_when_the_group_gets_sigquit) { check_group_signal(SIGQUIT); }

Test(surroundings, a_signal_that_the_program_ignores_ends_no_worker) {
    directory_enter();
    signal(SIGHUP, SIG_IGN); /* as nohup does */
    pid_t pid = program_start("group");
    int64_t worker = answer("up");
    cr_assert_eq(kill(-pid, SIGHUP), 0);
    cr_assert_eq(kill(pid, SIGUSR1), 0);
    cr_expect_eq(answer("still"), worker, "the worker was replaced");
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(rmdir(base), 0);
}

/* The worker alone: its coordinator lives, so the signal ends it, late. */
Test(surroundings, a_signal_to_a_worker_ends_it) {
    directory_enter();
    pid_t pid = program_start("group");
    int64_t worker = answer("up");
    int pidfd = watch(worker);
    cr_assert_eq(kill((pid_t)worker, SIGTERM), 0);
    check_ends(pidfd, "the worker");
    cr_assert_eq(kill(pid, SIGUSR1), 0);
    cr_expect_neq(answer("still"), worker);
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(rmdir(base), 0);
}

Test(surroundings, workers_start_where_the_program_was_started) {
    directory_enter();
    cr_assert_eq(mkdir("work", 0700), 0);
    char whole[96]; /* a directory below it begins like it */
    snprintf(whole, sizeof whole, "it is %s.", base);
    pid_t pid = program_start("directory");
    answer(whole);
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(rmdir("work"), 0);
    cr_expect_eq(rmdir(base), 0);
}

Test(surroundings, relative_paths_are_those_of_the_start) {
    directory_enter();
    pid_t pid = program_start("relative");
    cr_expect_eq(answer("replaced"), 1);
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(unlink("trace.json"), 0, "the trace lies elsewhere");
    cr_expect_eq(rmdir(base), 0, "the socket is left");
}

static void check_descendants(const char *how, bool kill_worker) {
    directory_enter();
    pid_t pid = program_start(how);
    int64_t worker = answer("worker");
    int process = watch(answer("process"));
    cr_assert_eq(kill(kill_worker ? (pid_t)worker : pid, SIGKILL), 0);
    check_ends(process, how);
    kill(pid, SIGUSR1);
    program_end(pid);
    await_empty(); /* the watchdog removes the directory */
    cr_expect_eq(rmdir(base), 0);
}

Test(surroundings, what_a_task_forked_ends_with_a_killed_worker) {
    check_descendants("fork", true);
}
Test(surroundings, what_a_task_started_ends_with_a_killed_worker) {
    check_descendants("exec", true);
}
Test(surroundings, what_a_task_forked_ends_with_the_coordinator) {
    check_descendants("fork", false);
}
Test(surroundings, what_a_task_started_ends_with_the_coordinator) {
    check_descendants("exec", false);
}

/* OpenBLAS starts as many threads as a worker uses, unless the user has said how many. */
Test(surroundings, threads) {
    directory_enter();
    pid_t pid = program_start("threads");
    cr_expect_eq(answer("one"), 1);
    cr_expect_eq(answer("here"), 0);
    cr_expect_eq(answer("omp"), -1);
    cr_expect_eq(answer("given"), 5);
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(rmdir(base), 0);
}

/* It is loaded by what needs it: without it the worker runs, and other products too. */
Test(surroundings, no_blas) {
    directory_enter();
    pid_t pid = program_start("no blas");
    cr_expect_eq(answer("pid"), 1);
    cr_expect_eq(answer("error"), TINE_EFAILED);
    cr_expect_eq(answer("sentence"), 1);
    cr_expect_eq(answer("ints"), 3);
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(rmdir(base), 0);
}

/* The program keeps what it had: the limit is raised by what Tine needs, once, and not for workers;
 * more workers than there are descriptors for are refused at once. */
Test(surroundings, descriptors) {
    directory_enter();
    pid_t pid = program_start("descriptors");
    int64_t limit = answer("limit");
    cr_expect(limit > 100 && limit <= 1000, "%d", (int)limit);
    cr_expect_eq(answer("worker"), 100, "what tasks start has another limit than the program had");
    cr_expect_eq(answer("limit"), limit);
    cr_expect_eq(answer("worker"), 100);
    cr_expect_eq(answer("many"), TINE_EIO);
    cr_expect_eq(answer("sentence"), 1);
    cr_expect_eq(program_end(pid), 0);
    cr_expect_eq(rmdir(base), 0);
}
