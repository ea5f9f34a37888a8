/* What `tine run --survive` composes. */
#include "tests/support/run_fixture.h"

static const char *survived(char **argv) {
    cr_assert_eq(call(argv), 0, "%s", said());
    return text_of(cr_get_redirected_stdout());
}
#define SURVIVED(...)                                                                              \
    survived((char *[]){"run", "--survive", "--dry-run", "--allow-run-as-root", __VA_ARGS__, NULL})

Test(survive_run, an_mpirun_for_each_host, .init = prepare, .timeout = 30) {
    const char *line =
        SURVIVED("-n", "4", "--hosts", "127.0.0.1:2,localhost:1", "/bin/true", "x y");
    cr_assert(strstr(line, "TINE_ENDPOINT=tcp://127.0.0.1:") == line, "%s", line);
    cr_assert(strstr(line, " TINE_WORKERS=0 TINE_AWAIT_WORKERS=3 /bin/true 'x y'\n"), "%s", line);
    cr_assert(strstr(line, " -n 1 --host 127.0.0.1:1 --bind-to none "), "%s", line);
    cr_assert(strstr(line, " supervise -n 2 --threads 1 tcp://127.0.0.1:"), "%s", line);
    cr_assert(strstr(line, " --host localhost:1 "), "%s", line);
    cr_assert(strstr(line, " supervise -n 1 --threads 1 tcp://127.0.0.1:"), "%s", line);
    cr_assert(strstr(line, " -x TINE_KEY "), "%s", line);
    cr_assert(getenv("TINE_KEY") && !strstr(line, getenv("TINE_KEY")), "%s", line);
}

Test(survive_run, a_given_endpoint, .init = prepare, .timeout = 30) {
    setenv("TINE_ENDPOINT", "tcp://10.0.0.1:4747", 1);
    const char *line = SURVIVED("-n", "3", "--hosts", "no-such-host.invalid:2", "--threads", "2",
                                "--oversubscribe", "/bin/true");
    cr_assert(strstr(line, "TINE_WORKERS=0 TINE_AWAIT_WORKERS=2 /bin/true\n") == line, "%s", line);
    cr_assert(strstr(line, " supervise -n 2 --threads 2 tcp://10.0.0.1:4747 /bin/true\n"), "%s",
              line);
    unsetenv("TINE_THREADS");
}

Test(survive_run, a_step_of_slurm_for_each_host, .init = prepare, .timeout = 30) {
    char path[128];
    fake_mpirun(NULL);
    snprintf(path, sizeof path, "%s/srun", dir);
    cr_assert_eq(symlink("/bin/true", path), 0);
    slurm_job();
    setenv("TINE_ENDPOINT", "tcp://10.0.0.1:4747", 1);
    const char *line = SURVIVED("-n", "7", "/bin/true");
    cr_assert(strstr(line, " -w h1 -c 2 "), "%s", line);
    cr_assert(strstr(line, " -w h3 -c 2 "), "%s", line);
    cr_assert(!strstr(line, " -w h4 "), "six workers fill three hosts: %s", line);
    cr_assert(strstr(line, " supervise -n 2 --threads 1 tcp://10.0.0.1:4747 /bin/true\n"), "%s",
              line);
    unlink(path);
    remove_fake();
}

static void refused(const char *because, char **argv) {
    cr_expect_eq(call(argv), 2);
    const char *text = said();
    cr_expect(strstr(text, because), "%s", text);
    cr_expect_eq(strchr(text, '\n') - text, (long)strlen(text) - 1, "not one line: %s", text);
}
#define REFUSED(because, ...)                                                                      \
    refused(because,                                                                               \
            (char *[]){"run", "--survive", "--dry-run", "--allow-run-as-root", __VA_ARGS__, NULL})

Test(survive_run, what_cannot_work_is_refused, .init = prepare, .timeout = 30) {
    REFUSED("one process has no workers", "-n", "1", "/bin/true");
    REFUSED("endpoint mpi://: with --survive workers join over tcp://", "-n", "2", "/bin/true",
            "--tine-endpoint=mpi://");
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
    REFUSED("cannot be found", "-n", "2", "--hosts", "no-such-host.invalid:2", "/bin/true");
    REFUSED("argument \":\" would be taken by mpirun", "-n", "2", "/bin/true", ":", "-n", "1");
    REFUSED("argument \"--mca\" would be taken by mpirun", "-n", "2", "/bin/true", "--mca", "a");
    REFUSED("more than 4096 workers", "--oversubscribe", "-n", "5000", "/bin/true");
    setenv("TINE_ENDPOINT", "mpi://", 1);
    REFUSED("endpoint mpi://: with --survive", "-n", "2", "/bin/true");
    setenv("TINE_ENDPOINT", "ipc:///tmp/x", 1);
    REFUSED("the hosts of this job cannot connect to it", "-n", "2", "/bin/true");
    setenv("TINE_ENDPOINT", "tcp://*:4747", 1);
    REFUSED("name an address of this host", "-n", "2", "/bin/true");
    setenv("TINE_ENDPOINT", "tcp://lo:4747", 1);
    REFUSED("name an address of this host", "-n", "2", "/bin/true");
}
