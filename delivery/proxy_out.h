/* proxy_out: the PROXY header (version 2, of HAProxy) that goes in front of a connection, so that the proxy makes it from the source's address. Pure. */
#ifndef POSTINO_PROXY_OUT_H
#define POSTINO_PROXY_OUT_H

#include "common/buf.h"

#include <sys/socket.h>

/* Both of one family. */
void proxy_out_header(const struct sockaddr *from, const struct sockaddr *to, struct buf *out);

#endif
