/* Time in a session: every wait of smtpd's has its end, tried in milliseconds with a clock that is told (tests/unit/session_script.h). */
#include "tests/unit/fake_clock.h"
#include "tests/unit/session_script.h"

#include "common/stream.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- BDAT ------------------------------------------------------------------------------------------------------------------------ */

#define TIMEOUT "< 421 4.4.2 mx.example timeout exceeded"
#define TO_B    "> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 "

static void a_chunk_that_does_not_end(void **state)
{
    (void)state;
    begin();
    PLAY(TO_B, "> BDAT 10", "+ 299", "=", ">> abc", "+ 299", "=", "+ 1", TIMEOUT, ".");
    assert_int_equal(w.puts, 0);
}

static void a_refused_chunk_that_does_not_end(void **state)
{
    (void)state;
    begin();
    PLAY("> BDAT 10", "+ 299", "=", ">> abc", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void no_chunk_follows(void **state)
{
    (void)state;
    begin();
    PLAY(TO_B, "> BDAT 3", ">> abc", "< 250 ", "+ 299", "=", "+ 1", TIMEOUT, ".");
    assert_int_equal(w.puts, 0);
}

static void no_queue_id_for_a_chunk(void **state)
{
    (void)state;
    w.lease_silent = true;
    begin();
    PLAY(TO_B, "> BDAT 6", ">> QUIT\r\n", "+ 59", "=", "+ 1", "< 451 4.3.0 ", "> BDAT 0 LAST", "< 503 ");
}

/* ---- commands -------------------------------------------------------------------------------------------------------------------- */

static void a_client_that_says_nothing(void **state)
{
    (void)state;
    connect_client();
    PLAY("< 220 ", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void a_client_that_says_no_more(void **state)
{
    (void)state;
    begin();
    PLAY("+ 299", "=", "> NOOP", "< 250 ", "+ 299", "=", "> MAIL FROM:<>", "< 250 ", "+ 299", "=", "> RCPT TO:<b@example.org>", "< 250 ",
         "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void half_a_command(void **state)
{
    (void)state;
    begin();
    PLAY(">> NOO", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void octets_one_by_one_do_not_put_it_off(void **state)
{
    (void)state;
    begin();
    PLAY(">> N", "+ 100", "=", ">> O", "+ 100", "=", ">> O", "+ 99", "=", ">> P", "+ 1", TIMEOUT, ".");
}

static void a_line_too_long_one_by_one(void **state)
{
    (void)state;
    w.settings->limit_command_line = 512;
    begin();
    char text[700];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    say(text, "");
    PLAY("+ 150", "=", ">> x", "+ 149", "=", ">> x", "+ 1", TIMEOUT, ".");
}

static void a_command_in_time_has_its_time_again(void **state)
{
    (void)state;
    begin();
    PLAY(">> NO", "+ 299", "=", ">> OP\r\nNO", "< 250 ", "+ 299", "=", ">> OP\r\n", "< 250 ", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void a_refused_text_has_its_time_again(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> a\nb", "+ 200", "> .", "< 550 5.6.0 ",
         "+ 299", "=", "> NOOP", "< 250 ");
}

/* ---- the session as a whole ------------------------------------------------------------------------------------------------------ */

static void a_session_has_an_end(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 24; i++)
        PLAY("+ 299", "=", "> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    PLAY("+ 25", "< 421 4.4.2 mx.example the session took too long", ".");
}

static void a_text_octet_by_octet_has_an_end(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ");
    for (int i = 0; i < 24; i++)
        PLAY("+ 299", "=", ">> x");
    PLAY("+ 25", "< 421 4.4.2 mx.example the session took too long", ".");
    assert_int_equal(w.puts, 0);
}

/* ---- text ------------------------------------------------------------------------------------------------------------------------ */

static void a_text_that_stops(void **state)
{
    (void)state;
    w.settings->smtpd_data_timeout = 200;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "+ 199", "=", ">> Subject: x\r\n", "+ 199",
         "=", ">> \r\n.", "+ 199", "=", "+ 1", TIMEOUT, ".");
    assert_int_equal(w.puts, 0);
}

static void a_long_text_that_stops_is_dropped(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ");
    for (int i = 0; i < 9000; i++)
        stream_write_span(client, span_of("a line of a message that is longer than a piece\r\n"));
    for (int i = 0; i < TURNS && !w.appends; i++)
        world_turn(&w);
    turns(TURNS);
    assert_true(w.appends > 0);
    PLAY("+ 299", "=", "+ 1", TIMEOUT, ".");
    assert_int_equal(w.drops, 1);
    assert_int_equal(w.puts, 0);
}

/* ---- other programs that do not answer --------------------------------------------------------------------------------------------- */

static void route_says_nothing(void **state)
{
    (void)state;
    begin();
    w.route_silent = true;
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "+ 59", "=", "+ 1", "< 451 4.3.0 ");
    w.route_silent = false;
    PLAY("> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    assert_string_equal(buf_text(&w.recipients), "b@example.org<> ");
}

static void the_name_of_the_client_never_comes(void **state)
{
    (void)state;
    w.client_silent = true;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "+ 59", "=", "+ 1", "< 250 2.1.5 ", "> RCPT TO:<c@example.org>",
         "< 250 2.1.5 ");
}

static void no_queue_id_comes(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "+ 59", "=", "+ 1", "< 451 4.3.0 ", "> DATA",
         "< 503 5.5.1 ", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void a_piece_is_not_answered(void **state)
{
    (void)state;
    begin();
    w.append_silent = true;
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ");
    for (int i = 0; i < 9000; i++)
        stream_write_span(client, span_of("a line of a message that is longer than a piece\r\n"));
    for (int i = 0; i < TURNS && !w.appends; i++)
        world_turn(&w);
    PLAY("+ 299", "=", "+ 1", "=", "> .", "< 451 4.3.0 the queue is not available");
    assert_int_equal(w.puts, 0);
    turns(QUIET);
    assert_int_equal(w.drops, 1);
}

/* The message may be on disk: whoever says 451 now makes a duplicate. smtpd waits as long as the client does. */
static void the_answer_to_a_message_is_waited_for(void **state)
{
    (void)state;
    begin();
    w.qmgr_silent = true;
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "+ 3600", "=", "+ 7200", "=");
    world_kill_qmgr(&w);
    PLAY("< 451 4.3.0 ", "+ 0.01", "< 421 4.4.2 mx.example the session took too long", ".");
}

/* ---- a client that does not read ---------------------------------------------------------------------------------------------------- */

static void replies_that_nobody_reads(void **state)
{
    (void)state;
    w.settings->limit_errors = 10000;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ");
    stream_want_input(client, false);
    for (int i = 0; i < 6000; i++)
        stream_write_span(client, span_of("RCPT TO:<a-long-name-of-nobody-at-all-which-is-repeated@example.org> X-Y=1\r\n"));
    turns(TURNS);
    PLAY("+ 299");
    turns(QUIET);
    assert_int_equal(w.server.session_count, 1);
    PLAY("+ 1");
    turns(QUIET);
    PLAY("+ 60"); /* for the last words, and then no more */
    turns(QUIET);
    assert_int_equal(w.server.session_count, 0);
}

/* ---- AUTH and TLS ------------------------------------------------------------------------------------------------------------------ */

static EVP_PKEY *key;
static X509 *certificate;
static SSL_CTX *client_tls;

static int open_tls_world(void **state)
{
    (void)state;
    world_open(&w);
    key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    certificate = X509_new();
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 360000);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    w.server.tls = (struct tls *)(void *)tls;
    SSL_CTX_use_certificate(tls, certificate);
    SSL_CTX_use_PrivateKey(tls, key);
    client_tls = SSL_CTX_new(TLS_client_method());
    return 0;
}

static int close_tls_world(void **state)
{
    close_world(state);
    SSL_CTX_free((SSL_CTX *)(void *)w.server.tls);
    SSL_CTX_free(client_tls);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return 0;
}

static void begin_tls(void)
{
    begin();
    PLAY("> STARTTLS", "< 220 2.0.0 ");
    stream_start_tls_client(client, stream_tls_client(client_tls, NULL, false, NULL));
    turns(QUIET);
    PLAY("> EHLO x", "< 250 8BITMIME");
}

static void a_handshake_that_does_not_begin(void **state)
{
    (void)state;
    begin();
    PLAY("> STARTTLS", "< 220 2.0.0 ", "+ 59", "=", "+ 1", ".");
}

static void a_handshake_in_pieces_has_an_end(void **state)
{
    (void)state;
    begin();
    PLAY("> STARTTLS", "< 220 2.0.0 ", ">> \x16", "+ 30", "=", ">> \x03", "+ 29", "=", ">> \x01", "+ 1", ".");
}

static void a_port_with_tls_at_once(void **state)
{
    (void)state;
    w.listener.tls = LISTENER_TLS_IMPLICIT;
    connect_client();
    PLAY("+ 59", "=", "+ 1", ".");
}

static void a_client_that_says_nothing_over_tls(void **state)
{
    (void)state;
    begin_tls();
    PLAY("+ 299", "=", "> NOOP", "< 250 ", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

static void a_wrong_password_takes_its_time(void **state)
{
    (void)state;
    begin_tls();
    PLAY("> AUTH PLAIN AGFubgBkb3du", "+ 1.8", "=", "+ 0.2", "< 454 4.7.0 ", "> AUTH PLAIN AGFubgBidXN5", "+ 1.8", "=", "+ 0.2",
         "< 454 4.7.0 ");
    PLAY("> AUTH PLAIN AGFubgB3cm9uZw==", "=", "+ 1.8", "=", "+ 0.2", "< 535 5.7.8 ", "> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 235 2.7.0 ");
}

static void auth_says_nothing(void **state)
{
    (void)state;
    begin_tls();
    w.auth_silent = true;
    PLAY("> AUTH PLAIN AGFubgBzZWNyZXQ=", "+ 59", "=", "+ 1", "< 454 4.7.0 ", "> MAIL FROM:<>", "< 250 ");
    w.auth_silent = false;
    PLAY("> RSET", "< 250 ", "> AUTH PLAIN AGFubgBzZWNyZXQ=", "< 235 2.7.0 ");
}

static void auth_does_not_say_its_mechanisms(void **state)
{
    (void)state;
    begin();
    PLAY("> STARTTLS", "< 220 2.0.0 ");
    stream_start_tls_client(client, stream_tls_client(client_tls, NULL, false, NULL));
    turns(QUIET);
    w.auth_silent = true;
    PLAY("> EHLO x", "+ 4", "=", "+ 1", "< 250 8BITMIME", "> MAIL FROM:<>", "< 250 ");
}

static void a_response_that_does_not_come(void **state)
{
    (void)state;
    begin_tls();
    PLAY("> AUTH PLAIN", "< 334 ", "+ 299", "=", "+ 1", TIMEOUT, ".");
}

/* ---- floods ------------------------------------------------------------------------------------------------------------------------ */

static void a_hundred_idle_commands_and_then_they_are_errors(void **state)
{
    (void)state;
    static const char *const flood[] = {"> NOOP", "> RSET", "> VRFY x", "> HELP"};
    begin();
    for (int i = 1; i < 118; i++) /* and EHLO */
        PLAY(flood[i % 4], "< 2");
    PLAY("> MAIL FROM:<>", "< 250 ", "> NOOP", "< 250 ");
    PLAY("> NOOP", "< 421 4.7.0 mx.example too many errors", ".");
}

static void a_message_forgives_idle_commands(void **state)
{
    (void)state;
    begin();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 99; i++)
            PLAY("> RSET", "< 250 ");
        PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    }
}

static int open_world_without_ids(void **state)
{
    (void)state;
    world_open(&w);
    w.lease_silent = true;
    return 0;
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, open_world, close_world)
#define TLS_TEST(name) cmocka_unit_test_setup_teardown(name, open_tls_world, close_tls_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chunk_that_does_not_end),
        TEST(a_refused_chunk_that_does_not_end),
        TEST(no_chunk_follows),
        TEST(no_queue_id_for_a_chunk),
        TEST(a_client_that_says_nothing),
        TEST(a_client_that_says_no_more),
        TEST(half_a_command),
        TEST(octets_one_by_one_do_not_put_it_off),
        TEST(a_line_too_long_one_by_one),
        TEST(a_command_in_time_has_its_time_again),
        TEST(a_refused_text_has_its_time_again),
        TEST(a_session_has_an_end),
        TEST(a_text_octet_by_octet_has_an_end),
        TEST(a_text_that_stops),
        TEST(a_long_text_that_stops_is_dropped),
        TEST(route_says_nothing),
        TEST(the_name_of_the_client_never_comes),
        cmocka_unit_test_setup_teardown(no_queue_id_comes, open_world_without_ids, close_world),
        TEST(a_piece_is_not_answered),
        TEST(the_answer_to_a_message_is_waited_for),
        TEST(replies_that_nobody_reads),
        TLS_TEST(a_handshake_that_does_not_begin),
        TLS_TEST(a_handshake_in_pieces_has_an_end),
        TLS_TEST(a_port_with_tls_at_once),
        TLS_TEST(a_client_that_says_nothing_over_tls),
        TLS_TEST(a_wrong_password_takes_its_time),
        TLS_TEST(auth_says_nothing),
        TLS_TEST(auth_does_not_say_its_mechanisms),
        TLS_TEST(a_response_that_does_not_come),
        TEST(a_hundred_idle_commands_and_then_they_are_errors),
        TEST(a_message_forgives_idle_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
