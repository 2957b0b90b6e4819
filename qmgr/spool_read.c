/* What is read back from the spool, by message: its envelope, its body. And what becomes of one that is damaged: it goes aside into bad/, where nothing
 * delivers it, with an error line. */
#include "common/crc32c.h"
#include "common/log.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/spool.h"
#include "qmgr/spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define ENVELOPE_ASIDE ((uint64_t)64 << 10) /* octets behind the body that are kept of a damaged message in the log */

/* ---- what is damaged --------------------------------------------------------------------------------------------- */

/* What the log has of it, as it is. */
static int copy_aside(struct spool *s, const struct spool_entry *e, const char *path)
{
    const struct log_segment *g = &s->log.segments[e->segment];
    uint64_t n = SPOOL_RECORD_HEADER + e->size + ENVELOPE_ASIDE;
    n = n < g->size - e->offset ? n : g->size - e->offset;
    char *octets = malloc((size_t)n);
    int fd = octets ? disk->openat(s->directory, path, O_WRONLY | O_CREAT | O_EXCL, 0600) : -1;
    int status = fd >= 0 ? disk_read(g->fd, octets, (size_t)n, e->offset) : errno;
    struct iovec all = {.iov_base = octets, .iov_len = (size_t)n};
    if (fd >= 0 && status == 0)
        status = disk_write(fd, &all, 1, 0);
    if (fd >= 0 && status == 0 && disk->fdatasync(fd) != 0)
        status = errno;
    if (fd >= 0)
        disk->close(fd);
    free(octets);
    return status;
}

static int move_aside(struct spool *s, const char *from, const char *to)
{
    const struct spool_entry *e = NULL;
    uint64_t id;
    const char *name = strrchr(from, '/');
    if (name && queueid_parse(span_of(name + 1), &id))
        e = spool_entry_find(s, id);
    if (e && spool_entry_in_log(e))
        return copy_aside(s, e, to);
    return disk->linkat(s->directory, from, to) == 0 ? 0 : errno;
}

void spool_set_aside(struct spool *s, uint64_t id, const char *why)
{
    const struct spool_entry *e = spool_entry_find(s, id);
    bool in_log = e && spool_entry_in_log(e);
    char from[SPOOL_PATH], to[SPOOL_PATH], numbered[SPOOL_PATH + 16];
    spool_path(from, SPOOL_IN_MSG, id);
    spool_path(to, SPOOL_IN_BAD, id);
    snprintf(numbered, sizeof numbered, "%s", to);
    int status = 0;
    for (int i = 1; i < 10; i++) {
        status = move_aside(s, from, numbered);
        if (status != EEXIST)
            break;
        snprintf(numbered, sizeof numbered, "%s.%d", to, i);
    }
    if (status == 0 && !in_log)
        status = disk->unlinkat(s->directory, from) == 0 ? 0 : errno;
    if (in_log)
        spool_forget_record(s, id, e->segment);
    if (status == 0)
        log_error("spool: %s: %s; it has been set aside as %s and will not be delivered: look at it, and at the disk", from, why, numbered);
    else
        log_error("spool: %s: %s; it will not be delivered, and could not be moved to %s: %s", from, why, numbered, strerror(status));
    spool_entry_forget(s, id);
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
    enum spool_file_verdict verdict;
    const struct spool_entry *e = spool_entry_find(s, id);
    if (e && spool_entry_in_log(e)) {
        verdict = log_load(&s->log, id, spool_entry_place(e), spool_entry_settled(e), &f, NULL);
    } else {
        int fd = open_message(s, id);
        if (fd < 0)
            return error_set(error, "%s: %s", queueid_format(id).text, strerror(-fd)), fd;
        verdict = spool_file_load_envelope(fd, id, &f);
        disk->close(fd);
    }
    if (verdict == SPOOL_FILE_GOOD)
        each(&f.envelope, f.states, f.envelope.recipients.count, arg);
    else
        error_set(error, "%s: %s", queueid_format(id).text, f.why);
    bool damaged = verdict == SPOOL_FILE_BAD || verdict == SPOOL_FILE_INCOMPLETE;
    if (damaged)
        spool_set_aside(s, id, f.why);
    spool_file_free(&f);
    return verdict == SPOOL_FILE_GOOD ? 0 : damaged ? -EBADMSG : -EIO;
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
    int status;
    if (spool_entry_in_log(e)) {
        status = disk_read(s->log.segments[e->segment].fd, to, n, e->offset + SPOOL_RECORD_HEADER + offset);
    } else {
        int fd = open_message(s, id);
        if (fd < 0)
            return fd;
        status = disk_read(fd, to, n, SPOOL_RECORD_HEADER + offset);
        disk->close(fd);
    }
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
    const struct spool_entry *e = spool_entry_find(s, id);
    if (!e)
        return -ENOENT;
    if (spool_entry_in_log(e)) /* its segment holds other people's mail */
        return -ENOTSUP;
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
