#include "admin/headers.h"

#include "common/address.h"

/* ---- fields ---------------------------------------------------------------------------------------------------------------------- */

static struct span take_line(struct span *rest)
{
    const char *lf = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    size_t n = lf ? (size_t)(lf - rest->p) + 1 : rest->n;
    struct span line = {rest->p, n};
    *rest = (struct span){rest->p + n, rest->n - n};
    return line;
}

static struct span trim_end(struct span line)
{
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

/* The length of a field's name, RFC 5322 2.2; 0: this line begins no field. Blanks before the colon are an old habit. */
static size_t name_length(struct span line)
{
    size_t n = 0;
    while (n < line.n && line.p[n] > 32 && line.p[n] < 127 && line.p[n] != ':')
        n++;
    size_t colon = n;
    while (colon < line.n && (line.p[colon] == ' ' || line.p[colon] == '\t'))
        colon++;
    return colon < line.n && line.p[colon] == ':' ? n : 0;
}

static bool continues(struct span line)
{
    return line.n && (line.p[0] == ' ' || line.p[0] == '\t');
}

/* "From :" would be a field. */
static struct span skip_mbox_line(struct span message)
{
    struct span rest = message;
    struct span line = take_line(&rest);
    bool mbox = (line.n >= 5 && memcmp(line.p, "From ", 5) == 0) || (line.n >= 6 && memcmp(line.p, ">From ", 6) == 0);
    return mbox && name_length(line) == 0 ? rest : message;
}

struct span headers_split(struct span message, struct span *body)
{
    message = skip_mbox_line(message);
    struct span rest = message, before;
    bool any = false;
    while (rest.n) {
        before = rest;
        struct span line = take_line(&rest);
        if (trim_end(line).n == 0) {
            *body = rest;
            return (struct span){message.p, (size_t)(before.p - message.p)};
        }
        if (!(continues(line) && any) && name_length(line) == 0) {
            *body = before;
            return (struct span){message.p, (size_t)(before.p - message.p)};
        }
        any = true;
    }
    *body = rest;
    return message;
}

bool headers_next(struct span *rest, struct header_field *f)
{
    if (rest->n == 0)
        return false;
    struct span start = *rest;
    struct span line = take_line(rest);
    while (continues(*rest))
        (void)take_line(rest);
    f->whole = (struct span){start.p, start.n - rest->n};
    f->name = (struct span){start.p, name_length(line)};
    const char *colon = memchr(f->whole.p, ':', f->whole.n);
    size_t at = colon ? (size_t)(colon - f->whole.p) + 1 : f->whole.n;
    f->value = trim_end((struct span){f->whole.p + at, f->whole.n - at});
    return true;
}

bool headers_named(const struct header_field *f, const char *name)
{
    return span_equal_nocase(f->name, span_of(name));
}

/* ---- address lists --------------------------------------------------------------------------------------------------------------- */

/* A list is read token by token. What stands before "<" is a display name and forgotten; what stands before ":" names a group; what is left
 * when an element ends was the address itself.
 *
 *      ELEMENT --word, "@", "."--> ELEMENT (gathered)   --"<"--> ANGLE --">"--> AFTER --"," or end--> ELEMENT
 *      ELEMENT --":"--> ELEMENT (a group; its name is forgotten)   ELEMENT --"," ";" end--> ELEMENT (the address is told) */

enum { ADDRESS_MOST = 1000, COMMENT_DEPTH = 100 };

struct list_reader {
    struct span in;
    headers_address_fn *each;
    void *arg;
    struct error *error;
    char gathered[ADDRESS_MOST]; /* the address so far, comments and blanks left out */
    size_t n;
    bool spaced;  /* a blank or comment since the last token */
    bool invalid; /* two words without a dot between them, or too long: no address, but perhaps a display name */
    bool group;
};

/* Says where: the next few characters, without what a terminal would act upon. */
static int complain(struct list_reader *r, const char *what)
{
    char near[41];
    size_t n = 0;
    for (; n < sizeof near - 1 && n < r->in.n; n++)
        near[n] = r->in.p[n] < ' ' || r->in.p[n] > '~' ? '?' : r->in.p[n]; /* char is signed */
    near[n] = '\0';
    return n ? error_set(r->error, "%s before \"%s\"", what, near) : error_set(r->error, "%s at the end", what);
}

static char peek(const struct list_reader *r)
{
    return r->in.n ? r->in.p[0] : '\0';
}

static void advance(struct list_reader *r, size_t n)
{
    r->in = (struct span){r->in.p + n, r->in.n - n};
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int skip_comment(struct list_reader *r)
{
    unsigned depth = 0;
    do {
        char c = peek(r);
        if (c == '\\' && r->in.n > 1)
            advance(r, 1);
        else if (c == '(' && ++depth > COMMENT_DEPTH)
            return complain(r, "comments are nested too deeply");
        else if (c == ')')
            depth--;
        advance(r, 1);
    } while (depth && r->in.n);
    return depth ? complain(r, "a comment without its \")\"") : 0;
}

static int skip_blanks(struct list_reader *r)
{
    while (r->in.n && (blank(peek(r)) || peek(r) == '(')) {
        r->spaced = true;
        if (peek(r) != '(')
            advance(r, 1);
        else if (skip_comment(r) < 0)
            return -1;
    }
    return 0;
}

static bool special(char c)
{
    return c == '\0' || strchr("()<>[]:;@\\,.\"", c) != NULL;
}

/* The length of a quoted string or domain literal, its marks included; 0: it has no end. */
static size_t closed_length(struct span in, char end)
{
    for (size_t i = 1; i < in.n; i++) {
        if (in.p[i] == '\\')
            i++;
        else if (in.p[i] == end)
            return i + 1;
    }
    return 0;
}

static size_t atom_length(struct span in)
{
    size_t n = 0;
    while (n < in.n && !blank(in.p[n]) && !special(in.p[n]))
        n++;
    return n;
}

static void gather(struct list_reader *r, struct span token, bool word)
{
    char last = r->n ? r->gathered[r->n - 1] : '.';
    if ((word && last != '.' && last != '@') || r->n + token.n > sizeof r->gathered)
        r->invalid = true;
    if (r->invalid)
        return;
    for (size_t i = 0; i < token.n; i++)
        if (token.p[i] != '\r' && token.p[i] != '\n')
            r->gathered[r->n++] = token.p[i];
    r->spaced = false;
}

static void forget(struct list_reader *r)
{
    r->n = 0;
    r->invalid = r->spaced = false;
}

/* One word, dot or at sign. */
static int take_token(struct list_reader *r)
{
    char c = peek(r);
    size_t n = 1;
    if (c == '"' || c == '[') {
        n = closed_length(r->in, c == '"' ? '"' : ']');
        if (n == 0)
            return complain(r, c == '"' ? "a quoted string without its end" : "an address literal without its \"]\"");
    } else if (c == '\\' || c == ']' || c == ')' || c == '>' || c == '\0') {
        return complain(r, "a character that has no place here");
    } else if (c != '.' && c != '@') {
        n = atom_length(r->in);
    }
    gather(r, (struct span){r->in.p, n}, c != '.' && c != '@');
    advance(r, n);
    return 0;
}

static int tell(struct list_reader *r)
{
    struct address a;
    struct span text = {r->gathered, r->n};
    if (r->invalid || !address_parse(text, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a))
        return complain(r, "no address");
    bool go_on = r->each(text, r->arg, r->error);
    forget(r);
    return go_on ? 0 : -1;
}

/* <address>, with the old source route (<@a,@b:user@c>) left out. */
static int take_angle(struct list_reader *r)
{
    forget(r);
    advance(r, 1);
    while (skip_blanks(r) == 0) {
        char c = peek(r);
        if (r->in.n == 0)
            return complain(r, "an address without its \">\"");
        if (c == '>') {
            advance(r, 1);
            if (r->n == 0 && !r->invalid)
                return 0; /* <> is nobody */
            return tell(r);
        }
        bool route = r->n && r->gathered[0] == '@';
        if (route && (c == ':' || c == ',')) {
            forget(r);
            advance(r, 1);
        } else if (c == ',' || c == ';' || c == '<' || c == ':') {
            return complain(r, "an address without its \">\"");
        } else if (take_token(r) < 0) {
            return -1;
        }
    }
    return -1;
}

static int end_element(struct list_reader *r)
{
    return r->n || r->invalid ? tell(r) : 0;
}

/* Behind ">": nothing but the next separator may follow. */
static int after_angle(struct list_reader *r)
{
    if (skip_blanks(r) < 0)
        return -1;
    char c = peek(r);
    return r->in.n == 0 || c == ',' || c == ';' ? 0 : complain(r, "a comma is missing");
}

static int take_element(struct list_reader *r)
{
    switch (peek(r)) {
    case '<':
        return take_angle(r) < 0 ? -1 : after_angle(r);
    case ':':
        if (r->group)
            return complain(r, "a group inside a group");
        r->group = true;
        forget(r);
        advance(r, 1);
        return 0;
    case ';':
        r->group = false;
        /* fall through */
    case ',':
        if (end_element(r) < 0)
            return -1;
        advance(r, 1);
        return 0;
    default:
        return take_token(r);
    }
}

int headers_addresses(struct span value, headers_address_fn *each, void *arg, struct error *error)
{
    struct list_reader r = {.in = value, .each = each, .arg = arg, .error = error};
    while (skip_blanks(&r) == 0) {
        if (r.in.n == 0)
            return end_element(&r);
        if (take_element(&r) < 0)
            return -1;
    }
    return -1;
}

/* ---- recipients ------------------------------------------------------------------------------------------------------------------ */

static bool resent(struct span header)
{
    struct header_field f;
    while (headers_next(&header, &f))
        if (f.name.n > 7 && strncasecmp(f.name.p, "Resent-", 7) == 0)
            return true;
    return false;
}

int headers_recipients(struct span header, headers_address_fn *each, void *arg, struct error *error)
{
    static const char *const first[] = {"To", "Cc", "Bcc"}, *const again[] = {"Resent-To", "Resent-Cc", "Resent-Bcc"};
    const char *const *names = resent(header) ? again : first;
    struct header_field f;
    while (headers_next(&header, &f)) {
        for (int i = 0; i < 3; i++) {
            struct error why;
            if (!headers_named(&f, names[i]) || headers_addresses(f.value, each, arg, &why) == 0)
                continue;
            return error_set(error, "%s: %s", names[i], why.text);
        }
    }
    return 0;
}

/* ---- display names --------------------------------------------------------------------------------------------------------------- */

static bool plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* An encoded word has at most 75 characters, and no UTF-8 character is cut in two (RFC 2047 2, 5). */
static void encode_words(struct span name, struct buf *out)
{
    enum { MOST = 60 };
    size_t used = 0;
    buf_add_text(out, "=?UTF-8?Q?");
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (used >= MOST - 12 && (c & 0xc0) != 0x80) {
            buf_add_text(out, "?= =?UTF-8?Q?");
            used = 0;
        }
        if (c < 32 || c == 127)
            continue;
        if (plain(c) || c == ' ')
            buf_add_char(out, c == ' ' ? '_' : (char)c);
        else
            buf_printf(out, "=%02X", c);
        used += plain(c) || c == ' ' ? 1 : 3;
    }
    buf_add_text(out, "?=");
}

static void quote(struct span name, struct buf *out)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"' || name.p[i] == '\\')
            buf_add_char(out, '\\');
        if ((unsigned char)name.p[i] >= 32 && name.p[i] != 127)
            buf_add_char(out, name.p[i]);
    }
    buf_add_char(out, '"');
}

void headers_phrase(struct span name, struct buf *out)
{
    bool quoted = false;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c > 127) {
            encode_words(name, out);
            return;
        }
        quoted = quoted || (!plain(c) && c != ' ' && c != '-' && c != '_');
    }
    if (quoted || name.n == 0 || name.p[0] == ' ')
        quote(name, out);
    else
        buf_add_span(out, name);
}
