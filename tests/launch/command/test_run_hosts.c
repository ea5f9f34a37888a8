/* Hosts that `tine run` refuses, as mpirun would with a page: those that it cannot log in to, and
 * those that are not of the job of a batch system. */
#include "tests/support/run_fixture.h"

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
