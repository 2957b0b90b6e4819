/* courier: a process of its own that carries one POST at a time to a token server (RFC 6749 3.2), by libcurl over HTTPS, beside postino-creds.
 *
 * Answers of servers are strangers' octets, and HTTPS is much code: it is not in the process that has the secrets. It is forked before that reads them, has
 * no file, and may connect to the ports of token servers alone. It has a secret only while it carries it.
 *
 *   creds --url, addresses, body--> courier --POST--> server
 *         <--status, answer or why--
 *
 * It ends when creds does; if it ends first so does creds, and the master starts both anew. */
#ifndef POSTINO_CREDS_COURIER_H
#define POSTINO_CREDS_COURIER_H

#include "common/error.h"
#include "common/sandbox.h"
#include "common/span.h"
#include "conf/settings.h"

#define COURIER_SECONDS 20

struct event_base;

/* `status`: of HTTP; 0: there was no answer, and `text` says why. Valid during the call. */
typedef void courier_fn(unsigned status, struct span text, void *arg);

/* Before secrets are read. `box`: its sandbox. */
int courier_start(const struct settings *, const struct sandbox *box, bool unprivileged, struct error *);
void courier_open(struct event_base *); /* in the event loop's process */
/* Not while courier_busy(). `resolve`: for CURLOPT_RESOLVE, "" when the URL has an address. -1: it is too long, or the courier does not
 * take it, which the error says; `done` is not called. */
int courier_send(const char *url, const char *resolve, struct span body, courier_fn *done, void *arg, struct error *);
bool courier_busy(void);

#endif
