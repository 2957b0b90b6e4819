/* What MAIL and RCPT refuse, what route is told of a client's certificate, queue ids that come late or never, and who of the host gets no session
 * (tests/unit/session_script.h). */
#include "tests/unit/logged.h"
#include "tests/unit/session_script.h"

#include "common/stream.h"
#include "smtpd/session_state.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ASKED_AGAIN 3 /* a REPEAT question that its server dies of is asked so often */

static char requiretls[] = "REQUIRETLS", chunking[] = "CHUNKING", ours[] = "192.0.2.0/24";
static char *hidden[] = {requiretls, chunking}, *let_in[] = {ours};

static int open_logged(void **state)
{
    open_world(state);
    logged_forget();
    return 0;
}

/* No ids have come yet. */
static int open_without_ids(void **state)
{
    open_logged(state);
    w.lease_silent = true;
    return 0;
}

static void envelope(void)
{
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 250 ");
}

/* ---- MAIL -------------------------------------------------------------------------------------------------------------------------- */

static void what_is_not_offered_is_refused(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<j\xc3\xb6@example.org>", "< 550 5.6.7 ", "> MAIL FROM:<j\xc3\xb6@example.org> SMTPUTF8", "< 250 ", "> RSET",
         "< 250 ");
    w.settings->smtpd_smtputf8 = false;
    PLAY("> MAIL FROM:<> SMTPUTF8", "< 555 5.5.4 SMTPUTF8");
    PLAY("> MAIL FROM:<> REQUIRETLS", "< 530 5.7.10 ");
    TAILQ_FIRST(&w.server.sessions)->tls_active = true;
    PLAY("> MAIL FROM:<> REQUIRETLS", "< 250 ", "> RSET", "< 250 ", "> MAIL FROM:<> BODY=BINARYMIME", "< 250 ", "> RSET", "< 250 ");
    w.listener.hide = (struct strings){2, hidden};
    PLAY("> MAIL FROM:<> REQUIRETLS", "< 555 5.5.4 REQUIRETLS", "> MAIL FROM:<> BODY=BINARYMIME", "< 555 5.5.4 BINARYMIME");
    TAILQ_FIRST(&w.server.sessions)->tls_active = false;
    PLAY("> MAIL FROM:<ann>", "< 501 5.1.7 ", "> RCPT TO:<b@example.org>", "< 503 5.5.1 ");
    assert_int_equal(w.questions, 1); /* who the client is, and nothing else */
}

static void a_size_beyond_the_limit(void **state)
{
    (void)state;
    w.settings->limit_message_size = 1000;
    begin();
    PLAY("> MAIL FROM:<> SIZE=1001", "< 552 5.3.4 message too large; the limit is 1000 octets", "> MAIL FROM:<> SIZE=1000", "< 250 ");
    has_logged("rule=\"limit { message_size }\" helo=x");
}

/* ---- RCPT -------------------------------------------------------------------------------------------------------------------------- */

static void recipients_that_need_smtputf8_or_a_domain(void **state)
{
    (void)state;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<j\xc3\xb6@example.org>", "< 553 5.6.7 ");
    PLAY("> RCPT TO:<b@example.org> ORCPT=utf-8;j\xc3\xb6@example.org", "< 501 5.5.4 ", "> RCPT TO:<b>", "< 501 5.1.3 ");
    assert_int_equal(w.questions, 1);
    PLAY("> RCPT TO:<postmaster>", "< 250 ", "> RSET", "< 250 ", "> MAIL FROM:<> SMTPUTF8", "< 250 ");
    PLAY("> RCPT TO:<j\xc3\xb6@example.org> ORCPT=utf-8;j\xc3\xb6@example.org", "< 250 ");
}

static void recipients_up_to_the_limit(void **state)
{
    (void)state;
    w.settings->limit_recipients = 2;
    begin();
    envelope();
    PLAY("> RCPT TO:<nouser@example.org>", "< 550 5.1.1 ", "> RCPT TO:<c@example.org>", "< 250 ", "> RCPT TO:<d@example.org>",
         "< 452 4.5.3 ");
    has_logged("from=<> rule=\"limit { recipients }\" helo=x");
    PLAY("> DATA", "< 354 ", "> .", "< 250 ");
    assert_string_equal(buf_text(&w.recipients), "b@example.org<> c@example.org<> ");
}

static void no_recipient_more_when_memory_is_short(void **state)
{
    (void)state;
    begin();
    envelope();
    uint64_t limit = w.settings->limit_session_memory;
    w.settings->limit_session_memory = 1;
    PLAY("> RCPT TO:<c@example.org>", "< 452 4.3.1 ");
    w.settings->limit_session_memory = limit;
    PLAY("> RCPT TO:<c@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    assert_string_equal(buf_text(&w.recipients), "b@example.org<> c@example.org<> ");
}

static void a_route_that_dies_of_the_question(void **state)
{
    (void)state;
    begin();
    envelope();
    w.route_silent = true;
    PLAY("> RCPT TO:<c@example.org>", "=");
    for (int i = 0; i < ASKED_AGAIN; i++)
        world_kill_route(&w), turns(QUIET);
    PLAY("< 451 4.3.0 the recipient can't be looked up now, try again later");
    w.route_silent = false;
    PLAY("> RCPT TO:<c@example.org>", "< 250 ", "> DATA", "< 354 ", "> .", "< 250 ");
    assert_string_equal(buf_text(&w.recipients), "b@example.org<> c@example.org<> ");
}

static char told[400];

static void refuse_all(struct world *world, struct channel *c, const struct message *m)
{
    (void)world;
    struct message a = {.type = MESSAGE_ROUTED,
                        .id = m->id,
                        .fd = -1,
                        .routed = {.code = 550, .status = span_of("a status too long"), .reply = span_of("no")}};
    if (m->type == MESSAGE_CLIENT)
        a = (struct message){.type = MESSAGE_CLIENT_IS, .id = m->id, .fd = -1};
    else
        snprintf(told, sizeof told, "%.*s %.*s %.*s %u", SPAN_ARG(m->rcpt.certificate), SPAN_ARG(m->rcpt.certificate_key),
                 SPAN_ARG(m->rcpt.subject), m->rcpt.certified);
    channel_send(c, &a);
}

static void route_is_told_of_the_certificate(void **state)
{
    (void)state;
    w.route_answers = refuse_all;
    begin();
    PLAY("> MAIL FROM:<>", "< 250 ", "> RCPT TO:<b@example.org>", "< 550 5.0.0 no");
    assert_string_equal(told, "   0");
    struct tls_client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    *c = (struct tls_client){.certificate = "AB:CD", .key = "EF:01", .subject = "relay.example", .trusted = true};
    TAILQ_FIRST(&w.server.sessions)->certificate = c;
    PLAY("> RCPT TO:<b@example.org>", "< 550 5.0.0 no");
    assert_string_equal(told, "AB:CD EF:01 relay.example 1");
}

/* ---- queue ids --------------------------------------------------------------------------------------------------------------------- */

static void ids_that_come_late(void **state)
{
    (void)state;
    begin();
    envelope();
    struct stream *first = client;
    begin();
    envelope();
    PLAY("> DATA", "=");
    struct stream *second = client;
    client = first;
    PLAY("> DATA", "=");
    w.lease_silent = false;
    world_kill_qmgr(&w); /* the next one is asked the same */
    turns(QUIET);
    assert_string_equal(heard_so_far(),
                        "354 End data with <CR><LF>.<CR><LF>\r\n354 End data with <CR><LF>.<CR><LF>\r\n"); /* both clients */
    forget_heard();
    PLAY("> .", "< 250 ");
    hang_up();
    client = second;
    PLAY("> .", "< 250 ", "> QUIT", "< 221 ", ".");
    assert_int_equal(w.puts, 2);
}

/* No input is looked at while it waits, nor the end of it. */
static void who_goes_meanwhile_keeps_nobody(void **state)
{
    (void)state;
    begin();
    envelope();
    PLAY("> DATA", "=");
    hang_up();
    begin();
    envelope();
    PLAY("> DATA", "=");
    w.lease_silent = false;
    world_kill_qmgr(&w);
    PLAY("< 354 ", "> .", "< 250 ");
    assert_int_equal(w.server.session_count, 1);
}

static void ids_that_do_not_come(void **state)
{
    (void)state;
    begin();
    envelope();
    PLAY("> DATA", "=", "+ 59", "=", "+ 1.1", "< 451 4.3.0 the queue is not available", "> NOOP", "< 250 ");
    w.lease_silent = false;
    world_kill_qmgr(&w);
    PLAY("=", "> RSET", "< 250 ");
    envelope();
    PLAY("> DATA", "< 354 ", "> .", "< 250 ");
}

/* Whether or not somebody waits, they are asked for until they come. */
static void a_queue_manager_that_dies_of_the_question(void **state)
{
    (void)state;
    for (int i = 0; i < ASKED_AGAIN + 1; i++)
        world_kill_qmgr(&w), turns(QUIET);
    begin();
    envelope();
    PLAY("> DATA", "=");
    for (int i = 0; i < ASKED_AGAIN + 1; i++)
        world_kill_qmgr(&w), turns(QUIET);
    PLAY("=");
    w.lease_silent = false;
    world_kill_qmgr(&w);
    PLAY("< 354 ", "> .", "< 250 ");
}

/* ---- who gets a session ------------------------------------------------------------------------------------------------------------ */

static void local(uid_t uid)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    client = stream_accepted(w.base, fd[1], 64 << 10, &(struct stream_handler){0}, NULL);
    stream_want_input(client, false);
    session_accept_local(&w.server, NULL, fd[0], uid);
}

static void users_of_the_host_have_a_share(void **state)
{
    (void)state;
    struct stream *all[8];
    w.settings->limit_sessions = 16; /* 4 for the host, and one of these for each user */
    static const uid_t users[] = {1000, 1000, 1001, 1002, 1003, 1004, 0, 0};
    static const size_t sessions[] = {1, 1, 2, 3, 4, 4, 5, 6};
    for (size_t i = 0; i < 8; i++) {
        local(users[i]);
        all[i] = client;
        assert_int_equal(w.server.local_count, sessions[i]);
    }
    assert_true(logged("client=\"local[uid 1000]\" reason=\"too many local sessions\""));
    assert_true(logged("client=\"local[uid 1004]\" "));
    assert_false(logged("client=\"local[uid 1001]\" reason"));
    for (size_t i = 0; i < 8; i++)
        stream_free(all[i]);
    client = NULL;
    turns(QUIET);
    assert_int_equal(w.server.session_count, 0);
}

static void who_is_gone_before_he_is_told(void **state)
{
    (void)state;
    int fd[2];
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xcb007105)};
    w.listener.clients = (struct strings){1, let_in};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    close(fd[1]);
    session_accept(&w.server, &w.listener, fd[0], (struct sockaddr *)&from);
    assert_true(logged("client=203.0.113.5 reason=\"this service is not for your network\""));
    has_logged("the client was gone before it could be told");
    assert_int_equal(w.server.session_count, 0);
    assert_int_equal(fcntl(fd[0], F_GETFD), -1);
    connect_from("192.0.2.8");
    PLAY("< 220 ");
}

#define TEST(name)    cmocka_unit_test_setup_teardown(name, open_logged, close_world)
#define ID_TEST(name) cmocka_unit_test_setup_teardown(name, open_without_ids, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_offered_is_refused),
        TEST(a_size_beyond_the_limit),
        TEST(recipients_that_need_smtputf8_or_a_domain),
        TEST(recipients_up_to_the_limit),
        TEST(no_recipient_more_when_memory_is_short),
        TEST(a_route_that_dies_of_the_question),
        TEST(route_is_told_of_the_certificate),
        ID_TEST(ids_that_come_late),
        ID_TEST(who_goes_meanwhile_keeps_nobody),
        ID_TEST(ids_that_do_not_come),
        ID_TEST(a_queue_manager_that_dies_of_the_question),
        TEST(users_of_the_host_have_a_share),
        TEST(who_is_gone_before_he_is_told),
    };
    logged_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
