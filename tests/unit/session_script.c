#include "tests/unit/session_script.h"

#include "common/stream.h"
#include "tests/unit/fake_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

struct world w;
struct stream *client;
static struct buf heard;
static bool ended;

/* ---- the client ------------------------------------------------------------------------------------------------------------------ */

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

void connect_from(const char *address)
{
    int fd[2];
    struct sockaddr_storage from;
    socklen_t len;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_true(address_to_socket(span_of(address), 1000, &from, &len));
    client = stream_accepted(w.base, fd[1], 64 << 10, &handler, NULL);
    session_accept(&w.server, &w.listener, fd[0], (struct sockaddr *)&from);
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

/* ---- scripts --------------------------------------------------------------------------------------------------------------------- */

void turns(int n)
{
    for (int i = 0; i < n; i++)
        world_turn(&w, 0);
}

static bool is_there(const char *text)
{
    const char *all = buf_text(&heard), *at = strstr(all, text);
    size_t n = strlen(all);
    return at && n && all[n - 1] == '\n' && !strchr(at, '\r')[2];
}

static void hear(const char *text)
{
    for (int i = 0; i < TURNS && !is_there(text); i++)
        world_turn(&w, 0);
    if (!is_there(text))
        fail_msg("heard instead of %s: %s", text, buf_text(&heard));
    buf_clear(&heard);
}

static void hear_nothing(void)
{
    turns(QUIET);
    if (heard.len || ended)
        fail_msg("heard instead of nothing: %s%s", buf_text(&heard), ended ? " and the end" : "");
}

static void hear_end(void)
{
    for (int i = 0; i < TURNS && !ended; i++)
        world_turn(&w, 0);
    assert_true(ended);
    assert_int_equal(heard.len, 0);
    hang_up();
    turns(QUIET);
    assert_int_equal(w.server.session_count, 0);
}

void say(const char *text, const char *end)
{
    stream_write_span(client, span_of(text));
    stream_write_span(client, span_of(end));
    turns(QUIET);
}

static void step(const char *line)
{
    if (line[0] == '>' && line[1] == '>')
        say(line + 3, "");
    else if (line[0] == '>')
        say(line + 2, "\r\n");
    else if (line[0] == '<')
        hear(line + 2);
    else if (line[0] == '=')
        hear_nothing();
    else if (line[0] == '.')
        hear_end();
    else if (line[0] == '+')
        clock_pass(strtod(line + 2, NULL));
    else
        fail_msg("a script has no such step: %s", line);
}

void play_steps(const char *const *lines)
{
    for (; *lines; lines++)
        step(*lines);
}

void begin(void)
{
    connect_client();
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME");
}

const char *heard_so_far(void)
{
    return buf_text(&heard);
}

void forget_heard(void)
{
    buf_clear(&heard);
}
