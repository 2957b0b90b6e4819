/* Any octets as a segment of the log, before the tools that read a spool offline: whatever they are told of lies in the segment, and what is said to
 * be whole is. The disk is the input. */
#include "admin/spool_survey.h"
#include "common/crc32c.h"
#include "qmgr/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { VERSION = 1000, LOG };

static const char version[] = "Postino spool version 2, written by Postino 0.1\n";
static const uint8_t *input;
static size_t input_size;

static int input_openat(int directory, const char *path, int flags, mode_t mode)
{
    (void)directory, (void)flags, (void)mode;
    if (strcmp(path, "log/00") == 0)
        return LOG;
    if (strcmp(path, "version") == 0)
        return VERSION;
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
    const void *from = fd == LOG ? (const void *)input : version;
    size_t size = fd == LOG ? input_size : sizeof version - 1;
    if (offset < 0 || (size_t)offset >= size)
        return 0;
    if (n > size - (size_t)offset)
        n = size - (size_t)offset;
    memcpy(to, (const char *)from + offset, n);
    return (ssize_t)n;
}

static int input_size_of(int fd, uint64_t *size)
{
    *size = fd == LOG ? input_size : sizeof version - 1;
    return 0;
}

static const struct disk_ops input_disk = {.openat = input_openat, .close = input_close, .pread = input_pread, .size = input_size_of};

static void found(const struct finding *f, void *arg)
{
    (void)arg;
    if (f->kind >= FINDING_KINDS || !f->file || !f->what || !f->meaning || !f->next || (f->at && f->offset > input_size))
        abort();
}

static int each(const struct survey_message *m, void *arg)
{
    (void)arg;
    if (m->place != SURVEY_LOG || !m->name || m->fd != LOG)
        abort();
    if (!m->whole)
        return 0;
    if (m->body > input_size || m->octets > input_size - m->body || crc32c(0, input + m->body, (size_t)m->octets) != m->body_crc)
        abort();
    if (!m->f->states || m->f->envelope.recipients.count == 0)
        abort();
    return 0;
}

/* A segment whose header is right, and records whose checksums are; lengths, types and links are the input's. */
static void mend(uint8_t *p, size_t n, bool batch)
{
    size_t at = LOG_BLOCK + LOG_HEADER;
    uint32_t count = 0;
    log_segment_encode(&(struct log_segment_header){.size = LOG_SEGMENT_LEAST, .epoch = 1, .key = 7, .first = 1}, p);
    while (n - at >= SPOOL_RECORD_HEADER + LOG_ALIGN && count < 8) {
        size_t room = n - at - SPOOL_RECORD_HEADER, body = p[at] % (room / 2), rest = (size_t)(p[at + 1] | p[at + 2] << 8) % (room / 2);
        bool damaged = p[at + 7] % 4 == 0;
        struct spool_record r = {
            .type = (uint16_t)(1 + p[at + 3] % 6), .id = p[at + 4] % 3, .offset = at, .body = body, .rest = (uint32_t)rest, .key = 7};
        r.previous = p[at + 5] % 2 ? (uint64_t)1 << 32 | at : p[at + 6];
        r.body_crc = crc32c(0, p + at + SPOOL_RECORD_HEADER, body) + damaged;
        r.rest_crc = crc32c(0, p + at + SPOOL_RECORD_HEADER + body, rest);
        spool_record_encode(&r, p + at);
        at += log_record_octets(body, rest);
        count++;
        if (at > n)
            return;
    }
    struct log_batch_header h = {.epoch = 1, .key = 7, .sequence = 1, .length = (uint32_t)(at - LOG_BLOCK), .count = count};
    if (batch)
        log_batch_encode(&h, p + LOG_BLOCK);
}

static void survey(const uint8_t *p, size_t n, bool live)
{
    struct survey_sums sums;
    struct error error;
    struct survey_calls calls = {.finding = found, .message = each, .live = live};
    input = p;
    input_size = n;
    if (spool_survey(-1, &calls, &sums, &error) == 0 && sums.segment_count > 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[LOG_SEGMENT_LEAST];
    size_t n = size < sizeof copy - LOG_BLOCK ? size : sizeof copy - LOG_BLOCK;
    disk = &input_disk;
    survey(data, size, false);
    for (int batch = 0; batch < 2; batch++) {
        memset(copy, 0, sizeof copy);
        if (n)
            memcpy(copy + LOG_BLOCK, data, n);
        mend(copy, sizeof copy, batch);
        survey(copy, sizeof copy, size % 2);
    }
    return 0;
}
