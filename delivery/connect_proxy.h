/* connect_proxy: an attempt (connect.c) of a session whose route has a proxy: what is said to the proxy between TCP and the next host's greeting.
 *
 *   (TCP to the proxy) --> connect_proxy_reached --> SOCKS 5: talks (socks.h) --> connect_proxy_said --> attempt_arrived: GREETING
 *                                  |                              `--> failed                 `--> failed
 *                                  `--> haproxy: a header goes in front (proxy_out.h) --> attempt_arrived
 *
 * Each call ends in attempt_arrived(), in attempt_give_up() or with the attempt under way. What the next host is to blame for is told apart from what the
 * proxy is: of a proxy that is of no use no other address is tried, and the failure is our own (OWN_PROXY). The caller keeps the session alive around a call
 * (session_enter). */
#ifndef POSTINO_CONNECT_PROXY_H
#define POSTINO_CONNECT_PROXY_H

#include "delivery/session_internal.h"

bool connect_by_proxy(const struct session *);
void connect_proxy_reached(struct attempt *);
void connect_proxy_said(struct attempt *); /* there is input that was not looked at */
void connect_proxy_ended(struct attempt *, enum stream_end, const char *why);

#endif
