/* Sites, and what is done when one of them says that it is too much. */
#include "conf/check.h"

#include "common/address.h"

#include <ctype.h>

#define PATTERN_MOST 200

bool check_is_site(struct span name)
{
    struct sockaddr_storage address;
    socklen_t length;
    return address_to_socket(name, 0, &address, &length) || address_is_domain(name, false);
}

static void check_names(const struct check *c, enum settings_kind kind, size_t i, const char *name, const struct strings *list)
{
    const char *title = *(char *const *)settings_nth(c->settings, kind, i);
    for (size_t k = 0; k < list->n; k++)
        if (!check_is_site(span_of(list->v[k])))
            report_error(c->report, places_line_in(c->places, kind, i, name),
                         "%s \"%s\": %s \"%s\" is not the name of an MX host, a domain above it, or an address; write one",
                         settings_sections[kind].name, title, name, list->v[k]);
}

void check_site(const struct check *c, size_t i)
{
    const struct settings_site *s = &c->settings->sites[i];
    static const char *const limits[] = {"sessions", "rate", "session_messages"};
    check_names(c, SETTINGS_SITES, i, "also", &s->also);
    bool shares = s->share;
    for (size_t k = 0; k < 3; k++)
        shares |=
            places_given_in(c->places, SETTINGS_SITES, i, limits[k]) || places_refused(c->places, SETTINGS_SITES, i, "site", limits[k]);
    if (!shares)
        report_warning(c->report, places_line_in(c->places, SETTINGS_SITES, i, NULL),
                       "site \"%s\" shares nothing and sets no limit; add sessions, rate or session_messages, or take it out", s->title);
}

/* ---- replies -------------------------------------------------------------------------------------------------------------------- */

/* What begins with any code would take one mailbox's troubles, or the words of a 5xx that a receiver's user can write, for the receiver's own. */
static const char *wrong_with(const char *pattern)
{
    size_t n = strlen(pattern);
    if (n > PATTERN_MOST)
        return "is longer than 200 octets; shorten it";
    if (n < 3 || pattern[0] != '4' || !isdigit((unsigned char)pattern[1]) || !isdigit((unsigned char)pattern[2]))
        return "does not begin with a code of three digits, the first of them 4; write one, as in \"421 *too many*\"";
    if (n > 3 && pattern[3] != ' ' && pattern[3] != '*')
        return "has neither a blank nor * behind its code; write one, as in \"421 *too many*\"";
    for (size_t i = 0; i < n; i++)
        if (pattern[i] < ' ' || pattern[i] > '~')
            return "has more than printable ASCII, which no reply has; write * for the rest";
    return NULL;
}

static void check_patterns(const struct check *c, size_t i)
{
    const struct settings_reply *r = &c->settings->replies[i];
    unsigned line = places_line_in(c->places, SETTINGS_REPLIES, i, "match");
    for (size_t k = 0; k < r->match.n; k++) {
        const char *wrong = wrong_with(r->match.v[k]);
        if (wrong)
            report_error(c->report, line, "reply \"%s\": match \"%s\" %s", r->title, r->match.v[k], wrong);
        else if (!strchr(r->match.v[k], '*'))
            report_warning(c->report, line,
                           "reply \"%s\": match \"%s\" is for a reply of just these words; write * for what may be there, too", r->title,
                           r->match.v[k]);
    }
}

void check_reply(const struct check *c, size_t i)
{
    const struct settings_reply *r = &c->settings->replies[i];
    check_names(c, SETTINGS_REPLIES, i, "sites", &r->sites);
    check_patterns(c, i);
    if (r->match.n == 0 && !places_refused(c->places, SETTINGS_REPLIES, i, "reply", "match"))
        report_error(c->report, places_line_in(c->places, SETTINGS_REPLIES, i, NULL),
                     "reply \"%s\" fits no reply; add match = { \"421 4.7.0 *too many*\" }", r->title);
}
