/* The command lines that `tine run` composes, and its messages where mpirun would fail. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/cli/commands.h"
#include "runtime/settings/cores.h"

#define CALL(...) call((char *[]){"run", __VA_ARGS__, NULL})

static int call(char **argv) {
    int argc = 0;
    while (argv[argc]) argc++;
    return tine_command_run(argc, argv);
}

static void capture(void) {
    cr_redirect_stdout();
    cr_redirect_stderr();
}

static const char *text_of(FILE *f) {
    static char text[4096];
    fflush(NULL);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    return text;
}

/* A PATH in which `mpirun` prints `version`, or which has none. */
static char dir[64];

static void fake_mpirun(const char *version) {
    char path[128];
    snprintf(dir, sizeof dir, "/tmp/tine-run-XXXXXX");
    cr_assert(mkdtemp(dir));
    if (version) {
        snprintf(path, sizeof path, "%s/mpirun", dir);
        FILE *f = fopen(path, "w");
        fprintf(f, "#!/bin/sh\necho '%s'\n", version);
        fclose(f);
        chmod(path, 0755);
    }
    setenv("PATH", dir, 1);
}

static void remove_fake(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/mpirun", dir);
    unlink(path);
    rmdir(dir);
}

/* The build directory may lie elsewhere. */
static void prepare(void) {
    const char *build = getenv("TINE_BUILD");
    setenv("TINE_MODULE_DIR", build ? build : "build", 1);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("OMPI_ALLOW_RUN_AS_ROOT");
    unsetenv("TINE_THREADS");
    capture();
}

static const char *said(void) { return text_of(cr_get_redirected_stderr()); }

Test(mpi_run, a_core_for_each_rank, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "3", "--hosts", "a:2,b:1", "--dry-run", "--allow-run-as-root",
                      "/bin/true", "x y", "it's"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(
        strstr(
            line,
            " --allow-run-as-root -n 3 --host a:2,b:1 --map-by slot:PE=1 --bind-to core -x TINE_"),
        "%s", line);
    cr_assert(strstr(line, " /bin/true 'x y' 'it'\\''s'\n"), "%s", line);
}

Test(mpi_run, workers_and_threads_fill_the_cores_beside_a_sleeping_coordinator, .init = prepare,
     .timeout = 30) {
    cr_assert_eq(CALL("-n", "3", "--hosts", "a:4", "--threads", "2", "--dry-run",
                      "--allow-run-as-root", "/bin/true"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, "-n 3 --host a:4 --bind-to none "), "%s", line);
    cr_assert(strstr(line, "-x TINE_THREADS "), "%s", line);
}

Test(mpi_run, one_more_rank_than_cores_is_said, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "5", "--hosts", "a:4", "--dry-run", "--allow-run-as-root", "/bin/true"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, "-n 5 --host a:4 --oversubscribe --bind-to none "), "%s", line);
    cr_assert(strstr(said(), "the coordinator shares a core"));
}

Test(mpi_run, a_host_without_a_number_gives_all_its_cores, .init = prepare, .timeout = 30) {
    cr_assert_eq(
        CALL("-n", "3", "--hosts", "a,b:2", "--dry-run", "--allow-run-as-root", "/bin/true"), 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, "--host a:auto,b:2 --bind-to none "), "%s", line);
}

Test(mpi_run, too_many_workers_are_refused_with_the_remedy, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "9", "--hosts", "a:4", "--dry-run", "--allow-run-as-root", "/bin/true"),
                 1);
    const char *text = said();
    cr_assert(strstr(text, "9 ranks are 8 workers") &&
                  strstr(text, "use -n 5, or add --oversubscribe"),
              "%s", text);
}

Test(mpi_run, here_the_cores_are_those_of_this_process, .init = prepare, .timeout = 30) {
    char most[16], above[16];
    int cores = tine_cores_available();
    snprintf(most, sizeof most, "%d", cores + 1);
    snprintf(above, sizeof above, "%d", cores + 2);
    cr_assert_eq(CALL("-n", most, "--dry-run", "--allow-run-as-root", "/bin/true"), 0);
    cr_assert_eq(CALL("-n", above, "--dry-run", "--allow-run-as-root", "/bin/true"), 1);
    cr_assert_eq(
        CALL("-n", above, "--oversubscribe", "--dry-run", "--allow-run-as-root", "/bin/true"), 0);
}

Test(mpi_run, root_is_told_before_mpirun_refuses, .init = prepare, .timeout = 30) {
    if (geteuid() != 0) cr_skip_test("only root is refused");
    cr_assert_eq(CALL("-n", "2", "--dry-run", "/bin/true"), 1);
    cr_assert(strstr(said(), "add --allow-run-as-root"));
}

Test(mpi_run, without_mpirun, .init = prepare, .timeout = 30) {
    fake_mpirun(NULL);
    cr_assert_eq(CALL("-n", "2", "--dry-run", "/bin/true"), 1);
    cr_assert(strstr(said(), "apt-get install openmpi-bin"));
    remove_fake();
}

Test(mpi_run, with_the_mpirun_of_another_mpi, .init = prepare, .timeout = 30) {
    fake_mpirun("HYDRA build details:");
    cr_assert_eq(CALL("-n", "2", "--dry-run", "/bin/true"), 1);
    const char *text = said();
    cr_assert(strstr(text, "another MPI") && strstr(text, "HYDRA"), "%s", text);
    remove_fake();
}

Test(mpi_run, inside_a_job, .init = prepare, .timeout = 30) {
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    cr_assert_eq(CALL("-n", "2", "--dry-run", "/bin/true"), 1);
}

Test(mpi_run, usage, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("--help"), 0);
    cr_assert_eq(CALL("/bin/true"), 2);
    cr_assert_eq(CALL("-n", "2"), 2);
    cr_assert_eq(CALL("-n", "none", "/bin/true"), 2);
    cr_assert_eq(CALL("-n", "2", "--no-such", "/bin/true"), 2);
    cr_assert_eq(CALL("-n", "2", "--hosts", "a:0", "/bin/true"), 2);
    cr_assert_eq(CALL("-n", "2", "--hosts", "a,,b", "/bin/true"), 2);
    cr_assert_eq(CALL("-n", "2", "--hosts", "a;reboot", "/bin/true"), 2);
    cr_assert_eq(CALL("-n", "2", "/bin/no-such-program"), 1);
}
