/* remote: what all of postino-remote uses, and of postino-lmtp, which is the same program in another place. Set once, before the first job. */
#ifndef POSTINO_REMOTE_H
#define POSTINO_REMOTE_H

#include "common/peer.h"
#include "conf/settings.h"
#include "delivery/client_tls.h"

struct remote {
    const struct settings *settings;
    struct event_base *base;
    struct peer *dns, *sts;
    struct peer *creds;     /* NULL in postino-lmtp */
    struct client_tls *tls; /* NULL in postino-lmtp */
    bool sockets;           /* this is postino-lmtp: it speaks LMTP to UNIX sockets, and to nobody else */
};

extern struct remote remote;

#endif
