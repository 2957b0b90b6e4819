/* Only in VARIANT=try; in every other build this file is empty. */
#ifdef POSTINO_TRY
#include "common/try.h"
#include "common/address.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool try_open(const char *what)
{
    return open(what, O_RDONLY | O_CLOEXEC) >= 0;
}

static bool try_write(const char *what)
{
    return open(what, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

static bool try_list(const char *what)
{
    return opendir(what) != NULL;
}

static bool try_stat(const char *what)
{
    struct stat st;
    return stat(what, &st) == 0;
}

static bool try_unlink(const char *what)
{
    return unlink(what) == 0;
}

static bool try_exec(const char *what)
{
    return execl(what, what, (char *)NULL) == 0;
}

static bool try_socket(const char *what)
{
    (void)what;
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool try_raw(const char *what)
{
    (void)what;
    return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP) >= 0;
}

static bool try_connect(const char *what)
{
    const char *colon = strrchr(what, ':');
    struct sockaddr_storage to;
    socklen_t len;
    struct span host = {what, colon != NULL ? (size_t)(colon - what) : 0};
    errno = EINVAL;
    if (colon == NULL || !address_to_socket(host, (unsigned)strtoul(colon + 1, NULL, 10), &to, &len))
        return false;
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, len) == 0;
}

static bool try_unix(const char *what)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", what);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

static bool try_fork(const char *what)
{
    (void)what;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return child > 0;
}

static bool try_ptrace(const char *what)
{
    (void)what;
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

static bool try_setuid(const char *what)
{
    (void)what;
    return setresuid(0, 0, 0) == 0;
}

static bool try_kill(const char *what)
{
    return kill((pid_t)strtol(what, NULL, 10), 0) == 0;
}

static const struct {
    const char *name;
    bool (*run)(const char *what);
} tries[] = {
    {"open", try_open}, {"write", try_write},   {"list", try_list},     {"stat", try_stat},       {"unlink", try_unlink},
    {"exec", try_exec}, {"socket", try_socket}, {"raw", try_raw},       {"connect", try_connect}, {"unix", try_unix},
    {"fork", try_fork}, {"ptrace", try_ptrace}, {"setuid", try_setuid}, {"kill", try_kill},
};

static void tell(const char *key, const char *name, const char *what, const char *result)
{
    struct buf line = {0};
    log_value(&line, key, span_of(name));
    log_value(&line, "what", span_of(what));
    if (result != NULL)
        log_value(&line, "result", span_of(result));
    log_buf(LOG_LEVEL_ERROR, &line);
    log_flush();
    buf_free(&line);
}

static void run(const char *name, const char *what)
{
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        if (strcmp(tries[i].name, name) != 0)
            continue;
        struct buf result = {0};
        tell("trying", name, what, NULL);
        errno = 0;
        if (tries[i].run(what))
            buf_add_text(&result, "allowed");
        else
            buf_printf(&result, "refused: %s", strerror(errno));
        tell("try", name, what, buf_text(&result));
        buf_free(&result);
        return;
    }
    tell("try", name, what, "unknown");
}

void try_log(const char *program, int at)
{
    log_open(program, fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, at), LOG_TO_STDERR, LOG_LEVEL_INFO);
}

void try_forbidden(const char *program)
{
    const char *wish = getenv("POSTINO_TRY");
    size_t n = strlen(program);
    if (wish == NULL || strncmp(wish, program, n) != 0 || wish[n] != ':')
        return;
    const char *name = wish + n + 1, *colon = strchr(name, ':');
    char call[16];
    size_t length = colon != NULL ? (size_t)(colon - name) : strlen(name);
    if (length >= sizeof call)
        return;
    memcpy(call, name, length);
    call[length] = '\0';
    run(call, colon != NULL ? colon + 1 : "");
}
#endif
