#include "smtpd/xclient.h"

#include "common/address.h"

#define PROTO_MOST ((size_t)64)

/* ---- values ---------------------------------------------------------------------------------------------------------------------- */

static bool all_in(struct span s, const char *also)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (!c || !strchr(also, c)))
            return false;
    }
    return true;
}

static bool is_name(struct span v)
{
    return address_is_domain(v, false);
}

/* "192.0.2.1", or an address with a colon. Which of them had IPV6: in front was seen before. */
static bool is_address(struct span v)
{
    struct sockaddr_storage ss;
    socklen_t length;
    return address_to_socket(v, 0, &ss, &length);
}

static bool is_port(struct span v)
{
    unsigned n = 0;
    if (v.n > 5)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        n = n * 10 + (unsigned)(v.p[i] - '0');
    }
    return n <= 65535;
}

static bool is_smtp(struct span v)
{
    return span_equal_nocase(v, SPAN_LITERAL("SMTP")) || span_equal_nocase(v, SPAN_LITERAL("ESMTP"));
}

static bool is_protocol(struct span v)
{
    return v.n <= PROTO_MOST && all_in(v, "-_./");
}

static bool is_printable(struct span v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] > '~') /* char is signed */
            return false;
    return true;
}

/* The decoding has seen to it that it is printable, and UTF-8. */
static bool is_login(struct span v)
{
    (void)v;
    return true;
}

static bool is_source(struct span v)
{
    return span_equal_nocase(v, SPAN_LITERAL("LOCAL")) || span_equal_nocase(v, SPAN_LITERAL("REMOTE"));
}

/* ---- attributes ------------------------------------------------------------------------------------------------------------------ */

static const struct attribute {
    struct span name;
    bool (*good[3])(struct span); /* by enum xverb; NULL: the verb does not have it */
    const char *wrong;
} attributes[XATTRIBUTES] = {
    [X_LOGIN] = {{"LOGIN", 5}, {[XCLIENT] = is_login}, "LOGIN is no login"},
    [X_DESTADDR] = {{"DESTADDR", 8}, {[XCLIENT] = is_address}, "DESTADDR is neither an IPv4 address nor IPV6: and an IPv6 address"},
    [X_DESTPORT] = {{"DESTPORT", 8}, {[XCLIENT] = is_port}, "DESTPORT is no port"},
    [X_NAME] = {{"NAME", 4}, {[XCLIENT] = is_name, [XFORWARD] = is_name}, "NAME is no host name"},
    [X_ADDR] = {{"ADDR", 4},
                {[XCLIENT] = is_address, [XFORWARD] = is_address},
                "ADDR is neither an IPv4 address nor IPV6: and an IPv6 address"},
    [X_PORT] = {{"PORT", 4}, {[XCLIENT] = is_port, [XFORWARD] = is_port}, "PORT is no port"},
    [X_PROTO] = {{"PROTO", 5}, {[XCLIENT] = is_smtp, [XFORWARD] = is_protocol}, "PROTO is no protocol"},
    [X_HELO] = {{"HELO", 4}, {[XCLIENT] = is_printable, [XFORWARD] = is_printable}, "HELO has octets that no name has"},
    [X_IDENT] = {{"IDENT", 5}, {[XFORWARD] = is_printable}, "IDENT has octets that no queue id has"},
    [X_SOURCE] = {{"SOURCE", 6}, {[XFORWARD] = is_source}, "SOURCE is neither LOCAL nor REMOTE"},
};

/* Only DNS, where names come from, may know it later. */
static bool is_unavailable(const struct attribute *a, struct span value)
{
    return span_equal_nocase(value, SPAN_LITERAL("[UNAVAILABLE]")) ||
           (a == &attributes[X_NAME] && span_equal_nocase(value, SPAN_LITERAL("[TEMPUNAVAIL]")));
}

/* IPV6: goes with addresses that have colons, and with no others. */
static bool take_prefix(struct span *address)
{
    bool prefix = address->n > 5 && strncasecmp(address->p, "IPV6:", 5) == 0;
    if (prefix)
        *address = span_make(address->p + 5, address->n - 5);
    return prefix == (address->n && memchr(address->p, ':', address->n));
}

static const char *take_value(const struct attribute *a, enum xverb verb, struct span text, char *value)
{
    struct buf decoded = BUF_EMPTY(XVALUE_MOST + 1);
    if (text.n == 0 || !xtext_decode(text, &decoded) || decoded.failed || decoded.len == 0 || decoded.len > XVALUE_MOST) {
        buf_free(&decoded);
        return "a value that is empty, too long, or no xtext";
    }
    struct span v = buf_span(&decoded);
    bool address = a == &attributes[X_ADDR] || a == &attributes[X_DESTADDR];
    bool known = !is_unavailable(a, v), good = !known || ((!address || take_prefix(&v)) && a->good[verb](v));
    if (known && good)
        memcpy(value, v.p, v.n);
    buf_free(&decoded);
    return good ? NULL : a->wrong;
}

static const char *take_attribute(enum xverb verb, struct span word, struct xattributes *x)
{
    const char *equals = memchr(word.p, '=', word.n);
    if (!equals)
        return "attribute=value is expected";
    struct span name = span_make(word.p, (size_t)(equals - word.p));
    size_t i = 0;
    while (i < XATTRIBUTES && !(attributes[i].good[verb] && span_equal_nocase(name, attributes[i].name)))
        i++;
    if (i == XATTRIBUTES)
        return "an attribute that is not known";
    if (x->given >> i & 1)
        return "an attribute that is given twice";
    x->given |= 1u << i;
    return take_value(&attributes[i], verb, span_make(equals + 1, word.n - name.n - 1), x->value[i]);
}

const char *xattributes_parse(enum xverb verb, struct span in, struct xattributes *x)
{
    *x = (struct xattributes){0};
    const char *wrong = NULL;
    while (in.n && !wrong) {
        size_t n = 0;
        while (n < in.n && in.p[n] != ' ' && in.p[n] != '\t')
            n++;
        if (n)
            wrong = take_attribute(verb, span_make(in.p, n), x);
        n += n < in.n;
        in = span_make(in.p + n, in.n - n);
    }
    return wrong ? wrong : x->given ? NULL : "attribute=value is expected";
}

void xattributes_merge(struct xattributes *into, const struct xattributes *x)
{
    for (size_t i = 0; i < XATTRIBUTES; i++)
        if (x->given >> i & 1)
            memcpy(into->value[i], x->value[i], sizeof into->value[i]);
    into->given |= x->given;
}
