/* The cores that this process may use. */
#ifndef TINE_RUNTIME_SETTINGS_CORES_H
#define TINE_RUNTIME_SETTINGS_CORES_H

/* The smallest of the physical cores in the affinity mask, the control group's CPU quota, rounded
 * up, and what Slurm gave to the task and has on this host; at least 1. */
int tine_cores_available(void);
/* The least quota, in cores rounded up, of the groups that a file like /proc/self/cgroup names, and
 * of those above them, below a root like /sys/fs/cgroup; 0: none. */
int tine_cores_by_quota(const char *groups, const char *root);

#endif
