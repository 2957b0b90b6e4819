/* Messages on their way into a Maildir: tmp, to the disk, new, to the disk. */
#include "delivery/downgrade.h"
#include "delivery/flush.h"
#include "delivery/maildir_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, NAME_TRIES = 5 };

/* ---- its content -------------------------------------------------------------------------------------------------------------------- */

struct writer {
    int fd;
    bool cr; /* a CR has come, and it isn't known yet whether LF follows */
    size_t n;
    char bytes[CHUNK];
};

static int flush(struct writer *w)
{
    for (size_t at = 0; at < w->n;) {
        ssize_t n = write(w->fd, w->bytes + at, w->n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += (size_t)n;
    }
    w->n = 0;
    return 0;
}

static int put(struct writer *w, const char *p, size_t n)
{
    while (n) {
        if (w->n == sizeof w->bytes && flush(w) < 0)
            return -1;
        size_t part = sizeof w->bytes - w->n < n ? sizeof w->bytes - w->n : n;
        memcpy(w->bytes + w->n, p, part);
        w->n += part;
        p += part;
        n -= part;
    }
    return 0;
}

/* A piece of the body; CR LF becomes LF wherever the pieces are cut. */
static int put_lines(struct writer *w, struct span in)
{
    while (in.n) {
        if (w->cr && in.p[0] != '\n' && put(w, "\r", 1) < 0)
            return -1;
        const char *cr = memchr(in.p, '\r', in.n);
        size_t n = cr ? (size_t)(cr - in.p) : in.n;
        if (put(w, in.p, n) < 0)
            return -1;
        w->cr = cr != NULL;
        n += cr != NULL;
        in = (struct span){in.p + n, in.n - n};
    }
    return 0;
}

typedef int piece_fn(void *arg, struct span);

static int put_piece(void *arg, struct span piece)
{
    return put_lines(arg, piece);
}

/* All of the body, piece by piece; -1, with errno, as soon as one is refused. */
static int each_piece(const struct maildir_letter *l, piece_fn *take, void *arg)
{
    static char in[CHUNK];
    if (l->fd < 0)
        return take(arg, l->body);
    for (uint64_t at = 0; at < l->size;) {
        size_t most = l->size - at < sizeof in ? (size_t)(l->size - at) : sizeof in;
        ssize_t n = pread(l->fd, in, most, (off_t)(l->offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENODATA; /* the spool's file is shorter than qmgr said */
        if (n <= 0 || take(arg, span_make(in, (size_t)n)) < 0)
            return -1;
        at += (uint64_t)n;
    }
    return 0;
}

/* ---- a binary message ------------------------------------------------------------------------------------------------------------- */

struct conversion {
    struct writer *writer;
    struct downgrade *downgrade;
};

static int look_at(void *arg, struct span piece)
{
    struct conversion *c = arg;
    downgrade_add(c->downgrade, piece, NULL);
    return 0;
}

static int put_made(struct conversion *c, struct buf *made)
{
    int done = made->failed ? -1 : put_lines(c->writer, buf_span(made));
    if (made->failed)
        errno = ENOMEM;
    buf_free(made);
    return done;
}

static int convert(void *arg, struct span piece)
{
    struct conversion *c = arg;
    struct buf made = BUF_EMPTY(0);
    downgrade_add(c->downgrade, piece, &made);
    return put_made(c, &made);
}

static int put_converted(struct conversion *c, const struct maildir_letter *l)
{
    struct buf end = BUF_EMPTY(0);
    if (each_piece(l, look_at, c) < 0)
        return -1;
    if (downgrade_end(c->downgrade, NULL) == DOWNGRADE_BROKEN)
        return each_piece(l, put_piece, c->writer);
    downgrade_again(c->downgrade);
    if (each_piece(l, convert, c) < 0)
        return -1;
    if (downgrade_end(c->downgrade, &end) != DOWNGRADE_BROKEN)
        return put_made(c, &end);
    buf_free(&end);
    errno = EIO; /* other octets than a moment ago */
    return -1;
}

static int put_binary(struct writer *w, const struct maildir_letter *l)
{
    struct conversion c = {w, downgrade_new(true)};
    if (!c.downgrade) {
        errno = ENOMEM;
        return -1;
    }
    int done = put_converted(&c, l), error = errno;
    downgrade_free(c.downgrade);
    errno = error;
    return done;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------------------- */

static int put_letter(int fd, const struct maildir_letter *l)
{
    static struct writer w;
    w.fd = fd;
    w.cr = false;
    w.n = 0;
    if (put(&w, "Return-Path: <", 14) < 0 || put(&w, l->sender.p, l->sender.n) < 0 || put(&w, ">\n", 2) < 0)
        return -1;
    if ((l->binary ? put_binary(&w, l) : each_piece(l, put_piece, &w)) < 0)
        return -1;
    if (w.cr && put(&w, "\r", 1) < 0)
        return -1;
    return flush(&w);
}

/* ---- its way --------------------------------------------------------------------------------------------------------------------- */

static bool alive(const struct maildir_delivery *d)
{
    return d->outcome.verdict == 0;
}

static void fail(struct maildir_delivery *d, const char *doing, int error)
{
    (void)maildir_failed(&d->outcome, doing, d->box->path, error);
}

static void fail_in_tmp(struct maildir_delivery *d, const char *doing, int error)
{
    (void)unlinkat(d->box->tmp, d->name, 0);
    fail(d, doing, error);
}

static void write_file(struct maildir_delivery *d)
{
    d->fd = -1;
    errno = EEXIST;
    for (int i = 0; i < NAME_TRIES && d->fd < 0 && errno == EEXIST; i++) {
        maildir_name(&d->letter, d->box->pid, d->name);
        d->fd = openat(d->box->tmp, d->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    if (d->fd < 0) {
        fail(d, "make a file in tmp", errno);
        return;
    }
    if (put_letter(d->fd, &d->letter) == 0)
        return;
    int error = errno;
    close(d->fd);
    fail_in_tmp(d, "write the message", error);
}

/* Several files that go to the disk together share a commit of the file system's journal, if all have begun before the first asks for one. */
static void start_writing(struct maildir_delivery *d)
{
    if (sync_file_range(d->fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0 || errno == EINVAL || errno == ESPIPE || errno == ENOSYS)
        return;
    int error = errno;
    close(d->fd);
    fail_in_tmp(d, "write the message", error);
}

static void sync_files(struct maildir_delivery *all, size_t n)
{
    int fds[FLUSH_MOST] = {0}, errors[FLUSH_MOST] = {0};
    struct maildir_delivery *of[FLUSH_MOST] = {0};
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (alive(&all[i])) {
            of[count] = &all[i];
            fds[count++] = all[i].fd;
        }
    flush_files(fds, errors, count);
    for (size_t i = 0; i < count; i++) {
        if (close(fds[i]) < 0 && errors[i] == 0)
            errors[i] = errno;
        if (errors[i])
            fail_in_tmp(of[i], "write the message", errors[i]);
    }
}

/* Moves tmp/name to new/to, and never onto another file. */
static int move(const struct maildir *m, const char *name, const char *to)
{
    if (renameat2(m->tmp, name, m->fresh, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (linkat(m->tmp, name, m->fresh, to, 0) < 0)
        return -1;
    (void)unlinkat(m->tmp, name, 0);
    return 0;
}

static void publish(struct maildir_delivery *d)
{
    char to[sizeof d->name];
    (void)snprintf(to, sizeof to, "%s", d->name);
    for (int i = 0; move(d->box, d->name, to) < 0; i++) {
        if (errno != EEXIST || i == NAME_TRIES) {
            fail_in_tmp(d, "move the message from tmp to new", errno);
            return;
        }
        maildir_name(&d->letter, d->box->pid, to);
    }
    (void)snprintf(d->name, sizeof d->name, "%s", to);
}

/* One flush of new for all that went there. What is not known to be safe is taken away again: it will come again. */
static void settle(struct maildir_delivery *all, size_t n, struct maildir *box)
{
    int error = maildir_sync_directory(box->fresh) == 0 ? 0 : errno;
    for (size_t i = 0; i < n; i++) {
        struct maildir_delivery *d = &all[i];
        if (d->box != box || !alive(d))
            continue;
        if (error == 0) {
            local_delivered(&d->outcome, "delivered to %s", box->path);
            continue;
        }
        (void)unlinkat(box->fresh, d->name, 0);
        fail(d, "sync new", error);
    }
}

static void each(struct maildir_delivery *all, size_t n, void (*step)(struct maildir_delivery *))
{
    for (size_t i = 0; i < n; i++)
        if (alive(&all[i]))
            step(&all[i]);
}

void maildir_deliver(struct maildir_delivery *all, size_t n)
{
    each(all, n, write_file);
    if (n > 1)
        each(all, n, start_writing);
    sync_files(all, n);
    each(all, n, publish);
    for (size_t i = 0; i < n; i++)
        if (alive(&all[i]))
            settle(all, n, all[i].box);
}
