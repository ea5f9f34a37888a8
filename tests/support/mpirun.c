/* See mpirun.h. */
#include "tests/support/mpirun.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void tine_need_mpirun(void) {
    tine_program p = tine_program_run(20, "mpirun --version && test -e $B/libtine-mpi.so");
    bool usable = p.code == 0 && strstr(p.out, "Open MPI");
    tine_program_fini(&p);
    if (!usable) cr_skip_test("no mpirun of Open MPI here");
}

void tine_ranks_check_leaks_themselves(void) {
    char options[1024];
    const char *asan = getenv("ASAN_OPTIONS");
    if (!asan) return;
    snprintf(options, sizeof options, "%s:leak_check_at_exit=0", asan);
    setenv("ASAN_OPTIONS", options, 1);
}

const char *tine_mpirun_root(void) { return geteuid() == 0 ? "--allow-run-as-root" : ""; }
