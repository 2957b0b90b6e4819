/* Any octets as a segment of the log: recovery may find anything in it or nothing, a crash may not be. The disk is the input. */
#include "common/crc32c.h"
#include "qmgr/disk.h"
#include "qmgr/log_recover.h"

#include <errno.h>
#include <stdlib.h>

static const uint8_t *input;
static size_t input_size;

static int input_openat(int directory, const char *path, int flags, mode_t mode)
{
    (void)directory, (void)flags, (void)mode;
    if (strcmp(path, "log/00") == 0)
        return 1000;
    errno = ENOENT;
    return -1;
}

static int input_close(int fd)
{
    (void)fd;
    return 0;
}

static ssize_t input_pread(int fd, void *to, size_t n, off_t offset)
{
    (void)fd;
    if (offset < 0 || (size_t)offset >= input_size)
        return 0;
    if (n > input_size - (size_t)offset)
        n = input_size - (size_t)offset;
    memcpy(to, input + offset, n);
    return (ssize_t)n;
}

static int input_size_of(int fd, uint64_t *size)
{
    (void)fd;
    *size = input_size;
    return 0;
}

static int input_unlinkat(int directory, const char *path)
{
    (void)directory, (void)path;
    return 0;
}

static const struct disk_ops input_disk = {
    .openat = input_openat, .close = input_close, .pread = input_pread, .size = input_size_of, .unlinkat = input_unlinkat};

static struct log_place last_settled;

/* Every record that is given lies in the segment; and every message can be asked for. */
static void each(const struct spool_record *r, struct span rest, struct log_place at, void *arg)
{
    struct log *log = arg;
    struct spool_file f;
    struct log_raw raw = {.body = BUF_EMPTY(SIZE_MAX)};
    if (at.segment != 0 || rest.n != r->rest || at.offset + SPOOL_RECORD_HEADER + r->body + r->rest > input_size)
        abort();
    if (r->type != SPOOL_MSG) {
        last_settled = at;
        return;
    }
    log_load(log, r->id, at, last_settled, &f, &raw);
    spool_file_free(&f);
    buf_free(&raw.body);
}

/* Headers and checksums that are right, so that what is behind them is reached. The records' lengths are the input's. */
static void mend(uint8_t *p, size_t n)
{
    size_t at = LOG_BLOCK + LOG_HEADER, end = n;
    uint32_t count = 0;
    if (n < (size_t)LOG_SEGMENT_LEAST)
        return;
    log_segment_encode(&(struct log_segment_header){.size = LOG_SEGMENT_LEAST, .epoch = 1, .key = 7, .first = 1}, p);
    while (end - at >= SPOOL_RECORD_HEADER + LOG_ALIGN && count < 8) {
        size_t room = end - at - SPOOL_RECORD_HEADER, body = p[at] % (room / 2), rest = (size_t)(p[at + 1] | p[at + 2] << 8) % (room / 2);
        struct spool_record r = {
            .type = (uint16_t)(1 + p[at + 3] % 6), .id = p[at + 4] % 3, .offset = at, .body = body, .rest = (uint32_t)rest, .key = 7};
        r.previous = p[at + 5] % 2 ? (uint64_t)1 << 32 | at : p[at + 6];
        r.body_crc = crc32c(0, p + at + SPOOL_RECORD_HEADER, body);
        r.rest_crc = crc32c(0, p + at + SPOOL_RECORD_HEADER + body, rest);
        spool_record_encode(&r, p + at);
        at += log_record_octets(body, rest);
        count++;
        if (at > end)
            return;
    }
    struct log_batch_header h = {.epoch = 1, .key = 7, .sequence = 1, .length = (uint32_t)(at - LOG_BLOCK), .count = count};
    log_batch_encode(&h, p + LOG_BLOCK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error;
    uint8_t *copy = calloc(1, LOG_SEGMENT_LEAST + size);
    if (!copy)
        return 0;
    if (size)
        memcpy(copy + LOG_BLOCK, data, size < LOG_SEGMENT_LEAST - LOG_BLOCK ? size : LOG_SEGMENT_LEAST - LOG_BLOCK);
    disk = &input_disk;
    for (int mended = 0; mended < 2; mended++) {
        struct log log;
        input = mended ? copy : data;
        input_size = mended ? LOG_SEGMENT_LEAST : size;
        last_settled = (struct log_place){.segment = LOG_NOWHERE};
        log_init(&log, 0, LOG_SEGMENT_LEAST);
        log_scan(&log, each, &log, &error);
        log_settle_in(&log);
        log_free(&log);
        mend(copy, LOG_SEGMENT_LEAST);
    }
    free(copy);
    return 0;
}
