#include "qmgr/bounce.h"
#include "common/address.h"
#include "common/date.h"
#include "common/messages.h"
#include "common/utf8.h"
#include "qmgr/telling.h"

#include <time.h>

#define LINE_MOST 76

bool bounce_wanted(enum bounce_kind kind, unsigned notify)
{
    static const unsigned bits[] = {[BOUNCE_FAILURE] = NOTIFY_FAILURE, [BOUNCE_SUCCESS] = NOTIFY_SUCCESS, [BOUNCE_DELAY] = NOTIFY_DELAY};
    if (notify == 0)
        return kind != BOUNCE_SUCCESS;
    return notify & bits[kind] && !(notify & NOTIFY_NEVER);
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

/* In the words for people, which are UTF-8 where an address is: a body may be so, whoever it is for. */
static void add_address(struct buf *out, struct span address)
{
    if (utf8_is_printable(address))
        buf_add_span(out, address);
    else
        add_safe(out, address);
}

/* An address field: "rfc822; a@b", or RFC 6533's utf-8, as utf-8-addr-xtext where all must be ASCII. */
static void add_address_field(const struct bounce *b, struct buf *out, const char *name, struct span address)
{
    buf_printf(out, "%s: %s; ", name, span_is_ascii(address) ? "rfc822" : "utf-8");
    if (span_is_ascii(address) || (b->smtputf8 && utf8_is_printable(address)))
        add_address(out, address);
    else
        xtext_encode_utf8(address, out);
    buf_add_text(out, "\r\n");
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
    static const char *const subjects[] = {[BOUNCE_FAILURE] = "Undelivered Mail Returned to Sender",
                                           [BOUNCE_SUCCESS] = "Your mail was delivered",
                                           [BOUNCE_DELAY] = "Your mail is delayed, and is still tried"};
    buf_printf(out, "\r\nSubject: %s\r\nAuto-Submitted: auto-replied\r\nMessage-ID: <", subjects[b->kind]);
    add_safe(out, b->report_id);
    buf_add_char(out, '@');
    add_safe(out, b->hostname);
    buf_printf(out,
               ">\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n%s\r\n"
               "This is a MIME-encapsulated message.\r\n",
               boundary, eight_bit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

static void add_words_for(const struct bounce *b, const struct bounce_recipient *r, struct buf *out)
{
    struct buf words = BUF_EMPTY(0);
    buf_add_char(out, '<');
    add_address(out, r->address);
    buf_add_char(out, '>');
    if (r->original.n > 0 && !span_equal(r->original, r->address)) {
        buf_add_text(out, "\r\n    (expanded from <");
        add_address(out, r->original);
        buf_add_text(out, ">)");
    }
    buf_add_text(out, ":\r\n");
    if (b->kind == BOUNCE_SUCCESS && !r->relayed)
        buf_add_text(&words, "delivered to the mailbox");
    else
        telling_words(b, r, &words);
    add_folded(out, "   ", "   ", buf_span(&words));
    buf_add_text(out, "\r\n");
    buf_free(&words);
}

static void add_verdict(const struct bounce *b, struct buf *out)
{
    if (b->kind == BOUNCE_FAILURE) {
        buf_add_text(out, "I'm sorry to have to inform you that your message could not\r\n"
                          "be delivered to one or more recipients. ");
        buf_add_text(out, b->headers_only ? "Its header is attached below.\r\n\r\n" : "It's attached below.\r\n\r\n");
    } else if (b->kind == BOUNCE_SUCCESS) {
        buf_add_text(out, "As you asked for it: your message was delivered to the recipients below,\r\n"
                          "or handed to a host that will not report any further.\r\n\r\n");
    } else {
        buf_add_text(out, "Your message could not be delivered yet to the recipients below.\r\n"
                          "You need not send it again. ");
        add_date(out, "It is tried until\r\n", b->expires);
        buf_add_text(out, "\r\n");
    }
}

static bool needs_utf8(struct span address)
{
    return !span_is_ascii(address) && utf8_is_printable(address);
}

static bool words_are_utf8(const struct bounce *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (needs_utf8(b->recipients[i].address) || needs_utf8(b->recipients[i].original))
            return true;
    return b->smtputf8;
}

static void add_words(const struct bounce *b, struct buf *out)
{
    bool utf8 = words_are_utf8(b);
    buf_printf(out,
               "Content-Description: Notification\r\nContent-Type: text/plain; charset=%s\r\n%s\r\n"
               "This is the mail system at host ",
               utf8 ? "utf-8" : "us-ascii", utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    add_safe(out, b->hostname);
    buf_add_text(out, ".\r\n\r\n");
    add_verdict(b, out);
    buf_add_text(out, "If you need help, write to postmaster at this host, and include\r\nthis report.\r\n\r\n");
    for (size_t i = 0; i < b->count; i++)
        add_words_for(b, &b->recipients[i], out);
}

static void add_original_recipient(const struct bounce *b, const struct bounce_recipient *r, struct buf *out)
{
    const char *semicolon = r->orcpt.n ? memchr(r->orcpt.p, ';', r->orcpt.n) : NULL;
    if (semicolon) {
        buf_add_text(out, "Original-Recipient: ");
        add_safe(out, span_make(r->orcpt.p, (size_t)(semicolon - r->orcpt.p)));
        buf_add_text(out, "; ");
        add_safe(out, span_make(semicolon + 1, r->orcpt.n - (size_t)(semicolon - r->orcpt.p) - 1));
        buf_add_text(out, "\r\n");
    } else if (r->original.n > 0) {
        add_address_field(b, out, "Original-Recipient", r->original);
    }
}

static const char *action_of(const struct bounce *b, const struct bounce_recipient *r)
{
    if (b->kind == BOUNCE_SUCCESS)
        return r->relayed ? "relayed" : "delivered";
    return b->kind == BOUNCE_DELAY ? "delayed" : "failed";
}

/* What came of it where it was tried. A mailbox of ours is nobody's business. */
static void add_attempt(const struct bounce *b, const struct bounce_recipient *r, struct buf *out)
{
    struct span reply = r->over ? span_make(NULL, 0) : telling_reply(r->reason), remote = telling_host(r);
    struct buf words = BUF_EMPTY(0);
    if (remote.n > 0 && reply.n > 0) {
        buf_add_text(out, "Remote-MTA: dns; ");
        add_safe(out, remote);
        buf_add_text(out, "\r\n");
    }
    telling_words(b, r, &words);
    add_folded(out, reply.n ? "Diagnostic-Code: smtp; " : "Diagnostic-Code: X-Postino; ", "", reply.n ? reply : buf_span(&words));
    buf_free(&words);
}

static void add_status_of(const struct bounce *b, const struct bounce_recipient *r, struct buf *out)
{
    buf_add_text(out, "\r\n");
    add_original_recipient(b, r, out);
    add_address_field(b, out, "Final-Recipient", r->address);
    buf_printf(out, "Action: %s\r\nStatus: ", action_of(b, r));
    add_safe(out, telling_status(b, r));
    buf_add_text(out, "\r\n");
    if (b->kind != BOUNCE_SUCCESS || r->relayed)
        add_attempt(b, r, out);
    if (b->kind == BOUNCE_DELAY)
        add_date(out, "Will-Retry-Until: ", b->expires);
}

static void add_status(const struct bounce *b, struct buf *out)
{
    buf_printf(out, "Content-Description: Delivery report\r\nContent-Type: message/%sdelivery-status\r\n%s\r\n",
               b->smtputf8 ? "global-" : "", b->smtputf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
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
    if (b->deliver_by)
        add_date(out, "Deliver-By-Date: ", b->deliver_by);
    if (b->release) {
        char date[DATE_TEXT];
        date_format(b->release, date);
        buf_printf(out, "Future-Release-Request: until;%s\r\n", date);
    }
    for (size_t i = 0; i < b->count; i++)
        add_status_of(b, &b->recipients[i], out);
}

static const char *type_of_original(const struct bounce *b, bool header)
{
    if (b->smtputf8 || b->original_utf8)
        return header ? "message/global-headers" : "message/global";
    return header ? "text/rfc822-headers" : "message/rfc822";
}

bool bounce_build(const struct bounce *b, struct buf *out)
{
    bool header = b->headers_only || b->kind != BOUNCE_FAILURE;
    struct span part = header ? header_of(b->original) : b->original;
    bool eight_bit = words_are_utf8(b) || !span_is_ascii(part);
    char boundary[48];
    make_boundary(b, part, boundary);
    add_header(b, boundary, eight_bit, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    add_words(b, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    add_status(b, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    buf_printf(out, "Content-Description: %s Message%s\r\nContent-Type: %s\r\n%s\r\n", b->kind == BOUNCE_FAILURE ? "Undelivered" : "Your",
               header ? " Header" : "", type_of_original(b, header), !span_is_ascii(part) ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    buf_add_span(out, part);
    buf_printf(out, "%s\r\n--%s--\r\n", ends_line(part) ? "" : "\r\n", boundary);
    return eight_bit || !span_is_ascii(b->sender);
}
