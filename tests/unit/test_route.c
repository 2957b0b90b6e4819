#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/map.h"
#include "resolver/routing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the host ------------------------------------------------------------------------------------------------------------------ */

static char directory[64];
static struct settings *settings;
static struct routing *routing;
static bool users_fail;

static enum user_result user(const char *name, char canonical[USER_NAME])
{
    static const char *const names[] = {"ann", "bob", "carol", "dot+ty", "me"};
    if (users_fail)
        return USER_FAILED;
    if (strcmp(name, "root") == 0)
        return USER_ROOT;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            snprintf(canonical, USER_NAME, "%s", name);
            return USER_FOUND;
        }
    return USER_ABSENT;
}

static const struct setting *find_setting(const struct setting *table, size_t n, const char *section, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0 && (section == NULL || strcmp(table[i].section, section) == 0))
            return &table[i];
    fail_msg("no setting %s", name);
    return NULL;
}

static void assign(const struct setting *table, size_t n, const char *section, const char *name, void *object, const char *text)
{
    struct error error;
    assert_int_equal(setting_assign(find_setting(table, n, section, name), object, span_of(text), &error), 0);
}

static void set(const char *section, const char *name, const char *text)
{
    assign(settings_table, settings_count, section, name, settings, text);
}

static const char *map_spec(const char *name)
{
    static char spec[128];
    snprintf(spec, sizeof spec, "hash:%s/%s", directory, name);
    return spec;
}

static void add_domain(const char *title, const char *mailboxes)
{
    struct settings_domain *domain = settings_append(settings, SETTINGS_DOMAINS, span_of(title));
    assert_non_null(domain);
    assign(settings_domain_table, settings_domain_settings, NULL, "mailboxes", domain, mailboxes);
}

static void add_route(const char *title, const char *via, const char *tls)
{
    struct settings_route *route = settings_append(settings, SETTINGS_ROUTES, span_of(title));
    assert_non_null(route);
    if (via[0] != '\0')
        assign(settings_route_table, settings_route_settings, NULL, "via", route, via);
    assign(settings_route_table, settings_route_settings, NULL, "tls", route, tls);
}

static void build(const char *name, enum map_form form, const char *text)
{
    struct error error;
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    if (map_build(map_spec(name), form, NULL, &error) < 0)
        fail_msg("%s", error.text);
}

static const char aliases[] =
    "root: ann\nwebmaster: root\nteam: ann, Bob, \\carol, far@Elsewhere.example, ann\n"
    "bob: bob, carol\nring1: ring2\nring2: ring1\nprog: \"|/bin/x\"\nmixed: ann, nobody-here\ngone: nobody-here\n"
    "virtual: info@virtual.example\ntagged: ann+list\n\"john doe\": carol\nloop: loop@local.example\nabs: /var/mail/x\n"
    "d1: d2\nd2: d3\nd3: d4\nd4: ann\nmany: a1@e.example, a2@e.example, a3@e.example, a4@e.example\ntag+me: carol\nme: \\me\n"
    "again: bob, bob, team\nj\xc3\xb6rg: bob\nfrau: j\xc3\xb6rg@B\xc3\x9c"
    "CHER.example, info@b\xc3\xbc"
    "cher.example\n";
static const char mailboxes[] =
    "info@virtual.example people/info\nsales people/sales/\nann+x@virtual.example special\nann@virtual.example people/ann\n"
    "j\xc3\xb6rg@virtual.example people/j\xc3\xb6rg\n\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@\xd1\x80\xd1\x84.example "
    "people/ivan\n@xn--80a1acny.example all\n"
    "evil5@virtual.example \xc0\xae\xc0\xae/x\nevil1 /etc\nevil2 ../x\nevil3 a/../b\nevil4 a//b\n";

static int set_up(void **state)
{
    (void)state;
    struct error error;
    snprintf(directory, sizeof directory, "/tmp/test_route.XXXXXX");
    if (mkdtemp(directory) == NULL || chdir(directory) < 0)
        return -1;
    settings = settings_new();
    set("", "hostname", "mx.local.example");
    build("aliases", MAP_ALIASES, aliases);
    build("boxes", MAP_PLAIN, mailboxes);
    build("catch", MAP_PLAIN, "@catch.example everything\nann@catch.example ann\n");
    setting_clear(find_setting(settings_table, settings_count, "", "aliases"), settings);
    set("", "aliases", map_spec("aliases"));
    set("limit", "alias_depth", "3");
    set("", "relay_to", "backup.example");
    set("", "relay_to", ".below.example");
    add_domain("mx.local.example", "system");
    add_domain("local.example", "system");
    add_domain("virtual.example", map_spec("boxes"));
    add_domain("catch.example", map_spec("catch"));
    add_domain("broken.example", map_spec("not-there"));
    add_domain("xn--p1ai.example", map_spec("boxes"));
    add_domain("xn--80a1acny.example", map_spec("boxes"));
    add_route("xn--bcher-kva.example", "smtp:[10.0.0.9]", "may");
    add_route("exact.example", "smtp:[10.0.0.1]:2525", "verify");
    add_route(".example", "smtp:gate.example", "encrypt");
    add_route(".deep.example", "smtp:", "none");
    add_route("port.deep.example", "smtp::2526", "may");
    routing = routing_new(settings, user, &error);
    return routing == NULL;
}

static struct ruling ruled;

static const char *decide_as(const char *login, const char *sender)
{
    static char text[2048];
    struct message_rcpt q = {.login = span_of(login), .sender = span_of(sender), .recipient = span_of("ann@local.example")};
    routing_decide(routing, &q, &ruled);
    snprintf(text, sizeof text, "%u %s%s%s", ruled.code, ruled.status, ruled.rule ? " " : "", ruled.rule ? buf_text(&ruled.reply) : "");
    ruling_free(&ruled);
    return text;
}

static int own_senders(void **state)
{
    (void)state;
    struct error error;
    build("owners", MAP_PLAIN, "ann@local.example ann, team\nBob@Other.Example bob\n@whole.example carol ann\nann@whole.example nobody\n");
    routing_free(routing);
    set("", "sender_logins", map_spec("owners"));
    routing = routing_new(settings, user, &error);
    return routing == NULL;
}

static int anybody_s_senders(void **state)
{
    (void)state;
    struct error error;
    routing_free(routing);
    setting_clear(find_setting(settings_table, settings_count, "", "sender_logins"), settings);
    routing = routing_new(settings, user, &error);
    return routing == NULL;
}

static void a_login_sends_as_what_it_owns(void **state)
{
    (void)state;
    assert_string_equal(decide_as("ann", "ann@local.example"), "250 2.1.5");
    assert_string_equal(decide_as("team", "Ann@LOCAL.example"), "250 2.1.5");
    assert_string_equal(decide_as("ANN", "ann+tag@local.example"), "250 2.1.5");
    assert_string_equal(decide_as("bob", "bob@other.example"), "250 2.1.5");
    assert_string_equal(decide_as("carol", "anything@whole.example"), "250 2.1.5");
    assert_string_equal(decide_as("carol", "ann@whole.example"), "250 2.1.5");
    assert_string_equal(decide_as("ann", ""), "250 2.1.5");
    assert_string_equal(decide_as("", "ann@local.example"), "250 2.1.5");
    assert_string_equal(decide_as("bob", "ann@local.example"),
                        "553 5.7.1 <ann@local.example>: Sender address rejected: not owned by user bob");
    assert_string_equal(decide_as("tea", "ann@local.example"),
                        "553 5.7.1 <ann@local.example>: Sender address rejected: not owned by user tea");
    assert_string_equal(decide_as("ann", "x@unlisted.example"),
                        "553 5.7.1 <x@unlisted.example>: Sender address rejected: not owned by user ann");
    assert_string_equal(decide_as("ann", "x@sub.whole.example"),
                        "553 5.7.1 <x@sub.whole.example>: Sender address rejected: not owned by user ann");
}

static void owners_that_can_not_be_looked_up_are_no_refusal(void **state)
{
    (void)state;
    assert_int_equal(truncate("owners.db", 100), 0);
    routing_free(routing);
    struct error error;
    routing = routing_new(settings, user, &error);
    assert_string_equal(decide_as("ann", "ann@local.example"), "451 4.3.0");
    assert_string_equal(decide_as("", "ann@local.example"), "250 2.1.5");
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    routing_free(routing);
    settings_free(settings);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* ---- the decision as text: "250 2.1.5: address transport nexthop mailbox tls; ..." or "code status words" ---------------------- */

static struct message_rcpt question;

static const char *decide_with(const char *recipient)
{
    static char text[4096];
    struct ruling ruling;
    question.recipient = span_of(recipient);
    routing_decide(routing, &question, &ruling);
    int n = snprintf(text, sizeof text, "%u %s", ruling.code, ruling.status);
    if (ruling.code != 250)
        snprintf(text + n, sizeof text - (size_t)n, " %s", buf_text(&ruling.reply));
    struct list list = ruling.targets;
    struct record_recipient r;
    while (record_recipient_next(&list, &r))
        n += snprintf(text + n, sizeof text - (size_t)n, "; %.*s %.*s %.*s|%.*s|%.*s", SPAN_ARG(r.address), SPAN_ARG(r.transport),
                      SPAN_ARG(r.nexthop), SPAN_ARG(r.mailbox), SPAN_ARG(r.tls));
    ruling_free(&ruling);
    return text;
}

static const char *stranger(const char *recipient)
{
    question = (struct message_rcpt){.client = SPAN_LITERAL("192.0.2.77"), .helo = SPAN_LITERAL("x"), .sender = SPAN_LITERAL("s@far.test")};
    return decide_with(recipient);
}

static const char *insider(const char *recipient)
{
    question = (struct message_rcpt){.client = SPAN_LITERAL("127.0.0.1"), .sender = SPAN_LITERAL("s@far.test")};
    return decide_with(recipient);
}

#define LOCAL(address, user) "; " address " local local.example|" user "|"
#define HOME(address, user)  "; " address " local mx.local.example|" user "|"

static void users_get_mail(void **state)
{
    (void)state;
    assert_string_equal(stranger("ann@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
    assert_string_equal(stranger("Ann@LOCAL.Example"), "250 2.1.5" LOCAL("Ann@local.example", "ann"));
    assert_string_equal(stranger("\"ann\"@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
    assert_string_equal(stranger("nobody@local.example"), "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
    assert_string_equal(stranger("ann"), "250 2.1.5" HOME("ann@mx.local.example", "ann"));
}

static void tags_are_taken_off(void **state)
{
    (void)state;
    assert_string_equal(stranger("ann+list@local.example"), "250 2.1.5" LOCAL("ann+list@local.example", "ann"));
    assert_string_equal(stranger("dot+ty@local.example"), "250 2.1.5" LOCAL("dot+ty@local.example", "dot+ty"));
    assert_string_equal(stranger("tag+me@local.example"), "250 2.1.5" LOCAL("carol@local.example", "carol"));
    assert_string_equal(stranger("webmaster+x@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
    assert_string_equal(stranger("+x@local.example"), "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
}

static void aliases_are_expanded(void **state)
{
    (void)state;
    assert_string_equal(stranger("webmaster@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
    assert_string_equal(stranger("team@local.example"),
                        "250 2.1.5" LOCAL("ann@local.example", "ann") LOCAL("bob@local.example", "bob")
                            LOCAL("carol@local.example", "carol") "; far@elsewhere.example smtp gate.example||encrypt");
    assert_string_equal(stranger("bob@local.example"), "250 2.1.5" LOCAL("bob@local.example", "bob") LOCAL("carol@local.example", "carol"));
    assert_string_equal(stranger("me@local.example"), "250 2.1.5" LOCAL("me@local.example", "me"));
    assert_string_equal(stranger("virtual@local.example"), "250 2.1.5; info@virtual.example local virtual.example|people/info|");
    assert_string_equal(stranger("tagged@local.example"), "250 2.1.5" LOCAL("ann+list@local.example", "ann"));
    assert_string_equal(stranger("\"John Doe\"@local.example"), "250 2.1.5" LOCAL("carol@local.example", "carol"));
    assert_non_null(strstr(stranger("again@local.example"), "carol@local.example local"));
}

static void what_an_alias_can_not_reach_is_reported_and_not_lost(void **state)
{
    (void)state;
    assert_string_equal(stranger("mixed@local.example"),
                        "250 2.1.5" LOCAL("ann@local.example", "ann") "; nobody-here error 5.1.1 User unknown in local recipient table||");
    assert_string_equal(stranger("gone@local.example"), "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
}

static void broken_aliases_hold_mail_back(void **state)
{
    (void)state;
    const char *names[] = {"ring1", "ring2", "loop", "prog", "abs", "d1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char address[64], want[128];
        snprintf(address, sizeof address, "%s@local.example", names[i]);
        snprintf(want, sizeof want, "451 4.3.5 Server configuration error");
        assert_string_equal(stranger(address), want);
    }
    assert_string_equal(stranger("d2@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
    settings->limit_alias_recipients = 3;
    assert_string_equal(stranger("many@local.example"), "451 4.3.5 Server configuration error");
    settings->limit_alias_recipients = 4;
    assert_int_equal(strncmp(stranger("many@local.example"), "250", 3), 0);
    settings->limit_alias_recipients = 1000;
}

static void roles_are_root_s(void **state)
{
    (void)state;
    assert_string_equal(stranger("postmaster"), "250 2.1.5" HOME("ann@mx.local.example", "ann"));
    assert_string_equal(stranger("PostMaster@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
    assert_string_equal(stranger("abuse@virtual.example"), "250 2.1.5" HOME("ann@mx.local.example", "ann"));
    assert_string_equal(stranger("mailer-daemon+x@local.example"), "250 2.1.5" LOCAL("ann@local.example", "ann"));
}

static void root_without_an_alias_waits_for_the_administrator(void **state)
{
    (void)state;
    struct error error;
    build("aliases", MAP_ALIASES, "other: ann\n");
    routing_free(routing);
    routing = routing_new(settings, user, &error);
    assert_string_equal(stranger("root@local.example"),
                        "451 4.3.5 Server configuration error: nobody reads this mailbox yet");
    assert_int_equal(strncmp(stranger("postmaster"), "451 4.3.5", 9), 0);
    build("aliases", MAP_ALIASES, aliases);
    routing_free(routing);
    routing = routing_new(settings, user, &error);
    assert_int_equal(strncmp(stranger("root@local.example"), "250", 3), 0);
}

static void a_map_of_mailboxes_is_searched_from_address_to_domain(void **state)
{
    (void)state;
    assert_string_equal(stranger("info@virtual.example"), "250 2.1.5; info@virtual.example local virtual.example|people/info|");
    assert_string_equal(stranger("SALES@virtual.example"), "250 2.1.5; SALES@virtual.example local virtual.example|people/sales|");
    assert_string_equal(stranger("ann+x@virtual.example"), "250 2.1.5; ann+x@virtual.example local virtual.example|special|");
    assert_string_equal(stranger("ann+y@virtual.example"), "250 2.1.5; ann+y@virtual.example local virtual.example|people/ann|");
    assert_string_equal(stranger("bob@virtual.example"), "550 5.1.1 Recipient address rejected: User unknown in virtual mailbox table");
    assert_string_equal(stranger("who@catch.example"), "250 2.1.5; who@catch.example local catch.example|everything|");
    assert_string_equal(stranger("ann@catch.example"), "250 2.1.5; ann@catch.example local catch.example|ann|");
}

static void mailboxes_stay_below_their_directory(void **state)
{
    (void)state;
    for (int i = 1; i <= 4; i++) {
        char address[64], want[128];
        snprintf(address, sizeof address, "evil%d@virtual.example", i);
        snprintf(want, sizeof want, "451 4.3.5 Server configuration error");
        assert_string_equal(stranger(address), want);
    }
}

static void what_can_not_be_asked_is_temporary(void **state)
{
    (void)state;
    assert_string_equal(stranger("ann@broken.example"), "451 4.3.0 Temporary lookup failure");
    users_fail = true;
    assert_string_equal(stranger("nobody@local.example"), "451 4.3.0 Temporary lookup failure");
    users_fail = false;
}

static void strangers_may_not_relay(void **state)
{
    (void)state;
    assert_string_equal(stranger("x@far.test"), "554 5.7.1 Relay access denied");
    assert_string_equal(stranger("x@[192.0.2.9]"), "554 5.7.1 Relay access denied");
    assert_string_equal(stranger("x%far.test@local.example"),
                        "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
    assert_string_equal(stranger("far.test!x@local.example"),
                        "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
    assert_string_equal(stranger("\"x@far.test\"@local.example"),
                        "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
    assert_string_equal(stranger("x y@far.test"), "501 5.1.3 Bad recipient address syntax");
    assert_string_equal(stranger("@far.test"), "501 5.1.3 Bad recipient address syntax");
    assert_string_equal(stranger(""), "501 5.1.3 Bad recipient address syntax");
}

static void some_may_relay(void **state)
{
    (void)state;
    const char *want = "250 2.1.5; x@far.test smtp far.test||dane";
    assert_string_equal(insider("x@Far.Test"), want);
    question = (struct message_rcpt){.client = SPAN_LITERAL("192.0.2.77"), .login = SPAN_LITERAL("ann")};
    assert_string_equal(decide_with("x@far.test"), want);
    question = (struct message_rcpt){.may_relay = 1};
    assert_string_equal(decide_with("x@far.test"), want);
    question = (struct message_rcpt){.client = SPAN_LITERAL("::ffff:127.0.0.1")};
    assert_string_equal(decide_with("x@far.test"), want);
    assert_string_equal(insider("x@[192.0.2.9]"), "250 2.1.5; x@[192.0.2.9] smtp [192.0.2.9]||dane");
    assert_string_equal(stranger("x@backup.example"), "250 2.1.5; x@backup.example smtp gate.example||encrypt");
    assert_string_equal(stranger("x%y@backup.example"), "554 5.7.1 Relay access denied");
    assert_string_equal(stranger("x@sub.backup.example"), "554 5.7.1 Relay access denied");
    assert_string_equal(stranger("x@a.below.example"), "250 2.1.5; x@a.below.example smtp gate.example||encrypt");
    assert_string_equal(stranger("x@below.example"), "554 5.7.1 Relay access denied");
}

static int own_recipients(void **state)
{
    (void)state;
    struct error error;
    build("known", MAP_PLAIN, "ann@backup.example x\n@all.below.example x\nx@far.test x\n\xc3\xa9@backup.example x\n");
    routing_free(routing);
    set("", "relay_recipients", map_spec("known"));
    routing = routing_new(settings, user, &error);
    return routing == NULL;
}

static int anybody_s_recipients(void **state)
{
    (void)state;
    struct error error;
    routing_free(routing);
    setting_clear(find_setting(settings_table, settings_count, "", "relay_recipients"), settings);
    routing = routing_new(settings, user, &error);
    return routing == NULL;
}

static void relayed_domains_have_the_recipients_of_their_maps(void **state)
{
    (void)state;
    const char *unknown = "550 5.1.1 Recipient address rejected: User unknown in relay recipient table";
    assert_string_equal(stranger("Ann@Backup.Example"), "250 2.1.5; Ann@backup.example smtp gate.example||encrypt");
    assert_int_equal(strncmp(stranger("ann+tag@backup.example"), "250 ", 4), 0);
    assert_int_equal(strncmp(stranger("\xc3\x89@backup.example"), "550 ", 4), 0); /* another letter: only those of ASCII have no case */
    assert_int_equal(strncmp(stranger("e\xcc\x81@backup.example"), "250 ", 4), 0);
    assert_int_equal(strncmp(stranger("anybody@all.below.example"), "250 ", 4), 0);
    assert_int_equal(strncmp(stranger("postmaster@backup.example"), "250 ", 4), 0);
    assert_string_equal(stranger("bob@backup.example"), unknown);
    assert_string_equal(insider("bob@backup.example"), unknown);
    assert_string_equal(stranger("ann@other.below.example"), unknown);
    assert_string_equal(stranger("x@far.test"), "554 5.7.1 Relay access denied"); /* a map lets nobody relay */
    assert_int_equal(strncmp(insider("y@far.test"), "250 ", 4), 0);
}

static void recipients_that_can_not_be_looked_up_are_no_refusal(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(truncate("known.db", 100), 0);
    routing_free(routing);
    routing = routing_new(settings, user, &error);
    assert_string_equal(stranger("ann@backup.example"), "451 4.3.0 Temporary lookup failure");
}

static void the_longest_route_wins(void **state)
{
    (void)state;
    assert_string_equal(insider("x@exact.example"), "250 2.1.5; x@exact.example smtp [10.0.0.1]:2525||verify");
    assert_string_equal(insider("x@other.example"), "250 2.1.5; x@other.example smtp gate.example||encrypt");
    assert_string_equal(insider("x@a.deep.example"), "250 2.1.5; x@a.deep.example smtp a.deep.example||none");
    assert_string_equal(insider("x@port.deep.example"), "250 2.1.5; x@port.deep.example smtp port.deep.example:2526||may");
    assert_string_equal(insider("x@deep.example"), "250 2.1.5; x@deep.example smtp gate.example||encrypt");
    assert_string_equal(insider("x@example"), "250 2.1.5; x@example smtp example||dane");
    assert_string_equal(insider("\303\274@b\303\274cher.test"), "250 2.1.5; \303\274@b\303\274cher.test smtp xn--bcher-kva.test||dane");
}

/* Checked as any other, and known to the server by their addresses; what is no path is no matter then. */
static void an_lmtp_server_gets_mail_by_address(void **state)
{
    (void)state;
    struct error error;
    static const char *const added[][2] = {{"stored.example", "lmtp:unix:/run/lmtp"}, {"away.example", "lmtp:[192.0.2.9]:24"}};
    routing_free(routing);
    build("stored", MAP_PLAIN, "info@stored.example ../x\nx@away.example /\n");
    for (size_t i = 0; i < 2; i++) {
        add_domain(added[i][0], map_spec("stored"));
        assign(settings_domain_table, settings_domain_settings, NULL, "deliver", &settings->domains[settings->domain_count - 1],
               added[i][1]);
    }
    assign(settings_domain_table, settings_domain_settings, NULL, "deliver", &settings->domains[1],
           "lmtp:unix:/run/lmtp"); /* local.example */
    add_route("gate.lmtp.example", "lmtp:[mail.example]:2424", "verify");
    add_route("socket.lmtp.example", "lmtp:unix:/run/a/b", "dane");
    add_route("first.example", "smtps:[smart.example]", "verify");
    add_route("port.first.example", "smtps:[192.0.2.8]:4650", "encrypt");
    routing = routing_new(settings, user, &error);
    assert_string_equal(stranger("info+tag@stored.example"), "250 2.1.5; info+tag@stored.example lmtp unix:/run/lmtp||none");
    assert_string_equal(stranger("no@stored.example"), "550 5.1.1 Recipient address rejected: User unknown in virtual mailbox table");
    assert_string_equal(stranger("x@away.example"), "250 2.1.5; x@away.example lmtp [192.0.2.9]:24||dane");
    assert_string_equal(stranger("ann+a@local.example"), "250 2.1.5; ann+a@local.example lmtp unix:/run/lmtp||none");
    assert_string_equal(stranger("nobody@local.example"), "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
    assert_string_equal(insider("x@gate.lmtp.example"), "250 2.1.5; x@gate.lmtp.example lmtp [mail.example]:2424||verify");
    assert_string_equal(insider("x@socket.lmtp.example"), "250 2.1.5; x@socket.lmtp.example lmtp unix:/run/a/b||none");
    assert_string_equal(stranger("x@socket.lmtp.example"), "554 5.7.1 Relay access denied");
    assert_string_equal(insider("x@first.example"), "250 2.1.5; x@first.example smtps [smart.example]||verify");
    assert_string_equal(insider("x@port.first.example"), "250 2.1.5; x@port.first.example smtps [192.0.2.8]:4650||encrypt");
    assign(settings_domain_table, settings_domain_settings, NULL, "deliver", &settings->domains[1], "maildir");
}

static void domains_are_compared_as_a_labels(void **state)
{
    (void)state;
    static const char ivan[] = "\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@\xd1\x80\xd1\x84.example";
    assert_string_equal(stranger(ivan),
                        "250 2.1.5; \xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@\xd1\x80\xd1\x84.example local xn--p1ai.example|people/ivan|");
    assert_string_equal(stranger("\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@XN--p1ai.example"),
                        "250 2.1.5; \xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd@xn--p1ai.example local xn--p1ai.example|people/ivan|");
    assert_string_equal(stranger("any@\xd0\xbf\xd0\xbe\xd1\x87\xd1\x82\xd0\xb0.example"),
                        "250 2.1.5; any@xn--80a1acny.example local xn--80a1acny.example|all|");
    assert_string_equal(insider("a@B\xc3\x9c"
                                "CHER.example"),
                        "250 2.1.5; a@xn--bcher-kva.example smtp [10.0.0.9]||may");
    assert_string_equal(stranger("a@b\xc3\xbc"
                                 "cher.example"),
                        "554 5.7.1 Relay access denied");
    assert_string_equal(insider("a@xn--\xc3\xbc.example"), "501 5.1.3 Bad recipient address syntax");
}

static const char *sender(const char *said)
{
    static struct buf out = BUF_EMPTY(1024);
    buf_clear(&out);
    routing_sender(span_of(said), &out);
    return buf_text(&out);
}

static void a_sender_whose_domain_alone_is_beyond_ascii_goes_on_with_a_labels(void **state)
{
    (void)state;
    assert_string_equal(sender("a@B\303\274cher.example"), "a@xn--bcher-kva.example");
    assert_string_equal(sender("\"a@b\"@\xd1\x80\xd1\x84.example"), "\"a@b\"@xn--p1ai.example");
    static const char *const as_said[] = {"",
                                          "a",
                                          "a@",
                                          "a@b.example",
                                          "\xc3\xbc@xn--bcher-kva.example",
                                          "\303\274@b\303\274cher.example",
                                          "a@xn--\xc3\xbc.example",
                                          "a@\xff.example"};
    for (size_t i = 0; i < sizeof as_said / sizeof *as_said; i++)
        assert_string_equal(sender(as_said[i]), "");
}

static void local_parts_are_looked_up_in_nfc(void **state)
{
    (void)state;
    assert_string_equal(stranger("J\xc3\xb6RG@local.example"),
                        "250 2.1.5; bob@local.example local local.example|bob|; carol@local.example local local.example|carol|");
    assert_string_equal(stranger("jo\xcc\x88rg@virtual.example"),
                        "250 2.1.5; jo\xcc\x88rg@virtual.example local virtual.example|people/j\xc3\xb6rg|");
    assert_string_equal(stranger("j\xc3\x96rg@local.example"),
                        "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
    assert_string_equal(stranger("frau@local.example"),
                        "250 2.1.5; j\xc3\xb6rg@b\xc3\x9c"
                        "cher.example smtp [10.0.0.9]||may; info@xn--bcher-kva.example smtp [10.0.0.9]||may");
}

/* The bytes of an overlong ".." are a name like any other to the kernel. */
static void utf8_is_no_way_out_of_a_directory(void **state)
{
    (void)state;
    assert_string_equal(stranger("evil5@virtual.example"), "250 2.1.5; evil5@virtual.example local virtual.example|\xc0\xae\xc0\xae/x|");
    assert_string_equal(stranger("\xef\xbc\x8e\xef\xbc\x8e\xef\xbc\x8f"
                                 "ann@local.example"),
                        "550 5.1.1 Recipient address rejected: User unknown in local recipient table");
}

static void clients_are_told_apart(void **state)
{
    (void)state;
    assert_true(routing_client_may_relay(routing, SPAN_LITERAL("127.9.9.9")));
    assert_true(routing_client_may_relay(routing, SPAN_LITERAL("::1")));
    assert_false(routing_client_may_relay(routing, SPAN_LITERAL("192.0.2.1")));
    assert_false(routing_client_may_relay(routing, SPAN_LITERAL("")));
    assert_false(routing_client_may_relay(routing, SPAN_LITERAL("localhost")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_get_mail),
        cmocka_unit_test(tags_are_taken_off),
        cmocka_unit_test(aliases_are_expanded),
        cmocka_unit_test(what_an_alias_can_not_reach_is_reported_and_not_lost),
        cmocka_unit_test(broken_aliases_hold_mail_back),
        cmocka_unit_test(roles_are_root_s),
        cmocka_unit_test(root_without_an_alias_waits_for_the_administrator),
        cmocka_unit_test(a_map_of_mailboxes_is_searched_from_address_to_domain),
        cmocka_unit_test(mailboxes_stay_below_their_directory),
        cmocka_unit_test(what_can_not_be_asked_is_temporary),
        cmocka_unit_test(strangers_may_not_relay),
        cmocka_unit_test(some_may_relay),
        cmocka_unit_test(the_longest_route_wins),
        cmocka_unit_test(an_lmtp_server_gets_mail_by_address),
        cmocka_unit_test(domains_are_compared_as_a_labels),
        cmocka_unit_test(a_sender_whose_domain_alone_is_beyond_ascii_goes_on_with_a_labels),
        cmocka_unit_test(local_parts_are_looked_up_in_nfc),
        cmocka_unit_test(utf8_is_no_way_out_of_a_directory),
        cmocka_unit_test(clients_are_told_apart),
        cmocka_unit_test_setup_teardown(relayed_domains_have_the_recipients_of_their_maps, own_recipients, anybody_s_recipients),
        cmocka_unit_test_setup_teardown(recipients_that_can_not_be_looked_up_are_no_refusal, own_recipients, anybody_s_recipients),
        cmocka_unit_test_setup_teardown(a_login_sends_as_what_it_owns, own_senders, anybody_s_senders),
        cmocka_unit_test_setup_teardown(owners_that_can_not_be_looked_up_are_no_refusal, own_senders, anybody_s_senders),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
