/* The way to a Maildir, and what it may be. */
#include "delivery/maildir_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- errors ---------------------------------------------------------------------------------------------------------------------- */

int maildir_failed(struct local_outcome *o, const char *doing, const char *path, int error)
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

int maildir_sync_directory(int fd)
{
    return fsync(fd) == 0 || errno == EINVAL ? 0 : -1;
}

/* ---- the way to the Maildir ------------------------------------------------------------------------------------------------------ */

struct walk {
    uid_t owner;
    bool links; /* may be followed */
    bool *linked;
    char *shown; /* the path so far, for words */
    struct local_outcome *outcome;
};

static int open_link(const struct walk *w, int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return maildir_failed(w->outcome, "look at a directory", w->shown, errno);
    if (!S_ISLNK(st.st_mode))
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: it is no directory; move it away", w->shown);
    if (!w->links) {
        *w->linked = true;
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: a symbolic link leads there", w->shown);
    }
    if (st.st_uid != w->owner && st.st_uid != 0)
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: a symbolic link made by another user (uid %u); remove it", w->shown,
                              (unsigned)st.st_uid);
    int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return maildir_failed(w->outcome, "follow the symbolic link", w->shown, errno);
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
    int status = maildir_sync_directory(fd);
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
            return maildir_failed(w->outcome, "make the directory", w->shown, errno);
        if (sync_path(dir) < 0)
            return maildir_failed(w->outcome, "sync its parent directory", w->shown, errno);
        fd = openat(dir, name, flags);
    }
    if (fd >= 0)
        return fd;
    if (errno != ENOTDIR && errno != ELOOP)
        return maildir_failed(w->outcome, "open the directory", w->shown, errno);
    if (!on_the_way)
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: it must be a directory, and no symbolic link; move it away", w->shown);
    return open_link(w, dir, name);
}

static int must_own(const struct walk *w, int fd, struct stat *st)
{
    if (fstat(fd, st) < 0)
        return maildir_failed(w->outcome, "look at the directory", w->shown, errno);
    if (st->st_uid != w->owner)
        return local_deferred(w->outcome, "4.3.0", "mailbox %s: it belongs to uid %u, and must belong to uid %u; chown it", w->shown,
                              (unsigned)st->st_uid, (unsigned)w->owner);
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

static int open_part(struct maildir *m, struct walk *w, const char *name, struct maildir_place *place)
{
    size_t at = strlen(m->path);
    struct stat st;
    show(m, name, strlen(name));
    int fd = open_step(w, m->top, name, false);
    if (fd >= 0 && must_own(w, fd, &st) < 0) {
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        return -1;
    m->path[at] = '\0';
    *place = (struct maildir_place){st.st_dev, st.st_ino, st.st_uid};
    return fd;
}

static int open_parts(struct maildir *m, struct walk *w)
{
    struct stat st;
    struct maildir_place place;
    if (must_own(w, m->top, &st) < 0 || (m->tmp = open_part(m, w, "tmp", &m->tmp_place)) < 0 ||
        (m->fresh = open_part(m, w, "new", &m->fresh_place)) < 0)
        return -1;
    int cur = open_part(m, w, "cur", &place); /* not needed here, but readers expect it */
    if (cur < 0)
        return -1;
    close(cur);
    return 0;
}

int maildir_open_base(const char *base, struct local_outcome *o)
{
    int dir = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 && errno == ENOENT)
        return local_deferred(o, "4.3.0", "mailbox directory %s does not exist; make it", base);
    return dir < 0 ? maildir_failed(o, "open the directory", base, errno) : dir;
}

int maildir_open(struct maildir *m, const char *base, const char *path, uid_t owner, bool links, struct local_outcome *o)
{
    *m = (struct maildir){.tmp = -1, .fresh = -1, .top = -1, .owner = owner, .pid = getpid()};
    (void)snprintf(m->path, sizeof m->path, "%s", base);
    struct walk w = {.owner = owner, .links = links, .linked = &m->linked, .shown = m->path, .outcome = o};
    int dir = maildir_open_base(base, o);
    if (dir < 0)
        return -1;
    m->top = walk_down(m, &w, dir, path);
    if (m->top >= 0 && open_parts(m, &w) == 0)
        return 0;
    maildir_close(m);
    return -1;
}

static bool still_at(const struct maildir *m, const char *part, const struct maildir_place *place)
{
    char path[sizeof m->path + 8];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", m->path, part);
    return fstatat(AT_FDCWD, path, &st, 0) == 0 && st.st_dev == place->device && st.st_ino == place->inode && st.st_uid == place->owner;
}

bool maildir_still_there(const struct maildir *m)
{
    return still_at(m, "tmp", &m->tmp_place) && still_at(m, "new", &m->fresh_place);
}

void maildir_close(struct maildir *m)
{
    int fds[] = {m->tmp, m->fresh, m->top};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    m->tmp = m->fresh = m->top = -1;
}
