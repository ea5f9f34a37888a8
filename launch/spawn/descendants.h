/* What the tasks of a worker have started: processes that must not outlive a worker that is
 * killed. A worker has a mark in its environment, which everything that it starts inherits. */
#ifndef TINE_LAUNCH_SPAWN_DESCENDANTS_H
#define TINE_LAUNCH_SPAWN_DESCENDANTS_H

/* The variable; its value is unique to a start of a worker, and cannot be guessed. */
#define TINE_DESCENDANTS_MARK "TINE_STARTED_BY"

/* Kills the processes of this user that have one of n marks ("NAME=VALUE", which it sorts) in the
 * environment with which they were started, but for this one. Any thread; takes some milliseconds:
 * it reads the environment of each process of this user, once for all marks. */
void tine_descendants_kill(const char **marks, int n);

#endif
