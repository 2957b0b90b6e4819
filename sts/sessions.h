/* sessions: what remote tells of TLS in its sessions, and what came of looks for policies, into the tally of the day. Nothing of it does anything
 * where `tlsrpt { from }` is not set. */
#ifndef POSTINO_STS_SESSIONS_H
#define POSTINO_STS_SESSIONS_H

#include "common/messages.h"

void sessions_setup(bool wanted);
void sessions_told(const struct message_tls_sessions *); /* looked at as a stranger's */
/* There is a policy that goes on, and it could not be looked whether it is still the one: a failure for itself, beside those of sessions. */
void sessions_look_failed(const char *domain, enum tls_result, const char *why);

#endif
