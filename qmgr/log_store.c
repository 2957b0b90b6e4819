#include "qmgr/log_store.h"
#include "common/crc32c.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define SLICE ((uint32_t)1 << 20)

void log_init(struct log *log, int directory, uint32_t size)
{
    *log = (struct log){.directory = directory, .size = size, .open = -1, .epoch = 1, .sequence = 1, .batch = BUF_EMPTY(SIZE_MAX)};
    for (unsigned i = 0; i < LOG_SLOTS; i++)
        log->segments[i].fd = -1;
}

void log_free(struct log *log)
{
    for (unsigned i = 0; i < LOG_SLOTS; i++) {
        if (log->segments[i].fd >= 0)
            disk->close(log->segments[i].fd);
        free(log->segments[i].ids);
    }
    buf_free(&log->batch);
}

void log_path(char out[LOG_PATH], unsigned slot)
{
    snprintf(out, LOG_PATH, "log/%02x", slot & 0xff);
}

uint64_t log_place_encode(struct log_place p)
{
    return p.segment == LOG_NOWHERE ? 0 : (uint64_t)(p.segment + 1) << 32 | p.offset;
}

struct log_place log_place_decode(uint64_t n)
{
    if (n >> 32 == 0 || n >> 32 > LOG_SLOTS)
        return (struct log_place){.segment = LOG_NOWHERE};
    return (struct log_place){.segment = (uint8_t)((n >> 32) - 1), .offset = (uint32_t)n};
}

/* ---- which segment ----------------------------------------------------------------------------------------------- */

bool log_in_use(const struct log_segment *g)
{
    return g->state == LOG_OPEN || g->state == LOG_FULL || g->state == LOG_RETIRED;
}

int log_oldest(const struct log *log)
{
    int oldest = -1;
    for (int i = 0; i < LOG_SLOTS; i++) {
        if (log_in_use(&log->segments[i]) && (oldest < 0 || log->segments[i].epoch < log->segments[oldest].epoch))
            oldest = i;
    }
    return oldest;
}

unsigned log_count(const struct log *log, enum log_segment_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < LOG_SLOTS; i++)
        n += log->segments[i].state == state;
    return n;
}

unsigned log_count_in_use(const struct log *log)
{
    unsigned n = 0;
    for (unsigned i = 0; i < LOG_SLOTS; i++)
        n += log_in_use(&log->segments[i]);
    return n;
}

/* A freed segment is overwritten only after a flushed batch has said that it is free: else a torn first batch would leave the half of its
 * old records standing, and what they say undone. */
static bool is_free(const struct log *log, const struct log_segment *g)
{
    return g->state == LOG_FREE && (g->epoch == 0 || g->epoch < log->oldest_durable);
}

static bool two_are_free(const struct log *log)
{
    unsigned n = 0;
    for (int i = 0; i < LOG_SLOTS; i++)
        n += is_free(log, &log->segments[i]);
    return n > 1;
}

static int next_free(const struct log *log)
{
    int next = -1;
    for (int i = 0; i < LOG_SLOTS; i++) {
        const struct log_segment *g = &log->segments[i];
        if (!is_free(log, g))
            continue;
        if (next < 0 || g->epoch < log->segments[next].epoch)
            next = i;
    }
    return next;
}

uint64_t log_record_octets(uint64_t body, uint64_t rest)
{
    return log_aligned(SPOOL_RECORD_HEADER + body + rest, LOG_ALIGN);
}

uint64_t log_largest(const struct log *log)
{
    return log->size == 0 ? 0 : log->size - LOG_BLOCK - LOG_HEADER;
}

struct log_room log_room(const struct log *log, uint64_t least)
{
    int next = next_free(log);
    uint64_t left = log->open < 0 ? 0 : log->segments[log->open].size - log->at;
    if (left >= LOG_HEADER + least)
        return (struct log_room){.octets = left - LOG_HEADER, .last = next < 0};
    if (next >= 0 && log->segments[next].size - LOG_BLOCK >= LOG_HEADER + least)
        return (struct log_room){.octets = log->segments[next].size - LOG_BLOCK - LOG_HEADER, .rotate = true, .last = !two_are_free(log)};
    return (struct log_room){0};
}

void log_add_id(struct log *log, unsigned slot, uint64_t id)
{
    struct log_segment *g = &log->segments[slot];
    if (g->id_count == g->id_room) {
        g->id_room = g->id_room ? g->id_room * 2 : 256;
        g->ids = memory_must(realloc(g->ids, g->id_room * sizeof *g->ids));
    }
    g->ids[g->id_count++] = id;
    g->alive++;
}

void log_remove_file(struct log *log, unsigned slot)
{
    char path[LOG_PATH];
    struct log_segment *g = &log->segments[slot];
    log_path(path, slot);
    if (disk->unlinkat(log->directory, path) != 0 && errno != ENOENT)
        log_error("spool: %s can't be removed: %s", path, strerror(errno));
    if (g->fd >= 0)
        disk->close(g->fd);
    free(g->ids);
    *g = (struct log_segment){.fd = -1};
}

static int flush_directory(const struct log *log, const char *path)
{
    int fd = disk->openat(log->directory, path, O_RDONLY | O_DIRECTORY, 0);
    int status = fd < 0 || disk->fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        disk->close(fd);
    return status;
}

/* What could not be read may be readable some day: it is kept for a person to look at, out of the way. That is on disk before anything says that
 * the segment is free. False: not now. */
static bool set_aside(const struct log *log, unsigned slot)
{
    static time_t told;
    char path[LOG_PATH], to[LOG_PATH + 32];
    log_path(path, slot);
    snprintf(to, sizeof to, "bad/log-%02x-%llu", slot, (unsigned long long)log->segments[slot].epoch);
    int status = disk->linkat(log->directory, path, to) == 0 || errno == EEXIST ? flush_directory(log, "bad") : errno;
    if (status == 0)
        log_error("spool: %s: it could not be read in full, and has been set aside as %s: look at it, and at the disk", path, to);
    else if (time(NULL) > told + 60)
        log_error("spool: %s could not be read in full, and can't be set aside as %s: %s; it is kept until it can", path, to,
                  strerror(status));
    told = status == 0 ? 0 : time(NULL);
    return status == 0;
}

/* Not before that is on disk: a crash might leave an older segment, and not this one with what it says of the mail there. */
static void drop_spent(struct log *log)
{
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        const struct log_segment *g = &log->segments[slot];
        if (g->state == LOG_SPENT && g->epoch < log->oldest_durable)
            log_remove_file(log, slot);
    }
}

void log_release(struct log *log)
{
    for (int oldest; (oldest = log_oldest(log)) >= 0;) {
        struct log_segment *g = &log->segments[oldest];
        if (g->alive > 0 || g->state == LOG_OPEN || (g->unreadable && !set_aside(log, (unsigned)oldest)))
            break;
        bool again = g->state == LOG_FULL && g->size == log->size && !g->unreadable;
        g->state = again ? LOG_FREE : LOG_SPENT;
        g->id_count = g->id_next = 0;
    }
    drop_spent(log);
}

/* ---- a batch ----------------------------------------------------------------------------------------------------- */

static void pad(struct buf *b, uint64_t to)
{
    static const char zeros[LOG_BLOCK];
    buf_add(b, zeros, (size_t)(log_aligned(b->len, to) - b->len));
}

/* What is being laid out: `base` is where the buffer's first octet goes in the segment. */
struct layout {
    struct log *log;
    unsigned slot;
    uint64_t base, key;
    uint32_t count;
};

static struct log_place add_record(struct layout *l, struct spool_record *r, struct span body, struct span rest)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    struct buf *b = &l->log->batch;
    struct log_place at = {.segment = (uint8_t)l->slot, .offset = (uint32_t)(l->base + b->len)};
    r->offset = at.offset;
    r->key = l->key;
    spool_record_encode(r, header);
    buf_add(b, header, sizeof header);
    buf_add_span(b, body);
    buf_add_span(b, rest);
    pad(b, LOG_ALIGN);
    l->count++;
    return at;
}

static struct log_place add_settlement(struct layout *l, enum spool_record_type type, uint64_t id, struct log_place previous,
                                       const struct buf *states)
{
    struct spool_record r = {.type = (uint16_t)type, .id = id, .rest = (uint32_t)states->len, .previous = log_place_encode(previous)};
    r.rest_crc = crc32c(0, states->data, states->len);
    return add_record(l, &r, (struct span){0}, buf_span(states));
}

static void add_op(struct layout *l, struct spool_op *op)
{
    struct spool_record r = {.id = op->id};
    switch (op->kind) {
    case SPOOL_OP_PUT:
        if (!spool_record_decode(op->header, &r))
            log_die("spool: a header of our own can't be read");
        op->at = add_record(l, &r, buf_span(&op->body), buf_span(&op->tail));
        if (op->with_log)
            op->with_at = add_settlement(l, SPOOL_TOLD, op->parent, op->previous, &op->with);
        break;
    case SPOOL_OP_SETTLE:
        op->at = add_settlement(l, SPOOL_SETTLE, op->id, op->previous, &op->body);
        break;
    case SPOOL_OP_REMOVE:
        r.type = SPOOL_REMOVE;
        op->at = add_record(l, &r, (struct span){0}, (struct span){0});
        break;
    case SPOOL_OP_FORGET: /* a settlement of nothing, which links to the last that counts, takes back the one that came with it */
        r.type = SPOOL_REMOVE;
        op->at = add_record(l, &r, (struct span){0}, (struct span){0});
        if (op->with_log)
            op->with_at = add_settlement(l, SPOOL_SETTLE, op->parent, op->before, &op->with);
        break;
    case SPOOL_OP_MOVE:
        r.type = SPOOL_MOVED;
        op->at = add_record(l, &r, (struct span){0}, (struct span){0});
        break;
    case SPOOL_OP_APPEND:
    case SPOOL_OP_DROP:
        break;
    }
}

static int rotate(struct log *log)
{
    int next = next_free(log);
    if (next < 0)
        return ENOSPC;
    if (log->open >= 0)
        log->segments[log->open].state = LOG_FULL;
    struct log_segment *g = &log->segments[next];
    g->state = LOG_OPEN;
    g->epoch = log->epoch++;
    g->first = log->sequence;
    g->id_count = g->id_next = 0;
    if (getrandom(&g->key, sizeof g->key, 0) != sizeof g->key)
        log_die("no random numbers: %s", strerror(errno));
    log->open = next;
    log->at = LOG_BLOCK;
    return 0;
}

static uint64_t oldest_epoch(const struct log *log)
{
    int oldest = log_oldest(log);
    return oldest < 0 ? log->epoch : log->segments[oldest].epoch;
}

/* The buffer: the segment's header block, if this batch begins it; the batch's header, its records, zeros up to the next block. */
static void lay_out(struct log *log, struct spool_ops *ops, bool begins, uint64_t oldest)
{
    struct log_segment *g = &log->segments[log->open];
    unsigned char header[LOG_BLOCK];
    struct layout l = {.log = log, .slot = (unsigned)log->open, .base = begins ? 0 : log->at, .key = g->key};
    buf_clear(&log->batch);
    if (begins) {
        log_segment_encode(
            &(struct log_segment_header){
                .number = l.slot, .size = g->size, .epoch = g->epoch, .key = g->key, .first = g->first, .oldest = oldest},
            header);
        buf_add(&log->batch, header, LOG_BLOCK);
    }
    size_t at = log->batch.len;
    memset(header, 0, LOG_HEADER);
    buf_add(&log->batch, header, LOG_HEADER);
    for (struct spool_op *op = ops->first; op; op = op->next) {
        if (!op->log || op->status != 0)
            continue;
        size_t before = log->batch.len;
        add_op(&l, op);
        if (!log->batch.failed && log->batch.len - before > op->room) /* what is counted otherwise than written overflows some day */
            log_die("spool: an operation of kind %d takes %zu octets of the log, and %llu were counted for it", (int)op->kind,
                    log->batch.len - before, (unsigned long long)op->room);
    }
    if (!log->batch.failed) {
        struct log_batch_header h = {.epoch = g->epoch, .key = g->key, .sequence = log->sequence, .oldest = oldest, .count = l.count};
        h.length = (uint32_t)(log->batch.len - at);
        log_batch_encode(&h, (unsigned char *)log->batch.data + at);
    }
    pad(&log->batch, LOG_BLOCK);
}

static int write_batch(struct log *log, struct spool_ops *ops, bool begins, const char **step)
{
    struct log_segment *g = &log->segments[log->open];
    uint64_t oldest = oldest_epoch(log), at = begins ? 0 : log->at;
    lay_out(log, ops, begins, oldest);
    *step = "write to the log";
    if (log->batch.failed)
        return ENOMEM;
    if (at + log->batch.len > g->size)
        log_die("spool: a batch of %zu octets at %llu does not fit into its segment", log->batch.len, (unsigned long long)at);
    struct iovec all = {.iov_base = log->batch.data, .iov_len = log->batch.len};
    int status = disk_write(g->fd, &all, 1, at);
    if (status != 0)
        return status;
    *step = "flush of the log";
    if (disk->fdatasync(g->fd) != 0)
        return errno;
    log->at = (uint32_t)(at + log->batch.len);
    log->oldest_durable = oldest;
    return 0;
}

/* After a failed flush the kernel may have dropped the pages and called them clean: what this segment holds from here on is unknown. */
static void retire(struct log *log, int status, const char *step)
{
    char path[LOG_PATH];
    log_path(path, (unsigned)log->open);
    log_error("spool: %s: %s failed at %u: %s; this segment is not written any more: look at the disk", path, step, log->at,
              strerror(status));
    log->segments[log->open].state = LOG_RETIRED;
    log->open = -1;
    log->retired++;
}

static bool any_for_log(const struct spool_ops *ops)
{
    for (const struct spool_op *op = ops->first; op; op = op->next) {
        if (op->log && op->status == 0)
            return true;
    }
    return false;
}

void log_commit(struct log *log, struct spool_ops *ops, bool begins)
{
    const char *step = "beginning of a segment";
    if (!any_for_log(ops))
        return;
    int status = begins ? rotate(log) : 0;
    if (status == 0) {
        status = write_batch(log, ops, begins, &step);
        log->sequence++; /* also after a failure: it may be there */
        if (status != 0)
            retire(log, status, step);
    }
    for (struct spool_op *op = ops->first; op && status != 0; op = op->next) {
        if (op->log && op->status == 0) {
            op->status = status;
            op->step = step;
        }
    }
    if (log->batch.cap > (size_t)4 << 20)
        buf_free(&log->batch);
}

/* ---- a new segment ----------------------------------------------------------------------------------------------- */

static int growing(const struct log *log)
{
    int slot = 0;
    while (slot < LOG_SLOTS && log->segments[slot].state != LOG_GROWING)
        slot++;
    return slot < LOG_SLOTS ? slot : -1;
}

static int begin_growing(struct log *log)
{
    char path[LOG_PATH];
    int slot = 0;
    while (slot < LOG_SLOTS && log->segments[slot].state != LOG_NONE)
        slot++;
    if (slot == LOG_SLOTS)
        return -1;
    log_path(path, (unsigned)slot);
    int fd = disk->openat(log->directory, path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        log->grow_status = errno;
        return -1;
    }
    log->segments[slot] = (struct log_segment){.state = LOG_GROWING, .fd = fd, .size = log->size};
    log->grown = 0;
    return slot;
}

static int grow_slice(struct log *log, struct log_segment *g)
{
    uint32_t n = g->size - log->grown < SLICE ? g->size - log->grown : SLICE;
    char *zeros = calloc(1, n);
    if (!zeros)
        return ENOMEM;
    struct iovec all = {.iov_base = zeros, .iov_len = n};
    int status = disk_write(g->fd, &all, 1, log->grown);
    free(zeros);
    if (status == 0 && disk->fdatasync(g->fd) != 0)
        status = errno;
    log->grown += n;
    if (status == 0 && log->grown == g->size)
        status = flush_directory(log, "log");
    return status;
}

void log_grow(struct log *log)
{
    int slot = growing(log);
    if (slot < 0)
        slot = begin_growing(log);
    if (slot < 0)
        return;
    struct log_segment *g = &log->segments[slot];
    log->grow_status = grow_slice(log, g);
    if (log->grow_status != 0)
        log_remove_file(log, (unsigned)slot);
    else if (log->grown == g->size)
        g->state = LOG_FREE;
}
