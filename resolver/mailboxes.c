/* The mailboxes of our domains: the host's users, or a map from address to a path; who delivers to them, postino-local or an LMTP server. */
#include "resolver/routing_internal.h"

#include "common/idn.h"
#include "common/log.h"
#include "common/tlspolicy.h"

#define PATH_LIMIT 255

/* ---- system users -------------------------------------------------------------------------------------------------------------- */

/* What could be a user's name at all; no look at the database for anything else. */
static bool could_be_user(struct span name)
{
    if (name.n == 0 || name.n >= USER_NAME || name.p[0] == '-' || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-_.+&$", c) != NULL;
        if (!good || c == '\0')
            return false;
    }
    return true;
}

/* An LMTP server knows its mailboxes by the address. */
static enum outcome add_target(struct decision *d, const struct settings_domain *domain, struct span address, struct span mailbox)
{
    struct record_recipient target = {.address = address, .transport = SPAN_LITERAL("local")};
    if (!nexthop_named(domain->deliver, span_of(tlspolicy_word(TLSPOLICY_DANE)), &target)) {
        target.nexthop = span_of(domain->title);
        target.mailbox = mailbox;
    }
    return decision_add(d, &target);
}

static enum outcome add_user(struct decision *d, const struct settings_domain *domain, struct span user, struct span shown)
{
    struct buf address = BUF_EMPTY(1024);
    buf_add_span(&address, shown);
    buf_add_char(&address, '@');
    buf_add_text(&address, domain->title);
    enum outcome outcome = add_target(d, domain, buf_span(&address), user);
    buf_free(&address);
    return outcome;
}

enum outcome mailboxes_user(struct decision *d, const struct settings_domain *domain, struct span name, struct span shown)
{
    if (!could_be_user(name))
        return OUTCOME_UNKNOWN;
    char text[USER_NAME], canonical[USER_NAME];
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    switch (d->routing->user(text, canonical)) {
    case USER_FOUND:
        return add_user(d, domain, span_of(canonical), shown);
    case USER_ABSENT:
        return OUTCOME_UNKNOWN;
    case USER_ROOT:
        log_error("mail for root has no mailbox: alias root to a person in the alias map, then run newaliases");
        return decision_fail(d, 451, "4.3.5", "Server configuration error: nobody reads this mailbox yet");
    case USER_FAILED:
        log_error("the user database (nsswitch.conf, passwd) could not be asked; mail for system users is answered with 451");
        break;
    }
    return decision_fail(d, 451, "4.3.0", "Temporary lookup failure");
}

/* ---- a map --------------------------------------------------------------------------------------------------------------------- */

static bool good_component(struct span s)
{
    return s.n > 0 && !span_equal(s, SPAN_LITERAL(".")) && !span_equal(s, SPAN_LITERAL(".."));
}

/* A path below the domain's directory: relative, without "..", "." or control characters. */
static bool good_path(struct span path)
{
    if (path.n == 0 || path.n > PATH_LIMIT)
        return false;
    size_t begin = 0;
    for (size_t i = 0; i <= path.n; i++) {
        if (i < path.n && ((unsigned char)path.p[i] < ' ' || path.p[i] == 0x7f))
            return false;
        if (i < path.n && path.p[i] != '/')
            continue;
        if (!good_component(span_make(path.p + begin, i - begin)))
            return false;
        begin = i + 1;
    }
    return true;
}

/* A slash at the end, as Postfix wants it for a Maildir, says nothing here. */
static struct span strip_slashes(struct span path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

static enum outcome add_mailbox(struct decision *d, const struct settings_domain *domain, struct span address, struct span path)
{
    bool is_path = strcmp(domain->deliver, "maildir") == 0;
    if (is_path && !good_path(path)) {
        struct buf line = BUF_EMPTY(0);
        buf_printf(&line, "map %s: a mailbox must be a path below the domain's directory, without .. ;", domain->mailboxes);
        log_value(&line, " recipient", address);
        log_value(&line, " mailbox", path);
        log_buf(LOG_LEVEL_ERROR, &line);
        buf_free(&line);
        return decision_fail(d, 451, "4.3.5", "Server configuration error");
    }
    return add_target(d, domain, address, path);
}

/* OK: `value` has it. */
static enum outcome look_up(struct decision *d, const struct settings_domain *domain, struct span local, struct span at, struct buf *value)
{
    struct buf key = BUF_EMPTY(1024);
    struct error error;
    buf_add_span(&key, local);
    buf_add_span(&key, at);
    struct map *map = d->routing->mailboxes[domain - d->routing->settings->domains];
    enum map_result result = map_lookup(map, buf_span(&key), value, &error);
    buf_free(&key);
    if (result == MAP_FAILED)
        return decision_map_failed(d, "mailboxes", &error);
    return result == MAP_FOUND ? OUTCOME_OK : OUTCOME_UNKNOWN;
}

/* `at`: "@domain". */
static enum outcome look_up_at(struct decision *d, const struct settings_domain *domain, struct span local, struct span at,
                               struct buf *value)
{
    struct span base = name_without_tag(d->routing->settings, local), none = {NULL, 0};
    struct {
        struct span local, at;
    } keys[] = {{local, at}, {base, at}, {local, none}, {base, none}, {none, at}};
    enum outcome outcome = OUTCOME_UNKNOWN;
    for (size_t i = 0; outcome == OUTCOME_UNKNOWN && i < sizeof keys / sizeof *keys; i++)
        if (keys[i].local.n > 0 || i == 4)
            outcome = look_up(d, domain, keys[i].local, keys[i].at, value);
    return outcome;
}

/* In the map the domain may stand in either form. */
enum outcome mailboxes_map(struct decision *d, const struct settings_domain *domain, struct span local, struct span address)
{
    struct buf at = BUF_EMPTY(512), unicode = BUF_EMPTY(1024), value = BUF_EMPTY(0);
    buf_printf(&at, "@%s", domain->title);
    buf_add_char(&unicode, '@');
    idn_unicode(span_of(domain->title), &unicode);
    enum outcome outcome = look_up_at(d, domain, local, buf_span(&at), &value);
    if (outcome == OUTCOME_UNKNOWN && !span_equal(buf_span(&at), buf_span(&unicode)))
        outcome = look_up_at(d, domain, local, buf_span(&unicode), &value);
    if (outcome == OUTCOME_OK)
        outcome = add_mailbox(d, domain, address, strip_slashes(buf_span(&value)));
    buf_free(&at);
    buf_free(&unicode);
    buf_free(&value);
    return outcome;
}
