/* edges: every process is connected to the present server of each of its edges.
 *
 * Which server that is: for a process of the generation that a reload is bringing up, that generation's; for all others, draining ones
 * included, the current generation's. A program that stays through reloads (qmgr) is everybody's. A server that is DOWN counts: its clients
 * get a socket at once, and the other end waits for it in the master; so a client can tell a server that died from one that hung up on it
 * (common/peer.h). */
#ifndef POSTINO_EDGES_H
#define POSTINO_EDGES_H

#include "master/process.h"

/* Makes all connections that should be there and are not. Safe at any time; does nothing when nothing is missing. */
void edges_wire(void);

/* The server that `client` should talk to on that edge; NULL: none. */
struct process *edges_server(const struct process *client, const struct edge_row *);

#endif
