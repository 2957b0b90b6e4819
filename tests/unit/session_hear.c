#include "tests/unit/session_hear.h"

#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define TURNS 400

void client_say_span(struct span s)
{
    stream_write_span(client, s);
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
            world_turn(&w);
            there = next_reply(line, sizeof line);
        }
        if (!there || strncmp(line, *replies, strlen(*replies)) != 0)
            fail_msg("heard instead of %s: %s%s", *replies, line, ended ? ", and the end" : "");
    }
    for (int i = 0; i < 5; i++)
        world_turn(&w);
    if (heard.len)
        fail_msg("heard besides: %s", buf_text(&heard));
}

void client_hear_end(void)
{
    for (int i = 0; i < TURNS && !ended; i++)
        world_turn(&w);
    assert_true(ended);
    hang_up();
    for (int i = 0; i < TURNS && w.server.session_count; i++)
        world_turn(&w);
    assert_int_equal(w.server.session_count, 0);
}
