/* postino start, run, stop, reload, status: the life of postino-master.
 *
 * RUN/master.pid has its pid, and is locked (flock) as long as it lives. So a file that a crash left behind, and a pid that is somebody
 * else's by now, deceive nobody. */
#include "admin/admin.h"
#include "admin/place.h"
#include "admin/strays.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* ---- is it alive? -------------------------------------------------------------------------------------------------------------- */

/* The pid of the living master; 0: none lives; -1: it can't be told (error). */
static long read_pid(int fd, const char *path, struct error *e)
{
    char text[32] = "";
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return 0; /* nobody holds it; closing gives it up at once */
    if (errno != EWOULDBLOCK)
        return error_set(e, "%s can't be locked: %s", path, strerror(errno));
    for (int tries = 0; tries < 20; tries++) { /* a master that just starts has locked it and not written yet */
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        long pid = n > 0 ? strtol(text, NULL, 10) : 0;
        if (pid > 1)
            return pid;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return error_set(e, "%s is locked, and has no pid in it; look with fuser who holds it", path);
}

static long master_pid(const struct admin *a, struct error *e)
{
    struct buf path = BUF_EMPTY(SETTING_TEXT_MOST + 16);
    buf_printf(&path, "%s/master.pid", a->settings->directory_run);
    int fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    long pid = 0;
    if (fd >= 0) {
        pid = read_pid(fd, buf_text(&path), e);
        close(fd);
    } else if (errno != ENOENT) {
        pid = error_set(e, "%s can't be opened: %s; call this as root", buf_text(&path), strerror(errno));
    }
    buf_free(&path);
    return pid;
}

/* Who is just editing the file must still be able to look at the running Postino, and to stop it. */
static int settings_to_find_it(struct admin *a, const char *name)
{
    char who[32];
    struct error e;
    (void)snprintf(who, sizeof who, "postino %s", name);
    if (!a->settings && !(a->settings = place_settings(who, a->path, &e)))
        return admin_fail(EX_CONFIG, name, "%s", e.text);
    return EX_OK;
}

/* The common beginning. EX_OK: `pid` lives. */
static int find_master(struct admin *a, const char *name, int argc, long *pid)
{
    struct error e;
    if (argc > 1)
        return admin_fail(EX_USAGE, name, "usage: postino %s", name);
    int status = settings_to_find_it(a, name);
    if (status != EX_OK)
        return status;
    *pid = master_pid(a, &e);
    if (*pid < 0)
        return admin_fail(EX_NOPERM, name, "%s", e.text);
    return *pid > 0 ? EX_OK : EX_UNAVAILABLE;
}

static int signal_master(long pid, int number, const char *name)
{
    if (kill((pid_t)pid, number) == 0)
        return EX_OK;
    return admin_fail(errno == EPERM ? EX_NOPERM : EX_OSERR, name, "process %ld can't be signalled: %s; call this as root", pid,
                      strerror(errno));
}

/* ---- start --------------------------------------------------------------------------------------------------------------------- */

static int exec_master(struct admin *a, bool foreground)
{
    struct error e;
    int status = admin_settings(a);
    if (status != EX_OK)
        return status;
    long pid = master_pid(a, &e);
    if (pid != 0)
        return pid > 0 ? admin_fail(EX_UNAVAILABLE, "start", "postino-master is running already, as process %ld; stop it first", pid)
                       : admin_fail(EX_NOPERM, "start", "%s", e.text);
    struct buf program = BUF_EMPTY(SETTING_TEXT_MOST + 32);
    char *absolute = realpath(a->path, NULL); /* a reload must find the file from wherever the master is */
    buf_printf(&program, "%s/postino-master", a->settings->directory_programs);
    execl(buf_text(&program), "postino-master", "-c", absolute ? absolute : a->path, foreground ? "-f" : NULL, NULL);
    admin_fail(EX_UNAVAILABLE, "start", "%s can't be executed: %s; install Postino, or set directory { programs }", buf_text(&program),
               strerror(errno));
    free(absolute);
    buf_free(&program);
    return EX_UNAVAILABLE;
}

int cmd_start(struct admin *a, int argc, char **argv)
{
    bool foreground = false;
    int option;
    while ((option = getopt(argc, argv, "f")) != -1) {
        if (option != 'f')
            return admin_fail(EX_USAGE, "start", "usage: postino start [-f]");
        foreground = true;
    }
    if (optind < argc)
        return admin_fail(EX_USAGE, "start", "usage: postino start [-f]");
    return exec_master(a, foreground);
}

int cmd_run(struct admin *a, int argc, char **argv)
{
    (void)argv;
    return argc > 1 ? admin_fail(EX_USAGE, "run", "usage: postino run") : exec_master(a, true);
}

/* ---- stop, reload, status ------------------------------------------------------------------------------------------------------ */

#define STOP_MARGIN 20 /* seconds over stop_grace: a flush to a slow disk */

int cmd_stop(struct admin *a, int argc, char **argv)
{
    long pid = 0;
    struct error e;
    (void)argv;
    int status = find_master(a, "stop", argc, &pid);
    if (status == EX_UNAVAILABLE)
        return admin_fail(status, "stop", "postino-master is not running");
    if (status != EX_OK || (status = signal_master(pid, SIGTERM, "stop")) != EX_OK)
        return status;
    for (uint64_t wait = (a->settings->stop_grace * 2 + STOP_MARGIN) * 20; wait > 0; wait--) {
        if (master_pid(a, &e) != pid)
            return EX_OK;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return admin_fail(EX_TEMPFAIL, "stop", "process %ld has not ended yet; look at its log", pid);
}

#define RELOAD_SECONDS 75 /* the master gives a new generation 60 */

/* What the master wrote last into RUN/master.status (master/status.h): the reloads that it has begun, and what it is at; 0 and "": nothing. */
static unsigned long master_status(const struct admin *a, char text[600])
{
    struct buf path = BUF_EMPTY(SETTING_TEXT_MOST + 16);
    unsigned long reloads = 0;
    text[0] = '\0';
    buf_printf(&path, "%s/master.status", a->settings->directory_run);
    int fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, text, 599) : -1;
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    char *end = text;
    if (n > 0)
        reloads = strtoul(text, &end, 10);
    memmove(text, end + (*end == ' '), strlen(end + (*end == ' ')) + 1);
    if (fd >= 0)
        close(fd);
    buf_free(&path);
    return reloads;
}

/* Waits until a reload that was begun after `before` is over. */
static int reload_outcome(const struct admin *a, long pid, unsigned long before)
{
    char text[600];
    struct error e;
    for (int wait = RELOAD_SECONDS * 20; wait > 0; wait--) {
        bool lives = master_pid(a, &e) == pid;
        bool over = master_status(a, text) > before && strcmp(text, "reloading") != 0;
        if (over && strcmp(text, "running; reloaded") == 0)
            return EX_OK;
        if (over)
            return admin_fail(EX_TEMPFAIL, "reload", "%s%s", text, strstr(text, "needs a restart") ? "" : "; the log has more");
        if (!lives)
            return admin_fail(EX_UNAVAILABLE, "reload", "process %ld has ended; look at its log", pid);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return admin_fail(EX_TEMPFAIL, "reload", "process %ld has not said in %d s what came of it; look at its log", pid, RELOAD_SECONDS);
}

/* The master checks as well, but its errors go to a log, and the caller sits here. */
int cmd_reload(struct admin *a, int argc, char **argv)
{
    long pid = 0;
    (void)argv;
    a->settings = parse_file(a->path, PARSE_HOST, &a->report);
    if (!a->settings) {
        fputs(buf_text(&a->report.errors), stderr);
        return admin_fail(EX_CONFIG, "reload", "nothing was changed; correct the file, and try again");
    }
    int status = find_master(a, "reload", argc, &pid);
    if (status == EX_UNAVAILABLE)
        return admin_fail(status, "reload",
                          "postino-master is not running in %s; start it with postino start (or, if directory { run } has changed, stop it "
                          "with the former file first)",
                          a->settings->directory_run);
    char text[600];
    unsigned long before = master_status(a, text);
    if (status == EX_OK)
        status = signal_master(pid, SIGHUP, "reload");
    if (status == EX_OK)
        status = reload_outcome(a, pid, before);
    if (status == EX_OK)
        strays_tell(a->settings);
    return status;
}

int cmd_status(struct admin *a, int argc, char **argv)
{
    long pid = 0;
    (void)argv;
    int status = find_master(a, "status", argc, &pid);
    char text[600] = "";
    if (status == EX_OK) {
        master_status(a, text);
        printf("postino-master is running as process %ld\n", pid);
        if (*text && strcmp(text, "running") != 0)
            printf("it says: %s\n", text);
    }
    if (status == EX_UNAVAILABLE)
        puts("postino-master is not running");
    return status;
}
