#include "resolver/policy.h"

#include "common/buf.h"
#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MOST 4096

struct policy {
    int fd;          /* -1: the request could not be sent */
    const char *why; /* then; else that no answer came in time */
    struct event *readable, *timer;
    struct buf answer;
    policy_fn *done;
    void *arg;
};

void policy_cancel(struct policy *p)
{
    if (p == NULL)
        return;
    if (p->readable)
        event_free(p->readable);
    if (p->timer)
        event_free(p->timer);
    if (p->fd >= 0)
        close(p->fd);
    buf_free(&p->answer);
    free(p);
}

static void finish(struct policy *p, struct span words, const char *why)
{
    p->done(words, why, p->arg);
    policy_cancel(p);
}

/* "action=words" in one of the lines; the last one counts. */
static struct span action_in(struct span text)
{
    static const char key[] = "action=";
    struct span found = {0};
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end ? (size_t)(end - text.p) : text.n;
        size_t words = n > 0 && text.p[n - 1] == '\r' ? n - 1 : n;
        if (words >= sizeof key - 1 && memcmp(text.p, key, sizeof key - 1) == 0)
            found = span_make(text.p + sizeof key - 1, words - (sizeof key - 1));
        n += end != NULL;
        text = span_make(text.p + n, text.n - n);
    }
    return found;
}

static bool printable(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || (unsigned char)s.p[i] > '~')
            return false;
    return s.n > 0;
}

static bool complete(const struct buf *b)
{
    struct span s = buf_span(b);
    return s.n > 1 && (memmem(s.p, s.n, "\n\n", 2) != NULL || memmem(s.p, s.n, "\n\r\n", 3) != NULL);
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
    struct span words = action_in(buf_span(&p->answer));
    if (n < 0)
        finish(p, span_make(NULL, 0), strerror(errno));
    else if (p->answer.failed)
        finish(p, span_make(NULL, 0), "its answer is too long");
    else if (complete(&p->answer))
        finish(p, printable(words) ? words : span_make(NULL, 0), "its answer has no action");
    else if (n == 0)
        finish(p, span_make(NULL, 0), "it hung up without an answer");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct policy *p = arg;
    (void)fd, (void)what;
    finish(p, span_make(NULL, 0), p->why);
}

static int connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path)
        return -ENAMETOOLONG;
    memcpy(to.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
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

struct policy *policy_ask(struct event_base *base, const char *path, struct span request, uint64_t timeout_seconds, policy_fn *done,
                          void *arg)
{
    struct policy *p = calloc(1, sizeof *p);
    if (p == NULL)
        log_die("out of memory for a policy request");
    *p = (struct policy){.done = done, .arg = arg, .answer = BUF_EMPTY(ANSWER_MOST)};
    p->fd = connect_to(path);
    p->why = p->fd < 0 ? strerror(-p->fd) : send_request(p->fd, request);
    struct timeval timeout = {.tv_sec = p->why ? 0 : (time_t)timeout_seconds};
    if (p->why == NULL) {
        p->why = "it gave no answer in time";
        p->readable = event_new(base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
        if (p->readable == NULL || event_add(p->readable, NULL) != 0)
            log_die("out of memory for a policy request");
    }
    p->timer = evtimer_new(base, on_timer, p);
    if (p->timer == NULL || event_add(p->timer, &timeout) != 0)
        log_die("out of memory for a policy request");
    return p;
}
