/* Any octets as a message's file: the verdict may be anything, a crash may not. The disk is the input. */
#include "common/crc32c.h"
#include "qmgr/disk.h"
#include "qmgr/spool_file.h"

#include <stdlib.h>

static const uint8_t *input;
static size_t input_size;

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

static const struct disk_ops input_disk = {.pread = input_pread, .size = input_size_of};

static void check(const struct spool_file *f)
{
    struct list list = f->envelope.recipients;
    uint32_t n = 0;
    for (struct record_recipient r; record_recipient_next(&list, &r); n++) {
        if (f->states[n].state != RECIPIENT_WAITING && f->states[n].state != RECIPIENT_DONE)
            abort();
    }
    if (n != f->envelope.recipients.count || f->tail > input_size)
        abort();
}

/* Checksums that are right, so that what is behind them is reached. The header's own fields are left as they came. */
static void mend(uint8_t *p, size_t n)
{
    struct spool_record r;
    unsigned char header[SPOOL_RECORD_HEADER];
    if (n < SPOOL_RECORD_HEADER)
        return;
    size_t body = n > SPOOL_RECORD_HEADER ? p[16] % (n - SPOOL_RECORD_HEADER) : 0, rest = (n - SPOOL_RECORD_HEADER - body) & ~(size_t)p[17];
    r = (struct spool_record){.type = SPOOL_MSG, .id = 1, .body = body, .rest = (uint32_t)rest};
    r.body_crc = crc32c(0, p + SPOOL_RECORD_HEADER, body);
    r.rest_crc = crc32c(0, p + SPOOL_RECORD_HEADER + body, rest);
    spool_record_encode(&r, header);
    memcpy(p, header, sizeof header);
    size_t at = SPOOL_RECORD_HEADER + body + rest;
    if (n - at <= SPOOL_RECORD_HEADER)
        return;
    rest = n - at - SPOOL_RECORD_HEADER;
    r = (struct spool_record){
        .type = SPOOL_SETTLE, .id = 1, .offset = at, .rest = (uint32_t)rest, .rest_crc = crc32c(0, p + at + SPOOL_RECORD_HEADER, rest)};
    spool_record_encode(&r, header);
    memcpy(p + at, header, sizeof header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spool_file f;
    uint8_t *copy = malloc(size + 1);
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    disk = &input_disk;
    for (int mended = 0; mended < 2; mended++) {
        input = copy;
        input_size = size;
        if (spool_file_load(0, 1, &f) == SPOOL_FILE_GOOD)
            check(&f);
        spool_file_free(&f);
        mend(copy, size);
    }
    free(copy);
    return 0;
}
