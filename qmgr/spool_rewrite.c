#include "qmgr/spool_rewrite.h"
#include "common/crc32c.h"
#include "qmgr/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define CHUNK ((size_t)64 << 10)
#define FROM  ((uint64_t)1 << 20)

bool spool_rewrite_due(uint64_t before, uint64_t after)
{
    uint64_t step = FROM;
    while (step <= after / 2)
        step *= 2;
    return after >= step && before < step;
}

void spool_rewrite_states(const struct spool_file *f, uint64_t offset, struct buf *out)
{
    struct buf states = BUF_EMPTY(SPOOL_REST_MOST);
    unsigned char header[SPOOL_RECORD_HEADER];
    for (uint32_t i = 0; i < f->envelope.recipients.count; i++) {
        if (spool_state_says(&f->states[i]))
            spool_state_encode(&f->states[i], &states);
    }
    struct spool_record r = {.type = SPOOL_SETTLE, .id = f->envelope.id, .offset = offset, .rest = (uint32_t)states.len};
    r.rest_crc = crc32c(0, states.data, states.len);
    spool_record_encode(&r, header);
    if (states.len > 0) {
        buf_add(out, header, sizeof header);
        buf_add_span(out, buf_span(&states));
    }
    out->failed |= states.failed;
    buf_free(&states);
}

static int copy(int from, int to, uint64_t octets)
{
    char *chunk = malloc(CHUNK);
    int status = chunk ? 0 : ENOMEM;
    for (uint64_t at = 0; at < octets && status == 0;) {
        struct iovec part = {.iov_base = chunk, .iov_len = octets - at < CHUNK ? (size_t)(octets - at) : CHUNK};
        status = disk_read(from, chunk, part.iov_len, at);
        if (status == 0)
            status = disk_write(to, &part, 1, at);
        at += part.iov_len;
    }
    free(chunk);
    return status;
}

static int write_copy(int directory, struct spool_op *op, int from, const struct spool_file *f, uint64_t octets)
{
    char path[SPOOL_PATH];
    spool_rewrite_states(f, octets, &op->tail);
    if (op->tail.failed)
        return ENOMEM;
    spool_path(path, SPOOL_IN_TMP, op->id);
    op->fd = disk->openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (op->fd < 0)
        return errno;
    struct iovec settled = {.iov_base = op->tail.data, .iov_len = op->tail.len};
    int status = copy(from, op->fd, octets);
    return status == 0 ? disk_write(op->fd, &settled, 1, octets) : status;
}

static void give_up(int directory, struct spool_op *op)
{
    char path[SPOOL_PATH];
    if (op->fd < 0)
        return;
    spool_path(path, SPOOL_IN_TMP, op->id);
    disk->close(op->fd);
    disk->unlinkat(directory, path);
    op->fd = -1;
}

bool spool_rewrite(int directory, struct spool_op *op)
{
    struct spool_file f;
    struct spool_record r;
    char path[SPOOL_PATH];
    unsigned char header[SPOOL_RECORD_HEADER];
    spool_path(path, SPOOL_IN_MSG, op->id);
    int fd = disk->openat(directory, path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    bool good = spool_file_load(fd, op->id, &f) == SPOOL_FILE_GOOD && !f.torn && f.tail == op->offset &&
                disk_read(fd, header, sizeof header, 0) == 0 && spool_record_decode(header, &r) &&
                spool_states_decode(span_make(op->body.data + SPOOL_RECORD_HEADER, op->body.len - SPOOL_RECORD_HEADER), f.states,
                                    f.envelope.recipients.count);
    good = good && write_copy(directory, op, fd, &f, SPOOL_RECORD_HEADER + r.body + r.rest) == 0;
    if (good)
        op->rewritten = SPOOL_RECORD_HEADER + r.body + r.rest + op->tail.len;
    else
        give_up(directory, op);
    spool_file_free(&f);
    disk->close(fd);
    return good;
}

void spool_rewrite_finish(int directory, struct spool_op *op)
{
    char from[SPOOL_PATH], to[SPOOL_PATH];
    spool_path(from, SPOOL_IN_TMP, op->id);
    spool_path(to, SPOOL_IN_MSG, op->id);
    if (op->status == 0 && disk->renameat(directory, from, to) == 0) {
        op->made = true;
        return;
    }
    if (op->status == 0) {
        op->status = errno;
        op->step = "rename";
    }
    disk->unlinkat(directory, from);
}
