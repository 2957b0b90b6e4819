#include "resolver/resolve.h"

#include "common/address.h"
#include "common/idn.h"
#include "common/log.h"
#include "conf/settings.h"
#include "resolver/dane.h"
#include "resolver/question.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define HOSTS_MOST     ((size_t)3 << 20) /* octets of an answer: less than a frame may have */
#define HOST_ADDRESSES 20                /* addresses of one host, at most */

struct host {
    uint16_t preference;
    uint32_t shuffle;
    char name[256];
    struct question_wait *wait[2]; /* A, AAAA */
    struct buf addresses[2];
    unsigned families; /* that are asked for, and not answered yet */
    bool insecure;     /* DNSSEC does not prove its addresses */
    char canonical[256];
    struct dane *dane;
    enum dane_verdict verdict;
    char base[256];
    struct buf tlsa;
    struct resolve *owner;
};

struct resolve {
    const struct resolve_rules *rules;
    char name[256];
    unsigned want, port;
    bool secure;
    resolve_fn *done;
    void *arg;
    struct question_wait *mx;
    struct host *hosts;
    size_t count, waiting;
    enum resolve_verdict verdict; /* of the worst that happened to a host, when none has an address */
    const char *status;
    char reason[512];
};

static void resolve_free(struct resolve *r)
{
    question_cancel(r->mx);
    for (size_t i = 0; i < r->count; i++) {
        for (int family = 0; family < 2; family++) {
            question_cancel(r->hosts[i].wait[family]);
            buf_free(&r->hosts[i].addresses[family]);
        }
        dane_cancel(r->hosts[i].dane);
        buf_free(&r->hosts[i].tlsa);
    }
    free(r->hosts);
    free(r);
}

void resolve_cancel(struct resolve *r)
{
    resolve_free(r);
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------------- */

static void fail(struct resolve *r, enum resolve_verdict verdict, const char *status, const char *reason)
{
    r->done(&(struct message_resolved){.verdict = (uint16_t)verdict, .status = span_of(status), .reason = span_of(reason)}, r->arg);
    resolve_free(r);
}

static void name_service_error(char *to, size_t n, const char *name, const char *type, const char *why)
{
    snprintf(to, n, "Host or domain name not found. Name service error for name=%s type=%s: %s", name, type, why);
}

static void add_host(struct buf *out, struct host *h)
{
    struct buf addresses = BUF_EMPTY(8192);
    buf_add_span(&addresses, buf_span(&h->addresses[1]));
    if (h->addresses[0].len > 0 && addresses.len > 0)
        buf_add_char(&addresses, ' ');
    buf_add_span(&addresses, buf_span(&h->addresses[0]));
    struct record_host record = {.preference = h->preference,
                                 .name = span_of(h->name),
                                 .addresses = buf_span(&addresses),
                                 .dane = (uint16_t)h->verdict,
                                 .base = span_of(h->base),
                                 .tlsa = buf_span(&h->tlsa)};
    record_host_add(out, &record);
    buf_free(&addresses);
}

static void succeed(struct resolve *r)
{
    struct buf hosts = BUF_EMPTY(HOSTS_MOST);
    for (size_t i = 0; i < r->count; i++)
        add_host(&hosts, &r->hosts[i]);
    struct message_resolved m = {.verdict = RESOLVE_OK, .secure = r->secure, .hosts = {(uint32_t)r->count, buf_span(&hosts)}};
    r->done(&m, r->arg);
    buf_free(&hosts);
    resolve_free(r);
}

/* ---- addresses of the hosts ---------------------------------------------------------------------------------------------------- */

static void finish_hosts(struct resolve *r)
{
    bool some = (r->want & RESOLVE_ADDRESSES) == 0;
    for (size_t i = 0; i < r->count; i++)
        some |= r->hosts[i].addresses[0].len > 0 || r->hosts[i].addresses[1].len > 0;
    if (some)
        succeed(r);
    else
        fail(r, r->verdict, r->status, r->reason);
}

/* A temporary failure outweighs a final one; of equals the first host's is told, as it is the one that counts most. */
static void note_failure(struct resolve *r, const struct host *h, const struct question_answer *a, int family)
{
    bool temporary = a->result == QUESTION_DEFERRED;
    if (r->verdict == RESOLVE_DEFERRED || (r->verdict == RESOLVE_FAILED && !temporary))
        return;
    r->verdict = temporary ? RESOLVE_DEFERRED : RESOLVE_FAILED;
    r->status = temporary ? "4.4.3" : "5.4.4";
    name_service_error(r->reason, sizeof r->reason, h->name, family ? "AAAA" : "A", a->why);
}

static void add_address(struct buf *out, const struct wire_record *record, int family)
{
    struct sockaddr_storage ss;
    address_of_octets(span_make(record->address, family ? 16 : 4), 0, &ss);
    if (out->len > 0)
        buf_add_char(out, ' ');
    address_of_socket((struct sockaddr *)&ss, out);
}

/* ---- what DANE has for a host ------------------------------------------------------------------------------------------------------ */

static void host_done(struct resolve *r)
{
    if (--r->waiting == 0)
        finish_hosts(r);
}

static void dane_known(const struct dane_answer *a, void *arg)
{
    struct host *h = arg;
    h->dane = NULL;
    h->verdict = a->verdict;
    snprintf(h->base, sizeof h->base, "%s", a->verdict == DANE_RECORDS ? a->base : "");
    h->tlsa.limit = HOSTS_MOST / 100; /* mx_hosts is no more */
    buf_add_span(&h->tlsa, a->records);
    if (h->tlsa.failed)
        h->verdict = DANE_TROUBLE;
    host_done(h->owner);
}

/* RFC 7672 2.1.1, 2.1.3: only behind proved MX records, and for a host whose addresses are proved, or whose alias is. */
static void addresses_known(struct host *h)
{
    struct resolve *r = h->owner;
    bool found = h->addresses[0].len > 0 || h->addresses[1].len > 0;
    if (r->want & RESOLVE_TLSA && r->secure && found) {
        h->verdict = DANE_NONE;
        h->dane = dane_start(h->name, h->canonical, !h->insecure, r->port, dane_known, h);
    }
    if (h->dane == NULL)
        host_done(r);
}

static void host_answer(struct host *h, const struct question_answer *a, int family)
{
    struct resolve *r = h->owner;
    h->wait[family] = NULL;
    for (size_t i = 0; a->result == QUESTION_OK && i < a->count && i < HOST_ADDRESSES; i++)
        add_address(&h->addresses[family], &a->records[i], family);
    if (a->result != QUESTION_OK) {
        note_failure(r, h, a, family);
    } else {
        h->insecure |= !a->secure;
        snprintf(h->canonical, sizeof h->canonical, "%s", strlen(a->canonical) < sizeof h->canonical ? a->canonical : h->name);
    }
    if (--h->families == 0)
        addresses_known(h);
}

static void host_answer_a(const struct question_answer *a, void *arg)
{
    host_answer(arg, a, 0);
}

static void host_answer_aaaa(const struct question_answer *a, void *arg)
{
    host_answer(arg, a, 1);
}

static void ask_host(struct resolve *r, struct host *h)
{
    h->owner = r;
    r->waiting++;
    bool listing = r->want & RESOLVE_LISTING;
    if (listing || r->rules->family != FAMILY_IPV6) {
        h->families++;
        h->wait[0] = question_ask(h->name, WIRE_A, host_answer_a, h);
    }
    if (!listing && r->rules->family != FAMILY_IPV4) {
        h->families++;
        h->wait[1] = question_ask(h->name, WIRE_AAAA, host_answer_aaaa, h);
    }
}

static void ask_hosts(struct resolve *r)
{
    for (size_t i = 0; (r->want & RESOLVE_ADDRESSES) && i < r->count; i++)
        ask_host(r, &r->hosts[i]);
    if (r->waiting == 0)
        finish_hosts(r);
}

static void new_hosts(struct resolve *r, size_t n)
{
    r->hosts = calloc(n, sizeof *r->hosts);
    if (r->hosts == NULL)
        log_die("out of memory for the hosts of a domain");
}

static struct host *one_host(struct resolve *r, uint16_t preference, const char *name)
{
    struct host *h = &r->hosts[r->count++];
    h->preference = preference;
    snprintf(h->name, sizeof h->name, "%s", name);
    return h;
}

static void use_name_itself(struct resolve *r)
{
    new_hosts(r, 1);
    one_host(r, 0, r->name);
    ask_hosts(r);
}

/* ---- MX ------------------------------------------------------------------------------------------------------------------------ */

static int compare_hosts(const void *a, const void *b)
{
    const struct host *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return (x->shuffle > y->shuffle) - (x->shuffle < y->shuffle);
}

/* Which of too many are taken is not left to chance: the same receiver has the same hosts each time. */
static int compare_names(const void *a, const void *b)
{
    const struct host *x = a, *y = b;
    return x->preference != y->preference ? compare_hosts(a, b) : strcmp(x->name, y->name);
}

static void shuffle(struct resolve *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (getrandom(&r->hosts[i].shuffle, sizeof r->hosts[i].shuffle, 0) != sizeof r->hosts[i].shuffle)
            log_die("no random numbers from the system");
    qsort(r->hosts, r->count, sizeof *r->hosts, compare_hosts);
}

static bool is_address(const char *name)
{
    struct sockaddr_storage ss;
    socklen_t len;
    return address_to_socket(span_of(name), 0, &ss, &len);
}

/* The same host twice is one, with the better preference. */
static void add_mx(struct resolve *r, const struct wire_record *mx)
{
    if (!address_is_domain(span_of(mx->name), false) || is_address(mx->name))
        return;
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->hosts[i].name, mx->name) == 0) {
            if (mx->preference < r->hosts[i].preference)
                r->hosts[i].preference = mx->preference;
            return;
        }
    one_host(r, mx->preference, mx->name);
}

static bool is_null_mx(const struct question_answer *a)
{
    return a->count == 1 && a->records[0].name[0] == '\0';
}

/* RFC 5321 5.1: when we are one of the hosts, only better ones are tried. */
static void leave_out_ourselves(struct resolve *r)
{
    size_t i = 0;
    while (i < r->count && strcasecmp(r->hosts[i].name, r->rules->hostname) != 0)
        i++;
    if (i == r->count)
        return;
    while (i > 0 && r->hosts[i - 1].preference == r->hosts[i].preference)
        i--;
    r->count = i;
}

static void take_mx(struct resolve *r, const struct question_answer *a)
{
    char reason[512];
    r->secure = a->secure;
    if (is_null_mx(a)) {
        snprintf(reason, sizeof reason, "Domain %s does not accept mail (nullMX)", r->name);
        fail(r, RESOLVE_FAILED, "5.1.10", reason);
        return;
    }
    new_hosts(r, a->count);
    for (const struct wire_record *mx = a->records; mx != NULL && mx < a->records + a->count; mx++)
        add_mx(r, mx);
    bool any = r->count > 0;
    qsort(r->hosts, r->count, sizeof *r->hosts, compare_names);
    leave_out_ourselves(r);
    if (r->count > r->rules->mx_hosts)
        r->count = r->rules->mx_hosts;
    shuffle(r);
    if (r->count > 0) {
        ask_hosts(r);
    } else if (any) {
        snprintf(reason, sizeof reason, "mail for %s loops back to myself", r->name);
        fail(r, RESOLVE_FAILED, "5.4.6", reason);
    } else {
        name_service_error(reason, sizeof reason, r->name, "MX", "Malformed or unexpected name server reply");
        fail(r, RESOLVE_FAILED, "5.4.4", reason);
    }
}

static void mx_answer(const struct question_answer *a, void *arg)
{
    struct resolve *r = arg;
    char reason[512];
    r->mx = NULL;
    name_service_error(reason, sizeof reason, r->name, "MX", a->why);
    switch (a->result) {
    case QUESTION_OK:
        take_mx(r, a);
        break;
    case QUESTION_NO_DATA:
        r->secure = a->secure;
        use_name_itself(r);
        break;
    case QUESTION_NO_NAME:
        fail(r, RESOLVE_FAILED, "5.1.2", reason);
        break;
    case QUESTION_DEFERRED:
        fail(r, RESOLVE_DEFERRED, "4.4.3", reason);
        break;
    }
}

/* ---- start --------------------------------------------------------------------------------------------------------------------- */

/* "[192.0.2.1]", "[IPv6:...]", or an address alone. */
static bool literal(struct span name, struct buf *text)
{
    struct sockaddr_storage ss;
    socklen_t len;
    struct span inner = name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']' ? span_make(name.p + 1, name.n - 2) : name;
    if (!address_literal(name, &ss) && !address_to_socket(inner, 0, &ss, &len))
        return false;
    address_of_socket((struct sockaddr *)&ss, text);
    return true;
}

/* "[host]" wants no MX; a final dot goes; letters become lower case. */
static bool normalize(struct span name, char *to, size_t size, unsigned *want)
{
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']') {
        name = span_make(name.p + 1, name.n - 2);
        *want &= ~(unsigned)RESOLVE_MX;
    }
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    struct buf ascii = BUF_EMPTY(256);
    bool good = idn_ascii(name, &ascii) && ascii.len < size;
    if (good)
        snprintf(to, size, "%.*s", SPAN_ARG(buf_span(&ascii)));
    buf_free(&ascii);
    return good;
}

static void invalid_name(struct resolve *r, struct span name)
{
    char reason[400];
    snprintf(reason, sizeof reason, "Host or domain name not found. \"%.*s\" is not a valid domain name", name.n < 255 ? (int)name.n : 255,
             name.p ? name.p : "");
    fail(r, RESOLVE_FAILED, "5.1.2", reason);
}

static void use_literal(struct resolve *r, struct buf *text)
{
    new_hosts(r, 1);
    struct host *h = one_host(r, 0, buf_text(text));
    if (r->want & RESOLVE_ADDRESSES)
        buf_add_span(&h->addresses[0], buf_span(text));
    succeed(r);
}

struct resolve *resolve_start(const struct resolve_rules *rules, struct span name, unsigned want, unsigned port, resolve_fn *done,
                              void *arg)
{
    struct resolve *r = calloc(1, sizeof *r);
    if (r == NULL)
        log_die("out of memory for a next hop");
    *r = (struct resolve){.rules = rules, .want = want, .port = port, .done = done, .arg = arg, .status = ""};
    struct buf text = BUF_EMPTY(64);
    bool pending = false;
    if (literal(name, &text)) {
        use_literal(r, &text);
    } else if (!normalize(name, r->name, sizeof r->name, &r->want)) {
        invalid_name(r, name);
    } else if (r->want & RESOLVE_MX) {
        r->mx = question_ask(r->name, WIRE_MX, mx_answer, r);
        pending = true;
    } else {
        pending = (r->want & RESOLVE_ADDRESSES) != 0;
        r->secure = true; /* the administrator said which host it is */
        use_name_itself(r);
    }
    buf_free(&text);
    return pending ? r : NULL;
}
