/* For tests that start programs under mpirun. */
#ifndef TINE_TESTS_SUPPORT_MPIRUN_H
#define TINE_TESTS_SUPPORT_MPIRUN_H

#include "tests/support/program.h"

/* Skips the test where there is no mpirun of Open MPI, or no module for it. */
void tine_need_mpirun(void);
/* Turns LeakSanitizer's check at exit off in ranks: Open MPI has unloaded its plugins by then, so
 * their leaks have no names to suppress. */
void tine_ranks_check_leaks_themselves(void);
/* The option that mpirun demands of root; "" for others. */
const char *tine_mpirun_root(void);

#endif
