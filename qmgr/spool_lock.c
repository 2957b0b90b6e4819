#include "qmgr/spool_lock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* The kernel knows who holds it: "1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF". 0: it does not say. */
int spool_lock_holder(int directory)
{
    struct stat st;
    char line[256], kind[16];
    int found = 0, pid;
    unsigned long inode;
    FILE *f = fstat(directory, &st) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (f && found == 0 && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %15s %*s %*s %d %*x:%*x:%lu", kind, &pid, &inode) == 3 && strcmp(kind, "FLOCK") == 0 && inode == st.st_ino &&
            pid > 0)
            found = pid;
    }
    if (f)
        (void)fclose(f);
    return found;
}

static void name_of(int pid, char name[32])
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    (void)snprintf(name, 32, "another program");
    if (f && fgets(name, 32, f))
        name[strcspn(name, "\n")] = '\0';
    if (f)
        (void)fclose(f);
}

int spool_lock(int directory, enum spool_lock_kind kind, struct error *error)
{
    char name[32];
    if (flock(directory, (kind == SPOOL_LOCK_ALONE ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return error_set(error, "the spool can't be locked: %s; it must be on a filesystem of this host", strerror(errno));
    int pid = spool_lock_holder(directory);
    name_of(pid, name);
    if (pid > 0)
        return error_set(error, "the spool is in use by %s, process %d: stop that one first", name, pid);
    return error_set(error, "the spool is in use by %s: stop that one first", name);
}
