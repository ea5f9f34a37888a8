/* What a process can read about itself. */
#ifndef TINE_TRANSPORT_BASE_PROCESS_H
#define TINE_TRANSPORT_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The arguments that this process was started with, argv[0] included, and a NULL behind them: from
 * /proc/self/cmdline, whatever the program did to its own argv since. One allocation, freed with
 * free(). NULL: not readable, or no memory. */
char **tine_process_arguments(void);

/* The path of this process's executable. False: not readable, or longer than `size` - 1. */
bool tine_process_executable(char *path, size_t size);

/* The directory in which this process was started, or, for a library that was loaded later, in
 * which it was loaded. NULL: unknown, or this process cannot enter it now. */
const char *tine_process_start_directory(void);

/* The absolute form of a path that is relative to the current directory, malloc'ed. NULL: no
 * memory, or the current directory has no name. */
char *tine_process_absolute(const char *path);

/* The parent and the name (at most 15 characters) of a process. False: there is none. */
bool tine_process_look_up(int pid, int *parent, char name[32]);

/* Resident bytes of this process, or of another one of this host; 0: not readable. */
uint64_t tine_process_memory(void);
uint64_t tine_process_memory_of(int pid);
/* How many of these lie in arenas (arena.h) of other processes, which it only reads; at most
 * `most`. */
uint64_t tine_process_memory_borrowed(int pid, uint64_t most);

/* Raises the soft limit of file descriptors by n, at most to the hard one, so that the program
 * still has as many of its own. How many can be opened now; *limit: the soft limit. */
size_t tine_process_descriptors(size_t n, size_t *limit);
/* Gives a child, which has inherited the raised limit, the one that the program had. */
void tine_process_descriptors_restore(pid_t child);

/* The absolute path of the file that the memory at `address` was mapped from, as the kernel knows
 * it. dladdr knows what the file was called when it was loaded: a path relative to the directory of
 * that time, or, for a program found through PATH, a bare name. False: no file, not readable, or
 * longer than `size` - 1. */
bool tine_process_file_of(const void *address, char *path, size_t size);

#endif
