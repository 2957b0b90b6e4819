/* listed: is an address in one of the networks of a list in the configuration? For the lists that are looked at once a connection, if at all. */
#ifndef POSTINO_SMTPD_LISTED_H
#define POSTINO_SMTPD_LISTED_H

#include "conf/settings.h"

#include <sys/socket.h>

bool listed(const struct strings *networks, const struct sockaddr *);

#endif
