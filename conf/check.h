/* check: what of a configuration belongs together, once each value alone is right. Used by parse.c. */
#ifndef POSTINO_CHECK_H
#define POSTINO_CHECK_H

#include "conf/places.h"
#include "conf/report.h"

struct check {
    struct settings *settings;
    const struct places *places;
    struct report *report;
};

#define CHECK_CERTIFICATES 32 /* in tls { certificate } */

void check_complete(const struct check *); /* fills in hostname (reports if it can't), drops the default aliases if there are none */
void check_settings(const struct check *); /* outside of the titled sections */
void check_sources(const struct check *);  /* source sections, and what names them */
void check_sections(const struct check *); /* listeners, domains, routes, sites, replies, sources; then adds those that every host has */
void check_peers(const struct check *);    /* xclient_from, xforward_from */
void check_listener(const struct check *, size_t listener);
void check_lmtp(const struct check *, size_t listener);  /* of check_listener() */
void check_proxy(const struct check *, size_t listener); /* of check_listener() */
void check_login(const struct check *, size_t login);
void check_route_login(const struct check *, size_t route); /* and tls = verify, where it has a login and says nothing of tls */
void check_login_files(const struct check *);
void check_site(const struct check *, size_t site);
void check_reply(const struct check *, size_t reply);
void check_host(const struct check *); /* files, certificates, users of this host */

void check_reach(const struct check *); /* of check_host(): whether each program may read what it is to read */

/* Calls for each rule of access, and of the listeners' own. */
void check_each_rule(const struct check *, void (*call)(const struct check *, unsigned line, const char *rule));

bool check_is_map(struct span spec);  /* hash:/path or btree:/path */
bool check_is_user(struct span name); /* a user name, or a uid */
bool check_is_site(struct span name); /* a host, a domain, or an address without brackets */

#endif
