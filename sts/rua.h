/* rua: the record by which a domain asks for reports (RFC 8460 3), and where it wants them. Pure; the record is hostile. */
#ifndef POSTINO_STS_RUA_H
#define POSTINO_STS_RUA_H

#include "common/span.h"

#define RUA_MOST 2   /* places of a record; more are passed over */
#define RUA_TEXT 512 /* octets of one, and a NUL; a longer one is passed over */

enum rua_kind { RUA_MAIL, RUA_HTTPS };

struct rua {
    enum rua_kind kind;
    char text[RUA_TEXT]; /* RUA_MAIL: the address, decoded; RUA_HTTPS: the URL */
    char host[256];      /* RUA_HTTPS: of the URL, lower case */
};

/* One TXT record, its strings joined. It begins like one: of a domain may be only one. */
bool rua_is_record(struct span txt);
/* How many of its places we can report to. HTTPS to port 443 alone; mail to addresses in ASCII without quotes. */
size_t rua_parse(struct span txt, struct rua out[RUA_MOST]);

#endif
