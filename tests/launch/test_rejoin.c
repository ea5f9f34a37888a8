/* Workers that were started by hand with --rejoin come back after they have lost their coordinator.
 * Across hosts, where a link is down for a while: tests/check_rejoin. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/marks.h"
#include "tests/support/mpirun.h"
#include "tests/support/program.h"
#include "transport/base/process.h"

TINE_FUNCTION(rejoin_pid, "") {
    (void)task;
    return tine_int(getpid());
}

/* Waits for a fork that no worker takes, and notes why it ends. */
TINE_FUNCTION(rejoin_waits, "begun, why") {
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.label = "nobody"), "rejoin_pid");
    marks_add(tine_arg_string(task, 0), "x");
    tine_error e = tine_wait(f, NULL);
    marks_add(tine_arg_string(task, 1), e == TINE_ECANCELED ? tine_error_message() : "wrong");
    return tine_none();
}

/* Fails on a worker that joins once the test has said so. */
TINE_FUNCTION(rejoin_licence, "") {
    return getenv("REJOIN_NO_LICENCE") ? tine_fail(task, "no licence") : tine_none();
}

enum { MIB = 1 << 20, ROOM = 200 };

/* So many MiB, resident at once. A sanitizer has no shadow of what is not written. */
TINE_FUNCTION(rejoin_takes, "mib") {
    void *p = mmap(NULL, (size_t)tine_arg_int(task, 0) * MIB, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return p == MAP_FAILED ? tine_fail(task, "no memory") : tine_none();
}

/* A name that is an address of this host until the file in REJOIN_NO_NAMES is there. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out) {
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name || strcmp(name, "coordinator.test") != 0) return next(name, service, hints, out);
    if (access(getenv("REJOIN_NO_NAMES"), F_OK) == 0) return EAI_AGAIN;
    return next("127.0.0.1", service, hints, out);
}

/* Rank 0 ends without tine_shutdown; the other one serves. */
static int job_of_ranks(void) {
    if (tine_init(NULL, NULL, NULL)) return 1;
    _exit(tine_wait(tine_fork("rejoin_pid"), NULL) ? 2 : 0);
}

/* A coordinator that never ends by itself. */
int test_program(void) {
    if (getenv("REJOIN_RANKS")) return job_of_ranks();
    tine_options o = {.endpoint = getenv("REJOIN_ENDPOINT"), .workers = -1};
    o.await_workers = !getenv("REJOIN_COMMAND");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (tine_init(NULL, NULL, &o)) return 1;
    if (getenv("REJOIN_COMMAND")) {
        if (getenv("REJOIN_NO_NAMES")) puts(tine_endpoint());
        fflush(stdout);
        tine_wait(tine_fork("neg", 1), NULL);
        marks_add(getenv("REJOIN_BEGUN"), "x");
        while (pause()) {
        }
    }
    return tine_wait(tine_fork("rejoin_waits", getenv("REJOIN_BEGUN"), getenv("REJOIN_WHY")), NULL);
}

static char endpoint[128];
static pid_t coordinator, worker;
static int said_fd; /* what the worker writes to standard error */

static pid_t start_worker(const char *rejoin) {
    int out, ends[2], error = dup(STDERR_FILENO);
    cr_assert(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    close(ends[1]);
    said_fd = ends[0];
    setenv("TINE_WORKER", endpoint, 1);
    setenv("TINE_REJOIN", rejoin, 1);
    pid_t pid = cluster_program(&out);
    unsetenv("TINE_WORKER");
    unsetenv("TINE_REJOIN");
    dup2(error, STDERR_FILENO);
    close(error);
    close(out);
    return pid;
}

static pid_t start_command(void) {
    char program[4096];
    snprintf(program, sizeof program, "%s/tine", tine_program_build());
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, "tine", "worker", "--rejoin", endpoint, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Until the worker has said it, or has ended. */
static void await_said(const char *what) {
    static char said[8000];
    static size_t n;
    while (!strstr(said, what)) {
        ssize_t got = read(said_fd, said + n, sizeof said - 1 - n);
        cr_assert_gt(got, 0, "it did not say \"%s\": %s", what, said);
        n += (size_t)got;
    }
}

static void make_endpoint(void) {
    marks_start();
    snprintf(endpoint, sizeof endpoint, "ipc://%s", marks_path("socket"));
}

/* A coordinator with a worker on which a task waits; NULL: with `tine worker --rejoin`. */
static void begin(const char *rejoin) {
    int out;
    make_endpoint();
    setenv("REJOIN_ENDPOINT", endpoint, 1);
    setenv("REJOIN_BEGUN", marks_path("begun"), 1);
    setenv("REJOIN_WHY", marks_path("why"), 1);
    if (!rejoin) setenv("REJOIN_COMMAND", "1", 1);
    coordinator = cluster_program(&out);
    close(out);
    worker = rejoin ? start_worker(rejoin) : start_command();
    marks_await("begun", 1);
}

static void kill_coordinator(void) {
    int status;
    cr_assert_eq(kill(coordinator, SIGKILL), 0);
    cr_assert_eq(waitpid(coordinator, &status, 0), coordinator);
    cr_assert(WIFSIGNALED(status), "the coordinator ended by itself: %#x", status);
}

static void coordinate(void) {
    cluster_start_with(&(tine_options){.endpoint = endpoint, .workers = -1, .await_workers = 1});
}

static void expect_exit(int code) {
    int status;
    cr_assert_eq(waitpid(worker, &status, 0), worker);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == code, "its status is %#x", status);
    close(said_fd);
    marks_end();
}

static void expect_why(const char *text) {
    char why[200] = "";
    FILE *f = fopen(marks_path("why"), "r");
    cr_assert(f && fgets(why, sizeof why, f));
    fclose(f);
    cr_expect(strstr(why, text), "the task was told: %s", why);
}

/* Twice, since the second time there is something of the first that may be in the way. */
Test(rejoin, the_next_program_has_the_worker, .timeout = 60) {
    begin("on");
    kill_coordinator();
    coordinate();
    expect_why("the connection to the coordinator has ended");
    await_said("worker: the coordinator is lost: ");
    await_said("worker: it has joined again, as worker 1");
    cr_expect_eq(cluster_take_int(tine_fork("rejoin_pid")), worker);
    cluster_stop();
    expect_exit(0);
}

Test(rejoin, a_program_that_is_killed_twice, .timeout = 60) {
    int out;
    begin("on");
    kill_coordinator();
    coordinator = cluster_program(&out);
    close(out);
    marks_await("begun", 2);
    kill_coordinator();
    coordinate();
    cr_expect_eq(cluster_take_int(tine_fork("rejoin_pid")), worker);
    cluster_stop();
    expect_exit(0);
}

Test(rejoin, the_command, .timeout = 60) {
    begin(NULL);
    kill_coordinator();
    coordinate();
    cr_expect_eq(cluster_take_int(tine_fork("neg", 1)), -1);
    cluster_stop();
    expect_exit(0);
}

Test(rejoin, not_unless_it_is_asked_to, .timeout = 60) {
    begin("off");
    kill_coordinator();
    expect_exit(1);
}

Test(rejoin, a_signal_ends_one_that_has_no_coordinator, .timeout = 60) {
    begin("on");
    kill_coordinator();
    await_said("worker: the coordinator is lost: ");
    cr_assert_eq(kill(worker, SIGTERM), 0);
    expect_exit(0);
}

Test(rejoin, not_after_the_program_has_ended_it, .timeout = 60) {
    tine_worker_status w;
    make_endpoint();
    worker = start_worker("on");
    coordinate();
    cr_assert_eq(tine_workers(&w, 1), 1);
    cr_assert_eq(tine_worker_end(w.id, TINE_WORKER_NOW), TINE_OK);
    expect_exit(0);
    cluster_stop();
}

Test(rejoin, not_after_an_initialiser_has_failed_on_it, .timeout = 60) {
    make_endpoint();
    cluster_start_with(&(tine_options){.endpoint = endpoint, .workers = -1});
    cr_assert_eq(tine_wait(tine_initialise("rejoin_licence"), NULL), TINE_OK);
    setenv("REJOIN_NO_LICENCE", "1", 1);
    worker = start_worker("on");
    await_said("an initialiser failed there: ");
    await_said("no licence");
    expect_exit(1);
    cluster_stop();
}

Test(rejoin, not_after_it_was_ended_for_its_memory, .timeout = 60) {
    make_endpoint();
    cluster_start_with(&(tine_options){.endpoint = endpoint,
                                       .workers = -1,
                                       .max_memory = tine_process_memory() + (size_t)ROOM * MIB});
    worker = start_worker("on");
    cr_assert_eq(tine_wait(tine_fork("rejoin_takes", ROOM + 100), NULL), TINE_OK);
    /* memory is looked at while there are tasks */
    tine_future *f = tine_fork_with(TINE_FORK_OPTIONS(.label = "nobody"), "rejoin_pid");
    await_said("was ended: its memory, ");
    expect_exit(1);
    tine_release(f);
    cluster_stop();
}

Test(rejoin, not_of_a_rank_whose_job_would_never_end, .timeout = 120) {
    char program[4096] = "";
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    make_endpoint();
    cr_assert_gt(readlink("/proc/self/exe", program, sizeof program - 1), 0);
    tine_program p = tine_program_run(
        60,
        "unset BXFI_MAP; TEST_PROGRAM=1 REJOIN_RANKS=1 TINE_REJOIN=on TINE_ENDPOINT=%s "
        "exec mpirun %s --oversubscribe -n 2 %s",
        endpoint, tine_mpirun_root(), program);
    cr_expect_eq(p.code, 1, "the job did not end: %d, %s", p.code, p.error);
    cr_expect(strstr(p.error, "worker: "), "the worker did not lose rank 0: %s", p.error);
    tine_program_fini(&p);
    marks_end();
}

/* As where the network is down, and with it the name server. */
Test(rejoin, while_the_name_of_the_host_cannot_be_resolved, .timeout = 60) {
    int out;
    char at[100] = "";
    marks_start();
    setenv("REJOIN_ENDPOINT", "tcp://127.0.0.1:0", 1);
    setenv("REJOIN_BEGUN", marks_path("begun"), 1);
    setenv("REJOIN_COMMAND", "1", 1);
    setenv("REJOIN_NO_NAMES", marks_path("down"), 1);
    setenv("TINE_SECURITY", "none", 1);
    coordinator = cluster_program(&out);
    cr_assert_gt(read(out, at, sizeof at - 1), 0);
    snprintf(endpoint, sizeof endpoint, "tcp://coordinator.test:%d", atoi(strrchr(at, ':') + 1));
    worker = start_worker("on");
    marks_await("begun", 1);
    marks_add(marks_path("down"), "x");
    kill_coordinator();
    await_said("worker: the coordinator is lost: ");
    await_said("worker: the coordinator cannot be reached: the host \"coordinator.test\"");
    cr_assert_eq(kill(worker, SIGTERM), 0);
    expect_exit(0);
    close(out);
}

Test(rejoin, a_coordinator_that_was_never_there_ends_it, .timeout = 60) {
    make_endpoint();
    setenv("TINE_CONNECT_TIMEOUT", "0.05", 1);
    worker = start_worker("on");
    expect_exit(1);
}

/* A link that is down ends an attempt like a host on which nothing listens. */
Test(rejoin, an_unreachable_host_is_not_called_one_without_a_program, .timeout = 60) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* and does not listen */
    cr_assert_eq(bind(bound, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(getsockname(bound, (struct sockaddr *)&address, &size), 0);
    marks_start();
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    setenv("TINE_CONNECT_TIMEOUT", "0.05", 1);
    worker = start_worker("off");
    await_said("no process listens there, or its host cannot be reached");
    expect_exit(1);
    close(bound);
}
