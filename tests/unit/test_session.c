/* Whole SMTP sessions against fake route, auth and qmgr: what a client says, and what it hears and what is stored. */
#include "tests/unit/fake_clock.h"
#include "tests/unit/session_client.h"

#include "common/stream.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define TURNS 400

static void say(const char *text)
{
    stream_write_span(client, span_of(text));
}

/* Waits for a reply with `text` in it, as the end of what was heard; forgets what was heard. */
static void hear(const char *text)
{
    for (int i = 0; i < TURNS; i++) {
        const char *all = buf_text(&heard);
        size_t n = strlen(all);
        const char *at = strstr(all, text);
        if (at && n && all[n - 1] == '\n' && !strchr(at, '\r')[2]) {
            buf_clear(&heard);
            return;
        }
        world_turn(&w);
    }
    fail_msg("heard instead of %s: %s", text, buf_text(&heard));
}

static void exchange(const char *said, const char *reply)
{
    say(said);
    hear(reply);
}

static void hear_end(void)
{
    for (int i = 0; i < TURNS && !ended; i++)
        world_turn(&w);
    assert_true(ended);
}

static void settle(void)
{
    for (int i = 0; i < TURNS && w.server.session_count; i++)
        world_turn(&w);
    assert_int_equal(w.server.session_count, 0);
}

static void expect_buf(struct buf *b, const char *text)
{
    assert_string_equal(buf_text(b), text);
}

/* The stored message behind its trace line. */
static const char *stored_text(void)
{
    const char *p = buf_text(&w.body);
    assert_memory_equal(p, "Received: ", 10);
    while ((p = strstr(p, "\r\n")) && (p[2] == '\t' || p[2] == ' '))
        p += 2;
    return p + 2;
}

static void begin(void)
{
    connect_from("192.0.2.7");
    hear("220 mx.example ESMTP Postino\r\n");
    exchange("EHLO me.example\r\n", "250 8BITMIME\r\n");
}

/* ---- mail ------------------------------------------------------------------------------------------------------------------------ */

static void a_message_is_stored(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<a@example.net> SIZE=100 BODY=8BITMIME\r\n", "250 2.1.0 Ok\r\n");
    exchange("RCPT TO:<b@example.org>\r\n", "250 2.1.5 Ok\r\n");
    exchange("DATA\r\n", "354 ");
    exchange("Subject: x\r\n\r\n..dot\r\nhall\xc3\xb6\r\n.\r\n", "250 2.0.0 Ok: queued as 0000000000");
    assert_string_equal(stored_text(), "Subject: x\r\n\r\n.dot\r\nhall\xc3\xb6\r\n");
    assert_non_null(
        strstr(buf_text(&w.body), "Received: from me.example (client.example [192.0.2.7])\r\n\tby mx.example (Postino) with ESMTP id 0"));
    assert_non_null(strstr(buf_text(&w.body), "for <b@example.org>;\r\n"));
    expect_buf(&w.sender, "a@example.net");
    expect_buf(&w.recipients, "b@example.org<> ");
    expect_buf(&w.flow, "net:192.0.2.0");
    expect_buf(&w.client, "192.0.2.7");
    assert_int_equal(w.flags, ENVELOPE_8BIT);
    exchange("DATA\r\n", "503 5.5.1 ");
    exchange("QUIT\r\n", "221 2.0.0 ");
    hear_end();
    settle();
}

static void a_listener_s_priority_goes_with_its_mail(void **state)
{
    (void)state;
    static const unsigned flags[] = {
        [LISTENER_PRIORITY_HIGH] = ENVELOPE_HIGH, [LISTENER_PRIORITY_NORMAL] = 0, [LISTENER_PRIORITY_LOW] = ENVELOPE_LOW};
    for (int priority = LISTENER_PRIORITY_HIGH; priority <= LISTENER_PRIORITY_LOW; priority++) {
        begin();
        w.listener.priority = priority;
        exchange("MAIL FROM:<a@example.net>\r\n", "250 2.1.0 Ok\r\n");
        exchange("RCPT TO:<b@example.org>\r\n", "250 2.1.5 Ok\r\n");
        exchange("DATA\r\n", "354 ");
        exchange("Subject: x\r\n\r\nx\r\n.\r\n", "250 2.0.0 Ok: queued as 0000000000");
        assert_int_equal(w.flags, flags[priority]);
        exchange("QUIT\r\n", "221 2.0.0 ");
        hear_end();
        settle();
        hang_up();
    }
}

static void pipelined_commands_are_answered_in_order_and_together(void **state)
{
    (void)state;
    begin();
    int before = (int)w.questions;
    say("MAIL FROM:<>\r\nRCPT TO:<alias@example.org>\r\nRCPT TO:<nouser@example.org>\r\nRCPT TO:<a@example.org>\r\nNOOP\r\nDATA\r\n");
    for (int i = 0; i < TURNS && !heard.len; i++)
        world_turn(&w);
    assert_non_null(strstr(buf_text(&heard),
                           "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 5.1.1 <nouser@example.org>: no such user\r\n250 2.1.5 Ok\r\n250 2.0.0 "
                           "Ok\r\n354 "));
    assert_int_equal((int)w.questions - before, 3);
    buf_clear(&heard);
    exchange("x\r\n.\r\nMAIL FROM:<a@example.net>\r\n", "250 2.1.0 Ok\r\n");
    expect_buf(&w.recipients, "a@example.org<alias@example.org> b@example.org<alias@example.org> "); /* the second a@ is no other */
    expect_buf(&w.sender, "");
    assert_null(strstr(buf_text(&w.body), "for <"));
}

static void a_large_message_goes_in_pieces(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    struct buf text = {0};
    for (int i = 0; i < 40000; i++)
        buf_printf(&text, "line %06d of a long message\r\n", i);
    stream_write_span(client, buf_span(&text));
    exchange(".\r\n", "250 2.0.0 Ok: queued");
    assert_true(w.appends >= 3);
    assert_int_equal(w.drops, 0);
    assert_true(strlen(stored_text()) == text.len);
    assert_memory_equal(stored_text(), text.data, text.len);
    buf_free(&text);
}

static void a_session_that_ends_in_a_large_message_drops_it(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    for (int i = 0; i < 20000; i++)
        say("a line of a long message\r\n");
    for (int i = 0; i < TURNS && !w.appends; i++)
        world_turn(&w);
    assert_true(w.appends > 0);
    hang_up();
    settle();
    for (int i = 0; i < 5; i++)
        world_turn(&w);
    assert_int_equal(w.drops, 1);
    assert_int_equal(w.puts, 0);
    connect_from("192.0.2.7");
}

static void refuse_text(const char *text, const char *reply)
{
    exchange("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    exchange(text, reply);
}

static void bad_texts_are_refused_at_their_end(void **state)
{
    (void)state;
    w.settings->limit_message_size = 5000;
    w.settings->limit_hops = 2;
    w.settings->limit_line = 1000;
    begin();
    refuse_text("a\nb\r\n.\r\n", "550 5.6.0 the message has a bare LF");
    refuse_text("a\rb\r\n.\r\n", "550 5.6.0 the message has a bare CR");
    refuse_text("Received: a\r\nReceived: b\r\nReceived: c\r\n\r\n.\r\n", "554 5.4.6 ");
    char text[6000];
    memset(text, 'x', sizeof text);
    memcpy(text + 2000, "\r\n.\r\n", 6);
    refuse_text(text, "550 5.6.0 the message has a line longer than 1000");
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i + 100 < sizeof text; i += 100)
        memcpy(text + i, "\r\n", 2);
    memcpy(text + 5900, "\r\n.\r\n", 6);
    refuse_text(text, "552 5.3.4 ");
    exchange("MAIL FROM:<> SIZE=5001\r\n", "552 5.3.4 ");
    exchange("MAIL FROM:<> SIZE=5000\r\n", "250 ");
    assert_int_equal(w.puts, 0);
}

static void a_full_disk_and_a_lost_queue_are_temporary(void **state)
{
    (void)state;
    begin();
    w.store_code = 452;
    refuse_text("x\r\n.\r\n", "452 4.3.1 disk full\r\n");
    w.store_code = 250;
    w.qmgr_silent = true;
    exchange("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    say("x\r\n.\r\n");
    for (int i = 0; i < TURNS && w.puts < 2; i++)
        world_turn(&w);
    world_kill_qmgr(&w);
    hear("451 4.3.0 ");
    w.qmgr_silent = false;
    refuse_text("x\r\n.\r\n", "250 2.0.0 Ok: queued");
}

static void refused_recipients(void **state)
{
    (void)state;
    w.settings->limit_recipients = 2;
    begin();
    exchange("RCPT TO:<b@example.org>\r\n", "503 5.5.1 ");
    exchange("MAIL FROM:<a@example.net>\r\n", "250 ");
    exchange("MAIL FROM:<a@example.net>\r\n", "503 5.5.1 ");
    exchange("DATA\r\n", "503 5.5.1 send RCPT");
    exchange("RCPT TO:<later@example.org>\r\n", "451 4.4.3 <later@example.org>: try later\r\n");
    exchange("DATA\r\n", "554 5.5.1 ");
    exchange("RCPT TO:<nodomain>\r\n", "501 5.1.3 ");
    exchange("RCPT TO:<postmaster>\r\n", "250 ");
    exchange("RCPT TO:<b@example.org>\r\n", "250 ");
    exchange("RCPT TO:<c@example.org>\r\n", "452 4.5.3 ");
    exchange("RSET\r\n", "250 2.0.0 ");
    exchange("RCPT TO:<b@example.org>\r\n", "503 5.5.1 ");
}

/* ---- what is wished of reports (RFC 3461) ---------------------------------------------------------------------------------------- */

static void wishes_are_stored(void **state)
{
    (void)state;
    connect_from("192.0.2.7");
    hear("220 ");
    say("EHLO x\r\n");
    hear("250 8BITMIME\r\n");
    exchange("MAIL FROM:<a@example.net> RET=HDRS ENVID=QQ+2B314+20x\r\n", "250 ");
    exchange("RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40example.org\r\n", "250 ");
    exchange("RCPT TO:<c@example.org>\r\n", "250 ");
    exchange("DATA\r\n", "354 ");
    exchange("x\r\n.\r\n", "250 2.0.0 ");
    expect_buf(&w.wishes, "2 QQ+314 x b@example.org: 10 rfc822;Bob@example.org c@example.org: 0 ");
    exchange("MAIL FROM:<a@example.net>\r\n", "250 ");
    exchange("RCPT TO:<b@example.org>\r\n", "250 ");
    exchange("DATA\r\n", "354 ");
    exchange("x\r\n.\r\n", "250 2.0.0 ");
    expect_buf(&w.wishes, "0  b@example.org: 0 ");
}

static void an_alias_hands_wishes_on(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<a@example.net>\r\n", "250 ");
    exchange("RCPT TO:<alias@example.org> NOTIFY=SUCCESS\r\n", "250 ");
    exchange("RCPT TO:<alias@example.com> NOTIFY=NEVER ORCPT=x400;/S=l/\r\n", "501 5.5.4 "); /* = is not xtext */
    exchange("RCPT TO:<alias@example.com> NOTIFY=NEVER ORCPT=x400;/S+3Dl/\r\n", "250 ");
    exchange("DATA\r\n", "354 ");
    exchange("x\r\n.\r\n", "250 2.0.0 ");
    expect_buf(&w.wishes, "0  a@example.org: 2 rfc822;alias@example.org b@example.org: 2 rfc822;alias@example.org"
                          " a@example.com: 1 x400;/S=l/ b@example.com: 1 x400;/S=l/");
}

static void a_recipient_that_comes_twice_has_both_wishes(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<a@example.net>\r\n", "250 ");
    exchange("RCPT TO:<a@example.org> NOTIFY=NEVER\r\n", "250 ");
    exchange("RCPT TO:<b@example.org> NOTIFY=SUCCESS\r\n", "250 ");
    exchange("RCPT TO:<c@example.org> NOTIFY=NEVER\r\n", "250 ");
    exchange("RCPT TO:<alias@example.org>\r\n", "250 ");
    exchange("RCPT TO:<c@example.org> NOTIFY=NEVER\r\n", "250 ");
    exchange("DATA\r\n", "354 ");
    exchange("x\r\n.\r\n", "250 2.0.0 ");
    expect_buf(&w.wishes, "0  a@example.org: 12  b@example.org: 14  c@example.org: 1 ");
}

static void wishes_that_can_not_be_are_refused(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<a@example.net> ENVID=x=0D=0AX:y\r\n", "501 5.5.4 ");
    exchange("MAIL FROM:<a@example.net> ENVID=x+0D+0AX:y\r\n", "501 5.5.4 ");
    exchange("MAIL FROM:<a@example.net> RET=FULL RET=HDRS\r\n", "501 5.5.4 ");
    exchange("MAIL FROM:<a@example.net>\r\n", "250 ");
    exchange("RCPT TO:<b@example.org> ORCPT=rfc822;b+0D+0AX:y\r\n", "501 5.5.4 ");
    exchange("RCPT TO:<b@example.org> NOTIFY=NEVER,SUCCESS\r\n", "501 5.5.4 ");
    exchange("RCPT TO:<b@example.org> HURRY=1\r\n", "555 5.5.4 ");
    exchange("DATA\r\n", "503 5.5.1 ");
}

/* ---- bad input ------------------------------------------------------------------------------------------------------------------- */

static void bad_commands_get_clear_replies(void **state)
{
    (void)state;
    connect_from("192.0.2.7");
    hear("220 ");
    exchange("MAIL FROM:<>\r\n", "503 5.5.1 ");
    exchange("FROB\r\n", "500 5.5.2 ");
    exchange("NOOP\n", "500 5.5.2 ");
    exchange("EHLO\r\n", "501 malformed");
    exchange("EHLO x\r\n", "250 8BITMIME\r\n");
    exchange("MAIL FROM:<a@@b>\r\n", "501 5.1.7 ");
    exchange("MAIL FROM:<a@b.example> X=1\r\n", "555 5.5.4 ");
    exchange("NOOP \xff\r\n", "500 5.5.2 ");
    exchange("VRFY root\r\n", "252 2.0.0 ");
    exchange("EXPN list\r\n", "502 5.5.1 ");
    exchange("HELP\r\n", "214 2.0.0 ");
    exchange("STARTTLS\r\n", "502 5.5.1 "); /* this world has no certificate */
    exchange("AUTH PLAIN\r\n", "538 5.7.11 ");
    exchange("DATA x\r\n", "501 5.5.4 ");
    char text[10000];
    memset(text, 'x', sizeof text);
    memcpy(text + sizeof text - 3, "\r\n", 3);
    exchange(text, "500 5.5.2 line too long\r\n");
    exchange("NOOP\r\n", "250 ");
}

static void too_many_errors_end_the_session(void **state)
{
    (void)state;
    w.settings->limit_errors = 3;
    begin();
    exchange("A\r\n", "500 ");
    exchange("B\r\n", "500 ");
    say("C\r\nD\r\n");
    hear("421 4.7.0 mx.example too many errors\r\n");
    hear_end();
    settle();
}

static void a_web_client_is_sent_away(void **state)
{
    (void)state;
    connect_from("192.0.2.7");
    hear("220 ");
    say("POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n");
    hear("554 5.5.1 ");
    hear_end();
    settle();
}

static void silence_is_timed_out(void **state)
{
    (void)state;
    w.settings->smtpd_command_timeout = 1;
    connect_from("192.0.2.7");
    hear("220 ");
    clock_pass(1);
    hear("421 4.4.2 mx.example timeout exceeded\r\n");
    hear_end();
    settle();
}

static void too_many_sessions(void **state)
{
    (void)state;
    w.settings->limit_sessions_client = 1;
    connect_from("192.0.2.7");
    hear("220 ");
    struct stream *first = client;
    connect_from("192.0.2.7");
    hear("421 4.7.0 mx.example too many sessions from your address\r\n");
    hang_up();
    connect_from("192.0.2.8");
    hear("220 ");
    hang_up();
    connect_from("127.0.0.1"); /* relay_from */
    hear("220 ");
    hang_up();
    connect_from("127.0.0.1");
    hear("220 ");
    hang_up();
    client = first;
    hang_up();
    settle();
    connect_from("192.0.2.7");
    hear("220 ");
    w.settings->limit_sessions = 1;
    first = client;
    connect_from("192.0.2.9");
    hear("421 4.7.0 mx.example too many sessions, try again later\r\n");
    hang_up();
    client = first;
}

static void a_drain_ends_sessions_between_messages(void **state)
{
    (void)state;
    begin();
    exchange("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    sessions_drain(&w.server);
    say("x\r\n.\r\n");
    hear("421 4.3.2 mx.example is shutting down, try again\r\n");
    assert_int_equal(w.puts, 1);
    hear_end();
    settle();
    hang_up();
    connect_from("192.0.2.7");
    hear("220 ");
    sessions_drain(&w.server);
    hear("421 4.3.2 ");
}

/* ---- TLS, AUTH ------------------------------------------------------------------------------------------------------------------- */

static SSL_CTX *client_tls, *server_tls;

static void make_tls(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    server_tls = SSL_CTX_new(TLS_server_method());
    w.server.tls = (struct tls *)(void *)server_tls;
    SSL_CTX_use_certificate(server_tls, certificate);
    SSL_CTX_use_PrivateKey(server_tls, key);
    client_tls = SSL_CTX_new(TLS_client_method());
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int open_tls_world(void **state)
{
    open_world(state);
    make_tls();
    w.settings->smtpd_auth_delay = 0;
    return 0;
}

static int close_tls_world(void **state)
{
    close_world(state);
    SSL_CTX_free(server_tls);
    SSL_CTX_free(client_tls);
    return 0;
}

static void secure(void)
{
    stream_start_tls_client(client, stream_tls_client(client_tls, NULL, false, NULL));
    for (int i = 0; i < TURNS && !secured; i++)
        world_turn(&w);
    assert_true(secured);
}

static void starttls_forgets_what_was_before(void **state)
{
    (void)state;
    w.listener.tls = LISTENER_TLS_REQUIRED;
    connect_from("192.0.2.7");
    hear("220 ");
    exchange("MAIL FROM:<>\r\n", "530 5.7.0 send STARTTLS first\r\n");
    exchange("VRFY x\r\n", "530 5.7.0 ");
    say("EHLO me.example\r\n");
    hear("250 8BITMIME\r\n");
    exchange("NOOP\r\n", "250 ");
    exchange("STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\n", "220 2.0.0 ");
    secure();
    exchange("MAIL FROM:<>\r\n", "503 5.5.1 send EHLO");
    exchange("EHLO me.example\r\n", "250 8BITMIME\r\n");
    exchange("STARTTLS\r\n", "503 5.5.1 ");
    exchange("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    exchange("x\r\n.\r\n", "250 2.0.0 ");
    assert_non_null(strstr(buf_text(&w.body), "with ESMTPS id "));
    assert_non_null(strstr(buf_text(&w.body), "\r\n\t(TLSv1.3 TLS_"));
}

static void auth_opens_a_submission(void **state)
{
    (void)state;
    w.listener.tls = LISTENER_TLS_IMPLICIT;
    w.listener.auth = LISTENER_AUTH_REQUIRED;
    w.settings->smtpd_auth_failures = 100;
    connect_from("2001:db8:1:2::7");
    secure();
    hear("220 ");
    exchange("AUTH PLAIN\r\n", "503 5.5.1 send EHLO");
    exchange("EHLO x\r\n", "250 8BITMIME\r\n");
    exchange("MAIL FROM:<ann@example.org>\r\n", "530 5.7.0 ");
    exchange("AUTH NONE\r\n", "504 5.5.4 ");
    exchange("AUTH A-MECHANISM-WITH-A-NAME-THAT-IS-LONGER\r\n", "504 5.5.4 ");
    exchange("AUTH PLAIN !!\r\n", "501 5.5.2 ");
    exchange("AUTH PLAIN b2Rk\r\n", "501 5.5.2 the response is not one of PLAIN"); /* odd */
    exchange("AUTH PLAIN =\r\n", "535 5.7.8 ");
    exchange("AUTH PLAIN\r\n", "334 Z28gb24=\r\n");
    exchange("*\r\n", "501 5.7.0 ");
    assert_int_equal(w.cancels, 1);
    exchange("AUTH PLAIN\r\n", "334 ");
    exchange("not base64\r\n", "501 5.5.2 ");
    assert_int_equal(w.cancels, 2);
    exchange("NOOP\r\n", "250 ");
    exchange("AUTH PLAIN YnVzeQ==\r\n", "454 4.7.0 too many"); /* busy */
    exchange("AUTH PLAIN AGFubgB3cm9uZw==\r\n", "535 5.7.8 "); /* wrong */
    exchange("AUTH PLAIN AGFubgBkb3du\r\n", "454 4.7.0 ");     /* down */
    exchange("MAIL FROM:<ann@example.org>\r\n", "530 5.7.0 ");
    exchange("AUTH PLAIN\r\n", "334 ");
    exchange("AGFubgBzZWNyZXQ=\r\n", "235 2.7.0 ");
    exchange("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "503 5.5.1 ");
    exchange("MAIL FROM:<ann@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "354 ");
    exchange("Subject: x\r\n\r\nx\r\n.\r\n", "250 2.0.0 ");
    expect_buf(&w.flow, "login:ann");
    assert_non_null(strstr(buf_text(&w.body), "(client.example [IPv6:2001:db8:1:2::7])"));
    assert_non_null(strstr(buf_text(&w.body), "with ESMTPSA id "));
    assert_memory_equal(stored_text(), "Date: ", 6);
    assert_non_null(strstr(stored_text(), "\r\nFrom: <ann@example.org>\r\nMessage-ID: <"));
    assert_non_null(strstr(stored_text(), "@mx.example>\r\nSubject: x\r\n\r\nx\r\n"));
}

static void guessing_is_slow_and_short(void **state)
{
    (void)state;
    w.listener.tls = LISTENER_TLS_IMPLICIT;
    w.settings->smtpd_auth_failures = 2;
    w.settings->smtpd_auth_delay = 1;
    connect_from("192.0.2.7");
    secure();
    hear("220 ");
    exchange("EHLO x\r\n", "250 8BITMIME\r\n");
    say("AUTH PLAIN AGFubgB3cm9uZw==\r\nNOOP\r\n");
    for (int i = 0; i < 100; i++)
        world_turn(&w);
    clock_pass(0.9);
    for (int i = 0; i < 100; i++)
        world_turn(&w);
    assert_int_equal(heard.len, 0);
    clock_pass(0.1);
    hear("250 2.0.0 Ok\r\n");
    say("AUTH PLAIN AGFubgB3cm9uZw==\r\n");
    for (int i = 0; i < 100; i++)
        world_turn(&w);
    clock_pass(1);
    hear("421 4.7.0 mx.example too many failed authentications\r\n");
    hear_end();
}

static char long_line[13000];

static void say_line_of(size_t n)
{
    memset(long_line, 'A', n);
    memcpy(long_line + n, "\r\n", 3);
    say(long_line);
}

/* RFC 4954 4.3: responses are up to 12,288 octets, whatever the limit of commands. */
static void responses_have_a_length_of_their_own(void **state)
{
    (void)state;
    w.listener.tls = LISTENER_TLS_IMPLICIT;
    w.settings->limit_command_line = 512;
    connect_from("192.0.2.7");
    secure();
    hear("220 ");
    exchange("EHLO x\r\n", "250 8BITMIME\r\n");
    exchange("AUTH PLAIN\r\n", "334 ");
    say_line_of(12288);
    hear("535 5.7.8 ");
    exchange("AUTH PLAIN\r\n", "334 ");
    say_line_of(12292);
    hear("500 5.5.2 line too long");
    assert_int_equal(w.cancels, 1);
    exchange("NOOP\r\n", "250 ");
    say_line_of(600);
    hear("500 5.5.2 line too long");
    exchange("AUTH PLAIN cmVmdXNlZA==\r\n", "421 4.7.0 "); /* refused */
    hear_end();
}

/* ---- submit socket --------------------------------------------------------------------------------------------------------------- */

static void a_local_user_submits(void **state)
{
    (void)state;
    session_accept_local(&w.server, NULL, connect_pair(), 1000);
    hear("220 ");
    exchange("EHLO localhost\r\n", "250 8BITMIME\r\n");
    exchange("MAIL FROM:<root>\r\n", "250 ");
    exchange("RCPT TO:<ann>\r\nDATA\r\n", "354 ");
    exchange("From: root\r\n\r\nx\r\n.\r\n", "250 2.0.0 ");
    expect_buf(&w.sender, "root@mx.example");
    expect_buf(&w.recipients, "ann<> ");
    expect_buf(&w.flow, "uid:1000");
    expect_buf(&w.client, "");
    assert_memory_equal(buf_text(&w.body), "Received: by mx.example (Postino, from userid 1000)\r\n\tid ", 57);
    assert_memory_equal(stored_text(), "Date: ", 6);
    assert_null(strstr(stored_text(), "From: <"));
}

/* 100 commands that bring no message nearer, and 20 errors. */
static void a_local_flood_ends(void **state)
{
    (void)state;
    session_accept_local(&w.server, NULL, connect_pair(), 1000);
    hear("220 ");
    exchange("EHLO localhost\r\n", "250 8BITMIME\r\n");
    for (int i = 2; i < 120; i++)
        exchange("NOOP\r\n", "250 ");
    exchange("NOOP\r\n", "421 4.7.0 ");
    hear_end();
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, open_world, close_world)
#define TLS_TEST(name) cmocka_unit_test_setup_teardown(name, open_tls_world, close_tls_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_stored),
        TEST(a_listener_s_priority_goes_with_its_mail),
        TEST(pipelined_commands_are_answered_in_order_and_together),
        TEST(a_large_message_goes_in_pieces),
        TEST(a_session_that_ends_in_a_large_message_drops_it),
        TEST(bad_texts_are_refused_at_their_end),
        TEST(a_full_disk_and_a_lost_queue_are_temporary),
        TEST(refused_recipients),
        TEST(wishes_are_stored),
        TEST(an_alias_hands_wishes_on),
        TEST(a_recipient_that_comes_twice_has_both_wishes),
        TEST(wishes_that_can_not_be_are_refused),
        TEST(bad_commands_get_clear_replies),
        TEST(too_many_errors_end_the_session),
        TEST(a_web_client_is_sent_away),
        TEST(silence_is_timed_out),
        TEST(too_many_sessions),
        TEST(a_drain_ends_sessions_between_messages),
        TLS_TEST(starttls_forgets_what_was_before),
        TLS_TEST(auth_opens_a_submission),
        TLS_TEST(guessing_is_slow_and_short),
        TLS_TEST(responses_have_a_length_of_their_own),
        TEST(a_local_user_submits),
        TEST(a_local_flood_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
