#include "resolver/policy.h"

#include "common/buf.h"
#include "common/log.h"
#include "conf/access_words.h"
#include "resolver/policy_reply.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MOST  4096
#define REQUEST_MOST ((size_t)64 << 10)

struct policy {
    int fd;          /* below 0: it could not be reached */
    const char *why; /* then; else that no answer came in time */
    struct event *writable, *readable, *timer;
    struct buf request; /* until it is connected */
    struct buf answer;
    policy_fn *done;
    void *arg;
};

void policy_cancel(struct policy *p)
{
    if (p == NULL)
        return;
    if (p->writable)
        event_free(p->writable);
    if (p->readable)
        event_free(p->readable);
    if (p->timer)
        event_free(p->timer);
    if (p->fd >= 0)
        close(p->fd);
    buf_free(&p->request);
    buf_free(&p->answer);
    free(p);
}

static void finish(struct policy *p, struct span words, const char *why)
{
    p->done(words, why, p->arg);
    policy_cancel(p);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct policy *p = arg;
    char piece[1024];
    (void)what;
    ssize_t n = recv((int)fd, piece, sizeof piece, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_add(&p->answer, piece, (size_t)n);
    struct span words;
    enum policy_reply reply = policy_reply_parse(buf_span(&p->answer), &words);
    if (n < 0)
        finish(p, words, strerror(errno));
    else if (p->answer.failed)
        finish(p, span_make(NULL, 0), "its answer is too long");
    else if (reply != POLICY_REPLY_MORE)
        finish(p, words, "its answer has no action");
    else if (n == 0)
        finish(p, words, "it hung up without an answer");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct policy *p = arg;
    (void)fd, (void)what;
    finish(p, span_make(NULL, 0), p->why);
}

/* A descriptor, whose connection may still be under way; or minus errno. */
static int connect_to(const char *service)
{
    struct sockaddr_storage to;
    socklen_t length;
    if (!access_service_address(span_of(service), &to, &length))
        return -EINVAL;
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&to, length) == 0 || errno == EINPROGRESS)
        return fd;
    int status = errno;
    close(fd);
    return -status;
}

/* A socket takes a request whole, or its owner does not read. */
static const char *send_request(int fd, struct span request)
{
    ssize_t n = send(fd, request.p, request.n, MSG_NOSIGNAL);
    if (n < 0)
        return strerror(errno);
    return (size_t)n == request.n ? NULL : "it does not read what it is asked";
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    struct policy *p = arg;
    int status = 0;
    socklen_t size = sizeof status;
    (void)what;
    const char *why = getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &status, &size) < 0 ? strerror(errno) : NULL;
    if (why == NULL)
        why = status ? strerror(status) : send_request((int)fd, buf_span(&p->request));
    buf_free(&p->request);
    if (why)
        finish(p, span_make(NULL, 0), why);
    else if (event_add(p->readable, NULL) != 0)
        log_die("out of memory for a policy request");
}

static void make_events(struct policy *p, struct event_base *base, uint64_t seconds)
{
    struct timeval timeout = {.tv_sec = p->why ? 0 : (time_t)seconds};
    if (p->why == NULL) {
        p->why = "it gave no answer in time";
        p->writable = event_new(base, p->fd, EV_WRITE, on_connected, p);
        p->readable = event_new(base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
        if (p->writable == NULL || p->readable == NULL || event_add(p->writable, NULL) != 0)
            log_die("out of memory for a policy request");
    }
    p->timer = evtimer_new(base, on_timer, p);
    if (p->timer == NULL || event_add(p->timer, &timeout) != 0)
        log_die("out of memory for a policy request");
}

struct policy *policy_ask(struct event_base *base, const char *service, struct span request, uint64_t timeout_seconds, policy_fn *done,
                          void *arg)
{
    struct policy *p = calloc(1, sizeof *p);
    if (p == NULL)
        log_die("out of memory for a policy request");
    *p = (struct policy){.done = done, .arg = arg, .answer = BUF_EMPTY(ANSWER_MOST), .request = BUF_EMPTY(REQUEST_MOST)};
    buf_add_span(&p->request, request);
    p->fd = connect_to(service);
    p->why = p->fd < 0 ? strerror(-p->fd) : NULL;
    make_events(p, base, timeout_seconds);
    return p;
}
