/* What the files of spawn share. */
#ifndef TINE_LAUNCH_SPAWN_INTERNAL_H
#define TINE_LAUNCH_SPAWN_INTERNAL_H

#include "launch/spawn/spawn.h"

char **tine_strings_copy(char *const *list); /* ends with NULL, like its copy. NULL: no memory */
void tine_strings_free(char **list);         /* accepts NULL */
/* Ends with *n and has room for two more before its NULL: the token and the lifeline of each
 * worker. NULL: no memory. */
char **tine_spawn_environment(const tine_spawn_config *config, size_t *n);

/* Removes the private directory that an ipc:// endpoint lies in, if it is one of this user's. */
void tine_private_remove_of(const char *endpoint);

/* pidfd_open, by number: older C libraries do not have it. -1 with errno where the kernel does not
 * either. */
int tine_pidfd_open(int pid);

#endif
