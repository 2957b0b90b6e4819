/* public: which addresses of a host a report may go to. A domain's record names the host, and its name servers say where that is: neither may make us
 * talk to ourselves or to the networks behind us. Pure. */
#ifndef POSTINO_STS_PUBLIC_H
#define POSTINO_STS_PUBLIC_H

#include "common/buf.h"

/* Of blank-separated addresses those that are anybody's: not this host's, private (RFC 1918, 6598, 4193), link-local, or nobody's. */
void public_addresses(struct span addresses, struct buf *out);

#endif
