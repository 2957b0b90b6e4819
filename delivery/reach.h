/* reach: what is remembered of addresses that could not be connected to, or not as soon as another of the same host, or slowly, and of address families. It
 * decides on an order and a delay, and never on whether an address is tried. Nothing is kept over a restart.
 *
 *   an address    that failed is doubtful for REACH_TIME, or until it works
 *                 that took long is given twice that time before another joins it (RFC 8305 5)
 *   a family      is doubtful for REACH_TIME after it failed for REACH_HOSTS hosts (by name) with no connection over it in between
 *
 * The tables are of a fixed size: an address that is pushed out is merely tried in its usual place. Times are milliseconds of the monotonic clock. */
#ifndef POSTINO_REACH_H
#define POSTINO_REACH_H

#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define REACH_TIME   ((uint64_t)600000)
#define REACH_DELAY  ((uint64_t)2000) /* the most that an address is given */
#define REACH_HOSTS  3
#define REACH_PLACES 4096

/* `address`: its port does not count. Of one that is neither IPv4 nor IPv6 nothing is remembered. */
void reach_failed(const struct sockaddr *address, struct span host, uint64_t now);
void reach_worked(const struct sockaddr *address, uint64_t took, uint64_t now);
/* How long to wait for it before another is tried: `least`, or more where it is known to be slow. */
uint64_t reach_delay(const struct sockaddr *address, uint64_t least, uint64_t now);
bool reach_is_doubtful(const struct sockaddr *address, uint64_t now);
bool reach_family_is_doubtful(int family, uint64_t now);

/* Does IPv6 go first? It does, unless it is doubtful and IPv4 is not. */
bool reach_prefers_ipv6(uint64_t now);

void reach_forget(void); /* all of it, for tests */

#endif
