/* The daemon of a parallel launcher that has started this process: mpirun itself, orted,
 * slurmstepd. It can be killed, which leaves its processes and its files behind. */
#ifndef TINE_TRANSPORT_DAEMON_H
#define TINE_TRANSPORT_DAEMON_H

#include <sys/types.h>

/* The nearest ancestor that is one: there may be a shell or a debugger between. Where there is
 * none: the parent, with an empty name; 0: it has ended. */
pid_t tine_daemon_find(char name[32]);
/* A pidfd of it, close-on-exec. -1: it has ended, or the kernel has no pidfds. */
int tine_daemon_open(pid_t daemon);
/* Removes Open MPI's session directory `dir` only if it is that of the daemon, which is gone:
 * .../ompi.HOST.UID/pid.N, N being its pid, or on other hosts .../jf.F, F being the family of this
 * process's job. NULL is accepted. */
void tine_daemon_session_remove(pid_t daemon, const char *dir);
/* The same for those that the environment names: Open MPI tells its processes. */
void tine_daemon_sessions_remove(pid_t daemon);
/* Leaves a mark in those, and removes the marked ones beside them whose daemon is gone: where all
 * processes of a host were killed, nobody has. */
void tine_daemon_sessions_sweep(pid_t daemon);

#endif
