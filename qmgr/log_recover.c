/* What the log holds when the spool is opened.
 *
 *   segments by epoch --> batches by sequence --> records
 *
 * A batch counts if its header and all its records check out. Where one does not, three things are possible:
 *   - nothing with a higher sequence follows, here or in a later segment: it was being written when the power went. Nobody was told; the end.
 *   - a later batch follows: this one was flushed once, so the disk has damaged it. Its records that still check out count, one by one.
 *   - the same at the end of a segment whose successor begins with a higher sequence.
 * No segment is written on in a later life, so no two writings ever mix in one (epoch, key). */
#include "qmgr/log_recover.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "qmgr/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct scan {
    struct log *log;
    log_each_fn *each;
    void *arg;
    unsigned slot;
    const unsigned char *data; /* the whole segment */
    uint64_t size;
    uint64_t expected; /* sequence of the next batch */
    uint64_t oldest;   /* the highest that any batch told */
};

/* ---- what is told ------------------------------------------------------------------------------------------------ */

static void log_the_note(const struct log_note *n)
{
    char path[LOG_PATH];
    unsigned long long from = n->from, to = n->to;
    log_path(path, n->slot);
    switch (n->kind) {
    case LOG_NOTE_DAMAGED:
        log_error("spool: %s: damaged between offset %llu and %llu; %u records of it check out and count; what is lost may be in a backup: "
                  "look at the disk, and at it with postino spool check",
                  path, from, to, n->count);
        break;
    case LOG_NOTE_UNREADABLE:
        log_error("spool: %s: %u blocks of it can't be read, and mail in them is not delivered: look at the disk", path, n->count);
        break;
    case LOG_NOTE_SHORT:
        log_error("spool: %s: it is %llu octets long and was %llu", path, from, to);
        break;
    case LOG_NOTE_HEADER:
        log_error("spool: %s: its header is damaged; its batches are read without it", path);
        break;
    case LOG_NOTE_NOTHING:
        log_error("spool: %s: nothing in it can be read as a segment of the log; it stays where it is, and is not used", path);
        break;
    case LOG_NOTE_FOREIGN:
        log_warning("spool: %s is none of ours; ignored", path);
        break;
    case LOG_NOTE_HEADER_COPY:
    case LOG_NOTE_END:
        break;
    }
}

static void tell(const struct log *log, struct log_note note)
{
    if (log->note)
        log->note(&note, log->note_arg);
    else
        log_the_note(&note);
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

uint64_t log_record_at(const unsigned char *data, uint64_t size, uint64_t offset, uint64_t key, struct spool_record *r)
{
    const unsigned char *p = data + offset;
    if (size - offset < SPOOL_RECORD_HEADER || !spool_record_decode(p, r))
        return 0;
    uint64_t room = size - offset - SPOOL_RECORD_HEADER;
    if (r->key != key || r->offset != offset || r->type < SPOOL_MSG || r->type > SPOOL_TOLD)
        return 0;
    if (r->body > room || r->rest > room - r->body)
        return 0;
    p += SPOOL_RECORD_HEADER;
    if (r->body_crc != crc32c(0, p, (size_t)r->body) || r->rest_crc != crc32c(0, p + r->body, r->rest))
        return 0;
    return log_record_octets(r->body, r->rest);
}

static uint64_t record_at(const struct scan *s, uint64_t offset, struct spool_record *r)
{
    return log_record_at(s->data, s->size, offset, s->log->segments[s->slot].key, r);
}

static void give(const struct scan *s, const struct spool_record *r)
{
    const char *p = (const char *)s->data + r->offset + SPOOL_RECORD_HEADER;
    struct log_place at = {.segment = (uint8_t)s->slot, .offset = (uint32_t)r->offset};
    s->each(r, span_make(p + r->body, r->rest), at, s->arg);
}

static bool batch_at(const struct scan *s, uint64_t offset, struct log_batch_header *h)
{
    const struct log_segment *g = &s->log->segments[s->slot];
    return s->size - offset >= LOG_HEADER && log_batch_decode(s->data + offset, h) && h->epoch == g->epoch && h->key == g->key &&
           h->length <= s->size - offset;
}

static bool records_good(const struct scan *s, uint64_t offset, const struct log_batch_header *h)
{
    uint64_t at = offset + LOG_HEADER, end = offset + h->length;
    for (uint32_t i = 0; i < h->count; i++) {
        struct spool_record r;
        uint64_t n = at < end ? record_at(s, at, &r) : 0;
        if (n == 0 || n > end - at)
            return false;
        at += n;
    }
    return at == end;
}

static void give_batch(struct scan *s, uint64_t offset, const struct log_batch_header *h)
{
    uint64_t at = offset + LOG_HEADER;
    for (uint32_t i = 0; i < h->count; i++) {
        struct spool_record r;
        at += record_at(s, at, &r);
        give(s, &r);
    }
    if (h->oldest > s->oldest)
        s->oldest = h->oldest;
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static void salvage(struct scan *s, uint64_t from, uint64_t to)
{
    unsigned records = 0;
    uint64_t message_end = 0;
    for (uint64_t at = from; at < to;) {
        struct spool_record r;
        uint64_t n = record_at(s, at, &r);
        if (n > 0 && (r.type != SPOOL_TOLD || at == message_end)) {
            give(s, &r);
            records++;
        }
        at += n > 0 ? n : LOG_ALIGN;
        if (n > 0 && r.type == SPOOL_MSG)
            message_end = at;
    }
    tell(s->log, (struct log_note){.kind = LOG_NOTE_DAMAGED, .slot = s->slot, .from = from, .to = to, .count = records, .data = s->data});
}

/* The next batch header that checks out, at or behind an offset; 0: none. */
static uint64_t next_batch(const struct scan *s, uint64_t offset)
{
    struct log_batch_header h;
    for (; offset < s->size; offset += LOG_BLOCK) {
        if (batch_at(s, offset, &h) && h.sequence > s->expected)
            return offset;
    }
    return 0;
}

/* ---- a segment --------------------------------------------------------------------------------------------------- */

static void scan_batches(struct scan *s, uint64_t next_first /* the next segment's first sequence; 0: this is the last */)
{
    uint64_t at = LOG_BLOCK;
    struct log_batch_header h;
    while (at < s->size) {
        if (batch_at(s, at, &h) && h.sequence == s->expected && records_good(s, at, &h)) {
            give_batch(s, at, &h);
            s->expected++;
            at += log_aligned(h.length, LOG_BLOCK);
            continue;
        }
        uint64_t next = next_batch(s, at);
        if (next == 0)
            break;
        salvage(s, at, next);
        at = next;
        if (batch_at(s, at, &h))
            s->expected = h.sequence;
    }
    if (next_first > s->expected && at < s->size)
        salvage(s, at, s->size);
    else
        tell(s->log,
             (struct log_note){.kind = LOG_NOTE_END, .slot = s->slot, .from = at, .to = s->size, .count = next_first > 0, .data = s->data});
}

/* What can't be read is taken for zeros, block by block. */
static unsigned read_segment(int fd, unsigned char *data, uint64_t size)
{
    unsigned unreadable = 0;
    if (disk_read(fd, data, (size_t)size, 0) == 0)
        return 0;
    for (uint64_t at = 0; at < size; at += LOG_BLOCK) {
        size_t n = size - at < LOG_BLOCK ? (size_t)(size - at) : LOG_BLOCK;
        if (disk_read(fd, data + at, n, at) != 0) {
            memset(data + at, 0, n);
            unreadable++;
        }
    }
    return unreadable;
}

/* NULL: the error is filled. */
static unsigned char *load_segment(struct scan *s, unsigned slot, struct error *error)
{
    struct log_segment *g = &s->log->segments[slot];
    char path[LOG_PATH];
    log_path(path, slot);
    if (disk->size(g->fd, &s->size) != 0) {
        error_set(error, "spool: %s: %s", path, strerror(errno));
        return NULL;
    }
    if (s->size > g->size)
        s->size = g->size;
    unsigned char *data = malloc((size_t)s->size + 1);
    if (!data)
        error_set(error, "spool: %s: no memory to read it", path);
    s->data = data;
    s->slot = slot;
    s->expected = g->first;
    return data;
}

/* The last batch of the newest segment says from where on there may be anything alive: what is older is not looked at, as what ended its mail may
 * be gone. */
static int learn_oldest(struct scan *s, unsigned slot, struct error *error)
{
    struct log_batch_header h;
    unsigned char *data = load_segment(s, slot, error);
    if (!data)
        return -1;
    read_segment(s->log->segments[slot].fd, data, s->size);
    for (uint64_t at = LOG_BLOCK; at < s->size && batch_at(s, at, &h) && h.sequence == s->expected && records_good(s, at, &h);
         at += log_aligned(h.length, LOG_BLOCK)) {
        s->expected++;
        if (h.oldest > s->oldest)
            s->oldest = h.oldest;
    }
    free(data);
    return 0;
}

static int scan_segment(struct scan *s, unsigned slot, uint64_t next_first, struct error *error)
{
    struct log_segment *g = &s->log->segments[slot];
    unsigned char *data = load_segment(s, slot, error);
    if (!data)
        return -1;
    unsigned unreadable = read_segment(g->fd, data, s->size);
    g->unreadable = unreadable > 0;
    if (unreadable > 0)
        tell(s->log, (struct log_note){.kind = LOG_NOTE_UNREADABLE, .slot = slot, .count = unreadable});
    if (s->size < g->size)
        tell(s->log, (struct log_note){.kind = LOG_NOTE_SHORT, .slot = slot, .from = s->size, .to = g->size});
    scan_batches(s, next_first);
    free(data);
    return 0;
}

/* ---- which segments there are ------------------------------------------------------------------------------------ */

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

/* Both copies of its header are lost: the batches say themselves what use they are of. The latest counts. A single batch behind a header block
 * of zeros is another thing: the segment's first write, which was never complete. */
static bool header_from_batches(struct log_segment *g, uint64_t size, bool zeros)
{
    unsigned char block[LOG_HEADER];
    struct log_batch_header h;
    unsigned batches = 0;
    g->epoch = 0;
    for (uint64_t at = LOG_BLOCK; at + LOG_BLOCK <= size; at += LOG_BLOCK) {
        if (disk_read(g->fd, block, sizeof block, at) != 0 || !log_batch_decode(block, &h) || h.epoch < g->epoch)
            continue;
        batches++;
        if (h.epoch == g->epoch)
            continue;
        *g = (struct log_segment){
            .state = LOG_FULL, .fd = g->fd, .size = (uint32_t)size, .epoch = h.epoch, .key = h.key, .first = h.sequence};
    }
    if (g->epoch > 0 && (batches > 1 || !zeros))
        return true;
    *g = (struct log_segment){.fd = g->fd};
    return false;
}

static void take_segment(struct log *log, unsigned slot, int fd, uint64_t size, uint64_t *oldest)
{
    struct log_segment *g = &log->segments[slot];
    unsigned char block[LOG_BLOCK] = {0};
    struct log_segment_header h;
    *g = (struct log_segment){.fd = fd};
    int status = size < LOG_BLOCK ? 0 : disk_read(fd, block, sizeof block, 0);
    if (status == 0 && size >= LOG_BLOCK && log_segment_decode(block, &h) && h.number == slot) {
        g->state = LOG_FULL;
        g->size = h.size;
        g->epoch = h.epoch;
        g->key = h.key;
        g->first = h.first;
        if (h.oldest > *oldest)
            *oldest = h.oldest;
        if (memcmp(block, block + LOG_HEADER_COPY, LOG_HEADER) != 0)
            tell(log, (struct log_note){.kind = LOG_NOTE_HEADER_COPY, .slot = slot});
        return;
    }
    bool zeros = status == 0 && all_zero(block, sizeof block);
    if (size > LOG_SEGMENT_MOST || size % LOG_BLOCK != 0 || !header_from_batches(g, size, zeros)) {
        g->size = size > LOG_SEGMENT_MOST ? 0 : (uint32_t)size;
        g->state = zeros ? LOG_FREE : LOG_FOREIGN;
        if (g->state == LOG_FOREIGN)
            tell(log, (struct log_note){.kind = LOG_NOTE_NOTHING, .slot = slot});
    } else {
        tell(log, (struct log_note){.kind = LOG_NOTE_HEADER, .slot = slot});
    }
}

static int open_segment(struct log *log, unsigned slot, uint64_t *oldest, struct error *error)
{
    char path[LOG_PATH];
    uint64_t size = 0;
    log_path(path, slot);
    int fd = disk->openat(log->directory, path, (log->read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK, 0);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && errno != ELOOP && errno != EISDIR && errno != ENXIO)
        return error_set(error, "spool: %s can't be opened: %s", path, strerror(errno));
    int status = fd < 0 || disk->size(fd, &size) != 0 ? errno : 0;
    if (fd >= 0 && status != 0 && status != EINVAL) {
        disk->close(fd);
        return error_set(error, "spool: %s can't be read: %s", path, strerror(status));
    }
    if (status != 0) {
        log->segments[slot].state = LOG_FOREIGN;
        tell(log, (struct log_note){.kind = LOG_NOTE_FOREIGN, .slot = slot});
        if (fd >= 0)
            disk->close(fd);
        return 0;
    }
    take_segment(log, slot, fd, size, oldest);
    return 0;
}

/* The slot in use with the lowest epoch above one; -1: none. */
static int after(const struct log *log, uint64_t epoch)
{
    int next = -1;
    for (int i = 0; i < LOG_SLOTS; i++) {
        const struct log_segment *g = &log->segments[i];
        if (g->state == LOG_FULL && g->epoch > epoch && (next < 0 || g->epoch < log->segments[next].epoch))
            next = i;
    }
    return next;
}

/* Segments of other sizes (the disk was smaller then, or a segment's making was cut short) are not used again. */
static void drop_misfits(struct log *log)
{
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        struct log_segment *g = &log->segments[slot];
        uint64_t size;
        bool fits = g->state != LOG_FREE || (g->size == log->size && disk->size(g->fd, &size) == 0 && size == g->size);
        if (!fits && g->epoch == 0) /* it was never used */
            log_remove_file(log, slot);
        else if (!fits)
            g->state = LOG_SPENT;
    }
}

int log_scan(struct log *log, log_each_fn *each, void *arg, struct error *error)
{
    struct scan s = {.log = log, .each = each, .arg = arg};
    uint64_t last = 0;
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        if (open_segment(log, slot, &s.oldest, error) != 0)
            return -1;
    }
    int newest = -1;
    for (int slot = after(log, 0); slot >= 0; slot = after(log, log->segments[slot].epoch))
        newest = slot;
    if (newest >= 0 && learn_oldest(&s, (unsigned)newest, error) != 0)
        return -1;
    for (int slot = after(log, s.oldest ? s.oldest - 1 : 0); slot >= 0; slot = after(log, last)) {
        last = log->segments[slot].epoch;
        int next = after(log, last);
        if (scan_segment(&s, (unsigned)slot, next >= 0 ? log->segments[next].first : 0, error) != 0)
            return -1;
        if (s.expected > log->sequence)
            log->sequence = s.expected;
    }
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        struct log_segment *g = &log->segments[slot];
        if (g->epoch >= log->epoch)
            log->epoch = g->epoch + 1;
        if (g->state == LOG_FULL && g->epoch < s.oldest && g->alive == 0)
            g->state = LOG_FREE;
    }
    log->oldest_durable = s.oldest;
    return 0;
}

void log_settle_in(struct log *log)
{
    drop_misfits(log);
    log_release(log);
}
