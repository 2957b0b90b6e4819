#include "master/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INODES_MOST 64
#define SOCKET_LINK "socket:["
#define TCP_LISTEN  0x0A

struct inodes {
    unsigned long v[INODES_MOST];
    size_t n;
};

/* The n-th word of a line, from 0; "" when there is none. */
static const char *word(const char *line, unsigned n)
{
    line += strspn(line, " ");
    while (n-- > 0) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return line;
}

/* Lines of /proc/net/tcp: "sl: LOCAL:PORT REMOTE:PORT STATE queues timer retransmits uid timeout INODE ..." (numbers but uid and inode in
 * hex). */
static bool is_listening(const char *line, unsigned port, unsigned long *inode)
{
    const char *local = word(line, 1);
    const char *colon = strchr(local, ':');
    *inode = strtoul(word(line, 9), NULL, 10);
    return colon && strtoul(colon + 1, NULL, 16) == port && strtoul(word(line, 3), NULL, 16) == TCP_LISTEN && *inode > 0;
}

static void listening_inodes(const char *path, unsigned port, struct inodes *out)
{
    char line[512];
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) && out->n < INODES_MOST)
        if (is_listening(line, port, &out->v[out->n]))
            out->n++;
    fclose(f);
}

static bool is_one_of(const char *link, const struct inodes *inodes)
{
    if (strncmp(link, SOCKET_LINK, strlen(SOCKET_LINK)) != 0)
        return false;
    unsigned long inode = strtoul(link + strlen(SOCKET_LINK), NULL, 10);
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
        *pid = (pid_t)strtol(e->d_name, NULL, 10);
        process_name(e->d_name, name, name_size);
        found = true;
    }
    if (proc)
        closedir(proc);
    return found;
}
