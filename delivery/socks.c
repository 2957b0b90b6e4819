#include "delivery/socks.h"

#include <netinet/in.h>

enum { VERSION = 5, NO_AUTHENTICATION = 0, COMMAND_CONNECT = 1 };
enum { TYPE_IPV4 = 1, TYPE_NAME = 3, TYPE_IPV6 = 4 };

static enum socks_state fail(struct socks *s, bool is_theirs, const char *why)
{
    s->why = why;
    s->is_theirs = is_theirs;
    return s->state = SOCKS_FAILED;
}

void socks_begin(struct socks *s, struct buf *out)
{
    static const unsigned char greeting[] = {VERSION, 1, NO_AUTHENTICATION};
    *s = (struct socks){.state = SOCKS_METHOD};
    buf_add(out, greeting, sizeof greeting);
}

static void say_connect(const struct sockaddr *to, struct buf *out)
{
    const struct sockaddr_in *four = (const void *)to;
    const struct sockaddr_in6 *six = (const void *)to;
    bool is_six = to->sa_family == AF_INET6;
    const unsigned char head[] = {VERSION, COMMAND_CONNECT, 0, is_six ? TYPE_IPV6 : TYPE_IPV4};
    buf_add(out, head, sizeof head);
    buf_add(out, is_six ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, is_six ? 16 : 4);
    buf_add(out, is_six ? &six->sin6_port : &four->sin_port, 2);
}

static enum socks_state method(struct socks *s, const unsigned char *octets, const struct sockaddr *to, struct buf *out)
{
    if (octets[0] != VERSION)
        return fail(s, false, "it does not speak SOCKS 5");
    if (octets[1] != NO_AUTHENTICATION)
        return fail(s, false, "it wants a login");
    say_connect(to, out);
    return s->state = SOCKS_REPLY;
}

static enum socks_state refused(struct socks *s, unsigned char code)
{
    switch (code) {
    case 2:
        return fail(s, false, "its rules do not allow the connection");
    case 3:
        return fail(s, true, "Network is unreachable");
    case 4:
        return fail(s, true, "No route to host");
    case 5:
        return fail(s, true, "Connection refused");
    case 6:
        return fail(s, true, "Connection timed out");
    case 7:
        return fail(s, false, "it makes no connections");
    case 8:
        return fail(s, false, "it has no addresses of that family");
    default:
        return fail(s, false, "it failed");
    }
}

/* How long the reply is; 0: that can't be told yet, or it can't be. */
static size_t reply_length(struct socks *s, const unsigned char *octets, size_t n)
{
    if (n < 5)
        return 0;
    switch (octets[3]) {
    case TYPE_IPV4:
        return 4 + 4 + 2;
    case TYPE_IPV6:
        return 4 + 16 + 2;
    case TYPE_NAME:
        return 4 + 1 + octets[4] + (size_t)2;
    default:
        fail(s, false, "its reply is broken");
        return 0;
    }
}

static enum socks_state reply(struct socks *s, const unsigned char *octets, size_t n, size_t *used)
{
    if (octets[0] != VERSION)
        return fail(s, false, "its reply is broken");
    if (octets[1] != 0)
        return refused(s, octets[1]);
    size_t length = reply_length(s, octets, n);
    if (length == 0 || n < length)
        return s->state;
    *used += length;
    return s->state = SOCKS_DONE;
}

enum socks_state socks_feed(struct socks *s, struct span in, const struct sockaddr *to, size_t *used, struct buf *out)
{
    const unsigned char *octets = (const unsigned char *)in.p;
    *used = 0;
    if (s->state == SOCKS_METHOD && in.n >= 2 && method(s, octets, to, out) == SOCKS_REPLY)
        *used = 2;
    if (s->state == SOCKS_REPLY && in.n - *used >= 2)
        reply(s, octets + *used, in.n - *used, used);
    return s->state;
}
