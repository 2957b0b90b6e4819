/* clientname: the name of a client's address: its PTR, when that name has this very address among its own. */
#ifndef POSTINO_CLIENTNAME_H
#define POSTINO_CLIENTNAME_H

#include "common/span.h"

struct clientname;

/* `name` is a host name, or "unknown"; valid during the call. */
typedef void clientname_fn(struct span name, void *arg);

/* NULL: `done` was called already ("unknown": not an address). Else it will be, once, unless clientname_cancel() comes first. */
struct clientname *clientname_start(struct span address, clientname_fn *done, void *arg);
void clientname_cancel(struct clientname *);

#endif
