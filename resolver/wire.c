#include "resolver/wire.h"

#include <string.h>

enum { HEADER = 12, QUESTION_TAIL = 4, RECORD_TAIL = 10, CLASS_IN = 1 };
enum { TLSA_FRONT = 3 /* usage, selector, matching type: RFC 6698 2.1 */ };
enum { LABEL_MAX = 63, NAME_MAX_OCTETS = 255, POINTER = 0xc0 };

static bool get16(const struct wire *w, size_t at, uint16_t *v)
{
    if (at > w->n || w->n - at < 2)
        return false;
    *v = (uint16_t)(w->p[at] << 8 | w->p[at + 1]);
    return true;
}

/* ---- names ------------------------------------------------------------------------------------------------------------------------ */

struct text {
    char *to;
    size_t n;
};

static void put_octet(struct text *t, uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        c |= 0x20;
    char *to = t->to + t->n;
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (plain) {
        *to = (char)c;
        t->n++;
        return;
    }
    to[0] = '\\'; /* not by snprintf: a stranger may have a million of these in one packet */
    to[1] = (char)('0' + c / 100);
    to[2] = (char)('0' + c / 10 % 10);
    to[3] = (char)('0' + c % 10);
    t->n += 4;
}

static void put_label(struct text *t, const uint8_t *p, unsigned n)
{
    if (t->n > 0)
        t->to[t->n++] = '.';
    for (unsigned i = 0; i < n; i++)
        put_octet(t, p[i]);
}

/* Writes the name at `at` into `name` (WIRE_NAME octets) and says in `after` where what follows it begins.
 * A pointer must go below where this run of labels began, so that there can be no loop. */
static bool read_name(const struct wire *w, size_t at, size_t *after, char *name)
{
    struct text text = {.to = name};
    size_t octets = 1, run = at;
    bool jumped = false;
    for (;;) {
        if (at >= w->n)
            return false;
        unsigned n = w->p[at];
        if (n >= POINTER) {
            uint16_t pointer;
            if (!get16(w, at, &pointer))
                return false;
            if (!jumped)
                *after = at + 2;
            jumped = true;
            at = pointer & 0x3fff;
            if (at >= run)
                return false;
            run = at;
            continue;
        }
        if (n > LABEL_MAX || w->n - at - 1 < n)
            return false;
        if (n == 0)
            break;
        octets += n + 1;
        if (octets > NAME_MAX_OCTETS)
            return false;
        put_label(&text, w->p + at + 1, n);
        at += n + 1;
    }
    if (!jumped)
        *after = at + 1;
    text.to[text.n] = '\0';
    return true;
}

/* ---- header and question ---------------------------------------------------------------------------------------------------------- */

bool wire_open(struct wire *w, const void *packet, size_t n)
{
    *w = (struct wire){.p = packet, .n = n};
    uint16_t flags, questions, answers, class;
    size_t at;
    if (!get16(w, 2, &flags) || !get16(w, 4, &questions) || !get16(w, 6, &answers) || n < HEADER)
        return false;
    if ((flags & 0x8000) == 0 || questions != 1)
        return false;
    if (!read_name(w, HEADER, &at, w->asked) || !get16(w, at, &w->asked_type) || !get16(w, at + 2, &class) || class != CLASS_IN)
        return false;
    w->rcode = flags & 15;
    w->truncated = flags & 0x0200;
    w->authentic = flags & 0x0020;
    w->answers = answers;
    w->answers_at = at + QUESTION_TAIL;
    return true;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------------- */

struct raw {
    char owner[WIRE_NAME];
    uint16_t type, class;
    size_t data;
    uint16_t length;
};

static bool read_raw(const struct wire *w, size_t *at, struct raw *r)
{
    size_t after;
    if (!read_name(w, *at, &after, r->owner) || !get16(w, after, &r->type) || !get16(w, after + 2, &r->class) ||
        !get16(w, after + 8, &r->length))
        return false;
    r->data = after + RECORD_TAIL;
    if (w->n - r->data < r->length)
        return false;
    *at = r->data + r->length;
    return true;
}

/* A name that must fill the record's data from `at` to its end. */
static bool read_data_name(const struct wire *w, const struct raw *r, size_t skip, char *name)
{
    size_t after;
    return r->length > skip && read_name(w, r->data + skip, &after, name) && after == r->data + r->length;
}

static bool read_record(const struct wire *w, const struct raw *r, struct wire_record *record)
{
    memset(record, 0, sizeof *record);
    switch (r->type) {
    case WIRE_A:
    case WIRE_AAAA:
        if (r->length != (r->type == WIRE_A ? 4 : 16))
            return false;
        memcpy(record->address, w->p + r->data, r->length);
        return true;
    case WIRE_MX:
        return get16(w, r->data, &record->preference) && read_data_name(w, r, 2, record->name);
    case WIRE_PTR:
    case WIRE_CNAME:
        return read_data_name(w, r, 0, record->name);
    case WIRE_TXT:
    case WIRE_TLSA:
        record->data = w->p + r->data;
        record->length = r->length;
        return r->length >= (r->type == WIRE_TXT ? 1 : TLSA_FRONT);
    default:
        return false;
    }
}

static bool belongs(const struct raw *r, uint16_t type, const char *owner)
{
    return r->type == type && r->class == CLASS_IN && strcmp(r->owner, owner) == 0;
}

/* 1: `name` had a CNAME and now is its target; 0: it has none; -1: malformed. */
static int follow(const struct wire *w, char *name)
{
    size_t at = w->answers_at;
    struct raw raw;
    for (unsigned i = 0; i < w->answers; i++) {
        if (!read_raw(w, &at, &raw))
            return -1;
        if (belongs(&raw, WIRE_CNAME, name))
            return read_data_name(w, &raw, 0, name) ? 1 : -1;
    }
    return 0;
}

/* Any order of the records is taken: the chain is walked first (but for who asked for a CNAME), then what belongs to its end is gathered. */
bool wire_answers(struct wire *w, wire_each_fn *each, void *arg)
{
    char *owner = w->canonical;
    memcpy(owner, w->asked, sizeof w->canonical);
    int step = w->asked_type == WIRE_CNAME ? 0 : 1;
    for (int hops = 0; step == 1; hops++) {
        if (hops > WIRE_CHAIN)
            return false;
        step = follow(w, owner);
    }
    size_t at = w->answers_at;
    struct raw raw;
    struct wire_record record;
    for (unsigned i = 0; step == 0 && i < w->answers; i++) {
        if (!read_raw(w, &at, &raw))
            return false;
        if (!belongs(&raw, w->asked_type, owner))
            continue;
        if (!read_record(w, &raw, &record))
            return false;
        each(&record, arg);
    }
    return step == 0;
}

void wire_text(const struct wire_record *r, struct buf *out)
{
    for (size_t at = 0; at < r->length; at += r->data[at] + 1u) {
        size_t n = r->data[at], left = r->length - at - 1u;
        buf_add(out, r->data + at + 1, n < left ? n : left);
    }
}
