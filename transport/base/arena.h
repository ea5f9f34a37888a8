/* Memory of this process that its peers on this host can map: the pages of large buffers come from
 * here, so that a peer can be told where a tensor lies instead of being sent its bytes.
 *
 * One memfd for a process, as large as the bound that is set, but sparse: it holds what is in use,
 * and what is given back returns to the system at once (pages.h decides what is kept). It is mapped
 * once for writing, here, and once for reading by each peer. Its size is sealed, so that no access
 * by a peer can fail. A process that the program forks inherits the mapping, and neither takes
 * pages nor gives any back. Any thread may call. */
#ifndef TINE_TRANSPORT_BASE_ARENA_H
#define TINE_TRANSPORT_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TINE_ARENA_TOKEN = 16, TINE_ARENA_PAGE = 4096 };

/* Where a process's arena is: /proc/pid/fd/number. The token lies in the last page. */
typedef struct tine_arena_place {
    uint32_t pid, fd;
    uint64_t size;
    uint8_t token[TINE_ARENA_TOKEN];
} tine_arena_place;

/* Makes the arena of at most `size` bytes, unless there is one; it stays until the process ends. 0,
 * or a negative errno with a few words in *why that say what failed. On 0 the caller calls
 * tine_arena_close when it no longer needs the arena: from then on no pages are kept for the next
 * buffer. */
int tine_arena_open(uint64_t size, const char **why);
void tine_arena_close(void);
bool tine_arena_is_open(void);
/* Before and after this process forks: holds the arena's lock. */
void tine_arena_fork(bool begins);
bool tine_arena_get(tine_arena_place *out); /* false: there is none */
/* At least `size` bytes with any content; *taken: how many in all. NULL: no room (for less than
 * 2 MiB not every gap is tried), or no arena. They get their memory when they are written. */
void *tine_arena_take(size_t size, size_t *taken);
/* The bytes [from, from + n) of a block are about to be written: where they begin a whole unit of
 * 2 MiB, it is backed by a page of that size. Accepts memory that does not lie in the arena. */
void tine_arena_touch(void *block, size_t size, size_t from, size_t n);
bool tine_arena_has(size_t size); /* whether so many are free, in one piece or not */
void tine_arena_give(void *data, size_t taken);
/* Whether these bytes lie in the arena, and where. */
bool tine_arena_holds(const void *data, size_t size, uint64_t *offset);
/* The places that peers name lie below this size, taken or not. */
size_t tine_arena_size(void); /* 0: there is none */
const uint8_t *tine_arena_at(uint64_t offset);
size_t tine_arena_used(void); /* bytes taken now */
/* How many peers read from it: each adds 1, and -1 in the end. */
void tine_arena_count_reader(int change);
bool tine_arena_has_readers(void);
/* Locks another process's arena, which is to be mapped by this descriptor: it is locked as long as
 * the mapping stays, also when the descriptor is closed. 0, or a negative errno. */
int tine_arena_watch(int fd);
/* Whether a process that has locked the arena still has it mapped. */
bool tine_arena_is_watched(void);
/* Whether this process may map so many bytes more: where its address space is limited (ulimit -v),
 * half of that is left for everything else. */
bool tine_arena_may_map(uint64_t size);

#endif
