/* The mpi transport: the conformance suite under mpirun, a test for each case. Each run is a job of four ranks whose roles
 * are in tests/mpi/conformance.c. Root's permission is given here, as a user would have to. */
#include <criterion/criterion.h>
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

static void conform(const char *name) {
    need_mpirun();
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
