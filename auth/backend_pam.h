/* backend_pam: the host's PAM as a back end (auth/conversation.h), for PLAIN and LOGIN, through auth/pam_warden.h.
 *
 * auth { pam_checks } passwords are with PAM at a time, BACKEND_PAM_LINE wait behind them (BACKEND_PAM_SHARE of one client address), and the next ones are told to come later. When the
 * warden dies auth ends too, and the master starts both anew. */
#ifndef POSTINO_AUTH_BACKEND_PAM_H
#define POSTINO_AUTH_BACKEND_PAM_H

#include "auth/conversation.h"

#define BACKEND_PAM_LINE  128
#define BACKEND_PAM_SHARE 16 /* of one address */

struct event_base;

int backend_pam_prepare(const struct settings *, struct error *); /* before the sandbox: starts the warden */
const struct backend *backend_pam(struct event_base *, const struct settings *);

#endif
