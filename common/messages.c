#include "common/messages.h"

#include <inttypes.h>

/* ---- what messages.def says of each message, as a table ------------------------------------------------------------------------ */

enum message_flags { REPEAT = 1, DESCRIPTOR = 2 };

struct definition {
    enum message_type type;
    const char *name;
    enum protocol protocol;
    enum side side;
    unsigned flags;
    size_t most; /* octets of its fields */
};

/* What a field can be long. A message of numbers alone is never long, and nobody may make us gather one that is. */
#define MOST_u16 2
#define MOST_u32 4
#define MOST_u64 8
#define MOST_text FRAME_MAX
#define MOST_bytes FRAME_MAX
#define MOST_OF(type, name) +MOST_##type
#define MOST_OF_LIST(record, name) +FRAME_MAX

static const struct definition definitions[] = {
#define MESSAGE(NAME, name, number, protocol, side, flags)                                                                                 \
    [MESSAGE_##NAME] = {MESSAGE_##NAME, #NAME, PROTOCOL_##protocol, SIDE_##side, flags, 0 FIELDS_##NAME(MOST_OF, MOST_OF_LIST)},
#include "common/messages.def"
#undef MESSAGE
};

static const struct definition *definition_of(unsigned type)
{
    if (type >= sizeof(definitions) / sizeof(definitions[0]) || definitions[type].name == NULL)
        return NULL;
    return &definitions[type];
}

const char *message_name(enum message_type type)
{
    const struct definition *d = definition_of(type);
    return d ? d->name : "?";
}

bool message_repeatable(enum message_type type)
{
    const struct definition *d = definition_of(type);
    return d && (d->flags & REPEAT);
}

/* ---- encoding ------------------------------------------------------------------------------------------------------------------ */

static void put_u16(struct buf *b, uint16_t v)
{
    buf_add_u16(b, v);
}

static void put_u32(struct buf *b, uint32_t v)
{
    buf_add_u32(b, v);
}

static void put_u64(struct buf *b, uint64_t v)
{
    buf_add_u64(b, v);
}

static void put_bytes(struct buf *b, struct span v)
{
    if (v.n > FRAME_MAX) {
        b->failed = true;
        return;
    }
    buf_add_u32(b, (uint32_t)v.n);
    buf_add_span(b, v);
}

static bool is_text(struct span v)
{
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '\0' || v.p[i] == '\r' || v.p[i] == '\n')
            return false;
    }
    return true;
}

/* What the other side's door would refuse is not sent: it would cost us the channel. */
static void put_text(struct buf *b, struct span v)
{
    if (!is_text(v))
        b->failed = true;
    put_bytes(b, v);
}

static void put_list(struct buf *b, struct list v)
{
    buf_add_u32(b, v.count);
    put_bytes(b, v.bytes);
}

#define PUT_RECORD_FIELD(type, name) put_##type(b, r->name);
#define RECORD(name)                                                                                                                       \
    void record_##name##_add(struct buf *b, const struct record_##name *r)                                                                 \
    {                                                                                                                                      \
        RECORD_##name(PUT_RECORD_FIELD)                                                                                                    \
    }
#include "common/messages.def"
#undef RECORD

#define PUT_FIELD(type, name) put_##type(b, m->name);
#define PUT_LIST(record, name) put_list(b, m->name);
#define MESSAGE(NAME, name, number, protocol, side, flags)                                                                                 \
    static void put_##NAME(struct buf *b, const struct message_##name *m)                                                                  \
    {                                                                                                                                      \
        FIELDS_##NAME(PUT_FIELD, PUT_LIST)                                                                                                 \
    }
#include "common/messages.def"
#undef MESSAGE

static void put_fields(struct buf *b, const struct message *m)
{
    switch (m->type) {
#define MESSAGE(NAME, name, number, protocol, side, flags)                                                                                 \
    case MESSAGE_##NAME:                                                                                                                   \
        put_##NAME(b, &m->name);                                                                                                           \
        break;
#include "common/messages.def"
#undef MESSAGE
    }
}

static void store_u32(char *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(v >> (8 * i));
}

bool message_encode(struct buf *b, const struct message *m)
{
    size_t start = b->len;
    bool failed_before = b->failed;
    buf_add_u32(b, 0);
    buf_add_u16(b, (uint16_t)m->type);
    buf_add_u16(b, m->fd >= 0 ? 1 : 0);
    buf_add_u32(b, m->id);
    put_fields(b, m);
    if (b->failed || b->len - start > FRAME_HEADER + FRAME_MAX) {
        b->len = start;
        b->failed = failed_before;
        return false;
    }
    store_u32(b->data + start, (uint32_t)(b->len - start - FRAME_HEADER));
    return true;
}

/* ---- decoding: the door -------------------------------------------------------------------------------------------------------- */

static bool get_number(struct span *in, size_t octets, uint64_t *v)
{
    if (in->n < octets)
        return false;
    *v = 0;
    for (size_t i = 0; i < octets; i++)
        *v |= (uint64_t)(unsigned char)in->p[i] << (8 * i);
    in->p += octets;
    in->n -= octets;
    return true;
}

static bool get_u16(struct span *in, uint16_t *v)
{
    uint64_t wide;
    bool ok = get_number(in, 2, &wide);
    *v = ok ? (uint16_t)wide : 0;
    return ok;
}

static bool get_u32(struct span *in, uint32_t *v)
{
    uint64_t wide;
    bool ok = get_number(in, 4, &wide);
    *v = ok ? (uint32_t)wide : 0;
    return ok;
}

static bool get_u64(struct span *in, uint64_t *v)
{
    bool ok = get_number(in, 8, v);
    if (!ok)
        *v = 0;
    return ok;
}

static bool get_bytes(struct span *in, struct span *v)
{
    uint32_t n;
    *v = span_make("", 0);
    if (!get_u32(in, &n) || n > in->n)
        return false;
    *v = span_make(in->p, n);
    in->p += n;
    in->n -= n;
    return true;
}

static bool get_text(struct span *in, struct span *v)
{
    return get_bytes(in, v) && is_text(*v);
}

#define GET_RECORD_FIELD(type, name) ok = ok && get_##type(in, &r->name);
#define RECORD(name)                                                                                                                       \
    static bool get_record_##name(struct span *in, struct record_##name *r)                                                                \
    {                                                                                                                                      \
        bool ok = true;                                                                                                                    \
        memset(r, 0, sizeof(*r));                                                                                                          \
        RECORD_##name(GET_RECORD_FIELD) return ok;                                                                                         \
    }                                                                                                                                      \
    bool record_##name##_next(struct list *l, struct record_##name *r)                                                                     \
    {                                                                                                                                      \
        if (l->count == 0 || !get_record_##name(&l->bytes, r))                                                                             \
            return false;                                                                                                                  \
        l->count--;                                                                                                                        \
        return true;                                                                                                                       \
    }                                                                                                                                      \
    static bool get_list_##name(struct span *in, struct list *l)                                                                           \
    {                                                                                                                                      \
        memset(l, 0, sizeof(*l));                                                                                                          \
        uint32_t count;                                                                                                                    \
        struct span bytes;                                                                                                                 \
        if (!get_u32(in, &count) || !get_bytes(in, &bytes))                                                                                \
            return false;                                                                                                                  \
        struct span walk = bytes;                                                                                                          \
        struct record_##name r;                                                                                                            \
        for (uint32_t i = 0; i < count; i++) {                                                                                             \
            if (!get_record_##name(&walk, &r))                                                                                             \
                return false;                                                                                                              \
        }                                                                                                                                  \
        *l = (struct list){count, bytes};                                                                                                  \
        return walk.n == 0;                                                                                                                \
    }
#include "common/messages.def"
#undef RECORD

#define GET_FIELD(type, name) ok = ok && get_##type(in, &m->name);
#define GET_LIST(record, name) ok = ok && get_list_##record(in, &m->name);
#define MESSAGE(NAME, name, number, protocol, side, flags)                                                                                 \
    static bool get_##NAME(struct span *in, struct message_##name *m)                                                                      \
    {                                                                                                                                      \
        bool ok = true;                                                                                                                    \
        FIELDS_##NAME(GET_FIELD, GET_LIST) return ok && in->n == 0;                                                                        \
    }
#include "common/messages.def"
#undef MESSAGE

static bool get_fields(struct span in, struct message *m)
{
    switch (m->type) {
#define MESSAGE(NAME, name, number, protocol, side, flags)                                                                                 \
    case MESSAGE_##NAME:                                                                                                                   \
        return get_##NAME(&in, &m->name);
#include "common/messages.def"
#undef MESSAGE
    }
    return false;
}

int message_decode(struct span in, unsigned protocols, enum side from, struct message *out, size_t *used, bool *wants_fd,
                   struct error *error)
{
    uint32_t length, id;
    uint16_t type, flags;
    struct span rest = in;
    if (in.n < FRAME_HEADER)
        return 0;
    get_u32(&rest, &length);
    get_u16(&rest, &type);
    get_u16(&rest, &flags);
    get_u32(&rest, &id);
    if (length > FRAME_MAX)
        return error_set(error, "frame of %" PRIu32 " bytes, at most %zu are allowed", length, FRAME_MAX);
    const struct definition *d = definition_of(type);
    if (d == NULL || !(protocols & (1u << d->protocol)) || d->side != from)
        return error_set(error, "message of type %u does not belong to this edge", (unsigned)type);
    if (flags > 1 || (flags == 1 && !(d->flags & DESCRIPTOR)))
        return error_set(error, "%s with flags %u", d->name, (unsigned)flags);
    if (length > d->most)
        return error_set(error, "%s of %" PRIu32 " bytes", d->name, length);
    if (rest.n < length)
        return 0;
    out->type = d->type;
    out->id = id;
    out->fd = -1;
    out->fd_lost = false;
    if (!get_fields(span_make(rest.p, length), out))
        return error_set(error, "malformed %s of %" PRIu32 " bytes", d->name, length);
    *used = FRAME_HEADER + length;
    *wants_fd = flags == 1;
    return 1;
}
