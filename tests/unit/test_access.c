/* Access rules: each of them, their order, tables with their keys and actions, and what is asked of others. */
#include "common/map.h"
#include "resolver/access.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];
static struct settings *settings;
static struct access_rules *rules;
static struct access a;
static struct access_facts facts;

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_access.XXXXXX");
    assert_non_null(mkdtemp(directory));
    settings = settings_new();
    facts = (struct access_facts){.client = SPAN_LITERAL("192.0.2.7"),
                                  .name = SPAN_LITERAL("mail.sub.example.net"),
                                  .helo = SPAN_LITERAL("mail.example.net"),
                                  .sender = SPAN_LITERAL("ann+tag@Sub.Example.net"),
                                  .recipient = SPAN_LITERAL("bob@example.org")};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    access_free(&a);
    access_rules_free(rules);
    rules = NULL;
    settings_free(settings);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    return 0;
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A hash table with these lines; what a rule calls it. */
static const char *table(const char *name, const char *text)
{
    static char spec[128];
    struct buf warnings = BUF_EMPTY(0);
    struct error error;
    write_file(name, text);
    snprintf(spec, sizeof spec, "hash:%s/%s", directory, name);
    if (map_build(spec, MAP_PLAIN, &warnings, &error) < 0)
        fail_msg("%s", error.text);
    buf_free(&warnings);
    return spec;
}

static struct strings strings_of(const char *const list[])
{
    static char *v[16];
    struct strings s = {.v = v};
    for (; list[s.n]; s.n++)
        v[s.n] = (char *)(uintptr_t)list[s.n];
    return s;
}

static void use(const char *const list[])
{
    static char kept[16][300];
    struct error error;
    struct strings s = strings_of(list);
    for (size_t i = 0; i < s.n; i++) {
        snprintf(kept[i], sizeof kept[i], "%s", s.v[i]);
        s.v[i] = kept[i];
    }
    access_free(&a);
    access_rules_free(rules);
    rules = access_rules_new(&s, settings, &error);
    if (!rules)
        fail_msg("%s", error.text);
    access_begin(&a, rules, &facts);
}
#define USE(...) use((const char *const[]){__VA_ARGS__, NULL})

static const char *decision(void)
{
    static char text[1200];
    assert_int_equal(access_run(&a), ACCESS_DECIDED);
    if (a.code == 250)
        snprintf(text, sizeof text, "250 by %s", buf_text(&a.rule));
    else
        snprintf(text, sizeof text, "%u %s %s", a.code, a.status, buf_text(&a.reply));
    return text;
}
#define DECIDES(text) assert_string_equal(decision(), text)

static void answer(size_t i, enum access_answer what, uint32_t address)
{
    assert_true(i < a.count);
    a.questions[i].answer = what;
    a.questions[i].count = address ? 1 : 0;
    a.questions[i].addresses[0] = address;
}

/* ---- the list ------------------------------------------------------------------------------------------------------------------ */

static void nothing_refuses_what_no_rule_speaks_of(void **state)
{
    (void)state;
    use((const char *const[]){NULL});
    DECIDES("250 by ");
    USE("permit_mynetworks", "permit_sasl_authenticated");
    DECIDES("250 by ");
}

static void the_first_rule_that_decides_ends_it(void **state)
{
    (void)state;
    USE("permit", "reject");
    DECIDES("250 by permit");
    USE("reject", "permit");
    DECIDES("554 5.7.1 <bob@example.org>: Recipient address rejected: Access denied");
    assert_string_equal(buf_text(&a.rule), "reject");
    USE("defer");
    DECIDES("450 4.7.1 <bob@example.org>: Recipient address rejected: Try again later");
}

static void trusted_clients_and_logins_are_permitted(void **state)
{
    (void)state;
    facts.trusted = true;
    USE("permit_mynetworks", "reject");
    DECIDES("250 by permit_mynetworks");
    facts.trusted = false;
    facts.login = SPAN_LITERAL("ann");
    USE("permit_mynetworks", "permit_sasl_authenticated", "reject");
    DECIDES("250 by permit_sasl_authenticated");
}

static void clients_with_certificates_are_permitted(void **state)
{
    (void)state;
    facts.certificate = SPAN_LITERAL("AB:CD");
    USE("permit_tls_clientcerts", "permit_tls_all_clientcerts", "reject");
    DECIDES("554 5.7.1 <bob@example.org>: Recipient address rejected: Access denied");
    facts.certificate_listed = true;
    USE("permit_tls_clientcerts", "reject");
    DECIDES("250 by permit_tls_clientcerts");
    facts.certificate_listed = false;
    facts.certified = true;
    USE("permit_tls_clientcerts", "permit_tls_all_clientcerts", "reject");
    DECIDES("250 by permit_tls_all_clientcerts");
}

static void warn_if_reject_only_logs(void **state)
{
    (void)state;
    USE("warn_if_reject reject", "permit");
    DECIDES("250 by permit");
    assert_string_equal(buf_text(&a.log), "warn_if_reject reject\treject_warning: 554 5.7.1 <bob@example.org>: Recipient address "
                                          "rejected: Access denied\n");
}

static void commands_out_of_turn(void **state)
{
    (void)state;
    USE("reject_unauth_pipelining", "permit");
    DECIDES("250 by permit");
    facts.pipelining = true;
    USE("reject_unauth_pipelining", "permit");
    DECIDES("503 5.5.0 <bob@example.org>: Recipient address rejected: Improper use of SMTP command pipelining");
}

#define SERVICE_WANTED                                                                                                                     \
    "check_policy_service takes a service; write unix:/path, inet:127.0.0.1:port or inet:[::1]:port, with an address and no name"

static void wrong_rules_are_named(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"reject_everything", "there is no rule \"reject_everything\"; postino.conf(5) lists them"},
        {"reject now", "reject takes nothing behind it; write it alone"},
        {"reject now please", "reject has too many words behind it; each rule is a text of its own"},
        {"check_client_access /etc/x", "check_client_access takes a table; write hash:/path, btree:/path or cidr:/path"},
        {"check_client_access", "check_client_access takes a table; write hash:/path, btree:/path or cidr:/path"},
        {"check_policy_service inet:localhost:10023", SERVICE_WANTED},
        {"check_policy_service inet:127.0.0.1", SERVICE_WANTED},
        {"check_policy_service inet:127.0.0.1:0", SERVICE_WANTED},
        {"check_policy_service inet:127.0.0.1:65536", SERVICE_WANTED},
        {"check_policy_service inet:::1:10023", SERVICE_WANTED},
        {"check_policy_service inet:[127.0.0.1]:10023", SERVICE_WANTED},
        {"check_policy_service inet:[::1]", SERVICE_WANTED},
        {"check_policy_service inet:10023", SERVICE_WANTED},
        {"check_policy_service unix:relative", SERVICE_WANTED},
        {"check_policy_service /run/policy", SERVICE_WANTED},
        {"check_policy_service", SERVICE_WANTED},
        {"reject_rbl_client zen_.example..org", "\"zen_.example..org\" is no zone; write zen.spamhaus.org, zen.spamhaus.org=127.0.0.4"},
        {"reject_rbl_client a.example=127.0.0", "\"a.example=127.0.0\": behind = stand IPv4 addresses or networks; write 127.0.0.4, or "
                                                "127.0.0.2,127.0.0.8/30"},
        {"warn_if_reject", "there is no rule \"\"; postino.conf(5) lists them"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error error;
        struct strings s = strings_of((const char *const[]){wrong[i][0], NULL});
        assert_null(access_rules_new(&s, settings, &error));
        assert_string_equal(error.text, wrong[i][1]);
    }
}

/* ---- tables -------------------------------------------------------------------------------------------------------------------- */

static void rule_with(const char *words, const char *text)
{
    char rule[300];
    snprintf(rule, sizeof rule, "%s %s", words, table("t", text));
    USE(rule, "permit");
}

static void a_client_is_looked_for_by_name_and_network(void **state)
{
    (void)state;
    static const char *const keys[] = {"mail.sub.example.net",
                                       "sub.example.net",
                                       ".sub.example.net",
                                       "example.net",
                                       ".example.net",
                                       ".net",
                                       "192.0.2.7",
                                       "192.0.2",
                                       "192.0",
                                       "192"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s REJECT not you\n", keys[i]);
        rule_with("check_client_access", text);
        DECIDES("554 5.7.1 <mail.sub.example.net[192.0.2.7]>: Client host rejected: not you");
    }
    rule_with("check_client_access",
              "ail.sub.example.net REJECT\nple.net REJECT\n192.0.2.70 REJECT\n192.0.20 REJECT\n192.0.2.7.1 REJECT\n");
    DECIDES("250 by permit");
    facts.client = SPAN_LITERAL("2001:db8:1::7");
    rule_with("check_client_access", "2001:db8:1 REJECT\n");
    assert_true(strncmp(decision(), "554 5.7.1", 9) == 0);
}

static void a_cidr_table_is_read_as_it_is(void **state)
{
    (void)state;
    char rule[200];
    write_file("c", "# friends\n192.0.2.0/28 OK\n192.0.2.0/24\n  550 5.7.99 go away\n2001:db8::/32 REJECT\n");
    snprintf(rule, sizeof rule, "check_client_access cidr:%s/c", directory);
    USE(rule, "permit");
    assert_true(strncmp(decision(), "250 by check_client_access cidr:", 32) == 0);
    facts.client = SPAN_LITERAL("192.0.2.17");
    USE(rule, "permit");
    DECIDES("550 5.7.99 <mail.sub.example.net[192.0.2.17]>: Client host rejected: go away");
    facts.client = SPAN_LITERAL("198.51.100.1");
    USE(rule, "permit");
    DECIDES("250 by permit");
    write_file("c", "192.0.2.1/24 OK\n"); /* another set of rules opens it anew */
    USE(rule, "permit");
    DECIDES("451 4.3.5 <mail.sub.example.net[198.51.100.1]>: Server configuration error");
}

static void addresses_are_looked_for_whole_and_in_parts(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "ann+tag@sub.example.net", "ann@sub.example.net", "sub.example.net", ".example.net", "example.net", "ann@"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s REJECT\n", keys[i]);
        rule_with("check_sender_access", text);
        DECIDES("554 5.7.1 <ann+tag@Sub.Example.net>: Sender address rejected: Access denied");
    }
    facts.sender = SPAN_LITERAL("");
    rule_with("check_sender_access", "<> DEFER\n");
    DECIDES("450 4.7.1 <>: Sender address rejected: Try again later");
    rule_with("check_recipient_access", "bob@example.org 452 4.2.2 full\n");
    DECIDES("452 4.2.2 <bob@example.org>: Recipient address rejected: full");
    rule_with("check_helo_access", "example.net REJECT\n");
    DECIDES("554 5.7.1 <mail.example.net>: Helo command rejected: Access denied");
}

static void actions_are_those_of_access_5(void **state)
{
    (void)state;
    rule_with("check_recipient_access", "example.org OK\n");
    assert_true(strncmp(decision(), "250 by check_recipient_access", 29) == 0);
    rule_with("check_recipient_access", "example.org 1234\n");
    assert_true(strncmp(decision(), "250 by check_recipient_access", 29) == 0);
    rule_with("check_recipient_access", "example.org dunno\n");
    DECIDES("250 by permit");
    rule_with("check_recipient_access", "example.org HOLD for a look\n");
    DECIDES("250 by permit");
    assert_true(a.hold);
    assert_non_null(strstr(buf_text(&a.log), "/t\thold: <bob@example.org>: for a look\n"));
    rule_with("check_recipient_access", "example.org PREPEND X-Seen: yes\n");
    DECIDES("250 by permit");
    assert_string_equal(buf_text(&a.prepend), "X-Seen: yes\r\n");
    assert_non_null(strstr(buf_text(&a.log), "\tprepend: <bob@example.org>: X-Seen: yes\n"));
    rule_with("check_recipient_access", "example.org DEFER_IF_PERMIT\n");
    DECIDES("450 4.7.1 <bob@example.org>: Recipient address rejected: Try again later");
    assert_true(strncmp(buf_text(&a.rule), "check_recipient_access", 22) == 0);
    rule_with("check_recipient_access", "example.org WARN look here\n");
    DECIDES("250 by permit");
    assert_int_equal(strncmp(buf_text(&a.log), "check_recipient_access hash:", 28), 0);
    assert_non_null(strstr(buf_text(&a.log), "\twarn: <bob@example.org>: look here\n"));
    rule_with("check_recipient_access", "example.org 550 4.7.1 of another class\n");
    DECIDES("550 5.7.1 <bob@example.org>: Recipient address rejected: 4.7.1 of another class");
}

static void what_is_no_action_is_451(void **state)
{
    (void)state;
    static const char *const wrong[] = {"DISCARD", "FILTER x", "PREPEND no header", "PREPEND :", "250 fine", "650 x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[100];
        snprintf(text, sizeof text, "example.org %s\n", wrong[i]);
        rule_with("check_recipient_access", text);
        DECIDES("451 4.3.5 <bob@example.org>: Server configuration error");
    }
    USE("check_recipient_access hash:/nowhere/at/all", "permit");
    DECIDES("451 4.3.5 <bob@example.org>: Server configuration error");
}

/* ---- names --------------------------------------------------------------------------------------------------------------------- */

static void names_that_are_none_are_refused(void **state)
{
    (void)state;
    facts.name = SPAN_LITERAL("unknown");
    USE("reject_unknown_client_hostname");
    DECIDES("450 4.7.25 <192.0.2.7>: Client host rejected: cannot find your hostname");
    facts.helo = SPAN_LITERAL("$(id)");
    USE("reject_invalid_helo_hostname");
    DECIDES("501 5.5.2 <$(id)>: Helo command rejected: Invalid name");
    facts.helo = SPAN_LITERAL("localhost");
    USE("reject_invalid_helo_hostname", "reject_non_fqdn_helo_hostname");
    DECIDES("504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname");
    facts.helo = SPAN_LITERAL("[192.0.2.7]");
    USE("reject_invalid_helo_hostname", "reject_non_fqdn_helo_hostname", "reject_unknown_helo_hostname");
    DECIDES("250 by ");
    facts.sender = SPAN_LITERAL("ann@localhost");
    USE("reject_non_fqdn_sender");
    DECIDES("504 5.5.2 <ann@localhost>: Sender address rejected: need fully-qualified address");
    facts.sender = SPAN_LITERAL("");
    facts.recipient = SPAN_LITERAL("Postmaster");
    USE("reject_non_fqdn_sender", "reject_non_fqdn_recipient");
    DECIDES("250 by ");
    facts.recipient = SPAN_LITERAL("bob");
    USE("reject_non_fqdn_recipient");
    DECIDES("504 5.5.2 <bob>: Recipient address rejected: need fully-qualified address");
}

static void domains_that_take_no_mail_are_refused(void **state)
{
    (void)state;
    USE("reject_unknown_sender_domain", "permit");
    assert_int_equal(access_run(&a), ACCESS_ASK);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.questions[0].kind, ACCESS_ASK_MAIL);
    assert_string_equal(a.questions[0].name, "Sub.Example.net");
    assert_int_equal(access_run(&a), ACCESS_ASK); /* not answered yet */
    answer(0, ACCESS_NO, 0);
    DECIDES("550 5.1.8 <ann+tag@Sub.Example.net>: Sender address rejected: Domain not found");
    USE("reject_unknown_sender_domain", "permit");
    assert_int_equal(access_run(&a), ACCESS_ASK);
    answer(0, ACCESS_UNKNOWN, 0);
    DECIDES("450 4.1.8 <ann+tag@Sub.Example.net>: Sender address rejected: Domain not found");
    USE("reject_unknown_sender_domain", "reject_unknown_helo_hostname", "permit");
    assert_int_equal(access_run(&a), ACCESS_ASK);
    answer(0, ACCESS_YES, 0);
    assert_int_equal(access_run(&a), ACCESS_ASK);
    assert_string_equal(a.questions[0].name, "mail.example.net");
    answer(0, ACCESS_YES, 0);
    DECIDES("250 by permit");
}

/* ---- lists in DNS -------------------------------------------------------------------------------------------------------------- */

static void a_listed_client_is_refused(void **state)
{
    (void)state;
    USE("reject_rbl_client bl.example=127.0.0.2,127.0.0.8/30", "permit");
    assert_int_equal(access_run(&a), ACCESS_ASK);
    assert_string_equal(a.questions[0].name, "7.2.0.192.bl.example");
    answer(0, ACCESS_YES, 0x7f000009);
    DECIDES("554 5.7.1 <192.0.2.7>: Client host [192.0.2.7] blocked using bl.example");
    static const uint32_t others[] = {0x7f000003, 0x7f00000c, 0xc0000201};
    for (size_t i = 0; i < 3; i++) {
        USE("reject_rbl_client bl.example=127.0.0.2,127.0.0.8/30", "permit");
        assert_int_equal(access_run(&a), ACCESS_ASK);
        answer(0, ACCESS_YES, others[i]);
        DECIDES("250 by permit");
    }
    USE("reject_rbl_client bl.example", "permit");
    assert_int_equal(access_run(&a), ACCESS_ASK);
    answer(0, ACCESS_YES, 0xc0000201); /* a zone that is gone */
    DECIDES("250 by permit");
    facts.client = SPAN_LITERAL("2001:db8::7");
    USE("reject_rbl_client bl.example");
    assert_int_equal(access_run(&a), ACCESS_ASK);
    assert_string_equal(a.questions[0].name, "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example");
}

static void weights_add_up(void **state)
{
    (void)state;
    static char one[] = "a.example*2", two[] = "b.example", three[] = "allow.example*-5";
    static char *zones[] = {one, two, three};
    struct strings former = settings->dnsbl_zones;
    settings->dnsbl_zones = (struct strings){.n = 3, .v = zones};
    settings->dnsbl_threshold = 3;
    static const struct {
        bool listed[3], refused;
    } cases[] = {{{true, true, false}, true}, {{true, false, false}, false}, {{false, true, false}, false}, {{true, true, true}, false}};
    for (size_t i = 0; i < 4; i++) {
        USE("reject_dnsbl", "permit");
        assert_int_equal(access_run(&a), ACCESS_ASK);
        assert_int_equal(a.count, 3);
        for (size_t z = 0; z < 3; z++)
            answer(z, cases[i].listed[z] ? ACCESS_YES : z ? ACCESS_NO : ACCESS_UNKNOWN, 0x7f000002);
        if (cases[i].refused)
            DECIDES("554 5.7.1 <192.0.2.7>: Client host [192.0.2.7] blocked using a.example*2, b.example*1");
        else
            DECIDES("250 by permit");
    }
    access_free(&a);
    access_rules_free(rules);
    rules = NULL;
    settings->dnsbl_zones = former;
}

/* ---- policy services ----------------------------------------------------------------------------------------------------------- */

static void services_have_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int family;
        unsigned port;
    } good[] = {{"/run/policy", AF_UNIX, 0},
                {"127.0.0.1:10023", AF_INET, 10023},
                {"[::1]:65535", AF_INET6, 65535},
                {"[2001:db8::1]:1", AF_INET6, 1}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct sockaddr_storage address;
        socklen_t length;
        assert_true(access_service_address(span_of(good[i].text), &address, &length));
        assert_int_equal(address.ss_family, good[i].family);
        if (good[i].port)
            assert_int_equal(ntohs(((const struct sockaddr_in *)&address)->sin_port), good[i].port);
    }
    struct access_words words;
    struct error error;
    assert_int_equal(access_words_parse("check_policy_service inet:[::1]:10023", &words, &error), 0);
    assert_true(span_equal(words.argument, SPAN_LITERAL("[::1]:10023")));
}

static void a_policy_service_decides(void **state)
{
    (void)state;
    static const struct {
        enum access_answer answer;
        const char *words, *decision;
    } cases[] = {
        {ACCESS_YES, "DUNNO", "250 by permit"},
        {ACCESS_YES, "DEFER_IF_PERMIT 4.2.0 Greylisted", "450 4.2.0 <bob@example.org>: Recipient address rejected: Greylisted"},
        {ACCESS_YES, "550 no", "550 5.7.1 <bob@example.org>: Recipient address rejected: no"},
        {ACCESS_YES, "nonsense", "451 4.3.5 <bob@example.org>: Recipient address rejected: Server configuration problem"},
        {ACCESS_NO, "", "451 4.3.5 <bob@example.org>: Recipient address rejected: Server configuration problem"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        USE("check_policy_service unix:/run/policy", "permit");
        assert_int_equal(access_run(&a), ACCESS_ASK);
        assert_int_equal(a.questions[0].kind, ACCESS_ASK_POLICY);
        assert_string_equal(a.questions[0].name, "/run/policy");
        a.questions[0].answer = cases[i].answer;
        buf_add_text(&a.questions[0].words, cases[i].words);
        DECIDES(cases[i].decision);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(nothing_refuses_what_no_rule_speaks_of),
        T(the_first_rule_that_decides_ends_it),
        T(trusted_clients_and_logins_are_permitted),
        T(clients_with_certificates_are_permitted),
        T(warn_if_reject_only_logs),
        T(commands_out_of_turn),
        T(wrong_rules_are_named),
        T(a_client_is_looked_for_by_name_and_network),
        T(a_cidr_table_is_read_as_it_is),
        T(addresses_are_looked_for_whole_and_in_parts),
        T(actions_are_those_of_access_5),
        T(what_is_no_action_is_451),
        T(names_that_are_none_are_refused),
        T(domains_that_take_no_mail_are_refused),
        T(a_listed_client_is_refused),
        T(weights_add_up),
        T(services_have_addresses),
        T(a_policy_service_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
