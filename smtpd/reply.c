#include "smtpd/reply.h"

#define LINE_MOST ((size_t)510)

static void add_harmless(struct buf *out, struct span text, size_t most)
{
    for (size_t i = 0; i < text.n && i < most; i++)
        buf_add_char(out, text.p[i] >= ' ' && text.p[i] != 0x7f ? text.p[i] : '?'); /* char is signed: 8-bit octets are below blank */
}

void reply_add(struct buf *out, unsigned code, struct span status, struct span text)
{
    size_t start = out->len;
    buf_printf(out, "%03u ", code);
    if (status.n) {
        buf_add_span(out, status);
        buf_add_char(out, ' ');
    }
    add_harmless(out, text, LINE_MOST - (out->len - start));
    buf_add(out, "\r\n", 2);
}

void reply_add_line(struct buf *out, unsigned code, bool last, struct span text)
{
    buf_printf(out, "%03u%c", code, last ? ' ' : '-');
    add_harmless(out, text, LINE_MOST - 4);
    buf_add(out, "\r\n", 2);
}
