/* The mpi transport: the conformance suite under mpirun, a test for each case. Each run is a job of
 * four ranks whose roles are in tests/mpi/conformance.c. Root's permission is given here, as a user
 * would have to. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/conformance.h"
#include "tests/support/mpirun.h"

static void conform(const char *name) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p = tine_program_run(
        60, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n 4 $B/mpi/conformance %s",
        tine_mpirun_root(), name);
    if (p.code == 77) {
        tine_program_fini(&p);
        cr_skip_test("Open MPI ends the job when a rank dies");
    }
    cr_expect_eq(p.code, 0, "%s: exit code %d: %s%s", name, p.code, p.out, p.error);
    tine_program_fini(&p);
}

#define MPI(name)                                                                                  \
    Test(mpi, name, .timeout = 90) { conform(#name); }
TINE_CONF_CASES(MPI)

static void says(int code, const char *words, tine_program p) {
    cr_expect_eq(p.code, code, "exit code %d: %s%s", p.code, p.out, p.error);
    cr_expect(strstr(p.out, words) || strstr(p.error, words), "%s%s", p.out, p.error);
    tine_program_fini(&p);
}

Test(mpi, initialised_below_multiple_is_refused_with_the_remedy, .timeout = 60) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    says(0, "OMPI_MPI_THREAD_LEVEL=3",
         tine_program_run(
             40,
             "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n 2 $B/mpi/conformance plain-init",
             tine_mpirun_root()));
}

Test(mpi, without_a_launcher_is_refused_with_the_remedy, .timeout = 60) {
    tine_need_mpirun();
    says(1, "`tine run -n", tine_program_run(40, "TINE_ENDPOINT=mpi:// exec $B/04_fibonacci 3"));
}

Test(mpi, under_the_mpirun_of_another_mpi_is_refused_with_the_remedy, .timeout = 60) {
    says(1, "use `tine run -n 2 PROGRAM` or mpirun.openmpi",
         tine_program_run(40, "PMI_RANK=0 PMI_SIZE=2 exec $B/04_fibonacci 3"));
}

Test(mpi, one_rank_starts_local_workers_and_says_so, .timeout = 60) {
    tine_need_mpirun();
    tine_program p =
        tine_program_run(40, "exec mpirun %s -n 1 $B/04_fibonacci 9", tine_mpirun_root());
    cr_expect_str_eq(p.out, "fib(9) = 34\n");
    says(0, "started one process only: workers are started on this host", p);
}
