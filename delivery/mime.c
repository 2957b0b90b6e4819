#include "delivery/mime.h"

static struct span skip(struct span s, size_t n)
{
    return n < s.n ? span_make(s.p + n, s.n - n) : span_make(s.p + s.n, 0);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* ---- fields ---------------------------------------------------------------------------------------------------------------------- */

static size_t line_length(struct span s)
{
    const char *lf = s.n ? memchr(s.p, '\n', s.n) : NULL;
    return lf ? (size_t)(lf - s.p) + 1 : s.n;
}

bool mime_next_field(struct span *header, struct span *field)
{
    size_t n = line_length(*header);
    if (n == 0 || *header->p == '\r')
        return false;
    while (n < header->n && (header->p[n] == ' ' || header->p[n] == '\t'))
        n += line_length(skip(*header, n));
    *field = span_make(header->p, n);
    *header = skip(*header, n);
    return true;
}

/* Where the colon is; 0: it is no field. */
static size_t name_length(struct span field)
{
    size_t n = 0;
    while (n < field.n && field.p[n] != ':' && (unsigned char)field.p[n] > ' ' && field.p[n] != 0x7f)
        n++;
    size_t name = n;
    while (n < field.n && (field.p[n] == ' ' || field.p[n] == '\t'))
        n++;
    return n < field.n && field.p[n] == ':' ? name : 0;
}

bool mime_is_field(struct span field, const char *name)
{
    size_t n = name_length(field);
    return n == strlen(name) && strncasecmp(field.p, name, n) == 0;
}

static struct span value_of(struct span field)
{
    const char *colon = memchr(field.p, ':', field.n);
    return skip(field, (size_t)(colon - field.p) + 1);
}

/* ---- values ---------------------------------------------------------------------------------------------------------------------- */

/* Blanks, folds, and comments in comments. */
static struct span skip_comments(struct span s)
{
    unsigned depth = 0;
    while (s.n && (depth || is_blank(*s.p) || *s.p == '(')) {
        if (*s.p == '\\' && depth)
            s = skip(s, 1);
        else if (*s.p == '(')
            depth++;
        else if (*s.p == ')')
            depth--;
        s = skip(s, 1);
    }
    return s;
}

static struct span take_token(struct span *s)
{
    *s = skip_comments(*s);
    size_t n = 0;
    while (n < s->n && (unsigned char)s->p[n] > ' ' && s->p[n] != 0x7f && !strchr("()<>@,;:\\\"/[]?=", s->p[n]))
        n++;
    struct span token = span_make(s->p, n);
    *s = skip(*s, n);
    return token;
}

static bool take_char(struct span *s, char c)
{
    *s = skip_comments(*s);
    if (!s->n || *s->p != c)
        return false;
    *s = skip(*s, 1);
    return true;
}

/* A token or a quoted string, without its quotes. */
static void take_value(struct span *s, struct buf *out)
{
    if (!take_char(s, '"')) {
        buf_add_span(out, take_token(s));
        return;
    }
    while (s->n && *s->p != '"') {
        if (*s->p == '\\')
            *s = skip(*s, 1);
        if (s->n && *s->p != '\r' && *s->p != '\n')
            buf_add_char(out, *s->p);
        *s = skip(*s, 1);
    }
    *s = skip(*s, 1);
}

static bool keep_boundary(struct mime *m, const struct buf *value)
{
    if (m->boundary_length || !value->len || value->failed || value->data[value->len - 1] == ' ')
        return false;
    memcpy(m->boundary, value->data, value->len);
    m->boundary_length = value->len;
    return true;
}

static bool take_parameters(struct span s, struct mime *m)
{
    bool good = true;
    while (good && take_char(&s, ';')) {
        struct buf value = BUF_EMPTY(MIME_BOUNDARY_MOST);
        struct span name = take_token(&s);
        if (take_char(&s, '='))
            take_value(&s, &value);
        if (span_equal_nocase(name, SPAN_LITERAL("boundary")))
            good = keep_boundary(m, &value);
        buf_free(&value);
    }
    return good;
}

/* A type that can't be read is text/plain (RFC 2045 5.2). */
static bool take_type(struct span s, struct mime *m)
{
    struct span type = take_token(&s);
    bool whole = type.n && take_char(&s, '/');
    struct span subtype = whole ? take_token(&s) : span_make(NULL, 0);
    bool message = span_equal_nocase(type, SPAN_LITERAL("message")), global = message && span_equal_nocase(subtype, SPAN_LITERAL("global"));
    m->kind = MIME_LEAF;
    m->text = !subtype.n || span_equal_nocase(type, SPAN_LITERAL("text"));
    if (message && span_equal_nocase(subtype, SPAN_LITERAL("rfc822")))
        m->kind = MIME_MESSAGE;
    m->opaque = message && !global && m->kind == MIME_LEAF; /* RFC 2046 5.2; message/global may be (RFC 6532 3.7) */
    if (!span_equal_nocase(type, SPAN_LITERAL("multipart")))
        return true;
    m->kind = MIME_MULTIPART;
    m->digest = span_equal_nocase(subtype, SPAN_LITERAL("digest"));
    return take_parameters(s, m) && m->boundary_length > 0;
}

static enum mime_encoding encoding_of(struct span value)
{
    static const struct {
        struct span name;
        enum mime_encoding encoding;
    } names[] = {{{"7bit", 4}, MIME_7BIT}, {{"8bit", 4}, MIME_8BIT}, {{"binary", 6}, MIME_BINARY}};
    struct span token = take_token(&value);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (span_equal_nocase(token, names[i].name))
            return names[i].encoding;
    return token.n ? MIME_ENCODED : MIME_UNSAID;
}

bool mime_parse(struct span header, bool in_digest, struct mime *m)
{
    struct span field;
    bool has_encoding = false;
    *m = (struct mime){.kind = in_digest ? MIME_MESSAGE : MIME_LEAF, .text = true};
    while (mime_next_field(&header, &field)) {
        bool type = mime_is_field(field, "Content-Type"), encoding = mime_is_field(field, "Content-Transfer-Encoding");
        if (!name_length(field) || (type && m->has_type) || (encoding && has_encoding))
            return false;
        if (type && !take_type(value_of(field), m))
            return false;
        if (encoding)
            m->encoding = encoding_of(value_of(field));
        m->has_type |= type;
        has_encoding |= encoding;
        m->has_version |= mime_is_field(field, "MIME-Version");
    }
    if (m->encoding == MIME_ENCODED) { /* a composite that says so is none (RFC 2045 6.4) */
        m->kind = MIME_LEAF;
        m->opaque = true;
    }
    return true;
}
