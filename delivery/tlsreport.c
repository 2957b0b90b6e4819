#include "delivery/tlsreport.h"

#include "common/address.h"
#include "common/log.h"
#include "common/stream.h"
#include "delivery/remote.h"
#include "delivery/session_internal.h"
#include "delivery/tlsa.h"

#include <event2/event.h>
#include <stdio.h>

#define GATHERED    64
#define UNREAD_MOST ((size_t)64 << 10) /* octets of notices that sts has not read: no more are sent */

/* One kind of session. Texts are padded with NULs, so that two can be compared as a whole. */
struct kind {
    uint16_t policy, result;
    char domain[256], base[256], host[256], address[64], source[64], reason[200], tlsa[1024];
};

struct gathered {
    struct kind kind;
    uint32_t count;
};

static struct {
    struct gathered kinds[GATHERED];
    size_t n;
    struct event *timer;
    uint64_t dropped;
} self;

/* ---- telling --------------------------------------------------------------------------------------------------------------------- */

static void tell(const struct gathered *g)
{
    const struct kind *k = &g->kind;
    peer_tell(remote.sts, &(struct message){.type = MESSAGE_TLS_SESSIONS,
                                            .fd = -1,
                                            .tls_sessions = {.count = g->count,
                                                             .domain = span_of(k->domain),
                                                             .policy = k->policy,
                                                             .result = k->result,
                                                             .base = span_of(k->base),
                                                             .tlsa = span_of(k->tlsa),
                                                             .host = span_of(k->host),
                                                             .address = span_of(k->address),
                                                             .source = span_of(k->source),
                                                             .reason = span_of(k->reason)}});
}

void tlsreport_flush(void)
{
    bool reads = peer_backlog(remote.sts) < UNREAD_MOST;
    if (reads && self.dropped)
        log_warning("%llu TLS sessions are in no report, as postino-sts did not read what it was told", (unsigned long long)self.dropped);
    if (reads)
        self.dropped = 0;
    for (size_t i = 0; i < self.n; i++) {
        if (reads)
            tell(&self.kinds[i]);
        else
            self.dropped += self.kinds[i].count;
    }
    self.n = 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    tlsreport_flush();
}

static void gather(const struct kind *k)
{
    for (size_t i = 0; i < self.n; i++) {
        if (memcmp(&self.kinds[i].kind, k, sizeof *k) == 0) {
            self.kinds[i].count++;
            return;
        }
    }
    if (self.n == GATHERED)
        tlsreport_flush();
    if (!self.timer && !(self.timer = evtimer_new(remote.base, on_timer, NULL)))
        log_die("out of memory for a timer");
    if (self.n == 0)
        evtimer_add(self.timer, &(struct timeval){.tv_sec = 1});
    self.kinds[self.n++] = (struct gathered){.kind = *k, .count = 1};
}

/* ---- one session ----------------------------------------------------------------------------------------------------------------- */

/* What is no printable ASCII becomes "?". */
static void put(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; n < size - 1 && text[n]; n++)
        out[n] = text[n] < ' ' || text[n] > '~' ? '?' : text[n];
}

/* Whole records, as many as fit. */
static void put_records(char *out, size_t size, const char *records)
{
    size_t n = strlen(records);
    if (n >= size)
        for (n = size - 1; n > 0 && records[n] != ',';)
            n--;
    memccpy(out, records, 0, n);
}

static enum tls_policy policy_of(const struct session *s)
{
    const struct host *h = session_host(s);
    if (s->site->tls == TLSPOLICY_DANE_ONLY || h->dane == DANE_RECORDS || h->dane == DANE_TROUBLE)
        return TLS_POLICY_TLSA;
    return s->sts.mode == STS_NONE ? TLS_POLICY_NONE : TLS_POLICY_STS;
}

/* REQUIRETLS can demand more than the receiver does: that is in no report. */
static bool is_told(const struct session *s)
{
    const struct nexthop *hop = &s->site->nexthop;
    return remote.settings->tlsrpt_from[0] && (s->site->tls == TLSPOLICY_DANE || s->site->tls == TLSPOLICY_DANE_ONLY) &&
           hop->kind == NEXTHOP_DOMAIN && !hop->port_given && s->level != SECURITY_VERIFY;
}

static void put_source(const struct session *s, struct kind *k)
{
    struct sockaddr_storage address;
    struct buf text = BUF_EMPTY(sizeof k->source - 1);
    if (s->stream && stream_local(s->stream, &address)) {
        address_of_socket((const struct sockaddr *)&address, &text);
        put(k->source, sizeof k->source, buf_text(&text));
    }
    buf_free(&text);
}

static void note(const struct session *s, enum tls_result result, const char *words)
{
    static struct kind k;
    const struct host *h = session_host(s);
    memset(&k, 0, sizeof k);
    k.policy = (uint16_t)policy_of(s);
    k.result = (uint16_t)result;
    put(k.domain, sizeof k.domain, s->site->nexthop.name);
    if (k.policy == TLS_POLICY_TLSA) {
        put(k.base, sizeof k.base, h->base && h->base[0] ? h->base : h->name);
        put_records(k.tlsa, sizeof k.tlsa, h->tlsa ? h->tlsa : "");
    }
    if (result != TLS_SUCCESS) {
        put(k.host, sizeof k.host, h->name);
        put(k.address, sizeof k.address, h->text);
        put_source(s, &k);
        put(k.reason, sizeof k.reason, words);
    }
    gather(&k);
}

/* ---- what came of it ------------------------------------------------------------------------------------------------------------- */

static enum tls_result of_certificate(long result)
{
    switch (result) {
    case X509_V_OK: /* not the certificate's fault */
        return TLS_VALIDATION_FAILURE;
    case X509_V_ERR_HOSTNAME_MISMATCH:
        return TLS_CERTIFICATE_HOST_MISMATCH;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return TLS_CERTIFICATE_EXPIRED;
    default:
        return TLS_CERTIFICATE_NOT_TRUSTED;
    }
}

/* A level that asks for no certificate has a verify result, too. */
static bool looks_at_certificate(const struct session *s)
{
    return s->level == SECURITY_DANE || s->level == SECURITY_STS || s->level == SECURITY_TESTING;
}

void tlsreport_unusable(struct session *s)
{
    const struct host *h = session_host(s);
    if (!is_told(s))
        return;
    if (h->dane == DANE_TROUBLE)
        note(s, TLS_DNSSEC_INVALID, "the TLSA records can't be had, or not be trusted");
    else if (s->site->tls == TLSPOLICY_DANE_ONLY)
        note(s, h->dane == DANE_RECORDS ? TLS_TLSA_INVALID : TLS_DANE_REQUIRED, "");
    else
        note(s, TLS_VALIDATION_FAILURE, "the MX host is not among those of the policy");
}

void tlsreport_no_tls(struct session *s, const char *words)
{
    if (is_told(s))
        note(s, TLS_STARTTLS_NOT_SUPPORTED, words);
}

void tlsreport_failed(struct session *s, const char *words)
{
    SSL *ssl = s->stream ? stream_tls(s->stream) : NULL;
    long result = ssl && looks_at_certificate(s) ? SSL_get_verify_result(ssl) : X509_V_OK;
    if (is_told(s))
        note(s, of_certificate(result), words);
}

void tlsreport_secured(struct session *s)
{
    long result = SSL_get_verify_result(stream_tls(s->stream));
    if (!is_told(s))
        return;
    if (s->level == SECURITY_TESTING && !security_sts_names(s->sts.mx ? s->sts.mx : "", session_host(s)->name))
        note(s, TLS_VALIDATION_FAILURE, "the MX host is not among those of the policy");
    else if (s->level == SECURITY_TESTING && result != X509_V_OK)
        note(s, of_certificate(result), X509_verify_cert_error_string(result));
    else if (policy_of(s) == TLS_POLICY_TLSA && s->level == SECURITY_ENCRYPT)
        note(s, TLS_TLSA_INVALID, "");
    else
        note(s, TLS_SUCCESS, "");
}
