/* `tine run`, called in this process: what it composes and what it says. */
#ifndef TINE_TESTS_RUN_FIXTURE_H
#define TINE_TESTS_RUN_FIXTURE_H

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/cli/commands.h"
#include "runtime/settings/cores.h"

#define CALL(...) call((char *[]){"run", __VA_ARGS__, NULL})

static inline int call(char **argv) {
    int argc = 0;
    while (argv[argc]) argc++;
    return tine_command_run(argc, argv);
}

static inline void capture(void) {
    cr_redirect_stdout();
    cr_redirect_stderr();
}

static inline const char *text_of(FILE *f) {
    static char text[4096];
    fflush(NULL);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    return text;
}

/* A PATH in which `mpirun` prints `version`, or which has none. */
static char dir[64];

static inline void fake_mpirun(const char *version) {
    char path[128];
    snprintf(dir, sizeof dir, "/tmp/tine-run-XXXXXX");
    cr_assert(mkdtemp(dir));
    if (version) {
        snprintf(path, sizeof path, "%s/mpirun", dir);
        FILE *f = fopen(path, "w");
        fprintf(f, "#!/bin/sh\necho '%s'\n", version);
        fclose(f);
        chmod(path, 0755);
    }
    setenv("PATH", dir, 1);
}

static inline void remove_fake(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/mpirun", dir);
    unlink(path);
    rmdir(dir);
}

/* The build directory may lie elsewhere. */
static inline void prepare(void) {
    const char *build = getenv("TINE_BUILD");
    setenv("TINE_MODULE_DIR", build ? build : "build", 1);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("OMPI_ALLOW_RUN_AS_ROOT");
    unsetenv("TINE_THREADS");
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_CPUS_PER_NODE");
    unsetenv("PBS_NODEFILE");
    unsetenv("LSB_MCPU_HOSTS");
    unsetenv("PE_HOSTFILE");
    capture();
}

static inline const char *said(void) { return text_of(cr_get_redirected_stderr()); }

static inline const char *composed(char **argv) {
    cr_assert_eq(call(argv), 0, "%s", said());
    return text_of(cr_get_redirected_stdout());
}
#define COMPOSED(...)                                                                              \
    composed((char *[]){"run", "--dry-run", "--allow-run-as-root", __VA_ARGS__, NULL})

static inline void slurm_job(void) {
    setenv("SLURM_JOB_ID", "7", 1);
    setenv("SLURM_JOB_NODELIST", "h[1-4]", 1);
    setenv("SLURM_JOB_NUM_NODES", "4", 1);
    setenv("SLURM_TASKS_PER_NODE", "2(x3),1", 1);
    setenv("SLURM_NTASKS", "7", 1);
}

#endif
