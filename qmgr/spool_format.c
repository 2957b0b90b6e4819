#include "qmgr/spool_format.h"
#include "common/crc32c.h"

#include <stdlib.h>

#define MAGIC 0x4e545350u /* "PSTN" */

/* A record is little endian throughout. */
static void put(unsigned char *p, uint64_t value, unsigned octets)
{
    for (unsigned i = 0; i < octets; i++)
        p[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const void *from, unsigned octets)
{
    const unsigned char *p = from;
    uint64_t value = 0;
    for (unsigned i = 0; i < octets; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

void spool_record_encode(const struct spool_record *r, unsigned char out[SPOOL_RECORD_HEADER])
{
    memset(out, 0, SPOOL_RECORD_HEADER);
    put(out, MAGIC, 4);
    put(out + 4, SPOOL_RECORD_VERSION, 2);
    put(out + 6, r->type, 2);
    put(out + 8, r->id, 8);
    put(out + 16, r->offset, 8);
    put(out + 24, r->body, 8);
    put(out + 32, r->body_crc, 4);
    put(out + 36, r->rest, 4);
    put(out + 40, r->rest_crc, 4);
    put(out + 44, r->previous, 8);
    put(out + 52, r->key, 8);
    put(out + 60, crc32c(0, out, 60), 4);
}

bool spool_record_decode(const unsigned char in[SPOOL_RECORD_HEADER], struct spool_record *r)
{
    if (get(in, 4) != MAGIC || get(in + 4, 2) != SPOOL_RECORD_VERSION || get(in + 60, 4) != crc32c(0, in, 60))
        return false;
    *r = (struct spool_record){.type = (uint16_t)get(in + 6, 2),
                               .id = get(in + 8, 8),
                               .offset = get(in + 16, 8),
                               .body = get(in + 24, 8),
                               .body_crc = (uint32_t)get(in + 32, 4),
                               .rest = (uint32_t)get(in + 36, 4),
                               .rest_crc = (uint32_t)get(in + 40, 4),
                               .previous = get(in + 44, 8),
                               .key = get(in + 52, 8)};
    return r->rest <= SPOOL_REST_MOST && r->body < (uint64_t)1 << 48;
}

/* ---- fields: integers little endian, texts with a u32 length in front -------------------------------------------- */

static void add_text(struct buf *out, struct span s)
{
    buf_add_u32(out, (uint32_t)s.n);
    buf_add_span(out, s);
}

/* Reads fields from the front. Past the end everything is 0 or empty, and `short_of` is set. */
struct reader {
    struct span in;
    bool short_of, bad;
};

static uint64_t take_number(struct reader *r, unsigned octets)
{
    if (r->in.n < octets) {
        r->short_of = true;
        r->in.n = 0;
        return 0;
    }
    uint64_t value = get(r->in.p, octets);
    r->in.p += octets;
    r->in.n -= octets;
    return value;
}

static struct span take_bytes(struct reader *r)
{
    uint64_t n = take_number(r, 4);
    if (n > r->in.n) {
        r->short_of = true;
        n = 0;
    }
    struct span s = {r->in.p, (size_t)n};
    r->in.p += n;
    r->in.n -= (size_t)n;
    return s;
}

/* The same promise that the frame decoder makes: no NUL, CR, LF. */
static struct span take_text(struct reader *r)
{
    struct span s = take_bytes(r);
    for (size_t i = 0; i < s.n; i++)
        r->bad |= s.p[i] == '\0' || s.p[i] == '\r' || s.p[i] == '\n';
    return s;
}

/* ---- envelope ---------------------------------------------------------------------------------------------------- */

/* What few messages have stands behind the recipients, each thing with its kind and length in front: a message without them has none, and a reader
 * skips kinds that it does not know. */
enum extra { EXTRA_RELEASE = 1, EXTRA_DELIVER_BY = 2, EXTRA_BY_MODE = 3, EXTRA_MT_PRIORITY = 4 };

static void add_extra(struct buf *out, enum extra kind, uint32_t value)
{
    if (value == 0)
        return;
    buf_add_u16(out, (uint16_t)kind);
    buf_add_u16(out, 4);
    buf_add_u32(out, value);
}

static bool is_times(const struct spool_times *t)
{
    unsigned how = t->by_mode & (BY_RETURN | BY_NOTIFY);
    return (t->by_mode == 0) == (t->deliver_by == 0) && t->by_mode < 8 && how != (BY_RETURN | BY_NOTIFY) &&
           (how != 0) == (t->by_mode != 0) && t->mt_priority <= MT_PRIORITY_MOST;
}

static void take_extra(struct reader *r, struct spool_times *t)
{
    unsigned kind = (unsigned)take_number(r, 2), octets = (unsigned)take_number(r, 2);
    struct reader one = {.in = {r->in.p, octets <= r->in.n ? octets : 0}};
    r->short_of |= octets > r->in.n;
    r->in.p += one.in.n;
    r->in.n -= one.in.n;
    bool known = kind >= EXTRA_RELEASE && kind <= EXTRA_MT_PRIORITY;
    r->bad |= known && octets != 4;
    uint32_t value = known ? (uint32_t)take_number(&one, 4) : 0;
    r->bad |= (kind == EXTRA_BY_MODE || kind == EXTRA_MT_PRIORITY) && value > UINT8_MAX;
    if (kind == EXTRA_RELEASE)
        t->release = value;
    else if (kind == EXTRA_DELIVER_BY)
        t->deliver_by = value;
    else if (kind == EXTRA_BY_MODE)
        t->by_mode = (uint8_t)value;
    else if (kind == EXTRA_MT_PRIORITY)
        t->mt_priority = (uint8_t)value;
}

/* Each record has its length in front, so that later versions can add fields at its end. */
static void recipient_encode(const struct record_recipient *r, struct buf *out)
{
    const struct span texts[] = {r->address, r->original, r->orcpt, r->transport, r->nexthop, r->mailbox, r->tls};
    size_t length = 2;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        length += 4 + texts[i].n;
    buf_add_u32(out, (uint32_t)length);
    buf_add_u16(out, r->notify);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        add_text(out, texts[i]);
}

void spool_envelope_encode(const struct spool_envelope *e, struct buf *out)
{
    buf_add_u64(out, e->arrived);
    buf_add_u64(out, e->parent);
    buf_add_u16(out, e->ret);
    buf_add_u16(out, e->flags);
    add_text(out, e->flow);
    add_text(out, e->sender);
    add_text(out, e->envid);
    buf_add_u32(out, e->recipients.count);
    struct list list = e->recipients;
    for (struct record_recipient r; record_recipient_next(&list, &r);)
        recipient_encode(&r, out);
    add_extra(out, EXTRA_RELEASE, e->times.release);
    add_extra(out, EXTRA_DELIVER_BY, e->times.deliver_by);
    add_extra(out, EXTRA_BY_MODE, e->times.by_mode);
    add_extra(out, EXTRA_MT_PRIORITY, e->times.mt_priority);
}

static bool recipient_decode(struct span in, struct buf *recipients)
{
    struct reader r = {.in = in};
    struct record_recipient rcpt = {.notify = (uint16_t)take_number(&r, 2)};
    rcpt.address = take_text(&r);
    rcpt.original = take_text(&r);
    rcpt.orcpt = take_text(&r);
    rcpt.transport = take_text(&r);
    rcpt.nexthop = take_text(&r);
    rcpt.mailbox = take_text(&r);
    rcpt.tls = take_text(&r);
    record_recipient_add(recipients, &rcpt);
    return !r.short_of && !r.bad && !recipients->failed;
}

bool spool_envelope_decode(struct span in, uint64_t id, struct spool_envelope *e, struct buf *recipients)
{
    struct reader r = {.in = in};
    *e = (struct spool_envelope){.id = id};
    e->arrived = take_number(&r, 8);
    e->parent = take_number(&r, 8);
    e->ret = (uint16_t)take_number(&r, 2);
    e->flags = (uint16_t)take_number(&r, 2);
    e->flow = take_text(&r);
    e->sender = take_text(&r);
    e->envid = take_text(&r);
    e->recipients.count = (uint32_t)take_number(&r, 4);
    for (uint32_t i = 0; i < e->recipients.count; i++) {
        struct span one = take_bytes(&r);
        if (r.short_of || !recipient_decode(one, recipients))
            return false;
    }
    e->recipients.bytes = buf_span(recipients);
    while (r.in.n > 0 && !r.short_of && !r.bad)
        take_extra(&r, &e->times);
    return e->recipients.count > 0 && !r.short_of && !r.bad && is_times(&e->times);
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

void spool_state_encode(const struct spool_state *s, struct buf *out)
{
    bool rerouted = s->transport.n > 0;
    size_t orders = s->orders || rerouted ? 2 : 0;
    size_t way = rerouted ? 4 + s->transport.n + 4 + s->nexthop.n + 4 + s->mailbox.n + 4 + s->tls.n : 0;
    buf_add_u32(out, (uint32_t)(4 + 2 + 2 + 4 + 8 + 4 + s->status.n + 4 + s->reason.n + orders + way));
    buf_add_u32(out, s->index);
    buf_add_u16(out, s->state);
    buf_add_u16(out, s->verdict);
    buf_add_u32(out, s->attempts);
    buf_add_u64(out, s->due);
    add_text(out, s->status);
    add_text(out, s->reason);
    if (orders)
        buf_add_u16(out, s->orders);
    if (!rerouted)
        return;
    add_text(out, s->transport);
    add_text(out, s->nexthop);
    add_text(out, s->mailbox);
    add_text(out, s->tls);
}

#define WAY_LEAST 16 /* octets: what is less is no field of ours */

static void take_way(struct reader *r, struct spool_state *s)
{
    s->transport = take_text(r);
    s->nexthop = take_text(r);
    s->mailbox = take_text(r);
    s->tls = take_text(r);
    r->bad |= s->transport.n > 0 && s->nexthop.n == 0;
}

static bool state_decode(struct span in, struct spool_state *states, size_t count)
{
    struct reader r = {.in = in};
    struct spool_state s = {.index = (uint32_t)take_number(&r, 4)};
    s.state = (uint16_t)take_number(&r, 2);
    s.verdict = (uint16_t)take_number(&r, 2);
    s.attempts = (uint32_t)take_number(&r, 4);
    s.due = take_number(&r, 8);
    s.status = take_text(&r);
    s.reason = take_text(&r);
    s.orders = r.in.n >= 2 ? (uint16_t)take_number(&r, 2) : 0;
    if (r.in.n >= WAY_LEAST)
        take_way(&r, &s);
    if (r.short_of || r.bad || s.index >= count || (s.state != RECIPIENT_WAITING && s.state != RECIPIENT_DONE))
        return false;
    states[s.index] = s;
    return true;
}

bool spool_states_decode(struct span in, struct spool_state *states, size_t count)
{
    struct reader r = {.in = in};
    while (r.in.n > 0) {
        struct span one = take_bytes(&r);
        if (r.short_of || !state_decode(one, states, count))
            return false;
    }
    return true;
}

void spool_state_way(const struct spool_state *s, struct record_recipient *r)
{
    if (s->transport.n == 0)
        return;
    r->transport = s->transport;
    r->nexthop = s->nexthop;
    r->mailbox = s->mailbox;
    r->tls = s->tls;
}

bool spool_state_says(const struct spool_state *s)
{
    return s->state == RECIPIENT_DONE || s->attempts > 0 || s->due > 0 || s->verdict > 0 || s->orders > 0 || s->transport.n > 0;
}

/* Indexes stand behind the length. */
static uint32_t recipients_in(struct span in)
{
    struct reader r = {.in = in};
    uint32_t count = 0;
    while (r.in.n > 0 && !r.short_of) {
        struct reader one = {.in = take_bytes(&r)};
        uint32_t index = (uint32_t)take_number(&one, 4);
        if (index >= count)
            count = index + 1;
    }
    return count;
}

void spool_states_compact(struct buf *b)
{
    uint32_t count = recipients_in(buf_span(b));
    struct spool_state *states = count > 0 ? calloc(count, sizeof *states) : NULL;
    struct buf last = BUF_EMPTY(SIZE_MAX);
    bool good = states && spool_states_decode(buf_span(b), states, count);
    for (uint32_t i = 0; i < count && good; i++) {
        if (states[i].state != 0)
            spool_state_encode(&states[i], &last);
    }
    free(states);
    if (good && !last.failed && last.len < b->len) {
        buf_free(b);
        *b = last;
    } else {
        buf_free(&last);
    }
}
