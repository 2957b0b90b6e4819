/* XCLIENT and XFORWARD in whole sessions: who may, who the client is then for all that is decided, and what only the log is told
 * (tests/unit/session_script.h). What an attribute may be is in test_xclient.c. */
#include "tests/unit/logged.h"
#include "tests/unit/session_script.h"

#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char filters[] = "192.0.2.0/24", trusted[] = "203.0.113.0/24", strangers[] = "198.51.100.0/24";
static char *filter_list[] = {filters}, *trusted_list[] = {trusted}, *let_in[] = {filters, trusted}, *ours[] = {filters, strangers};

/* server_init() looks at the settings. */
static void settle(void)
{
    server_free(&w.server);
    server_init(&w.server);
}

static int open_trusting(void **state)
{
    open_world(state);
    world_lend(&w, &w.settings->xclient_from, 1, filter_list);
    world_lend(&w, &w.settings->xforward_from, 1, filter_list);
    world_lend(&w, &w.settings->relay_from, 1, trusted_list);
    w.settings->smtpd_future_release = 1000;
    settle();
    logged_forget();
    return 0;
}

/* As route is asked, and as the trace line has it. */
static void sends_as(const char *address, const char *trace)
{
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    assert_string_equal(buf_text(&w.client), address);
    if (!strstr(buf_text(&w.body), trace))
        fail_msg("the trace line has no %s: %s", trace, buf_text(&w.body));
}

static void begin_from(const char *address)
{
    connect_from(address);
    PLAY("< 220 ", "> EHLO filter.example", "< 250 8BITMIME");
}

static bool ehlo_offers(const char *keyword)
{
    say("EHLO x", "\r\n");
    bool there = strstr(heard_so_far(), keyword);
    forget_heard();
    return there;
}

/* ---- who may ----------------------------------------------------------------------------------------------------------------------- */

static void who_is_not_listed_may_not(void **state)
{
    (void)state;
    begin_from("198.51.100.7");
    assert_false(ehlo_offers("XCLIENT") || ehlo_offers("XFORWARD"));
    PLAY("> XCLIENT ADDR=203.0.113.7", "< 550 5.7.0 ", "> XCLIENT LOGIN=ann", "< 550 5.7.0 ", "> XFORWARD ADDR=203.0.113.7",
         "< 550 5.7.0 ");
    sends_as("198.51.100.7", "[198.51.100.7]");
    assert_string_equal(buf_text(&w.flow), "net:198.51.100.0");
    PLAY("> QUIT", "< 221 ", ".");
    connect_from("2001:db8::7");
    PLAY("< 220 ", "> XCLIENT ADDR=203.0.113.7", "< 550 5.7.0 ");
}

static void each_has_a_list_of_its_own(void **state)
{
    (void)state;
    w.settings->xforward_from.n = 0;
    begin_from("192.0.2.7");
    assert_true(ehlo_offers("250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"));
    assert_false(ehlo_offers("XFORWARD"));
    PLAY("> XFORWARD ADDR=203.0.113.7", "< 550 5.7.0 ", "> QUIT", "< 221 ", ".");
    w.settings->xforward_from.n = 1;
    w.settings->xclient_from.n = 0;
    begin_from("192.0.2.7");
    assert_true(ehlo_offers("250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n"));
    assert_false(ehlo_offers("XCLIENT"));
    PLAY("> XCLIENT ADDR=203.0.113.7", "< 550 5.7.0 ");
}

/* ---- who the client is then -------------------------------------------------------------------------------------------------------- */

static void all_is_decided_for_the_client_that_is_told(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> XCLIENT NAME=spike.example ADDR=198.51.100.7 PROTO=ESMTP HELO=spike+2Bx.example DESTPORT=25", "< 220 mx.example ESMTP");
    has_logged(
        "xclient: client=spike.example[198.51.100.7] peer=192.0.2.7 helo=spike+x.example proto=ESMTP login=\"\" destaddr=\"\" destport=25");
    sends_as("198.51.100.7", "from spike\?x.example (spike.example [198.51.100.7])");
    assert_string_equal(buf_text(&w.flow), "net:198.51.100.0");
    PLAY("> XCLIENT ADDR=203.0.113.7", "< 550 5.7.0 ", "> XFORWARD ADDR=203.0.113.7", "< 550 5.7.0 ");
}

static void what_the_peer_said_of_itself_is_forgotten(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> XCLIENT ADDR=198.51.100.7 NAME=[UNAVAILABLE]", "< 220 ", "> MAIL FROM:<>", "< 503 5.5.1 send EHLO", "> EHLO spike",
         "< 250 8BITMIME");
    sends_as("198.51.100.7", "from spike (unknown [198.51.100.7])");
}

static void a_login_that_is_told_is_one(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> XCLIENT ADDR=198.51.100.7 LOGIN=ann", "< 220 ", "> EHLO x", "< 250 8BITMIME");
    sends_as("198.51.100.7", "[198.51.100.7]");
    assert_string_equal(buf_text(&w.flow), "login:ann");
    PLAY("> MAIL FROM:<> HOLDFOR=5", "< 250 ");
}

/* The address of the one who told it says nothing any more. */
static void trust_goes_with_the_address(void **state)
{
    (void)state;
    w.settings->xclient_from = (struct strings){2, let_in};
    begin_from("203.0.113.7");
    assert_true(ehlo_offers("FUTURERELEASE"));
    PLAY("> XCLIENT ADDR=198.51.100.7", "< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<> HOLDFOR=5", "< 555 5.5.4 ", "> QUIT",
         "< 221 ", ".");
    begin_from("192.0.2.7");
    assert_false(ehlo_offers("FUTURERELEASE"));
    PLAY("> XCLIENT ADDR=203.0.113.8", "< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<> HOLDFOR=5", "< 250 ");
    w.settings->xclient_from = (struct strings){1, filter_list};
}

static void a_name_that_is_not_told_is_looked_up(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    unsigned before = w.questions;
    PLAY("> XCLIENT ADDR=IPV6:2001:db8::7", "< 220 ");
    assert_int_equal(w.questions, before + 1);
    PLAY("> EHLO x", "< 250 8BITMIME");
    sends_as("2001:db8::7", "from x (client.example [IPv6:2001:db8::7])");
}

static void who_has_no_address_is_in_no_network(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    unsigned before = w.questions;
    PLAY("> XCLIENT NAME=[TEMPUNAVAIL]", "< 220 ", "> XCLIENT ADDR=[UNAVAILABLE]", "< 220 ", "> EHLO x", "< 250 8BITMIME");
    assert_int_equal(w.questions, before);
    sends_as("0.0.0.0", "from x (unknown [0.0.0.0])");
    PLAY("> XCLIENT ADDR=203.0.113.7", "< 550 5.7.0 ", "> MAIL FROM:<> HOLDFOR=5", "< 555 5.5.4 ");
}

static void it_may_be_told_bit_by_bit(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> XCLIENT NAME=spike.example", "< 220 ", "> XCLIENT HELO=one.example", "< 220 ", "> XCLIENT HELO=two.example PROTO=SMTP",
         "< 220 ");
    PLAY("> XCLIENT ADDR=192.0.2.8 NAME=next.example", "< 220 ", "> XCLIENT ADDR=198.51.100.7 NAME=spike.example", "< 220 ");
    has_logged("client=spike.example[198.51.100.7] peer=192.0.2.7 helo=two.example proto=SMTP");
    sends_as("198.51.100.7", "from two.example (spike.example [198.51.100.7])\r\n\tby mx.example (Postino) with SMTP id ");
}

/* ---- what is refused --------------------------------------------------------------------------------------------------------------- */

static void nothing_of_a_refused_command_holds(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        " ",
                                        " ADDR",
                                        " ADDR=",
                                        " ADDR=198.51.100.300",
                                        " ADDR=2001:db8::7",
                                        " NAME=spike.example ADDR=198.51.100.7 ADDR=198.51.100.7",
                                        " LOGIN=ann NONSENSE=x",
                                        " LOGIN=ann HELO=+0A",
                                        " LOGIN=ann PROTO=LMTP",
                                        " IDENT=x"};
    char line[200];
    begin_from("192.0.2.7");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(line, sizeof line, "> XCLIENT%s", wrong[i]);
        PLAY(line, "< 501 5.5.4 ");
    }
    sends_as("192.0.2.7", "from filter.example (client.example [192.0.2.7])");
    assert_string_equal(buf_text(&w.flow), "net:192.0.2.0");
    PLAY("> XFORWARD LOGIN=ann", "< 501 5.5.4 ", "> XFORWARD", "< 501 5.5.4 ");
}

static void not_in_a_transaction(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> MAIL FROM:<>", "< 250 ", "> XCLIENT ADDR=198.51.100.7", "< 503 5.5.1 ", "> XFORWARD ADDR=198.51.100.7", "< 503 5.5.1 ");
    PLAY("> RCPT TO:<b@example.org>", "< 250 ");
    assert_string_equal(buf_text(&w.client), "192.0.2.7");
    PLAY("> RSET", "< 250 ", "> XCLIENT ADDR=198.51.100.7", "< 220 ");
}

static void a_client_that_is_not_let_in(void **state)
{
    (void)state;
    w.listener.clients = (struct strings){2, let_in};
    begin_from("192.0.2.7");
    PLAY("> XCLIENT ADDR=203.0.113.7", "< 220 ", "> QUIT", "< 221 ", ".");
    begin_from("192.0.2.7");
    PLAY("> XCLIENT ADDR=198.51.100.7", "< 554 5.7.1 mx.example this service is not for your network", ".");
    connect_from("198.51.100.7");
    PLAY("< 554 5.7.1 mx.example this service is not for your network", ".");
    has_logged("client=198.51.100.7 reason=\"this service is not for your network\" rule=\"listener { clients }\"");
    w.listener.clients = (struct strings){0, NULL};
}

static void sessions_are_counted_for_the_client(void **state)
{
    (void)state;
    w.settings->limit_sessions_client = 1;
    begin_from("192.0.2.7");
    PLAY("> XCLIENT ADDR=198.51.100.7", "< 220 ");
    struct stream *first = client;
    begin_from("192.0.2.7"); /* whose place is free again */
    PLAY("> XCLIENT ADDR=198.51.100.7", "< 421 4.7.0 mx.example too many sessions from your address");
    hang_up();
    client = first;
    turns(10);
    assert_int_equal(w.server.session_count, 1);
    PLAY("> QUIT", "< 221 ", ".");
    begin_from("192.0.2.7");
    PLAY("> XCLIENT ADDR=198.51.100.7", "< 220 ");
}

/* Whom route refuses at the door is refused there, too. */
static void the_door_is_asked_about_the_client(void **state)
{
    (void)state;
    w.settings->smtpd_greet_delay = 6;
    w.settings->relay_from = (struct strings){1, ours};
    settle();
    begin_from("192.0.2.7");
    assert_int_equal(w.admits, 0);
    PLAY("> XCLIENT ADDR=203.0.113.1", "< 220 ");
    assert_int_equal(w.admits, 1);
    PLAY("> QUIT", "< 221 ", ".");
    assert_int_equal(w.left, 1);
    w.settings->relay_from = (struct strings){1, trusted_list};
    settle();
    connect_from("192.0.2.7");
    PLAY("< 220-", "+ 6.1", "< 220 ", "> XCLIENT ADDR=198.51.100.1", "< 421 4.7.0 mx.example Error: too many connections", ".");
    assert_int_equal(w.left, 2);
}

/* ---- XFORWARD ---------------------------------------------------------------------------------------------------------------------- */

static void what_is_forwarded_is_for_the_log_of_one_message(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> XFORWARD NAME=spike.example ADDR=203.0.113.7 PORT=4321", "< 250 2.0.0 Ok",
         "> XFORWARD HELO=spike PROTO=ESMTP IDENT=abc+3D SOURCE=REMOTE", "< 250 ");
    PLAY("> MAIL FROM:<> HOLDFOR=5", "< 555 5.5.4 ", "> MAIL FROM:<>", "< 250 ", "> RCPT TO:<nouser@example.org>", "< 550 ");
    has_logged(
        "orig_client=spike.example[203.0.113.7] orig_port=4321 orig_helo=spike orig_proto=ESMTP orig_id=\"abc=\" orig_source=REMOTE");
    PLAY("> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    has_logged("orig_client=spike.example[203.0.113.7] orig_port=4321 ");
    assert_string_equal(buf_text(&w.client), "192.0.2.7");
    assert_null(strstr(buf_text(&w.body), "203.0.113.7"));
    sends_as("192.0.2.7", "[192.0.2.7]");
    assert_false(logged("orig_"));
}

static void what_nobody_knows_is_not_logged(void **state)
{
    (void)state;
    begin_from("192.0.2.7");
    PLAY("> XFORWARD HELO=spike PORT=[UNAVAILABLE]", "< 250 ");
    sends_as("192.0.2.7", "from filter.example ");
    assert_false(logged("orig_port"));
    has_logged("orig_client=unknown[unknown] orig_helo=spike");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_trusting, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_not_listed_may_not),
        TEST(each_has_a_list_of_its_own),
        TEST(all_is_decided_for_the_client_that_is_told),
        TEST(what_the_peer_said_of_itself_is_forgotten),
        TEST(a_login_that_is_told_is_one),
        TEST(trust_goes_with_the_address),
        TEST(a_name_that_is_not_told_is_looked_up),
        TEST(who_has_no_address_is_in_no_network),
        TEST(it_may_be_told_bit_by_bit),
        TEST(nothing_of_a_refused_command_holds),
        TEST(not_in_a_transaction),
        TEST(a_client_that_is_not_let_in),
        TEST(sessions_are_counted_for_the_client),
        TEST(the_door_is_asked_about_the_client),
        TEST(what_is_forwarded_is_for_the_log_of_one_message),
        TEST(what_nobody_knows_is_not_logged),
    };
    logged_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
