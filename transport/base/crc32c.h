/* CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of bytes that leave the machine. The
 * CPU's instruction is used where there is one (SSE 4.2), else a table of 8 KiB; both give the same
 * numbers. */
#ifndef TINE_TRANSPORT_BASE_CRC32C_H
#define TINE_TRANSPORT_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` is the checksum of (0: nothing) followed by n bytes at p. */
uint32_t tine_crc32c(uint32_t crc, const void *p, size_t n);
/* The same, and copies the n bytes to `to`: each piece is added up while it is in the cache. */
uint32_t tine_crc32c_copy(uint32_t crc, void *to, const void *from, size_t n);

/* The one without the instruction, for tests. */
uint32_t tine_crc32c_portable(uint32_t crc, const void *p, size_t n);

#endif
