/* A log in which something is damaged is emptied: every message in it gets a file of its own, with its states, and the segments go to bad/. To
 * take one segment out of the middle would not do: what it says about messages in older ones would be unsaid. */
#include "admin/spool_mend_private.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FREE_BESIDE ((uint64_t)1 << 20) /* that is left over */

struct emptying {
    struct mend *m;
    bool shelves[256]; /* with new files in them, not flushed */
    bool unreadable, bad_file;
    uint64_t moved, aside;
};

static int failed(const struct emptying *e, const char *path, const char *what, int status)
{
    return error_set(e->m->error, "%s: %s failed: %s; the log is as it was: mend the cause, and do it again", path, what, strerror(status));
}

/* ---- one message's file ------------------------------------------------------------------------------------------ */

static void encode_states(const struct spool_file *f, struct buf *out)
{
    for (uint32_t i = 0; f->states && i < f->envelope.recipients.count; i++) {
        if (spool_state_says(&f->states[i]))
            spool_state_encode(&f->states[i], out);
    }
}

/* What is to stand behind body and envelope. */
static int write_states(const struct emptying *e, const struct survey_message *msg, int fd, uint64_t at, const char *path)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    struct buf states = BUF_EMPTY(SPOOL_REST_MOST);
    encode_states(msg->f, &states);
    struct spool_record r = {.type = SPOOL_SETTLE, .id = msg->id, .offset = at, .rest = (uint32_t)states.len};
    r.rest_crc = crc32c(0, states.data, states.len);
    spool_record_encode(&r, header);
    struct iovec all[] = {{.iov_base = header, .iov_len = sizeof header}, {.iov_base = states.data, .iov_len = states.len}};
    int status = states.failed ? ENOMEM : states.len > 0 ? disk_write(fd, all, 2, at) : 0;
    buf_free(&states);
    return status == 0 ? 0 : failed(e, path, "its writing", status);
}

/* The octets as they are in the log, behind a header of a file. */
static int write_message(const struct emptying *e, const struct survey_message *msg, int fd, const char *path)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    struct spool_record r;
    uint32_t crc = 0;
    int status = disk_read(msg->fd, header, sizeof header, msg->body - SPOOL_RECORD_HEADER);
    if (status == 0 && !spool_record_decode(header, &r))
        status = EBADMSG;
    if (status != 0)
        return failed(e, path, "its reading", status);
    r.offset = r.key = r.previous = 0;
    spool_record_encode(&r, header);
    struct iovec all = {.iov_base = header, .iov_len = sizeof header};
    if ((status = disk_write(fd, &all, 1, 0)) != 0)
        return failed(e, path, "its writing", status);
    if (mend_copy(e->m, msg->fd, msg->body, r.body, fd, SPOOL_RECORD_HEADER, &crc, path) != 0 ||
        mend_copy(e->m, msg->fd, msg->body + r.body, r.rest, fd, SPOOL_RECORD_HEADER + r.body, NULL, path) != 0)
        return -1;
    if (msg->whole && crc != r.body_crc)
        return failed(e, path, "its reading", EBADMSG);
    return msg->whole ? write_states(e, msg, fd, SPOOL_RECORD_HEADER + r.body + r.rest, path) : 0;
}

static int write_durable(const struct emptying *e, const struct survey_message *msg, int fd, const char *path)
{
    int status = write_message(e, msg, fd, path);
    if (status == 0 && disk->fdatasync(fd) != 0)
        status = failed(e, path, "its flush to disk", errno);
    disk->close(fd);
    return status;
}

/* ---- where it goes ----------------------------------------------------------------------------------------------- */

static bool equal_octets(int a, int b)
{
    char x[4096], y[4096];
    uint64_t n, m;
    if (disk->size(a, &n) != 0 || disk->size(b, &m) != 0 || n != m)
        return false;
    for (uint64_t at = 0; at < n; at += sizeof x) {
        size_t piece = n - at < sizeof x ? (size_t)(n - at) : sizeof x;
        if (disk_read(a, x, piece, at) != 0 || disk_read(b, y, piece, at) != 0 || memcmp(x, y, piece) != 0)
            return false;
    }
    return true;
}

static bool equal_files(const struct mend *m, const char *a, const char *b)
{
    int x = disk->openat(m->directory, a, O_RDONLY | O_NONBLOCK, 0), y = disk->openat(m->directory, b, O_RDONLY | O_NONBLOCK, 0);
    bool equal = x >= 0 && y >= 0 && equal_octets(x, y);
    if (x >= 0)
        disk->close(x);
    if (y >= 0)
        disk->close(y);
    return equal;
}

/* A file of that name may be there: a copy from a move that was not finished, by postino-qmgr or by this. */
static int replace(struct emptying *e, uint64_t id, const char *from, const char *path)
{
    char shelf[SPOOL_PATH];
    spool_shelf_path(shelf, spool_shelf(id));
    if (equal_files(e->m, from, path))
        return disk->unlinkat(e->m->directory, from) == 0 ? 0 : failed(e, from, "its removal", errno);
    if (faccessat(e->m->directory, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && mend_aside(e->m, path, shelf, queueid_format(id).text) != 0)
        return -1;
    return disk->renameat(e->m->directory, from, path) == 0 ? 0 : failed(e, path, "its move into place", errno);
}

static int to_file(struct emptying *e, const struct survey_message *msg)
{
    char from[SPOOL_PATH], path[SPOOL_PATH];
    struct mend *m = e->m;
    spool_path(from, SPOOL_IN_TMP, msg->id);
    spool_path(path, SPOOL_IN_MSG, msg->id);
    if (!msg->surely && faccessat(m->directory, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0; /* the file counts */
    e->moved++;
    if (m->calls->dry_run)
        return 0;
    int fd = disk->openat(m->directory, from, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return failed(e, from, "its making", errno);
    if (write_durable(e, msg, fd, from) != 0 || replace(e, msg->id, from, path) != 0)
        return -1;
    e->shelves[spool_shelf(msg->id)] = true;
    return 0;
}

static int to_aside(struct emptying *e, const struct survey_message *msg)
{
    char path[MEND_PATH];
    e->aside++;
    if (e->m->calls->dry_run)
        return 0;
    int fd = mend_create_aside(e->m, queueid_format(msg->id).text, path);
    return fd < 0 ? -1 : write_durable(e, msg, fd, path);
}

static bool all_done(const struct spool_file *f)
{
    for (uint32_t i = 0; i < f->envelope.recipients.count; i++) {
        if (f->states[i].state != RECIPIENT_DONE)
            return false;
    }
    return true;
}

static int each(const struct survey_message *msg, void *arg)
{
    struct emptying *e = arg;
    if (msg->place != SURVEY_LOG || (msg->whole && all_done(msg->f)))
        return 0;
    if (e->m->calls->progress)
        e->m->calls->progress("log", e->moved, e->m->calls->arg);
    return msg->whole ? to_file(e, msg) : to_aside(e, msg);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static void look(const struct finding *f, void *arg)
{
    struct emptying *e = arg;
    e->unreadable |= f->kind == FINDING_DAMAGED && f->remedy == REMEDY_NONE && f->id != 0 && strncmp(f->file, "log/", 4) == 0;
    e->bad_file |= f->kind == FINDING_DAMAGED && f->remedy == REMEDY_ASIDE;
}

static int room(struct emptying *e)
{
    struct survey_sums sums;
    uint64_t octets;
    struct survey_calls calls = {.finding = look, .arg = e};
    if (spool_survey(e->m->directory, &calls, &sums, e->m->error) != 0)
        return -1;
    if (e->unreadable)
        return error_set(e->m->error, "log: a message in it can't be read from the disk: copy the disk (ddrescue), and repair the copy");
    uint64_t needed = sums.log_octets + sums.messages[SURVEY_LOG] * LOG_BLOCK + FREE_BESIDE;
    if (disk->free_space(e->m->directory, &octets) == 0 && octets < needed)
        return error_set(e->m->error, "log: %llu MiB are needed for the mail in it, and %llu MiB are free: make room, and do it again",
                         (unsigned long long)(needed >> 20) + 1, (unsigned long long)(octets >> 20));
    e->bad_file = false;
    return 0;
}

static int flush(struct emptying *e)
{
    for (unsigned shelf = 0; shelf < 256; shelf++) {
        char path[SPOOL_PATH];
        spool_shelf_path(path, shelf);
        if (e->shelves[shelf] && mend_flush_directory(e->m, path) != 0)
            return -1;
    }
    return mend_flush_directory(e->m, "tmp") == 0 ? mend_flush_directory(e->m, "bad") : -1;
}

static int segments_aside(struct emptying *e, const struct survey_sums *sums)
{
    for (unsigned i = 0; i < sums->segment_count; i++) {
        char path[LOG_PATH], name[LOG_PATH];
        log_path(path, sums->segments[i]);
        (void)snprintf(name, sizeof name, "log-%02x", sums->segments[i]);
        if (mend_aside(e->m, path, "log", name) != 0)
            return -1;
    }
    return 0;
}

int mend_log(struct mend *m)
{
    struct emptying e = {.m = m};
    struct survey_sums sums;
    struct survey_calls calls = {.finding = look, .message = each, .arg = &e};
    if (room(&e) != 0 || spool_survey(m->directory, &calls, &sums, m->error) != 0)
        return -1;
    if (!m->calls->dry_run && e.bad_file)
        return error_set(m->error,
                         "msg: a file that was just written can't be read back as it was; the log is as it was: look at the disk");
    if (!m->calls->dry_run && flush(&e) != 0)
        return -1;
    mend_did(m, "log", "%llu messages %s to files of their own, and what is left of %llu to bad/", (unsigned long long)e.moved,
             m->calls->dry_run ? "would be written" : "were written", (unsigned long long)e.aside);
    return segments_aside(&e, &sums);
}
