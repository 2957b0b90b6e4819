/* local's side of its spawner. */
#include "delivery/spawner_internal.h"

#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    const struct spawner_handler *handler;
    struct event *readable;
    int fd;
} self = {.fd = -1};

/* -1: it is gone, or it said nonsense. */
static int take_report(struct spawner_report *r, int *fd, int flags)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {r, sizeof *r};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    *fd = -1;
    ssize_t n = recvmsg(self.fd, &m, MSG_CMSG_CLOEXEC | flags);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n != (ssize_t)sizeof *r)
        return -1;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(h), sizeof *fd);
    return 1;
}

int spawner_start(const struct sandbox *box, const struct spawner_barred *barred, const char *hostname, bool unprivileged,
                  struct error *error)
{
    struct spawner_report r;
    int ends[2], fd;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set(error, "no sockets for the process that makes deliveries: %s", strerror(errno));
    log_flush(); /* or it would have the lines as well */
    pid_t pid = fork();
    if (pid == 0)
        spawner_run(box, barred, hostname, unprivileged, ends[1]);
    close(ends[1]);
    self.fd = ends[0];
    if (pid < 0)
        return error_set(error, "no process to make deliveries: %s", strerror(errno));
    int got = take_report(&r, &fd, 0);
    if (got != 1)
        return error_set(error, "the process that makes deliveries ended at its start");
    if (r.what != SPAWNER_READY)
        return error_set(error, "%s", r.words.text);
    return 0;
}

static void readable(evutil_socket_t unused, short what, void *arg)
{
    struct spawner_report r;
    int fd;
    (void)unused, (void)what, (void)arg;
    int got = take_report(&r, &fd, MSG_DONTWAIT);
    if (got < 0) {
        event_del(self.readable);
        self.handler->gone();
        return;
    }
    if (got == 0)
        return;
    if (r.what == SPAWNER_MADE && fd >= 0)
        self.handler->made(r.worker, fd);
    else if (r.what == SPAWNER_NOT_MADE)
        self.handler->not_made(r.worker, r.error);
    else if (r.what == SPAWNER_ENDED)
        self.handler->ended(r.worker, (long)r.pid, r.status);
}

void spawner_watch(struct event_base *base, const struct spawner_handler *handler)
{
    self.handler = handler;
    self.readable = event_new(base, self.fd, EV_READ | EV_PERSIST, readable, NULL);
    if (!self.readable || event_add(self.readable, NULL) < 0)
        log_die("out of memory for the process that makes deliveries");
}

static int order(const struct spawner_order *o)
{
    return send(self.fd, o, sizeof *o, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof *o ? 0 : errno;
}

int spawner_make(uint32_t worker, const struct mailbox *where)
{
    static struct spawner_order o; /* large */
    o = (struct spawner_order){.what = SPAWNER_MAKE, .worker = worker, .where = *where};
    return order(&o);
}

int spawner_kill(uint32_t worker)
{
    static struct spawner_order o;
    o = (struct spawner_order){.what = SPAWNER_KILL, .worker = worker};
    return order(&o);
}
