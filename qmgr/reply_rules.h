/* reply_rules: which `reply` section a next host's words fit (docs/scheduler.md, "When a receiver says that it is too much").
 *
 * A pattern begins with a code and is compared with all of "421 4.7.0 text", as delivery/reply.h makes it; * stands for any octets, none included, and
 * letters are the same in either case. Time is linear in pattern and text. Pure. */
#ifndef POSTINO_REPLY_RULES_H
#define POSTINO_REPLY_RULES_H

#include "common/messages.h"
#include "conf/settings.h"

bool reply_rules_fit(struct span pattern, struct span text);

/* The first section that fits, for the site of that name (limits.h); NULL: none. `at`: enum said_at. */
const struct settings_reply *reply_rules_find(const struct settings *, struct span site, struct span said, unsigned at);

/* Whether the reply is the whole receiver's, and not only that of the hosts of one domain there: said before any mail, or as 421. */
bool reply_rules_is_about_all(struct span said, unsigned at);

#endif
