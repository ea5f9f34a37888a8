/* What a process is told by the launcher that started it, as recorded from each launcher's
 * environment. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "transport/launcher.h"

static void only(const char *const pairs[]) {
    clearenv();
    for (; pairs[0]; pairs += 2) setenv(pairs[0], pairs[1], 1);
}
#define ONLY(...) only((const char *const[]){__VA_ARGS__, NULL})

Test(mpi_launcher, none_without_a_launcher, .timeout = 10) {
    tine_launcher l;
    ONLY("HOME", "/root");
    cr_assert_not(tine_launcher_detect(&l));
}

Test(mpi_launcher, mpirun_of_open_mpi, .timeout = 10) {
    tine_launcher l;
    ONLY("OMPI_COMM_WORLD_SIZE", "5", "OMPI_COMM_WORLD_RANK", "3", "OMPI_COMM_WORLD_LOCAL_RANK",
         "1", "OMPI_COMM_WORLD_LOCAL_SIZE", "2", "PMIX_RANK", "3");
    cr_assert(tine_launcher_detect(&l));
    cr_assert(l.usable);
    cr_assert_eq(l.rank, 3);
    cr_assert_eq(l.size, 5);
    cr_assert_eq(l.local_rank, 1);
    cr_assert_eq(l.local_size, 2);
}

Test(mpi_launcher, a_single_rank_is_a_job_too, .timeout = 10) {
    tine_launcher l;
    ONLY("OMPI_COMM_WORLD_SIZE", "1", "OMPI_COMM_WORLD_RANK", "0");
    cr_assert(tine_launcher_detect(&l));
    cr_assert_eq(l.size, 1);
}

Test(mpi_launcher, srun_with_pmix, .timeout = 10) {
    tine_launcher l;
    ONLY("SLURM_JOB_ID", "7", "SLURM_STEP_ID", "0", "SLURM_STEP_NUM_TASKS", "4", "SLURM_PROCID",
         "2", "SLURM_LOCALID", "0", "PMIX_RANK", "2", "PMIX_NAMESPACE", "slurm.pmix.7.0");
    cr_assert(tine_launcher_detect(&l));
    cr_assert(l.usable);
    cr_assert_eq(l.rank, 2);
    cr_assert_eq(l.size, 4);
}

Test(mpi_launcher, srun_without_pmix_is_refused_with_the_remedy, .timeout = 10) {
    tine_launcher l;
    ONLY("SLURM_JOB_ID", "7", "SLURM_STEP_ID", "0", "SLURM_STEP_NUM_TASKS", "4", "SLURM_PROCID",
         "2");
    cr_assert(tine_launcher_detect(&l));
    cr_assert_not(l.usable);
    cr_assert(strstr(l.why, "srun --mpi=pmix -n 4"), "%s", l.why);
}

Test(mpi_launcher, a_shell_in_an_allocation_is_no_launcher, .timeout = 10) {
    tine_launcher l;
    ONLY("SLURM_JOB_ID", "7", "SLURM_NTASKS", "8", "SLURM_NNODES", "2"); /* salloc */
    cr_assert_not(tine_launcher_detect(&l));
    ONLY("SLURM_JOB_ID", "7", "SLURM_NTASKS", "8", "SLURM_PROCID", "0"); /* sbatch */
    cr_assert_not(tine_launcher_detect(&l));
    ONLY("SLURM_JOB_ID", "7", "SLURM_NTASKS", "8", "SLURM_STEP_ID", "4294967290",
         "SLURM_STEP_NUM_TASKS", "1", "SLURM_PROCID", "0"); /* salloc with use_interactive_step */
    cr_assert_not(tine_launcher_detect(&l));
}

Test(mpi_launcher, another_mpi_is_refused_with_the_remedy, .timeout = 10) {
    tine_launcher l;
    ONLY("PMI_RANK", "1", "PMI_SIZE", "3", "MPI_LOCALRANKID", "1", "MPI_LOCALNRANKS", "3");
    cr_assert(tine_launcher_detect(&l));
    cr_assert_not(l.usable);
    cr_assert_eq(l.rank, 1);
    cr_assert(strstr(l.why, "MPICH") && strstr(l.why, "tine run -n 3"), "%s", l.why);
}

Test(mpi_launcher, nonsense_is_not_believed, .timeout = 10) {
    tine_launcher l;
    ONLY("OMPI_COMM_WORLD_SIZE", "many", "OMPI_COMM_WORLD_RANK", "0");
    cr_assert_not(tine_launcher_detect(&l));
    ONLY("OMPI_COMM_WORLD_SIZE", "2", "OMPI_COMM_WORLD_RANK", "2");
    cr_assert(tine_launcher_detect(&l));
    cr_assert_not(l.usable);
}
