/* The command lines that `tine run` composes, and its messages where mpirun would fail. */
#include "tests/support/run_fixture.h"

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
