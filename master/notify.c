#include "master/notify.h"

#include "common/clock.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void notify_text(struct buf *out, enum notify_event event, const char *status, pid_t pid, uint64_t monotonic_us)
{
    switch (event) {
    case NOTIFY_EVENT_READY:
        buf_printf(out, "READY=1\nMAINPID=%d\n", (int)pid);
        break;
    case NOTIFY_EVENT_RELOADING:
        buf_printf(out, "RELOADING=1\nMONOTONIC_USEC=%llu\n", (unsigned long long)monotonic_us);
        break;
    case NOTIFY_EVENT_STOPPING:
        buf_add_text(out, "STOPPING=1\n");
        break;
    }
    buf_add_text(out, "STATUS=");
    for (const char *p = status; *p; p++)
        buf_add_char(out, (unsigned char)*p < ' ' ? ' ' : *p);
    buf_add_char(out, '\n');
}

/* A path, or with "@" in front a name in the abstract namespace. */
static socklen_t socket_address(struct sockaddr_un *to)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t n = name ? strlen(name) : 0;
    if (n < 2 || n >= sizeof to->sun_path || (*name != '/' && *name != '@'))
        return 0;
    to->sun_family = AF_UNIX;
    memcpy(to->sun_path, name, n);
    if (*name == '@')
        to->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

void notify_send(enum notify_event event, const char *status)
{
    struct sockaddr_un to = {0};
    socklen_t len = socket_address(&to);
    int fd = len ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return;
    struct buf text = BUF_EMPTY(4096);
    notify_text(&text, event, status, getpid(), clock_monotonic_us());
    (void)!sendto(fd, text.data, text.len, MSG_NOSIGNAL, (struct sockaddr *)&to, len);
    buf_free(&text);
    close(fd);
}
