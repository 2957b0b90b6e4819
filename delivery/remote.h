/* remote: what all of postino-remote uses. Set once, before the first job. */
#ifndef POSTINO_REMOTE_H
#define POSTINO_REMOTE_H

#include "common/peer.h"
#include "conf/settings.h"
#include "delivery/client_tls.h"

struct remote {
    const struct settings *settings;
    struct event_base *base;
    struct peer *dns, *sts;
    struct client_tls *tls;
};

extern struct remote remote;

#endif
