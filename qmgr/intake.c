/* The edges to smtpd, and the one to sts, whose reports on TLS are mail. Each is a stranger's: its ids must be from ranges that were leased to it (or to whom it talked before this process
 * began: a restart of qmgr does not disturb it) and not used yet; sizes, counts and words are checked here, once. */
#include "common/program.h"
#include "qmgr/memory.h"
#include "qmgr/queue.h"
#include "qmgr/recipients.h"

#include <errno.h>
#include <stdio.h>

#define LEASE_MOST  4096
#define LEASES_MOST 1024
#define PARTS_MOST  100000
#define TRACE_MOST  ((uint64_t)64 << 10) /* what smtpd puts in front of a message counts not against the limit */

#define PIECES_LOST "Pieces of this message were lost"

struct lease {
    uint64_t first;
    uint32_t count;
    uint64_t used[LEASE_MOST / 64];
};

/* A body that comes in pieces. */
struct part {
    struct hash_node node;
    uint64_t size;
};

struct intake {
    struct channel *channel; /* NULL: it has gone */
    bool reports;            /* of sts: its own mail alone */
    struct hash parts;
    struct lease *leases[LEASES_MOST]; /* a ring, the last one at `last` */
    size_t last;
    size_t open; /* answers that are to come */
};

struct question {
    struct intake *intake;
    uint32_t id;
    uint64_t mail;
};

/* ---- ids --------------------------------------------------------------------------------------------------------- */

static void on_lease(struct intake *in, const struct message *m)
{
    uint32_t count = m->lease.count < 1 ? 1 : m->lease.count > LEASE_MOST ? LEASE_MOST : m->lease.count;
    struct lease *l = memory_new(1, sizeof *l);
    l->first = queue_lease(count);
    l->count = count;
    in->last = (in->last + 1) % LEASES_MOST;
    free(in->leases[in->last]);
    in->leases[in->last] = l;
    struct message out = {.type = MESSAGE_LEASED, .id = m->id, .fd = -1, .leased = {.first = l->first, .count = count}};
    channel_send(in->channel, &out);
}

static struct lease *lease_of(const struct intake *in, uint64_t id)
{
    for (size_t i = 0; i < LEASES_MOST; i++) {
        struct lease *l = in->leases[(in->last + LEASES_MOST - i) % LEASES_MOST];
        if (l && id >= l->first && id - l->first < l->count)
            return l;
    }
    return NULL;
}

static bool id_free(const struct intake *in, uint64_t id)
{
    const struct lease *l = lease_of(in, id);
    if (l)
        return !(l->used[(id - l->first) / 64] >> ((id - l->first) % 64) & 1);
    return id > 0 && id < queue.first_id && !mail_here(id);
}

static void id_use(struct intake *in, uint64_t id)
{
    struct lease *l = lease_of(in, id);
    if (l)
        l->used[(id - l->first) / 64] |= (uint64_t)1 << ((id - l->first) % 64);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void answer(struct intake *in, uint32_t question, unsigned code, const char *words)
{
    struct message out = {.type = MESSAGE_STORED, .id = question, .fd = -1, .stored = {.code = (uint16_t)code, .reply = span_of(words)}};
    if (in->channel)
        channel_send(in->channel, &out);
}

static void intake_free_if_done(struct intake *in)
{
    if (in->channel || in->open > 0)
        return;
    for (struct hash_node *n; (n = hash_first(&in->parts));) {
        spool_drop(queue.spool, n->key);
        hash_remove(&in->parts, n);
        free(HASH_OWNER(n, struct part, node));
    }
    for (size_t i = 0; i < LEASES_MOST; i++)
        free(in->leases[i]);
    hash_free(&in->parts);
    free(in);
}

static struct question *question_new(struct intake *in, uint32_t id, uint64_t mail)
{
    struct question *q = memory_new(1, sizeof *q);
    *q = (struct question){.intake = in, .id = id, .mail = mail};
    in->open++;
    return q;
}

static void stored(int status, void *arg)
{
    struct question *q = arg;
    struct intake *in = q->intake;
    char words[64];
    snprintf(words, sizeof words, "queued as %s", ID_TEXT(q->mail));
    if (status == 0)
        answer(in, q->id, 250, words);
    else if (status == ENOSPC || status == EDQUOT)
        answer(in, q->id, 452, "Insufficient system storage");
    else
        answer(in, q->id, 451, "Local error in processing");
    in->open--;
    free(q);
    intake_free_if_done(in);
}

/* ---- bodies and envelopes ---------------------------------------------------------------------------------------- */

static struct part *part_find(const struct intake *in, uint64_t id)
{
    struct hash_node *n = hash_find(&in->parts, id);
    return n ? HASH_OWNER(n, struct part, node) : NULL;
}

static void part_forget(struct intake *in, struct part *part)
{
    hash_remove(&in->parts, &part->node);
    free(part);
}

static bool too_large(uint64_t before, size_t more)
{
    return more > queue.settings->limit_message_size + TRACE_MOST || before > queue.settings->limit_message_size + TRACE_MOST - more;
}

static void on_append(struct intake *in, const struct message *m)
{
    uint64_t id = m->append.id;
    struct part *part = part_find(in, id);
    if (!part && (!id_free(in, id) || spool_has_part(queue.spool, id) || in->parts.count >= PARTS_MOST)) {
        log_warning("smtpd appends to %s, which is not its own; refused", ID_TEXT(id));
        answer(in, m->id, 451, "This queue id is not leased");
        return;
    }
    if (m->append.before != (part ? part->size : 0)) {
        answer(in, m->id, 451, PIECES_LOST);
        return;
    }
    if (!part) {
        part = memory_new(1, sizeof *part);
        hash_add(&in->parts, &part->node, id);
    }
    if (too_large(part->size, m->append.piece.n)) {
        answer(in, m->id, 451, "Message exceeds the maximum size");
        return;
    }
    part->size += m->append.piece.n;
    spool_append(queue.spool, id, m->append.piece, stored, question_new(in, m->id, id));
}

static void on_drop(struct intake *in, const struct message *m)
{
    struct part *part = part_find(in, m->drop.id);
    if (!part)
        return;
    part_forget(in, part);
    spool_drop(queue.spool, m->drop.id);
    id_use(in, m->drop.id);
}

#define DEADLINE_MOST ((uint64_t)1000000000 + 86400) /* seconds from now: nine digits (RFC 2852), and what smtpd took to say so */
#define RELEASE_SLACK 60

static bool times_good(const struct message_put *p)
{
    unsigned how = p->by_mode & (BY_RETURN | BY_NOTIFY);
    uint64_t now = queue_now(), most = now + queue.settings->smtpd_future_release + RELEASE_SLACK;
    bool deadline = p->by_mode != 0;
    if (p->release > most || p->release > UINT32_MAX || p->mt_priority > MT_PRIORITY_MOST)
        return false;
    if (!deadline)
        return p->deliver_by == 0;
    return (how == BY_RETURN || how == BY_NOTIFY) && p->by_mode <= (BY_RETURN | BY_NOTIFY | BY_TRACE) && p->deliver_by > 0 &&
           p->deliver_by <= UINT32_MAX && p->deliver_by < now + DEADLINE_MOST && now < p->deliver_by + DEADLINE_MOST;
}

static const char *put_fault(const struct intake *in, const struct message_put *p)
{
    const struct part *part = part_find(in, p->id);
    if (!part && (!id_free(in, p->id) || spool_has_part(queue.spool, p->id)))
        return "This queue id is not leased";
    if (in->reports && (!queue.settings->tlsrpt_mail || !span_equal(p->sender, span_of(queue.settings->tlsrpt_from))))
        return "This is no report, or none may be sent";
    if (p->before != (part ? part->size : 0))
        return PIECES_LOST;
    if (too_large(part ? part->size : 0, p->body.n))
        return "Message exceeds the maximum size";
    if (!recipients_good(p->recipients))
        return "These recipients can't be";
    if (!times_good(p))
        return "These times can't be";
    if (p->flow.n > RECIPIENT_TEXT_MOST || p->sender.n > RECIPIENT_TEXT_MOST || p->envid.n > RECIPIENT_TEXT_MOST)
        return "This envelope can't be";
    return NULL;
}

#define FLAGS_TAKEN                                                                                                                        \
    (ENVELOPE_8BIT | ENVELOPE_BINARY | ENVELOPE_SMTPUTF8 | ENVELOPE_REQUIRETLS | ENVELOPE_TLS_OPTIONAL | ENVELOPE_HIGH | ENVELOPE_LOW |    \
     ENVELOPE_HOLD)

static void on_put(struct intake *in, const struct message *m)
{
    const struct message_put *p = &m->put;
    const char *fault = put_fault(in, p);
    struct part *part = part_find(in, p->id);
    uint64_t size = (part ? part->size : 0) + p->body.n;
    if (fault) {
        log_warning("%s: the PUT of %s is refused: %s", ID_TEXT(p->id), in->reports ? "sts" : "smtpd", fault);
        answer(in, m->id, 451, fault);
        return;
    }
    struct spool_envelope e = {.id = p->id,
                               .arrived = queue_now_us(),
                               .size = size,
                               .ret = p->ret <= RET_HDRS ? p->ret : RET_UNSET,
                               .flags = p->flags & FLAGS_TAKEN,
                               .times = {.release = (uint32_t)p->release,
                                         .deliver_by = (uint32_t)p->deliver_by,
                                         .by_mode = (uint8_t)p->by_mode,
                                         .mt_priority = (uint8_t)p->mt_priority},
                               .flow = p->flow,
                               .sender = p->sender,
                               .envid = p->envid,
                               .recipients = p->recipients};
    if (part)
        part_forget(in, part);
    id_use(in, p->id);
    queue_put(&e, p->body, size, stored, question_new(in, m->id, p->id));
}

static void on_flush(struct intake *in, const struct message *m)
{
    size_t count;
    struct message out = {.type = MESSAGE_FLUSHED, .id = m->id, .fd = -1};
    out.flushed.code = (uint16_t)etrn_flush(m->flush.domain, m->flush.below != 0, &count);
    out.flushed.count = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    if (out.flushed.code == FLUSH_DONE)
        log_info("%zu deliveries are tried again at once: ETRN asked for it", count);
    channel_send(in->channel, &out);
}

/* ---- the channel ------------------------------------------------------------------------------------------------- */

static void on_message(struct channel *c, const struct message *m, void *arg)
{
    struct intake *in = arg;
    (void)c;
    if (in->reports && m->type != MESSAGE_LEASE && m->type != MESSAGE_PUT)
        return;
    switch (m->type) {
    case MESSAGE_LEASE:
        on_lease(in, m);
        break;
    case MESSAGE_APPEND:
        on_append(in, m);
        break;
    case MESSAGE_DROP:
        on_drop(in, m);
        break;
    case MESSAGE_PUT:
        on_put(in, m);
        break;
    case MESSAGE_FLUSH:
        on_flush(in, m);
        break;
    default:
        break;
    }
}

static void on_closed(struct channel *c, void *arg)
{
    struct intake *in = arg;
    channel_free(c);
    in->channel = NULL;
    intake_free_if_done(in);
}

void intake_connect(int fd, const char *role)
{
    static const struct channel_handler handler = {.message = on_message, .closed = on_closed};
    struct intake *in = memory_new(1, sizeof *in);
    hash_init(&in->parts);
    in->reports = strcmp(role, "sts") == 0;
    in->channel = channel_new(program_base(), fd, role, 1u << PROTOCOL_SMTPD_QMGR, SIDE_SERVER, &handler, in);
}
