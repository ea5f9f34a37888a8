/* The cores that this process may use. */
#ifndef TINE_RUNTIME_SETTINGS_CORES_H
#define TINE_RUNTIME_SETTINGS_CORES_H

/* The smaller of the affinity mask and the control group's CPU quota, rounded up; at least 1. */
int tine_cores_available(void);

#endif
