#include "delivery/maildir.h"

#include "common/queueid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, NAME_TRIES = 5, HOST_MOST = 150 };

/* ---- errors ---------------------------------------------------------------------------------------------------------------------- */

static int failed(struct local_outcome *o, const char *doing, const char *path, int error)
{
    switch (error) {
    case ENOSPC:
        return local_deferred(o, "4.2.2", "mailbox %s: cannot %s: the file system is full; make room", path, doing);
    case EDQUOT:
        return local_deferred(o, "4.2.2", "mailbox %s: cannot %s: the user's disk quota is used up", path, doing);
    case EFBIG:
        return local_deferred(o, "4.2.2", "mailbox %s: cannot %s: the message is larger than a file may get", path, doing);
    case EACCES:
    case EPERM:
        return local_deferred(o, "4.3.0", "mailbox %s: cannot %s: %s; let its owner write there", path, doing, strerror(error));
    case EROFS:
        return local_deferred(o, "4.3.0", "mailbox %s: cannot %s: the file system is mounted read-only", path, doing);
    default:
        return local_deferred(o, "4.3.0", "mailbox %s: cannot %s: %s", path, doing, strerror(error));
    }
}

/* ---- the way to the Maildir ------------------------------------------------------------------------------------------------------ */

struct walk {
    uid_t owner;
    char *shown; /* the path so far, for words; WALK_SHOWN bytes */
    struct local_outcome *outcome;
};

/* Some file systems can't sync a directory, and say so by EINVAL; they keep their order by themselves. */
static int sync_directory(int fd)
{
    return fsync(fd) == 0 || errno == EINVAL ? 0 : -1;
}

static int open_link(const struct walk *w, int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(w->outcome, "look at a directory", w->shown, errno);
    if (!S_ISLNK(st.st_mode))
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: it is no directory; move it away", w->shown);
    if (st.st_uid != w->owner && st.st_uid != 0)
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: a symbolic link made by another user (uid %u); remove it", w->shown,
                              (unsigned)st.st_uid);
    int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(w->outcome, "follow the symbolic link", w->shown, errno);
    if (fstat(fd, &st) < 0 || (st.st_uid != w->owner && st.st_uid != 0)) {
        close(fd);
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: a symbolic link to a directory of another user; remove it", w->shown);
    }
    return fd;
}

/* A directory on the way may be one that can be searched, and not read; so it is opened as a path, and again to sync it. */
static int sync_path(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -1;
    int status = sync_directory(fd);
    close(fd);
    return status;
}

/* Opens one directory below another, and makes it if it's missing. One of the way may be a link, one of the three may not. */
static int open_step(const struct walk *w, int dir, const char *name, bool on_the_way)
{
    int flags = (on_the_way ? O_PATH : O_RDONLY) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir, name, flags);
    if (fd < 0 && errno == ENOENT) {
        if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
            return failed(w->outcome, "make the directory", w->shown, errno);
        if (sync_path(dir) < 0)
            return failed(w->outcome, "sync its parent directory", w->shown, errno);
        fd = openat(dir, name, flags);
    }
    if (fd >= 0)
        return fd;
    if (errno != ENOTDIR && errno != ELOOP)
        return failed(w->outcome, "open the directory", w->shown, errno);
    if (!on_the_way)
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: it must be a directory, and no symbolic link; move it away", w->shown);
    return open_link(w, dir, name);
}

static int must_own(const struct walk *w, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return failed(w->outcome, "look at the directory", w->shown, errno);
    if (st.st_uid != w->owner)
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: it belongs to uid %u, and must belong to uid %u; chown it", w->shown,
                              (unsigned)st.st_uid, (unsigned)w->owner);
    return 0;
}

static void show(struct maildir *m, const char *name, size_t n)
{
    size_t at = strlen(m->path);
    (void)snprintf(m->path + at, sizeof m->path - at, "/%.*s", (int)n, name);
}

/* Walks `path` down from `dir`, which it closes. */
static int walk_down(struct maildir *m, const struct walk *w, int dir, const char *path)
{
    while (*path && dir >= 0) {
        size_t n = strcspn(path, "/");
        char name[256];
        if (n >= sizeof name) {
            close(dir);
            return local_deferred(w->outcome, "4.3.5", "mailbox %s: a name in its path is too long", w->shown);
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)n, path);
        path += n + strspn(path + n, "/");
        show(m, name, n);
        int next = open_step(w, dir, name, true);
        close(dir);
        dir = next;
    }
    return dir;
}

static int open_part(struct maildir *m, struct walk *w, const char *name)
{
    size_t at = strlen(m->path);
    show(m, name, strlen(name));
    int fd = open_step(w, m->top, name, false);
    if (fd >= 0 && must_own(w, fd) < 0) {
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        m->path[at] = '\0';
    return fd;
}

static int open_parts(struct maildir *m, struct walk *w)
{
    if (must_own(w, m->top) < 0 || (m->tmp = open_part(m, w, "tmp")) < 0 || (m->fresh = open_part(m, w, "new")) < 0)
        return -1;
    int cur = open_part(m, w, "cur"); /* not needed here, but readers expect it */
    if (cur < 0)
        return -1;
    close(cur);
    return 0;
}

int maildir_open(struct maildir *m, const char *base, const char *path, uid_t owner, struct local_outcome *o)
{
    *m = (struct maildir){.tmp = -1, .fresh = -1, .top = -1};
    (void)snprintf(m->path, sizeof m->path, "%s", base);
    struct walk w = {.owner = owner, .shown = m->path, .outcome = o};
    int dir = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 && errno == ENOENT)
        return local_deferred(o, "4.3.0", "mailbox directory %s does not exist; make it", base);
    if (dir < 0)
        return failed(o, "open the directory", base, errno);
    m->top = walk_down(m, &w, dir, path);
    if (m->top >= 0 && open_parts(m, &w) == 0)
        return 0;
    maildir_close(m);
    return -1;
}

void maildir_close(struct maildir *m)
{
    int fds[] = {m->tmp, m->fresh, m->top};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    m->tmp = m->fresh = m->top = -1;
}

/* ---- the file -------------------------------------------------------------------------------------------------------------------- */

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

static int put_descriptor(struct writer *w, const struct maildir_letter *l)
{
    static char in[CHUNK];
    for (uint64_t at = 0; at < l->size;) {
        size_t most = l->size - at < sizeof in ? (size_t)(l->size - at) : sizeof in;
        ssize_t n = pread(l->fd, in, most, (off_t)(l->offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENODATA; /* the spool's file is shorter than qmgr said */
        if (n <= 0 || put_lines(w, span_make(in, (size_t)n)) < 0)
            return -1;
        at += (uint64_t)n;
    }
    return 0;
}

static int put_letter(int fd, const struct maildir_letter *l)
{
    static struct writer w;
    w.fd = fd;
    w.cr = false;
    w.n = 0;
    if (put(&w, "Return-Path: <", 14) < 0 || put(&w, l->sender.p, l->sender.n) < 0 || put(&w, ">\n", 2) < 0)
        return -1;
    if ((l->fd < 0 ? put_lines(&w, l->body) : put_descriptor(&w, l)) < 0)
        return -1;
    if (w.cr && put(&w, "\r", 1) < 0)
        return -1;
    return flush(&w);
}

/* '/' can't be in a file name, and ':' begins the flags of a message in cur. */
static void escape_host(const char *host, char *to, size_t room)
{
    size_t n = 0;
    for (; *host && n + 5 < room; host++) {
        if (*host == '/' || *host == ':')
            n += (size_t)snprintf(to + n, room - n, "\\%03o", (unsigned)(unsigned char)*host);
        else if ((unsigned char)*host > 0x20 && (unsigned char)*host < 0x7f)
            to[n++] = *host;
    }
    to[n] = '\0';
}

void maildir_name(const struct maildir_letter *l, char to[256])
{
    struct timespec now = {0, 0};
    char host[HOST_MOST];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    escape_host(l->hostname, host, sizeof host);
    (void)snprintf(to, 256, "%lld.M%06ldP%ldQ%s-%u.%s", (long long)now.tv_sec, now.tv_nsec / 1000, (long)getpid(),
                   queueid_format(l->id).text, l->index, host[0] ? host : "localhost");
}

/* Moves tmp/name to new/name, and never onto another file. */
static int publish(const struct maildir *m, const char *name)
{
    if (renameat2(m->tmp, name, m->fresh, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (linkat(m->tmp, name, m->fresh, name, 0) < 0)
        return -1;
    (void)unlinkat(m->tmp, name, 0);
    return 0;
}

/* One try under one name. -1: errno and `doing` say what failed; the file is gone again. */
static int deliver_as(const struct maildir *m, const struct maildir_letter *l, const char *name, const char **doing)
{
    *doing = "make a file in tmp";
    int fd = openat(m->tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    *doing = "write the message";
    bool ok = put_letter(fd, l) == 0 && fsync(fd) == 0;
    int error = errno;
    if (close(fd) < 0 && ok) {
        ok = false;
        error = errno;
    }
    if (ok) {
        *doing = "move the message from tmp to new";
        ok = publish(m, name) == 0;
        error = errno;
    }
    if (!ok) {
        (void)unlinkat(m->tmp, name, 0);
        errno = error;
        return -1;
    }
    *doing = "sync new";
    if (sync_directory(m->fresh) == 0)
        return 0;
    error = errno;
    (void)unlinkat(m->fresh, name, 0); /* not known to be safe: it will come again */
    errno = error;
    return -1;
}

int maildir_deliver(struct maildir *m, const struct maildir_letter *l, struct local_outcome *o)
{
    const char *doing = "";
    int error = EEXIST;
    for (int i = 0; i < NAME_TRIES && error == EEXIST; i++) {
        char name[256];
        maildir_name(l, name);
        if (deliver_as(m, l, name, &doing) == 0) {
            local_delivered(o, "delivered to %s", m->path);
            return 0;
        }
        error = errno;
    }
    return failed(o, doing, m->path, error);
}
