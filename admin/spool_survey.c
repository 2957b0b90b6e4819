/* What a spool has in it, from its directories on: each name is looked at, and what is there told. A message's file is spool_survey_file.c's, the log
 * spool_survey_log.c's. */
#include "admin/spool_survey_private.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/spool_version.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- what is told ------------------------------------------------------------------------------------------------ */

void survey_find(struct survey *s, const struct finding *f)
{
    s->sums->findings[f->kind]++;
    s->calls->finding(f, s->calls->arg);
}

void survey_progress(struct survey *s, const char *where)
{
    if (s->calls->progress)
        s->calls->progress(where, s->sums->messages[SURVEY_LOG] + s->sums->messages[SURVEY_FILE], s->calls->arg);
}

bool survey_all_done(const struct spool_file *f)
{
    for (uint32_t i = 0; i < f->envelope.recipients.count; i++) {
        if (f->states[i].state != RECIPIENT_DONE)
            return false;
    }
    return true;
}

static void count(struct survey *s, const struct survey_message *m)
{
    s->sums->messages[m->place]++;
    s->sums->octets += m->octets;
    s->sums->finished += survey_all_done(m->f);
    for (uint32_t i = 0; i < m->f->envelope.recipients.count; i++)
        *(m->f->states[i].state == RECIPIENT_DONE ? &s->sums->done : &s->sums->waiting) += 1;
}

void survey_message(struct survey *s, const struct survey_message *m)
{
    if (m->place != SURVEY_ASIDE && m->whole && !m->copy && (m->surely || m->place == SURVEY_FILE))
        count(s, m);
    if (m->place == SURVEY_LOG)
        s->sums->log_octets += m->octets;
    if (s->calls->message && s->stopped == 0)
        s->stopped = s->calls->message(m, s->calls->arg);
}

static void add_masked(struct buf *b, struct span s)
{
    for (size_t i = 0; i < s.n && i < 256; i++)
        buf_add_char(b, s.p[i] == 127 || (unsigned char)s.p[i] < 32 ? '?' : s.p[i]);
}

void survey_who(struct buf *b, const struct spool_envelope *e)
{
    struct list list = e->recipients;
    struct record_recipient r = {0};
    buf_add_text(b, "from <");
    add_masked(b, e->sender);
    buf_add_text(b, "> to <");
    if (record_recipient_next(&list, &r))
        add_masked(b, r.address);
    buf_add_char(b, '>');
    if (e->recipients.count > 1)
        buf_printf(b, " and %u others", e->recipients.count - 1);
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

typedef void each_fn(struct survey *, int directory, const char *path, const char *name);

static void names(struct survey *s, DIR *dir, const char *path, each_fn *each)
{
    errno = 0;
    for (struct dirent *d; s->stopped == 0 && (d = readdir(dir)); errno = 0) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            each(s, dirfd(dir), path, d->d_name);
    }
    if (s->stopped == 0 && errno != 0)
        survey_find(s, &(struct finding){.file = path,
                                         .what = "this directory can't be read to its end",
                                         .meaning = "there may be more mail in it",
                                         .next = "copy the disk, and check the copy with fsck"});
}

/* 0, or an errno. */
static int each_name(struct survey *s, const char *path, each_fn *each)
{
    int fd = disk->openat(s->directory, path, O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int status = errno;
        if (fd >= 0)
            disk->close(fd);
        return status;
    }
    names(s, dir, path, each);
    closedir(dir);
    return 0;
}

static void no_directory(struct survey *s, const char *path, int status)
{
    bool gone = status == ENOENT;
    survey_find(s, &(struct finding){.remedy = gone ? REMEDY_DIRECTORY : REMEDY_NONE,
                                     .file = path,
                                     .what = gone ? "this directory is missing" : strerror(status),
                                     .meaning = "the mail in it, if any, is lost; look in lost+found, and in a backup",
                                     .next = gone ? "postino spool repair makes it" : "look at the disk"});
}

/* ---- msg/XX ------------------------------------------------------------------------------------------------------ */

static bool opens(struct survey *s, int directory, const char *name, const char *path, int *fd)
{
    uint64_t size;
    *fd = disk->openat(directory, name, O_RDONLY | O_NONBLOCK, 0);
    if (*fd < 0 && errno == ENOENT) /* delivered meanwhile */
        return false;
    if (*fd < 0 ? errno == ELOOP || errno == ENXIO : disk->size(*fd, &size) != 0 && errno == EINVAL)
        survey_foreign(s, path);
    else if (*fd < 0)
        survey_unreadable_file(s, path, 0, strerror(errno));
    else
        return true;
    if (*fd >= 0)
        disk->close(*fd);
    return false;
}

static void in_shelf(struct survey *s, int directory, const char *shelf, const char *name)
{
    char path[PATH_MAX], right[SPOOL_PATH];
    uint64_t id;
    int fd;
    (void)snprintf(path, sizeof path, "%s/%s", shelf, name);
    if (queueid_parse(span_of(name), &id))
        spool_path(right, SPOOL_IN_MSG, id);
    else
        right[0] = '\0';
    if (strcmp(path, right) != 0) {
        survey_foreign(s, path);
    } else if (opens(s, directory, name, path, &fd)) {
        survey_message_file(s, path, id, fd);
        disk->close(fd);
    }
    survey_progress(s, shelf);
}

static void in_msg(struct survey *s, int directory, const char *path, const char *name)
{
    char full[PATH_MAX], right[SPOOL_PATH] = "";
    unsigned shelf;
    (void)directory;
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    if (sscanf(name, "%2x", &shelf) == 1)
        spool_shelf_path(right, shelf);
    if (strcmp(full, right) != 0)
        survey_foreign(s, full);
}

static int shelves(struct survey *s)
{
    int status = each_name(s, "msg", in_msg);
    if (status == ENOTDIR || status == ELOOP || status == EACCES)
        return error_set(s->error, "msg: %s: is this a spool of Postino?", strerror(status));
    if (status != 0)
        no_directory(s, "msg", status);
    for (unsigned shelf = 0; status == 0 && shelf < 256 && s->stopped == 0; shelf++) {
        char path[SPOOL_PATH];
        spool_shelf_path(path, shelf);
        int one = each_name(s, path, in_shelf);
        if (one != 0)
            no_directory(s, path, one);
    }
    return 0;
}

/* ---- tmp, bad, the rest ------------------------------------------------------------------------------------------ */

static bool same_file(struct survey *s, const char *a, const char *b)
{
    struct stat x, y;
    return fstatat(s->directory, a, &x, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(s->directory, b, &y, AT_SYMLINK_NOFOLLOW) == 0 &&
           x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void in_tmp(struct survey *s, int directory, const char *path, const char *name)
{
    char full[PATH_MAX], message[SPOOL_PATH];
    uint64_t id;
    int fd;
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    if (!queueid_parse(span_of(name), &id) || strcmp(queueid_format(id).text, name) != 0) {
        survey_foreign(s, full);
        return;
    }
    if (!opens(s, directory, name, full, &fd))
        return;
    disk->close(fd);
    spool_path(message, SPOOL_IN_MSG, id);
    if (same_file(s, full, message))
        survey_find(s, &(struct finding){.kind = FINDING_INCOMPLETE,
                                         .remedy = REMEDY_SECOND,
                                         .file = full,
                                         .id = id,
                                         .what = "a second name of the message, which is complete",
                                         .meaning = "none",
                                         .next = "nothing need be done"});
    else
        survey_incomplete_file(s, full, id, "the message was never complete");
}

/* Names in bad/ are ID, or ID and a suffix. */
static void in_bad(struct survey *s, int directory, const char *path, const char *name)
{
    char full[PATH_MAX];
    uint64_t id, size;
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    int fd = disk->openat(directory, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd >= 0 && disk->size(fd, &size) == 0) {
        bool ours = strlen(name) >= QUEUEID_TEXT && queueid_parse(span_make(name, QUEUEID_TEXT), &id) &&
                    (name[QUEUEID_TEXT] == '\0' || name[QUEUEID_TEXT] == '.');
        s->sums->messages[SURVEY_ASIDE]++;
        if (s->calls->aside && ours)
            survey_aside_file(s, full, id, fd);
    }
    if (fd >= 0)
        disk->close(fd);
}

static void in_spool(struct survey *s, int directory, const char *path, const char *name)
{
    static const char *const ours[] = {"version", "version.new", "log", "msg", "tmp", "bad", "lost+found"};
    (void)directory, (void)path;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strcmp(name, ours[i]) == 0)
            return;
    }
    survey_foreign(s, name);
}

static void in_log(struct survey *s, int directory, const char *path, const char *name)
{
    char full[PATH_MAX], right[LOG_PATH] = "";
    unsigned slot;
    (void)directory;
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    if (sscanf(name, "%2x", &slot) == 1 && slot < LOG_SLOTS)
        log_path(right, slot);
    if (strcmp(full, right) != 0)
        survey_foreign(s, full);
}

/* ---- version ----------------------------------------------------------------------------------------------------- */

static void version_finding(struct survey *s, const char *what)
{
    survey_find(s, &(struct finding){.remedy = REMEDY_VERSION,
                                     .file = "version",
                                     .what = what,
                                     .meaning = "none, if the rest checks out",
                                     .next = "postino spool repair writes it anew"});
}

static int version(struct survey *s, unsigned *number)
{
    enum spool_version_verdict v = spool_version_read(s->directory, number);
    int status = errno;
    if (v == SPOOL_VERSION_NEWER)
        return error_set(
            s->error,
            "the spool has version %u, and this Postino knows version %d: use the newer Postino that wrote it; if the file version is "
            "damaged, move it away",
            *number, SPOOL_VERSION);
    if (v == SPOOL_VERSION_UNREADABLE)
        return error_set(s->error, "version can't be read: %s; look at the disk", strerror(status));
    if (v != SPOOL_VERSION_GOOD && faccessat(s->directory, "msg", F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        return error_set(s->error, "there is neither a file version nor a directory msg: is this a spool of Postino?");
    if (v != SPOOL_VERSION_GOOD)
        version_finding(s, v == SPOOL_VERSION_NONE ? "it is missing" : "it does not say \"Postino spool version 2\"");
    return 0;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static int read_log(struct survey *s, unsigned number)
{
    int status = each_name(s, "log", in_log);
    if (status != 0 && status != ENOENT)
        return error_set(s->error, "log: %s: is this a spool of Postino?", strerror(status));
    if (status != 0 && number >= 2)
        no_directory(s, "log", status);
    return survey_log(s);
}

static int all(struct survey *s)
{
    unsigned number;
    if (version(s, &number) != 0 || read_log(s, number) != 0 || shelves(s) != 0)
        return -1;
    int tmp = each_name(s, "tmp", in_tmp), bad = each_name(s, "bad", in_bad);
    if (tmp != 0)
        no_directory(s, "tmp", tmp);
    if (bad != 0)
        no_directory(s, "bad", bad);
    (void)each_name(s, ".", in_spool);
    return s->stopped ? -1 : 0;
}

int spool_survey(int directory, const struct survey_calls *calls, struct survey_sums *sums, struct error *error)
{
    struct survey s = {.directory = directory, .calls = calls, .sums = sums, .error = error};
    *sums = (struct survey_sums){0};
    log_init(&s.log, directory, 0);
    hash_init(&s.index);
    int status = all(&s);
    survey_log_free(&s);
    return status;
}
