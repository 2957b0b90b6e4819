#include "qmgr/reroute.h"
#include "qmgr/memory.h"
#include "qmgr/recipients.h"

struct reroute {
    uint64_t id;
    struct reroute_result result;
    reroute_done_fn *done;
    void *arg;
    struct list left;   /* of `asked`: the first is the one that route is asked for */
    uint32_t at, count; /* its place in `indexes` */
    struct buf asked;   /* copies of the recipients that wait */
    struct buf ways;    /* of those that go another way: records, in the order of */
    uint32_t *moves;    /* their indexes in the mail */
    uint32_t move_count;
    uint32_t indexes[]; /* in the mail, of `asked` */
};

static struct span way_of(const struct record_recipient *r, struct buf *out)
{
    buf_clear(out);
    way_add(r, out);
    return buf_span(out);
}

static void log_way(uint64_t id, const struct record_recipient *from, const char *what, const char *name, struct span value)
{
    struct buf line = BUF_EMPTY(4096), text = BUF_EMPTY(2048);
    buf_printf(&line, "%s:", ID_TEXT(id));
    buf_printf(&text, "<%.*s>", SPAN_ARG(from->address));
    log_value(&line, "to", buf_span(&text));
    buf_printf(&line, " %s", what);
    log_value(&line, "way", way_of(from, &text));
    log_value(&line, name, value);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
    buf_free(&text);
}

/* ---- the end: what route said is done ---------------------------------------------------------------------------- */

static void log_moves(const struct mail *m, const struct reroute *r)
{
    struct list rest = {.count = r->move_count, .bytes = buf_span(&r->ways)};
    struct buf text = BUF_EMPTY(2048);
    for (uint32_t i = 0; i < r->move_count; i++) {
        struct record_recipient from, to;
        mail_recipient(m, r->moves[i], &from);
        record_recipient_next(&rest, &to);
        if (m->rcpt[r->moves[i]].state == RECIPIENT_WAITING)
            log_way(r->id, &from, "goes another way now: an administrator asked for it", "now", way_of(&to, &text));
    }
    buf_free(&text);
}

static void over(struct reroute *r)
{
    struct mail *m = r->move_count > 0 ? mail_find(r->id) : NULL;
    if (m && !m->deleted) {
        log_moves(m, r);
        struct list ways = {.count = r->move_count, .bytes = buf_span(&r->ways)};
        r->result.moved = mail_set_ways(m, r->moves, ways);
        r->result.stayed += r->move_count - r->result.moved;
    }
    r->done(r->id, &r->result, r->arg);
    buf_free(&r->asked);
    buf_free(&r->ways);
    free(r->moves);
    free(r);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static bool same_way(const struct record_recipient *a, const struct record_recipient *b)
{
    return span_equal(a->transport, b->transport) && span_equal(a->nexthop, b->nexthop) && span_equal(a->mailbox, b->mailbox) &&
           span_equal(a->tls, b->tls);
}

/* Of the recipients that an address turns into, itself. */
static bool find_itself(struct list targets, struct span address, struct record_recipient *out)
{
    while (record_recipient_next(&targets, out)) {
        if (span_equal_nocase(out->address, address) && !span_equal(out->transport, SPAN_LITERAL("error")))
            return true;
    }
    return false;
}

static void stay(struct reroute *r, const struct record_recipient *rcpt, struct span why)
{
    r->result.stayed++;
    log_way(r->id, rcpt, "keeps its way", "reply", why);
}

static void move(struct reroute *r, const struct record_recipient *rcpt, const struct record_recipient *way)
{
    struct record_recipient to = *rcpt;
    to.transport = way->transport;
    to.nexthop = way->nexthop;
    to.mailbox = way->mailbox;
    to.tls = way->tls;
    record_recipient_add(&r->ways, &to);
    memory_must_hold(&r->ways);
    r->moves[r->move_count++] = r->indexes[r->at];
}

static void judge(struct reroute *r, const struct record_recipient *rcpt, const struct message_routed *said)
{
    struct record_recipient way;
    if (!said)
        stay(r, rcpt, SPAN_LITERAL("no answer from postino-route; try again"));
    else if (said->code != 250)
        stay(r, rcpt, said->reply);
    else if (!recipients_good(said->recipients) || !find_itself(said->recipients, rcpt->address, &way))
        stay(r, rcpt, SPAN_LITERAL("an alias leads it elsewhere now, and aliases were expanded when it came"));
    else if (!same_way(rcpt, &way))
        move(r, rcpt, &way);
}

static void ask(struct reroute *);

static void routed(const struct message *m, void *arg)
{
    struct reroute *r = arg;
    struct record_recipient rcpt;
    record_recipient_next(&r->left, &rcpt);
    judge(r, &rcpt, m && m->type == MESSAGE_ROUTED ? &m->routed : NULL);
    r->at++;
    if (r->at < r->count)
        ask(r);
    else
        over(r);
}

static void ask(struct reroute *r)
{
    struct list first = r->left;
    struct record_recipient rcpt;
    record_recipient_next(&first, &rcpt);
    struct message m = {.type = MESSAGE_RCPT, .fd = -1, .rcpt = {.may_relay = 1, .recipient = rcpt.address}};
    peer_ask(queue.route, &m, routed, r);
}

static void add_waiting(struct reroute *r, const struct mail *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct record_recipient rcpt;
        r->result.stayed += m->rcpt[i].state == RECIPIENT_ACTIVE;
        if (m->rcpt[i].state != RECIPIENT_WAITING)
            continue;
        mail_recipient(m, i, &rcpt);
        record_recipient_add(&r->asked, &rcpt);
        r->indexes[r->count++] = i;
    }
    memory_must_hold(&r->asked);
}

bool reroute_start(const struct mail *m, reroute_done_fn *done, void *arg)
{
    if (m->done + m->active == m->count)
        return false;
    struct reroute *r = memory_new(1, sizeof *r + m->count * sizeof r->indexes[0]);
    *r = (struct reroute){.id = mail_id(m), .done = done, .arg = arg, .asked = BUF_EMPTY(SIZE_MAX), .ways = BUF_EMPTY(SIZE_MAX)};
    r->moves = memory_new(m->count + 1, sizeof r->moves[0]);
    add_waiting(r, m);
    r->left = (struct list){.count = r->count, .bytes = buf_span(&r->asked)};
    ask(r);
    return true;
}
