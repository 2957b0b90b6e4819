/* Which messages are on disk, and what is asked of the spool. Who is let in is decided in spool_room.c; what the writer has done comes back in spool_done.c. */
#include "qmgr/spool.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"
#include "qmgr/spool_private.h"
#include "qmgr/spool_version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

/* A body that comes in pieces. */
struct part {
    struct hash_node node;
    uint64_t end; /* in its file */
    uint32_t crc;
    int status;
};

uint64_t spool_monotonic(void)
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
    struct spool_entry *e = memory_must(pool_new(&s->entry_pool));
    *e = (struct spool_entry){.tail = tail, .size = size, .body_crc = body_crc, .segment = LOG_NOWHERE, .settled_segment = LOG_NOWHERE};
    hash_add(&s->entries, &e->node, id);
    if (id > s->last_id)
        s->last_id = id;
}

void spool_entry_add_log(struct spool *s, uint64_t id, struct log_place at, uint64_t size, uint32_t body_crc)
{
    spool_entry_add(s, id, 0, size, body_crc);
    struct spool_entry *e = spool_entry_find(s, id);
    e->segment = at.segment;
    e->offset = at.offset;
    log_add_id(&s->log, at.segment, id);
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
    pool_free(&s->entry_pool, e);
}

bool spool_has(const struct spool *s, uint64_t id)
{
    return spool_entry_find(s, id) != NULL;
}

struct walk {
    void (*each)(uint64_t id, void *arg);
    void *arg;
};

static void walk_one(struct hash_node *n, void *arg)
{
    const struct walk *w = arg;
    w->each(n->key, w->arg);
}

bool spool_walk(const struct spool *s, size_t *at, size_t most, void (*each)(uint64_t id, void *arg), void *arg)
{
    return hash_walk(&s->entries, at, most, walk_one, &(struct walk){each, arg});
}

size_t spool_gathered(const struct spool *s)
{
    return s->settling_count;
}

bool spool_settled(const struct spool *s, uint64_t id)
{
    const struct spool_entry *e = spool_entry_find(s, id);
    return e && !e->settling && !e->in_flight;
}

/* ---- opening, closing -------------------------------------------------------------------------------------------- */

struct spool_op *spool_forget_record(struct spool *s, uint64_t id, uint8_t segment)
{
    struct spool_op *op = spool_op_new(SPOOL_OP_FORGET, id, NULL, NULL);
    op->log = true;
    op->previous.segment = segment;
    spool_ops_add(&s->controls, op);
    spool_settle_by(s, 1);
    return op;
}

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
    const char *names[] = {"msg", "tmp", "bad", "log"};
    for (size_t i = 0; i < 4; i++) {
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
    struct spool *s = memory_new(1, sizeof *s);
    log_init(&s->log, directory, 0);
    struct spool_writer *writer = spool_writer_new(directory, &s->log, error);
    if (!writer) {
        log_free(&s->log);
        free(s);
        return NULL;
    }
    s->directory = directory;
    s->writer = writer;
    s->free_least = free_least;
    spool_ops_init(&s->controls);
    s->settlings_end = &s->settlings;
    hash_init(&s->entries);
    s->entry_pool = POOL_OF(struct spool_entry);
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
        pool_free(&s->entry_pool, HASH_OWNER(n, struct spool_entry, node));
    }
    for (struct hash_node *n = hash_first(&s->parts), *next; n; n = next) {
        next = hash_after(&s->parts, n);
        free(HASH_OWNER(n, struct part, node));
    }
    for (struct spool_op *op; (op = spool_ops_take(&s->controls));)
        spool_op_free(op);
    hash_free(&s->entries);
    hash_free(&s->parts);
    log_free(&s->log);
    free(s);
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
    } while (s->busy || s->answers.count > 0 || s->log.grow || spool_anything_to_write(s));
    while (s->held.count > 0) /* a removal that failed is what they wait for */
        spool_refuse(s, spool_ops_take(&s->held), ENOSPC);
    spool_answer(s);
    spool_writer_free(s->writer);
    free_all(s);
}

int spool_fd(const struct spool *s)
{
    return spool_writer_fd(s->writer);
}

bool spool_idle(const struct spool *s)
{
    return (!s->busy || s->running.count == 0) && s->waiting.count == 0 && s->held.count == 0 && s->controls.count == 0 &&
           s->answers.count == 0 && s->settlings == NULL;
}

uint64_t spool_last_id(const struct spool *s)
{
    return s->last_id;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

struct spool_op *spool_op_new(enum spool_op_kind kind, uint64_t id, spool_done_fn *done, void *arg)
{
    struct spool_op *op = memory_new(1, sizeof *op);
    *op = (struct spool_op){.kind = kind,
                            .id = id,
                            .done = done,
                            .arg = arg,
                            .fd = -1,
                            .body = BUF_EMPTY(SIZE_MAX),
                            .tail = BUF_EMPTY(SPOOL_REST_MOST),
                            .with = BUF_EMPTY(SPOOL_REST_MOST),
                            .at.segment = LOG_NOWHERE,
                            .previous.segment = LOG_NOWHERE,
                            .before.segment = LOG_NOWHERE};
    return op;
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

void spool_part_failed(struct spool *s, uint64_t id, int status)
{
    struct part *part = part_find(s, id);
    if (part)
        part->status = status;
}

void spool_append(struct spool *s, uint64_t id, struct span piece, spool_done_fn *done, void *arg)
{
    struct spool_op *op = spool_op_new(SPOOL_OP_APPEND, id, done, arg);
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
    if (part->status == 0 && !spool_admit(s, op))
        part->status = ENOSPC;
    if (part->status != 0) {
        spool_refuse(s, op, part->status);
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
    spool_ops_add(&s->waiting, spool_op_new(SPOOL_OP_DROP, id, NULL, NULL));
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
    spool_put_settling(s, e, last, NULL, 0, done, arg);
}

void spool_put_settling(struct spool *s, const struct spool_envelope *e, struct span last, const struct spool_state *states, size_t count,
                        spool_done_fn *done, void *arg)
{
    struct spool_op *op = spool_op_new(SPOOL_OP_PUT, e->id, done, arg);
    op->parent = e->parent;
    for (size_t i = 0; i < count; i++)
        spool_state_encode(&states[i], &op->with);
    struct part *part = part_find(s, e->id);
    int status = part ? part->status : 0;
    op->pieces = part != NULL;
    op->offset = part ? part->end : SPOOL_RECORD_HEADER;
    encode_message(op, e, last, op->offset - SPOOL_RECORD_HEADER, part ? part->crc : 0);
    if (op->body.failed || op->tail.failed || op->with.failed)
        status = ENOMEM;
    else if (spool_entry_find(s, e->id))
        status = EEXIST;
    else if (status == 0 && !spool_admit(s, op))
        status = ENOSPC;
    if (status != 0) {
        spool_drop(s, e->id);
        spool_refuse(s, op, status);
        return;
    }
    if (part)
        part_forget(s, part);
}

/* ---- a turn ------------------------------------------------------------------------------------------------------ */

void spool_turn(struct spool *s)
{
    spool_collect(s);
    spool_answer(s);
    spool_batch_start(s);
}
