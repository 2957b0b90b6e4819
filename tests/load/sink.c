#include "tests/load/sink.h"
#include "tests/load/books.h"
#include "tests/load/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct guest {
    struct fired fired;
    int fd;
    bool text;
    uint32_t message;
    char line[1100];
    size_t len;
    char out[8192];
    size_t out_len;
};

static struct fired door;
static int listening;

static void say(struct guest *g, const char *text)
{
    size_t n = strlen(text);
    if (g->out_len + n <= sizeof g->out)
        memcpy(g->out + g->out_len, text, n);
    g->out_len += n;
}

static void text_line(struct guest *g)
{
    if (strcmp(g->line, ".") == 0) {
        g->text = false;
        books_arrived(g->message); /* before it is told */
        say(g, "250 2.0.0 taken\r\n");
    } else if (strncmp(g->line, SUBJECT, sizeof SUBJECT - 1) == 0) {
        g->message = (uint32_t)strtoul(g->line + sizeof SUBJECT - 1, NULL, 10);
    }
}

static bool command_line(struct guest *g)
{
    if (strncasecmp(g->line, "EHLO", 4) == 0) {
        say(g, "250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
    } else if (strncasecmp(g->line, "DATA", 4) == 0) {
        g->text = true;
        g->message = UINT32_MAX;
        say(g, "354 go on\r\n");
    } else if (strncasecmp(g->line, "QUIT", 4) == 0) {
        say(g, "221 2.0.0 bye\r\n");
        return false;
    } else {
        say(g, "250 2.0.0 ok\r\n");
    }
    return true;
}

static bool take(struct guest *g, const char *p, size_t n)
{
    bool more = true;
    while (n > 0 && more) {
        const char *lf = memchr(p, '\n', n);
        size_t step = lf ? (size_t)(lf - p) + 1 : n;
        size_t room = sizeof g->line - 1 - g->len, keep = step < room ? step : room;
        memcpy(g->line + g->len, p, keep);
        g->len += keep;
        p += step;
        n -= step;
        if (!lf)
            break;
        while (g->len && (g->line[g->len - 1] == '\n' || g->line[g->len - 1] == '\r'))
            g->len--;
        g->line[g->len] = '\0';
        g->len = 0;
        if (g->text)
            text_line(g);
        else
            more = command_line(g);
    }
    return more;
}

static void guest_fire(void *self, uint32_t events)
{
    (void)events;
    static char piece[65536];
    struct guest *g = self;
    ssize_t n = recv(g->fd, piece, sizeof piece, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    bool more = n > 0 && take(g, piece, (size_t)n);
    if (g->out_len)
        send(g->fd, g->out, g->out_len, MSG_NOSIGNAL);
    g->out_len = 0;
    if (!more) {
        close(g->fd);
        free(g);
    }
}

static void door_fire(void *self, uint32_t events)
{
    (void)self, (void)events;
    int one = 1;
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct guest *g = fd < 0 ? NULL : calloc(1, sizeof *g);
    if (g == NULL)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    g->fired.fire = guest_fire;
    g->fd = fd;
    wire_watch(fd, &g->fired, EPOLLIN);
    static const char greeting[] = "220 sink.example ESMTP\r\n";
    if (send(fd, greeting, sizeof greeting - 1, MSG_NOSIGNAL) < 0)
        return;
}

uint16_t sink_open(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&at, sizeof at) != 0 || listen(listening, 1024) != 0 ||
        getsockname(listening, (struct sockaddr *)&at, &size) != 0)
        die("sink: %s", strerror(errno));
    door.fire = door_fire;
    wire_watch(listening, &door, EPOLLIN);
    return ntohs(at.sin_port);
}
