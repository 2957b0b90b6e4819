#include "tests/unit/session_client.h"

#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define TURNS 400

static struct world *world;
static struct stream *stream;
static struct buf heard;
static bool ended;

static void on_secured(struct stream *s, void *arg)
{
    (void)s, (void)arg;
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

void client_connect(struct world *w, const char *address)
{
    int fd[2];
    struct sockaddr_storage from;
    socklen_t len;
    world = w;
    ended = false;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_true(address_to_socket(span_of(address), 1000, &from, &len));
    stream = stream_accepted(w->base, fd[1], 64 << 10, &handler, NULL);
    session_accept(&w->server, &w->listener, fd[0], (struct sockaddr *)&from);
}

void client_say_span(struct span s)
{
    stream_write_span(stream, s);
}

void client_say(const char *text)
{
    client_say_span(span_of(text));
}

/* The first whole reply leaves `heard`; only its last line is left in `line`. */
static bool next_reply(char *line, size_t most)
{
    for (;;) {
        char *end = heard.len ? memmem(heard.data, heard.len, "\r\n", 2) : NULL;
        if (!end)
            return false;
        size_t n = (size_t)(end - heard.data);
        snprintf(line, most, "%.*s", (int)n, heard.data);
        memmove(heard.data, end + 2, heard.len - n - 2);
        heard.len -= n + 2;
        if (strlen(line) < 4 || line[3] != '-')
            return true;
    }
}

void client_hear(const char *const *replies)
{
    for (; *replies; replies++) {
        char line[1024] = "nothing";
        bool there = next_reply(line, sizeof line);
        for (int i = 0; i < TURNS && !there; i++) {
            world_turn(world, 1);
            there = next_reply(line, sizeof line);
        }
        if (!there || strncmp(line, *replies, strlen(*replies)) != 0)
            fail_msg("heard instead of %s: %s%s", *replies, line, ended ? ", and the end" : "");
    }
    for (int i = 0; i < 5; i++)
        world_turn(world, 1);
    if (heard.len)
        fail_msg("heard besides: %s", buf_text(&heard));
}

void client_hear_end(void)
{
    for (int i = 0; i < TURNS && !ended; i++)
        world_turn(world, 1);
    assert_true(ended);
    client_hang_up();
    for (int i = 0; i < TURNS && world->server.session_count; i++)
        world_turn(world, 1);
    assert_int_equal(world->server.session_count, 0);
}

void client_hang_up(void)
{
    stream_free(stream);
    stream = NULL;
    buf_free(&heard);
}

const char *client_heard(void)
{
    return buf_text(&heard);
}
