#include "master/logs.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SYSLOG_SOCKET "/dev/log"

static struct {
    int fd;
    enum log_kind kind;
    enum log_level level;
    struct stat syslog; /* the socket's file as it was when we connected; zero: none */
} to = {.fd = -1, .kind = LOG_TO_STDERR, .level = LOG_LEVEL_INFO};

static int open_syslog(struct stat *st)
{
    struct sockaddr_un dev = {.sun_family = AF_UNIX, .sun_path = SYSLOG_SOCKET};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && stat(SYSLOG_SOCKET, st) == 0 && connect(fd, (struct sockaddr *)&dev, sizeof dev) == 0)
        return fd;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    *st = (struct stat){0};
    errno = saved;
    return -1;
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0640);
}

static int open_named(const struct settings *s, bool foreground, enum log_kind *kind, struct stat *st, struct error *error)
{
    int fd;
    bool syslog = strcmp(s->log_to, "syslog") == 0;
    *st = (struct stat){0};
    if (strcmp(s->log_to, "stderr") == 0) {
        *kind = LOG_TO_STDERR;
        if (!foreground)
            return error_set(error, "log { to = stderr } is for the foreground (-f): a daemon has no stderr; use syslog or a file");
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    } else if (syslog) {
        *kind = LOG_TO_SYSLOG;
        fd = open_syslog(st);
    } else {
        *kind = LOG_TO_FILE;
        fd = open_file(s->log_to);
    }
    if (fd < 0 && syslog && foreground) {
        *kind = LOG_TO_STDERR;
        return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    }
    if (fd < 0 && syslog)
        return error_set(error, "log { to = syslog }: no syslog daemon listens at " SYSLOG_SOCKET " (%s); start one, or set a file",
                         strerror(errno));
    if (fd < 0)
        return error_set(error, "log { to = %s }: %s", s->log_to, strerror(errno));
    return fd;
}

int logs_open(const struct settings *settings, bool foreground, struct error *error)
{
    enum log_kind kind;
    struct stat st;
    int fd = open_named(settings, foreground, &kind, &st, error);
    if (fd < 0)
        return -1;
    if (to.fd >= 0)
        close(to.fd);
    to.fd = fd;
    to.kind = kind;
    to.level = (enum log_level)settings->log_level;
    to.syslog = st;
    log_open("postino-master", fcntl(fd, F_DUPFD_CLOEXEC, 3), kind, to.level);
    if (kind == LOG_TO_STDERR && strcmp(settings->log_to, "syslog") == 0)
        log_warning("no syslog daemon listens at " SYSLOG_SOCKET "; until one does, lines go to stderr");
    return 0;
}

struct message logs_message(void)
{
    return (struct message){
        .type = MESSAGE_LOG, .fd = fcntl(to.fd, F_DUPFD_CLOEXEC, 3), .log = {.kind = (uint16_t)to.kind, .level = (uint16_t)to.level}};
}

bool logs_stale(const struct settings *settings)
{
    struct stat st;
    if (strcmp(settings->log_to, "syslog") != 0 || stat(SYSLOG_SOCKET, &st) != 0)
        return false;
    return st.st_ino != to.syslog.st_ino || st.st_dev != to.syslog.st_dev || st.st_ctim.tv_sec != to.syslog.st_ctim.tv_sec;
}

bool logs_on_stderr(void)
{
    return to.kind == LOG_TO_STDERR;
}
