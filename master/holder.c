#include "master/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INODES_MOST 64
#define TCP_LISTEN  0x0A

struct inodes {
    unsigned long v[INODES_MOST];
    size_t n;
};

/* Lines of /proc/net/tcp: "sl: LOCAL:PORT REMOTE:PORT STATE queues timer retransmits uid timeout INODE". */
static void listening_inodes(const char *path, unsigned port, struct inodes *out)
{
    char line[512];
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) && out->n < INODES_MOST) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line, " %*[0-9]: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &local, &state, &inode) == 3 &&
            local == port && state == TCP_LISTEN)
            out->v[out->n++] = inode;
    }
    fclose(f);
}

static bool is_one_of(const char *link, const struct inodes *inodes)
{
    unsigned long inode;
    if (sscanf(link, "socket:[%lu]", &inode) != 1)
        return false;
    for (size_t i = 0; i < inodes->n; i++)
        if (inodes->v[i] == inode)
            return true;
    return false;
}

static bool process_has(const char *pid, const struct inodes *inodes)
{
    char path[64], link[64];
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *d = opendir(path);
    const struct dirent *e;
    bool found = false;
    while (d && !found && (e = readdir(d)) != NULL) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof link - 1);
        if (n <= 0)
            continue;
        link[n] = '\0';
        found = is_one_of(link, inodes);
    }
    if (d)
        closedir(d);
    return found;
}

static void process_name(const char *pid, char *name, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL || fgets(name, (int)size, f) == NULL)
        snprintf(name, size, "?");
    if (f)
        fclose(f);
    for (char *p = name; *p; p++)
        if (*p == '\n')
            *p = '\0';
        else if (!isprint((unsigned char)*p))
            *p = '?';
}

bool port_holder(unsigned port, pid_t *pid, char *name, size_t name_size)
{
    struct inodes inodes = {.n = 0};
    listening_inodes("/proc/net/tcp", port, &inodes);
    listening_inodes("/proc/net/tcp6", port, &inodes);
    DIR *proc = inodes.n ? opendir("/proc") : NULL;
    const struct dirent *e;
    bool found = false;
    while (proc && !found && (e = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)e->d_name[0]) || !process_has(e->d_name, &inodes))
            continue;
        *pid = (pid_t)atoi(e->d_name);
        process_name(e->d_name, name, name_size);
        found = true;
    }
    if (proc)
        closedir(proc);
    return found;
}
