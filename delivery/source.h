/* source: from which of this host's addresses a session goes, and what it calls itself there (conf/pool.h).
 *
 * qmgr chooses for each message, and the site in remote is of that source alone. What can't be known before the hosts' addresses are is decided
 * here: where none of them is of a family that the source has, the session goes from the first of the pool that has one. */
#ifndef POSTINO_SOURCE_H
#define POSTINO_SOURCE_H

#include "common/error.h"
#include "conf/settings.h"

#include <sys/socket.h>

struct session;

/* The session's hosts are known: chooses the source, and leaves out the addresses that it can't reach. False: no source can reach one, and the
 * session is over. */
bool source_fit(struct session *);
/* A socket for a connection to an address of that family, bound to the source; -1: not to be had, and whose fault that is stands in the session. */
int source_socket(struct session *, int family, struct error *);
/* Its address of that family; false: there is none. */
bool source_address(const struct session *, int family, struct sockaddr_storage *);
const char *source_hostname(const struct session *); /* for EHLO */

#endif
