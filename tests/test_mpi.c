/* The mpi transport: the conformance suite under mpirun, a test for each case. Each run is a job of four ranks whose roles
 * are in tests/mpi/conformance.c. Root's permission is given here, as a user would have to. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/conformance.h"
#include "tests/support/program.h"

static void need_mpirun(void) {
    tine_program p = tine_program_run(20, "mpirun --version && test -e $B/libtine-mpi.so");
    bool usable = p.code == 0 && strstr(p.out, "Open MPI");
    tine_program_fini(&p);
    if (!usable) cr_skip_test("no mpirun of Open MPI here");
}

static const char *root(void) { return geteuid() == 0 ? "--allow-run-as-root" : ""; }

/* At exit of a rank Open MPI's plugins are unloaded, and what they leaked has no name that could be suppressed. */
static void ranks_check_leaks_themselves(void) {
    char options[1024];
    const char *asan = getenv("ASAN_OPTIONS");
    if (!asan) return;
    snprintf(options, sizeof options, "%s:leak_check_at_exit=0", asan);
    setenv("ASAN_OPTIONS", options, 1);
}

static void conform(const char *name) {
    need_mpirun();
    ranks_check_leaks_themselves();
    tine_program p = tine_program_run(
        60, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n 4 $B/mpi/conformance %s", root(), name);
    if (p.code == 77) {
        tine_program_fini(&p);
        cr_skip_test("Open MPI ends the job when a rank dies");
    }
    cr_expect_eq(p.code, 0, "%s: exit code %d: %s%s", name, p.code, p.out, p.error);
    tine_program_fini(&p);
}

#define MPI(name)                                                                                            \
    Test(mpi, name, .timeout = 90) { conform(#name); }
TINE_CONF_CASES(MPI)

static void says(int code, const char *words, tine_program p) {
    cr_expect_eq(p.code, code, "exit code %d: %s%s", p.code, p.out, p.error);
    cr_expect(strstr(p.out, words) || strstr(p.error, words), "%s%s", p.out, p.error);
    tine_program_fini(&p);
}

Test(mpi, initialised_below_multiple_is_refused_with_the_remedy, .timeout = 60) {
    need_mpirun();
    ranks_check_leaks_themselves();
    says(0, "OMPI_MPI_THREAD_LEVEL=3",
         tine_program_run(
             40, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n 2 $B/mpi/conformance plain-init",
             root()));
}

Test(mpi, without_a_launcher_is_refused_with_the_remedy, .timeout = 60) {
    need_mpirun();
    says(1, "`tine run -n", tine_program_run(40, "TINE_ENDPOINT=mpi:// exec $B/04_fibonacci 3"));
}

Test(mpi, under_the_mpirun_of_another_mpi_is_refused_with_the_remedy, .timeout = 60) {
    says(1, "use `tine run -n 2 PROGRAM` or mpirun.openmpi",
         tine_program_run(40, "PMI_RANK=0 PMI_SIZE=2 exec $B/04_fibonacci 3"));
}

Test(mpi, one_rank_starts_local_workers_and_says_so, .timeout = 60) {
    need_mpirun();
    tine_program p = tine_program_run(40, "exec mpirun %s -n 1 $B/04_fibonacci 9", root());
    cr_expect_str_eq(p.out, "fib(9) = 34\n");
    says(0, "started one process only: the workers are local ones", p);
}
