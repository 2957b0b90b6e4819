/* The names of files in a Maildir, and what a delivery that was cut short left under one. */
#include "delivery/maildir_internal.h"

#include "common/queueid.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HOST_MOST = 150, LOOKED_AT_MOST = 1000 };

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

void maildir_name(const struct maildir_letter *l, pid_t pid, char to[256])
{
    struct timespec now = {0, 0};
    char host[HOST_MOST];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    escape_host(l->hostname, host, sizeof host);
    (void)snprintf(to, 256, "%lld.M%06ldP%ldQ%s-%u.%s", (long long)now.tv_sec, now.tv_nsec / 1000, (long)pid, queueid_format(l->id).text,
                   l->index, host[0] ? host : "localhost");
}

static const char *skip(const char *p, const char *set)
{
    size_t n = strspn(p, set);
    return n ? p + n : "";
}

/* As maildir_name() makes them, on this host. */
static bool is_ours(const char *name, const char *hostname)
{
    static const char digits[] = "0123456789";
    char host[HOST_MOST];
    escape_host(hostname, host, sizeof host);
    const char *p = skip(name, digits);
    if (strncmp(p, ".M", 2) != 0 || *(p = skip(p + 2, digits)) != 'P' || *(p = skip(p + 1, digits)) != 'Q')
        return false;
    p = skip(p + 1, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (*p != '-' || *(p = skip(p + 1, digits)) != '.')
        return false;
    return strcmp(p + 1, host[0] ? host : "localhost") == 0;
}

static void remove_if_old(const struct maildir *m, const char *name, time_t now)
{
    struct stat st;
    if (fstatat(m->tmp, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_uid == m->owner &&
        st.st_mtime < now - MAILDIR_STALE)
        (void)unlinkat(m->tmp, name, 0);
}

void maildir_sweep(const struct maildir *m, const char *hostname)
{
    struct timespec now = {0, 0};
    int fd = openat(m->tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *tmp = fd < 0 ? NULL : fdopendir(fd);
    if (!tmp) {
        if (fd >= 0)
            close(fd);
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct dirent *e;
    for (int i = 0; i < LOOKED_AT_MOST && (e = readdir(tmp)); i++)
        if (is_ours(e->d_name, hostname))
            remove_if_old(m, e->d_name, now.tv_sec);
    closedir(tmp);
}
