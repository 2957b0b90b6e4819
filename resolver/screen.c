#include "resolver/screen.h"

#include "common/address.h"
#include "common/log.h"
#include "resolver/policy.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

struct screens {
    struct event_base *base;
    const struct settings *settings;
    struct peer *dns;
    struct access_rules *common;     /* `access` at the top */
    struct access_rules **listeners; /* of each its own, or NULL */
    uint64_t instance;               /* of policy requests */
};

/* A question that was put to dns or a policy service. */
struct asked {
    struct screen *screen;
    uint32_t question;
    struct policy *policy;
};

struct screen {
    struct screens *screens;
    struct access access;
    struct buf texts; /* the facts */
    struct asked asked[ACCESS_QUESTIONS];
    size_t count; /* of those that were asked */
    struct event *timer;
    bool running; /* inside of access_run(): answers that come meanwhile wait */
    uint64_t instance;
    screen_fn *done;
    void *arg;
};

/* ---- rules --------------------------------------------------------------------------------------------------------------------- */

struct screens *screens_new(struct event_base *base, const struct settings *settings, struct peer *dns, struct error *error)
{
    struct screens *s = calloc(1, sizeof *s);
    if (s == NULL || (s->listeners = calloc(settings->listener_count + 1, sizeof(struct access_rules *))) == NULL)
        log_die("out of memory for access rules");
    s->base = base;
    s->settings = settings;
    s->dns = dns;
    s->common = access_rules_new(&settings->access, settings, error);
    bool good = s->common != NULL;
    for (size_t i = 0; good && i < settings->listener_count; i++) {
        if (settings->listeners[i].access.n == 0)
            continue;
        s->listeners[i] = access_rules_new(&settings->listeners[i].access, settings, error);
        good = s->listeners[i] != NULL;
    }
    if (good)
        return s;
    screens_free(s);
    return NULL;
}

void screens_free(struct screens *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->settings->listener_count; i++)
        access_rules_free(s->listeners[i]);
    access_rules_free(s->common);
    free(s->listeners);
    free(s);
}

static const struct access_rules *rules_of(const struct screens *s, struct span listener)
{
    for (size_t i = 0; i < s->settings->listener_count; i++)
        if (s->listeners[i] && span_equal(span_of(s->settings->listeners[i].title), listener))
            return s->listeners[i];
    return s->common;
}

bool screens_rules_for(const struct screens *s, struct span listener)
{
    return listener.n > 0 && access_rules_count(rules_of(s, listener)) > 0;
}

/* ---- the end ------------------------------------------------------------------------------------------------------------------- */

static void forget_asked(struct screen *s)
{
    for (size_t i = 0; i < s->count; i++) {
        peer_cancel(s->screens->dns, s->asked[i].question);
        policy_cancel(s->asked[i].policy);
    }
    s->count = 0;
    event_del(s->timer);
}

void screen_cancel(struct screen *s)
{
    if (s == NULL)
        return;
    forget_asked(s);
    event_free(s->timer);
    access_free(&s->access);
    buf_free(&s->texts);
    free(s);
}

static void log_line_of(struct screen *s, struct span rule, struct span says)
{
    struct buf line = BUF_EMPTY(8192);
    buf_add_text(&line, "access:");
    log_value(&line, "client", s->access.facts.client);
    log_value(&line, "from", s->access.facts.sender);
    log_value(&line, "to", s->access.facts.recipient);
    log_value(&line, "rule", rule);
    log_value(&line, "says", says);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

/* What rules did, and who permitted; refusals are in smtpd's log. */
static void log_lines(struct screen *s)
{
    const char *p = buf_text(&s->access.log);
    while (*p) {
        size_t rule = strcspn(p, "\t"), n = strcspn(p, "\n"), says = rule < n ? rule + 1 : 0;
        log_line_of(s, span_make(p, says ? rule : 0), span_make(p + says, n - says));
        p += n + (p[n] == '\n');
    }
    if (s->access.code == 250 && s->access.rule.len > 0)
        log_line_of(s, buf_span(&s->access.rule), SPAN_LITERAL("permit"));
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------- */

static void go_on(struct screen *);

static struct access_question *question_of(struct asked *a)
{
    return &a->screen->access.questions[a - a->screen->asked];
}

static void take_addresses(struct access_question *q, struct span addresses)
{
    while (addresses.n > 0 && q->count < ACCESS_ADDRESSES) {
        struct sockaddr_storage ss;
        socklen_t len;
        if (address_to_socket(span_until(&addresses, ' '), 0, &ss, &len) && ss.ss_family == AF_INET)
            q->addresses[q->count++] = ntohl(((struct sockaddr_in *)&ss)->sin_addr.s_addr);
    }
}

/* Mail that comes back to this very host has a way. */
static enum access_answer answer_of(const struct message_resolved *r)
{
    if (r->verdict == RESOLVE_OK || span_equal(r->status, SPAN_LITERAL("5.4.6")))
        return ACCESS_YES;
    return r->verdict == RESOLVE_FAILED ? ACCESS_NO : ACCESS_UNKNOWN;
}

static void resolved(const struct message *m, void *arg)
{
    struct asked *a = arg;
    struct access_question *q = question_of(a);
    a->question = 0;
    bool good = m != NULL && m->type == MESSAGE_RESOLVED;
    q->answer = good ? answer_of(&m->resolved) : ACCESS_UNKNOWN;
    struct list hosts = good ? m->resolved.hosts : (struct list){0};
    for (struct record_host h; q->answer == ACCESS_YES && record_host_next(&hosts, &h);)
        take_addresses(q, h.addresses);
    go_on(a->screen);
}

static void policy_said(struct span words, const char *why, void *arg)
{
    struct asked *a = arg;
    struct access_question *q = question_of(a);
    a->policy = NULL;
    q->answer = words.n > 0 ? ACCESS_YES : ACCESS_UNKNOWN;
    buf_add_span(&q->words, words);
    if (words.n == 0)
        log_error("policy service %s: %s; the client gets 451: look whether the service runs, and may be reached by postino-route", q->name,
                  why);
    go_on(a->screen);
}

static void too_late(evutil_socket_t fd, short what, void *arg)
{
    struct screen *s = arg;
    (void)fd, (void)what;
    for (size_t i = 0; i < s->count; i++)
        if (s->access.questions[i].answer == ACCESS_OPEN)
            s->access.questions[i].answer = ACCESS_UNKNOWN;
    go_on(s);
}

/* ---- questions ----------------------------------------------------------------------------------------------------------------- */

static void ask_dns(struct screen *s, struct asked *a, const struct access_question *q)
{
    struct message m = {.type = MESSAGE_RESOLVE, .fd = -1};
    m.resolve.name = span_of(q->name);
    m.resolve.want = RESOLVE_ADDRESSES | (q->kind == ACCESS_ASK_MAIL ? RESOLVE_MX : RESOLVE_LISTING);
    a->question = peer_ask(s->screens->dns, &m, resolved, a);
}

static void add_attribute(struct buf *out, const char *name, struct span value)
{
    buf_printf(out, "%s=", name);
    buf_add_span(out, value);
    buf_add_char(out, '\n');
}

/* All that Postfix sends at RCPT and that is known here. Frames let no line break into a text. */
static void ask_policy(struct screen *s, struct asked *a, const struct access_question *q)
{
    const struct access_facts *f = &s->access.facts;
    struct buf out = BUF_EMPTY(64 << 10);
    buf_printf(&out, "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\ninstance=%llx\n",
               (unsigned long long)s->instance);
    add_attribute(&out, "helo_name", f->helo);
    add_attribute(&out, "sender", f->sender);
    add_attribute(&out, "recipient", f->recipient);
    add_attribute(&out, "client_address", f->client);
    add_attribute(&out, "client_name", f->name);
    add_attribute(&out, "reverse_client_name", f->name);
    add_attribute(&out, "sasl_username", f->login);
    add_attribute(&out, "ccert_subject", f->certified ? f->subject : (struct span){0});
    add_attribute(&out, "ccert_fingerprint", f->certificate);
    add_attribute(&out, "ccert_pubkey_fingerprint", f->certificate_key);
    buf_add_text(&out, "recipient_count=0\nsize=0\n\n");
    a->policy = policy_ask(s->screens->base, q->name, buf_span(&out), s->screens->settings->policy_timeout, policy_said, a);
    buf_free(&out);
}

static void ask_all(struct screen *s)
{
    bool dns = false;
    for (size_t i = 0; i < s->access.count; i++) {
        const struct access_question *q = &s->access.questions[i];
        s->asked[s->count] = (struct asked){.screen = s};
        struct asked *a = &s->asked[s->count++];
        if (q->kind == ACCESS_ASK_POLICY)
            ask_policy(s, a, q);
        else
            ask_dns(s, a, q);
        dns |= q->kind != ACCESS_ASK_POLICY;
    }
    if (dns)
        evtimer_add(s->timer, &(struct timeval){.tv_sec = (time_t)s->screens->settings->dnsbl_timeout});
}

static bool waits(const struct screen *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->access.questions[i].answer == ACCESS_OPEN)
            return true;
    return false;
}

/* True: there is a decision. */
static bool advance(struct screen *s)
{
    while (!waits(s)) {
        forget_asked(s);
        s->running = true;
        enum access_step step = access_run(&s->access);
        if (step == ACCESS_ASK)
            ask_all(s);
        s->running = false;
        if (step == ACCESS_DECIDED)
            return true;
    }
    return false;
}

static void finish(struct screen *s)
{
    log_lines(s);
    s->done(&s->access, s->arg);
    screen_cancel(s);
}

static void go_on(struct screen *s)
{
    if (!s->running && advance(s))
        finish(s);
}

/* ---- start --------------------------------------------------------------------------------------------------------------------- */

static struct span keep(struct screen *s, struct span text)
{
    size_t at = s->texts.len;
    buf_add_span(&s->texts, text);
    return span_make(s->texts.data + at, text.n);
}

static struct access_facts keep_facts(struct screen *s, const struct message_rcpt *m, bool trusted)
{
    size_t all = m->client.n + m->name.n + m->helo.n + m->login.n + m->sender.n + m->recipient.n + m->certificate.n + m->certificate_key.n +
                 m->subject.n;
    if (!buf_reserve(&s->texts, all + 1)) /* it must not move */
        log_die("out of memory for a recipient");
    return (struct access_facts){.client = keep(s, m->client),
                                 .name = keep(s, m->name),
                                 .helo = keep(s, m->helo),
                                 .login = keep(s, m->login),
                                 .sender = keep(s, m->sender),
                                 .recipient = keep(s, m->recipient),
                                 .certificate = keep(s, m->certificate),
                                 .certificate_key = keep(s, m->certificate_key),
                                 .subject = keep(s, m->subject),
                                 .certified = m->certified != 0,
                                 .trusted = trusted,
                                 .pipelining = m->pipelining != 0};
}

struct screen *screen_start(struct screens *screens, const struct message_rcpt *m, bool trusted, bool certificate_listed, screen_fn *done,
                            void *arg)
{
    struct screen *s = calloc(1, sizeof *s);
    if (s == NULL || (s->timer = evtimer_new(screens->base, too_late, s)) == NULL)
        log_die("out of memory for a recipient");
    s->screens = screens;
    s->texts = BUF_EMPTY(FRAME_MAX);
    s->instance = ++screens->instance;
    s->done = done;
    s->arg = arg;
    struct access_facts facts = keep_facts(s, m, trusted);
    facts.certificate_listed = certificate_listed;
    access_begin(&s->access, rules_of(screens, m->listener), &facts);
    if (!advance(s))
        return s;
    finish(s);
    return NULL;
}
