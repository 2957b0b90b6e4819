/* creds' side of its courier. */
#include "creds/courier.h"

#include "common/log.h"
#include "creds/courier_run.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    int fd;
    struct event *readable;
    courier_fn *done;
    void *arg;
    struct courier_order order;
    struct courier_report report;
} self = {.fd = -1};

static void set_room(int fd)
{
    int room = (int)(2 * sizeof(struct courier_report));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

int courier_start(const struct settings *s, const struct sandbox *box, bool unprivileged, struct error *error)
{
    int ends[2];
    char ready;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set(error, "no sockets for the process that fetches tokens: %s", strerror(errno));
    set_room(ends[0]);
    set_room(ends[1]);
    log_flush(); /* or it would have the lines as well */
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        courier_run(ends[1], s->tls_authorities, box, unprivileged);
    }
    close(ends[1]);
    self.fd = ends[0];
    if (pid < 0)
        return error_set(error, "no process to fetch tokens: %s", strerror(errno));
    if (recv(self.fd, &ready, 1, 0) != 1)
        return error_set(error, "the process that fetches tokens ended at its start; the log says why");
    return fcntl(self.fd, F_SETFL, O_NONBLOCK);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what, (void)arg;
    struct courier_report *r = &self.report;
    ssize_t n = recv(fd, r, sizeof *r, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t head = offsetof(struct courier_report, text);
    courier_fn *done = self.done;
    if (n < (ssize_t)head || r->size != (size_t)n - head || !done) {
        log_error("the process that fetches tokens is gone: this process ends, so that the master starts both anew");
        log_flush();
        _exit(70); /* EX_SOFTWARE */
    }
    self.done = NULL;
    done(r->status, span_make(r->text, r->size), self.arg);
    explicit_bzero(r, (size_t)n);
}

void courier_open(struct event_base *base)
{
    self.readable = event_new(base, self.fd, EV_READ | EV_PERSIST, on_readable, NULL);
    if (!self.readable || event_add(self.readable, NULL) != 0)
        log_die("out of memory for the edge to the courier");
}

bool courier_busy(void)
{
    return self.done != NULL;
}

int courier_send(const char *url, const char *resolve, struct span body, courier_fn *done, void *arg, struct error *error)
{
    struct courier_order *o = &self.order;
    size_t head = offsetof(struct courier_order, body);
    if (strlen(url) >= sizeof o->url || strlen(resolve) >= sizeof o->resolve || body.n > sizeof o->body)
        return error_set(error, "what has to be asked is too long");
    memset(o, 0, head);
    snprintf(o->url, sizeof o->url, "%s", url);
    snprintf(o->resolve, sizeof o->resolve, "%s", resolve);
    o->size = (uint32_t)body.n;
    memcpy(o->body, body.p, body.n);
    ssize_t sent = send(self.fd, o, head + body.n, MSG_NOSIGNAL);
    int cause = errno;
    explicit_bzero(o, head + body.n);
    if (sent < 0)
        return error_set(error, "the process that fetches tokens does not take the question: %s", strerror(cause));
    self.done = done;
    self.arg = arg;
    return 0;
}
