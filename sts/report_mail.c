#include "sts/report_mail.h"

#include <inttypes.h>
#include <time.h>
#include <zlib.h>

#define DAY      UINT64_C(86400)
#define LINE     ((size_t)57) /* octets of a line of base64, which has 76 then */
#define BOUNDARY "=_tlsrpt"   /* "_" is no letter of base64, and the text has none of it */

bool report_gzip(struct span json, struct buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)json.p, .avail_in = (uInt)json.n};
    if (json.n > UINT32_MAX || deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t most = deflateBound(&z, (uLong)json.n);
    bool good = buf_reserve(out, most);
    if (good) {
        z.next_out = (Bytef *)out->data + out->len;
        z.avail_out = (uInt)most;
        good = deflate(&z, Z_FINISH) == Z_STREAM_END;
        out->len += z.total_out;
    }
    deflateEnd(&z);
    return good;
}

static void add_base64(struct span in, struct buf *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        const unsigned char *p = (const unsigned char *)in.p + i;
        uint32_t bits = (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0u);
        buf_add_char(out, letters[bits >> 18]);
        buf_add_char(out, letters[bits >> 12 & 63]);
        buf_add_char(out, left > 1 ? letters[bits >> 6 & 63] : '=');
        buf_add_char(out, left > 2 ? letters[bits & 63] : '=');
        if ((i + 3) % LINE == 0 || left <= 3)
            buf_add_text(out, "\r\n");
    }
}

static void add_date(uint64_t now, struct buf *out)
{
    char text[64];
    struct tm tm;
    time_t when = (time_t)now;
    if (gmtime_r(&when, &tm) && strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm))
        buf_printf(out, "Date: %s\r\n", text);
}

static void add_header(const struct reporter *r, const char *from, const char *to, const struct tally_domain *d, uint64_t day, uint64_t now,
                       struct buf *out)
{
    struct buf id = BUF_EMPTY(1024);
    report_id(r, d, day, &id);
    buf_printf(out, "From: <%s>\r\nTo: <%s>\r\n", from, to);
    buf_printf(out, "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n", d->name, r->host, buf_text(&id));
    add_date(now, out);
    buf_printf(out, "Message-ID: <%" PRIu64 ".%s>\r\n", now, buf_text(&id));
    buf_printf(out, "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\n", d->name, r->host);
    buf_add_text(out, "TLS-Required: No\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"" BOUNDARY "\"\r\n\r\n");
    buf_free(&id);
}

void report_mail(const struct reporter *r, const char *from, const char *to, const struct tally_domain *d, uint64_t day, uint64_t now,
                 struct span gzip, struct buf *out)
{
    add_header(r, from, to, d, day, now, out);
    buf_printf(out,
               "--" BOUNDARY "\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
               "This is an aggregate report on the TLS of mail that was sent\r\nto %s by %s (RFC 8460).\r\nIt was asked for by the record "
               "_smtp._tls.%s\r\n\r\n",
               d->name, r->host, d->name);
    buf_printf(out,
               "--" BOUNDARY "\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
               "Content-Disposition: attachment;\r\n filename=\"%s!%s!%" PRIu64 "!%" PRIu64 ".json.gz\"\r\n\r\n",
               r->host, d->name, day * DAY, day * DAY + DAY - 1);
    add_base64(gzip, out);
    buf_add_text(out, "\r\n--" BOUNDARY "--\r\n");
}
