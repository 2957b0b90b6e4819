/* telling: a sender is told what hosts said, and what is about his mail; advice for the administrator stays in log and queue. The reasons are those that the
 * programs make. */
#include "qmgr/telling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define OURS "mail.example.com could not deliver it; its postmaster can see why in its log"
#define FAR  "the next host could not be reached"
#define SOFT "no connection to the next host was as secure as it has to be"

struct known {
    const char *status, *reason;
    const char *told;      /* where our configuration leads there; NULL: the reason, as it is */
    const char *by_domain; /* where its own domain does; NULL: the same as `told` */
};

static void assert_told(const struct known *k, bool by_domain, const char *told)
{
    struct bounce b = {.kind = BOUNCE_DELAY, .hostname = SPAN_LITERAL("mail.example.com")};
    struct bounce_recipient r = {.status = span_of(k->status), .reason = span_of(k->reason), .by_domain = by_domain};
    struct buf words = BUF_EMPTY(0);
    telling_words(&b, &r, &words);
    assert_string_equal(buf_text(&words), told);
    buf_free(&words);
}

static void assert_all(const struct known *known, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *told = known[i].told ? known[i].told : known[i].reason;
        assert_told(&known[i], false, told);
        assert_told(&known[i], true, known[i].by_domain ? known[i].by_domain : told);
    }
}

static void a_host_is_told_as_it_spoke_and_without_what_stands_behind(void **state)
{
    (void)state;
    static const struct known known[] = {
        {.status = "4.2.1", .reason = "host mx.example.net[192.0.2.1] said: 450 4.2.1 full (in reply to RCPT TO command)"},
        {.status = "4.3.5",
         .reason = "host mx.example.net[192.0.2.1] said: 451 4.3.5 look at postino.conf (in reply to MAIL FROM command)"},
        {.status = "4.7.1", .reason = "host mx.example.net[192.0.2.1] refused to talk to me: 554 5.7.1 no"},
        {.status = "4.7.4", .reason = "TLS is required, but host mx[192.0.2.1] said: 454 4.7.0 not now (in reply to STARTTLS command)"},
        {.status = "4.7.0",
         .reason = "host smart[192.0.2.1] said: 530 5.7.0 login (in reply to x) first (in reply to MAIL FROM command); the host wants a "
                   "login: add login "
                   "= \"...\" to the route that leads to it, and a login section",
         .told = "host smart[192.0.2.1] said: 530 5.7.0 login (in reply to x) first (in reply to MAIL FROM command)"},
        {.status = "4.2.2",
         .reason = "host mail.example.com[/run/dovecot/lmtp] said: 452 4.2.2 full (in reply to RCPT TO command)",
         .told = "452 4.2.2 full"}};
    assert_all(known, sizeof known / sizeof known[0]);
}

static void what_is_about_the_mail_is_told(void **state)
{
    (void)state;
    static const struct known known[] = {
        {.status = "5.1.1", .reason = "no such user: bob"},
        {.status = "5.1.2", .reason = "Host or domain name not found. Name service error for name=x.example type=MX: NXDOMAIN"},
        {.status = "5.3.4", .reason = "message size 4711 exceeds size limit 1000 of host mx[192.0.2.1]"},
        {.status = "4.6.7", .reason = "SMTPUTF8 is required, but was not offered by host mx[192.0.2.1]"},
        {.status = "5.7.30", .reason = "REQUIRETLS is required, but it was not offered by host mx[192.0.2.1]"},
        {.status = "5.4.7", .reason = "a deadline was set, but DELIVERBY was not offered by host mx[192.0.2.1]"},
        {.status = "4.0.0", .reason = "it could not be tried yet"},
        {.status = "", .reason = "", .told = "it could not be tried yet"}};
    assert_all(known, sizeof known / sizeof known[0]);
}

static void the_way_is_told_where_it_is_the_receivers_own(void **state)
{
    (void)state;
    static const struct known known[] = {
        {.status = "4.4.1",
         .reason = "connect to mx.example.net[192.0.2.1]:25: Connection refused",
         .told = FAR,
         .by_domain = "connect to mx.example.net[192.0.2.1]:25: Connection refused"},
        {.status = "4.4.2",
         .reason = "timed out in the conversation with mx[192.0.2.1] while receiving the initial server greeting",
         .told = FAR,
         .by_domain = "timed out in the conversation with mx[192.0.2.1] while receiving the initial server greeting"},
        {.status = "5.4.4",
         .reason = "Host or domain name not found. Name service error for name=hub.internal type=A: NXDOMAIN",
         .told = FAR,
         .by_domain = "Host or domain name not found. Name service error for name=hub.internal type=A: NXDOMAIN"},
        {.status = "4.5.0",
         .reason = "protocol error: host mx[192.0.2.1] sent more replies than it was sent commands",
         .told = "the next host did not keep to the protocol",
         .by_domain = "protocol error: host mx[192.0.2.1] sent more replies than it was sent commands"}};
    assert_all(known, sizeof known / sizeof known[0]);
}

static void advice_and_our_inside_are_not_told(void **state)
{
    (void)state;
    static const struct known known[] = {
        {.status = "4.3.5", .reason = "the configuration has changed, or lacks route smart", .told = OURS},
        {.status = "4.3.5",
         .reason = "the next hop is not where its route leads now, and gets neither its proxy nor its login; postino queue reroute sends "
                   "the message "
                   "where routes lead now: route smart",
         .told = OURS},
        {.status = "5.3.5", .reason = "no valid route (look at the route sections of postino.conf): next hop [x", .told = OURS},
        {.status = "4.3.5",
         .reason = "connect to mx[192.0.2.1]:25: source out: its IPv4 address can't be used: ...; correct the source",
         .told = OURS},
        {.status = "4.3.5", .reason = "login \"smart\": its secret can't be read", .told = OURS},
        {.status = "4.3.0",
         .reason = "mailbox /home/bob/Maildir: cannot write: Permission denied; let its owner write there",
         .told = OURS},
        {.status = "4.3.0", .reason = "the delivering program ended before it was done", .told = OURS},
        {.status = "4.7.8",
         .reason = "host smart[192.0.2.1]:587 refused login \"smart\" (PLAIN) with 535 5.7.8; look at user and secret of the login (a "
                   "reload reads it "
                   "again), and whether the account may send",
         .told = OURS},
        {.status = "4.7.0",
         .reason = "login \"smart\" can't be used with host smart: it offers no AUTH that is known here; look at tls",
         .told = OURS},
        {.status = "4.7.25", .reason = "refused for the address that it came from; it will be tried over another", .told = OURS},
        {.status = "4.7.5", .reason = "TLS with host mx[192.0.2.1]: self-signed; the route verifies: add who signed it", .told = SOFT},
        {.status = "4.7.4", .reason = "TLS is required, but was not offered by host mx[192.0.2.1]", .told = SOFT},
        {.status = "4.2.2",
         .reason = "mailbox /home/bob/Maildir: cannot write: the user's disk quota is used up",
         .told = "its mailbox had no room for it"},
        {.status = "4.9.9", .reason = "what nobody knows", .told = OURS}};
    assert_all(known, sizeof known / sizeof known[0]);
    const struct known local = {
        .status = "4.4.1",
        .reason = "connect to socket /run/dovecot/lmtp: No such file or directory; start the LMTP server, or correct the path"};
    assert_told(&local, false, FAR);
}

static void what_was_said_last_is_told_by_the_same_rule_when_its_time_is_up(void **state)
{
    (void)state;
    struct bounce b = {.kind = BOUNCE_FAILURE, .hostname = SPAN_LITERAL("mail.example.com")};
    struct bounce_recipient r = {.status = SPAN_LITERAL("4.3.5"),
                                 .reason = SPAN_LITERAL("the configuration has changed, or lacks route smart"),
                                 .over = OVER_EXPIRED,
                                 .attempts = 7};
    struct buf words = BUF_EMPTY(0);
    telling_words(&b, &r, &words);
    assert_string_equal(buf_text(&words), "delivery time expired after 7 attempts; the last said: " OURS);
    assert_true(span_equal(telling_status(&b, &r), SPAN_LITERAL("4.4.7")));
    buf_clear(&words);
    r.over = OVER_DEADLINE;
    telling_words(&b, &r, &words);
    assert_string_equal(buf_text(&words), "not delivered in the time that its sender gave it (Deliver By); the last said: " OURS);
    assert_true(span_equal(telling_status(&b, &r), SPAN_LITERAL("5.4.7")));
    b.kind = BOUNCE_DELAY;
    assert_true(span_equal(telling_status(&b, &r), SPAN_LITERAL("4.4.7")));
    buf_free(&words);
}

static void who_said_it_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *reason, *peer, *host;
    } known[] = {{"host mx.example[192.0.2.1] said: 450 no (in reply to RCPT TO command)", "", "mx.example"},
                 {"TLS is required, but host mx.example[192.0.2.1] said: 454 no (in reply to STARTTLS command)", "", "mx.example"},
                 {"host mx.example[192.0.2.1] refused to talk to me: 554 it said: 250 no", "", "mx.example"},
                 {"550 no", "mx.example[192.0.2.1]:25", "mx.example"},
                 {"host mail.example.com[/run/lmtp] said: 450 no (in reply to RCPT TO command)", "", "mail.example.com"},
                 {"550 no", "mail.example.com[/run/lmtp]", "mail.example.com"},
                 {"no such user: bob", "", ""}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct bounce_recipient r = {.status = SPAN_LITERAL("4.0.0"), .reason = span_of(known[i].reason), .peer = span_of(known[i].peer)};
        struct span host = telling_host(&r);
        assert_true(span_equal(host, span_of(known[i].host)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_is_told_as_it_spoke_and_without_what_stands_behind),
        cmocka_unit_test(what_is_about_the_mail_is_told),
        cmocka_unit_test(the_way_is_told_where_it_is_the_receivers_own),
        cmocka_unit_test(advice_and_our_inside_are_not_told),
        cmocka_unit_test(what_was_said_last_is_told_by_the_same_rule_when_its_time_is_up),
        cmocka_unit_test(who_said_it_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
