/* Whether both ends of `tine run --survive` live: the supervisor of each host holds a connection to
 * `tine run`, over tcp:// with the job's key, with heartbeats. What starts the supervisors does not
 * tell: srun does not notice that slurmstepd was killed, nor slurmstepd that srun was.
 *
 * The one frame of a connection is the number of the supervisor's host. */
#ifndef TINE_LAUNCH_COMMAND_PRESENCE_H
#define TINE_LAUNCH_COMMAND_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "transport/transport.h"

typedef struct tine_presence {
    tine_transport *transport; /* NULL: none */
    tine_peer *peers;          /* the listener's: of each host; 0: none */
    int n;                     /* the listener's: hosts; the supervisor's: its host */
    bool up;                   /* the supervisor's: it has been connected */
    char reason[128];          /* the supervisor's: why it holds no more */
} tine_presence;

/* Listens for the supervisors of n hosts at `url`, whose port is chosen. False, with a sentence. */
bool tine_presence_listen(tine_presence *p, const char *url, int n, char *why, size_t why_size);
int tine_presence_port(const tine_presence *p);
/* Calls `lost` for each host whose supervisor has connected and is gone. Never blocks. */
void tine_presence_turn(tine_presence *p, void (*lost)(void *ctx, int host), void *ctx);
/* Ends the supervisor of this host. False: none is connected. */
bool tine_presence_drop(tine_presence *p, int host);

/* The supervisor's end. False, with a sentence. */
bool tine_presence_join(tine_presence *p, const char *url, int host, char *why, size_t why_size);
/* False: `tine run` is gone, or has dropped this supervisor. Never blocks. */
bool tine_presence_holds(tine_presence *p);

/* Blocks until there is something to look at, at most so long, and never longer than 250 ms, in
 * which the caller looks at what does not wake it. */
void tine_presence_wait(tine_presence *p, int ms);

void tine_presence_fini(tine_presence *p); /* accepts a zeroed one */

#endif
