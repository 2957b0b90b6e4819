/* Tables: under which keys a client, a name or an address is looked for, and what an entry says (access(5)). */
#include "resolver/access_internal.h"

#include "common/idn.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>

#define KEY_MOST 1024

/* ---- actions ------------------------------------------------------------------------------------------------------------------- */

static struct span word_of(struct span *text)
{
    size_t n = 0;
    while (n < text->n && text->p[n] != ' ' && text->p[n] != '\t')
        n++;
    struct span word = span_make(text->p, n);
    while (n < text->n && (text->p[n] == ' ' || text->p[n] == '\t'))
        n++;
    *text = span_make(text->p + n, text->n - n);
    return word;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "554": the code; 0: it is none. */
static unsigned code_in(struct span word)
{
    if (word.n != 3 || (word.p[0] != '4' && word.p[0] != '5') || !is_digit(word.p[1]) || !is_digit(word.p[2]))
        return 0;
    return (unsigned)((word.p[0] - '0') * 100 + (word.p[1] - '0') * 10 + (word.p[2] - '0'));
}

/* "5.7.1" of the class of `code`, taken off the front of the text; else the default. */
static void take_status(struct span *text, unsigned code, const char *dflt, char out[12])
{
    struct span rest = *text, word = word_of(&rest);
    unsigned dots = 0;
    bool good = word.n >= 5 && word.n < 12 && word.p[0] == (char)('0' + code / 100);
    for (size_t i = 0; i < word.n; i++) {
        good &= is_digit(word.p[i]) || word.p[i] == '.';
        dots += word.p[i] == '.';
    }
    if (good && dots == 2 && is_digit(word.p[word.n - 1])) {
        snprintf(out, 12, "%.*s", SPAN_ARG(word));
        *text = rest;
    } else {
        snprintf(out, 12, "%s", dflt);
    }
}

static enum access_outcome refuse_with(struct access *a, unsigned code, const char *status, struct span what, const char *rejected,
                                       struct span words)
{
    char text[600];
    if (words.n == 0)
        words = span_of(code < 500 ? "Try again later" : "Access denied");
    snprintf(text, sizeof text, "%s: %.*s", rejected, SPAN_ARG(words));
    return access_refuse(a, code, status, what, text);
}

static enum access_outcome refuse_action(struct access *a, unsigned code, struct span rest, struct span what, const char *rejected)
{
    char status[12];
    take_status(&rest, code, code < 500 ? "4.7.1" : "5.7.1", status);
    return refuse_with(a, code, status, what, rejected, rest);
}

/* What it would say is kept for the end of the list; the first counts. */
static void put_off(struct access *a, struct span rest, struct span what, const char *rejected)
{
    if (a->deferred.len > 0)
        return;
    refuse_action(a, 450, rest, what, rejected);
    a->deferred_by = a->at;
    snprintf(a->deferred_status, sizeof a->deferred_status, "%s", a->status);
    buf_add_span(&a->deferred, buf_span(&a->reply));
    a->code = 250;
    buf_clear(&a->reply);
}

/* A header line of our own, if it is one: a name, a colon, printable words. */
static bool header_good(struct span line)
{
    size_t name = 0;
    while (name < line.n && line.p[name] > ' ' && line.p[name] <= '~' && line.p[name] != ':')
        name++;
    for (size_t i = name; i < line.n; i++)
        if ((unsigned char)line.p[i] < ' ' || line.p[i] == 0x7f)
            return false;
    return name > 0 && name < line.n && line.p[name] == ':' && line.n <= 998;
}

enum word { WORD_OK, WORD_DUNNO, WORD_REJECT, WORD_DEFER, WORD_DEFER_IF_PERMIT, WORD_HOLD, WORD_PREPEND, WORD_WARN, WORD_INFO, WORD_NONE };

static enum word word_kind(struct span word)
{
    static const char *const names[] = {"OK", "DUNNO", "REJECT", "DEFER", "DEFER_IF_PERMIT", "HOLD", "PREPEND", "WARN", "INFO"};
    for (unsigned i = 0; i < WORD_NONE; i++)
        if (span_equal_nocase(word, span_of(names[i])))
            return (enum word)i;
    return WORD_NONE;
}

static bool all_digits(struct span s)
{
    size_t n = 0;
    while (n < s.n && is_digit(s.p[n]))
        n++;
    return s.n > 0 && n == s.n;
}

bool access_action_good(struct span action)
{
    struct span rest = action, word = word_of(&rest);
    enum word kind = word_kind(word);
    if (kind == WORD_PREPEND)
        return header_good(rest);
    return kind != WORD_NONE || code_in(word) || all_digits(action);
}

enum access_outcome access_action(struct access *a, struct span action, struct span what, const char *rejected)
{
    struct span rest = action, word = word_of(&rest);
    unsigned code = code_in(word);
    if (code)
        return refuse_action(a, code, rest, what, rejected);
    switch (word_kind(word)) {
    case WORD_OK:
        return OUTCOME_PERMIT;
    case WORD_REJECT:
        return refuse_action(a, 554, rest, what, rejected);
    case WORD_DEFER:
        return refuse_action(a, 450, rest, what, rejected);
    case WORD_DEFER_IF_PERMIT:
        put_off(a, rest, what, rejected);
        return OUTCOME_NEXT;
    case WORD_HOLD:
        a->hold = true;
        access_log(a, "hold", what, rest);
        return OUTCOME_NEXT;
    case WORD_PREPEND:
        buf_printf(&a->prepend, "%.*s\r\n", SPAN_ARG(rest));
        access_log(a, "prepend", what, rest);
        return OUTCOME_NEXT;
    case WORD_WARN:
    case WORD_INFO:
        access_log(a, word_kind(word) == WORD_WARN ? "warn" : "info", what, rest);
        return OUTCOME_NEXT;
    case WORD_DUNNO:
        return OUTCOME_NEXT;
    case WORD_NONE:
        break;
    }
    return OUTCOME_PERMIT; /* all digits: as OK */
}

/* ---- lookups ------------------------------------------------------------------------------------------------------------------- */

/* One search in a table, under one key after another, until one is there. */
struct search {
    struct access *a;
    const struct access_rule *rule;
    struct span what;
    const char *rejected;
    enum access_outcome outcome;
};

static bool search_failed(struct search *s, const struct error *why)
{
    log_error("access: %s: %s; clients get 451 until it can be read", s->rule->text, why->text);
    s->outcome = access_refuse(s->a, 451, "4.3.5", s->what, "Server configuration error");
    return true;
}

static bool search_take(struct search *s, struct span action)
{
    struct error why;
    if (!access_action_good(action)) {
        error_set(&why, "\"%.*s\" is no action; write OK, DUNNO, REJECT, DEFER, HOLD, PREPEND or a code of 4xx or 5xx", SPAN_ARG(action));
        return search_failed(s, &why);
    }
    s->outcome = access_action(s->a, action, s->what, s->rejected);
    return true;
}

/* True: the search is over. */
static bool search_key(struct search *s, struct span key)
{
    struct error why;
    struct buf lower = BUF_EMPTY(KEY_MOST), value = BUF_EMPTY(KEY_MOST);
    for (size_t i = 0; i < key.n; i++)
        buf_add_char(&lower, key.p[i] >= 'A' && key.p[i] <= 'Z' ? (char)(key.p[i] | 0x20) : key.p[i]);
    enum map_result result = lower.failed || lower.len == 0 ? MAP_ABSENT : map_lookup(s->rule->map, buf_span(&lower), &value, &why);
    bool over = result == MAP_FAILED ? search_failed(s, &why) : result == MAP_FOUND && search_take(s, buf_span(&value));
    buf_free(&lower);
    buf_free(&value);
    return over;
}

static bool search_address(struct search *s, struct span address)
{
    struct sockaddr_storage ss;
    socklen_t len;
    struct span action;
    struct error why;
    if (!address_to_socket(address, 0, &ss, &len))
        return false;
    enum map_result result = cidrmap_lookup(s->rule->cidr, (struct sockaddr *)&ss, &action, &why);
    return result == MAP_FAILED ? search_failed(s, &why) : result == MAP_FOUND && search_take(s, action);
}

/* example.net, then .net and so on: the domain, and those above it, as ".parent" and as "parent". */
static bool search_domain(struct search *s, struct span domain)
{
    if (search_key(s, domain))
        return true;
    for (size_t i = 0; i + 1 < domain.n; i++) {
        if (domain.p[i] != '.' || domain.p[0] == '[')
            continue;
        struct span above = span_make(domain.p + i, domain.n - i);
        if (search_key(s, above) || search_key(s, span_make(above.p + 1, above.n - 1)))
            return true;
    }
    return false;
}

/* 192.0.2.7, 192.0.2, 192.0, 192; 2001:db8::7 and what is left of it before each colon. */
static bool search_networks(struct search *s, struct span address)
{
    char mark = memchr(address.p, ':', address.n) ? ':' : '.';
    for (size_t n = address.n; n > 0; n--)
        if ((n == address.n || address.p[n] == mark) && search_key(s, span_make(address.p, n)))
            return true;
    return false;
}

static struct search search_of(struct access *a, const struct access_rule *r, struct span what, const char *rejected)
{
    return (struct search){.a = a, .rule = r, .what = what, .rejected = rejected, .outcome = OUTCOME_NEXT};
}

enum access_outcome access_ccert(struct access *a, const struct access_rule *r)
{
    struct search s = search_of(a, r, a->facts.certificate, "Client certificate rejected");
    if (r->cidr == NULL && a->facts.certificate.n > 0 && !search_key(&s, a->facts.certificate))
        search_key(&s, a->facts.certificate_key);
    return s.outcome;
}

enum access_outcome access_client(struct access *a, const struct access_rule *r)
{
    char who[400];
    const struct access_facts *f = &a->facts;
    int n = snprintf(who, sizeof who, "%.*s[%.*s]", SPAN_ARG(f->name), SPAN_ARG(f->client));
    struct search s = search_of(a, r, span_make(who, (size_t)n < sizeof who ? (size_t)n : sizeof who - 1), "Client host rejected");
    if (f->client.n == 0)
        return OUTCOME_NEXT;
    if (r->cidr)
        search_address(&s, f->client);
    else if (!search_domain(&s, f->name))
        search_networks(&s, f->client);
    return s.outcome;
}

enum access_outcome access_helo(struct access *a, const struct access_rule *r)
{
    struct search s = search_of(a, r, a->facts.helo, "Helo command rejected");
    if (r->cidr == NULL && a->facts.helo.n > 0)
        search_domain(&s, a->facts.helo);
    return s.outcome;
}

/* True: the search is over. */
static bool search_mailbox(struct search *s, struct span local, size_t untagged, struct span domain)
{
    struct buf key = BUF_EMPTY(KEY_MOST);
    buf_printf(&key, "%.*s@%.*s", (int)untagged, local.p, SPAN_ARG(domain));
    bool over = untagged < local.n && search_key(s, buf_span(&key));
    if (!over && !search_domain(s, domain)) {
        buf_clear(&key);
        buf_printf(&key, "%.*s@", (int)untagged, local.p);
        over = search_key(s, buf_span(&key));
    }
    buf_free(&key);
    return over || s->outcome != OUTCOME_NEXT;
}

static bool search_form(struct search *s, struct span local, struct span domain)
{
    const char *delimiters = s->a->rules->settings->recipient_delimiter;
    size_t n = 0;
    while (n < local.n && (n == 0 || !strchr(delimiters, local.p[n])))
        n++;
    struct buf whole = BUF_EMPTY(KEY_MOST);
    buf_printf(&whole, "%.*s%s%.*s", SPAN_ARG(local), domain.n ? "@" : "", SPAN_ARG(domain));
    bool over = search_key(s, buf_span(&whole)) || search_mailbox(s, local, n, domain);
    buf_free(&whole);
    return over;
}

/* user@domain, domain and those above it, user@; without a +tag after with it. The null sender is "<>". A domain may stand in the table as
 * A-labels or as U-labels. */
static enum access_outcome by_address(struct access *a, const struct access_rule *r, struct span text, const char *rejected)
{
    struct address address;
    struct search s = search_of(a, r, text, rejected);
    if (r->cidr)
        return OUTCOME_NEXT;
    if (text.n == 0) {
        search_key(&s, SPAN_LITERAL("<>"));
        return s.outcome;
    }
    if (!address_parse(text, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &address))
        return s.outcome;
    struct buf local = BUF_EMPTY(KEY_MOST), ascii = BUF_EMPTY(KEY_MOST), unicode = BUF_EMPTY(KEY_MOST);
    idn_nfc(address.local, &local);
    if (!idn_ascii(address.domain, &ascii))
        buf_add_span(&ascii, address.domain);
    idn_unicode(buf_span(&ascii), &unicode);
    if (!search_form(&s, buf_span(&local), buf_span(&ascii)) && !span_equal(buf_span(&ascii), buf_span(&unicode)))
        search_form(&s, buf_span(&local), buf_span(&unicode));
    buf_free(&local);
    buf_free(&ascii);
    buf_free(&unicode);
    return s.outcome;
}

enum access_outcome access_sender(struct access *a, const struct access_rule *r)
{
    return by_address(a, r, a->facts.sender, "Sender address rejected");
}

enum access_outcome access_recipient(struct access *a, const struct access_rule *r)
{
    return by_address(a, r, a->facts.recipient, "Recipient address rejected");
}
