/* The private directory in which a coordinator's ipc:// endpoint lies by default: mode 0700, in
 * XDG_RUNTIME_DIR, TMPDIR or /tmp, with a lock file that the coordinator holds as long as it
 * lives. */
#ifndef TINE_LAUNCH_SPAWN_PRIVATE_H
#define TINE_LAUNCH_SPAWN_PRIVATE_H

#include "runtime/tine.h"

typedef struct tine_private {
    int lock;      /* descriptor; 0: none */
    char dir[80];  /* "/tmp/tine-1000-4711-Xk2f9Q" (user, pid) */
    char url[108]; /* "ipc:///tmp/tine-1000-4711-Xk2f9Q/socket" */
} tine_private;

/* Creates one, after removing those of this user whose coordinator died. Errors: EIO with a
 * sentence. */
tine_error tine_private_open(tine_private *p);
/* Makes the directory and its lock again where somebody has removed them. 0; -1 with errno: that
 * cannot be done, or the path is not this user's directory. */
int tine_private_restore(tine_private *p);
/* Removes it. Accepts a zeroed one. Here and below: a directory that Tine cannot prove it made, or
 * in which others have put something, is left alone. */
void tine_private_close(tine_private *p);
/* Removes the private directory of this URL, whose coordinator is known to have ended. */
void tine_private_remove_of(const char *endpoint);

/* Calls fn for each private directory of this user whose coordinator lives, in the places where one
 * may be. */
void tine_private_each(void (*fn)(void *ctx, int pid, const char *url), void *ctx);

#endif
