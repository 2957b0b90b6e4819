/* policy: one request to a policy service, in the protocol of Postfix's policy delegation (SMTPD_POLICY_README): lines of name=value, an empty
 * line; the answer (policy_reply.h). One connection a request, on the event loop.
 *
 *   CONNECTING --> ASKED --an empty line--> done, with the action's words
 *        \------------\-----not there, not read, too long, hung up, timeout--> done, without */
#ifndef POSTINO_POLICY_H
#define POSTINO_POLICY_H

#include "common/span.h"

#include <stdint.h>

struct event_base;
struct policy;

/* Words are empty when none came; `why` then says so. Valid during the call. */
typedef void policy_fn(struct span words, const char *why, void *arg);

/* `service` as access_service_address() reads it. `done` is called once, and never before this returns, unless policy_cancel() comes first. */
struct policy *policy_ask(struct event_base *, const char *service, struct span request, uint64_t timeout_seconds, policy_fn *done,
                          void *arg);
void policy_cancel(struct policy *); /* NULL is ignored */

#endif
