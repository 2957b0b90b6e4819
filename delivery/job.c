#include "delivery/job.h"

#include "common/address.h"
#include "common/log.h"
#include "common/queueid.h"

#include <stdlib.h>
#include <unistd.h>

#define RECIPIENTS_MAX       5000   /* their outcomes fit into one frame */
#define SESSION_MESSAGES_MAX 100000 /* conf/settings.def */
#define WORDS_MAX            (REPLY_TEXT_MAX + 400)

static struct span keep(struct job *j, size_t *at, struct span s)
{
    struct span copy = span_make(j->memory + *at, s.n);
    if (s.n)
        memcpy(j->memory + *at, s.p, s.n);
    *at += s.n;
    return copy;
}

/* Lasts as long as the job. */
static struct span transport_of(struct span text)
{
    static const struct span ours[] = {SPAN_LITERAL("smtp"), SPAN_LITERAL("smtps"), SPAN_LITERAL("lmtp")};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (span_equal(text, ours[i]))
            return ours[i];
    return SPAN_LITERAL("");
}

static void add_recipient(struct job *j, const struct record_recipient *from, size_t *at)
{
    struct address address;
    size_t i = j->count++;
    j->undecided++;
    j->recipients[i].address = keep(j, at, from->address);
    j->recipients[i].orcpt = keep(j, at, from->orcpt);
    j->recipients[i].notify = from->notify;
    struct span transport = transport_of(from->transport);
    j->transport = i == 0 ? transport : j->transport;
    if (!transport.n || !span_equal(transport, j->transport)) {
        log_error("%s: a recipient of another transport came", queueid_format(j->id).text);
        job_decide(j, i, VERDICT_DEFERRED, "4.3.5", SPAN_LITERAL("wrong transport for this recipient (internal error, see the log)"));
    } else if (!address_parse(from->address, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE, &address)) {
        job_decide(j, i, VERDICT_FAILED, "5.1.3", SPAN_LITERAL("the recipient's address is not well formed"));
    }
}

static void copy(struct job *j, const struct message_deliver *d)
{
    struct list recipients = d->recipients;
    struct record_recipient recipient;
    struct address sender;
    size_t at = 0;
    j->sender = keep(j, &at, d->sender);
    j->envid = keep(j, &at, d->envid);
    j->ret = d->ret;
    j->deliver_by = d->deliver_by;
    j->by_mode = d->by_mode;
    j->mt_priority = d->mt_priority <= MT_PRIORITY_MOST ? d->mt_priority : 0;
    if (j->fd < 0)
        j->body = keep(j, &at, d->body);
    j->size = j->fd < 0 ? j->body.n : d->size;
    while (record_recipient_next(&recipients, &recipient))
        add_recipient(j, &recipient, &at);
    j->needs_utf8 = (d->flags & ENVELOPE_SMTPUTF8) != 0 || !span_is_ascii(j->sender);
    if (j->sender.n && !address_parse(j->sender, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE, &sender))
        job_decide_rest(j, VERDICT_FAILED, "5.1.7", SPAN_LITERAL("the sender's address is not well formed"));
}

/* What no setting can be is not taken from qmgr either. */
static uint32_t session_messages_of(const struct message_deliver *d, uint32_t otherwise)
{
    return d->session_messages > 0 && d->session_messages <= SESSION_MESSAGES_MAX ? d->session_messages : otherwise;
}

struct job *job_new(struct channel *channel, const struct message *m, uint32_t session_messages)
{
    const struct message_deliver *d = &m->deliver;
    struct job *j = calloc(1, sizeof *j);
    bool fits = d->recipients.count > 0 && d->recipients.count <= RECIPIENTS_MAX;
    if (j) {
        *j = (struct job){.channel = channel, .request = m->id, .id = d->id, .fd = m->fd, .offset = d->offset};
        j->session_messages = session_messages_of(d, session_messages);
        j->require_tls = (d->flags & ENVELOPE_REQUIRETLS) != 0;
        j->tls_optional = (d->flags & ENVELOPE_TLS_OPTIONAL) != 0 && !j->require_tls;
        j->has_8bit = (d->flags & ENVELOPE_8BIT) != 0;
        j->binary = (d->flags & ENVELOPE_BINARY) != 0;
        j->memory = malloc(d->sender.n + d->envid.n + d->recipients.bytes.n + d->body.n + 1);
        j->recipients = fits ? calloc(d->recipients.count, sizeof *j->recipients) : NULL;
    }
    if (j && j->memory && j->recipients) {
        copy(j, d);
        return j;
    }
    if (j)
        job_free(j);
    else if (m->fd >= 0)
        close(m->fd);
    return NULL;
}

static char *printable(struct span words)
{
    size_t n = words.n < WORDS_MAX ? words.n : WORDS_MAX;
    char *text = malloc(n + 1);
    if (!text)
        log_die("out of memory for a result");
    for (size_t i = 0; i < n; i++)
        text[i] = words.p[i] < ' ' || words.p[i] > '~' ? '?' : words.p[i];
    text[n] = 0;
    return text;
}

static void say(struct job_recipient *r, const char *status, struct span words)
{
    memccpy(r->status, status, 0, sizeof r->status - 1);
    free(r->words);
    r->words = printable(words);
}

void job_put_off(struct job *j, size_t recipient, const char *status, struct span words)
{
    say(&j->recipients[recipient], status, words);
}

void job_refusals_stand(struct job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        struct job_recipient *r = &j->recipients[i];
        if (r->verdict || !r->words)
            continue;
        r->verdict = VERDICT_FAILED;
        j->undecided--;
    }
}

void job_decide(struct job *j, size_t recipient, enum verdict verdict, const char *status, struct span words)
{
    struct job_recipient *r = &j->recipients[recipient];
    if (recipient >= j->count || r->verdict || j->undecided == 0)
        log_die("%s: recipient %zu is decided twice", queueid_format(j->id).text, recipient);
    r->verdict = (uint16_t)verdict;
    say(r, status, words);
    j->undecided--;
}

void job_decide_rest(struct job *j, enum verdict verdict, const char *status, struct span words)
{
    for (size_t i = 0; i < j->count; i++)
        if (!j->recipients[i].verdict)
            job_decide(j, i, verdict, status, words);
}

static void send_result(const struct job *j, bool site_failed, struct span peer, struct span security)
{
    struct buf outcomes = BUF_EMPTY(FRAME_MAX);
    for (size_t i = 0; i < j->count; i++) {
        const struct job_recipient *r = &j->recipients[i];
        struct record_outcome outcome = {
            .index = (uint16_t)i, .verdict = r->verdict, .status = span_of(r->status), .reply = span_make(r->words, strlen(r->words))};
        record_outcome_add(&outcomes, &outcome);
    }
    struct message m = {.type = MESSAGE_RESULT, .id = j->request, .fd = -1};
    m.result = (struct message_result){.site_failed = site_failed, .peer = peer, .security = security};
    m.result.said_at = j->said.at;
    m.result.said = span_of(j->said.text);
    m.result.source = span_of(j->origin.source ? j->origin.source : "");
    m.result.own = (uint16_t)j->origin.own;
    m.result.outcomes = (struct list){.count = (uint32_t)j->count, .bytes = buf_span(&outcomes)};
    if (outcomes.failed)
        log_die("%s: a result is longer than a frame", queueid_format(j->id).text);
    channel_send(j->channel, &m);
    buf_free(&outcomes);
}

void job_finish(struct job *j, bool site_failed, struct span peer, struct span security)
{
    if (j->undecided)
        log_die("%s: %zu of %zu recipients are undecided at the end", queueid_format(j->id).text, j->undecided, j->count);
    if (j->channel)
        send_result(j, site_failed, peer, security);
    job_free(j);
}

void job_free(struct job *j)
{
    for (size_t i = 0; i < j->count; i++)
        free(j->recipients[i].words);
    if (j->fd >= 0)
        close(j->fd);
    downgrade_free(j->downgrade);
    said_free(&j->said);
    free(j->recipients);
    free(j->memory);
    free(j);
}
