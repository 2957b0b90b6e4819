#include "qmgr/bounce.h"
#include "common/messages.h"

#include <time.h>

#define LINE_MOST 76

bool bounce_wanted(unsigned notify)
{
    return notify == 0 || (notify & NOTIFY_FAILURE && !(notify & NOTIFY_NEVER));
}

/* ---- small words ------------------------------------------------------------------------------------------------- */

/* Texts come from strangers: what is not printable ASCII stands as ?, so that no header line breaks and no 8-bit octet gets where it may
 * not be. */
static void add_safe(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_add_char(out, s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?');
}

/* "name: value", folded at blanks; a word without one is cut, as no line may be longer than 998 octets. */
static void add_folded(struct buf *out, const char *name, const char *indent, struct span value)
{
    size_t column = strlen(name);
    buf_add_text(out, name);
    while (value.n > 0) {
        size_t word = value.p[0] == ' ' ? 1 : 0;
        while (word < value.n && value.p[word] != ' ' && word < 900)
            word++;
        if (column > strlen(name) && column + word > LINE_MOST) {
            buf_printf(out, "\r\n%s%s", indent, value.p[0] == ' ' ? "" : " ");
            column = strlen(indent);
        }
        add_safe(out, span_make(value.p, word));
        column += word;
        value.p += word;
        value.n -= word;
    }
    buf_add_text(out, "\r\n");
}

static void add_date(struct buf *out, const char *name, uint64_t seconds)
{
    char text[64];
    struct tm tm;
    time_t when = (time_t)seconds;
    if (!localtime_r(&when, &tm) || strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S %z", &tm) == 0)
        return;
    buf_printf(out, "%s%s\r\n", name, text);
}

/* The next code point of UTF-8, or the octet itself where it is none. */
static uint32_t code_point(struct span *s)
{
    unsigned char c = (unsigned char)s->p[0];
    size_t n = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    uint32_t code = n == 4 ? c & 7 : n == 3 ? c & 15 : n == 2 ? c & 31 : c;
    bool good = n <= s->n && c < 0xf5;
    for (size_t i = 1; i < n && good; i++) {
        good = ((unsigned char)s->p[i] & 0xc0) == 0x80;
        code = code << 6 | ((unsigned char)s->p[i] & 0x3f);
    }
    if (!good) {
        n = 1;
        code = c;
    }
    s->p += n;
    s->n -= n;
    return code;
}

static bool is_ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] > 127)
            return false;
    }
    return true;
}

/* An address field of message/delivery-status: "rfc822; a@b", or RFC 6533's utf-8-addr-xtext. */
static void add_address_field(struct buf *out, const char *name, struct span address)
{
    if (is_ascii(address)) {
        buf_printf(out, "%s: rfc822; ", name);
        add_safe(out, address);
    } else {
        buf_printf(out, "%s: utf-8; ", name);
        while (address.n > 0) {
            uint32_t code = code_point(&address);
            if (code > ' ' && code < 127 && code != '\\' && code != '+' && code != '=')
                buf_add_char(out, (char)code);
            else
                buf_printf(out, "\\x{%X}", code);
        }
    }
    buf_add_text(out, "\r\n");
}

static bool is_reply(struct span s)
{
    return s.n >= 4 && (s.p[0] == '4' || s.p[0] == '5') && s.p[1] >= '0' && s.p[1] <= '9' && s.p[2] >= '0' && s.p[2] <= '9' &&
           (s.p[3] == ' ' || s.p[3] == '-');
}

/* The SMTP reply in a reason: "550 5.1.1 ...", or what stands in "host mx[192.0.2.1] said: 550 5.1.1 ... (in reply to RCPT TO command)".
 * Empty: none. */
static struct span reply_in(struct span s)
{
    static const char said[] = " said: ", command[] = " (in reply to ";
    const char *p = s.n ? memmem(s.p, s.n, said, sizeof said - 1) : NULL;
    if (p)
        s = span_make(p + sizeof said - 1, s.n - (size_t)(p - s.p) - (sizeof said - 1));
    if (!is_reply(s))
        return span_make(NULL, 0);
    p = memmem(s.p, s.n, command, sizeof command - 1);
    return p && s.p[s.n - 1] == ')' ? span_make(s.p, (size_t)(p - s.p)) : s;
}

/* ---- the original ------------------------------------------------------------------------------------------------ */

/* Up to and with the empty line; without one, up to the last whole line. */
static struct span header_of(struct span message)
{
    size_t line = 0;
    for (size_t i = 0; i + 1 < message.n; i++) {
        if (message.p[i] != '\r' || message.p[i + 1] != '\n')
            continue;
        if (i == line)
            return span_make(message.p, line);
        line = i + 2;
    }
    return span_make(message.p, line);
}

static bool ends_line(struct span s)
{
    return s.n == 0 || (s.n >= 2 && s.p[s.n - 2] == '\r' && s.p[s.n - 1] == '\n');
}

/* The boundary begins with what base 64 and quoted-printable never have at a line's start, and is tried until the original has not got it.
 */
static void make_boundary(const struct bounce *b, struct span part, char out[48])
{
    uint64_t random = b->random;
    do {
        static const char hex[] = "0123456789ABCDEF";
        size_t n = 0;
        for (const char *p = "=_Postino/"; *p; p++)
            out[n++] = *p;
        for (unsigned i = 0; i < 16; i++)
            out[n++] = hex[random >> (4 * i) & 15];
        out[n] = '\0';
        random = random * 6364136223846793005u + 1442695040888963407u;
    } while (part.n > 0 && memmem(part.p, part.n, out, strlen(out)));
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static void add_header(const struct bounce *b, const char *boundary, bool eight_bit, struct buf *out)
{
    buf_add_text(out, "Received: by ");
    add_safe(out, b->hostname);
    buf_add_text(out, " (Postino)\r\n        id ");
    add_safe(out, b->report_id);
    add_date(out, "; ", b->now);
    add_date(out, "Date: ", b->now);
    buf_add_text(out, "From: MAILER-DAEMON@");
    add_safe(out, b->hostname);
    buf_add_text(out, " (Mail Delivery System)\r\nTo: ");
    buf_add_span(out, b->sender); /* RFC 6532 where it is UTF-8 */
    buf_add_text(out, "\r\nSubject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMessage-ID: <");
    add_safe(out, b->report_id);
    buf_add_char(out, '@');
    add_safe(out, b->hostname);
    buf_printf(out,
               ">\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n%s\r\n"
               "This is a MIME-encapsulated message.\r\n",
               boundary, eight_bit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

static void add_words_for(const struct bounce_recipient *r, struct buf *out)
{
    struct buf words = BUF_EMPTY(0);
    buf_add_char(&words, '<');
    buf_add_span(&words, r->address);
    buf_add_text(&words, ">");
    if (r->original.n > 0 && !span_equal(r->original, r->address)) {
        buf_add_text(&words, " (expanded from <");
        buf_add_span(&words, r->original);
        buf_add_text(&words, ">)");
    }
    buf_add_text(&words, ": ");
    if (r->peer.n > 0 && is_reply(r->reason)) { /* else the words say by themselves who said it */
        buf_add_text(&words, "host ");
        buf_add_span(&words, r->peer);
        buf_add_text(&words, " said: ");
    }
    buf_add_span(&words, r->reason);
    add_folded(out, "", "   ", buf_span(&words));
    buf_add_text(out, "\r\n");
    buf_free(&words);
}

static void add_words(const struct bounce *b, struct buf *out)
{
    buf_add_text(out, "Content-Description: Notification\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
                      "This is the mail system at host ");
    add_safe(out, b->hostname);
    buf_add_text(out, ".\r\n\r\n"
                      "I'm sorry to have to inform you that your message could not\r\n"
                      "be delivered to one or more recipients. ");
    buf_add_text(out, b->headers_only ? "Its header is attached below.\r\n\r\n" : "It's attached below.\r\n\r\n");
    buf_add_text(out, "If you need help, write to postmaster at this host, and include\r\nthis report.\r\n\r\n");
    for (size_t i = 0; i < b->count; i++)
        add_words_for(&b->recipients[i], out);
}

static struct span host_of(struct span peer)
{
    for (size_t i = 0; i < peer.n; i++) {
        if (peer.p[i] == '[')
            return span_make(peer.p, i ? i : peer.n);
    }
    return peer;
}

static void add_original_recipient(const struct bounce_recipient *r, struct buf *out)
{
    const char *semicolon = r->orcpt.n ? memchr(r->orcpt.p, ';', r->orcpt.n) : NULL;
    if (semicolon) {
        buf_add_text(out, "Original-Recipient: ");
        add_safe(out, span_make(r->orcpt.p, (size_t)(semicolon - r->orcpt.p)));
        buf_add_text(out, "; ");
        add_safe(out, span_make(semicolon + 1, r->orcpt.n - (size_t)(semicolon - r->orcpt.p) - 1));
        buf_add_text(out, "\r\n");
    } else if (r->original.n > 0) {
        add_address_field(out, "Original-Recipient", r->original);
    }
}

static void add_status_of(const struct bounce_recipient *r, struct buf *out)
{
    struct span reply = reply_in(r->reason);
    buf_add_text(out, "\r\n");
    add_original_recipient(r, out);
    add_address_field(out, "Final-Recipient", r->address);
    buf_add_text(out, "Action: failed\r\nStatus: ");
    add_safe(out, r->status);
    buf_add_text(out, "\r\n");
    if (r->peer.n > 0 && reply.n > 0) {
        buf_add_text(out, "Remote-MTA: dns; ");
        add_safe(out, host_of(r->peer));
        buf_add_text(out, "\r\n");
    }
    add_folded(out, reply.n ? "Diagnostic-Code: smtp; " : "Diagnostic-Code: X-Postino; ", "", reply.n ? reply : r->reason);
}

static void add_status(const struct bounce *b, struct buf *out)
{
    buf_add_text(out, "Content-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n");
    if (b->envid.n > 0) {
        buf_add_text(out, "Original-Envelope-Id: ");
        add_safe(out, b->envid);
        buf_add_text(out, "\r\n");
    }
    buf_add_text(out, "Reporting-MTA: dns; ");
    add_safe(out, b->hostname);
    buf_add_text(out, "\r\nX-Postino-Queue-ID: ");
    add_safe(out, b->queue_id);
    buf_add_text(out, "\r\n");
    add_date(out, "Arrival-Date: ", b->arrived);
    for (size_t i = 0; i < b->count; i++)
        add_status_of(&b->recipients[i], out);
}

bool bounce_build(const struct bounce *b, struct buf *out)
{
    struct span part = b->headers_only ? header_of(b->original) : b->original;
    bool eight_bit = !is_ascii(part);
    char boundary[48];
    make_boundary(b, part, boundary);
    add_header(b, boundary, eight_bit, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    add_words(b, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    add_status(b, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    buf_printf(out, "Content-Description: Undelivered Message%s\r\nContent-Type: %s\r\n%s\r\n", b->headers_only ? " Header" : "",
               b->headers_only ? "text/rfc822-headers" : "message/rfc822", eight_bit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    buf_add_span(out, part);
    buf_printf(out, "%s\r\n--%s--\r\n", ends_line(part) ? "" : "\r\n", boundary);
    return eight_bit || !is_ascii(b->sender);
}
