#include "delivery/downgrade.h"

#include "delivery/encoder.h"
#include "delivery/mime.h"

#include <stdlib.h>

#define HEADER_MOST ((size_t)256 << 10)
#define PARTS_MOST  ((uint32_t)10000)
#define DEPTH_MOST  ((size_t)32)
#define HEAD_MOST   (MIME_BOUNDARY_MOST + 64) /* of a line that may be a boundary */
#define LINE_MOST   ((uint64_t)998)           /* RFC 5321 4.5.3.1.6, without CR LF */

/* A multipart or a message that the octets are in. */
struct level {
    uint32_t part;
    bool multipart, digest;
    bool seen; /* its first boundary */
    char boundary[MIME_BOUNDARY_MOST];
    size_t boundary_length;
};

enum form { FORM_PLAIN, FORM_ENCODED, FORM_NOBODYS };

/*   HEADER --empty line--> BODY of a leaf --boundary--> HEADER of the next part
 *     ^ |                                 `--last boundary--> BODY that is nobody's --boundary of an outer one--> HEADER
 *     | `--of a multipart--> BODY that is nobody's --boundary--> HEADER
 *     `----of a message */
struct downgrade {
    bool binary, second, broken, needed;
    uint32_t parts; /* begun so far; the last is the one that is read */
    unsigned char dirty[PARTS_MOST / 8];
    struct level levels[DEPTH_MOST];
    size_t depth, multiparts;

    bool in_header;
    bool of_message; /* the header is a whole message's */
    struct buf header;
    size_t header_line; /* where its last line begins */

    enum form form;
    bool opaque;
    struct encoder encoder;
    bool line_start, head; /* head: what the line begins with is kept, as it may be a boundary */
    bool cr;               /* half of a line end, perhaps */
    bool crlf;             /* a line end, which is the boundary's if one comes */
    uint64_t line;         /* octets of this line */
    char kept[HEAD_MOST];
    size_t kept_length;
};

static void begin_header(struct downgrade *d, bool of_message)
{
    d->in_header = true;
    d->of_message = of_message;
    buf_clear(&d->header);
    d->header_line = 0;
}

static void begin_pass(struct downgrade *d)
{
    d->parts = 0;
    d->depth = d->multiparts = 0;
    d->line_start = d->head = d->cr = d->crlf = false;
    d->line = 0;
    begin_header(d, true);
}

struct downgrade *downgrade_new(bool binary)
{
    struct downgrade *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->binary = binary;
    d->header.limit = HEADER_MOST;
    begin_pass(d);
    return d;
}

void downgrade_free(struct downgrade *d)
{
    if (d)
        buf_free(&d->header);
    free(d);
}

/* ---- what has to be done --------------------------------------------------------------------------------------------------------- */

static bool is_dirty(const struct downgrade *d, uint32_t part)
{
    return d->dirty[part / 8] >> part % 8 & 1;
}

static void mark(struct downgrade *d, uint32_t part)
{
    if (d->second && !is_dirty(d, part))
        d->broken = true;
    d->dirty[part / 8] |= (unsigned char)(1u << part % 8);
    d->needed = true;
}

/* The octets that are read now are not 7-bit: nor is all that they are in. */
static void mark_all(struct downgrade *d)
{
    for (size_t i = 0; i < d->depth; i++)
        mark(d, d->levels[i].part);
    if (d->form == FORM_NOBODYS)
        return;
    if (d->opaque)
        d->broken = true;
    mark(d, d->parts - 1);
}

static bool is_seven_bit(const struct downgrade *d, struct span s)
{
    if (!span_is_ascii(s))
        return false;
    return !d->binary || (d->line <= LINE_MOST && !memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n) && !memchr(s.p, '\0', s.n));
}

/* ---- bodies ---------------------------------------------------------------------------------------------------------------------- */

static void put_line_end(struct downgrade *d, struct buf *out)
{
    if (!d->crlf)
        return;
    d->crlf = false;
    if (d->second && d->form == FORM_ENCODED)
        encoder_add(&d->encoder, SPAN_LITERAL("\r\n"), out);
    else if (d->second)
        buf_add_text(out, "\r\n");
}

static void put_harmless(struct span s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++)
        buf_add_char(out, s.p[i] >= ' ' && s.p[i] < 0x7f ? s.p[i] : s.p[i] == '\t' ? '\t' : '?');
}

static void put_text(struct downgrade *d, struct span s, struct buf *out)
{
    put_line_end(d, out);
    d->line += s.n;
    if (!is_seven_bit(d, s))
        mark_all(d);
    if (!d->second)
        return;
    if (d->form == FORM_ENCODED)
        encoder_add(&d->encoder, s, out);
    else if (d->form == FORM_NOBODYS && is_dirty(d, d->levels[d->depth ? d->depth - 1 : 0].part))
        put_harmless(s, out);
    else
        buf_add_span(out, s);
}

/* A line end behind it is a boundary's: base64 has put its own. */
static void end_body(struct downgrade *d, bool boundary, struct buf *out)
{
    bool own_line_end = d->form == FORM_ENCODED && d->encoder.encoding == ENCODING_BASE64;
    if (!boundary)
        put_line_end(d, out);
    if (d->second && d->form == FORM_ENCODED)
        encoder_end(&d->encoder, boundary && d->crlf, out);
    if (d->second && boundary && d->crlf && !own_line_end)
        buf_add_text(out, "\r\n");
    d->crlf = false;
}

static void begin_body(struct downgrade *d, enum form form)
{
    d->form = form;
    d->line_start = true;
    d->head = d->cr = d->crlf = false;
    d->line = 0;
}

/* ---- headers --------------------------------------------------------------------------------------------------------------------- */

static void copy_header(struct span header, struct buf *out)
{
    struct span field;
    while (mime_next_field(&header, &field))
        if (!mime_is_field(field, "Content-Transfer-Encoding"))
            buf_add_span(out, field);
}

/* What the header has to say in the end; NULL: what it says already. */
static const char *label_of(const struct mime *m, bool dirty)
{
    if (dirty && m->kind == MIME_LEAF)
        return m->text ? "quoted-printable" : "base64";
    bool composite = m->kind != MIME_LEAF && dirty && m->encoding == MIME_8BIT;
    return composite || m->encoding == MIME_BINARY ? "7bit" : NULL;
}

static void write_header(struct downgrade *d, const struct mime *m, struct buf *out)
{
    bool dirty = is_dirty(d, d->parts - 1);
    const char *label = label_of(m, dirty);
    if (!label) {
        buf_add_span(out, buf_span(&d->header));
        return;
    }
    copy_header(buf_span(&d->header), out);
    if (d->of_message && !m->has_version)
        buf_add_text(out, "MIME-Version: 1.0\r\n");
    if (dirty && m->kind == MIME_LEAF && !m->has_type)
        buf_add_text(out, "Content-Type: text/plain; charset=unknown-8bit\r\n");
    buf_printf(out, "Content-Transfer-Encoding: %s\r\n\r\n", label);
}

static void enter(struct downgrade *d, const struct mime *m)
{
    if (d->depth == DEPTH_MOST) {
        d->broken = true;
        return;
    }
    struct level *l = &d->levels[d->depth++];
    *l = (struct level){.part = d->parts - 1, .multipart = m->kind == MIME_MULTIPART, .digest = m->digest};
    memcpy(l->boundary, m->boundary, m->boundary_length);
    l->boundary_length = m->boundary_length;
    d->multiparts += l->multipart;
}

static void leave(struct downgrade *d, size_t depth)
{
    while (d->depth > depth) {
        const struct level *l = &d->levels[--d->depth];
        d->broken |= l->multipart && !l->seen;
        d->multiparts -= l->multipart;
    }
}

static void header_ends(struct downgrade *d, struct buf *out)
{
    struct mime m;
    bool in_digest = d->depth && d->levels[d->depth - 1].digest;
    if (!mime_parse(buf_span(&d->header), in_digest, &m) || d->parts == PARTS_MOST) {
        d->broken = true;
        return;
    }
    d->parts++;
    d->needed |= m.encoding == MIME_BINARY;
    if (d->second)
        write_header(d, &m, out);
    if (m.kind == MIME_MESSAGE) {
        enter(d, &m);
        begin_header(d, true);
        return;
    }
    if (m.kind == MIME_MULTIPART)
        enter(d, &m);
    d->opaque = m.opaque;
    d->encoder = (struct encoder){.encoding = m.text ? ENCODING_QUOTED_PRINTABLE : ENCODING_BASE64};
    d->in_header = false;
    begin_body(d, m.kind == MIME_MULTIPART ? FORM_NOBODYS : d->second && is_dirty(d, d->parts - 1) ? FORM_ENCODED : FORM_PLAIN);
}

/* ---- boundaries ------------------------------------------------------------------------------------------------------------------ */

enum boundary { BOUNDARY_NONE, BOUNDARY_NEXT, BOUNDARY_LAST, BOUNDARY_UNCLEAR };

static enum boundary compare(const struct level *l, struct span line)
{
    size_t n = l->boundary_length;
    if (!l->multipart || line.n < n + 2 || memcmp(line.p, "--", 2) != 0 || memcmp(line.p + 2, l->boundary, n) != 0)
        return BOUNDARY_NONE;
    struct span rest = span_make(line.p + 2 + n, line.n - 2 - n);
    bool last = rest.n >= 2 && memcmp(rest.p, "--", 2) == 0;
    for (size_t i = last ? 2 : 0; i < rest.n; i++)
        if (rest.p[i] != ' ' && rest.p[i] != '\t')
            return BOUNDARY_UNCLEAR; /* RFC 2046 5.1.1 has it a boundary; many readers do not */
    return last ? BOUNDARY_LAST : BOUNDARY_NEXT;
}

/* Whose boundary the line is: the innermost one's. */
static enum boundary find_boundary(const struct downgrade *d, struct span line, size_t *level)
{
    enum boundary unclear = BOUNDARY_NONE;
    for (size_t i = d->depth; i-- > 0;) {
        enum boundary found = compare(&d->levels[i], line);
        *level = i;
        if (found == BOUNDARY_NEXT || found == BOUNDARY_LAST)
            return found;
        if (found == BOUNDARY_UNCLEAR)
            unclear = found;
    }
    return unclear;
}

/* The kept line is a boundary, or the beginning of a line of the body. */
static bool take_boundary(struct downgrade *d, struct buf *out)
{
    size_t level;
    struct span line = span_make(d->kept, d->kept_length);
    enum boundary found = find_boundary(d, line, &level);
    d->head = false;
    d->broken |= found == BOUNDARY_UNCLEAR;
    if (found != BOUNDARY_NEXT && found != BOUNDARY_LAST) {
        put_text(d, line, out);
        return false;
    }
    end_body(d, true, out);
    if (d->second) {
        buf_add_span(out, line);
        buf_add_text(out, "\r\n");
    }
    leave(d, level + 1);
    d->levels[level].seen = true;
    if (found == BOUNDARY_LAST)
        leave(d, level);
    if (found == BOUNDARY_LAST)
        begin_body(d, FORM_NOBODYS);
    else
        begin_header(d, false);
    return true;
}

/* ---- input ----------------------------------------------------------------------------------------------------------------------- */

static size_t take_header(struct downgrade *d, struct span in, struct buf *out)
{
    const char *lf = memchr(in.p, '\n', in.n);
    size_t n = lf ? (size_t)(lf - in.p) + 1 : in.n, level;
    buf_add(&d->header, in.p, n);
    d->broken |= d->header.failed;
    if (!lf || d->broken)
        return n;
    struct span line = span_make(d->header.data + d->header_line, d->header.len - d->header_line);
    if (line.n < 2 || memchr(line.p, '\r', line.n) != line.p + line.n - 2)
        d->broken = true; /* a bare CR or LF */
    else if (find_boundary(d, span_make(line.p, line.n - 2), &level) != BOUNDARY_NONE)
        d->broken = true; /* a part that ends in its header */
    d->header_line = d->header.len;
    if (line.n == 2 && !d->broken)
        header_ends(d, out);
    return n;
}

static void take_text(struct downgrade *d, struct span s, struct buf *out)
{
    if (s.n && d->line_start) {
        d->line_start = false;
        d->head = d->multiparts && *s.p == '-';
        d->kept_length = 0;
    }
    if (s.n && d->head) {
        size_t room = HEAD_MOST - d->kept_length, n = s.n < room ? s.n : room;
        memcpy(d->kept + d->kept_length, s.p, n);
        d->kept_length += n;
        s = span_make(s.p + n, s.n - n);
        if (s.n) { /* too long for a boundary, and perhaps unclear */
            size_t level;
            d->broken |= find_boundary(d, span_make(d->kept, d->kept_length), &level) != BOUNDARY_NONE;
            d->head = false;
            put_text(d, span_make(d->kept, d->kept_length), out);
        }
    }
    if (s.n)
        put_text(d, s, out);
}

static void take_line_end(struct downgrade *d, struct buf *out)
{
    d->cr = false;
    if (d->head && take_boundary(d, out))
        return;
    put_line_end(d, out);
    d->crlf = d->line_start = true;
    d->line = 0;
}

/* Up to the next LF, or all; a CR at the end waits for what comes. */
static size_t take_body(struct downgrade *d, struct span in, struct buf *out)
{
    const char *lf = memchr(in.p, '\n', in.n);
    size_t n = lf ? (size_t)(lf - in.p) : in.n;
    if (d->cr && n == 0) {
        take_line_end(d, out);
        return 1;
    }
    if (d->cr)
        take_text(d, SPAN_LITERAL("\r"), out);
    d->cr = n && in.p[n - 1] == '\r';
    take_text(d, span_make(in.p, n - d->cr), out);
    if (lf && d->cr)
        take_line_end(d, out);
    else if (lf)
        take_text(d, SPAN_LITERAL("\n"), out);
    return n + (lf != NULL);
}

void downgrade_add(struct downgrade *d, struct span in, struct buf *out)
{
    while (in.n && !d->broken) {
        size_t n = d->in_header ? take_header(d, in, out) : take_body(d, in, out);
        in = span_make(in.p + n, in.n - n);
    }
}

void downgrade_again(struct downgrade *d)
{
    d->second = true;
    begin_pass(d);
}

enum downgrade_verdict downgrade_end(struct downgrade *d, struct buf *out)
{
    if (d->cr && !d->broken)
        take_text(d, SPAN_LITERAL("\r"), out);
    if (d->head && !d->broken)
        take_boundary(d, out);
    if (!d->broken && !d->in_header)
        end_body(d, false, out);
    else if (!d->broken && d->second)
        buf_add_span(out, buf_span(&d->header)); /* it has no body */
    leave(d, 0);
    return d->broken ? DOWNGRADE_BROKEN : d->needed ? DOWNGRADE_NEEDED : DOWNGRADE_CLEAN;
}
