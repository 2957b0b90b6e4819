/* session: one SMTP conversation with a host of a site (RFC 5321), from the question to dns to the last QUIT.
 *
 *                     .--------- next address: no connection, bad greeting, EHLO refused, TLS demanded and not had, 421 ---.
 *                     v                                                                                                    |
 *   RESOLVING --> CONNECTING --> GREETING --> EHLO --> (HELO) --> IDLE --> MAIL --> RCPT... --> DATA --> BODY --> END -->--+--> IDLE
 *                     ^                       |  ^                  |        |                    |                  |
 *                     |                 STARTTLS |                  |        `------> RSET <------' nobody accepted  |
 *                     |                       v  |                  v                   |                            |
 *                     `--- tls = may:   HANDSHAKE                 QUIT <----------------+----- enough messages ------'
 *                        again in plain
 *
 * HANDSHAKE    stands before GREETING instead where TLS is from the first byte (smtps); EHLO is said once then, and there is no plain again.
 * LOGIN, AUTH  stand before the first IDLE, where the route has a login (login.h).
 *
 * IDLE      waits for a job of the site, remote.idle_timeout long. A session of another site that is about to connect to the same host may take its
 *           connection instead (reuse.c), and goes from RESOLVING or CONNECTING to IDLE with it; then this one ends.
 * MAIL...   in one write as far as the server takes PIPELINING (RFC 2920), else one command at a time.
 * BODY      goes out in pieces as the connection drains. Whatever goes wrong here ends the connection, as nothing may look like the end of
 * the message. END       the final dot is out. If the connection ends now nobody knows whether the server has the message (RFC 1047):
 * deferred, said so in the log.
 *
 * A job stays with its session through all the addresses as long as no recipient is decided. If a session that was used before, or was
 * idle since it was opened, breaks under a job before anything was decided, the job gets a fresh session: the server had closed an idle connection. */
#ifndef POSTINO_SESSION_H
#define POSTINO_SESSION_H

#include "delivery/site.h"

struct session *session_open(struct site *); /* for the next job that waits there */
void session_wake(struct session *);         /* IDLE: there is a job */

/* The asker is gone: its jobs under way are dropped with their connections, but for those in END, whose result nobody gets. */
void sessions_orphan(const struct channel *);
void sessions_quit_idle(void); /* from now on no session stays idle */
size_t sessions_open(void);

#endif
