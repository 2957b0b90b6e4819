#include "sts/report_json.h"

#include "common/date.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <stdio.h>

#define DAY UINT64_C(86400)

/* ---- JSON (RFC 8259) ------------------------------------------------------------------------------------------------------------- */

/* What is no printable UTF-8 becomes "?". */
static void add_string(struct buf *out, struct span text)
{
    buf_add_char(out, '"');
    while (text.n) {
        size_t n = (unsigned char)*text.p < 0x80 ? 1 : utf8_length(text);
        if (n == 1 && (*text.p == '"' || *text.p == '\\'))
            buf_add_char(out, '\\');
        if (n > 1 || (n == 1 && *text.p >= ' ' && *text.p != 0x7f))
            buf_add(out, text.p, n);
        else
            buf_add_char(out, '?');
        n = n ? n : 1;
        text = span_make(text.p + n, text.n - n);
    }
    buf_add_char(out, '"');
}

static void add_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "\"%s\":", name);
    add_string(out, span_of(value));
}

/* Behind others, and not if there is nothing to say. */
static void add_more(struct buf *out, const char *name, const char *value)
{
    if (!value[0])
        return;
    buf_add_char(out, ',');
    add_member(out, name, value);
}

/* ---- the report ------------------------------------------------------------------------------------------------------------------ */

/* The lines of a policy that begin so, as an array, without that beginning. */
static void add_lines(struct buf *out, const char *name, const char *lines, const char *beginning)
{
    size_t skip = strlen(beginning), n = 0;
    while (*lines) {
        struct span line = span_make(lines, strcspn(lines, "\n"));
        lines += line.n + (lines[line.n] ? 1 : 0);
        if (line.n < skip || memcmp(line.p, beginning, skip) != 0)
            continue;
        if (n++ == 0)
            buf_printf(out, ",\"%s\":[", name);
        else
            buf_add_char(out, ',');
        add_string(out, span_make(line.p + skip, line.n - skip));
    }
    if (n)
        buf_add_char(out, ']');
}

static void add_failure(struct buf *out, const struct tally_failure *f)
{
    buf_add_char(out, '{');
    add_member(out, "result-type", tally_result_word(f->result));
    add_more(out, "sending-mta-ip", f->source);
    add_more(out, "receiving-mx-hostname", f->host);
    add_more(out, "receiving-ip", f->address);
    buf_printf(out, ",\"failed-session-count\":%" PRIu64, f->count);
    add_more(out, "failure-reason-code", f->reason);
    buf_add_char(out, '}');
}

static void add_failures(struct buf *out, const struct tally_policy *p)
{
    const struct tally_failure *f;
    bool first = true;
    if (STAILQ_EMPTY(&p->details))
        return;
    buf_add_text(out, ",\"failure-details\":[");
    STAILQ_FOREACH(f, &p->details, link)
    {
        if (!first)
            buf_add_char(out, ',');
        first = false;
        add_failure(out, f);
    }
    buf_add_char(out, ']');
}

static void add_policy(struct buf *out, const struct tally_policy *p)
{
    buf_add_text(out, "{\"policy\":{");
    add_member(out, "policy-type", tally_policy_word(p->type));
    add_lines(out, "policy-string", p->strings, "");
    add_more(out, "policy-domain", p->domain);
    if (p->type == TLS_POLICY_STS)
        add_lines(out, "mx-host", p->strings, "mx: ");
    buf_printf(out, "},\"summary\":{\"total-successful-session-count\":%" PRIu64 ",\"total-failure-session-count\":%" PRIu64 "}",
               p->successes, p->failures);
    add_failures(out, p);
    buf_add_char(out, '}');
}

void report_id(const struct reporter *r, const struct tally_domain *d, uint64_t day, struct buf *out)
{
    char date[DATE_TEXT];
    date_format(day * DAY, date);
    buf_printf(out, "%.4s%.2s%.2s.%s@%s", date, date + 5, date + 8, d->name, r->host);
}

static void add_front(struct buf *out, const struct reporter *r, const struct tally_domain *d, uint64_t day)
{
    char begin[DATE_TEXT], end[DATE_TEXT];
    struct buf id = BUF_EMPTY(1024);
    date_format(day * DAY, begin);
    date_format(day * DAY + DAY - 1, end);
    report_id(r, d, day, &id);
    buf_add_char(out, '{');
    add_member(out, "organization-name", r->organization);
    buf_printf(out, ",\"date-range\":{\"start-datetime\":\"%s\",\"end-datetime\":\"%s\"}", begin, end);
    add_more(out, "contact-info", r->contact);
    add_more(out, "report-id", buf_text(&id));
    buf_free(&id);
}

void report_json(const struct reporter *r, const struct tally_domain *d, uint64_t day, struct buf *out)
{
    const struct tally_policy *p;
    bool first = true;
    add_front(out, r, d, day);
    buf_add_text(out, ",\"policies\":[");
    STAILQ_FOREACH(p, &d->policies, link)
    {
        if (!first)
            buf_add_char(out, ',');
        first = false;
        add_policy(out, p);
    }
    buf_add_text(out, "]}");
}
