/* Pairs: two connectors on the listener's host that send small frames to each other directly.
 *
 * The listener makes a lane's memory, tells each of the two where that is and which bell wakes the
 * other one, and takes no part in it any more. A connector that has opened it says so; when one of
 * the two has gone, or cannot open it, the other one is told. A frame that finds no room is not
 * sent, and a connector that finds the lane broken closes it, reports that as LOST, and goes on
 * without it: what did not come is then sent by way of the listener (transport.h, pair). */
#ifndef TINE_TRANSPORT_ZMQ_PAIR_H
#define TINE_TRANSPORT_ZMQ_PAIR_H

#include "transport/zmq/lane.h"

/* Listener: as tine_transport_ops.pair. */
int tine_zmq_pair_make(tine_zmq *t, tine_peer a, tine_peer b);
/* Listener: the lane of p, which has some pairs, is about to be closed. Connector: all of them are
 * closed with it. */
void tine_zmq_pairs_part(tine_zmq *t, const tine_zmq_peer *p);
/* A LANE message of ours. NULL, or what is wrong with it. */
const char *tine_zmq_pair_message(tine_zmq *t, tine_zmq_peer *p, const uint8_t *bytes, size_t size);

/* Connector. 0: the frame is the transport's; -EPIPE: it cannot be sent, and need not. */
int tine_zmq_pair_send(tine_zmq *t, tine_peer other, tine_frame *f);
/* As the transport's drop. */
void tine_zmq_pair_drop(tine_zmq *t, tine_peer other, bool bad, const char *why);
/* As the other lanes' in lane.c: true, `ev` is an event. */
bool tine_zmq_pair_receive(tine_zmq *t, tine_zmq_lane *l, tine_event *ev);

#endif
