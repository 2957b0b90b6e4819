/* policy_reply: what a policy service answers (SMTPD_POLICY_README): lines of name=value, and an empty line behind them. Pure. */
#ifndef POSTINO_POLICY_REPLY_H
#define POSTINO_POLICY_REPLY_H

#include "common/span.h"

enum policy_reply {
    POLICY_REPLY_MORE,   /* no empty line has come yet */
    POLICY_REPLY_ACTION, /* `words`: printable ASCII, at least one octet, of the last line that begins with action= */
    POLICY_REPLY_NONE,   /* it is whole, and has no such line, or one with other octets */
};

enum policy_reply policy_reply_parse(struct span text, struct span *words);

#endif
