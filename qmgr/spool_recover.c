/* What is in the spool when it is opened. */
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/log_recover.h"
#include "qmgr/memory.h"
#include "qmgr/spool_ahead.h"
#include "qmgr/spool_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- messages ---------------------------------------------------------------------------------------------------- */

#define SLOW 50 /* microseconds a file: it is read from the disk */

struct recovery {
    struct spool *spool;
    spool_each_fn *each;
    void *arg;
    long count;
    unsigned long files;
    struct spool_ahead *ahead;
};

static void foreign(const char *where, const char *name)
{
    struct buf line = BUF_EMPTY(1024);
    buf_printf(&line, "spool: in %s:", where);
    log_value(&line, "file", span_of(name));
    buf_add_text(&line, " is none of ours; ignored");
    log_buf(LOG_LEVEL_WARNING, &line);
    buf_free(&line);
}

static bool all_done(const struct spool_file *f)
{
    for (uint32_t i = 0; i < f->envelope.recipients.count; i++) {
        if (f->states[i].state != RECIPIENT_DONE)
            return false;
    }
    return true;
}

static void good_file(struct recovery *r, const char *path, struct spool_file *f)
{
    if (f->torn)
        log_info("spool: %s: its last settlement was not written in full, and does not count", path);
    spool_entry_add(r->spool, f->envelope.id, f->tail, f->envelope.size, f->body_crc);
    if (all_done(f)) {
        spool_remove(r->spool, f->envelope.id);
        return;
    }
    r->count++;
    r->each(&f->envelope, f->states, f->envelope.recipients.count, r->arg);
}

static void remove_copy(const struct recovery *r, const char *path, int fd)
{
    uint64_t size;
    if (disk->size(fd, &size) != 0) /* no file */
        return;
    log_info("spool: %s: a copy of what is in the log, from a move that was not finished; removed", path);
    if (disk->unlinkat(r->spool->directory, path) != 0)
        log_error("spool: %s can't be removed: %s", path, strerror(errno));
}

static void recover_file(struct recovery *r, unsigned shelf, const char *path, uint64_t id, int fd)
{
    struct spool_file f;
    char shelf_path[SPOOL_PATH];
    const struct spool_entry *e = spool_entry_find(r->spool, id);
    if (e && e->unreadable) /* the next start may read the log, and then knows whether this copy counts */
        return;
    if (e) {
        remove_copy(r, path, fd);
        return;
    }
    enum spool_file_verdict verdict = spool_file_load(fd, id, &f);
    if (id > r->spool->last_id && verdict != SPOOL_FILE_FOREIGN)
        r->spool->last_id = id;
    switch (verdict) {
    case SPOOL_FILE_GOOD:
        good_file(r, path, &f);
        break;
    case SPOOL_FILE_INCOMPLETE:
        log_info(
            "spool: %s: %s: it was being written when the host or Postino stopped, and nobody was told that it had been taken; removed",
            path, f.why);
        if (disk->unlinkat(r->spool->directory, path) != 0)
            log_error("spool: %s can't be removed: %s", path, strerror(errno));
        break;
    case SPOOL_FILE_BAD:
        spool_set_aside(r->spool, id, f.why);
        break;
    case SPOOL_FILE_FOREIGN:
        spool_shelf_path(shelf_path, shelf);
        foreign(shelf_path, queueid_format(id).text);
        break;
    case SPOOL_FILE_UNREADABLE:
        log_error("spool: %s can't be read: %s; it stays where it is, and is looked at again at the next start", path, f.why);
        break;
    }
    spool_file_free(&f);
}

static void recover_name(struct recovery *r, unsigned shelf, const char *name)
{
    char path[SPOOL_PATH], shelf_path[SPOOL_PATH];
    uint64_t id;
    spool_shelf_path(shelf_path, shelf);
    if (!queueid_parse(span_of(name), &id) || strcmp(queueid_format(id).text, name) != 0 || spool_shelf(id) != shelf) {
        foreign(shelf_path, name);
        return;
    }
    spool_path(path, SPOOL_IN_MSG, id);
    int fd = disk->openat(r->spool->directory, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 && errno == ELOOP)
        foreign(shelf_path, name);
    else if (fd < 0)
        log_error("spool: %s can't be opened: %s; it stays where it is", path, strerror(errno));
    else
        recover_file(r, shelf, path, id, fd);
    if (fd >= 0)
        disk->close(fd);
}

/* Calls `each` with the names of a directory. The names are read whole first: files are removed on the way. */
static int each_name(int directory, const char *path, void (*each)(void *arg, const char *name), void *arg, struct error *error)
{
    int fd = disk->openat(directory, path, O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct buf names = BUF_EMPTY(SIZE_MAX);
    if (!dir) {
        error_set(error, "spool: %s can't be read: %s", path, strerror(errno));
        if (fd >= 0)
            disk->close(fd);
        return -1;
    }
    errno = 0;
    for (struct dirent *d; (d = readdir(dir)); errno = 0) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            buf_add(&names, d->d_name, strlen(d->d_name) + 1);
    }
    int status = errno;
    closedir(dir);
    if (status != 0 || names.failed) {
        buf_free(&names);
        return error_set(error, "spool: %s can't be read: %s", path, strerror(status ? status : ENOMEM));
    }
    for (size_t at = 0; at < names.len; at += strlen(names.data + at) + 1)
        each(arg, names.data + at);
    buf_free(&names);
    return 0;
}

struct shelf {
    struct recovery *recovery;
    unsigned number;
};

static void each_in_shelf(void *arg, const char *name)
{
    struct shelf *shelf = arg;
    shelf->recovery->files++;
    recover_name(shelf->recovery, shelf->number, name);
}

static void each_shelf(void *arg, const char *name)
{
    (void)arg;
    unsigned shelf;
    char end;
    if (strlen(name) != 2 || sscanf(name, "%2x%c", &shelf, &end) != 1)
        foreign("msg", name);
}

/* Pieces whose message never came. */
static void each_in_tmp(void *arg, const char *name)
{
    struct recovery *r = arg;
    char path[SPOOL_PATH];
    uint64_t id;
    if (!queueid_parse(span_of(name), &id)) {
        foreign("tmp", name);
        return;
    }
    spool_path(path, SPOOL_IN_TMP, id);
    log_info("spool: %s: the message was never complete; removed", path);
    if (disk->unlinkat(r->spool->directory, path) != 0)
        log_error("spool: %s can't be removed: %s", path, strerror(errno));
}

/* ---- the log ----------------------------------------------------------------------------------------------------- */

static void log_record(const struct spool_record *r, struct span rest, struct log_place at, void *arg)
{
    struct recovery *recovery = arg;
    struct spool *s = recovery->spool;
    struct spool_entry *e = spool_entry_find(s, r->id);
    (void)rest;
    if (r->id > s->last_id)
        s->last_id = r->id;
    switch ((enum spool_record_type)r->type) {
    case SPOOL_MSG:
        if (!e)
            spool_entry_add_log(s, r->id, at, r->body, r->body_crc);
        break;
    case SPOOL_SETTLE:
    case SPOOL_TOLD:
        if (e) {
            e->settled = at.offset;
            e->settled_segment = at.segment;
        }
        break;
    case SPOOL_REMOVE:
    case SPOOL_MOVED:
        if (e) {
            s->log.segments[e->segment].alive--;
            spool_entry_forget(s, r->id);
        }
        break;
    }
}

static void recover_from_log(struct recovery *r, const struct spool_entry *e)
{
    struct spool_file f;
    uint64_t id = e->node.key;
    enum spool_file_verdict verdict = log_load(&r->spool->log, id, spool_entry_place(e), spool_entry_settled(e), &f, NULL);
    if (verdict == SPOOL_FILE_GOOD && f.torn)
        log_error("spool: %s: a settlement of it is damaged in the log: some recipient may get it once more", queueid_format(id).text);
    if (verdict == SPOOL_FILE_GOOD && all_done(&f)) {
        spool_remove(r->spool, id);
    } else if (verdict == SPOOL_FILE_GOOD) {
        r->count++;
        r->each(&f.envelope, f.states, f.envelope.recipients.count, r->arg);
    } else if (verdict == SPOOL_FILE_UNREADABLE) {
        spool_entry_find(r->spool, id)->unreadable = true;
        log_error("spool: %s can't be read from the log: %s; it is looked at again at the next start", queueid_format(id).text, f.why);
    } else {
        spool_set_aside(r->spool, id, f.why);
    }
    spool_file_free(&f);
}

static void each_log_message(struct recovery *r)
{
    const struct log *log = &r->spool->log;
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        for (size_t i = 0; i < log->segments[slot].id_count; i++) {
            const struct spool_entry *e = spool_entry_find(r->spool, log->segments[slot].ids[i]);
            if (e && e->segment == slot)
                recover_from_log(r, e);
        }
    }
}

static void each_in_log(void *arg, const char *name)
{
    unsigned slot;
    char end;
    (void)arg;
    if (strlen(name) != 2 || sscanf(name, "%2x%c", &slot, &end) != 1 || slot >= LOG_SLOTS)
        foreign("log", name);
}

static uint32_t log_octets = UINT32_MAX; /* what the disk has room for */

void spool_log_size(uint32_t octets)
{
    log_octets = octets;
}

#define SEGMENT_OCTETS_LEAST ((uint64_t)256 << 10)

/* An eighth of what is free, and no segment so small that it is not worth its while. */
static uint32_t log_size_for(const struct spool *s)
{
    uint64_t octets = 0, size = LOG_SEGMENT_MOST;
    if (log_octets != UINT32_MAX)
        return log_octets;
    if (disk->free_space(s->directory, &octets) != 0)
        return 0;
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++)
        octets += s->log.segments[slot].size;
    octets = octets > s->free_least ? (octets - s->free_least) / 8 / LOG_WANTED : 0;
    while (size > octets && size >= SEGMENT_OCTETS_LEAST)
        size /= 2;
    return size >= SEGMENT_OCTETS_LEAST ? (uint32_t)size : 0;
}

static int recover_log(struct recovery *r, struct error *error)
{
    struct log *log = &r->spool->log;
    if (each_name(r->spool->directory, "log", each_in_log, NULL, error) != 0 || log_scan(log, log_record, r, error) != 0)
        return -1;
    log->size = log_size_for(r->spool);
    if (log->size == 0 && log_count_in_use(log) > 0)
        log->size = SEGMENT_OCTETS_LEAST; /* for what there is to say about the mail that is in it */
    log_settle_in(log);
    each_log_message(r);
    r->spool->recovered = true;
    return 0;
}

/* What the kernel has in its cache takes a tenth of that. */
static bool disk_is_slow(const struct recovery *r, uint64_t began)
{
    return r->files >= 200 && (spool_monotonic() - began) * 1000 / r->files > SLOW;
}

static int recover_shelves(struct recovery *r, struct error *error)
{
    uint64_t began = spool_monotonic();
    for (unsigned number = 0; number < 256; number++) {
        struct shelf shelf = {.recovery = r, .number = number};
        char path[SPOOL_PATH];
        spool_shelf_path(path, number);
        if (each_name(r->spool->directory, path, each_in_shelf, &shelf, error) != 0)
            return -1;
        if (!r->ahead && disk_is_slow(r, began))
            r->ahead = spool_ahead_start(r->spool->directory, number + 1);
    }
    return 0;
}

long spool_recover(struct spool *s, spool_each_fn *each, void *arg, struct error *error)
{
    struct recovery r = {.spool = s, .each = each, .arg = arg};
    if (recover_log(&r, error) != 0)
        return -1;
    if (each_name(s->directory, "msg", each_shelf, NULL, error) != 0 || each_name(s->directory, "tmp", each_in_tmp, &r, error) != 0)
        return -1;
    int status = recover_shelves(&r, error);
    spool_ahead_stop(r.ahead);
    return status == 0 ? r.count : -1;
}
