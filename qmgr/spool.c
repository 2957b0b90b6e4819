#include "qmgr/spool.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"
#include "qmgr/spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define BATCH_MOST       200   /* settlements of one flush, and as many others; each may have an open file */
#define SETTLE_AFTER     1000  /* milliseconds */
#define SETTLE_AGAIN     10000 /* after a failure */
#define FREE_CHECK_EVERY 1000

/* What gathers for one message before it is written. */
struct settling {
    struct settling *next;
    uint64_t id;
    uint64_t due;        /* to be flushed by then */
    uint64_t not_before; /* after a failure */
    struct buf states;
    bool remove;
    bool makes_room; /* a removal that did not fail before */
};

/* A body that comes in pieces. */
struct part {
    struct hash_node node;
    uint64_t end; /* in its file */
    uint32_t crc;
    int status;
};

static uint64_t monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the messages that are on disk ------------------------------------------------------------------------------- */

struct spool_entry *spool_entry_find(const struct spool *s, uint64_t id)
{
    struct hash_node *n = hash_find(&s->entries, id);
    return n ? HASH_OWNER(n, struct spool_entry, node) : NULL;
}

void spool_entry_add(struct spool *s, uint64_t id, uint64_t tail, uint64_t size, uint32_t body_crc)
{
    struct spool_entry *e = memory_new(1, sizeof *e);
    *e = (struct spool_entry){.tail = tail, .size = size, .body_crc = body_crc};
    hash_add(&s->entries, &e->node, id);
    if (id > s->last_id)
        s->last_id = id;
}

void spool_entry_forget(struct spool *s, uint64_t id)
{
    struct spool_entry *e = spool_entry_find(s, id);
    if (!e)
        return;
    if (e->settling) { /* stays in its list, empty */
        buf_free(&e->settling->states);
        s->removals -= e->settling->makes_room;
    }
    hash_remove(&s->entries, &e->node);
    free(e);
}

void spool_set_aside(struct spool *s, uint64_t id, const char *why)
{
    char from[SPOOL_PATH], to[SPOOL_PATH], numbered[SPOOL_PATH + 16];
    spool_path(from, SPOOL_IN_MSG, id);
    spool_path(to, SPOOL_IN_BAD, id);
    snprintf(numbered, sizeof numbered, "%s", to);
    int status = 0;
    for (int i = 1; i < 10; i++) {
        status = disk->linkat(s->directory, from, numbered) == 0 ? 0 : errno;
        if (status != EEXIST)
            break;
        snprintf(numbered, sizeof numbered, "%s.%d", to, i);
    }
    if (status == 0)
        status = disk->unlinkat(s->directory, from) == 0 ? 0 : errno;
    if (status == 0)
        log_error("spool: %s: %s; it has been set aside as %s and will not be delivered: look at it, and at the disk", from, why, numbered);
    else
        log_error("spool: %s: %s; it will not be delivered, and could not be moved to %s: %s", from, why, numbered, strerror(status));
    spool_entry_forget(s, id);
}

/* ---- opening, closing -------------------------------------------------------------------------------------------- */

static int make_directory(int directory, const char *path, struct error *error)
{
    if (disk->mkdirat(directory, path) != 0 && errno != EEXIST)
        return error_set(error, "spool: %s can't be made: %s", path, strerror(errno));
    return 0;
}

static int flush_directory(int directory, const char *path, struct error *error)
{
    int fd = disk->openat(directory, path, O_RDONLY | O_DIRECTORY, 0);
    int status = fd < 0 || disk->fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        disk->close(fd);
    return status == 0 ? 0 : error_set(error, "spool: %s can't be flushed to disk: %s", path, strerror(status));
}

static int make_directories(int directory, struct error *error)
{
    const char *names[] = {"msg", "tmp", "bad"};
    for (size_t i = 0; i < 3; i++) {
        if (make_directory(directory, names[i], error) != 0)
            return -1;
    }
    for (unsigned shelf = 0; shelf < 256; shelf++) {
        char path[SPOOL_PATH];
        spool_shelf_path(path, shelf);
        if (make_directory(directory, path, error) != 0)
            return -1;
    }
    return flush_directory(directory, "msg", error) == 0 ? flush_directory(directory, ".", error) : -1;
}

struct spool *spool_open(int directory, uint64_t free_least, struct error *error)
{
    if (spool_check_version(directory, error) != 0 || make_directories(directory, error) != 0)
        return NULL;
    struct spool_writer *writer = spool_writer_new(directory, error);
    if (!writer)
        return NULL;
    struct spool *s = memory_new(1, sizeof *s);
    s->directory = directory;
    s->writer = writer;
    s->free_least = free_least;
    s->settlings_end = &s->settlings;
    hash_init(&s->entries);
    hash_init(&s->parts);
    spool_ops_init(&s->waiting);
    spool_ops_init(&s->running);
    spool_ops_init(&s->answers);
    spool_ops_init(&s->held);
    return s;
}

static void free_all(struct spool *s)
{
    for (struct settling *x = s->settlings, *next; x; x = next) {
        next = x->next;
        buf_free(&x->states);
        free(x);
    }
    for (struct hash_node *n = hash_first(&s->entries), *next; n; n = next) {
        next = hash_after(&s->entries, n);
        free(HASH_OWNER(n, struct spool_entry, node));
    }
    for (struct hash_node *n = hash_first(&s->parts), *next; n; n = next) {
        next = hash_after(&s->parts, n);
        free(HASH_OWNER(n, struct part, node));
    }
    hash_free(&s->entries);
    hash_free(&s->parts);
    free(s);
}

static void answer(struct spool *s);
static void refuse(struct spool *s, struct spool_op *op, int status);

static bool anything_to_write(const struct spool *s)
{
    return s->waiting.count > 0 || (s->settle_at != 0 && s->settle_at <= monotonic());
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    spool_hurry(s);
    do {
        spool_turn(s);
        if (s->busy)
            spool_writer_wait(s->writer);
    } while (s->busy || s->answers.count > 0 || anything_to_write(s));
    while (s->held.count > 0) /* a removal that failed is what they wait for */
        refuse(s, spool_ops_take(&s->held), ENOSPC);
    answer(s);
    spool_writer_free(s->writer);
    free_all(s);
}

void spool_free_least(struct spool *s, uint64_t octets)
{
    s->free_least = octets;
    s->free_checked = 0;
}

int spool_fd(const struct spool *s)
{
    return spool_writer_fd(s->writer);
}

bool spool_idle(const struct spool *s)
{
    return !s->busy && s->waiting.count == 0 && s->held.count == 0 && s->answers.count == 0 && s->settlings == NULL;
}

uint64_t spool_last_id(const struct spool *s)
{
    return s->last_id;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static struct spool_op *op_new(enum spool_op_kind kind, uint64_t id, spool_done_fn *done, void *arg)
{
    struct spool_op *op = memory_new(1, sizeof *op);
    *op = (struct spool_op){
        .kind = kind, .id = id, .done = done, .arg = arg, .fd = -1, .body = BUF_EMPTY(SIZE_MAX), .tail = BUF_EMPTY(SPOOL_REST_MOST)};
    return op;
}

static void refuse(struct spool *s, struct spool_op *op, int status)
{
    op->status = status;
    op->step = "take in";
    spool_ops_add(&s->answers, op);
}

static void check_free(struct spool *s, uint64_t now)
{
    if (disk->free_space(s->directory, &s->free_octets) != 0)
        s->free_octets = UINT64_MAX;
    s->free_octets -=
        s->coming < s->free_octets ? s->coming : s->free_octets; /* some of it may be written by now: then those who wait look again */
    s->free_checked = now;
}

static bool seems_room_for(const struct spool *s, uint64_t octets)
{
    return s->free_octets >= octets && s->free_octets - octets >= s->free_least;
}

/* Looked at once a second; in between what was put is subtracted. As that knows nothing of what was removed, nobody is refused without a
 * fresh look. */
static bool room_for(struct spool *s, uint64_t octets)
{
    uint64_t now = monotonic();
    if (s->free_checked == 0 || now - s->free_checked >= FREE_CHECK_EVERY || !seems_room_for(s, octets))
        check_free(s, now);
    if (!seems_room_for(s, octets))
        return false;
    s->free_octets -= octets;
    return true;
}

static void hurry_removals(struct spool *s)
{
    for (struct settling *x = s->settlings; x; x = x->next) {
        if (x->remove && x->not_before == 0)
            x->due = s->settle_at = 1;
    }
}

/* For new mail. Without room it waits for what is under way and for the removals that were asked for, and is refused only then. */
static bool admit(struct spool *s, struct spool_op *op)
{
    op->octets = op->body.len + op->tail.len + SPOOL_RECORD_HEADER;
    if (room_for(s, op->octets)) {
        s->free_octets -= op->octets;
        s->coming += op->octets;
        spool_ops_add(&s->waiting, op);
    } else if (s->removals > 0 || s->coming > 0) {
        op->octets = 0;
        hurry_removals(s);
        spool_ops_add(&s->held, op);
    } else {
        op->octets = 0;
        return false;
    }
    return true;
}

static struct part *part_find(const struct spool *s, uint64_t id)
{
    struct hash_node *n = hash_find(&s->parts, id);
    return n ? HASH_OWNER(n, struct part, node) : NULL;
}

bool spool_has_part(const struct spool *s, uint64_t id)
{
    return part_find(s, id) != NULL;
}

static void part_forget(struct spool *s, struct part *part)
{
    hash_remove(&s->parts, &part->node);
    free(part);
}

void spool_append(struct spool *s, uint64_t id, struct span piece, spool_done_fn *done, void *arg)
{
    struct spool_op *op = op_new(SPOOL_OP_APPEND, id, done, arg);
    struct part *part = part_find(s, id);
    if (!part) {
        part = memory_new(1, sizeof *part);
        part->end = SPOOL_RECORD_HEADER;
        hash_add(&s->parts, &part->node, id);
    }
    buf_add_span(&op->body, piece);
    if (part->status == 0 && op->body.failed)
        part->status = ENOMEM;
    op->offset = part->end;
    if (part->status == 0 && !admit(s, op))
        part->status = ENOSPC;
    if (part->status != 0) {
        refuse(s, op, part->status);
        return;
    }
    part->crc = crc32c(part->crc, piece.p, piece.n);
    part->end += piece.n;
}

void spool_drop(struct spool *s, uint64_t id)
{
    struct part *part = part_find(s, id);
    if (!part)
        return;
    part_forget(s, part);
    spool_ops_add(&s->waiting, op_new(SPOOL_OP_DROP, id, NULL, NULL));
}

static void encode_message(struct spool_op *op, const struct spool_envelope *e, struct span last, uint64_t before, uint32_t crc)
{
    spool_envelope_encode(e, &op->tail);
    buf_add_span(&op->body, last);
    struct spool_record r = {.type = SPOOL_MSG, .id = e->id, .body = before + last.n, .body_crc = crc32c(crc, last.p, last.n)};
    r.rest = (uint32_t)op->tail.len;
    r.rest_crc = crc32c(0, op->tail.data, op->tail.len);
    spool_record_encode(&r, op->header);
}

void spool_put(struct spool *s, const struct spool_envelope *e, struct span last, spool_done_fn *done, void *arg)
{
    struct spool_op *op = op_new(SPOOL_OP_PUT, e->id, done, arg);
    struct part *part = part_find(s, e->id);
    int status = part ? part->status : 0;
    op->pieces = part != NULL;
    op->offset = part ? part->end : SPOOL_RECORD_HEADER;
    encode_message(op, e, last, op->offset - SPOOL_RECORD_HEADER, part ? part->crc : 0);
    if (op->body.failed || op->tail.failed)
        status = ENOMEM;
    else if (spool_entry_find(s, e->id))
        status = EEXIST;
    else if (status == 0 && !admit(s, op))
        status = ENOSPC;
    if (status != 0) {
        spool_drop(s, e->id);
        refuse(s, op, status);
        return;
    }
    if (part)
        part_forget(s, part);
}

/* ---- settlements ------------------------------------------------------------------------------------------------- */

static void settle_by(struct spool *s, uint64_t when)
{
    if (s->settle_at == 0 || when < s->settle_at)
        s->settle_at = when;
}

static struct settling *settling_of(struct spool *s, struct spool_entry *e)
{
    if (e->settling)
        return e->settling;
    struct settling *x = memory_new(1, sizeof *x);
    *x = (struct settling){.id = e->node.key, .due = s->hurry ? 1 : monotonic() + SETTLE_AFTER, .states = BUF_EMPTY(SPOOL_REST_MOST)};
    *s->settlings_end = x;
    s->settlings_end = &x->next;
    s->settling_count++;
    settle_by(s, x->due);
    return e->settling = x;
}

void spool_settle(struct spool *s, uint64_t id, const struct spool_state *states, size_t count)
{
    struct spool_entry *e = spool_entry_find(s, id);
    if (!e || count == 0)
        return;
    struct settling *x = settling_of(s, e);
    for (size_t i = 0; i < count; i++)
        spool_state_encode(&states[i], &x->states);
}

void spool_remove(struct spool *s, uint64_t id)
{
    struct spool_entry *e = spool_entry_find(s, id);
    if (!e)
        return;
    struct settling *x = settling_of(s, e);
    buf_free(&x->states);
    if (x->remove)
        return;
    x->remove = x->makes_room = true;
    s->removals++;
}

void spool_hurry(struct spool *s)
{
    s->hurry = true;
    for (struct settling *x = s->settlings; x; x = x->next) {
        if (x->not_before == 0)
            x->due = 1;
    }
    if (s->settlings)
        s->settle_at = 1;
}

static struct spool_op *settling_op(struct spool_entry *e, struct settling *x)
{
    struct spool_op *op = op_new(x->remove ? SPOOL_OP_REMOVE : SPOOL_OP_SETTLE, x->id, NULL, NULL);
    unsigned char header[SPOOL_RECORD_HEADER];
    op->makes_room = x->makes_room;
    if (x->remove)
        return op;
    struct spool_record r = {.type = SPOOL_SETTLE, .id = x->id, .offset = e->tail, .rest = (uint32_t)x->states.len};
    r.rest_crc = crc32c(0, x->states.data, x->states.len);
    spool_record_encode(&r, header);
    op->offset = e->tail;
    buf_add(&op->body, header, sizeof header);
    buf_add_span(&op->body, buf_span(&x->states));
    return op;
}

/* Removals go with any flush, as its directories are flushed anyway; settlements when their time has come. */
static bool settling_goes(const struct settling *x, uint64_t now)
{
    return x->not_before != 0 ? now >= x->not_before : x->remove || now >= x->due;
}

static void gather_settlings(struct spool *s, uint64_t now)
{
    struct settling **p = &s->settlings;
    s->settle_at = 0;
    for (struct settling *x; (x = *p);) {
        struct spool_entry *e = spool_entry_find(s, x->id);
        bool mine = e && e->settling == x;
        if (mine && (!settling_goes(x, now) || s->running.count >= BATCH_MOST)) {
            settle_by(s, x->not_before ? x->not_before : x->due);
            p = &x->next;
            continue;
        }
        if (mine) {
            spool_ops_add(&s->running, settling_op(e, x));
            e->settling = NULL;
        }
        *p = x->next;
        buf_free(&x->states);
        free(x);
        s->settling_count--;
    }
    s->settlings_end = p;
}

/* A settlement that could not be written is still true: it is tried again, before what came later. */
static void settle_again(struct spool *s, struct spool_op *op)
{
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, op->id);
    log_error("spool: %s: %s failed: %s; trying again in %d seconds", path, op->step, strerror(op->status), SETTLE_AGAIN / 1000);
    struct spool_entry *e = spool_entry_find(s, op->id);
    if (!e)
        return;
    struct settling *x = settling_of(s, e);
    if (op->kind == SPOOL_OP_REMOVE) {
        x->remove = true;
    } else if (!x->remove) {
        struct buf newer = x->states;
        x->states = BUF_EMPTY(SPOOL_REST_MOST);
        buf_add(&x->states, op->body.data + SPOOL_RECORD_HEADER, op->body.len - SPOOL_RECORD_HEADER);
        buf_add_span(&x->states, buf_span(&newer));
        buf_free(&newer);
    }
    x->not_before = monotonic() + SETTLE_AGAIN;
    s->settle_at = 0;
    for (x = s->settlings; x; x = x->next)
        settle_by(s, x->not_before ? x->not_before : x->due);
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

static void put_done(struct spool *s, struct spool_op *op)
{
    struct spool_record r;
    if (!spool_record_decode(op->header, &r))
        log_die("spool: a header of our own can't be read");
    if (op->status == 0)
        spool_entry_add(s, op->id, SPOOL_RECORD_HEADER + r.body + r.rest, r.body, r.body_crc);
}

static void fail_part(struct spool *s, uint64_t id, int status)
{
    struct part *part = part_find(s, id);
    if (part)
        part->status = status;
}

static void op_done(struct spool *s, struct spool_op *op)
{
    s->coming -= op->octets;
    switch (op->kind) {
    case SPOOL_OP_PUT:
        put_done(s, op);
        break;
    case SPOOL_OP_APPEND:
        if (op->status != 0)
            fail_part(s, op->id, op->status);
        break;
    case SPOOL_OP_SETTLE: {
        struct spool_entry *e = spool_entry_find(s, op->id);
        if (op->status != 0)
            settle_again(s, op);
        else if (e)
            e->tail = op->offset + op->body.len;
        break;
    }
    case SPOOL_OP_REMOVE:
        s->removals -= op->makes_room;
        if (op->status != 0)
            settle_again(s, op);
        else
            spool_entry_forget(s, op->id);
        break;
    case SPOOL_OP_DROP:
        break;
    }
}

static void answer(struct spool *s)
{
    struct spool_ops answers = s->answers;
    if (answers.count == 0)
        return;
    spool_ops_init(&s->answers);
    for (struct spool_op *op; (op = spool_ops_take(&answers));) {
        if (op->status != 0 && op->done)
            log_error("spool: %s: %s failed: %s", queueid_format(op->id).text, op->step ? op->step : "write", strerror(op->status));
        if (op->done)
            op->done(op->status, op->arg);
        spool_op_free(op);
    }
}

/* The removals that they waited for are done, or some of them. */
static void try_held(struct spool *s)
{
    struct spool_ops held = s->held;
    if (held.count == 0)
        return;
    spool_ops_init(&s->held);
    for (struct spool_op *op; (op = spool_ops_take(&held));) {
        if (admit(s, op))
            continue;
        if (op->kind == SPOOL_OP_APPEND)
            fail_part(s, op->id, ENOSPC);
        else if (op->pieces)
            spool_ops_add(&s->waiting, op_new(SPOOL_OP_DROP, op->id, NULL, NULL));
        refuse(s, op, ENOSPC);
    }
}

static void collect(struct spool *s)
{
    if (!s->busy || !spool_writer_done(s->writer))
        return;
    s->busy = false;
    for (struct spool_op *op; (op = spool_ops_take(&s->running));) {
        op_done(s, op);
        spool_ops_add(&s->answers, op);
    }
    try_held(s);
}

static void start(struct spool *s)
{
    if (s->busy || !anything_to_write(s))
        return;
    gather_settlings(s, monotonic());
    while (s->running.count < 2 * BATCH_MOST && s->waiting.count > 0)
        spool_ops_add(&s->running, spool_ops_take(&s->waiting));
    if (s->running.count == 0)
        return;
    s->busy = true;
    spool_writer_start(s->writer, &s->running);
}

void spool_turn(struct spool *s)
{
    collect(s);
    answer(s);
    start(s);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int open_message(struct spool *s, uint64_t id)
{
    char path[SPOOL_PATH];
    if (!spool_entry_find(s, id))
        return -ENOENT;
    spool_path(path, SPOOL_IN_MSG, id);
    int fd = disk->openat(s->directory, path, O_RDONLY, 0);
    return fd < 0 ? -errno : fd;
}

int spool_envelope(struct spool *s, uint64_t id, spool_each_fn *each, void *arg, struct error *error)
{
    struct spool_file f;
    int fd = open_message(s, id);
    if (fd < 0)
        return error_set(error, "%s: %s", queueid_format(id).text, strerror(-fd));
    enum spool_file_verdict verdict = spool_file_load(fd, id, &f);
    disk->close(fd);
    if (verdict == SPOOL_FILE_GOOD)
        each(&f.envelope, f.states, f.envelope.recipients.count, arg);
    else
        error_set(error, "%s: %s", queueid_format(id).text, f.why);
    if (verdict == SPOOL_FILE_BAD || verdict == SPOOL_FILE_INCOMPLETE)
        spool_set_aside(s, id, f.why);
    spool_file_free(&f);
    return verdict == SPOOL_FILE_GOOD ? 0 : -1;
}

static bool header_agrees(int fd, const struct spool_entry *e)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    struct spool_record r;
    return disk_read(fd, header, sizeof header, 0) == 0 && spool_record_decode(header, &r) && r.type == SPOOL_MSG && r.id == e->node.key &&
           r.body == e->size;
}

long spool_read(struct spool *s, uint64_t id, uint64_t offset, void *to, size_t n)
{
    struct spool_entry *e = spool_entry_find(s, id);
    if (!e)
        return -ENOENT;
    if (offset >= e->size)
        return 0;
    if (n > e->size - offset)
        n = (size_t)(e->size - offset);
    int fd = open_message(s, id);
    if (fd < 0)
        return fd;
    int status = disk_read(fd, to, n, SPOOL_RECORD_HEADER + offset);
    disk->close(fd);
    if (status != 0)
        return -status;
    if (offset == 0 && n == e->size && crc32c(0, to, n) != e->body_crc) {
        spool_set_aside(s, id, "the checksum of its body is wrong");
        return -EBADMSG;
    }
    return (long)n;
}

int spool_body(struct spool *s, uint64_t id, uint64_t *offset, uint64_t *size)
{
    struct spool_entry *e = spool_entry_find(s, id);
    int fd = open_message(s, id);
    if (fd < 0)
        return fd;
    if (!header_agrees(fd, e)) {
        disk->close(fd);
        spool_set_aside(s, id, "its header is damaged");
        return -EBADMSG;
    }
    *offset = SPOOL_RECORD_HEADER;
    *size = e->size;
    return fd;
}
