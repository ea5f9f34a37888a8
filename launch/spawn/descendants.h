/* What the tasks of a worker have started: processes that must not outlive a worker that is
 * killed. A worker has a mark in its environment, which everything that it starts inherits. */
#ifndef TINE_LAUNCH_SPAWN_DESCENDANTS_H
#define TINE_LAUNCH_SPAWN_DESCENDANTS_H

/* The variable. A mark is unique to a start of a worker or a program, and cannot be guessed. What
 * another `tine run` starts within that has both marks, separated by a comma, its own is last. */
#define TINE_DESCENDANTS_MARK "TINE_STARTED_BY"

/* "NAME=VALUE", for the environment of what is started with this mark. `outer`: the marks of this
 * process, if that is to have them as well; may be NULL. malloc'ed; NULL: no memory. */
char *tine_descendants_variable(const char *outer, const char *mark);

/* Kills the processes of this user that have one of n marks (which it sorts) in the environment
 * with which they were started, but for this one. Any thread; takes some milliseconds:
 * it reads the environment of each process of this user, once for all marks. */
void tine_descendants_kill(const char **marks, int n);

#endif
