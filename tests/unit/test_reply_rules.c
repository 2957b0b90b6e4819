/* Rules on replies: patterns, and the rules for the large providers (conf/shaping.conf) against what these hosts say. */
#include "conf/parse.h"
#include "qmgr/limits.h"
#include "qmgr/reply_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void patterns_fit_whole_replies_in_any_case(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"421", "421", true},
        {"421", "421 x", false},
        {"421*", "421", true},
        {"421 *", "421", false},
        {"421 *", "421 ", true},
        {"421 *too many*", "421 4.7.0 Error: Too Many connections", true},
        {"421 *TOO MANY*", "421 4.7.0 too many", true},
        {"421 *too many", "421 4.7.0 too many connections", false},
        {"421 *too many", "421 too many, far too many", true},
        {"421 *too*many*", "421 too few, but many", true},
        {"421 *too*many*", "421 many are too few", false},
        {"421 a*a", "421 a", false},
        {"421 a*a", "421 aa", true},
        {"421 *ab*ba*", "421 aba", false}, /* no octet counts twice */
        {"421 *ab*ba*", "421 abba", true},
        {"421 **x**", "421 x", true},
        {"450 *", "421 x", false},
        {"", "", true},
        {"*", "", true},
        {"", "x", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (reply_rules_fit(span_of(cases[i].pattern), span_of(cases[i].text)) != cases[i].fits)
            fail_msg("%s: %s", cases[i].pattern, cases[i].text);
}

/* Of one try: the least of several, as a virtual machine is charged for the time that its host takes away. */
static double seconds_of(size_t n)
{
    char pattern[1024], *text = malloc(n);
    struct timespec a, b;
    double least = 1e9;
    memset(pattern, '*', sizeof pattern);
    for (size_t i = 0; i + 8 < sizeof pattern; i += 8)
        memcpy(pattern + i, "aaaaaab", 7);
    memset(text, 'a', n);
    for (int i = 0; i < 100; i++) {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        assert_false(reply_rules_fit(span_make(pattern, sizeof pattern - 8), span_make(text, n)));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        double seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        least = seconds < least ? seconds : least;
    }
    free(text);
    return least;
}

/* What would keep a matcher that tries again and again busy for ever. */
static void the_worst_pattern_takes_no_time(void **state)
{
    (void)state;
    assert_true(seconds_of(1000) < 0.001);
    assert_true(seconds_of((size_t)64 << 10) < 0.001);
}

/* ---- what is installed, postino.conf and all ---------------------------------------------------------------------------------- */

static struct settings *shipped;

static int load(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_reply_rules.XXXXXX", command[200], path[100];
    struct report r = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command,
             "cp conf/postino.conf conf/shaping.conf %s/ && chmod 644 %s/* && echo 'hostname = a.example' >>%s/postino.conf", dir, dir,
             dir);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/postino.conf", dir);
    shipped = parse_file(path, PARSE_FILE, &r);
    if (!shipped || r.warning_count)
        fail_msg("%s%s", buf_text(&r.errors), buf_text(&r.warnings));
    report_free(&r);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static int unload(void **state)
{
    (void)state;
    settings_free(shipped);
    return 0;
}

#define GOOGLE    "smtp:alt1.aspmx.l.google.com,aspmx.l.google.com,aspmx2.googlemail.com dane"
#define GMAIL     "smtp:alt1.gmail-smtp-in.l.google.com,gmail-smtp-in.l.google.com dane"
#define MICROSOFT "smtp:contoso-com.mail.protection.outlook.com dane"
#define HOTMAIL   "smtp:hotmail-com.olc.protection.outlook.com dane"
#define MX_MS     "smtp:contoso-com.o-v1.mx.microsoft dane"
#define YAHOO     "smtp:mta5.am0.yahoodns.net,mta6.am0.yahoodns.net,mta7.am0.yahoodns.net dane"
#define WEB       "smtp:mx-ha02.web.de,mx-ha03.web.de dane"
#define GMX       "smtp:mx00.emig.gmx.net,mx01.emig.gmx.net dane"
#define COMCAST   "smtp:mx1a1.comcast.net,mx2h1.comcast.net dane"
#define ORANGE    "smtp:smtp-in.orange.fr dane"
#define GODADDY   "smtp:mailstore1.secureserver.net,smtp.secureserver.net dane"
#define OTHER     "smtp:mx.example.org dane"

static void what_providers_say_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *site, *said;
        unsigned at;
        const char *rule; /* NULL: none */
    } cases[] = {
        {GMAIL,
         "421 4.7.28 [192.0.2.1      15] Gmail has detected an unusual rate of unsolicited mail originating from your IP address. To "
         "protect our users from spam, mail sent "
         "from your IP address has been temporarily rate limited.",
         SAID_TO_TEXT, "google"},
        {GOOGLE,
         "421 4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of unsolicited mail originating from your IP address. To "
         "protect our users from spam, mail sent from your "
         "IP address has been temporarily rate limited.",
         SAID_TO_TEXT, "google"},
        {GMAIL, "421 4.7.0 Try again later, closing connection. x12-20020a05si123.4 - gsmtp", SAID_AT_FIRST, "google"},
        {GMAIL,
         "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain [example.org 35]. To protect "
         "our users from spam, mail sent from "
         "your domain has been temporarily blocked.",
         SAID_TO_TEXT, NULL},
        {GMAIL,
         "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
         SAID_TO_RCPT, NULL},
        {GMAIL, "452 4.2.2 The email account that you tried to reach is over quota.", SAID_TO_RCPT, NULL},
        {HOTMAIL,
         "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. For e-mail delivery information, "
         "see https://postmaster.live.com (S775)",
         SAID_TO_MAIL, "microsoft-reputation"},
        {HOTMAIL,
         "451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. For e-mail delivery information, "
         "see https://postmaster.live.com (S3114)",
         SAID_TO_RCPT, "microsoft-reputation"},
        {MICROSOFT,
         "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719) [AM5EUR03FT012.eop-EUR03.prod.protection.outlook.com]",
         SAID_TO_RCPT, "microsoft-busy"},
        {MX_MS, "421 4.3.2 The maximum number of concurrent server connections has exceeded a limit, closing transmission channel",
         SAID_AT_FIRST, "microsoft-busy"},
        {MICROSOFT, "450 4.7.26 Service does not accept messages sent over IPv6 unless they pass either SPF or DKIM validation",
         SAID_TO_TEXT, NULL},
        {YAHOO,
         "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see "
         "https://postmaster.yahooinc.com/error-codes",
         SAID_TO_MAIL, "yahoo"},
        {YAHOO,
         "421 4.7.0 [TS02] Messages from 192.0.2.1 temporarily deferred due to user complaints - 4.16.56.1; see "
         "http://postmaster.yahoo.com/421-ts02.html",
         SAID_TO_MAIL, "yahoo"},
        {OTHER, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", SAID_TO_MAIL, NULL},
        {WEB,
         "421 web.de (mxweb113) Nemesis ESMTP Service not available Service unavailable Reject due to policy restrictions Please try again "
         "later. Too many messages have been "
         "received in a short period of time. Please try again in a few hours and reduce the sending rate.",
         SAID_AT_FIRST, "united-internet"},
        {GMX, "421 Rate limit reached. Please try again later", SAID_TO_MAIL, "united-internet"},
        {GMX, "450 Requested mail action not taken: mailbox unavailable", SAID_TO_RCPT, NULL},
        {COMCAST,
         "421 4.1.0 192.0.2.1 Throttled - try again later. Please see https://postmaster.comcast.net/smtp-error-codes.php#RL000003",
         SAID_TO_MAIL, "comcast"},
        {COMCAST, "421 mx1.comcast.net comcast 192.0.2.1 Too many sessions opened", SAID_AT_FIRST, "comcast"},
        {ORANGE,
         "421 mwinf5c20 ME Trop de connexions, veuillez verifier votre configuration. Too many connections, slow down. OFR004_104 [104]",
         SAID_AT_FIRST, "orange"},
        {GODADDY, "421 Connection refused, too many sessions from 192.0.2.1. Please lower the number of concurrent sessions. IB007",
         SAID_AT_FIRST, "godaddy"},
        {OTHER, "421 4.7.0 mx.example.org Error: too many connections from 192.0.2.1", SAID_AT_FIRST, "busy"}, /* Postfix */
        {OTHER, "450 4.7.1 Error: too much mail from 192.0.2.1", SAID_TO_MAIL, "busy"},
        {OTHER, "421 Too many concurrent SMTP connections; please try again later.", SAID_AT_FIRST, "busy"}, /* Exim */
        {OTHER, "421 4.3.2 Connection rate limit exceeded.", SAID_AT_FIRST, "busy"},                         /* sendmail */
        {OTHER, "421 4.7.0 Too many concurrent connections", SAID_AT_FIRST, "busy"},
        {GODADDY, "421 4.3.2 Connection rate limit exceeded.", SAID_AT_FIRST, "busy"},
        {OTHER, "450 4.7.1 Error: too much mail from 192.0.2.1", SAID_TO_RCPT, NULL},
        {OTHER, "450 4.2.0 Greylisted, see http://postgrey.example/help", SAID_TO_RCPT, NULL},
        {OTHER, "451 4.3.0 Temporary lookup failure", SAID_TO_MAIL, NULL},
        {OTHER, "421 4.4.2 mx.example.org Error: timeout exceeded", SAID_TO_MAIL, NULL},
        {OTHER, "452 4.3.1 Insufficient system storage", SAID_TO_MAIL, NULL},
        {OTHER, "", SAID_NOTHING, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct settings_reply *r = reply_rules_find(shipped, span_of(cases[i].site), span_of(cases[i].said), cases[i].at);
        if (r ? !cases[i].rule || strcmp(r->title, cases[i].rule) != 0 : cases[i].rule != NULL)
            fail_msg("%s says %s: %s", cases[i].site, cases[i].said, r ? r->title : "no rule");
    }
}

static void providers_are_one_receiver_each(void **state)
{
    (void)state;
    static const char *const same[][3] = {{GOOGLE, GMAIL, "google.com"},
                                          {MICROSOFT, HOTMAIL, "protection.outlook.com"},
                                          {MX_MS, HOTMAIL, "protection.outlook.com"},
                                          {WEB, GMX, "gmx.net"},
                                          {YAHOO, YAHOO, "yahoodns.net"}};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        for (size_t k = 0; k < 2; k++) {
            struct limits l = limits_of_site(shipped, span_of(same[i][k]));
            if (!l.share || strcmp(l.share->title, same[i][2]) != 0)
                fail_msg("%s shares with %s", same[i][k], l.share ? l.share->title : "nobody");
        }
    }
    assert_null(limits_of_site(shipped, span_of(OTHER)).share);
    assert_null(
        limits_of_site(shipped, SPAN_LITERAL("smtp:mx.example.org,aspmx.l.google.com dane")).share); /* a host of its own beside it */
    assert_null(limits_of_site(shipped, SPAN_LITERAL("smtp:notgoogle.com dane")).share);
}

static void greeting_and_421_are_about_all(void **state)
{
    (void)state;
    assert_true(reply_rules_is_about_all(SPAN_LITERAL("451 4.7.1 busy"), SAID_AT_FIRST));
    assert_true(reply_rules_is_about_all(SPAN_LITERAL("421 4.7.1 busy"), SAID_TO_TEXT));
    assert_false(reply_rules_is_about_all(SPAN_LITERAL("451 4.7.1 busy"), SAID_TO_MAIL));
    assert_false(reply_rules_is_about_all(SPAN_LITERAL("42"), SAID_TO_MAIL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_fit_whole_replies_in_any_case),
        cmocka_unit_test(the_worst_pattern_takes_no_time),
        cmocka_unit_test(what_providers_say_is_known),
        cmocka_unit_test(providers_are_one_receiver_each),
        cmocka_unit_test(greeting_and_421_are_about_all),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
