#include "common/orphan.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECONDS_MOST = 10, NOBODY_MOST = 2 };

struct process {
    char name[32];
    pid_t parent;
};

/* /proc/PID/stat: "PID (NAME) STATE PARENT ...". False: there is none. */
static bool look(pid_t pid, struct process *out)
{
    char path[32], line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    const char *begin = f && fgets(line, sizeof line, f) ? strchr(line, '(') : NULL, *end = begin ? strrchr(line, ')') : NULL;
    if (f)
        (void)fclose(f);
    if (!end || end < begin || strlen(end) < 4)
        return false;
    (void)snprintf(out->name, sizeof out->name, "%.*s", (int)(end - begin - 1), begin + 1);
    out->parent = (pid_t)strtol(end + 3, NULL, 10);
    return true;
}

static bool is_orphan(const struct process *p)
{
    struct process parent;
    return strncmp(p->name, "postino-", strlen("postino-")) == 0 && strcmp(p->name, "postino-master") != 0 &&
           !(look(p->parent, &parent) && strcmp(parent.name, "postino-master") == 0);
}

bool orphan_wait(struct orphan_wait *w, pid_t holder, const char *what)
{
    struct process p;
    bool found = look(holder, &p);
    if (found ? !is_orphan(&p) || (w->until && clock_seconds() >= w->until) : w->nobody == NOBODY_MOST)
        return false;
    if (found && !w->until) {
        w->until = clock_seconds() + SECONDS_MOST;
        log_warning("%s is still in use by process %d (%s), whose master is gone; waiting for its end", what, (int)holder, p.name);
        log_flush();
    }
    w->nobody += !found;
    return nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL) == 0;
}
