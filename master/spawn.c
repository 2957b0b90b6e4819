#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTROL_FD       3
#define ENVIRONMENT_MOST 32

/* What a program gets of our environment, by the beginning of the name. */
static const char *const passed[] = {
    "TZ=",
#ifdef POSTINO_TRY
    "POSTINO_TRY",
#endif
#ifdef POSTINO_SANITIZER
    "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=",
#endif
};

extern char **environ;

static bool is_passed(const char *variable)
{
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (strncmp(variable, passed[i], strlen(passed[i])) == 0)
            return true;
    return false;
}

static void clean_environment(char *out[ENVIRONMENT_MOST])
{
    static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    size_t n = 0;
    out[n++] = path;
    for (char **v = environ; *v && n + 1 < ENVIRONMENT_MOST; v++)
        if (is_passed(*v))
            out[n++] = *v;
    out[n] = NULL;
}

__attribute__((noreturn)) static void become(const char *path, const char *name, int control, bool foreground)
{
    char *environment[ENVIRONMENT_MOST], *argv[] = {strdup(name), NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (control == CONTROL_FD ? fcntl(control, F_SETFD, 0) != 0 : dup2(control, CONTROL_FD) != CONTROL_FD)
        _exit(126);
    close_range(CONTROL_FD + 1, ~0U, 0);
    int null = open("/dev/null", O_RDWR); /* 4 */
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || (!foreground && dup2(null, STDERR_FILENO) < 0))
        _exit(126);
    close(null);
    umask(077);
    clean_environment(environment);
    execve(path, argv, environment);
    _exit(127);
}

pid_t spawn(const char *directory, const char *program, int control, bool foreground, struct error *error)
{
    char path[PATH_MAX], name[64];
    snprintf(name, sizeof name, "postino-%s", program);
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    pid_t pid = n > 0 && (size_t)n < sizeof path ? fork() : -1;
    if (pid == 0)
        become(path, name, control, foreground);
    if (pid < 0)
        error_set(error, "%s can't be started: %s", path, strerror(errno));
    close(control);
    return pid;
}
