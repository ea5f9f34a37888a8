/* Memory that is a file: one that is read as a whole, or a segment that other processes map too. */
#ifndef TINE_TRANSPORT_BASE_MAP_H
#define TINE_TRANSPORT_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

/* Maps the regular file at `path` for reading. *out and *size: its bytes, for munmap(); NULL and 0
 * if it is empty. 0, or -EINVAL (it is not a regular file) or another -errno, and `why` says what
 * has failed. Does not block, also if it is a FIFO. */
int tine_map_file(const char *path, void **out, size_t *size, char *why, size_t why_size);

/* Makes a memory file of this name and size that cannot be resized. Its descriptor, or -errno, and
 * *why says in a literal what has failed. */
int tine_map_segment(const char *name, uint64_t size, const char **why);
/* Leaves a mapping of such a segment out of core dumps. The kernel counts it as anonymous memory:
 * each process that maps it would write all of it, the tensors of the others too. */
void tine_map_leave_undumped(void *at, size_t size);

#endif
