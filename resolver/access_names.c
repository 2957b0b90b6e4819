/* Names that are none, and domains that take no mail. */
#include "resolver/access_internal.h"

#include "common/idn.h"

#include <stdio.h>
#include <string.h>

static bool is_literal(struct span name)
{
    struct sockaddr_storage ignored;
    return address_literal(name, &ignored);
}

static bool is_name(struct span name)
{
    return address_is_domain(name, false) && name.n > 0;
}

/* With a dot inside: "host.example". That of an address may have U-labels. */
static bool is_fqdn(struct span name)
{
    size_t n = name.n > 0 && name.p[name.n - 1] == '.' ? name.n - 1 : name.n;
    return name.n > 0 && address_is_domain(name, true) && memchr(name.p, '.', n) != NULL;
}

static struct span domain_of(struct span address)
{
    struct address a;
    if (!address_parse(address, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a))
        return span_make(NULL, 0);
    return a.domain;
}

/* As DNS and our own domains have it: A-labels. */
static struct span alabels(struct span domain, char to[ACCESS_NAME])
{
    struct buf ascii = BUF_EMPTY(ACCESS_NAME);
    bool good = !span_is_ascii(domain) && idn_ascii(domain, &ascii) && ascii.len < ACCESS_NAME;
    if (good)
        memcpy(to, ascii.data, ascii.len);
    domain = good ? span_make(to, ascii.len) : domain;
    buf_free(&ascii);
    return domain;
}

enum access_outcome access_unknown_client(struct access *a, const struct access_rule *r)
{
    (void)r;
    if (a->facts.client.n == 0 || !span_equal(a->facts.name, SPAN_LITERAL("unknown")))
        return OUTCOME_NEXT;
    return access_refuse(a, 450, "4.7.25", a->facts.client, "Client host rejected: cannot find your hostname");
}

/* ---- HELO ---------------------------------------------------------------------------------------------------------------------- */

enum access_outcome access_invalid_helo(struct access *a, const struct access_rule *r)
{
    (void)r;
    if (a->facts.client.n == 0 || is_name(a->facts.helo) || is_literal(a->facts.helo))
        return OUTCOME_NEXT;
    return access_refuse(a, 501, "5.5.2", a->facts.helo, "Helo command rejected: Invalid name");
}

enum access_outcome access_non_fqdn_helo(struct access *a, const struct access_rule *r)
{
    (void)r;
    if (a->facts.client.n == 0 || is_fqdn(a->facts.helo) || is_literal(a->facts.helo))
        return OUTCOME_NEXT;
    return access_refuse(a, 504, "5.5.2", a->facts.helo, "Helo command rejected: need fully-qualified hostname");
}

/* A domain that can be asked about has a way for mail, or an address. No answer is no refusal for good. */
static enum access_outcome ask_domain(struct access *a, struct span domain, struct span what, const char *status, const char *words)
{
    char ascii[ACCESS_NAME];
    if (domain.n == 0 || is_literal(domain))
        return OUTCOME_NEXT;
    domain = alabels(domain, ascii);
    if (!access_answered(a))
        return access_ask(a, ACCESS_ASK_MAIL, domain) ? OUTCOME_ASK : OUTCOME_NEXT;
    if (a->questions[0].answer == ACCESS_YES)
        return OUTCOME_NEXT;
    char temporary[12];
    snprintf(temporary, sizeof temporary, "4%s", status + 1);
    bool final = a->questions[0].answer == ACCESS_NO;
    return access_refuse(a, final ? 550 : 450, final ? status : temporary, what, words);
}

enum access_outcome access_unknown_helo(struct access *a, const struct access_rule *r)
{
    (void)r;
    if (a->facts.client.n == 0)
        return OUTCOME_NEXT;
    return ask_domain(a, a->facts.helo, a->facts.helo, "5.7.1", "Helo command rejected: Host not found");
}

/* ---- addresses ----------------------------------------------------------------------------------------------------------------- */

enum access_outcome access_non_fqdn_sender(struct access *a, const struct access_rule *r)
{
    struct span domain = domain_of(a->facts.sender);
    (void)r;
    if (a->facts.sender.n == 0 || is_fqdn(domain) || is_literal(domain))
        return OUTCOME_NEXT;
    return access_refuse(a, 504, "5.5.2", a->facts.sender, "Sender address rejected: need fully-qualified address");
}

enum access_outcome access_unknown_sender(struct access *a, const struct access_rule *r)
{
    (void)r;
    return ask_domain(a, domain_of(a->facts.sender), a->facts.sender, "5.1.8", "Sender address rejected: Domain not found");
}

enum access_outcome access_non_fqdn_recipient(struct access *a, const struct access_rule *r)
{
    struct span domain = domain_of(a->facts.recipient);
    (void)r;
    if (domain.n == 0 ? span_equal_nocase(a->facts.recipient, SPAN_LITERAL("postmaster")) : is_fqdn(domain) || is_literal(domain))
        return OUTCOME_NEXT;
    return access_refuse(a, 504, "5.5.2", a->facts.recipient, "Recipient address rejected: need fully-qualified address");
}

/* Our own domains need no DNS. */
enum access_outcome access_unknown_recipient(struct access *a, const struct access_rule *r)
{
    struct span domain = domain_of(a->facts.recipient);
    char ascii[ACCESS_NAME];
    (void)r;
    if (settings_domain(a->rules->settings, alabels(domain, ascii)) != NULL)
        return OUTCOME_NEXT;
    return ask_domain(a, domain, a->facts.recipient, "5.1.2", "Recipient address rejected: Domain not found");
}
