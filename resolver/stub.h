/* stub: one question to a resolver on loopback that validates, whose AD bit is believed (dns { trust_ad }; RFC 4035 4.9.3, RFC 6840 5.7).
 *
 *   WAITING --a socket is free--> UDP --answer--------------------------> done
 *                                  | ^ `--truncated--> TCP --answer-----> done
 *      refused, or silent: the next | |                 |
 *      server, with a new number    `-'                 `--lost: UDP, the next server
 *   all servers refused --> done, without an answer
 *
 * Each question has a socket (and so a port) and a number of its own; what does not answer just this question is not looked at. There is no cache: the resolver
 * has one. Time is the asker's: he cancels. */
#ifndef POSTINO_STUB_H
#define POSTINO_STUB_H

#include "common/error.h"
#include "resolver/nameservers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct stub;

/* `packet` NULL: there is no answer, and why. Valid during the call; the stub is gone then. */
typedef void stub_fn(const void *packet, size_t n, const char *why, void *arg);

/* -1: a server is not on loopback, or no address. The servers must live as long. */
int stub_setup(struct event_base *, const struct nameservers *, struct error *);
/* `done` is called once, never from here, unless stub_cancel() comes first. NULL: there can't be such a name. */
struct stub *stub_ask(const char *name, uint16_t type, stub_fn *done, void *arg);
void stub_cancel(struct stub *);

#endif
