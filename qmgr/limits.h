/* limits: how much may go to a site: deliveries at a time, messages a minute, messages in one session (docs/scheduler.md).
 *
 * Each of the three is looked for by itself: in the route by which the mail goes; in the `site` sections that all the site's hosts are in,
 * the longest name first; in `queue` and `remote`. A route that says more than where its mail goes has a *line of its own* at each
 * site, so that its limits hold for its mail alone and nobody else's mail changes them, and no session carries mail of two such routes: the
 * site's name then ends in " route TITLE". So does a source in warm-up, whose messages a day are counted there: " source TITLE", behind the route. All is found from the name alone, so that a reload can set them anew. Pure. */
#ifndef POSTINO_LIMITS_H
#define POSTINO_LIMITS_H

#include "common/messages.h"
#include "conf/settings.h"

struct limits {
    unsigned sessions, rate /* 0: none */;
    uint32_t session_messages;
    const struct settings_site *share; /* the section whose receivers have sessions and rate together, the longest name's; NULL: none */
};

/* Of a site by its name: "local", "dns:DOMAIN", "smtp:HOST,HOST:PORT TLS", "smtp:[HOST]:PORT TLS", "smtps:[HOST]:PORT TLS",
 * "lmtp:[HOST]:PORT TLS" or "lmtp:unix:PATH none", all but the first two with or without a route. */
struct limits limits_of_site(const struct settings *, struct span name);
/* Messages a day to a site whose name is of the line of a source in warm-up; 0: of none, or the site's own rate is lower. */
unsigned limits_a_day(const struct settings *, struct span name, uint64_t now);

/* The route of a recipient, if it has a line of its own; NULL: none. */
const struct settings_route *limits_route(const struct settings *, const struct record_recipient *);
/* Where the domain's route leads; the domain itself if it has none, or one that leads to its own hosts. */
struct span limits_nexthop(const struct settings *, struct span domain);
/* The site is a host in brackets that gets mail by SMTP, which no route names; nor does the address user@[192.0.2.1] of the mail itself. */
bool limits_is_stray(const struct settings *, struct span name);
#define LIMITS_STRAYS                                                                                                                      \
    "messages that wait for hosts which no route names any more: %lu; postino queue reroute all sends them where routes lead now"
/* Appends " route TITLE" to a site's name, if limits_route() is one. */
void limits_add_route(const struct settings *, const struct record_recipient *, struct buf *name);
/* Whether the recipient belongs to the line of that name: a reload may have given its route a line, or taken it. */
bool limits_in_line(const struct settings *, const struct record_recipient *, struct span name);

/* The title of the route whose line that is, and of the source; empty: of none. */
struct span limits_line_of(struct span name);
struct span limits_source_of(struct span name);
/* Appends the line of a source at a site, which has none. */
void limits_add_source(struct span site, const struct settings_source *, struct buf *name);

bool limits_is_socket(struct span name); /* of this host */
/* What the site of that name shares: appends the section's title, with " route TITLE" as the name has it. Nothing, if there is none. */
void limits_add_share(const struct limits *, struct span name, struct buf *);

/* "mx1.example,mx2.example", or what stands in the brackets; empty for what is no site of hosts. */
struct span limits_hosts(struct span name);
/* Whether all hosts of a site's name are `at` or below it (ASCII case-insensitive); an address is only itself. */
bool limits_hosts_below(struct span name, struct span at);
/* The same, but each of them at or below any of these, or `at` (which may be empty). */
bool limits_hosts_within(struct span name, struct span at, const struct strings *);

/* The line of mail that is not to be released yet. */
#define LIMITS_RELEASE SPAN_LITERAL("release")

#endif
