/* For tests that start programs under mpirun. */
#ifndef TINE_TESTS_SUPPORT_MPIRUN_H
#define TINE_TESTS_SUPPORT_MPIRUN_H

#include "tests/support/program.h"

/* skips the test where there is no mpirun of Open MPI, or no module for it */
void tine_need_mpirun(void);
/* At exit of a rank Open MPI's plugins are unloaded, and what they leaked has no name that could be
 * suppressed. */
void tine_ranks_check_leaks_themselves(void);
/* root's permission, as a user would have to give it; "" for others */
const char *tine_mpirun_root(void);

#endif
