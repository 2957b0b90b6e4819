/* What the steps of an access decision share: access.c (the walk), access_rules.c (the list), access_table.c (keys and actions),
 * access_names.c (names and DNS), access_dnsbl.c. */
#ifndef POSTINO_ACCESS_INTERNAL_H
#define POSTINO_ACCESS_INTERNAL_H

#include "common/address.h"
#include "common/cidrmap.h"
#include "common/map.h"
#include "conf/access_words.h"
#include "resolver/access.h"

enum access_outcome {
    OUTCOME_NEXT,    /* says nothing: the next rule */
    OUTCOME_PERMIT,  /* taken, whatever the rest of the list says */
    OUTCOME_REFUSED, /* code, status and reply are set */
    OUTCOME_ASK      /* questions were put; the rule has its turn again when they are answered */
};

struct access_rule;
typedef enum access_outcome access_fn(struct access *, const struct access_rule *);

struct access_rule {
    const char *text; /* as it stands in the file */
    struct access_words words;
    struct map *map;
    struct cidrmap *cidr;
    struct access_zone zone;
};

struct access_rules {
    const struct settings *settings;
    struct access_rule *rules;
    size_t count;
    struct access_zone *zones; /* dnsbl { zones } */
    size_t zone_count;
};

/* access.c */
/* OUTCOME_REFUSED with "<what>: words". */
enum access_outcome access_refuse(struct access *, unsigned code, const char *status, struct span what, const char *words);
struct access_question *access_ask(struct access *, enum access_question_kind, struct span name); /* NULL: there are too many */
/* A line for the log: "RULE<TAB>does: <what>: words". */
void access_log(struct access *, const char *does, struct span what, struct span words);
bool access_answered(const struct access *); /* the rule's questions were put, and are answered */

/* access_table.c */
access_fn access_ccert, access_client, access_helo, access_sender, access_recipient;
enum access_outcome access_action(struct access *, struct span action, struct span what, const char *rejected); /* as in access(5) */
bool access_action_good(struct span action);

/* access_names.c */
access_fn access_unknown_client, access_invalid_helo, access_non_fqdn_helo, access_unknown_helo, access_non_fqdn_sender,
    access_unknown_sender, access_non_fqdn_recipient, access_unknown_recipient;

/* access_dnsbl.c */
access_fn access_rbl_client, access_dnsbl;

#endif
