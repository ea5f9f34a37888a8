/* Descriptors of other processes, opened in /proc. */
#ifndef TINE_TRANSPORT_SHM_PROC_H
#define TINE_TRANSPORT_SHM_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { TINE_SHM_PROC_PATH = 64 };

void tine_shm_proc_path(char path[TINE_SHM_PROC_PATH], uint32_t pid, uint32_t fd);
/* Opens it if it has this type, and this size unless that is 0. A descriptor, or a negative
 * errno. */
int tine_shm_proc_open(uint32_t pid, uint32_t fd, mode_t type, off_t size, bool writes);
/* Whether it is a memfd that keeps this size for ever. */
bool tine_shm_is_sealed(int fd, off_t size);

#endif
