/* Heartbeats between hosts: they find a lost rank where no packet reports the loss (a cut cable, a
 * host without power). On one host the launcher's daemon notices every death.
 *
 * Each beat a rank sends a message to every peer that it cannot wake through a doorbell, and checks
 * whether it has received anything from that peer since the last beat. A process that did not run
 * for a while (Ctrl-Z, a paused machine) finds one beat missed, however long that was. While a task
 * computes the progress thread polls. Rank 0 may run a callback of the program for long, during
 * which nothing polls: so its peers allow it more missed beats. What a lost connector means for the
 * job is left to rank 0, whatever connectors it was connected to as well.
 *
 * Open MPI cannot go on without a rank, but until the program ends the other workers can: rank 0
 * reports the peer lost, and ends the job in place of MPI_Finalize. A rank that loses rank 0 ends
 * the job, or the part of it that it reaches. */
#include <stdio.h>

#include "transport/mpi/internal.h"

enum { MISSED_BY_RANK_0 = 60 }; /* in place of TINE_MPI_MISSED */

static void beat_peer(tine_mpi *t, tine_mpi_peer *p) {
    char reason[128];
    int most = p->rank ? TINE_MPI_MISSED : MISSED_BY_RANK_0;
    if (p->state != TINE_MPI_UP || p->leaving || p->doorbell) return;
    p->missed = p->heard ? 0 : p->missed + 1;
    p->heard = false;
    if (p->missed < most) {
        tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_ACK}, NULL, 0);
        return;
    }
    snprintf(reason, sizeof reason,
             "rank %d sent nothing for %g s (%d heartbeats were missed while this process ran)",
             p->rank, (double)t->base.config.heartbeat_ns * most / 1e9, most);
    if (!p->rank) tine_mpi_end_job(t->rank, reason, 1, true);
    if (t->listener) tine_mpi_end_together_never();
    tine_mpi_lose(t, p, false, reason);
}

bool tine_mpi_beat(tine_mpi *t) {
    int64_t now = tine_clock_ns();
    if (now < t->beat_at) return false;
    t->beat_at = now + t->base.config.heartbeat_ns;
    for (int i = 0; i < t->n_peers; i++) beat_peer(t, &t->peers[i]);
    return t->events.n > 0;
}
