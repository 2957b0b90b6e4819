#include "delivery/encoder.h"

#define LINE_MOST 76u

/* ---- quoted-printable ------------------------------------------------------------------------------------------------------------ */

static void put(struct encoder *e, char c, bool plain, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char octet = (unsigned char)c;
    char quoted[3] = {'=', hex[octet >> 4], hex[octet & 15]};
    if (e->column + (plain ? 1 : 3) > LINE_MOST - 1) {
        buf_add_text(out, "=\r\n");
        e->column = 0;
    }
    if (plain && !(e->column == 0 && c == '-')) {
        buf_add_char(out, c);
        e->column++;
    } else {
        buf_add(out, quoted, sizeof quoted);
        e->column += 3;
    }
}

static void put_blank(struct encoder *e, bool plain, struct buf *out)
{
    if (e->blank)
        put(e, e->blank, plain, out);
    e->blank = '\0';
}

static void quote(struct encoder *e, char c, struct buf *out)
{
    if (e->cr && c == '\n') {
        put_blank(e, false, out);
        buf_add_text(out, "\r\n");
        e->column = 0;
        e->cr = false;
        return;
    }
    if (e->cr || c != '\r')
        put_blank(e, true, out);
    if (e->cr)
        put(e, '\r', false, out);
    e->cr = c == '\r';
    if (c == ' ' || c == '\t')
        e->blank = c;
    else if (!e->cr)
        put(e, c, c > ' ' && c <= '~' && c != '=', out);
}

static void end_quoted(struct encoder *e, bool line_ends, struct buf *out)
{
    if (e->cr) {
        put_blank(e, true, out);
        put(e, '\r', false, out);
    }
    put_blank(e, false, out);
    if (!line_ends && e->column)
        buf_add_text(out, "=\r\n");
}

/* ---- base64 ---------------------------------------------------------------------------------------------------------------------- */

static void put_group(struct encoder *e, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *g = e->group;
    char text[4] = {digits[g[0] >> 2], digits[(g[0] & 3) << 4 | g[1] >> 4], e->grouped > 1 ? digits[(g[1] & 15) << 2 | g[2] >> 6] : '=',
                    e->grouped > 2 ? digits[g[2] & 63] : '='};
    buf_add(out, text, sizeof text);
    memset(e->group, 0, sizeof e->group);
    e->grouped = 0;
    e->column += 4;
    if (e->column == LINE_MOST) {
        buf_add_text(out, "\r\n");
        e->column = 0;
    }
}

static void end_base64(struct encoder *e, struct buf *out)
{
    if (e->grouped)
        put_group(e, out);
    if (e->column)
        buf_add_text(out, "\r\n");
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------ */

void encoder_add(struct encoder *e, struct span s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        if (e->encoding == ENCODING_QUOTED_PRINTABLE) {
            quote(e, s.p[i], out);
        } else {
            e->group[e->grouped++] = (unsigned char)s.p[i];
            if (e->grouped == 3)
                put_group(e, out);
        }
    }
}

void encoder_end(struct encoder *e, bool line_ends, struct buf *out)
{
    if (e->encoding == ENCODING_QUOTED_PRINTABLE)
        end_quoted(e, line_ends, out);
    else
        end_base64(e, out);
    *e = (struct encoder){.encoding = e->encoding};
}
