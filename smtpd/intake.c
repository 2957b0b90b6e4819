/* A message on its way from DATA or BDAT to qmgr.
 *
 *   DATA, or the first BDAT: a queue id (WAIT_ID when none is in stock), the trace line into the body; DATA: 354
 *   TEXT: decoded text gathers in the body; each time it is BODY_INLINE_MAX long it goes to qmgr (WAIT_APPEND), and the client waits
 *   end:  (a dot, or the end of the last chunk) a fault is answered, pieces are dropped; else PUT with the envelope and the rest (WAIT_PUT), and its answer is the client's
 *
 * When qmgr refuses a piece the rest is read and thrown away, since the reply belongs to the end of the text. */
#include "smtpd/session_state.h"

#include "common/log.h"
#include "common/queueid.h"
#include "smtpd/complete.h"
#include "smtpd/trace.h"

#include <inttypes.h>
#include <arpa/inet.h>
#include <stdlib.h>

#define ID_SECONDS    60             /* for a queue id: then the client is asked to try again later */
#define PIECE_SECONDS 300            /* for a piece */
#define BODY_FIRST    ((size_t)8192) /* most messages fit into it */
#define PIECE_LEAST   ((size_t)4096)

struct intake {
    uint64_t id;
    struct queueid_text text;
    struct data data;
    struct buf body;
    size_t front;    /* where the client's text begins in the body, until a piece has left */
    bool appended;   /* qmgr has pieces */
    uint64_t before; /* octets of the pieces that have left */
    size_t handed;   /* of the last one, with a qmgr that has not answered */
    unsigned failed; /* the code that qmgr refused a piece with */
    struct buf why;
    time_t now;
};

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

void intake_free(struct session *s)
{
    struct intake *in = s->intake;
    if (!in)
        return;
    if (in->appended)
        peer_tell(s->server->qmgr, &(struct message){.type = MESSAGE_DROP, .fd = -1, .drop = {.id = in->id}});
    buf_free(&in->body);
    buf_free(&in->why);
    free(in);
    s->intake = NULL;
}

/* ---- begin ----------------------------------------------------------------------------------------------------------------------- */

static void add_trace(struct session *s, struct intake *in)
{
    const struct envelope *e = &s->envelope;
    struct trace t = {
        .local = session_submits(s),
        .socket = s->local,
        .hidden = s->login.len && settings_of(s)->limit_header_hidden,
        .uid = s->uid,
        .helo = buf_span(&s->helo),
        .name = buf_span(&s->name),
        .address = buf_span(&s->client),
        .protocol = span_of(session_protocol(s)),
        .tls = buf_span(&s->tls),
        .certificate = span_of(s->certificate ? s->certificate->certificate : NULL),
        .subject = span_of(s->certificate ? s->certificate->subject : NULL),
        .certified = s->certificate && s->certificate->trusted,
        .host = span_of(settings_of(s)->hostname),
        .id = span_of(in->text.text),
        .recipient = e->accepted == 1 && span_is_ascii(buf_span(&e->first)) ? buf_span(&e->first) : span_of(""),
        .now = in->now,
    };
    buf_add_span(&in->body, buf_span(&e->prepend));
    trace_add(&in->body, &t);
    in->front = in->body.len;
}

static void on_id(uint64_t id, void *arg);

static void cannot_begin(struct session *s, const struct refusal *why)
{
    if (s->chunk.reading) {
        session_bdat_refuse(s, why);
    } else {
        session_refuse(s, "DATA", why->code, why->status, "%s", why->text);
        session_close_transaction(s);
    }
}

static void begin_text(struct session *s, uint64_t id)
{
    static const struct refusal no_memory = {451, "4.3.0", "out of memory, try again later"};
    struct intake *in = calloc(1, sizeof *in);
    if (!in) {
        cannot_begin(s, &no_memory);
        return;
    }
    s->intake = in;
    in->id = id;
    in->text = queueid_format(id);
    in->now = time(NULL);
    in->body.limit = 2 * BODY_INLINE_MAX;
    buf_reserve(&in->body, BODY_FIRST);
    const struct settings *settings = settings_of(s);
    data_start(&in->data, &(struct data_limits){.line = settings->limit_line,
                                                .size = settings->limit_message_size,
                                                .hops = settings->limit_hops,
                                                .normalize = session_submits(s) || settings->limit_bare_newline == BARE_NORMALIZE,
                                                .no_nul = settings->limit_nul == NUL_REFUSE,
                                                .chunked = s->chunk.reading,
                                                .binary = s->envelope.binary});
    add_trace(s, in);
    if (!s->chunk.reading)
        session_reply(s, 354, "", "End data with <CR><LF>.<CR><LF>");
    s->state = SESSION_TEXT;
}

void intake_start(struct session *s)
{
    if (s->envelope.too_much) {
        static const struct refusal much = {452, "4.7.1", "this login has sent more than twice what it may in an hour; try again later"};
        cannot_begin(s, &much);
        return;
    }
    uint64_t id = ids_take(s->server->ids);
    if (id) {
        begin_text(s, id);
        return;
    }
    s->id_waiter.ready = on_id;
    s->id_waiter.arg = s;
    session_wait(s, WAIT_ID, ID_SECONDS);
    ids_wait(s->server->ids, &s->id_waiter);
}

static void on_id(uint64_t id, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    begin_text(s, id);
    session_resume(s);
}

/* ---- end ------------------------------------------------------------------------------------------------------------------------- */

static void finish(struct session *s)
{
    intake_free(s);
    session_close_transaction(s);
    s->due = 0;
    s->state = SESSION_COMMAND;
}

/* The setting that refuses a text. */
static struct span rule_of(enum data_fault fault)
{
    static const char *const rules[] = {
        [DATA_BARE_CR] = "limit { bare_newline }", [DATA_BARE_LF] = "limit { bare_newline }",   [DATA_NUL] = "limit { nul }",
        [DATA_LINE_TOO_LONG] = "limit { line }",   [DATA_TOO_LARGE] = "limit { message_size }", [DATA_LOOP] = "limit { hops }"};
    return fault < sizeof rules / sizeof rules[0] && rules[fault] ? span_of(rules[fault]) : span_of("");
}

static void refuse_fault(struct session *s, enum data_fault fault)
{
    const struct settings *settings = settings_of(s);
    s->rule = rule_of(fault);
    switch (fault) {
    case DATA_BARE_CR:
        session_refuse(s, "end of data", 550, "5.6.0", "the message has a bare CR; lines end with CR LF");
        break;
    case DATA_BARE_LF:
        session_refuse(s, "end of data", 550, "5.6.0", "the message has a bare LF; lines end with CR LF");
        break;
    case DATA_NUL:
        session_refuse(s, "end of data", 550, "5.6.0", "the message has a NUL in it");
        break;
    case DATA_LINE_TOO_LONG:
        session_refuse(s, "end of data", 550, "5.6.0", "the message has a line longer than %" PRIu64 " octets", settings->limit_line);
        break;
    case DATA_TOO_LARGE:
        session_refuse(s, "end of data", 552, "5.3.4", "message too large; the limit is %" PRIu64 " octets", settings->limit_message_size);
        break;
    case DATA_LOOP:
        session_refuse(s, "end of data", 554, "5.4.6", "too many hops: a mail loop");
        break;
    case DATA_NO_HEADER:
        session_refuse(s, "end of data", 550, "5.6.0", "BODY=BINARYMIME, but the message has no header");
        break;
    case DATA_OK:
        break;
    }
}

static void log_accepted(const struct session *s, const struct intake *in)
{
    struct buf line = BUF_EMPTY(8192);
    struct buf from = BUF_EMPTY(1024);
    buf_printf(&line, "%s:", in->text.text);
    session_log_client(s, &line);
    log_value(&line, "helo", buf_span(&s->helo));
    buf_printf(&from, "<%.*s>", SPAN_ARG(buf_span(&s->envelope.sender)));
    log_value(&line, "from", buf_span(&from));
    buf_printf(&line, " nrcpt=%" PRIu32 " size=%" PRIu64 " proto=%s", s->envelope.count, in->data.size, session_protocol(s));
    if (s->tls.len)
        log_value(&line, "tls", buf_span(&s->tls));
    if (s->certificate) {
        log_value(&line, "ccert", span_of(s->certificate->certificate));
        log_value(&line, "ccert_subject", span_of(s->certificate->subject));
        buf_printf(&line, " ccert_verified=%s", s->certificate->trusted ? "yes" : "no");
    }
    if (s->login.len)
        log_value(&line, "login", buf_span(&s->login));
    session_log_forwarded(s, &line);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&from);
    buf_free(&line);
}

static void on_stored(const struct message *m, void *arg)
{
    struct session *s = arg;
    struct intake *in = s->intake;
    session_answered(s);
    if (m && m->type != MESSAGE_STORED)
        log_die("postino-qmgr answered PUT with %s", message_name(m->type));
    if (!m || m->stored.code == 250)
        in->appended = false; /* nothing is left to drop: stored, or lost with the qmgr that had the pieces */
    if (m && m->stored.code == 250) {
        log_accepted(s, in);
        s->idle = 0;
        session_reply(s, 250, "2.0.0", "Ok: queued as %s", in->text.text);
    } else if (m && m->stored.code == 452) {
        session_refuse(s, "end of data", 452, "4.3.1", "%.*s", SPAN_ARG(m->stored.reply));
    } else {
        session_refuse(s, "end of data", 451, "4.3.0", "the message can't be stored now, try again later");
    }
    finish(s);
    session_resume(s);
}

/* Who shares fairly with others: a login, a local user, or the client's network. */
/* One customer of IPv6 has a /64; an address of IPv4 is one of its /24. */
static void add_neighbours(const struct session *s, struct buf *out)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct network n;
    if (network_of((const struct sockaddr *)&s->address, REACH_CLIENT, &n) && n.family == AF_INET)
        network_of((const struct sockaddr *)&s->address, REACH_NETWORK, &n);
    if (n.family != 0)
        inet_ntop(n.family, n.bytes, text, sizeof text);
    buf_printf(out, "net:%s", text);
}

static void add_flow(const struct session *s, struct buf *out)
{
    if (s->login.len) {
        buf_printf(out, "login:%.*s", SPAN_ARG(buf_span(&s->login)));
    } else if (s->local) {
        buf_printf(out, "uid:%lu", (unsigned long)s->uid);
    } else {
        add_neighbours(s, out);
    }
}

static bool is_ascii_front(const struct session *s)
{
    bool made_from = (session_submits(s) || s->login.len) && !(s->intake->data.headers & HEADER_FROM);
    return span_is_ascii(buf_span(&s->envelope.prepend)) && !(made_from && !span_is_ascii(buf_span(&s->envelope.sender)));
}

/* What the message will need of the hosts that it goes to: not what the client thought, but what is there (RFC 6531 3.4). What a recipient
 * needs is seen from its address. */
static unsigned needs_of(const struct session *s)
{
    bool ascii_front = is_ascii_front(s), eight_bit = s->intake->data.eight_bit || !ascii_front;
    bool utf8 = !span_is_ascii(buf_span(&s->envelope.sender)) || s->intake->data.header_text == HEADER_UTF8 || !ascii_front;
    /* RFC 8689 4.1: REQUIRETLS wins. */
    unsigned tls = s->envelope.requiretls                          ? ENVELOPE_REQUIRETLS
                   : s->intake->data.headers & HEADER_TLS_OPTIONAL ? ENVELOPE_TLS_OPTIONAL
                                                                   : 0u;
    return (eight_bit ? ENVELOPE_8BIT : 0u) | (s->envelope.utf8 && utf8 ? ENVELOPE_SMTPUTF8 : 0u) | tls;
}

static unsigned flags_of(const struct session *s)
{
    int priority = s->listener ? s->listener->priority : LISTENER_PRIORITY_NORMAL;
    return needs_of(s) | (s->envelope.binary ? ENVELOPE_BINARY : 0u) | (priority == LISTENER_PRIORITY_HIGH ? ENVELOPE_HIGH : 0u) |
           (priority == LISTENER_PRIORITY_LOW ? ENVELOPE_LOW : 0u) | (s->envelope.hold ? ENVELOPE_HOLD : 0u);
}

static void ask_put(struct session *s)
{
    struct intake *in = s->intake;
    struct buf flow = BUF_EMPTY(512);
    add_flow(s, &flow);
    struct message m = {.type = MESSAGE_PUT,
                        .fd = -1,
                        .put = {.id = in->id,
                                .flow = buf_span(&flow),
                                .sender = buf_span(&s->envelope.sender),
                                .envid = buf_span(&s->envelope.envid),
                                .ret = (uint16_t)s->envelope.ret,
                                .flags = (uint16_t)flags_of(s),
                                .release = s->envelope.times.release,
                                .deliver_by = s->envelope.times.deliver_by,
                                .by_mode = s->envelope.times.by_mode,
                                .mt_priority = s->envelope.times.mt_priority,
                                .recipients = envelope_recipients(&s->envelope),
                                .before = in->before,
                                .body = buf_span(&in->body)}};
    session_ask(s, WAIT_PUT, s->server->qmgr, &m, on_stored, 0);
    buf_free(&flow);
    in->handed = in->body.len;
    buf_free(&in->body);
}

/* What a submitted message lacks goes between our trace line and the client's text. Only while all of its header is here. */
static void complete(struct session *s)
{
    struct intake *in = s->intake;
    size_t front = in->front;
    in->front = 0;
    if (!front || !(session_submits(s) || s->login.len) || in->data.in_header)
        return;
    struct buf made = BUF_EMPTY(4096);
    complete_add(&made, &(struct complete){.headers = in->data.headers,
                                           .no_header = in->data.no_header,
                                           .sender = buf_span(&s->envelope.sender),
                                           .id = span_of(in->text.text),
                                           .host = span_of(settings_of(s)->hostname),
                                           .now = in->now});
    if (made.len && !made.failed && buf_reserve(&in->body, made.len)) {
        memmove(in->body.data + front + made.len, in->body.data + front, in->body.len - front);
        memcpy(in->body.data + front, made.data, made.len);
        in->body.len += made.len;
    }
    buf_free(&made);
}

/* RFC 2033 4.2, 4.3 */
static void answer_each(struct session *s)
{
    bool end = !s->intake->data.limits.chunked || s->chunk.last;
    s->answers = session_is_lmtp(s) && end ? s->envelope.accepted : 1;
}

static void end_of_text(struct session *s)
{
    struct intake *in = s->intake;
    answer_each(s);
    in->data.in_header = in->data.in_header && in->appended; /* a text that is nothing but header is whole now */
    if (in->data.fault != DATA_OK) {
        refuse_fault(s, in->data.fault);
        finish(s);
    } else if (in->failed || in->body.failed) {
        bool full = in->failed == 452;
        session_refuse(s, "end of data", full ? 452 : 451, full ? "4.3.1" : "4.3.0", "%s",
                       in->why.len ? buf_text(&in->why) : "try again later");
        finish(s);
    } else {
        complete(s);
        ask_put(s);
    }
}

/* ---- text ------------------------------------------------------------------------------------------------------------------------ */

static void piece_refused(struct intake *in, unsigned code, struct span why)
{
    in->failed = code;
    buf_clear(&in->why);
    buf_add_span(&in->why, why);
}

static void on_appended(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_STORED)
        log_die("postino-qmgr answered APPEND with %s", message_name(m->type));
    if (!m)
        piece_refused(s->intake, 451, SPAN_LITERAL("the message can't be stored now, try again later"));
    else if (m->stored.code != 250)
        piece_refused(s->intake, m->stored.code, m->stored.reply);
    s->state = SESSION_TEXT;
    session_resume(s);
}

static void ask_append(struct session *s)
{
    struct intake *in = s->intake;
    complete(s);
    in->appended = true;
    struct message m = {.type = MESSAGE_APPEND, .fd = -1, .append = {.id = in->id, .before = in->before, .piece = buf_span(&in->body)}};
    in->before += in->body.len;
    session_ask(s, WAIT_APPEND, s->server->qmgr, &m, on_appended, PIECE_SECONDS);
    buf_clear(&in->body);
}

/* How much input may be decoded so that the body keeps to BODY_INLINE_MAX, with room for what complete() adds. */
static size_t input_room(const struct intake *in)
{
    size_t most = BODY_INLINE_MAX - PIECE_LEAST;
    size_t room = in->body.len < most ? most - in->body.len : 0;
    return in->data.limits.normalize ? room / 2 : room;
}

bool intake_is_lost(const struct session *s)
{
    return s->intake->failed || s->intake->data.fault != DATA_OK;
}

static void lose_if_too_much(struct session *s)
{
    if (!intake_is_lost(s) && shed_takes_too_much(s))
        piece_refused(s->intake, 452, SPAN_LITERAL("not enough memory now, try again later"));
}

size_t intake_add(struct session *s, struct span input)
{
    struct intake *in = s->intake;
    lose_if_too_much(s);
    if (intake_is_lost(s))
        buf_free(&in->body);
    size_t room = input_room(in);
    if (room < PIECE_LEAST) {
        ask_append(s);
        return 0;
    }
    return data_take(&in->data, span_make(input.p, input.n < room ? input.n : room), &in->body);
}

void intake_end(struct session *s)
{
    if (!intake_is_lost(s))
        data_finish(&s->intake->data, &s->intake->body);
    end_of_text(s);
}

size_t intake_memory(const struct session *s)
{
    return s->intake ? s->intake->body.cap + s->intake->handed : 0;
}

uint64_t intake_octets(const struct session *s)
{
    return s->intake ? s->intake->data.size : 0;
}

void intake_take(struct session *s)
{
    struct span input = stream_input(s->stream);
    while (input.n && s->state == SESSION_TEXT) {
        stream_consume(s->stream, intake_add(s, input));
        if (data_done(&s->intake->data)) {
            end_of_text(s);
            break;
        }
        input = stream_input(s->stream);
    }
}

void intake_waited(struct session *s, enum session_wait what)
{
    static const struct refusal no_id = {451, "4.3.0", "the queue is not available, try again later"};
    if (what == WAIT_ID) {
        cannot_begin(s, &no_id);
    } else if (what == WAIT_APPEND) {
        piece_refused(s->intake, 451, SPAN_LITERAL("the queue is not available, try again later"));
        s->state = SESSION_TEXT;
    }
}
