/* FUTURERELEASE, DELIVERBY, MT-PRIORITY, ETRN and HELP in whole sessions: who is offered what, what is refused, and what reaches qmgr. */
#include "tests/unit/fake_clock.h"
#include "tests/unit/session_hear.h"

#include "common/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static char ours[] = "192.0.2.0/24", relayed[] = "backup.example", below[] = ".many.example", silent[] = "silent.example",
            soon[] = "soon.example", empty[] = "empty.example";
static char *networks[] = {ours}, *domains[] = {relayed, below, silent, soon, empty};

#define MAIL "MAIL FROM:<a@example.net> "

static int open_limited(void **state)
{
    open_world(state);
    server_free(&w.server);
    world_lend(&w, &w.settings->relay_from, 1, networks);
    world_lend(&w, &w.settings->relay_to, 5, domains);
    w.settings->smtpd_future_release = 1000;
    w.settings->smtpd_deliver_by_least = 60;
    server_init(&w.server);
    return 0;
}

static void trusted(void)
{
    connect_client();
    HEAR("220 ");
    client_say("EHLO me.example\r\n");
    HEAR("250 8BITMIME");
}

static void stranger(void)
{
    connect_from("198.51.100.7");
    HEAR("220 ");
    client_say("EHLO me.example\r\n");
    HEAR("250 8BITMIME");
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec;
}

/* A message with this parameter of MAIL is stored. */
static void send_with(const char *parameter, const char *reply)
{
    char line[200];
    unsigned puts = w.puts;
    snprintf(line, sizeof line, MAIL "%s\r\n", parameter);
    client_say(line);
    HEAR(reply);
    client_say("RCPT TO:<b@example.org>\r\nDATA\r\n");
    HEAR("250 ", "354 ");
    client_say("x\r\n.\r\n");
    HEAR("250 ");
    assert_int_equal(w.puts, puts + 1);
}

static void refused(const char *parameter, const char *reply)
{
    char line[200];
    snprintf(line, sizeof line, MAIL "%s\r\n", parameter);
    client_say(line);
    HEAR(reply);
}

static void until(uint64_t seconds, char line[80])
{
    char date[DATE_TEXT];
    date_format(seconds, date);
    snprintf(line, 80, "HOLDUNTIL=%s", date);
}

static void a_release_reaches_the_queue(void **state)
{
    (void)state;
    char line[80];
    trusted();
    uint64_t before = now();
    send_with("HOLDFOR=1000", "250 2.1.0 Ok");
    assert_true(w.times.release >= before + 1000 && w.times.release <= now() + 1001);
    until(before + 900, line);
    send_with(line, "250 2.1.0 Ok");
    assert_int_equal(w.times.release, before + 900);
    send_with("", "250 ");
    assert_int_equal(w.times.release + w.times.deliver_by + w.times.by_mode + w.times.mt_priority, 0);
}

static void releases_that_cannot_be_are_refused(void **state)
{
    (void)state;
    char line[80], two[120];
    trusted();
    refused("HOLDFOR=1001", "501 5.5.4 ");
    refused("HOLDFOR=999999999", "501 5.5.4 ");
    until(now() + 1100, line);
    refused(line, "501 5.5.4 ");
    until(now() - 1, line);
    refused(line, "501 5.5.4 ");
    until(now() + 500, line);
    snprintf(two, sizeof two, "HOLDFOR=5 %s", line);
    refused(two, "501 5.5.4 ");
    clock_pass(600); /* what was to come is past */
    refused(line, "501 5.5.4 ");
    w.settings->smtpd_future_release = 0;
    refused("HOLDFOR=1", "555 5.5.4 ");
}

static void a_deadline_reaches_the_queue(void **state)
{
    (void)state;
    trusted();
    uint64_t before = now();
    send_with("BY=60;RT", "250 2.1.0 Ok");
    assert_true(w.times.deliver_by >= before + 60 && w.times.deliver_by <= now() + 61);
    assert_int_equal(w.times.by_mode, BY_RETURN | BY_TRACE);
    send_with("BY=-100;N", "250 ");
    assert_true(w.times.deliver_by >= before - 100 && w.times.deliver_by <= now() - 99);
    assert_int_equal(w.times.by_mode, BY_NOTIFY);
    refused("BY=59;R", "555 5.5.4 ");
    send_with("BY=59;N", "250 ");
    refused("BY=100;R HOLDFOR=100", "501 5.5.4 ");
    send_with("BY=101;R HOLDFOR=100", "250 ");
    w.settings->smtpd_deliver_by = OFFER_NONE;
    refused("BY=100;R", "555 5.5.4 ");
}

static void strangers_are_offered_less(void **state)
{
    (void)state;
    stranger();
    refused("HOLDFOR=5", "555 5.5.4 ");
    refused("BY=100;R", "555 5.5.4 ");
    send_with("MT-PRIORITY=-3", "250 2.1.0 Ok");
    assert_int_equal(w.times.mt_priority, MT_PRIORITY_ZERO - 3);
    send_with("MT-PRIORITY=4", "250 2.3.6 0 ");
    assert_int_equal(w.times.mt_priority, MT_PRIORITY_ZERO);
    w.settings->smtpd_deliver_by = OFFER_ALL;
    send_with("BY=100;R", "250 ");
}

static void a_priority_is_lowered_to_what_the_client_may_have(void **state)
{
    (void)state;
    trusted();
    w.settings->smtpd_mt_priority_most = 6;
    send_with("MT-PRIORITY=6", "250 2.1.0 Ok");
    assert_int_equal(w.times.mt_priority, MT_PRIORITY_ZERO + 6);
    send_with("MT-PRIORITY=9", "250 2.3.6 6 ");
    assert_int_equal(w.times.mt_priority, MT_PRIORITY_ZERO + 6);
    w.listener.priority = LISTENER_PRIORITY_LOW;
    send_with("MT-PRIORITY=9", "250 2.3.6 -1 ");
    assert_int_equal(w.times.mt_priority, MT_PRIORITY_ZERO - 1);
    w.listener.priority = LISTENER_PRIORITY_NORMAL;
}

static void nothing_of_it_outlives_its_transaction(void **state)
{
    (void)state;
    trusted();
    client_say(MAIL "HOLDFOR=5 BY=100;R MT-PRIORITY=3\r\nRSET\r\n");
    HEAR("250 ", "250 ");
    send_with("", "250 ");
    assert_int_equal(w.times.release + w.times.deliver_by + w.times.by_mode + w.times.mt_priority, 0);
}

static void etrn(const char *argument, const char *reply)
{
    char line[100];
    snprintf(line, sizeof line, "ETRN %s\r\n", argument);
    client_say(line);
    HEAR(reply);
}

static void etrn_starts_the_mail_for_relayed_domains(void **state)
{
    (void)state;
    stranger();
    etrn("backup.example", "253 2.0.0 Ok, 7 ");
    etrn("BACKUP.example", "253 ");
    etrn("@backup.example", "253 2.0.0 Ok, 8 ");
    etrn("one.many.example", "253 2.0.0 Ok, 7 ");
    etrn("@many.example", "253 2.0.0 Ok, 8 ");
    etrn("many.example", "459 4.7.1 ");
    etrn("empty.example", "251 2.0.0 ");
    etrn("soon.example", "458 4.7.0 ");
    etrn("elsewhere.example", "459 4.7.1 ");
    etrn("sub.backup.example", "459 4.7.1 ");
    etrn("#queue", "459 4.7.1 ");
    etrn("", "501 5.5.4 ");
    etrn("@", "501 5.5.4 ");
    etrn("two words", "501 5.5.4 ");
    etrn("-x;rm", "501 5.5.4 ");
    client_say(MAIL "\r\nETRN backup.example\r\nRSET\r\nETRN backup.example\r\nNOOP\r\n");
    HEAR("250 ", "503 5.5.1 ", "250 ", "253 ", "250 ");
    w.settings->smtpd_etrn = OFFER_TRUSTED;
    etrn("backup.example", "459 4.7.1 ");
    w.settings->smtpd_etrn = OFFER_NONE;
    etrn("backup.example", "502 5.5.1 ");
}

static void etrn_does_not_wait_for_ever(void **state)
{
    (void)state;
    stranger();
    client_say("ETRN silent.example\r\nNOOP\r\n");
    for (int i = 0; i < 10; i++)
        world_turn(&w);
    assert_string_equal(buf_text(&heard), "");
    clock_pass(31);
    HEAR("458 4.3.0 ", "250 ");
    client_say("ETRN silent.example\r\n");
    for (int i = 0; i < 10; i++)
        world_turn(&w);
    world_kill_qmgr(&w);
    HEAR("458 4.3.0 ");
}

static void help_names_what_is_there(void **state)
{
    (void)state;
    trusted();
    client_say("HELP\r\n");
    HEAR("214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP ETRN are commands");
    w.settings->smtpd_etrn = OFFER_NONE;
    client_say("HELP MAIL\r\n");
    HEAR("214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP are commands");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_limited, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_release_reaches_the_queue),
        TEST(releases_that_cannot_be_are_refused),
        TEST(a_deadline_reaches_the_queue),
        TEST(strangers_are_offered_less),
        TEST(a_priority_is_lowered_to_what_the_client_may_have),
        TEST(nothing_of_it_outlives_its_transaction),
        TEST(etrn_starts_the_mail_for_relayed_domains),
        TEST(etrn_does_not_wait_for_ever),
        TEST(help_names_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
