#include "tests/unit/session_client.h"

#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

struct world w;
struct stream *client;
struct buf heard;
bool ended, secured;

static void on_secured(struct stream *s, void *arg)
{
    (void)s, (void)arg;
    secured = true;
}

static void on_readable(struct stream *s, void *arg)
{
    (void)arg;
    buf_add_span(&heard, stream_input(s));
    stream_consume(s, stream_input(s).n);
}

static void on_ended(struct stream *s, enum stream_end how, const char *why, void *arg)
{
    (void)s, (void)how, (void)why, (void)arg;
    ended = true;
}

static const struct stream_handler handler = {.secured = on_secured, .readable = on_readable, .ended = on_ended};

int connect_pair(void)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    ended = secured = false;
    client = stream_accepted(w.base, fd[1], 64 << 10, &handler, NULL);
    return fd[0];
}

void connect_from(const char *address)
{
    struct sockaddr_storage from;
    socklen_t len;
    assert_true(address_to_socket(span_of(address), 1000, &from, &len));
    session_accept(&w.server, &w.listener, connect_pair(), (struct sockaddr *)&from);
}

void connect_client(void)
{
    connect_from("192.0.2.7");
}

void hang_up(void)
{
    stream_free(client);
    client = NULL;
    ended = false;
    buf_free(&heard);
}

void turns(int n)
{
    for (int i = 0; i < n; i++)
        world_turn(&w);
}

int open_world(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

int close_world(void **state)
{
    (void)state;
    if (client)
        hang_up();
    turns(10);
    world_close(&w);
    return 0;
}
