/* clients: how many sessions each client has in this process. A client is an IPv4 address, or an IPv6 /64, which is what one customer has.
 */
#ifndef POSTINO_SMTPD_CLIENTS_H
#define POSTINO_SMTPD_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients *);
/* Counts one more session, unless there are `most` already: then false. */
bool clients_enter(struct clients *, const struct sockaddr *, uint64_t most);
void clients_leave(struct clients *, const struct sockaddr *);

#endif
