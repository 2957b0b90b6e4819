/* One message, read back from the log. */
#include "common/crc32c.h"
#include "qmgr/disk.h"
#include "qmgr/log_store.h"

#include <errno.h>
#include <stdlib.h>

static enum spool_file_verdict verdict(struct spool_file *f, enum spool_file_verdict v, const char *why)
{
    f->why = why;
    return v;
}

/* 0: it is there, and of this use of its segment; EBADMSG; or an errno. */
static int read_header(const struct log *log, uint64_t id, struct log_place at, bool message, struct spool_record *r)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    if (at.segment >= LOG_SLOTS || !log_in_use(&log->segments[at.segment]))
        return EBADMSG;
    const struct log_segment *g = &log->segments[at.segment];
    if (at.offset < LOG_BLOCK || at.offset > g->size - SPOOL_RECORD_HEADER)
        return EBADMSG;
    int status = disk_read(g->fd, header, sizeof header, at.offset);
    if (status != 0)
        return status;
    if (!spool_record_decode(header, r) || (r->type == SPOOL_MSG) != message || r->id != id || r->offset != at.offset || r->key != g->key)
        return EBADMSG;
    return r->body <= g->size && r->rest <= g->size && at.offset + SPOOL_RECORD_HEADER + r->body + r->rest <= g->size ? 0 : EBADMSG;
}

static int read_part(const struct log *log, struct log_place at, uint64_t skip, uint64_t n, uint32_t crc, struct buf *out)
{
    if (!buf_reserve(out, (size_t)n + 1))
        return ENOMEM;
    int status = disk_read(log->segments[at.segment].fd, out->data + out->len, (size_t)n, at.offset + SPOOL_RECORD_HEADER + skip);
    if (status != 0)
        return status;
    if (crc32c(0, out->data + out->len, (size_t)n) != crc)
        return EBADMSG;
    out->len += (size_t)n;
    return 0;
}

struct chain {
    struct log_place at;
    struct spool_record record;
};

/* Links lead back in time only: so there is no way round in circles. */
static bool before(const struct log *log, struct log_place a, struct log_place b)
{
    if (a.segment == b.segment)
        return a.offset < b.offset;
    return a.segment < LOG_SLOTS && log->segments[a.segment].epoch < log->segments[b.segment].epoch;
}

/* Newest first, as the links go. A link that does not check out ends it: what stood before counts as not settled, and is tried again. */
static int read_chain(const struct log *log, uint64_t id, struct log_place at, struct buf *links, bool *broken)
{
    *broken = false;
    while (at.segment != LOG_NOWHERE) {
        struct chain c = {.at = at};
        int status = read_header(log, id, at, false, &c.record);
        *broken = status == EBADMSG;
        if (*broken)
            break;
        if (status != 0)
            return status;
        buf_add(links, &c, sizeof c);
        at = log_place_decode(c.record.previous);
        *broken = at.segment != LOG_NOWHERE && !before(log, at, c.at);
        if (*broken)
            break;
    }
    return links->failed ? ENOMEM : 0;
}

/* Appends the states to `out`, oldest first. */
static int read_states(const struct log *log, uint64_t id, struct log_place settled, struct buf *out, bool *broken)
{
    struct buf links = BUF_EMPTY(SIZE_MAX);
    int status = read_chain(log, id, settled, &links, broken);
    for (size_t n = links.len / sizeof(struct chain); n > 0 && status == 0; n--) {
        struct chain c;
        memcpy(&c, links.data + (n - 1) * sizeof c, sizeof c);
        status = read_part(log, c.at, c.record.body, c.record.rest, c.record.rest_crc, out);
        if (status == EBADMSG) {
            *broken = true;
            status = 0;
        }
    }
    buf_free(&links);
    return status;
}

static enum spool_file_verdict failed(struct spool_file *f, int status, const char *what)
{
    return status == EBADMSG ? verdict(f, SPOOL_FILE_BAD, what) : verdict(f, SPOOL_FILE_UNREADABLE, strerror(status));
}

static enum spool_file_verdict load(const struct log *log, uint64_t id, struct log_place at, struct log_place settled, struct spool_file *f,
                                    struct buf *body, struct buf *rest, uint32_t *envelope)
{
    struct spool_record r;
    int status = read_header(log, id, at, true, &r);
    if (status != 0)
        return failed(f, status, "its header is damaged");
    if (body && (status = read_part(log, at, 0, r.body, r.body_crc, body)) != 0)
        return failed(f, status, "the checksum of its body is wrong");
    if ((status = read_part(log, at, r.body, r.rest, r.rest_crc, rest)) != 0)
        return failed(f, status, "the checksum of its envelope is wrong");
    *envelope = r.rest;
    if ((status = read_states(log, id, settled, rest, &f->torn)) != 0)
        return failed(f, status, "");
    f->rest = rest->data; /* spool_file_free() frees it */
    enum spool_file_verdict v = spool_file_decode(f, &r);
    struct span states = {rest->data + r.rest, rest->len - r.rest};
    if (v == SPOOL_FILE_GOOD && !spool_states_decode(states, f->states, f->envelope.recipients.count))
        f->torn = true;
    return v;
}

enum spool_file_verdict log_load(const struct log *log, uint64_t id, struct log_place at, struct log_place settled, struct spool_file *f,
                                 struct log_raw *raw)
{
    uint32_t envelope_octets = 0;
    struct buf rest = BUF_EMPTY(SIZE_MAX);
    *f = (struct spool_file){.recipients = BUF_EMPTY(0)};
    enum spool_file_verdict v = load(log, id, at, settled, f, raw ? &raw->body : NULL, &rest, &envelope_octets);
    f->rest = rest.data;
    if (v == SPOOL_FILE_GOOD && raw)
        raw->envelope = span_make(rest.data, envelope_octets);
    return v;
}
