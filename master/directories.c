#include "master/directories.h"

#include "common/log.h"
#include "common/sandbox.h"
#include "master/programs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* One step of a path, from `at` on (which is closed). Returns the next directory. */
static int step(int at, const char *name, bool last, mode_t mode, bool *made)
{
    struct stat st;
    int fd = -1;
    *made = mkdirat(at, name, last ? mode : 0755) == 0;
    if (!*made && errno != EEXIST && errno != EROFS && errno != EACCES)
        goto out;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        goto out;
    if (S_ISLNK(st.st_mode) && (last || (st.st_uid != 0 && st.st_uid != geteuid()))) {
        errno = ELOOP;
        goto out;
    }
    fd = openat(at, name, (last ? O_RDONLY | O_NOFOLLOW : O_PATH) | O_DIRECTORY | O_CLOEXEC);
out:
    if (at >= 0) {
        int saved = errno;
        close(at);
        errno = saved;
    }
    return fd;
}

static int path_error(const char *path, const char *part, struct error *error)
{
    if (errno == ELOOP)
        return error_set(error, "%s: \"%s\" in it is a symbolic link; name the real directory", path, part);
    return error_set(error, "%s: \"%s\" in it can't be made or opened: %s", path, part, strerror(errno));
}

int directory_open(const char *path, mode_t mode, bool *made, struct error *error)
{
    char name[NAME_MAX + 1];
    int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *p = path + strspn(path, "/");
    *made = false;
    while (at >= 0 && *p) {
        size_t n = strcspn(p, "/");
        if (n > NAME_MAX) {
            close(at);
            return error_set(error, "%s: a name in it is longer than %d octets", path, NAME_MAX);
        }
        memcpy(name, p, n);
        name[n] = '\0';
        p += n;
        p += strspn(p, "/");
        at = step(at, name, *p == '\0', mode, made);
        if (at < 0)
            return path_error(path, name, error);
    }
    return at >= 0 ? at : error_set(error, "%s: %s", path, strerror(errno));
}

static int is_empty(int fd, bool *empty)
{
    int copy = dup(fd);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *e;
    if (d == NULL) {
        if (copy >= 0)
            close(copy);
        return -1;
    }
    rewinddir(d);
    *empty = true;
    while ((e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            *empty = false;
    closedir(d);
    return 0;
}

/* Ours, and nobody else may write. What the umask took away is given back. */
static int ours(int fd, const char *setting, const char *path, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(error, "%s (%s): %s", path, setting, strerror(errno));
    if (st.st_uid != geteuid())
        return error_set(error, "%s (%s) belongs to uid %u, and must belong to uid %u: chown it, or name another directory", path, setting,
                         (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 022)
        return error_set(error, "%s (%s) is writable by others (mode %04o): chmod 0755 it, after a look at who has been there", path,
                         setting, (unsigned)st.st_mode & 07777);
    if ((st.st_mode & 07777) != 0755 && fchmod(fd, 0755) != 0)
        return error_set(error, "%s (%s) can't be given mode 0755: %s", path, setting, strerror(errno));
    return 0;
}

static int prepare_empty(const char *path, struct error *error)
{
    bool made, empty = false;
    int fd = directory_open(path, 0755, &made, error);
    if (fd < 0)
        return -1;
    int status = ours(fd, "directory.empty", path, error);
    if (status == 0 && is_empty(fd, &empty) != 0)
        status = error_set(error, "%s (directory.empty): %s", path, strerror(errno));
    else if (status == 0 && !empty)
        status = error_set(
            error,
            "%s (directory.empty) is not empty; it is the root directory of programs that may see no file: empty it, or name another",
            path);
    close(fd);
    return status;
}

/* What one program alone reads and writes. */
struct own {
    const char *setting, *path, *user;
};

/* A directory of root's with nothing in it (made by hand, or by a package) may become it; one of a stranger's may not. */
static int give(int fd, const struct own *own, uid_t uid, gid_t gid, struct error *error)
{
    struct stat st;
    bool empty = false;
    if (fstat(fd, &st) != 0)
        return error_set(error, "%s (%s): %s", own->path, own->setting, strerror(errno));
    if (st.st_uid == uid)
        return 0;
    if (st.st_uid != geteuid() || is_empty(fd, &empty) != 0 || !empty)
        return error_set(error,
                         "%s (%s) belongs to uid %u, and must belong to the %s user, uid %u: chown -R it if what is in it is "
                         "this host's",
                         own->path, own->setting, (unsigned)st.st_uid, own->user, (unsigned)uid);
    if (fchown(fd, uid, gid) != 0)
        return error_set(error, "%s (%s) can't be given to uid %u: %s", own->path, own->setting, (unsigned)uid, strerror(errno));
    return 0;
}

static int close_to_others(int fd, const struct own *own, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(error, "%s (%s): %s", own->path, own->setting, strerror(errno));
    if ((st.st_mode & 07777) == 0700)
        return 0;
    if (st.st_mode & 077)
        log_warning("%s (%s) was open to others (mode %04o); it is now 0700", own->path, own->setting, (unsigned)st.st_mode & 07777);
    if (fchmod(fd, 0700) != 0)
        return error_set(error, "%s (%s) can't be given mode 0700: %s", own->path, own->setting, strerror(errno));
    return 0;
}

static int prepare_own(const char *users, const struct own *own, bool unprivileged, struct error *error)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    bool made;
    if (!unprivileged && sandbox_user(users, own->user, &uid, &gid, error) != 0)
        return -1;
    int fd = directory_open(own->path, 0700, &made, error);
    if (fd < 0)
        return -1;
    int status = give(fd, own, uid, gid, error);
    if (status == 0)
        status = close_to_others(fd, own, error);
    close(fd);
    return status;
}

int directories_prepare(const struct settings *settings, bool unprivileged, struct error *error)
{
    const struct own own[] = {{"directory.spool", settings->directory_spool, programs[PROGRAM_QMGR].name},
                              {"directory.dns", settings->directory_dns, programs[PROGRAM_DNS].name},
                              {"directory.creds", settings->directory_creds, programs[PROGRAM_CREDS].name},
                              {"directory.sts", settings->directory_sts, programs[PROGRAM_STS].name}};
    bool made;
    if (prepare_empty(settings->directory_empty, error) != 0)
        return -1;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (*own[i].path && prepare_own(settings->users, &own[i], unprivileged, error) != 0)
            return -1;
    int run = directory_open(settings->directory_run, 0755, &made, error);
    if (run >= 0 && ours(run, "directory.run", settings->directory_run, error) != 0) {
        close(run);
        return -1;
    }
    return run;
}
