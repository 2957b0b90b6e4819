/* What other programs answer, and what a session makes of it: limits an hour, a program that dies in the middle, what rules want with
 * the message, users of the host. Logins are taken as if in TLS. */
#include "tests/unit/session_script.h"

#include "common/stream.h"
#include "smtpd/session_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void begin_login(void)
{
    begin();
    TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    PLAY("> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 235 2.7.0 ");
}

static void envelope(void)
{
    PLAY("> MAIL FROM:<ann@example.net>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ");
}

/* ---- limits an hour ---------------------------------------------------------------------------------------------------------------- */

static void what_fits_goes_on(void **state)
{
    (void)state;
    w.settings->auth_messages_hour = 5;
    begin_login();
    envelope();
    PLAY("> DATA", "< 354 ", "> .", "< 250 ");
    assert_int_equal(w.flags & ENVELOPE_HOLD, 0);
}

static void what_is_beyond_is_held(void **state)
{
    (void)state;
    w.settings->auth_recipients_hour = 5;
    w.beyond = USED_HOLD;
    begin_login();
    envelope();
    PLAY("> DATA", "< 354 ", "> .", "< 250 ");
    assert_int_not_equal(w.flags & ENVELOPE_HOLD, 0);
}

/* What comes behind BDAT is octets, whatever they look like. */
static void chunks_of_what_is_too_much_are_no_commands(void **state)
{
    (void)state;
    w.settings->auth_recipients_hour = 5;
    w.beyond = USED_REFUSE;
    begin_login();
    envelope();
    PLAY("> DATA", "< 452 4.7.1 ");
    envelope();
    PLAY("> BDAT 42 LAST", "=", "> RSET", "> MAIL FROM:<evil@example.net>", "> NOOP", "< 452 4.7.1 ", "> DATA", "< 503 ");
    w.beyond = USED_FITS;
    envelope();
    PLAY("> DATA", "< 354 ", "> .", "< 250 2.0.0 ");
}

static void without_an_answer_it_is_held(void **state)
{
    (void)state;
    w.settings->auth_messages_hour = 5;
    begin_login();
    envelope();
    w.auth_silent = true;
    PLAY("> DATA", "+ 4.9", "=", "+ 0.1", "< 354 ", "> .", "< 250 ");
    assert_int_not_equal(w.flags & ENVELOPE_HOLD, 0);
}

static void when_auth_dies_it_is_held(void **state)
{
    (void)state;
    w.settings->auth_messages_hour = 5;
    begin_login();
    envelope();
    w.auth_silent = true;
    PLAY("> DATA");
    world_kill_auth(&w);
    PLAY("< 354 ", "> .", "< 250 ");
    assert_int_not_equal(w.flags & ENVELOPE_HOLD, 0);
}

/* ---- logins ------------------------------------------------------------------------------------------------------------------------ */

static void auth_dies_in_the_middle(void **state)
{
    (void)state;
    begin();
    TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    w.auth_silent = true;
    PLAY("> AUTH PLAIN AGFubgBzZWNyZXQ=", "=");
    world_kill_auth(&w);
    PLAY("< 454 4.7.0 ");
    w.auth_silent = false;
    PLAY("> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 235 2.7.0 ");
}

static void no_login_in_a_transaction(void **state)
{
    (void)state;
    begin();
    TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    PLAY("> MAIL FROM:<>", "< 250 ", "> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 503 5.5.1 not inside of a transaction");
}

static void too_many_logins(void **state)
{
    (void)state;
    w.settings->client_auth = 5;
    server_free(&w.server);
    server_init(&w.server);
    connect_from("198.51.100.2");
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME");
    TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    PLAY("> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 450 4.7.1 Error: too much", "> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 450 4.7.1 ");
    assert_int_equal(w.what, COUNT_AUTH);
    assert_null(TAILQ_FIRST(&w.server.sessions)->initial.data); /* it was wiped */
    hang_up();
    connect_client();
    PLAY("< 220 ", "> EHLO x", "< 250 8BITMIME");
    TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    PLAY("> AUTH PLAIN =", "+ 2", "< 535 ", "> AUTH PLAIN", "< 334 ", "> AGFubgBzZWNyZXQ=", "< 235 2.7.0 ");
}

/* ---- what rules want --------------------------------------------------------------------------------------------------------------- */

static void what_rules_want_with_the_message(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<hold@example.org>", "< 250 ", "> RCPT TO:<marked@example.org>", "< 250 ", "> DATA",
         "< 354 ", "> .", "< 250 ");
    assert_int_not_equal(w.flags & ENVELOPE_HOLD, 0);
    assert_int_equal(strncmp(buf_text(&w.body), "X-Mark: seen\r\nReceived: ", 24), 0);
}

/* ---- queue ids --------------------------------------------------------------------------------------------------------------------- */

static void queue_ids_that_come_late(void **state)
{
    (void)state;
    w.lease_silent = true;
    begin();
    envelope();
    PLAY("> DATA", "=");
    w.lease_silent = false;
    world_kill_qmgr(&w); /* the next one is asked again */
    PLAY("< 354 ", "> .", "< 250 ");
    assert_int_equal(w.puts, 1);
}

/* ---- too many errors --------------------------------------------------------------------------------------------------------------- */

/* Each is a question; the limit holds before the next is asked, however many came together. */
static void recipients_refused_in_one_group(void **state)
{
    (void)state;
    w.settings->limit_errors = 5;
    begin();
    for (int i = 0; i < 50; i++)
        stream_write_span(client, span_of(i ? "RCPT TO:<nouser@example.org>\r\n" : "MAIL FROM:<>\r\n"));
    unsigned before = w.questions;
    PLAY("< 421 4.7.0 mx.example too many errors", ".");
    assert_int_equal(w.questions - before, 5);
}

/* ---- users of the host ------------------------------------------------------------------------------------------------------------- */

static int connect_user(uid_t uid)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    session_accept_local(&w.server, NULL, fd[0], uid);
    turns(3);
    return fd[1];
}

static bool is_served(int fd)
{
    char text[600] = "";
    assert_true(read(fd, text, sizeof text - 1) > 0);
    return strncmp(text, "220 ", 4) == 0;
}

static void users_have_their_share_of_sessions(void **state)
{
    (void)state;
    int fds[40], n = 0;
    w.settings->limit_sessions = 64; /* a quarter for all users, a quarter of that for one */
    for (int i = 0; i < 6; i++)
        assert_int_equal(is_served(fds[n++] = connect_user(1000)), i < 4);
    for (unsigned i = 0; i < 14; i++)
        assert_int_equal(is_served(fds[n++] = connect_user(2000 + i)), i < 12);
    assert_true(is_served(fds[n++] = connect_user(0)));
    while (n)
        close(fds[--n]);
    turns(30);
    assert_int_equal(w.server.local_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_fits_goes_on),
        TEST(what_is_beyond_is_held),
        TEST(chunks_of_what_is_too_much_are_no_commands),
        TEST(without_an_answer_it_is_held),
        TEST(when_auth_dies_it_is_held),
        TEST(auth_dies_in_the_middle),
        TEST(no_login_in_a_transaction),
        TEST(too_many_logins),
        TEST(what_rules_want_with_the_message),
        TEST(queue_ids_that_come_late),
        TEST(recipients_refused_in_one_group),
        TEST(users_have_their_share_of_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
