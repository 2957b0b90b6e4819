/* One batch:
 *
 *      remove  what is finished (first: it makes room)
 *      write   all files of the batch (new messages under their own names: O_EXCL; those of pieces in tmp/)
 *      flush   each file
 *      link    tmp/ID to msg/XX/ID, for those of pieces; rename it, for files that were written anew
 *      flush   each directory that changed
 *      log     the records for the log, in one write, and its flush: behind all that they speak of
 *      undo    the new messages that any step failed for: nobody was told that they are here
 *      grow    the log's next segment by a slice, if it was asked for
 *
 * An fsync that fails is not tried again: the kernel may have marked the lost pages clean. */
#include "qmgr/spool_writer.h"
#include "common/crc32c.h"
#include "qmgr/disk.h"
#include "qmgr/log_store.h"
#include "qmgr/memory.h"
#include "qmgr/spool_file.h"
#include "qmgr/spool_rewrite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct spool_writer {
    int directory;
    int event; /* readable: a batch is done */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed, finished;
    struct spool_ops *batch; /* NULL: nothing to do */
    atomic_bool done;        /* a batch is; set before `event` is written, so that who is woken by that finds it set */
    struct log *log;
    bool rotate;
    bool stop;
    bool shelves[256]; /* directories below msg/ that this batch changed */
};

/* ---- lists of operations ----------------------------------------------------------------------------------------- */

void spool_ops_init(struct spool_ops *ops)
{
    *ops = (struct spool_ops){.end = &ops->first};
}

void spool_ops_add(struct spool_ops *ops, struct spool_op *op)
{
    op->next = NULL;
    *ops->end = op;
    ops->end = &op->next;
    ops->count++;
}

struct spool_op *spool_ops_take(struct spool_ops *ops)
{
    struct spool_op *op = ops->first;
    if (!op)
        return NULL;
    ops->first = op->next;
    if (!ops->first)
        ops->end = &ops->first;
    ops->count--;
    op->next = NULL;
    return op;
}

void spool_op_free(struct spool_op *op)
{
    buf_free(&op->body);
    buf_free(&op->tail);
    buf_free(&op->with);
    free(op);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void failed(struct spool_op *op, const char *step, int status)
{
    if (op->status == 0) {
        op->status = status;
        op->step = step;
    }
}

static struct iovec part(const void *p, size_t n)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)p, .iov_len = n};
}

static void open_file(struct spool_writer *w, struct spool_op *op, enum spool_place place, int flags)
{
    char path[SPOOL_PATH];
    spool_path(path, place, op->id);
    op->fd = disk->openat(w->directory, path, flags, 0600);
    if (op->fd < 0)
        failed(op, "open", errno);
}

static void write_piece(struct spool_writer *w, struct spool_op *op)
{
    struct iovec piece = part(op->body.data, op->body.len);
    open_file(w, op, SPOOL_IN_TMP, O_WRONLY | O_CREAT | (op->offset == SPOOL_RECORD_HEADER ? O_EXCL : 0));
    if (op->status != 0)
        return;
    int status = disk_write(op->fd, &piece, 1, op->offset);
    if (status != 0)
        failed(op, "write", status);
    disk->close(op->fd); /* flushed with the last piece */
    op->fd = -1;
}

static void write_message(struct spool_writer *w, struct spool_op *op)
{
    struct iovec parts[3] = {part(op->header, sizeof op->header), part(op->body.data, op->body.len), part(op->tail.data, op->tail.len)};
    open_file(w, op, SPOOL_IN_MSG, O_WRONLY | O_CREAT | O_EXCL);
    if (op->status != 0)
        return;
    op->made = true;
    w->shelves[spool_shelf(op->id)] = true;
    int status = disk_write(op->fd, parts, 3, 0);
    if (status != 0)
        failed(op, "write", status);
}

static void write_message_of_pieces(struct spool_writer *w, struct spool_op *op)
{
    struct iovec header = part(op->header, sizeof op->header),
                 parts[2] = {part(op->body.data, op->body.len), part(op->tail.data, op->tail.len)};
    open_file(w, op, SPOOL_IN_TMP, O_WRONLY);
    if (op->status != 0)
        return;
    int status = disk_write(op->fd, parts, 2, op->offset);
    if (status == 0)
        status = disk_write(op->fd, &header, 1, 0);
    if (status != 0)
        failed(op, "write", status);
}

/* What a torn or failed append left behind is cut first: nothing that looks like a record may stand behind the last good one. */
static void write_settlement(struct spool_writer *w, struct spool_op *op)
{
    struct iovec record = part(op->body.data, op->body.len);
    uint64_t size;
    if (op->rewrite && spool_rewrite(w->directory, op))
        return;
    w->shelves[spool_shelf(op->id)] |= op->name;
    op->rewrite = false; /* without room for a copy there may be some for a record */
    open_file(w, op, SPOOL_IN_MSG, O_WRONLY);
    if (op->status != 0)
        return;
    if (disk->size(op->fd, &size) != 0) {
        failed(op, "stat", errno);
    } else if (size < op->offset) {
        failed(op, "length", EIO); /* it was cut behind our back */
    } else if (size != op->offset && disk->ftruncate(op->fd, (off_t)op->offset) != 0) {
        failed(op, "truncate", errno);
    } else {
        int status = disk_write(op->fd, &record, 1, op->offset);
        if (status != 0)
            failed(op, "write", status);
    }
}

/* What the log has of a message becomes the file that it would have been from the start. */
static int copy_from_log(struct spool_writer *w, struct spool_op *op)
{
    struct spool_file f;
    struct log_raw raw = {.body = BUF_EMPTY(SIZE_MAX)};
    enum spool_file_verdict v = log_load(w->log, op->id, op->at, op->previous, &f, &raw);
    if (v == SPOOL_FILE_GOOD) {
        struct spool_record r = {.type = SPOOL_MSG, .id = op->id, .body = raw.body.len, .rest = (uint32_t)raw.envelope.n};
        r.body_crc = crc32c(0, raw.body.data, raw.body.len);
        r.rest_crc = crc32c(0, raw.envelope.p, raw.envelope.n);
        spool_record_encode(&r, op->header);
        buf_add_span(&op->tail, raw.envelope);
        spool_rewrite_states(&f, SPOOL_RECORD_HEADER + raw.body.len + raw.envelope.n, &op->tail);
        op->body = raw.body;
        op->offset = SPOOL_RECORD_HEADER + op->body.len + op->tail.len;
    } else {
        buf_free(&raw.body);
    }
    spool_file_free(&f);
    if (v == SPOOL_FILE_GOOD)
        return op->tail.failed ? ENOMEM : 0;
    return v == SPOOL_FILE_UNREADABLE ? EIO : EBADMSG;
}

static void write_moved(struct spool_writer *w, struct spool_op *op)
{
    char path[SPOOL_PATH];
    if (op->copied)
        return;
    int status = copy_from_log(w, op);
    if (status != 0) {
        failed(op, "reading of the log", status);
        return;
    }
    /* A copy whose MOVED was never written may be there. */
    spool_path(path, SPOOL_IN_MSG, op->id);
    if (disk->unlinkat(w->directory, path) != 0 && errno != ENOENT)
        failed(op, "unlink", errno);
    else
        write_message(w, op);
}

static void write_one(struct spool_writer *w, struct spool_op *op)
{
    switch (op->kind) {
    case SPOOL_OP_MOVE:
        write_moved(w, op);
        break;
    case SPOOL_OP_APPEND:
        write_piece(w, op);
        break;
    case SPOOL_OP_PUT:
        if (op->pieces)
            write_message_of_pieces(w, op);
        else if (!op->log)
            write_message(w, op);
        break;
    case SPOOL_OP_SETTLE:
        if (!op->log)
            write_settlement(w, op);
        break;
    case SPOOL_OP_DROP:
    case SPOOL_OP_REMOVE:
    case SPOOL_OP_FORGET:
        break;
    }
    if (op->fd >= 0 && op->status == 0)
        disk->write_back(op->fd);
}

static void flush_file(struct spool_op *op)
{
    if (op->fd < 0)
        return;
    if (op->status == 0 && disk->fdatasync(op->fd) != 0)
        failed(op, "flush", errno);
    disk->close(op->fd);
    op->fd = -1;
}

static void unlink_path(struct spool_writer *w, struct spool_op *op, enum spool_place place)
{
    char path[SPOOL_PATH];
    spool_path(path, place, op->id);
    if (disk->unlinkat(w->directory, path) != 0 && errno != ENOENT)
        failed(op, "unlink", errno);
    if (place == SPOOL_IN_MSG)
        w->shelves[spool_shelf(op->id)] = true;
}

static void link_message(struct spool_writer *w, struct spool_op *op)
{
    char from[SPOOL_PATH], to[SPOOL_PATH];
    if (op->rewrite) {
        spool_rewrite_finish(w->directory, op);
        w->shelves[spool_shelf(op->id)] |= op->made;
    }
    if (op->kind != SPOOL_OP_PUT || !op->pieces || op->status != 0)
        return;
    spool_path(from, SPOOL_IN_TMP, op->id);
    spool_path(to, SPOOL_IN_MSG, op->id);
    if (disk->linkat(w->directory, from, to) != 0) {
        failed(op, "link", errno);
        return;
    }
    op->made = true;
    w->shelves[spool_shelf(op->id)] = true;
}

/* Pieces are dropped behind the writing: the last piece may be in the same batch. */
static void drop_one(struct spool_writer *w, struct spool_op *op)
{
    if (op->kind == SPOOL_OP_DROP)
        unlink_path(w, op, SPOOL_IN_TMP);
}

static void remove_one(struct spool_writer *w, struct spool_op *op)
{
    if (op->kind == SPOOL_OP_REMOVE && !op->log)
        unlink_path(w, op, SPOOL_IN_MSG);
}

static int flush_directory(struct spool_writer *w, const char *path)
{
    int fd = disk->openat(w->directory, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return errno;
    int status = disk->fsync(fd) == 0 ? 0 : errno;
    disk->close(fd);
    return status;
}

static void flush_shelves(struct spool_writer *w, struct spool_ops *batch)
{
    for (unsigned shelf = 0; shelf < 256; shelf++) {
        char path[SPOOL_PATH];
        if (!w->shelves[shelf])
            continue;
        w->shelves[shelf] = false;
        spool_shelf_path(path, shelf);
        int status = flush_directory(w, path);
        for (struct spool_op *op = batch->first; status != 0 && op; op = op->next) {
            bool here = op->kind == SPOOL_OP_MOVE || op->rewrite || op->name ||
                        ((op->kind == SPOOL_OP_PUT || op->kind == SPOOL_OP_REMOVE) && !op->log);
            if (here && spool_shelf(op->id) == shelf)
                failed(op, "flush of the directory", status);
        }
    }
}

/* The status stays that of what failed first; should the undoing fail too, a message that nobody was promised is delivered after the next
 * start. */
static void clean_up(struct spool_writer *w, struct spool_op *op)
{
    if (op->kind == SPOOL_OP_MOVE && op->status != 0 && op->made && !op->copied)
        unlink_path(w, op, SPOOL_IN_MSG);
    if (op->kind != SPOOL_OP_PUT)
        return;
    if (op->status != 0 && op->made)
        unlink_path(w, op, SPOOL_IN_MSG);
    if (op->pieces) {
        char path[SPOOL_PATH];
        spool_path(path, SPOOL_IN_TMP, op->id);
        disk->unlinkat(w->directory, path);
    }
}

static void run_batch(struct spool_writer *w, struct spool_ops *batch)
{
    memset(w->shelves, 0, sizeof w->shelves);
    for (struct spool_op *op = batch->first; op; op = op->next)
        remove_one(w, op);
    for (struct spool_op *op = batch->first; op; op = op->next)
        write_one(w, op);
    for (struct spool_op *op = batch->first; op; op = op->next)
        flush_file(op);
    for (struct spool_op *op = batch->first; op; op = op->next)
        link_message(w, op);
    for (struct spool_op *op = batch->first; op; op = op->next)
        drop_one(w, op);
    flush_shelves(w, batch);
    for (struct spool_op *op = batch->first; op; op = op->next) /* from here on MOVED may be on disk, and the copy the only one */
        op->copied |= op->kind == SPOOL_OP_MOVE && op->status == 0;
    log_commit(w->log, batch, w->rotate);
    for (struct spool_op *op = batch->first; op; op = op->next)
        clean_up(w, op);
    if (w->log->grow)
        log_grow(w->log);
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static void *writer_thread(void *arg)
{
    struct spool_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->batch && !w->stop)
            pthread_cond_wait(&w->changed, &w->lock);
        if (!w->batch)
            break;
        pthread_mutex_unlock(&w->lock);
        run_batch(w, w->batch);
        pthread_mutex_lock(&w->lock);
        w->batch = NULL;
        atomic_store(&w->done, true);
        pthread_cond_signal(&w->finished);
        pthread_mutex_unlock(&w->lock);
        eventfd_write(w->event, 1);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct spool_writer *spool_writer_new(int directory, struct log *log, struct error *error)
{
    struct spool_writer *w = memory_new(1, sizeof *w);
    w->log = log;
    w->directory = directory;
    w->event = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    pthread_cond_init(&w->finished, NULL);
    int status = w->event < 0 ? errno : pthread_create(&w->thread, NULL, writer_thread, w);
    if (status == 0)
        return w;
    error_set(error, "the spool's writing thread can't be started: %s", strerror(status));
    if (w->event >= 0)
        close(w->event);
    free(w);
    return NULL;
}

void spool_writer_free(struct spool_writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_cond_destroy(&w->finished);
    pthread_mutex_destroy(&w->lock);
    close(w->event);
    free(w);
}

int spool_writer_fd(const struct spool_writer *w)
{
    return w->event;
}

void spool_writer_start(struct spool_writer *w, struct spool_ops *batch, bool rotate)
{
    pthread_mutex_lock(&w->lock);
    w->rotate = rotate;
    w->batch = batch;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->changed); /* who is woken finds the lock free */
}

/* Asked several times a turn: no system call before there is something to read. */
bool spool_writer_done(struct spool_writer *w)
{
    eventfd_t n;
    if (!atomic_exchange(&w->done, false))
        return false;
    return eventfd_read(w->event, &n) == 0; /* where `done` is set the write of `event` is under way: this may wait for it, and no longer */
}

void spool_writer_wait(struct spool_writer *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->batch)
        pthread_cond_wait(&w->finished, &w->lock);
    pthread_mutex_unlock(&w->lock);
}
