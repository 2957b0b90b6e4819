/* parameters: those of MAIL and RCPT (RFC 5321 4.1.2 Mail-parameters, and each extension's own). Pure; for command.c. */
#ifndef POSTINO_SMTPD_PARAMETERS_H
#define POSTINO_SMTPD_PARAMETERS_H

#include "smtpd/command.h"

/* One parameter, `key` or `key=value`, of c->verb. `seen` remembers which were there; 0 at first. */
enum command_result parameter_take(struct command *c, struct span word, unsigned *seen);

/* The value of ORCPT without its xtext, as printable ASCII: what is UTF-8 in it (utf-8-addr-unitext, RFC 6533 3) becomes utf-8-addr-xtext,
 * which may travel everywhere, whatever type it was said to be of. False, and `out` is as it was: it is none. */
bool parameter_orcpt(struct span value, struct buf *out);
/* parameters_times.c: the values of HOLDFOR and HOLDUNTIL (RFC 4865), BY (RFC 2852) and MT-PRIORITY (RFC 6710). False: it can't be. */
bool parameter_hold_for(struct span, struct command *);
bool parameter_hold_until(struct span, struct command *);
bool parameter_by(struct span, struct command *);
bool parameter_mt_priority(struct span, struct command *);

#endif
