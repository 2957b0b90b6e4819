#include "smtpd/complete.h"

#include "smtpd/trace.h"

void complete_add(struct buf *out, const struct complete *c)
{
    size_t before = out->len;
    if (!(c->headers & HEADER_DATE)) {
        buf_add_text(out, "Date: ");
        trace_date(out, c->now);
        buf_add_text(out, "\r\n");
    }
    if (!(c->headers & HEADER_FROM) && c->sender.n)
        buf_printf(out, "From: <%.*s>\r\n", SPAN_ARG(c->sender));
    if (!(c->headers & HEADER_MESSAGE_ID))
        buf_printf(out, "Message-ID: <%lld.%.*s@%.*s>\r\n", (long long)c->now, SPAN_ARG(c->id), SPAN_ARG(c->host));
    if (c->no_header && out->len > before)
        buf_add_text(out, "\r\n");
}
