/* The door for proxies, in whole sessions: whose header is read, how it may come, and who the client is then (tests/unit/session_script.h).
 * What a header may say is in test_proxy.c. */
#include "tests/unit/logged.h"
#include "tests/unit/session_script.h"

#include "common/stream.h"
#include "smtpd/listed.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SAY_V1     ">> PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n"
#define V2(family) "\r\n\r\n\0\r\nQUIT\n\x21" family
/* 198.51.100.8:4096 to 192.0.2.1:25, and a TLV that says nothing. */
static const char v2[] = V2("\x11\0\x10") "\xc6\x33\x64\x08\xc0\0\x02\x01\x10\0\0\x19\x04\0\x01x";

static char proxies[] = "192.0.2.0/24", own_proxy[] = "2001:db8::/32", ours[] = "203.0.113.0/24";
static char *proxy_list[] = {proxies, own_proxy}, *our_list[] = {ours};
static unsigned emptied;

static int open_proxied(void **state)
{
    open_world(state);
    w.listener.proxy = true;
    w.listener.proxy_from = (struct strings){2, proxy_list};
    emptied = 0;
    logged_forget();
    return 0;
}

static void proxy_connects(void)
{
    connect_from("192.0.2.9");
}

static void say_octets(const char *p, size_t n)
{
    stream_write_span(client, span_make(p, n));
    turns(QUIET);
}

static void nothing_is_left(void)
{
    turns(QUIET);
    assert_int_equal(w.server.session_count, 0);
    assert_true(TAILQ_EMPTY(&w.server.arrivals));
}

/* Closed without a word, and the log tells why. */
static void is_refused_for(const char *why)
{
    char line[200];
    snprintf(line, sizeof line, "peer=192.0.2.9 reason=\"%s", why);
    PLAY(".");
    nothing_is_left();
    if (!logged(line))
        fail_msg("the log has no %s", line);
    assert_false(logged("connect:"));
}

/* What route is asked about a recipient is about this client. */
static void is_client(const char *address)
{
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ");
    assert_string_equal(buf_text(&w.client), address);
}

/* ---- who the client is ------------------------------------------------------------------------------------------------------------- */

static void a_line_names_the_client(void **state)
{
    (void)state;
    proxy_connects();
    PLAY("=", "> PROXY TCP4 198.51.100.7 192.0.2.1 40000 25", "< 220 mx.example ESMTP", "> EHLO x", "< 250 8BITMIME");
    is_client("198.51.100.7");
    PLAY("> DATA", "< 354 ", "> .", "< 250 ", "> QUIT", "< 221 ", ".");
    assert_non_null(strstr(buf_text(&w.body), "(client.example [198.51.100.7])"));
    assert_null(strstr(buf_text(&w.body), "192.0.2.9"));
}

static void a_binary_header_octet_by_octet(void **state)
{
    (void)state;
    proxy_connects();
    for (size_t i = 0; i < sizeof v2 - 2; i++) {
        say_octets(v2 + i, 1);
        assert_string_equal(heard_so_far(), "");
        assert_int_equal(w.server.session_count, 1);
        assert_false(TAILQ_EMPTY(&w.server.arrivals));
    }
    say_octets(v2 + sizeof v2 - 2, 1);
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME");
    is_client("198.51.100.8");
}

static void a_header_in_two_pieces_at_any_place(void **state)
{
    (void)state;
    for (size_t i = 1; i < sizeof v2 - 1; i++) {
        proxy_connects();
        say_octets(v2, i);
        assert_string_equal(heard_so_far(), "");
        say_octets(v2 + i, sizeof v2 - 1 - i);
        PLAY("< 220 ", "> QUIT", "< 221 ", ".");
    }
}

/* What is behind the header is the client's, and stays in the socket for the session. */
static void not_an_octet_more_is_taken(void **state)
{
    (void)state;
    proxy_connects();
    say("PROXY TCP4 198", "");
    say(".51.100.7 192.0.2.1 40000 25\r\nEHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "");
    PLAY("< 354 ", "> .", "< 250 ");
    assert_string_equal(buf_text(&w.client), "198.51.100.7");
}

static void a_second_header_is_a_command_that_is_none(void **state)
{
    (void)state;
    proxy_connects();
    PLAY(SAY_V1, "< 220 ", ">> PROXY TCP4 203.0.113.5 192.0.2.1 40000 25\r\n", "< 50", "> EHLO x", "< 250 8BITMIME");
    is_client("198.51.100.7");
}

static void a_proxy_and_its_client_over_ipv6(void **state)
{
    (void)state;
    connect_from("2001:db8::9");
    PLAY("> PROXY TCP6 2001:db8:7::1 2001:db8::1 40000 25", "< 220 ", "> EHLO x", "< 250 8BITMIME");
    is_client("2001:db8:7::1");
}

/* The proxy looks whether we are well: it hears all, and sends no mail, whatever its own address may do. */
static void the_proxy_s_own_connection_sends_no_mail(void **state)
{
    (void)state;
    static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0";
    world_lend(&w, &w.settings->xclient_from, 2, proxy_list);
    proxy_connects();
    PLAY("> PROXY UNKNOWN", "< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<>", "< 550 5.7.0 the proxy has not told");
    PLAY("> XCLIENT ADDR=198.51.100.7", "< 550 5.7.0 ", "> NOOP", "< 250 ", "> QUIT", "< 221 ", ".");
    proxy_connects();
    say_octets(local, sizeof local);
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<>", "< 550 5.7.0 ", "> QUIT", "< 221 ", ".");
}

/* ---- who is no proxy, and what is no header ---------------------------------------------------------------------------------------- */

static void who_is_not_listed_is_not_read(void **state)
{
    (void)state;
    static const char *const others[] = {"198.51.100.7", "192.0.3.9", "2001:db9::9", "::1"};
    for (size_t i = 0; i < 4; i++) {
        connect_from(others[i]);
        PLAY("< 421 4.7.0 mx.example this port is for proxies", ".");
        nothing_is_left();
    }
    assert_true(logged("client=192.0.3.9 reason=\"this port is for proxies\" rule=\"listener { proxy_from }\""));
    w.listener.proxy_from.n = 0;
    proxy_connects();
    PLAY("< 421 4.7.0 ", ".");
}

static void what_is_no_header_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *said, *why;
    } table[] = {{"EHLO x\r\n", "no PROXY header"},
                 {"PROXX", "no PROXY header"},
                 {"\r\n\r\nx", "no PROXY header"},
                 {"PROXY TCP4 198.51.100.300 192.0.2.1 40000 25\r\n", "a version 1 header"},
                 {"PROXY TCP4 198.51.100.7 192.0.2.1 40000 25", ""}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        proxy_connects();
        say(table[i].said, "");
        if (!*table[i].why)
            say(" and more words, until it is longer than the longest line that there can be of version 1 .......................", "");
        is_refused_for(table[i].why);
    }
    static const char datagram[] = V2("\x12\0\x0c") "\xc6\x33\x64\x08\xc0\0\x02\x01\x10\0\0\x19", huge[] = V2("\x11\xff\xff");
    proxy_connects();
    say_octets(datagram, sizeof datagram - 1);
    is_refused_for("a version 2 header of a connection that is not TCP");
    proxy_connects();
    say_octets(huge, sizeof huge - 1);
    is_refused_for("a version 2 header that is too long");
}

static void a_header_has_five_seconds_in_all(void **state)
{
    (void)state;
    proxy_connects();
    PLAY("+ 2", ">> PROXY", "+ 2", ">>  TCP4 198", "+ 0.9", "=", ">> .51", "=", "+ 0.2");
    is_refused_for("no whole PROXY header in time");
    proxy_connects();
    PLAY("=", "+ 5.1");
    is_refused_for("no whole PROXY header in time");
    proxy_connects();
    PLAY("+ 4.8", SAY_V1, "< 220 ", "+ 5", "> NOOP", "< 250 ");
}

static void who_goes_before_its_end(void **state)
{
    (void)state;
    proxy_connects();
    turns(QUIET);
    hang_up();
    nothing_is_left();
    assert_true(logged("reason=\"nothing was said"));
    assert_false(logged("reason=\"the connection ended"));
    proxy_connects();
    say("PROXY TCP4 198", "");
    hang_up();
    nothing_is_left();
    assert_true(logged("peer=192.0.2.9 reason=\"the connection ended inside of the PROXY header\""));
}

/* Over TCP, as a socketpair is not reset. */
static void a_connection_that_is_reset(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
                       from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000209)};
    socklen_t n = sizeof at;
    int door = socket(AF_INET, SOCK_STREAM, 0), far = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(door, (struct sockaddr *)&at, n) + listen(door, 1) + getsockname(door, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(connect(far, (struct sockaddr *)&at, n), 0);
    session_accept(&w.server, &w.listener, accept4(door, NULL, NULL, SOCK_NONBLOCK), (struct sockaddr *)&from);
    turns(QUIET);
    assert_int_equal(w.server.session_count, 1);
    assert_int_equal(setsockopt(far, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger)), 0);
    close(far);
    close(door);
    nothing_is_left();
    assert_true(logged("peer=192.0.2.9 reason=\"Connection reset by peer\""));
}

/* ---- limits ------------------------------------------------------------------------------------------------------------------------ */

static void limits_are_the_client_s_and_not_the_proxy_s(void **state)
{
    (void)state;
    w.settings->limit_sessions_client = 1;
    proxy_connects();
    PLAY(SAY_V1, "< 220 ");
    struct stream *first = client;
    proxy_connects();
    PLAY(">> PROXY TCP4 198.51.100.9 192.0.2.1 40000 25\r\n", "< 220 ");
    struct stream *second = client;
    assert_int_equal(w.server.session_count, 2);
    proxy_connects();
    PLAY(SAY_V1, "< 421 4.7.0 mx.example too many sessions from your address");
    assert_int_equal(w.server.session_count, 2);
    hang_up();
    stream_free(first);
    stream_free(second);
    nothing_is_left();
    proxy_connects();
    PLAY(SAY_V1, "< 220 ", "> QUIT", "< 221 ", ".");
}

static void a_listener_for_some_networks_looks_at_the_client(void **state)
{
    (void)state;
    w.listener.clients = (struct strings){1, our_list};
    proxy_connects();
    PLAY(SAY_V1, "< 554 5.7.1 mx.example this service is not for your network", ".");
    proxy_connects();
    PLAY(">> PROXY TCP4 203.0.113.7 192.0.2.1 40000 25\r\n", "< 220 ", "> QUIT", "< 221 ", ".");
    w.listener.clients = (struct strings){0, NULL};
}

static void arrivals_are_counted_as_sessions(void **state)
{
    (void)state;
    struct stream *waiting[8];
    w.settings->limit_sessions = 8; /* and two descriptors more: the streams of this test count, too */
    for (size_t i = 0; i < 8; i++) {
        proxy_connects();
        waiting[i] = client;
    }
    turns(QUIET);
    assert_int_equal(w.server.session_count, 8);
    proxy_connects();
    PLAY("< 421 4.7.0 mx.example too many sessions, try again later");
    assert_true(logged("rule=\"limit { sessions }\""));
    hang_up();
    client = waiting[7];
    PLAY(SAY_V1, "< 220 ", "> QUIT", "< 221 ");
    for (size_t i = 0; i < 7; i++)
        stream_free(waiting[i]);
    PLAY(".");
}

static void on_emptied(struct server *server)
{
    assert_ptr_equal(server, &w.server);
    emptied++;
}

static void a_stop_does_not_wait_for_a_header(void **state)
{
    (void)state;
    w.server.emptied = on_emptied;
    proxy_connects();
    say("PROXY TCP4 ", "");
    sessions_drain(&w.server);
    is_refused_for("the program is being stopped");
    assert_int_equal(emptied, 1);
    w.server.emptied = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_proxied, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_names_the_client),
        TEST(a_binary_header_octet_by_octet),
        TEST(a_header_in_two_pieces_at_any_place),
        TEST(not_an_octet_more_is_taken),
        TEST(a_second_header_is_a_command_that_is_none),
        TEST(a_proxy_and_its_client_over_ipv6),
        TEST(the_proxy_s_own_connection_sends_no_mail),
        TEST(who_is_not_listed_is_not_read),
        TEST(what_is_no_header_ends_it),
        TEST(a_header_has_five_seconds_in_all),
        TEST(who_goes_before_its_end),
        TEST(a_connection_that_is_reset),
        TEST(limits_are_the_client_s_and_not_the_proxy_s),
        TEST(a_listener_for_some_networks_looks_at_the_client),
        TEST(arrivals_are_counted_as_sessions),
        TEST(a_stop_does_not_wait_for_a_header),
    };
    logged_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
