#include "tests/unit/session_script.h"

#include "common/stream.h"
#include "tests/unit/fake_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool is_there(const char *text)
{
    const char *all = buf_text(&heard), *at = strstr(all, text);
    size_t n = strlen(all);
    return at && n && all[n - 1] == '\n' && !strchr(at, '\r')[2];
}

static void hear(const char *text)
{
    for (int i = 0; i < TURNS && !is_there(text); i++)
        world_turn(&w);
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
        world_turn(&w);
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
