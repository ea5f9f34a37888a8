/* Each launcher tells its ranks their numbers in environment variables of its own. Open MPI's
 * library understands its own mpirun and PMIx (prterun, srun --mpi=pmix). Under any other it would
 * start one job of one rank for each process without an error, so other launchers are recognised
 * too and refused with the remedy. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/process.h"
#include "transport/launcher.h"

/* A non-negative number in the environment, or `otherwise`. */
static int environment_number(const char *name, int otherwise) {
    const char *text = getenv(name);
    char *end;
    if (!text || !*text) return otherwise;
    long v = strtol(text, &end, 10);
    return *end || v < 0 || v > 1 << 24 ? otherwise : (int)v;
}

static void launcher_refuse(tine_launcher *l, const char *who) {
    l->usable = false;
    snprintf(l->why, sizeof l->why,
             "%s started this program, and Tine's mpi:// uses Open MPI, which would see %d jobs of "
             "one rank: use `tine run -n %d PROGRAM` or mpirun.openmpi; if none did, unset "
             "PMI_RANK and PMI_SIZE",
             who, l->size, l->size);
}

static bool detect_open_mpi(tine_launcher *l) {
    l->size = environment_number("OMPI_COMM_WORLD_SIZE", 0);
    l->rank = environment_number("OMPI_COMM_WORLD_RANK", -1);
    if (l->size < 1 || l->rank < 0) return false;
    l->name = "mpirun (Open MPI)";
    l->local_rank = environment_number("OMPI_COMM_WORLD_LOCAL_RANK", -1);
    l->local_size = environment_number("OMPI_COMM_WORLD_LOCAL_SIZE", 0);
    l->usable = true;
    return true;
}

/* SLURM_STEP_NUM_TASKS is there in a step alone; SLURM_PROCID is also set (to 0) in a batch script
 * and some shells of salloc. */
static bool detect_slurm(tine_launcher *l) {
    l->size = environment_number("SLURM_STEP_NUM_TASKS", 0);
    l->rank = environment_number("SLURM_PROCID", -1);
    if (l->size < 1 || l->rank < 0 || !getenv("SLURM_STEP_ID")) return false;
    l->local_rank = environment_number("SLURM_LOCALID", -1);
    l->local_size = environment_number("SLURM_STEP_TASKS_PER_NODE", 0);
    l->name = "srun";
    l->alike = true;
    l->usable = getenv("PMIX_RANK");
    /* an interactive shell is such a step: there is no job to join */
    if (!l->usable && l->size == 1) return false;
    if (!l->usable)
        snprintf(l->why, sizeof l->why,
                 "srun started %d copies of this program without PMIx, and they cannot find each "
                 "other: use `srun --mpi=pmix -n %d PROGRAM`, or mpirun inside the allocation",
                 l->size, l->size);
    return true;
}

static bool detect_pmix(tine_launcher *l) {
    l->rank = environment_number("PMIX_RANK", -1);
    l->size = environment_number("PRTE_COMM_WORLD_SIZE", 0);
    if (l->rank < 0 || l->size < 1) return false;
    l->name = "prterun";
    l->local_rank = environment_number("PRTE_COMM_WORLD_LOCAL_RANK", -1);
    l->local_size = environment_number("PRTE_COMM_WORLD_LOCAL_SIZE", 0);
    l->usable = true;
    return true;
}

/* MPICH's hydra, and its descendants (Intel MPI, MVAPICH): they use PMI 1 or 2. */
static bool detect_hydra(tine_launcher *l) {
    l->rank = environment_number("PMI_RANK", -1);
    l->size = environment_number("PMI_SIZE", 0);
    if (l->rank < 0 || l->size < 1) return false;
    l->name = getenv("I_MPI_HYDRA_TOPOLIB") || getenv("I_MPI_MPIRUN") ? "mpirun of Intel MPI"
                                                                      : "mpirun of MPICH";
    l->local_rank = environment_number("MPI_LOCALRANKID", -1);
    l->local_size = environment_number("MPI_LOCALNRANKS", 0);
    launcher_refuse(l, l->name);
    return true;
}

/* ---- variables without their process ---- */

extern char **environ;

static bool environment_has_prefix(const char *prefix) {
    for (char **v = environ; v && *v; v++)
        if (strncmp(*v, prefix, strlen(prefix)) == 0) return true;
    return false;
}

/* Open MPI's and PMIx's variables name a server that answers the rank. Where they were copied by
 * hand, or left over from a job, some of them do not. */
static bool server_named(const tine_launcher *l) {
    return !l->usable || environment_has_prefix("PMIX_SERVER_URI") ||
           environment_has_prefix("OMPI_MCA_orte_hnp_uri=");
}

static bool process_uses_mpi(int pid) {
    char path[64], *line = NULL;
    size_t room = 0;
    bool uses = false;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *f = fopen(path, "re");
    while (f && !uses && getline(&line, &room, f) > 0)
        uses = strstr(line, "/libmpi.so") || strstr(line, "/libmpich.so");
    free(line);
    if (f) fclose(f);
    return uses;
}

/* A process between this one and the launcher is an MPI program: it is the rank, and has started
 * this one, whose MPI_Init would take part in the rank's job a second time. */
static bool rank_is_ancestor(void) {
    static const char *const launchers[] = {"mpirun", "orterun", "mpiexec", "orted",     "prted",
                                            "prte",   "prterun", "srun",    "slurmstepd"};
    char name[32];
    int at = getppid(), up;
    for (int depth = 0; at > 1 && depth < 64 && tine_process_look_up(at, &up, name); depth++) {
        for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
            if (strncmp(name, launchers[i], strlen(launchers[i])) == 0) return false;
        if (process_uses_mpi(at)) return true;
        at = up;
    }
    return false;
}

bool tine_launcher_rank(tine_launcher *out) {
    return tine_launcher_detect(out) && server_named(out) && !rank_is_ancestor();
}

/* Ranks have the same program, arguments and settings, as a rule: rank 0 has been refused as well
 * and says why. Under srun that is taken as certain, but for what depends on the host, which its
 * first rank says. mpirun ends the job when rank 0 ends with an error, so a rank that is still
 * there after that has a reason of its own. */
bool tine_launcher_speaks(const tine_launcher *l, bool host) {
    enum { REFUSED_MS = 3000 }; /* in which mpirun ends the ranks */
    if (l->rank == 0) return true;
    if (l->alike && (!host || l->local_rank > 0)) return false;
    return poll(NULL, 0, REFUSED_MS) == 0; /* else a signal */
}

bool tine_launcher_detect(tine_launcher *out) {
    tine_launcher l = {.local_rank = -1};
    if (!detect_open_mpi(&l) && !detect_pmix(&l) && !detect_slurm(&l) && !detect_hydra(&l))
        return false;
    if (l.rank >= l.size) {
        l.usable = false;
        snprintf(l.why, sizeof l.why,
                 "%s set rank %d of %d ranks in the environment, which is impossible: start the "
                 "program anew",
                 l.name, l.rank, l.size);
    }
    *out = l;
    return true;
}
