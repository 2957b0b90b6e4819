#include "smtpd/trace.h"

#include <stdlib.h>

void trace_date(struct buf *out, time_t now)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm t;
    localtime_r(&now, &t);
    long minutes = labs(t.tm_gmtoff) / 60;
    buf_printf(out, "%s, %d %s %d %02d:%02d:%02d %c%02ld%02ld", days[t.tm_wday], t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour,
               t.tm_min, t.tm_sec, t.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

/* What a client calls itself stands outside of any comment: only what a name or a literal is made of. */
static void add_name(struct buf *out, struct span name)
{
    static const char also[] = ".-_:[]";
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(also, c));
        buf_add_char(out, plain ? c : '?');
    }
}

static void add_literal(struct buf *out, struct span address)
{
    bool v6 = address.n && memchr(address.p, ':', address.n);
    buf_add_text(out, v6 ? "[IPv6:" : "[");
    buf_add_span(out, address);
    buf_add_char(out, ']');
}

static void add_from(struct buf *out, const struct trace *t)
{
    if (t->local || t->hidden)
        return;
    buf_add_text(out, "from ");
    add_name(out, t->helo);
    if (t->socket) {
        buf_printf(out, " (userid %lu)\r\n\t", (unsigned long)t->uid);
        return;
    }
    buf_add_text(out, " (");
    add_name(out, t->name);
    buf_add_char(out, ' ');
    add_literal(out, t->address);
    buf_add_text(out, ")\r\n\t");
}

void trace_add(struct buf *out, const struct trace *t)
{
    buf_add_text(out, "Received: ");
    add_from(out, t);
    buf_printf(out, "by %.*s (Postino", SPAN_ARG(t->host));
    if (t->local)
        buf_printf(out, ", from userid %lu)\r\n\tid %.*s", (unsigned long)t->uid, SPAN_ARG(t->id));
    else
        buf_printf(out, ") with %.*s id %.*s", SPAN_ARG(t->protocol), SPAN_ARG(t->id));
    if (t->tls.n)
        buf_printf(out, "\r\n\t(%.*s)", SPAN_ARG(t->tls));
    if (t->certificate.n)
        buf_printf(out, "\r\n\t(client certificate %.*s %s\r\n\t SHA256:%.*s)", SPAN_ARG(t->subject),
                   t->certified ? "verified" : "not verified", SPAN_ARG(t->certificate));
    if (t->recipient.n)
        buf_printf(out, "\r\n\tfor <%.*s>", SPAN_ARG(t->recipient));
    buf_add_text(out, ";\r\n\t");
    trace_date(out, t->now);
    buf_add_text(out, "\r\n");
}
