#include "smtpd/envelope.h"

#include "common/address.h"
#include "common/utf8.h"

#include <stdlib.h>

#define RECIPIENTS_MOST (FRAME_MAX - BODY_INLINE_MAX - ((size_t)64 << 10)) /* octets: a PUT has body and sender beside them */
#define SLOTS_FIRST     16
#define PREPEND_MOST    ((size_t)16 << 10)

void envelope_open(struct envelope *e, struct span sender)
{
    envelope_close(e);
    e->open = true;
    buf_add_span(&e->sender, sender);
}

void envelope_close(struct envelope *e)
{
    buf_free(&e->sender);
    buf_free(&e->envid);
    buf_free(&e->first);
    buf_free(&e->prepend);
    buf_free(&e->recipients);
    free(e->slots);
    *e = (struct envelope){.recipients.limit = RECIPIENTS_MOST, .prepend.limit = PREPEND_MOST};
}

void envelope_sender(struct envelope *e, struct span ascii)
{
    if (ascii.n == 0 || !span_is_ascii(ascii) || span_is_ascii(buf_span(&e->sender)))
        return;
    buf_clear(&e->sender);
    buf_add_span(&e->sender, ascii);
}

static uint64_t hash_span(uint64_t hash, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        hash = (hash ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return (hash ^ 0xff) * 0x100000001b3u;
}

static uint32_t hash_recipient(const struct record_recipient *r)
{
    uint64_t hash = hash_span(hash_span(0xcbf29ce484222325u, r->address), r->transport);
    hash = hash_span(hash_span(hash, r->nexthop), r->mailbox);
    return (uint32_t)(hash >> 32);
}

static bool same(const struct record_recipient *a, const struct record_recipient *b)
{
    return span_equal(a->address, b->address) && span_equal(a->transport, b->transport) && span_equal(a->nexthop, b->nexthop) &&
           span_equal(a->mailbox, b->mailbox);
}

static bool record_at(const struct envelope *e, size_t at, struct record_recipient *out)
{
    struct list one = {1, span_make(e->recipients.data + at, e->recipients.len - at)};
    return record_recipient_next(&one, out);
}

/* The slot where `r` is, or would be. */
static uint32_t *find(const struct envelope *e, const struct record_recipient *r)
{
    struct record_recipient other;
    uint32_t i = hash_recipient(r) % e->slot_count;
    while (e->slots[i] && !(record_at(e, e->slots[i] - 1, &other) && same(r, &other)))
        i = (i + 1) % e->slot_count;
    return &e->slots[i];
}

static bool grow(struct envelope *e)
{
    if (e->slot_count && e->count < e->slot_count / 2)
        return true;
    uint32_t former_count = e->slot_count, *former = e->slots;
    e->slot_count = former_count ? former_count * 2 : SLOTS_FIRST;
    e->slots = calloc(e->slot_count, sizeof *e->slots);
    if (!e->slots) {
        e->slots = former;
        e->slot_count = former_count;
        return false;
    }
    struct record_recipient r;
    for (uint32_t i = 0; i < former_count; i++)
        if (former[i] && record_at(e, former[i] - 1, &r))
            *find(e, &r) = former[i];
    free(former);
    return true;
}

/* Not given: FAILURE and, as we do it, DELAY (RFC 3461 4.1). */
static uint16_t both_notify(uint16_t a, uint16_t b)
{
    uint16_t ordinary = NOTIFY_FAILURE | NOTIFY_DELAY;
    if (a == b)
        return a;
    uint16_t either = (a ? a : ordinary) | (b ? b : ordinary);
    return either == NOTIFY_NEVER ? either : either & (uint16_t)~NOTIFY_NEVER;
}

/* A u16 behind three texts (common/messages.h). */
static void also_notify(struct envelope *e, size_t at, uint16_t notify)
{
    struct record_recipient r;
    if (!record_at(e, at, &r))
        return;
    unsigned char *field = (unsigned char *)e->recipients.data + at + 3 * sizeof(uint32_t) + r.address.n + r.original.n + r.orcpt.n;
    notify = both_notify(r.notify, notify);
    field[0] = (unsigned char)notify;
    field[1] = (unsigned char)(notify >> 8);
}

static void add_orcpt(struct span said, struct buf *out)
{
    bool ascii = span_is_ascii(said);
    buf_add_text(out, ascii ? "rfc822;" : "utf-8;");
    if (ascii)
        buf_add_span(out, said);
    else
        xtext_encode_utf8(said, out);
}

static bool add_one(struct envelope *e, struct record_recipient *r, struct span said, struct wishes wishes)
{
    if (!grow(e))
        return false;
    uint32_t *slot = find(e, r);
    if (*slot) {
        also_notify(e, *slot - 1, wishes.notify);
        return true;
    }
    if (e->count >= ENVELOPE_RECIPIENTS_MOST)
        return false;
    size_t at = e->recipients.len;
    struct buf orcpt = BUF_EMPTY(0);
    r->notify = wishes.notify;
    r->orcpt = wishes.orcpt;
    if (!span_equal(r->address, said)) {
        r->original = said;
        if (!wishes.orcpt.n)
            add_orcpt(said, &orcpt);
        r->orcpt = wishes.orcpt.n ? wishes.orcpt : buf_span(&orcpt);
    }
    record_recipient_add(&e->recipients, r);
    buf_free(&orcpt);
    if (e->recipients.failed)
        return false;
    *slot = (uint32_t)at + 1;
    e->count++;
    return true;
}

/* Takes back what was added behind `len`. */
static void cut(struct envelope *e, size_t len, uint32_t count)
{
    struct record_recipient r;
    e->recipients.len = len;
    e->recipients.failed = false;
    e->count = count;
    memset(e->slots, 0, e->slot_count * sizeof *e->slots);
    struct list all = envelope_recipients(e);
    for (size_t at = 0; record_recipient_next(&all, &r); at = len - all.bytes.n)
        *find(e, &r) = (uint32_t)at + 1;
}

bool envelope_add(struct envelope *e, struct span said, struct wishes wishes, struct list routed)
{
    struct record_recipient r;
    size_t len = e->recipients.len;
    uint32_t count = e->count;
    while (record_recipient_next(&routed, &r)) {
        if (!add_one(e, &r, said, wishes)) {
            cut(e, len, count);
            return false;
        }
    }
    if (!e->accepted++)
        buf_add_span(&e->first, said);
    return true;
}

struct list envelope_recipients(const struct envelope *e)
{
    return (struct list){e->count, buf_span(&e->recipients)};
}

/* Printable, and of a form that no client's header can be mistaken for. */
static bool is_header(struct span line)
{
    size_t name = 0;
    while (name < line.n && line.p[name] > ' ' && line.p[name] < 0x7f && line.p[name] != ':')
        name++;
    return name > 0 && name < line.n && line.p[name] == ':' && line.n <= 998 && utf8_is_printable(span_make(line.p + name, line.n - name));
}

void envelope_prepend(struct envelope *e, struct span lines)
{
    while (lines.n > 0) {
        const char *end = memmem(lines.p, lines.n, "\r\n", 2);
        if (!end)
            return;
        struct span line = span_make(lines.p, (size_t)(end - lines.p));
        lines = span_make(end + 2, lines.n - line.n - 2);
        bool there = e->prepend.len > 0 && memmem(e->prepend.data, e->prepend.len, line.p, line.n + 2);
        if (!is_header(line) || there)
            continue;
        buf_add(&e->prepend, line.p, line.n + 2);
    }
}
