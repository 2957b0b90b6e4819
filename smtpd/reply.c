#include "smtpd/reply.h"

#define LINE_MOST   ((size_t)510)
#define STATUS_MOST ((size_t)16)

static void add_harmless(struct buf *out, struct span text, size_t most)
{
    size_t at = out->len;
    buf_add(out, text.p, text.n < most ? text.n : most);
    for (size_t i = at; i < out->len; i++)
        if (out->data[i] < ' ' || out->data[i] == 0x7f) /* char is signed: 8-bit octets are below blank */
            out->data[i] = '?';
}

static void add_code(struct buf *out, unsigned code, char then)
{
    char digits[] = {(char)('0' + code / 100 % 10), (char)('0' + code / 10 % 10), (char)('0' + code % 10), then};
    buf_add(out, digits, sizeof digits);
}

void reply_add(struct buf *out, unsigned code, struct span status, struct span text)
{
    size_t start = out->len;
    add_code(out, code, ' ');
    if (status.n) {
        add_harmless(out, status, STATUS_MOST);
        buf_add_char(out, ' ');
    }
    add_harmless(out, text, LINE_MOST - (out->len - start));
    buf_add(out, "\r\n", 2);
}

void reply_add_line(struct buf *out, unsigned code, bool last, struct span text)
{
    add_code(out, code, last ? ' ' : '-');
    add_harmless(out, text, LINE_MOST - 4);
    buf_add(out, "\r\n", 2);
}
