/* The command lines that `tine run` composes, and its messages where mpirun would fail. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_CPUS_PER_NODE");
    unsetenv("PBS_NODEFILE");
    unsetenv("LSB_MCPU_HOSTS");
    unsetenv("PE_HOSTFILE");
    capture();
}

static const char *said(void) { return text_of(cr_get_redirected_stderr()); }

Test(mpi_run, a_core_for_each_rank, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "3", "--hosts", "a:2,b:1", "--dry-run", "--allow-run-as-root",
                      "/bin/true", "x y", "it's"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, " --allow-run-as-root -n 3 --host a:2,b:1 --map-by slot:PE=1 --bind-to "
                           "core --mca oob_"),
              "%s", line);
    cr_assert(strstr(line, "--mca oob_tcp_keepalive_probes 5 -x TINE_"), "%s", line);
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

/* mpirun waited for ever for the daemon of a host that was cut off, also of the only one. */
Test(mpi_run, one_host_may_be_another_than_that_of_mpirun, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "3", "--hosts", "a:2", "--dry-run", "--allow-run-as-root", "/bin/true"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_expect(strstr(line, "--mca oob_tcp_keepalive_time 5 "), "%s", line);
}

/* Else four of the five ranks ran on a. */
Test(mpi_run, ranks_are_mapped_by_threads, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "5", "--hosts", "a:4,b:5,c:1", "--threads", "2", "--dry-run",
                      "--allow-run-as-root", "/bin/true"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, "-n 5 --host a:2,b:2 --oversubscribe --bind-to none "), "%s", line);
    cr_assert_eq(CALL("-n", "6", "--hosts", "a:4,b:5,c:1", "--threads", "2", "--dry-run",
                      "--allow-run-as-root", "/bin/true"),
                 1);
    cr_assert(
        strstr(said(), "6 ranks are 5 workers of 2 threads, but there are 8 cores: use -n 5"));
}

/* Two programs on one host would be bound to the same cores. */
Test(mpi_run, ranks_that_leave_cores_are_not_bound, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "2", "--hosts", "a:4", "--dry-run", "--allow-run-as-root", "/bin/true"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, "-n 2 --host a:4 --bind-to none "), "%s", line);
    cr_assert(!strstr(line, "core"), "%s", line);
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

Test(mpi_run, ranges_users_and_options_of_mpirun, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("--mca", "btl_tcp_if_include", "10.0.0.0/8", "-n", "3", "--hosts",
                      "eve@n[08-10,x2]:2", "--dry-run", "--allow-run-as-root", "/bin/true"),
                 2);
    cr_assert_eq(CALL("--mca", "btl_tcp_if_include", "10.0.0.0/8", "-n", "9", "--hosts",
                      "eve@n[08-10,12]-ib:2", "--dry-run", "--allow-run-as-root", "/bin/true",
                      "--mca", "x"),
                 0);
    const char *line = text_of(cr_get_redirected_stdout());
    cr_assert(strstr(line, " -n 9 --host n08-ib:2,n09-ib:2,n10-ib:2,n12-ib:2 --oversubscribe "),
              "%s", line);
    cr_assert(strstr(line, " --mca plm_rsh_args '-l eve' --mca btl_tcp_if_include 10.0.0.0/8 "),
              "%s", line);
    cr_assert(strstr(line, " /bin/true --mca x\n"), "%s", line);
    cr_assert_eq(CALL("-n", "2", "--hosts", "eve@a,bob@b", "--dry-run", "/bin/true"), 2);
    cr_assert(strstr(said(), "one user logs in to all hosts"));
    cr_assert_eq(CALL("--mca", "alone"), 2);
    cr_assert(strstr(said(), "--mca: expected NAME VALUE"));
    cr_assert_eq(CALL("--mca=alone", "x"), 2);
#define FOUR "--mca", "a", "1", "--mca", "b", "2", "--mca", "c", "3", "--mca", "d", "4"
    cr_assert_eq(CALL(FOUR, FOUR, FOUR, FOUR, "--mca", "e", "5", "-n", "2", "/bin/true"), 2);
    cr_assert(strstr(said(), "at most 16 times"));
}

/* What is parsed is what --help, the manual page and completion show. */
Test(mpi_run, options_of_mpirun_are_in_the_help, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("--help"), 0);
    cr_assert_eq(CALL("--help=words"), 0);
    cr_assert_eq(CALL("--help=man"), 0);
    const char *text = text_of(cr_get_redirected_stdout());
    cr_expect(strstr(text, "  --mca NAME VALUE "), "%s", text);
    cr_expect(strstr(text, "\n--mca\n"), "%s", text);
    cr_expect(strstr(text, ".B \\-\\-mca \\fINAME VALUE\\fR"), "%s", text);
}

static void write_list(char *path, const char *text) {
    strcpy(path, "/tmp/tine-hosts-XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static const char *composed(char **argv) {
    cr_assert_eq(call(argv), 0, "%s", said());
    return text_of(cr_get_redirected_stdout());
}
#define COMPOSED(...)                                                                              \
    composed((char *[]){"run", "--dry-run", "--allow-run-as-root", __VA_ARGS__, NULL})

Test(mpi_run, a_host_file, .init = prepare, .timeout = 30) {
    char path[32];
    write_list(path, "# two\nnode1 slots=2\n\nnode2 slots = 4 max_slots=8\n");
    const char *line = COMPOSED("-n", "7", "--hostfile", path, "/bin/true");
    cr_assert(strstr(line, "-n 7 --host node1:2,node2:4 --oversubscribe "), "%s", line);
    cr_assert_eq(
        CALL("-n", "8", "--hostfile", path, "--dry-run", "--allow-run-as-root", "/bin/true"), 1);
    cr_assert_eq(CALL("-n", "2", "--hostfile", path, "--hosts", "a", "/bin/true"), 2);
    unlink(path);
    write_list(path, "eve@node1 slots=2\neve@node2 slots=2\n");
    line = COMPOSED("-n", "4", "--hostfile", path, "/bin/true");
    cr_assert(strstr(line, "--host node1:2,node2:2 ") && strstr(line, " plm_rsh_args '-l eve' "),
              "%s", line);
    unlink(path);
    write_list(path, "eve@node1 slots=2\nnode2 slots=2\n");
    cr_assert_eq(CALL("-n", "2", "--hostfile", path, "/bin/true"), 2);
    unlink(path);
    write_list(path, "a'$(false)' slots=2\n"); /* it came to a shell */
    cr_assert_eq(CALL("-n", "2", "--hostfile", path, "/bin/true"), 2);
    unlink(path);
    cr_assert_eq(CALL("-n", "2", "--hostfile", path, "/bin/true"), 2);
    cr_assert(strstr(said(), "No such file"));
}

Test(mpi_run, the_allocation_of_pbs_lsf_and_grid_engine, .init = prepare, .timeout = 30) {
    char path[32];
    write_list(path, "n1\nn1\nn2\n");
    setenv("PBS_NODEFILE", path, 1);
    const char *line = COMPOSED("/bin/true");
    cr_assert(strstr(line, "-n 3 --host n1:1,n1:1,n2:1 --map-by slot:PE=1 "), "%s", line);
    unlink(path);
    unsetenv("PBS_NODEFILE");
    setenv("LSB_MCPU_HOSTS", "n1 2 n2 4 ", 1);
    line = COMPOSED("--threads", "2", "/bin/true");
    cr_assert(strstr(line, "-n 3 --host n1:1,n2:2 --map-by slot:PE=2 "), "%s", line);
    unsetenv("LSB_MCPU_HOSTS");
    unsetenv("TINE_THREADS"); /* run has set it for the ranks */
    write_list(path, "n1 2 all.q@n1 <NULL>\nn2 1 all.q@n2 <NULL>\n");
    setenv("PE_HOSTFILE", path, 1);
    line = COMPOSED("/bin/true");
    cr_assert(strstr(line, "-n 3 --host n1:2,n2:1 "), "%s", line);
    unlink(path);
}

static void slurm_job(void) {
    setenv("SLURM_JOB_ID", "7", 1);
    setenv("SLURM_JOB_NODELIST", "h[1-4]", 1);
    setenv("SLURM_JOB_NUM_NODES", "4", 1);
    setenv("SLURM_TASKS_PER_NODE", "2(x3),1", 1);
    setenv("SLURM_NTASKS", "7", 1);
}

Test(mpi_run, the_allocation_of_slurm, .init = prepare, .timeout = 30) {
    slurm_job();
    const char *line = COMPOSED("/bin/true");
    cr_assert(strstr(line, "-n 7 --map-by slot:PE=1 --bind-to core --mca oob_tcp"), "%s", line);
    cr_assert_eq(CALL("-n", "9", "--dry-run", "--allow-run-as-root", "/bin/true"), 1);
    cr_assert(strstr(said(), "9 ranks are 8 workers of 1 thread, but there are 7 cores"));
}

Test(mpi_run, slurm_without_mpirun, .init = prepare, .timeout = 30) {
    char path[128];
    fake_mpirun(NULL);
    snprintf(path, sizeof path, "%s/srun", dir);
    cr_assert_eq(symlink("/bin/true", path), 0);
    slurm_job();
    const char *line = COMPOSED("-n", "8", "/bin/true");
    cr_assert_str_eq(line, "srun --mpi=pmix -n 8 --overcommit /bin/true\n");
    unlink(path);
    remove_fake();
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

/* Of threads none fit on a host: the sum was 0, as where the cores are not known. What is not
 * refused becomes mpirun. */
Test(mpi_run, hosts_smaller_than_the_threads_are_refused, .init = prepare, .timeout = 30) {
    int status;
    fake_mpirun("mpirun (Open MPI) 4.1.4\n a: flags=0x11 slots=2 max\n b: flags=0x11 slots=3 max");
    pid_t run = fork();
    cr_assert_geq(run, 0);
    if (run == 0)
        _exit(CALL("-n", "9", "--hosts", "a,b", "--threads", "4", "--allow-run-as-root",
                   "/bin/true"));
    cr_assert_eq(waitpid(run, &status, 0), run);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "its status is %#x", status);
    cr_expect(strstr(said(), "9 ranks are 8 workers of 4 threads, but there are 5 cores"));
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

static void fake_command(const char *name, const char *script) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    chmod(path, 0755);
}

/* What is not refused becomes mpirun, which ends with 9. */
static int status_of(char **argv) {
    int status;
    pid_t run = fork();
    cr_assert_geq(run, 0);
    if (run == 0) _exit(call(argv));
    cr_assert_eq(waitpid(run, &status, 0), run);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define STATUS_OF(...) status_of((char *[]){"run", "--allow-run-as-root", __VA_ARGS__, NULL})

static void fake_network(void) {
    fake_mpirun(NULL);
    fake_command("timeout", "shift\nexec \"$@\"");
    fake_command("mpirun", "[ \"$1\" = --version ] && echo 'mpirun (Open MPI) 4.1.4' || exit 9");
    fake_command("ompi_info", "echo \"mca:plm:rsh:param:plm_rsh_agent:value:${AGENT:-ssh : rsh}\"\n"
                              "echo \"mca:plm:rsh:param:plm_rsh_args:value:$SSH_ARGS\"");
    fake_command("ssh", "case \"$*\" in\n"
                        "*' gone '*) echo 'ssh: Could not resolve hostname gone' >&2; exit 255;;\n"
                        "*'-l eve '*) echo 'Permission denied (publickey).' >&2; exit 255;;\n"
                        "*' bare test -x '*) exit 1;;\n"
                        "*' nologin '*) exit 127;;\n"
                        "esac");
}

static void network_remove(void) {
    for (size_t i = 0; i < 4; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", dir,
                 (const char *[]){"mpirun", "ompi_info", "ssh", "timeout"}[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* mpirun prints a page for each. */
Test(mpi_run, hosts_that_cannot_be_logged_in_to_are_refused, .init = prepare, .timeout = 30) {
    fake_network();
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "near:1,gone:1", "/bin/true"), 1);
    cr_expect(strstr(said(), "host gone: mpirun cannot log in: ssh: Could not resolve hostname"));
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "eve@near:2", "/bin/true"), 1);
    cr_expect(strstr(said(), "host near: mpirun cannot log in: Permission denied"));
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "near:1,bare:1", "/bin/true"), 1);
    cr_expect(strstr(said(), "host bare has no program /bin/true: it needs the same path"));
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "near:1,far:1", "/bin/true"), 9);
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "localhost:2", "/bin/true"), 9);
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "near:1,nologin:1", "/bin/true"), 9);
    setenv("SSH_ARGS", "-p 2222", 1);
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "near:1,gone:1", "/bin/true"), 9);
    unsetenv("SSH_ARGS");
    setenv("AGENT", "blaunch", 1);
    cr_expect_eq(STATUS_OF("-n", "3", "--hosts", "near:1,gone:1", "/bin/true"), 9);
    unsetenv("AGENT");
    cr_expect_eq(
        STATUS_OF("-n", "3", "--hosts", "gone:2", "--mca", "plm_rsh_agent", "x", "/bin/true"), 9);
    network_remove();
}

Test(mpi_run, a_directory_is_no_program, .init = prepare, .timeout = 30) {
    cr_assert_eq(CALL("-n", "2", "--dry-run", "--allow-run-as-root", "/tmp"), 1);
    cr_assert(strstr(said(), "/tmp: Is a directory"));
}

/* mpirun: "All nodes which are allocated for this job are already filled", or a page of slots. */
Test(mpi_run, hosts_within_a_job, .init = prepare, .timeout = 30) {
    slurm_job();
    const char *line = COMPOSED("--hosts", "h[1-2],h4.cluster.org", "/bin/true");
    cr_expect(strstr(line, "-n 5 --host h1:2,h2:2,h4.cluster.org:1 --map-by slot:PE=1 "), "%s",
              line);
    cr_expect_eq(CALL("-n", "2", "--hosts", "h2:2,h9:2", "--dry-run", "/bin/true"), 2);
    cr_expect(strstr(said(), "--hosts: h9 is not a host of this job of Slurm"));
    cr_expect_eq(CALL("-n", "3", "--hosts", "h4:2", "--dry-run", "/bin/true"), 2);
    cr_expect(strstr(said(), "h4 has 1 core in this job of Slurm, not 2"));
    line = COMPOSED("-n", "5", "--oversubscribe", "--hosts", "h4:2", "/bin/true");
    cr_expect(strstr(line, "-n 5 --host h4:2 --oversubscribe "), "%s", line);
}

/* Two addresses with one first number counted as one host. */
Test(mpi_run, addresses_within_a_job, .init = prepare, .timeout = 30) {
    setenv("LSB_MCPU_HOSTS", "10.0.0.1 4 10.0.0.2 2", 1);
    const char *line = COMPOSED("--hosts", "10.0.0.2", "/bin/true");
    cr_expect(strstr(line, "--host 10.0.0.2:2 "), "%s", line);
    unsetenv("LSB_MCPU_HOSTS");
}

/* orted ended where three ranks were to be bound to two cores. */
Test(mpi_run, an_overcommitted_job_of_slurm, .init = prepare, .timeout = 30) {
    slurm_job();
    setenv("SLURM_TASKS_PER_NODE", "3,2(x3)", 1);
    setenv("SLURM_JOB_CPUS_PER_NODE", "2(x4)", 1);
    setenv("SLURM_NTASKS", "9", 1);
    const char *line = COMPOSED("/bin/true");
    cr_expect(strstr(line, "-n 9 --oversubscribe --bind-to none "), "%s", line);
    unsetenv("SLURM_JOB_CPUS_PER_NODE");
}

Test(mpi_run, hosts_within_a_job_of_slurm_without_mpirun, .init = prepare, .timeout = 30) {
    char path[128];
    fake_mpirun(NULL);
    snprintf(path, sizeof path, "%s/srun", dir);
    cr_assert_eq(symlink("/bin/true", path), 0);
    slurm_job();
    const char *line = COMPOSED("--hosts", "h[2-3]", "/bin/true");
    cr_assert_str_eq(line, "srun --mpi=pmix -N 2 -w h2,h3 -n 4 /bin/true\n");
    unlink(path);
    remove_fake();
}

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
