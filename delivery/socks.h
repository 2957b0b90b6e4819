/* socks: what is said to a SOCKS 5 proxy (RFC 1928) until it has a connection to an address, and how its answers are read. Pure; the answers are
 * strangers' octets. No authentication; names are never given to it, as they are resolved by our dns.
 *
 *   socks_begin: greeting --> METHOD --"no authentication"--> CONNECT --> REPLY --succeeded--> DONE: what follows is the next host's
 *                               `--> FAILED                              `--> FAILED */
#ifndef POSTINO_SOCKS_H
#define POSTINO_SOCKS_H

#include "common/buf.h"

#include <sys/socket.h>

enum socks_state { SOCKS_METHOD, SOCKS_REPLY, SOCKS_DONE, SOCKS_FAILED };

struct socks {
    enum socks_state state;
    const char *why; /* FAILED */
    bool is_theirs;  /* FAILED: the proxy could not reach the address (else: the proxy does not do what we need) */
};

void socks_begin(struct socks *, struct buf *out);
/* Takes what it can use of `in`; `used` octets are to be consumed. What is to be said to the proxy is appended to `out`. */
enum socks_state socks_feed(struct socks *, struct span in, const struct sockaddr *to, size_t *used, struct buf *out);

#endif
