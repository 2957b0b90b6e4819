/* The door for strangers, in whole sessions: who waits for the greeting, who speaks before it, and what too much of something is answered
 * (tests/unit/session_script.h). What route counts is in test_door.c and test_throttle.c. */
#include "tests/unit/logged.h"
#include "tests/unit/session_script.h"

#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* server_init() looks at the settings: the world is made anew with these. */
static void settle(void)
{
    server_free(&w.server);
    server_init(&w.server);
}

static int open_slow_door(void **state)
{
    open_world(state);
    w.settings->smtpd_greet_delay = 6;
    settle();
    return 0;
}

static void transaction(void)
{
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
}

/* ---- the greeting ------------------------------------------------------------------------------------------------------------------ */

static void a_stranger_waits_and_is_known(void **state)
{
    (void)state;
    connect_client();
    PLAY("< 220-mx.example", "+ 5.9", "=");
    assert_int_equal(w.passed, 0);
    PLAY("+ 0.1", "< 220 mx.example ESMTP", "> EHLO x", "< 250 8BITMIME");
    assert_int_equal(w.passed, 1);
    transaction();
    PLAY("> QUIT", "< 221 ", ".");
    assert_int_equal(w.left, 1);
    assert_int_equal(w.errors, 0);
}

static void who_waited_lately_does_not_wait(void **state)
{
    (void)state;
    connect_from("198.51.100.3");
    PLAY("< 220 mx.example ESMTP");
    assert_int_equal(w.passed, 0);
}

static void own_networks_and_the_exempt_are_not_asked_about(void **state)
{
    (void)state;
    connect_from("127.0.0.1");
    PLAY("< 220 mx.example ESMTP", "> QUIT", "< 221 ", ".");
    struct setting_list_of_one {
        char *one;
    } list = {strdup("192.0.2.0/24")};
    w.settings->client_exempt = (struct strings){1, &list.one};
    settle();
    connect_client();
    PLAY("< 220 mx.example ESMTP", "> QUIT", "< 221 ", ".");
    assert_int_equal(w.admits, 0);
    assert_int_equal(w.left, 0);
    w.settings->client_exempt = (struct strings){0};
    free(list.one);
}

static void without_policy_nobody_is_asked(void **state)
{
    (void)state;
    w.settings->smtpd_greet_delay = 0;
    settle();
    connect_client();
    PLAY("< 220 mx.example ESMTP", "> QUIT", "< 221 ", ".");
    assert_int_equal(w.admits + w.left, 0);
}

static void who_must_log_in_does_not_wait(void **state)
{
    (void)state;
    w.listener.auth = LISTENER_AUTH_REQUIRED;
    connect_client();
    PLAY("< 220 mx.example ESMTP");
    assert_int_equal(w.admits, 1); /* the limits are for it all the same */
}

static void enforce_takes_no_recipient(void **state)
{
    (void)state;
    connect_client();
    PLAY("< 220-", ">> EHLO ro", "=");
    has_logged("said=\"EHLO ro\" rule=\"smtpd { greet_action = enforce }\"");
    PLAY("> bot", "=", "+ 5.9", "=", "+ 0.2", "< 250 8BITMIME", "> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>",
         "< 550 5.5.1 Protocol error");
    has_logged("to=<b@example.org> rule=\"smtpd { greet_action = enforce }\"");
    PLAY("> DATA", "< 554 5.5.1 no valid", "> QUIT", "< 221 ", ".");
    assert_int_equal(w.passed, 0);
    assert_int_equal(w.errors, 2);
}

static void ignore_only_says_so(void **state)
{
    (void)state;
    w.settings->smtpd_greet_action = GREET_IGNORE;
    connect_client();
    PLAY("< 220-", "> EHLO x", "=");
    has_logged("rule=\"smtpd { greet_action = ignore }\"");
    PLAY("+ 6", "< 250 8BITMIME");
    transaction();
    assert_int_equal(w.passed, 0);
}

static void drop_drops(void **state)
{
    (void)state;
    w.settings->smtpd_greet_action = GREET_DROP;
    connect_client();
    PLAY("< 220-", "+ 1", ">> G", "< 521 5.5.1 Protocol error", ".");
    has_logged("rule=\"smtpd { greet_action = drop }\"");
    assert_int_equal(w.left, 1);
}

static void what_a_robot_says_is_not_gathered(void **state)
{
    (void)state;
    connect_client();
    PLAY("< 220-", "> x");
    char text[4001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 1000; i++)
        stream_write_span(client, span_of(text));
    turns(TURNS);
    assert_true(stream_backlog(client) > 2000000); /* what the sockets don't hold waits with the robot */
}

static void who_hangs_up_meanwhile_is_gone(void **state)
{
    (void)state;
    connect_client();
    PLAY("< 220-");
    hang_up();
    turns(50);
    assert_int_equal(w.server.session_count, 0);
    assert_int_equal(w.left, 1);
    assert_int_equal(w.passed, 0);
}

static void a_door_that_does_not_answer_lets_in(void **state)
{
    (void)state;
    w.door_silent = true;
    connect_client();
    PLAY("=", "+ 4.9", "=", "+ 0.1", "< 220 mx.example ESMTP", "> EHLO x", "< 250 8BITMIME");
    transaction();
}

/* ---- out of turn ------------------------------------------------------------------------------------------------------------------- */

/* What is said of all this at once. */
static void all_at_once(const char *text, const char *last)
{
    w.settings->smtpd_greet_delay = 0;
    settle();
    connect_client();
    PLAY("< 220 ");
    say(text, "");
    PLAY(last);
}

static void commands_behind_ehlo(void **state)
{
    (void)state;
    all_at_once("EHLO x\r\nMAIL FROM:<>\r\n", "< 250 2.1.0");
    has_logged(
        "pipelining: client=client.example[192.0.2.7] behind=EHLO said=\"MAIL FROM:<>\\x0D\\x0A\" rule=\"smtpd { pipelining = pass }\"");
    PLAY("> RCPT TO:<b@example.org>", "< 250 ");
    assert_true(w.pipelining);
}

static void a_group_in_its_place(void **state)
{
    (void)state;
    all_at_once("EHLO x\r\n", "< 250 8BITMIME");
    say("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "");
    PLAY("< 354 ");
    assert_false(w.pipelining);
    say("x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRSET\r\nQUIT\r\n", "");
    PLAY("< 221 ", ".");
    assert_false(w.pipelining);
}

static void a_text_before_354(void **state)
{
    (void)state;
    all_at_once("EHLO x\r\n", "< 250 8BITMIME");
    say("MAIL FROM:<>\r\nRCPT TO:<nouser@example.org>\r\nDATA\r\nNOOP\r\n.\r\n", "");
    PLAY("< 500 ");
    has_logged("behind=DATA said=");
    w.settings->smtpd_pipelining = PIPELINING_DROP;
    hang_up();
    all_at_once("EHLO x\r\n", "< 250 8BITMIME");
    say("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\n", "");
    PLAY("< 521 5.5.1 Protocol error", ".");
    has_logged("rule=\"smtpd { pipelining = drop }\"");
    assert_int_equal(w.puts, 0);
}

static void nothing_is_pipelined_after_helo(void **state)
{
    (void)state;
    all_at_once("HELO x\r\n", "< 250 mx.example");
    say("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n", "");
    PLAY("< 250 2.1.5");
    assert_true(w.pipelining);
    has_logged("behind=MAIL");
}

static void the_last_words_may_come_with_quit(void **state)
{
    (void)state;
    w.settings->smtpd_pipelining = PIPELINING_DROP;
    all_at_once("QUIT\r\nxyz", "< 221 ");
    PLAY(".");
}

/* ---- limits ------------------------------------------------------------------------------------------------------------------------ */

static void too_many_sessions(void **state)
{
    (void)state;
    connect_from("198.51.100.1");
    PLAY("< 421 4.7.0 mx.example Error: too many connections from 198.51.100.1", ".");
    has_logged("reject: command=connect client=client.example[198.51.100.1] reply=\"421 4.7.0 mx.example Error: too many connections from "
               "198.51.100.1\" rule=\"client { sessions }: 5 of 5 by 198.51.100.1\"");
    assert_int_equal(w.left, 0); /* it was never counted */
}

static void too_many_messages(void **state)
{
    (void)state;
    w.settings->smtpd_greet_delay = 0;
    w.settings->client_messages = 5;
    settle();
    connect_from("198.51.100.2");
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<a@example.org>", "< 450 4.7.1 Error: too much");
    has_logged("reject: command=MAIL client=client.example[198.51.100.2] reply=\"450 4.7.1 Error: too much\" from=<a@example.org> "
               "rule=\"client { messages }");
    PLAY("> RCPT TO:<b@example.org>", "< 503 ", "> QUIT", "< 221 ", ".");
    connect_client();
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME");
    transaction();
    transaction();
    assert_int_equal(w.counts, 3);
    assert_int_equal(w.what, COUNT_MESSAGE);
}

static void too_many_recipients(void **state)
{
    (void)state;
    connect_from("198.51.100.3");
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<>", "< 250 ", "> RCPT TO:<toomany@example.org>", "< 250 ", "> QUIT",
         "< 221 ", ".");
    w.settings->client_recipients = 5;
    connect_from("198.51.100.3");
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME", "> MAIL FROM:<>", "< 250 ", "> RCPT TO:<toomany@example.org>",
         "< 450 4.7.1 Error: too many recipients");
    has_logged("to=<toomany@example.org> rule=\"client { recipients }");
}

static void a_count_that_is_not_answered_is_none(void **state)
{
    (void)state;
    w.settings->client_messages = 5;
    connect_from("198.51.100.3");
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME");
    w.door_silent = true;
    PLAY("> MAIL FROM:<>", "+ 4.9", "=", "+ 0.1", "< 250 ");
}

static void a_session_is_told_to_a_new_route(void **state)
{
    (void)state;
    connect_client();
    PLAY("< 220-");
    sessions_tell(&w.server);
    turns(20);
    assert_int_equal(w.guests, 1);
    hang_up();
    connect_from("127.0.0.1");
    PLAY("< 220 ");
    sessions_tell(&w.server);
    turns(20);
    assert_int_equal(w.guests, 1);
}

/* What route says is not believed blindly: whatever it is, replies stay lines of 512 octets. */
static void hostile_answers_break_no_reply(void **state)
{
    (void)state;
    static char words[5001], status[40];
    for (size_t i = 0; i < sizeof words - 1; i++)
        words[i] = (char)(i % 255 + 1 == '\r' || i % 255 + 1 == '\n' ? 'x' : i % 255 + 1);
    memset(status, '\x01', sizeof status - 1);
    w.hostile_words = words;
    w.hostile_status = status;
    connect_from("198.51.100.1");
    turns(TURNS);
    struct span said = stream_input(client);
    assert_int_equal(said.n, 0); /* the script has read it */
    const char *heard_text = heard_so_far();
    assert_int_equal(strncmp(heard_text, "421 4.7.0 ", 10), 0);
    assert_int_equal(strlen(heard_text), 512);
    for (const char *p = heard_text; p < heard_text + 510; p++)
        assert_true(*p >= ' ' && *p < 0x7f);
    forget_heard();
    PLAY(".");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_slow_door, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stranger_waits_and_is_known),
        TEST(who_waited_lately_does_not_wait),
        TEST(own_networks_and_the_exempt_are_not_asked_about),
        TEST(without_policy_nobody_is_asked),
        TEST(who_must_log_in_does_not_wait),
        TEST(enforce_takes_no_recipient),
        TEST(ignore_only_says_so),
        TEST(drop_drops),
        TEST(what_a_robot_says_is_not_gathered),
        TEST(who_hangs_up_meanwhile_is_gone),
        TEST(a_door_that_does_not_answer_lets_in),
        TEST(commands_behind_ehlo),
        TEST(a_group_in_its_place),
        TEST(a_text_before_354),
        TEST(nothing_is_pipelined_after_helo),
        TEST(the_last_words_may_come_with_quit),
        TEST(too_many_sessions),
        TEST(too_many_messages),
        TEST(too_many_recipients),
        TEST(a_count_that_is_not_answered_is_none),
        TEST(a_session_is_told_to_a_new_route),
        TEST(hostile_answers_break_no_reply),
    };
    logged_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
