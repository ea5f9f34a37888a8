/* The cores that this process may use. */
#ifndef TINE_RUNTIME_SETTINGS_CORES_H
#define TINE_RUNTIME_SETTINGS_CORES_H

/* The smallest of the affinity mask, the control group's CPU quota, rounded up, and what Slurm gave
 * to this process (SLURM_CPUS_PER_TASK, SLURM_CPUS_ON_NODE); at least 1. */
int tine_cores_available(void);

#endif
