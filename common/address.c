#include "common/address.h"
#include "common/utf8.h"

#define LOCAL_MOST  128
#define DOMAIN_MOST 255
#define PATH_MOST   256 /* with its angle brackets */
#define LABEL_MOST  63

/* Each take_*() moves the cursor behind what it recognizes, and leaves it alone when it fails. */

static int peek(const struct span *in)
{
    return in->n > 0 ? (unsigned char)in->p[0] : -1;
}

static void skip(struct span *in, size_t n)
{
    in->p += n;
    in->n -= n;
}

static bool take_char(struct span *in, char c)
{
    if (peek(in) != (unsigned char)c)
        return false;
    skip(in, 1);
    return true;
}

static struct span taken(const char *from, const struct span *in)
{
    return (struct span){from, (size_t)(in->p - from)};
}

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_atext(int c)
{
    return is_alnum(c) || (c > 0 && c < 0x80 && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* The length of the character at the front if it may stand in an atom (RFC 5321 4.1.2, RFC 6531 3.3); else 0. */
static size_t atext_length(const struct span *in, bool utf8)
{
    if (is_atext(peek(in)))
        return 1;
    return utf8 ? utf8_length(*in) : 0;
}

static bool take_atom(struct span *in, bool utf8)
{
    const char *from = in->p;
    for (size_t n; (n = atext_length(in, utf8)) > 0;)
        skip(in, n);
    return in->p > from;
}

static bool take_dot_string(struct span *in, bool utf8)
{
    struct span at = *in;
    do {
        if (!take_atom(&at, utf8))
            return false;
    } while (take_char(&at, '.'));
    *in = at;
    return true;
}

/* The length of a qtext or quoted pair at the front; 0: neither. */
static size_t quoted_length(const struct span *in, bool utf8)
{
    int c = peek(in);
    if (c == '\\')
        return in->n >= 2 && in->p[1] >= ' ' && in->p[1] < 0x7f ? 2 : 0;
    if (c >= ' ' && c < 0x7f && c != '"')
        return 1;
    return utf8 ? utf8_length(*in) : 0;
}

static bool take_quoted_string(struct span *in, bool utf8)
{
    struct span at = *in;
    if (!take_char(&at, '"'))
        return false;
    for (size_t n; (n = quoted_length(&at, utf8)) > 0;)
        skip(&at, n);
    if (!take_char(&at, '"'))
        return false;
    *in = at;
    return true;
}

static bool take_local(struct span *in, bool utf8, struct span *local)
{
    const char *from = in->p;
    if (!take_quoted_string(in, utf8) && !take_dot_string(in, utf8))
        return false;
    *local = taken(from, in);
    return local->n <= LOCAL_MOST;
}

/* The length of the character at the front if it may stand in a label; else 0. */
static size_t label_char_length(const struct span *in, bool utf8)
{
    int c = peek(in);
    if (is_alnum(c) || c == '-' || c == '_')
        return 1;
    return utf8 ? utf8_length(*in) : 0;
}

static bool take_label(struct span *in, bool utf8)
{
    const char *from = in->p;
    bool ascii = true;
    for (size_t n; (n = label_char_length(in, utf8)) > 0; skip(in, n))
        ascii = ascii && n == 1;
    struct span label = taken(from, in);
    /* A label beyond ASCII is measured when it has become an A-label, which may be shorter. */
    return label.n > 0 && label.p[0] != '-' && label.p[label.n - 1] != '-' && (label.n <= LABEL_MOST || !ascii);
}

static bool take_name(struct span *in, bool utf8)
{
    const char *from = in->p;
    do {
        if (!take_label(in, utf8))
            return false;
    } while (take_char(in, '.'));
    return taken(from, in).n <= DOMAIN_MOST;
}

static bool take_literal(struct span *in)
{
    struct sockaddr_storage unused;
    const char *end = in->n > 0 ? memchr(in->p, ']', in->n) : NULL;
    if (end == NULL)
        return false;
    size_t n = (size_t)(end - in->p) + 1;
    if (!address_literal(span_make(in->p, n), &unused))
        return false;
    skip(in, n);
    return true;
}

static bool take_domain(struct span *in, bool utf8, struct span *domain)
{
    const char *from = in->p;
    if (peek(in) == '[' ? !take_literal(in) : !take_name(in, utf8))
        return false;
    *domain = taken(from, in);
    return true;
}

/* @one.example,@two.example:  (RFC 5321 appendix C: to be taken, and ignored) */
static bool take_source_route(struct span *in, bool utf8)
{
    struct span unused;
    do {
        if (!take_char(in, '@') || !take_domain(in, utf8, &unused))
            return false;
    } while (take_char(in, ','));
    return take_char(in, ':');
}

static bool take_mailbox(struct span *in, int flags, struct address *out)
{
    bool utf8 = flags & ADDRESS_ALLOW_UTF8;
    const char *from = in->p;
    *out = (struct address){0};
    if (!take_local(in, utf8, &out->local))
        return false;
    if (take_char(in, '@')) {
        if (!take_domain(in, utf8, &out->domain))
            return false;
    } else if (!(flags & ADDRESS_ALLOW_BARE)) {
        return false;
    }
    out->whole = taken(from, in);
    return out->whole.n <= PATH_MOST - 2;
}

/* From behind the "<" to behind the ">". */
static bool take_bracketed(struct span *in, int flags, struct address *out)
{
    if (peek(in) == '>') {
        *out = (struct address){0};
        skip(in, 1);
        return flags & ADDRESS_ALLOW_NULL;
    }
    if (peek(in) == '@' && !take_source_route(in, flags & ADDRESS_ALLOW_UTF8))
        return false;
    return take_mailbox(in, flags, out) && take_char(in, '>');
}

static bool at_end_of_word(const struct span *in)
{
    return in->n == 0 || in->p[0] == ' ' || in->p[0] == '\t';
}

bool address_parse_path(struct span *in, int flags, struct address *out)
{
    struct span at = *in;
    bool good = take_char(&at, '<') ? take_bracketed(&at, flags, out) : take_mailbox(&at, flags, out) && at_end_of_word(&at);
    if (good)
        *in = at;
    return good;
}

bool address_parse(struct span in, int flags, struct address *out)
{
    if (in.n == 0) {
        *out = (struct address){0};
        return flags & ADDRESS_ALLOW_NULL;
    }
    return take_mailbox(&in, flags, out) && in.n == 0;
}

bool address_is_domain(struct span name, bool utf8)
{
    return take_name(&name, utf8) && name.n == 0;
}

/* A quoted local part without its quotes and backslashes. `bytes` has room for a local part. */
static struct span unquote(struct span local, char bytes[LOCAL_MOST])
{
    size_t n = 0;
    for (size_t i = 1; i + 1 < local.n && n < LOCAL_MOST; i++) {
        if (local.p[i] == '\\')
            i++;
        bytes[n++] = local.p[i];
    }
    return (struct span){bytes, n};
}

static void add_quoted(struct buf *out, struct span plain)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < plain.n; i++) {
        if (plain.p[i] == '"' || plain.p[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, plain.p[i]);
    }
    buf_add_char(out, '"');
}

static void add_local(struct buf *out, struct span local)
{
    char bytes[LOCAL_MOST];
    if (local.n == 0 || local.p[0] != '"') {
        buf_add_span(out, local);
        return;
    }
    struct span plain = unquote(local, bytes), rest = plain;
    if (take_dot_string(&rest, true) && rest.n == 0)
        buf_add_span(out, plain);
    else
        add_quoted(out, plain);
}

void address_canonical(const struct address *address, struct buf *out)
{
    add_local(out, address->local);
    if (address->domain.n == 0)
        return;
    buf_add_char(out, '@');
    for (size_t i = 0; i < address->domain.n; i++) {
        char c = address->domain.p[i];
        buf_add_char(out, c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c);
    }
}
