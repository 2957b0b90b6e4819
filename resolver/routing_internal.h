/* What the steps of the decision share: routing.c (the order), aliases.c, mailboxes.c, address_maps.c, senders.c, clientcerts.c, relay.c,
 * nexthop.c. */
#ifndef POSTINO_ROUTING_INTERNAL_H
#define POSTINO_ROUTING_INTERNAL_H

#include "common/address.h"
#include "common/map.h"
#include "resolver/routing.h"

struct routing {
    const struct settings *settings;
    user_fn *user;
    struct map **aliases;     /* settings->aliases.n of them */
    struct map **clientcerts; /* settings->relay_clientcerts.n of them */
    struct map **senders;     /* settings->sender_logins.n of them */
    struct map **recipients;  /* settings->relay_recipients.n of them */
    struct map **mailboxes;   /* one for each domain; NULL: system users */
    struct network *networks; /* settings->relay_from.n of them */
};

enum outcome {
    OUTCOME_OK,      /* targets were added */
    OUTCOME_UNKNOWN, /* there is no such name */
    OUTCOME_FAILED,  /* the ruling has a reply already; stop */
};

/* One decision under way. */
struct decision {
    struct routing *routing;
    const struct message_rcpt *rcpt;
    struct ruling *ruling;
    void *seen;    /* tsearch(3) tree of the addresses that were added */
    uint32_t good; /* targets that are no errors */
};

/* Always OUTCOME_FAILED; the reply is "<recipient>: words". */
enum outcome decision_fail(struct decision *, unsigned code, const char *status, const char *words);
enum outcome decision_map_failed(struct decision *, const char *setting, const struct error *); /* 451 4.3.0 and a log line */
/* A target, unless it is one already. FAILED: there are too many. */
enum outcome decision_add(struct decision *, const struct record_recipient *);
enum outcome decision_add_unknown(struct decision *, struct span address); /* part of an alias: a report will say so */

/* aliases.c */
bool name_is_role(struct span local); /* postmaster, abuse, mailer-daemon */
/* The part before the delimiter; empty when there is no tag. */
struct span name_without_tag(const struct settings *, struct span local);

/* mailboxes.c */
enum outcome mailboxes_user(struct decision *, const struct settings_domain *, struct span name, struct span shown /* with tag */);
enum outcome mailboxes_map(struct decision *, const struct settings_domain *, struct span local, struct span address);

/* relay.c */
bool relay_allowed(const struct decision *, struct span local, struct span domain);
/* Of a domain of relay_to: OK, it is in relay_recipients, or there are no such maps; or FAILED. */
enum outcome relay_recipient_check(struct decision *, const struct address *, struct span domain);

/* address_maps.c: OK, or UNKNOWN: no map has the address with a value that will do; or FAILED. */
struct address_maps {
    const char *setting; /* for the log */
    const struct strings *list;
    struct map **maps;                                           /* as many */
    bool (*will_do)(const struct decision *, struct span value); /* NULL: any value */
};
enum outcome address_maps_find(struct decision *, const struct address_maps *, const struct address *);

/* clientcerts.c: OK, and the ruling says whether the client's certificate is listed; or FAILED. */
enum outcome clientcerts_look(struct decision *);

/* senders.c: OK, or FAILED: the login may not send as this sender, or that can't be looked up. */
enum outcome senders_check(struct decision *);

/* nexthop.c */
/* "smtps:[host]:port", "lmtp:[host]:port" or "lmtp:unix:/path", which stand for themselves: sets transport, next hop and TLS; false: `via` is of
 * another kind. */
bool nexthop_named(const char *via, struct span tls, struct record_recipient *target);
enum outcome nexthop_add(struct decision *, struct span address, struct span domain);

/* routing.c: an address of an alias, in whatever domain. */
struct alias_path;
enum outcome routing_address(struct decision *, const struct alias_path *, const struct settings_domain *home, struct span address);
/* aliases.c: a local name of a domain of system users; `local` without quotes. `up`: the aliases that led to it, or NULL. */
enum outcome aliases_resolve_below(struct decision *, const struct alias_path *, const struct settings_domain *, struct span local);

/* Lower case of ASCII letters. */
void add_lower(struct buf *, struct span);

#endif
