#include "qmgr/spool_file.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK ((size_t)64 << 10)
#define SMALL ((size_t)8 << 10) /* read in one go */

unsigned spool_shelf(uint64_t id)
{
    return (unsigned)(id >> 16) & 0xff;
}

void spool_shelf_path(char out[SPOOL_PATH], unsigned shelf)
{
    snprintf(out, SPOOL_PATH, "msg/%02x", shelf & 0xff);
}

void spool_path(char out[SPOOL_PATH], enum spool_place place, uint64_t id)
{
    struct queueid_text text = queueid_format(id);
    if (place == SPOOL_IN_MSG)
        snprintf(out, SPOOL_PATH, "msg/%02x/%s", spool_shelf(id), text.text);
    else
        snprintf(out, SPOOL_PATH, "%s/%s", place == SPOOL_IN_TMP ? "tmp" : "bad", text.text);
}

void spool_file_free(struct spool_file *f)
{
    free(f->states);
    free(f->rest);
    buf_free(&f->recipients);
}

static enum spool_file_verdict verdict(struct spool_file *f, enum spool_file_verdict v, const char *why)
{
    f->why = why;
    return v;
}

static enum spool_file_verdict unreadable(struct spool_file *f, int status)
{
    return verdict(f, SPOOL_FILE_UNREADABLE, strerror(status));
}

static int all_zero(int fd, uint64_t size, bool *zero)
{
    char chunk[4096];
    *zero = true;
    for (uint64_t at = 0; at < size && *zero;) {
        size_t n = size - at < sizeof chunk ? (size_t)(size - at) : sizeof chunk;
        int status = disk_read(fd, chunk, n, at);
        if (status != 0)
            return status;
        for (size_t i = 0; i < n; i++)
            *zero &= chunk[i] == 0;
        at += n;
    }
    return 0;
}

/* Without a valid header a file is incomplete only if nothing of a message is in it. */
static enum spool_file_verdict no_header(int fd, uint64_t size, struct spool_file *f)
{
    bool zero;
    int status = all_zero(fd, size, &zero);
    if (status != 0)
        return unreadable(f, status);
    if (zero)
        return verdict(f, SPOOL_FILE_INCOMPLETE, "nothing was written");
    return verdict(f, SPOOL_FILE_BAD, "its header is damaged");
}

static int body_crc(int fd, uint64_t size, uint32_t *crc)
{
    char *chunk = malloc(CHUNK);
    int status = chunk ? 0 : ENOMEM;
    *crc = 0;
    for (uint64_t at = 0; at < size && status == 0;) {
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        status = disk_read(fd, chunk, n, SPOOL_RECORD_HEADER + at);
        if (status == 0)
            *crc = crc32c(*crc, chunk, n);
        at += n;
    }
    free(chunk);
    return status;
}

/* Applies SETTLE records up to the first that does not check out. */
static void settle(struct spool_file *f, struct span records)
{
    size_t count = f->envelope.recipients.count;
    while (records.n > 0) {
        struct spool_record r;
        f->torn = true;
        if (records.n < SPOOL_RECORD_HEADER || !spool_record_decode((const unsigned char *)records.p, &r))
            return;
        struct span states = {records.p + SPOOL_RECORD_HEADER, r.rest};
        if (r.type != SPOOL_SETTLE || r.id != f->envelope.id || r.offset != f->tail || r.body != 0 ||
            r.rest > records.n - SPOOL_RECORD_HEADER || r.rest_crc != crc32c(0, states.p, states.n) ||
            !spool_states_decode(states, f->states, count))
            return;
        f->torn = false;
        f->tail += SPOOL_RECORD_HEADER + states.n;
        records.p += SPOOL_RECORD_HEADER + states.n;
        records.n -= SPOOL_RECORD_HEADER + states.n;
    }
}

enum spool_file_verdict spool_file_decode(struct spool_file *f, const struct spool_record *r)
{
    struct span envelope = {f->rest, r->rest};
    if (r->rest_crc != crc32c(0, envelope.p, envelope.n))
        return verdict(f, SPOOL_FILE_BAD, "the checksum of its envelope is wrong");
    bool formed = spool_envelope_decode(envelope, r->id, &f->envelope, &f->recipients);
    if (f->recipients.failed) /* says nothing about the file */
        return unreadable(f, ENOMEM);
    if (!formed)
        return verdict(f, SPOOL_FILE_BAD, "its envelope is malformed");
    f->envelope.size = r->body;
    f->body_crc = r->body_crc;
    f->states = calloc(f->envelope.recipients.count, sizeof *f->states);
    if (!f->states)
        return unreadable(f, ENOMEM);
    for (uint32_t i = 0; i < f->envelope.recipients.count; i++)
        f->states[i] = (struct spool_state){.index = i, .state = RECIPIENT_WAITING};
    return SPOOL_FILE_GOOD;
}

/* What follows the header: body and envelope are at `data`, if they were read with it, and else in the file. */
static enum spool_file_verdict load_body(int fd, const struct spool_record *r, const char *data, struct spool_file *f)
{
    uint32_t crc = data ? crc32c(0, data, (size_t)r->body) : 0;
    int status = data ? 0 : body_crc(fd, r->body, &crc);
    if (status != 0)
        return unreadable(f, status);
    return crc == r->body_crc ? SPOOL_FILE_GOOD : verdict(f, SPOOL_FILE_BAD, "the checksum of its body is wrong");
}

static enum spool_file_verdict load_rest(int fd, const struct spool_record *r, const char *data, uint64_t rest, struct spool_file *f)
{
    if (rest > 2 * (uint64_t)SPOOL_REST_MOST)
        rest = 2 * (uint64_t)SPOOL_REST_MOST;
    f->rest = malloc((size_t)rest + 1);
    if (!f->rest)
        return unreadable(f, ENOMEM);
    if (data)
        memcpy(f->rest, data + r->body, (size_t)rest);
    int status = data ? 0 : disk_read(fd, f->rest, (size_t)rest, SPOOL_RECORD_HEADER + r->body);
    if (status != 0)
        return unreadable(f, status);
    enum spool_file_verdict v = spool_file_decode(f, r);
    f->tail = SPOOL_RECORD_HEADER + r->body + r->rest;
    if (v == SPOOL_FILE_GOOD)
        settle(f, span_make(f->rest + r->rest, (size_t)rest - r->rest));
    return v;
}

/* `first` is what was read in one go: all of a small file, else its header. */
static enum spool_file_verdict load(int fd, uint64_t id, uint64_t size, const char *first, bool whole, bool with_body, struct spool_file *f)
{
    struct spool_record r;
    const char *data = whole ? first + SPOOL_RECORD_HEADER : NULL;
    if (!spool_record_decode((const unsigned char *)first, &r))
        return no_header(fd, size, f);
    if (r.type != SPOOL_MSG || r.id != id || r.offset != 0)
        return verdict(f, SPOOL_FILE_BAD, "its header is of another record");
    if (size - SPOOL_RECORD_HEADER < r.body || size - SPOOL_RECORD_HEADER - r.body < r.rest)
        return verdict(f, SPOOL_FILE_INCOMPLETE, "it is shorter than its header says");
    enum spool_file_verdict v = with_body ? load_body(fd, &r, data, f) : SPOOL_FILE_GOOD;
    return v == SPOOL_FILE_GOOD ? load_rest(fd, &r, data, size - SPOOL_RECORD_HEADER - r.body, f) : v;
}

static enum spool_file_verdict read_and_load(int fd, uint64_t id, bool with_body, struct spool_file *f)
{
    char small[SMALL];
    uint64_t size;
    *f = (struct spool_file){.recipients = BUF_EMPTY(0)};
    if (disk->size(fd, &size) != 0)
        return errno == EINVAL ? verdict(f, SPOOL_FILE_FOREIGN, "it is no file") : unreadable(f, errno);
    if (size < SPOOL_RECORD_HEADER)
        return verdict(f, SPOOL_FILE_INCOMPLETE, "it ends in its header");
    bool whole = size <= sizeof small;
    int status = disk_read(fd, small, whole ? (size_t)size : SPOOL_RECORD_HEADER, 0);
    return status == 0 ? load(fd, id, size, small, whole, with_body, f) : unreadable(f, status);
}

enum spool_file_verdict spool_file_load(int fd, uint64_t id, struct spool_file *f)
{
    return read_and_load(fd, id, true, f);
}

enum spool_file_verdict spool_file_load_envelope(int fd, uint64_t id, struct spool_file *f)
{
    return read_and_load(fd, id, false, f);
}
