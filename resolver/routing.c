#include "resolver/routing_internal.h"

#include "common/idn.h"
#include "common/log.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#define REPLY_MAX   1024
#define TARGETS_MAX (FRAME_MAX - 4096)

/* ---- what the steps share ------------------------------------------------------------------------------------------------------ */

void add_lower(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_add_char(out, s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i]);
}

static void rule(struct ruling *out, unsigned code, const char *status)
{
    out->code = code;
    snprintf(out->status, sizeof out->status, "%s", status);
    buf_clear(&out->reply);
}

/* Which setting it is that says so, for the log. */
static const char *named(unsigned code)
{
    return code == 554 ? "relay_from, relay_to" : code == 550 ? "domain { mailboxes }" : code == 501 ? "syntax of addresses" : "routing";
}

enum outcome decision_fail(struct decision *d, unsigned code, const char *status, const char *words)
{
    rule(d->ruling, code, status);
    d->ruling->by = named(code);
    buf_add_text(&d->ruling->reply, words);
    return OUTCOME_FAILED;
}

enum outcome decision_map_failed(struct decision *d, const char *setting, const struct error *error)
{
    log_error("%s: %s; mail is answered with 451 until `postino map` or newaliases has built it", setting, error->text);
    return decision_fail(d, 451, "4.3.0", "Temporary lookup failure");
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* 1: the address is new; 0: it is there; -1: no memory. */
static int remember(struct decision *d, struct span address)
{
    char *text = strndup(address.p, address.n);
    char **node = text ? tsearch(text, &d->seen, compare_text) : NULL;
    int is_new = node == NULL ? -1 : *node == text;
    if (is_new != 1)
        free(text);
    return is_new;
}

enum outcome decision_add(struct decision *d, const struct record_recipient *target)
{
    struct ruling *out = d->ruling;
    int is_new = remember(d, target->address);
    if (is_new == 0)
        return OUTCOME_OK;
    bool full = out->targets.count >= d->routing->settings->limit_alias_recipients;
    if (!full)
        record_recipient_add(&out->bytes, target);
    if (is_new < 0 || full || out->bytes.failed) {
        struct buf line = BUF_EMPTY(0);
        buf_add_text(&line, "an alias turns into too many recipients; raise limit { alias_recipients } or make it smaller:");
        log_value(&line, " recipient", d->rcpt->recipient);
        log_buf(LOG_LEVEL_ERROR, &line);
        buf_free(&line);
        return decision_fail(d, 451, "4.3.5", "Server configuration error");
    }
    out->targets.count++;
    d->good += !span_equal(target->transport, SPAN_LITERAL("error"));
    return OUTCOME_OK;
}

enum outcome decision_add_unknown(struct decision *d, struct span address)
{
    struct record_recipient target = {
        .address = address, .transport = SPAN_LITERAL("error"), .nexthop = SPAN_LITERAL("5.1.1 User unknown in local recipient table")};
    return decision_add(d, &target);
}

/* ---- the order of the decision ------------------------------------------------------------------------------------------------- */

/* The domain of a name alone. */
static const struct settings_domain *home_domain(const struct settings *s)
{
    const struct settings_domain *home = settings_domain(s, span_of(s->hostname));
    for (size_t i = 0; home == NULL && i < s->domain_count; i++)
        if (strcmp(s->domains[i].mailboxes, "system") == 0)
            home = &s->domains[i];
    return home != NULL || s->domain_count == 0 ? home : &s->domains[0];
}

/* The address in canonical form, with a domain in any case, and its local part. */
static bool canonical(const struct address *a, const struct settings_domain *home, struct buf *whole, struct span *local)
{
    address_canonical(a, whole);
    size_t n = whole->len - (a->domain.n > 0 ? a->domain.n + 1 : 0);
    if (a->domain.n == 0 && home != NULL) {
        buf_add_char(whole, '@');
        buf_add_text(whole, home->title);
    }
    *local = span_make(whole->data, n);
    return !whole->failed && n > 0 && n < whole->len;
}

static bool has_mailbox_map(const struct routing *r, const struct settings_domain *domain)
{
    return r->mailboxes[domain - r->settings->domains] != NULL;
}

/* The domain in the form in which ours and the routes are compared. The address itself keeps what was said, as the next host may know it by
 * nothing else; unless its local part is ASCII: then it is an address that every host takes (RFC 6531 3.2). */
static bool take_alabels(struct address *a, struct buf *ascii, struct span *domain)
{
    if (span_is_ascii(a->domain)) {
        add_lower(ascii, a->domain);
        *domain = buf_span(ascii);
        return true;
    }
    if (!idn_ascii(a->domain, ascii))
        return false;
    *domain = buf_span(ascii);
    if (span_is_ascii(a->local))
        a->domain = *domain;
    return true;
}

/* A domain of ours. A role that a map does not have is looked for among the host's aliases and users. */
static enum outcome ours_of_name(struct decision *d, const struct alias_path *path, const struct settings_domain *domain, struct span local,
                                 struct span address)
{
    if (!has_mailbox_map(d->routing, domain))
        return aliases_resolve_below(d, path, domain, local);
    enum outcome outcome = mailboxes_map(d, domain, local, address);
    const struct settings_domain *home = home_domain(d->routing->settings);
    if (outcome == OUTCOME_UNKNOWN && name_is_role(local) && !has_mailbox_map(d->routing, home))
        return aliases_resolve_below(d, path, home, local);
    return outcome;
}

static enum outcome ours(struct decision *d, const struct alias_path *path, const struct settings_domain *domain, struct span local,
                         struct span address)
{
    struct buf name = BUF_EMPTY(1024);
    idn_nfc(local, &name);
    enum outcome outcome = ours_of_name(d, path, domain, buf_span(&name), address);
    buf_free(&name);
    return outcome;
}

static enum outcome unknown(struct decision *d, const struct settings_domain *domain, struct span local)
{
    if (name_is_role(local)) {
        log_error("nobody gets mail for %.*s: alias postmaster or root to a person in the alias map, then run newaliases", SPAN_ARG(local));
        return decision_fail(d, 451, "4.3.5", "Server configuration error: nobody reads this mailbox yet");
    }
    return decision_fail(d, 550, "5.1.1",
                         has_mailbox_map(d->routing, domain) ? "Recipient address rejected: User unknown in virtual mailbox table"
                                                             : "Recipient address rejected: User unknown in local recipient table");
}

static enum outcome decide_ours(struct decision *d, const struct address *a, const struct settings_domain *domain)
{
    struct buf whole = BUF_EMPTY(1024);
    struct span local;
    enum outcome outcome = canonical(a, domain, &whole, &local) ? ours(d, NULL, domain, local, buf_span(&whole)) : OUTCOME_UNKNOWN;
    if (outcome == OUTCOME_UNKNOWN || (outcome == OUTCOME_OK && d->good == 0))
        outcome = unknown(d, domain, a->local);
    buf_free(&whole);
    return outcome;
}

static enum outcome decide_other(struct decision *d, const struct address *a, struct span domain)
{
    struct buf whole = BUF_EMPTY(1024);
    struct span local;
    enum outcome outcome;
    if (!canonical(a, NULL, &whole, &local))
        outcome = decision_fail(d, 501, "5.1.3", "Bad recipient address syntax");
    else if (!relay_allowed(d, local, domain))
        outcome = decision_fail(d, 554, "5.7.1", "Relay access denied");
    else if (relay_recipient_check(d, a, domain) == OUTCOME_FAILED)
        outcome = OUTCOME_FAILED;
    else
        outcome = nexthop_add(d, buf_span(&whole), domain);
    buf_free(&whole);
    return outcome;
}

static enum outcome decide_address(struct decision *d, const struct address *a, struct span alabels)
{
    const struct settings *s = d->routing->settings;
    const struct settings_domain *domain = alabels.n > 0 ? settings_domain(s, alabels) : home_domain(s);
    if (domain != NULL)
        return decide_ours(d, a, domain);
    if (alabels.n == 0)
        return decision_fail(d, 550, "5.1.1", "Recipient address rejected: no domain, and this host has none of its own");
    return decide_other(d, a, alabels);
}

static enum outcome decide(struct decision *d)
{
    struct address a;
    struct buf ascii = BUF_EMPTY(512);
    struct span domain;
    if (clientcerts_look(d) == OUTCOME_FAILED || senders_check(d) == OUTCOME_FAILED)
        return OUTCOME_FAILED;
    bool good = address_parse(d->rcpt->recipient, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a) && a.local.n > 0 &&
                take_alabels(&a, &ascii, &domain);
    enum outcome outcome = good ? decide_address(d, &a, domain) : decision_fail(d, 501, "5.1.3", "Bad recipient address syntax");
    buf_free(&ascii);
    return outcome;
}

/* What an alias leads to needs no permission to be relayed: the administrator wrote it. */
enum outcome routing_address(struct decision *d, const struct alias_path *path, const struct settings_domain *home, struct span text)
{
    struct address a;
    if (!address_parse(text, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a) || a.local.n == 0)
        return OUTCOME_UNKNOWN;
    struct buf whole = BUF_EMPTY(1024), ascii = BUF_EMPTY(512);
    struct span local, alabels;
    enum outcome outcome = OUTCOME_UNKNOWN;
    if (take_alabels(&a, &ascii, &alabels) && canonical(&a, home, &whole, &local)) {
        const struct settings_domain *domain = alabels.n > 0 ? settings_domain(d->routing->settings, alabels) : home;
        outcome = domain != NULL ? ours(d, path, domain, local, buf_span(&whole)) : nexthop_add(d, buf_span(&whole), alabels);
    }
    buf_free(&whole);
    buf_free(&ascii);
    return outcome;
}

void routing_decide(struct routing *r, const struct message_rcpt *rcpt, struct ruling *out)
{
    *out = (struct ruling){.reply = BUF_EMPTY(REPLY_MAX), .bytes = BUF_EMPTY(TARGETS_MAX)};
    struct decision d = {.routing = r, .rcpt = rcpt, .ruling = out};
    if (decide(&d) == OUTCOME_OK) {
        rule(out, 250, "2.1.5");
        buf_add_text(&out->reply, "Ok");
        out->targets.bytes = buf_span(&out->bytes);
    } else {
        out->targets = (struct list){0};
    }
    tdestroy(d.seen, free);
}

void ruling_free(struct ruling *out)
{
    buf_free(&out->reply);
    buf_free(&out->bytes);
    out->targets = (struct list){0};
}

/* ---- set-up -------------------------------------------------------------------------------------------------------------------- */

static int open_maps(const struct strings *list, struct map ***out, struct error *error)
{
    struct map **maps = *out = calloc(list->n + 1, sizeof(struct map *));
    for (size_t i = 0; maps != NULL && i < list->n; i++)
        if ((maps[i] = map_open(list->v[i], error)) == NULL)
            return -1;
    return maps != NULL ? 0 : error_set(error, "out of memory for maps");
}

static int open_mailboxes(struct routing *r, struct error *error)
{
    const struct settings *s = r->settings;
    r->mailboxes = calloc(s->domain_count + 1, sizeof(struct map *));
    for (size_t i = 0; r->mailboxes != NULL && i < s->domain_count; i++)
        if (strcmp(s->domains[i].mailboxes, "system") != 0 && (r->mailboxes[i] = map_open(s->domains[i].mailboxes, error)) == NULL)
            return -1;
    return r->mailboxes != NULL ? 0 : error_set(error, "out of memory for maps");
}

static int parse_networks(struct routing *r, struct error *error)
{
    const struct strings *list = &r->settings->relay_from;
    r->networks = calloc(list->n + 1, sizeof *r->networks);
    for (size_t i = 0; r->networks != NULL && i < list->n; i++)
        if (!network_parse(span_of(list->v[i]), &r->networks[i]))
            return error_set(error, "relay_from: %s is not a network; write it like 192.0.2.0/24", list->v[i]);
    return r->networks != NULL ? 0 : error_set(error, "out of memory for networks");
}

struct routing *routing_new(const struct settings *settings, user_fn *user, struct error *error)
{
    struct routing *r = calloc(1, sizeof *r);
    if (r == NULL) {
        error_set(error, "out of memory for routing");
        return NULL;
    }
    r->settings = settings;
    r->user = user;
    if (open_maps(&settings->aliases, &r->aliases, error) < 0 || open_maps(&settings->sender_logins, &r->senders, error) < 0 ||
        open_maps(&settings->relay_clientcerts, &r->clientcerts, error) < 0 ||
        open_maps(&settings->relay_recipients, &r->recipients, error) < 0 || open_mailboxes(r, error) < 0 || parse_networks(r, error) < 0) {
        routing_free(r);
        return NULL;
    }
    return r;
}

void routing_free(struct routing *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; r->aliases != NULL && i < r->settings->aliases.n; i++)
        map_free(r->aliases[i]);
    for (size_t i = 0; r->senders != NULL && i < r->settings->sender_logins.n; i++)
        map_free(r->senders[i]);
    for (size_t i = 0; r->clientcerts != NULL && i < r->settings->relay_clientcerts.n; i++)
        map_free(r->clientcerts[i]);
    for (size_t i = 0; r->recipients != NULL && i < r->settings->relay_recipients.n; i++)
        map_free(r->recipients[i]);
    for (size_t i = 0; r->mailboxes != NULL && i < r->settings->domain_count; i++)
        map_free(r->mailboxes[i]);
    free(r->aliases);
    free(r->senders);
    free(r->clientcerts);
    free(r->recipients);
    free(r->mailboxes);
    free(r->networks);
    free(r);
}
