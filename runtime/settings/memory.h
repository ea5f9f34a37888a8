/* The memory that this process may use. */
#ifndef TINE_RUNTIME_SETTINGS_MEMORY_H
#define TINE_RUNTIME_SETTINGS_MEMORY_H

#include <stdint.h>

/* The least limit, in bytes, of the control groups that a file like /proc/self/cgroup names, and of
 * those above them, below a root like /sys/fs/cgroup; 0: none. */
uint64_t tine_memory_by_group(const char *groups, const char *root);
/* The least of that and of the machine's memory; 0: not known. */
uint64_t tine_memory_available(void);

#endif
