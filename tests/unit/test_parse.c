/* postino.conf: what is taken, and what is said about what is not. */
#include "conf/parse.h"
#include "conf/places.h"
#include "conf/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/test_parse.XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct settings *parse(const char *text, struct report *r)
{
    *r = (struct report){0};
    write_file(text);
    return parse_file(path, PARSE_FILE, r);
}

static struct settings *parse_good(const char *text)
{
    struct report r;
    struct settings *s = parse(text, &r);
    if (!s || r.error_count || r.warning_count)
        fail_msg("%s%s", buf_text(&r.errors), buf_text(&r.warnings));
    report_free(&r);
    return s;
}

/* ---- what is taken ------------------------------------------------------------------------------------------------------------- */

static void one_line_makes_a_host(void **state)
{
    (void)state;
    struct settings *s = parse_good("hostname = \"Mx1.example.org\"\n");
    assert_string_equal(s->hostname, "Mx1.example.org");
    assert_int_equal(s->listener_count, 1);
    assert_string_equal(s->listeners[0].title, "smtp");
    assert_int_equal(s->listeners[0].port, 25);
    assert_int_equal(s->listeners[0].tls, LISTENER_TLS_MAY);
    assert_int_equal(s->listeners[0].auth, LISTENER_AUTH_NONE);
    assert_int_equal(s->domain_count, 2);
    assert_string_equal(s->domains[0].title, "mx1.example.org");
    assert_string_equal(s->domains[0].mailboxes, "system");
    assert_string_equal(s->domains[1].title, "localhost");
    settings_free(s);
}

static void all_of_the_grammar_is_taken(void **state)
{
    (void)state;
    struct settings *s =
        parse_good("# a comment; with \"quotes' and {braces\n"
                   "hostname = mx1.example.org // bare words need no quotes\n"
                   "/* over\n * lines */ relay_from = { \"10.0.0.0/8\", # the office\n  '2001:db8::/32', 192.0.2.1 }\n"
                   "relay_to=backup.example\n"
                   "password_file = /etc/a//b\n"
                   "admins += { alice }\n admins += bob\n"
                   "aliases = {}\n"
                   "limit { message_size = 10M hops = 20 } limit { errors = 3 }\n"
                   "queue { lifetime = 2d }\r\n"
                   "dns { server = { 192.0.2.53, \"2001:db8::53@5353\" } client_names = off }\n"
                   "tls { certificate = /c.pem key = /k.pem }\n"
                   "listener \"smtp\" { }\n"
                   "listener submission { port = 587 tls = required auth = required address = { 192.0.2.1, \"::1\" } }\n"
                   "domain \"Example.ORG\" { mailboxes = \"hash:/etc/postino/boxes\" directory = /var/vmail owner = vmail }\n"
                   "route \"*\" { via = \"smtp:[relay.example]:587\" tls = verify }\n"
                   "route .internal.example { via = \"smtp:[2001:db8::1]\" }\n");
    assert_string_equal(s->hostname, "mx1.example.org");
    assert_int_equal(s->relay_from.n, 3);
    assert_string_equal(s->relay_from.v[1], "2001:db8::/32");
    assert_int_equal(s->relay_to.n, 1);
    assert_string_equal(s->password_file, "/etc/a//b");
    assert_int_equal(s->admins.n, 2);
    assert_string_equal(s->admins.v[1], "bob");
    assert_int_equal(s->aliases.n, 0);
    assert_int_equal(s->limit_message_size, 10u << 20);
    assert_int_equal(s->limit_hops, 20);
    assert_int_equal(s->limit_errors, 3);
    assert_int_equal(s->queue_lifetime, 2 * 86400);
    assert_int_equal(s->dns_server.n, 2);
    assert_false(s->dns_client_names);
    assert_int_equal(s->listener_count, 2);
    assert_int_equal(s->listeners[1].port, 587);
    assert_int_equal(s->listeners[1].auth, LISTENER_AUTH_REQUIRED);
    assert_int_equal(s->listeners[1].address.n, 2);
    assert_int_equal(s->domain_count, 3);
    assert_string_equal(s->domains[0].title, "example.org");
    assert_string_equal(s->domains[0].owner, "vmail");
    assert_int_equal(s->route_count, 2);
    assert_string_equal(s->routes[0].title, "*");
    assert_int_equal(s->routes[0].tls, TLSPOLICY_VERIFY);
    settings_free(s);
}

static void limits_are_given_or_not(void **state)
{
    (void)state;
    struct settings *s = parse_good("hostname = a.example\nqueue { active = 7 site_rate = 60 }\n"
                                    "route \"*\" { via = \"smtp:[hub.example]\" sessions = 3 }\nroute b.org { via = \"smtp:\" }\n"
                                    "site MX.Example.net { rate = 0 session_messages = 9 }\nsite \"2001:db8::1\" { rate = 1 }\n"
                                    "site 192.0.2.1 { sessions = 1000 }\n");
    assert_true(s->queue_active == 7 && s->queue_site_rate == 60);
    assert_true(s->routes[0].sessions == 3 && s->routes[0].rate == SETTING_NOT_GIVEN && s->routes[1].sessions == SETTING_NOT_GIVEN);
    assert_int_equal(s->site_count, 3);
    assert_string_equal(s->sites[0].title, "mx.example.net");
    assert_true(s->sites[0].rate == 0 && s->sites[0].sessions == SETTING_NOT_GIVEN && s->sites[0].session_messages == 9);
    assert_true(s->sites[2].sessions == 1000);
    settings_free(s);
}

static void sources_and_who_names_them(void **state)
{
    (void)state;
    struct settings *s =
        parse_good("hostname = a.example\nsource Out1 { address = { \"192.0.2.1\", \"2001:db8::1\" } hostname = out1.example }\n"
                   "source out2 { address = 192.0.2.2 }\nremote { sources = { \"Out1 3\", out2 } }\n"
                   "route \"*\" { via = \"smtp:\" sources = { \"out2  1000\" } }\nroute b.org { via = \"smtp:\" }\n");
    unsigned weight = 0;
    assert_int_equal(s->source_count, 2);
    assert_ptr_equal(pool_of(s, NULL), &s->remote_sources);
    assert_ptr_equal(pool_of(s, &s->routes[1]), &s->remote_sources);
    assert_ptr_equal(pool_source(s, pool_of(s, NULL), 0, &weight), &s->sources[0]);
    assert_int_equal(weight, 3);
    assert_ptr_equal(pool_source(s, pool_of(s, &s->routes[0]), 0, &weight), &s->sources[1]);
    assert_int_equal(weight, 1000);
    settings_free(s);
}

static void a_list_is_replaced_by_equal_and_lengthened_by_plus(void **state)
{
    (void)state;
    struct settings *s = parse_good("hostname = a.example\nrelay_from += { 10.0.0.0/8 }\n");
    assert_int_equal(s->relay_from.n, 3);
    assert_string_equal(s->relay_from.v[0], "127.0.0.0/8");
    assert_string_equal(s->relay_from.v[2], "10.0.0.0/8");
    settings_free(s);
    s = parse_good("hostname = a.example\nrelay_from = 10.0.0.0/8\n");
    assert_int_equal(s->relay_from.n, 1);
    settings_free(s);
    s = parse_good("hostname = a.example\nrelay_from = {}\n");
    assert_int_equal(s->relay_from.n, 0);
    settings_free(s);
}

static void own_name_stays_out_where_the_file_speaks_of_it(void **state)
{
    (void)state;
    struct settings *s = parse_good("hostname = a.example\nroute \"A.example\" { via = \"smtp:[hub.example]\" }\nrelay_to = localhost\n");
    assert_int_equal(s->domain_count, 0);
    settings_free(s);
    s = parse_good("hostname = a.example\ndomain A.example { maildir = Mail/in }\n");
    assert_int_equal(s->domain_count, 2);
    assert_string_equal(s->domains[0].maildir, "Mail/in");
    settings_free(s);
}

static void every_via_form_is_taken(void **state)
{
    (void)state;
    static const char *const forms[] = {"smtp:",
                                        "smtp::2525",
                                        "smtp:example.net",
                                        "smtp:example.net:2525",
                                        "smtp:[mx.example.net]",
                                        "smtp:[mx.x.y]:1",
                                        "smtp:[192.0.2.1]:25",
                                        "smtp:[IPv6:2001:db8::1]",
                                        "smtp:[2001:db8::1]:65535",
                                        "smtps:[mail.example.net]",
                                        "smtps:[mail.example.net]:4650",
                                        "smtps:[192.0.2.1]",
                                        "smtps:[IPv6:2001:db8::1]:465",
                                        "smtps:[2001:db8::1]",
                                        "lmtp:unix:/run/dovecot/lmtp",
                                        "lmtp:[127.0.0.1]:24",
                                        "lmtp:[mail.example.net]:2424",
                                        "lmtp:[2001:db8::1]:24"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "hostname = a.example\nroute \"*\" { via = \"%s\" }\n", forms[i]);
        struct settings *s = parse_good(text);
        assert_string_equal(s->routes[0].via, forms[i]);
        settings_free(s);
    }
}

static void the_environment_has_no_say(void **state)
{
    (void)state;
    struct report r;
    setenv("LANGUAGE", "sv", 1);
    setenv("LC_ALL", "sv_SE.UTF-8", 1);
    assert_null(parse("hostname = a.example\nfoo = 1\n", &r));
    assert_non_null(strstr(buf_text(&r.errors), "there is no setting foo"));
    assert_string_equal(getenv("LANGUAGE"), "sv");
    report_free(&r);
}

static void given_settings_are_counted(void **state)
{
    (void)state;
    struct report r;
    struct settings *s =
        parse("hostname = a.example\nrelay_from = { 10.0.0.0/8, 192.0.2.1 }\nlistener a { port = 26 }\nlistener b { port = 27 }\n", &r);
    assert_int_equal(r.given, 4);
    settings_free(s);
    report_free(&r);
}

static void check_file(const char *name, const char *more)
{
    char text[8192] = "";
    FILE *f = fopen(name, "r");
    if (!f)
        fail_msg("%s can't be opened; run the tests from the top of the source", name);
    size_t n = fread(text, 1, sizeof text - 200, f);
    fclose(f);
    snprintf(text + n, 200, "%s", more);
    settings_free(parse_good(text));
}

static void the_files_that_we_hand_out_are_good(void **state)
{
    (void)state;
    check_file("conf/examples/three-lines.conf", "");
    check_file("conf/examples/domain.conf", "");
    check_file("conf/examples/satellite.conf", "");
    check_file("conf/examples/relay.conf", "");
}

/* ---- what is refused ----------------------------------------------------------------------------------------------------------- */

/* The first word that is not blank must stand in a line "path:LINE: ..." of the errors; so must all others, separated by "|". */
struct wrong {
    const char *text;
    unsigned line;
    const char *words;
    size_t errors; /* 0: 1 */
};

#define H   "hostname = a.example\n"
#define TLS "tls { certificate = /c key = /k }\n"

#define LOGIN_A "login a { user = u secret = /s }\n"
static const struct wrong wrongs[] = {
    /* names */
    {H "mesage_size = 10M\n", 2, "no setting mesage_size", 0},
    {H "\nhostnam = x\n", 3, "no setting hostnam|did you mean hostname?", 0},
    {H "message_size = 10M\n", 2, "message_size is a setting of limit { }", 0},
    {H "limit {\n hostname = b.example\n}\n", 3, "limit { } has no setting hostname|outside of sections", 0},
    {H "limit {\n mesage_size = 10M\n}\n", 3, "limit { } has no setting mesage_size|did you mean message_size?", 0},
    {H "listner \"a\" {\n port = 3\n}\n", 2, "no section listner|did you mean listener?", 0},
    {H "quue { lifetime = 2d }\n", 2, "no section quue|queue", 0},
    {H "listener \"a\" { prot = 26 }\n", 2, "listener { } has no setting prot|port", 0},
    {H "zzzzzzzzzzzz = {}\n", 2, "no setting zzzzzzzzzzzz|postino.conf(5)", 0},
    {H "zzzzzzzzzzzz = { a, b,\n c }\n", 2, "no setting zzzzzzzzzzzz", 0},
    {H "zzz1 = 1\nzzz2 { a = 1 b = { 2, 3 } }\nzzz3 \"t\" { c = 1 }\nlimit { hops = x }\n", 5, "hops is not a number", 4},
    {H "listener \"a\" {\n limit { hops = 20 }\n}\n", 3, "sections don't nest", 0},
    {H "foo|bar = 3\n", 2, "no setting", 0},
    /* values */
    {H "limit { message_size = 10Q }\n", 2, "message_size is not a size|50M", 0},
    {H "limit {\n hops = 3\n errors = 0 }\n", 3, "hops is out of range|5 to 1000", 2},
    {H "limit { hops = 20 }\nlimit { hops = 21 }\n", 3, "second time", 0},
    {H "hostname = b.example\n", 2, "second time", 0},
    {H "relay_from = ::1\nrelay_from = ::2\n", 3, "second time", 0},
    {H "relay_from = {\n 10.0.0.0/8,\n 10.0.0.0/33,\n 300.1.1.1 }\n", 4, "10.0.0.0/33|is not a network", 2},
    {H "access = { permit_mynetworks,\n\"reject_all\" }\n", 3, "access \"reject_all\": there is no rule|postino.conf(5)", 0},
    {H "access = \"check_client_access /etc/c\"\n", 2, "takes a table; write hash:/path, btree:/path or cidr:/path", 0},
    {H "listener \"smtp\" {\nport = 25\naccess = \"reject now\"\n}\n", 4, "takes nothing behind it", 0},
    {H "dnsbl { zones = { \"bl.example*0\" } }\n", 2, "is not a weight", 0},
    {H "dnsbl { threshold = 0 }\n", 2, "threshold", 0},
    {H "relay_to = \"exa mple\"\n", 2, "exa mple|not a domain", 0},
    {H "sender_logins = /etc/senders\n", 2, "/etc/senders|not a map|hash:", 0},
    {H "auth { mechanisms = { PLAIN, CRAM-MD5 } }\n", 2, "CRAM-MD5|not a mechanism that is known here|SCRAM-SHA-256", 0},
    {H "auth { mechanisms = XOAUTH2 }\n", 2, "XOAUTH2|a password file can do|dovecot", 0},
    {H "auth { backend = pam mechanisms = SCRAM-SHA-256 }\n", 2, "SCRAM-SHA-256|PAM can do", 0},
    {H "aliases = /etc/aliases\n", 2, "/etc/aliases|not a map|hash:", 0},
    {H "aliases = \"hash:aliases\"\n", 2, "not a map", 0},
    {H "password_file = passwd\n", 2, "not an absolute path", 0},
    {H "recipient_delimiter = \"a\"\n", 2, "can't part", 0},
    {H "recipient_delimiter = \"@\"\n", 2, "can't part", 0},
    {H "tlsrpt { from = \"reports\" }\n", 2, "no plain address", 0},
    {H "tlsrpt { from = \"a b@example.org\" }\n", 2, "no plain address", 0},
    {H "tlsrpt { from = \"a@[192.0.2.1]\" }\n", 2, "no plain address", 0},
    {H "tlsrpt { contact = \"<a@example.org>\" }\n", 2, "no plain address", 0},
    {H "users = 0\n", 2, "first of eleven uids", 0},
    {H "users = 2147483648\n", 2, "first of eleven uids", 0},
    {H "users = \"a b\"\n", 2, "beginning of user names", 0},
    {H "admins = { alice, \"b b\" }\n", 2, "b b|not a user name", 0},
    {H "log { to = file }\n", 2, "no place for a log", 0},
    {H "log { level = loud }\n", 2, "error|warning", 0},
    {H "dns { server = localhost }\n", 2, "localhost|not a resolver", 0},
    {H "dns { server = 192.0.2.1@0 }\n", 2, "not a resolver", 0},
    {H "dns { server = { recursive, 192.0.2.1 } }\n", 2, "recursive|not a resolver", 0},
    {"hostname = mx1\n", 1, "mx1|with a dot", 0},
    {"hostname = \"mx1.exa mple\"\n", 1, "not a full name", 0},
    {"\nhostname = \"-.example..org\"\n", 2, "not a full name", 0},
    /* together */
    {H "tls { certificate = /c }\n", 2, "no key", 0},
    {H "tls {\n key = /k }\n", 3, "no certificate", 0},
    {H "queue { retry_first = 2h\n retry_most = 1h }\n", 2, "retry_first is longer", 0},
    {H "directory { spool = / }\n", 2, "root directory", 0},
    {H "directory { run = /x\nempty = /x }\n", 3, "same directory", 0},
    /* listeners */
    {H "tls { certificate = { /a, /b }\n key = /a }\n", 3, "2 certificates and 1 keys", 0},
    {H "tls { certificate = a key = /a }\n", 2, "\"a\" is not an absolute path", 0},
    {H "listener a {\n tls_minimum = TLSv1 }\n", 3, "\"a\": tls_minimum is weaker|add clients", 0},
    {H "listener a { clients = { 10.0.0.0/8, 0.0.0.0/0 }\n tls_minimum = TLSv1.1 }\n", 3, "tls_minimum is weaker", 0},
    {H "listener a {\n tls_ciphers = ALL }\n", 3, "\"a\": tls_ciphers is weaker|add clients", 0},
    {H "listener a {\n clients = 10.0.0.0/99 }\n", 3, "\"10.0.0.0/99\" is not a network", 0},
    {H "listener a { tls = none\n tls_client = ask }\n", 3, "has no TLS, and so no certificates", 0},
    {H "tls { certificate = /a key = /b }\nlistener a { tls = required\n tls_client = verified }\n", 4, "nobody vouches", 0},
    {H "relay_clientcerts = /x\n", 2, "is not a map", 0},
    {H "relay_recipients = /x\n", 2, "is not a map", 0},
    {H "listener a { tls = required }\n", 2, "\"a\" demands TLS|tls { certificate", 0},
    {H "listener a { port = 465\n tls = implicit }\n", 3, "demands TLS", 0},
    {H TLS "listener a { tls = none\n auth = required }\n", 4, "AUTH without TLS", 0},
    {H TLS "listener a { tls = none auth = may }\n", 3, "AUTH without TLS", 0},
    {H "listener a { auth = required port = 587 }\n", 2, "AUTH over TLS alone", 0},
    {H "listener a { }\n\nlistener b { }\n", 4, "\"b\" wants port 25|\"a\" has", 0},
    {H "listener a { port = 26 address = \"::1\" }\nlistener b {\n address = { 192.0.2.1, \"0:0::1\" }\n port = 26 }\n", 5,
     "wants port 26 of 0:0::1", 0},
    {H "listener a { }\nlistener b { address = 192.0.2.1 }\n", 3, "wants port 25 of 192.0.2.1", 0},
    {H "listener a { }\nlistener a { port = 26 }\n", 3, "second time|line 2", 0},
    {H "listener \"a b\" { }\n", 2, "title", 0},
    {H "listener a { port = 0 }\n", 2, "1 to 65535", 0},
    {H "xclient_from = { 10.0.0.1,\n 0.0.0.0/0 }\n", 3, "xclient_from \"0.0.0.0/0\" would let everybody", 0},
    {H "xforward_from = localhost\n", 2, "xforward_from \"localhost\" is not a network", 0},
    {H "listener a { protocol = lmtp }\n", 2, "LMTP must not be on port 25 (RFC 2033 5)|socket =", 0},
    {H "listener a {\n socket = /run/x }\n", 3, "a socket is for LMTP|protocol = lmtp", 0},
    {H "listener a { protocol = lmtp socket = /run/x\n port = 24 }\n", 3, "is a socket|take out port", 0},
    {H "listener a { protocol = lmtp socket = /run/x\n access = reject }\n", 3, "is a socket|take out access", 0},
    {H "listener submit {\n protocol = lmtp\n socket = /run/x }\n", 4, "\"submit\" has the name of a socket", 0},
    {H "listener a { protocol = lmtp socket = /run/x }\nlistener b {\n protocol = lmtp socket = /run/x }\n", 4,
     "wants the socket of listener \"a\"", 0},
    {H "listener a {\n proxy = yes }\n", 3, "believes none|proxy_from", 0},
    {H "listener a {\n proxy_from = { 192.0.2.1 } }\n", 3, "proxy_from without a proxy|proxy = yes", 0},
    {H "listener a { proxy = yes\n proxy_from = { proxy.example } }\n", 3, "proxy_from \"proxy.example\" is not a network", 0},
    {H "listener a { proxy = yes\n proxy_from = { 192.0.2.1, \"::/0\" } }\n", 3, "proxy_from \"::/0\" would let everybody", 0},
    {H "listener a { port = x }\nlistener b { }\n", 2, "port is not a number", 0}, /* and b has no quarrel with a */
    {H "listener a { address = localhost }\n", 2, "localhost|not an IPv4 or IPv6 address", 0},
    {H "listener a { tls = sometimes auth = required }\n", 2, "none|may|required|implicit", 0},
    {H "listener a {\n priority = urgent }\n", 3, "priority|high|normal|low", 0},
    /* domains */
    {H "domain a.org { }\ndomain A.org { }\n", 3, "second time|line 2", 0},
    {H "domain \"a b\" { }\n", 2, "a domain name", 0},
    {H "domain a.org {\n mailboxes = users }\n", 3, "neither system nor a map", 3},
    {H "domain a.org {\n mailboxes = \"hash:/m\"\n owner = x }\n", 2, "no directory", 0},
    {H "domain a.org {\n mailboxes = \"hash:/m\" directory = /d }\n", 2, "no owner", 0},
    {H "domain a.org {\n mailboxes = \"hash:/m\" directory = /d\n owner = root }\n", 4, "owner is root", 0},
    {H "domain a.org {\n mailboxes = \"hash:/m\" directory = /d\n owner = 0 }\n", 4, "owner is root", 0},
    {H "domain a.org { mailboxes = \"hash:/m\" directory = /d owner = \"a b\" }\n", 2, "not a user name", 0},
    {H "domain a.org { mailboxes = \"hash:/m\" directory = mail owner = x }\n", 2, "not an absolute path", 0},
    {H "domain a.org { mailboxes = \"hash:/m\" directory = /d/../e owner = x }\n", 2, "has .. in it", 0},
    {H "domain a.org { maildir = /var/mail }\n", 2, "leaves the user's home", 0},
    {H "domain a.org { maildir = \"../x\" }\n", 2, "leaves the user's home", 0},
    {H "domain a.org { deliver = mbox }\n", 2, "maildir", 0},
    /* routes */
    {H "route \"*\" { }\n", 2, "leads nowhere", 0},
    {H LOGIN_A "route \"*\" { via = \"smtp:[relay.example]\"\n login = b }\n", 4, "there is no login \"b\"|add login \"b\" {", 0},
    {H LOGIN_A "route \"*\" { via = \"smtp:\"\n login = a }\n", 4, "log in at every domain's host", 0},
    {H LOGIN_A "route \"*\" { via = \"lmtp:unix:/run/x\"\n login = a }\n", 4, "nobody logs in", 0},
    {H LOGIN_A "route \"*\" { via = \"smtp:[relay.example]\" tls = encrypt\n login = a }\n", 4,
     "logs in where TLS proves nothing|tls = verify", 0},
    {H LOGIN_A "route \"*\" { via = \"smtp::587\"\n login = a }\n", 4, "log in at every domain's host", 0},
    {H "login a {\n secret = /s }\n", 2, "login \"a\" has no user", 0},
    {H "login a {\n user = u }\n", 2, "login \"a\" has no secret", 0},
    {H "login a { user = u\n secret = s }\n", 3, "not an absolute path", 0},
    {H "login a { user = u secret = /s\n mechanisms = { PLAIN, NTLM } }\n", 3, "\"NTLM\" is not known here", 0},
    {H "login a { user = u secret = /s\n mechanisms = XOAUTH2 }\n", 3, "for tokens|token_url", 0},
    {H "login a { user = u secret = /s token_url = \"https://a.example/t\" client_id = x\n mechanisms = PLAIN }\n", 3,
     "for passwords|XOAUTH2", 0},
    {H "login a { user = u secret = /s client_id = x\n token_url = \"http://a.example/t\" }\n", 3, "is none; write https", 0},
    {H "login a { user = u secret = /s token_url = \"https://a.example/t\" }\n", 2, "has no client_id", 0},
    {H "login a { user = u client_id = x token_url = \"https://a.example/t\" }\n", 2, "has no secret", 0},
    {H "login a { user = u secret = /s\n scope = x }\n", 2, "no token_url", 0},
    {H "login \"a b\" { user = u secret = /s }\n", 2, "title|letters, digits", 0},
    {H LOGIN_A LOGIN_A, 3, "login \"a\" is there a second time", 0},
    {H "route \"*\" { tls = may\n via = \"relay.example\" }\n", 3, "no next hop|smtp:[host]:port", 0},
    {H "route \"*\" { via = \"lmtp:[relay.example]\" }\n", 2, "no next hop|lmtp:[host]:port", 0},
    {H "route \"*\" { via = \"lmtp:relay.example:24\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp:\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp::24\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp:unix:\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp:unix:/\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp:unix:lmtp\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp:unix:/run/a b\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtp:unix:/run/lmtp\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = "
       "\"lmtp:unix:/12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\" }\n",
     2, "no next hop", 0},
    {H "route \"*\" { via = \"lmtp:[a.example]:25\" }\n", 2, "LMTP must not be on port 25", 0},
    {H "route \"*\" { via = \"lmtp:unix:/lmtp\"\n tls = may }\n", 3, "there is no TLS|take tls out", 0},
    {H "domain a.org { deliver = mbox }\n", 2, "neither maildir nor an LMTP server|lmtp:unix:/path", 0},
    {H "domain a.org { deliver = \"lmtp:[127.0.0.1]:25\" }\n", 2, "LMTP must not be on port 25", 0},
    {H "domain a.org { deliver = \"lmtp:unix:/lmtp\"\n mailboxes = \"ldap:/x\" }\n", 3, "neither system nor a map", 0},
    {H "route \"*\" { via = \"smtps:\" }\n", 2, "no next hop|smtps:[host]:port|no domain's MX hosts", 0},
    {H "route \"*\" { via = \"smtps::465\" }\n", 2, "no domain's MX hosts", 0},
    {H "route \"*\" { via = \"smtps:relay.example\" }\n", 2, "no domain's MX hosts", 0},
    {H "route \"*\" { via = \"smtps:relay.example:465\" }\n", 2, "no domain's MX hosts", 0},
    {H "route \"*\" { via = \"smtps:unix:/run/x\" }\n", 2, "no domain's MX hosts", 0},
    {H "route \"*\" { via = \"smtps:[]\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtps:[relay.example\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtps:[relay.example]465\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtps:[relay.example]:\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtps:[relay.example]:65536\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"SMTPS:[relay.example]\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtps:[relay.example]\"\n tls = may }\n", 3, "tls = may would do without|take tls out", 0},
    {H "route \"*\" { tls = none\n via = \"smtps:[127.0.0.1]:4650\" }\n", 2, "tls = none would do without", 0},
    {H "route \"*\" { via = \"smtps:[relay.example]\"\n tls = fingerprint }\n", 3, "demands a fingerprint", 0},
    {H LOGIN_A "route \"*\" { via = \"smtps:[relay.example]\" tls = encrypt\n login = a }\n", 4, "logs in where TLS proves nothing", 0},
    {H "domain a.org { deliver = \"smtps:[a.example]\" }\n", 2, "neither maildir nor an LMTP server", 0},
    {H "route \"*\" { via = \"smtp:[relay.example\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtp:[relay.example]25\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtp:[relay.example]:0\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtp:[relay.example]:65536\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtp:a.example:\" }\n", 2, "no next hop", 0},
    {H "route \"*\" { via = \"smtp:[]\" }\n", 2, "no next hop", 0},
    {H "route \"*x\" { via = \"smtp:\" }\n", 2, "title|or *", 0},
    {H "route a.org { via = \"smtp:\" }\nroute a.org { via = \"smtp:\" }\n", 3, "second time", 0},
    {H "domain a.org { }\nroute a.org { via = \"smtp:\" }\n", 3, "domain of this host as well", 0},
    {H "route a.org { via = \"smtp:\"\n sessions = 0 }\n", 3, "sessions is out of range|1 to 1000", 0},
    {H "route a.org { via = \"smtp:\"\n\n rate = 60/m }\n", 4, "rate is not a number", 0},
    {H "route a.org { via = \"smtp:\" session_messages = 100001 }\n", 2, "session_messages is out of range|1 to 100000", 0},
    {H "route a.org { via = \"smtp:\" rate = 1\nrate = 2 }\n", 3, "rate is set a second time", 0},
    /* proxies */
    {H "route a.org { via = \"smtp:\"\nproxy = \"socks5:proxy.example:1080\" }\n", 3, "proxy|none|socks5:192.0.2.9:1080", 0},
    {H "route a.org { via = \"smtp:\"\nproxy = \"haproxy:192.0.2.9:2525\" }\n", 3, "from which address|add sources", 0},
    {H "route a.org { via = \"lmtp:unix:/run/x\"\nproxy = \"socks5:192.0.2.9:1080\" }\n", 3, "socket of this host", 0},
    /* sources */
    {H "source a { }\nremote { sources = a }\n", 2, "no address", 0},
    {H "source a {\naddress = mx.example }\nremote { sources = a }\n", 3, "not an IPv4 or IPv6 address", 0},
    {H "source a {\naddress = 0.0.0.0 }\nremote { sources = a }\n", 3, "not an IPv4 or IPv6 address", 0},
    {H "source a {\naddress = { 192.0.2.1, 192.0.2.2 } }\nremote { sources = a }\n", 3, "two addresses of one family", 0},
    {H "source a { address = 192.0.2.1\nhostname = out1 }\nremote { sources = a }\n", 3, "not a full name", 0},
    {H "source a { address = 192.0.2.1 }\nremote {\nsources = { a, b } }\n", 4, "no source \"b\"", 0},
    {H "source a { address = 192.0.2.1 }\nremote {\nsources = { a, \"a 2\" } }\n", 4, "twice", 0},
    {H "source a { address = 192.0.2.1 }\nroute \"*\" { via = \"smtp:\"\nsources = \"a 0\" }\nremote { sources = a }\n", 4,
     "weight of 1 to 1000", 0},
    {H "source a { address = 192.0.2.1 }\nroute \"*\" { via = \"smtp:\"\nsources = \"a 1001\" }\nremote { sources = a }\n", 4,
     "weight of 1 to 1000", 0},
    {H "source a { address = 192.0.2.1 }\nroute \"*\" { via = \"smtp:\"\nsources = \"a b\" }\nremote { sources = a }\n", 4,
     "weight of 1 to 1000", 0},
    {H "source a { address = 192.0.2.1\nwarm_up = 2026-02-30 }\nremote { sources = a }\n", 3, "not a day|2026-11-01", 0},
    {H "source a { address = 192.0.2.1\nwarm_up = 26-02-03 }\nremote { sources = a }\n", 3, "not a day", 0},
    {H "source a { address = 192.0.2.1 warm_up = 2026-02-03\nwarm_up_plan = { 5, 0 } }\nremote { sources = a }\n", 3,
     "not a number of messages a day", 0},
    {H "source \"a b\" { address = 192.0.2.1 }\n", 2, "title", 0},
    /* sites, and the limits of all */
    {H "site \"mx.a org\" { rate = 3 }\n", 2, "title|an MX host|an address", 0},
    {H "site \"*\" { rate = 3 }\n", 2, "title", 0},
    {H "site .a.org { rate = 3 }\n", 2, "title", 0},
    {H "site a.org { rate = 3 }\nsite A.org { rate = 4 }\n", 3, "second time|line 2", 0},
    {H "site a.org { via = \"smtp:\" }\n", 2, "site { } has no setting via", 0},
    {H "site a.org { rate = 1000001 }\n", 2, "rate is out of range|0 to 1000000", 0},
    {H "site { rate = 1 }\n", 2, "site needs a title", 0},
    {H "queue { site_rate = -1 }\n", 2, "site_rate is not a number", 0},
    {H "queue { active = 0 }\n", 2, "active is out of range", 0},
    /* syntax and characters */
    {H "limit { hops = 20\n", 2, "{ in this line is never closed", 0},
    {H "}\n", 2, "} without its {", 0},
    {H "relay_to = \"a.org\n", 2, "quote (\") is opened", 0},
    {H "relay_to = 'a.org\nlimit { }\n", 2, "quote (') is opened", 0},
    {H "password_file \"/x\"\n", 2, "password_file has no =|write name = value", 0},
    {H "limit = 3\n", 2, "limit is a section|limit { ... }", 0},
    {H "limit \"x\" { }\n", 2, "limit is a section", 0},
    {H "listener { port = 25 }\n", 2, "listener needs a title|listener \"name\"", 0},
    {H "password_file += /x\n", 2, "+= is for lists", 0},
    {H "password_file =\nlog { }\n", 3, "not expected", 2},
    {H "relay_to = a.org, b.org\n", 2, "not expected", 0},
    {H "password_file = { /x }\n", 2, "not expected", 0},
    {H "password_file =\n", 3, "the file ends inside of a setting", 0},
    {H "relay_to = a.org; log { }\n", 2, "a ; where none is wanted", 0},
    {H "recipient_delimiter = +\n", 2, "a + outside of quotes|into quotes", 0},
    {H "route * { via = \"smtp:\" }\n", 2, "a * outside of quotes", 0},
    {H "relay_to = \"${HOME}\"\n", 2, "variable of the environment", 2},
    {H "relay_to = ${HOME}\n", 2, "variable of the environment", 0},
    {H "relay_to = \"a\\nb\"\n", 2, "a backslash in quotes", 2},
    {H "relay_to = a\001b\n", 2, "control character 0x01", 0},
    {H "/* no end\n\n", 2, "the comment that begins here", 0},
    {H "limit { /* a\n b */ hops = 20 } // c\n # d\n listener a { port = none }\n", 5, "port is not a number",
     0}, /* comments don't shift lines */
};

/* All lines about line `line`. */
static void error_lines(const char *errors, unsigned line, char *out, size_t size)
{
    char prefix[200];
    size_t n = 0;
    snprintf(prefix, sizeof prefix, "%s:%u: ", path, line);
    *out = '\0';
    for (const char *p = errors; n < size && (p = strstr(p, prefix)); p++)
        n += (size_t)snprintf(out + n, size - n, "%.*s\n", (int)strcspn(p, "\n"), p);
}

static bool is_told(const struct wrong *w)
{
    struct report r;
    char lines[4000], words[200];
    struct settings *s = parse(w->text, &r);
    bool good = !s && r.error_count == (w->errors ? w->errors : 1);
    error_lines(buf_text(&r.errors), w->line, lines, sizeof lines);
    bool one = strstr(w->words, "none|may") || strstr(w->words, "error|"); /* a | of the message itself */
    snprintf(words, sizeof words, "%s", w->words);
    for (char *rest = words, *word; (word = strsep(&rest, one ? "" : "|"));)
        good = good && strstr(lines, word) && strstr(lines, "; ");
    if (!good)
        print_error("\n%s--> wanted in line %u: %s; got %zu errors:\n%s", w->text, w->line, w->words, r.error_count, buf_text(&r.errors));
    settings_free(s);
    report_free(&r);
    return good;
}

static void wrong_files_are_told_with_line_cause_and_next_step(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++)
        failed += !is_told(&wrongs[i]);
    assert_int_equal(failed, 0);
}

static void all_errors_are_told_in_order(void **state)
{
    (void)state;
    struct report r;
    assert_null(
        parse("hostname = mx1\nfoo = 1\nlimit {\n hops = x\n bar = 2\n}\nlistener a { tls = required }\nroute \"*\" { via = 3 }\n", &r));
    static const char *const expected[] = {":1: hostname \"mx1\"",
                                           ":2: there is no setting foo",
                                           ":4: hops is not",
                                           ":5: limit { } has no setting bar",
                                           ":7: listener \"a\" demands",
                                           ":8: route \"*\""};
    const char *at = buf_text(&r.errors);
    for (size_t i = 0; i < 6; i++) {
        const char *found = strstr(at, expected[i]);
        if (!found)
            fail_msg("%s not found, or not in order, in:\n%s", expected[i], buf_text(&r.errors));
        at = found;
    }
    assert_int_equal(r.error_count, 6);
    report_free(&r);
}

static void warnings_do_not_refuse(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } warned[] = {
        {H "domain a.org { deliver = \"lmtp:unix:/lmtp\"\n owner = vmail }\n", ":3: domain \"a.org\": owner is for deliver = maildir"},
        {H "relay_from = 0.0.0.0/0\n", ":2: relay_from \"0.0.0.0/0\" lets everybody"},
        {H "listener a { tls = may }\n", ":2: listener \"a\" can't offer TLS"},
        {H TLS "listener a { port = 465 tls = required }\n", ":3: listener \"a\": clients of port 465"},
        {H TLS "listener a { tls = required auth = required }\n", ":3: listener \"a\" takes no mail from other hosts"},
        {H "domain a.org {\n owner = vmail }\n", ":3: domain \"a.org\": owner is for maps"},
        {H "route \"*\" { via = \"smtp:[a.example]:465\" }\n", ":2: route \"*\": hosts begin with TLS on port 465, and smtp: waits for a "
                                                               "greeting; write smtps:[a.example]:465"},
        {H "route \"*\" { via = \"smtps:[a.example]:587\" }\n", ":2: route \"*\": hosts begin without TLS on ports 25 and 587"},
        {H "route \"*\" { via = \"smtps:[a.example]:25\" }\n", ":2: route \"*\": hosts begin without TLS on ports 25 and 587"},
        {H LOGIN_A, ":2: login \"a\" is used by no route"},
    };
    for (size_t i = 0; i < sizeof warned / sizeof warned[0]; i++) {
        struct report r;
        struct settings *s = parse(warned[i].text, &r);
        if (!s || r.warning_count != 1 || !strstr(buf_text(&r.warnings), warned[i].says))
            fail_msg("%s--> %s%s", warned[i].text, buf_text(&r.errors), buf_text(&r.warnings));
        settings_free(s);
        report_free(&r);
    }
}

static enum tlspolicy tls_of_route(const char *text)
{
    struct report r;
    struct settings *s = parse(text, &r);
    if (!s || r.warning_count)
        fail_msg("%s--> %s%s", text, buf_text(&r.errors), buf_text(&r.warnings));
    enum tlspolicy tls = (enum tlspolicy)s->routes[0].tls;
    settings_free(s);
    report_free(&r);
    return tls;
}

static void a_route_with_a_login_verifies(void **state)
{
    (void)state;
    assert_int_equal(tls_of_route(H LOGIN_A "route \"*\" { login = a via = \"smtp:[relay.example]:587\" }\n"), TLSPOLICY_VERIFY);
    assert_int_equal(tls_of_route(H LOGIN_A "route \"*\" { login = a via = \"smtp:[192.0.2.1]\" }\n"), TLSPOLICY_VERIFY);
    assert_int_equal(tls_of_route(H LOGIN_A "route \"*\" { login = a tls = dane-only via = \"smtp:relay.example\" }\n"),
                     TLSPOLICY_DANE_ONLY);
    assert_int_equal(tls_of_route(H LOGIN_A "route \"*\" { login = a via = \"smtp:[127.0.0.1]:2525\" }\n"), TLSPOLICY_DANE); /* a tunnel */
    assert_int_equal(tls_of_route(H LOGIN_A "route \"*\" { login = a via = \"smtp:[IPv6:::1]:2525\" }\n"), TLSPOLICY_DANE);
    assert_int_equal(tls_of_route(H "route \"*\" { via = \"smtp:[relay.example]\" }\n"), TLSPOLICY_DANE);
    assert_int_equal(
        tls_of_route(
            H "login a { user = u secret = /s insecure = yes }\nroute \"*\" { login = a tls = may via = \"smtp:[relay.example]\" }\n"),
        TLSPOLICY_MAY);
}

static void tls_from_the_first_byte_is_verified(void **state)
{
    (void)state;
    assert_int_equal(tls_of_route(H "route \"*\" { via = \"smtps:[relay.example]\" }\n"), TLSPOLICY_VERIFY);
    assert_int_equal(tls_of_route(H "route \"*\" { via = \"smtps:[127.0.0.1]:4650\" }\n"), TLSPOLICY_VERIFY);
    assert_int_equal(tls_of_route(H LOGIN_A "route \"*\" { login = a via = \"smtps:[127.0.0.1]:4650\" }\n"), TLSPOLICY_VERIFY);
    assert_int_equal(tls_of_route(H "route \"*\" { via = \"smtps:[relay.example]\" tls = dane }\n"), TLSPOLICY_DANE);
    assert_int_equal(tls_of_route(H "route \"*\" { via = \"smtps:[relay.example]\" tls = dane-only }\n"), TLSPOLICY_DANE_ONLY);
    assert_int_equal(tls_of_route(H "route \"*\" { via = \"smtps:[relay.example]\" tls = encrypt }\n"), TLSPOLICY_ENCRYPT);
}

static void many_errors_are_bounded(void **state)
{
    (void)state;
    struct buf text = {0};
    struct report r;
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "listener l%d { port = 0 }\n", i);
    assert_null(parse(buf_text(&text), &r));
    assert_true(r.error_count >= 300);
    size_t lines = 0;
    for (const char *p = buf_text(&r.errors); (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, REPORT_MOST);
    report_free(&r);
    buf_clear(&text);
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "unknown_%d = 1\n", i);
    assert_null(parse(buf_text(&text), &r));
    assert_non_null(strstr(buf_text(&r.errors), "unknown settings; correct those first"));
    assert_non_null(strstr(buf_text(&r.errors), ":50: there is no setting unknown_49"));
    report_free(&r);
    buf_free(&text);
}

static void unset_hostname_is_the_systems_or_an_error(void **state)
{
    (void)state;
    struct report r;
    char name[256] = "";
    assert_int_equal(gethostname(name, sizeof name - 1), 0);
    struct settings *s = parse("listener a { }\n", &r);
    if (strchr(name, '.')) {
        assert_non_null(s);
        assert_string_equal(s->hostname, name);
    } else {
        assert_null(s);
        assert_non_null(strstr(buf_text(&r.errors), "hostname is not set"));
        assert_non_null(strstr(buf_text(&r.errors), "add a line hostname = "));
    }
    settings_free(s);
    report_free(&r);
}

/* ---- the file ----------------------------------------------------------------------------------------------------------------------- */

static void a_file_that_others_can_write_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = {0664, 0646, 0666};
    write_file(H);
    for (size_t i = 0; i < 3; i++) {
        struct report r = {0};
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_null(parse_file(path, PARSE_FILE, &r));
        assert_non_null(strstr(buf_text(&r.errors), "can be written by others"));
        assert_non_null(strstr(buf_text(&r.errors), "chmod go-w"));
        report_free(&r);
    }
    assert_int_equal(chmod(path, 0644), 0);
    settings_free(parse_good(H));
}

static void a_file_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct report r = {0};
    write_file(H);
    assert_int_equal(chown(path, 65534, 0), 0);
    assert_null(parse_file(path, PARSE_FILE, &r));
    assert_non_null(strstr(buf_text(&r.errors), "belongs to uid 65534"));
    assert_int_equal(chown(path, 0, 0), 0);
    report_free(&r);
}

static void a_file_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const none[] = {"/nonexistent/postino.conf", "/dev/null", "/tmp"};
    for (size_t i = 0; i < 3; i++) {
        struct report r = {0};
        assert_null(parse_file(none[i], PARSE_FILE, &r));
        assert_int_equal(r.error_count, 1);
        assert_memory_equal(buf_text(&r.errors), none[i], strlen(none[i]));
        report_free(&r);
    }
}

/* ---- the host ----------------------------------------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/test_parse_host.XXXXXX";

static void run(const char *fmt, ...)
{
    char command[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    assert_int_equal(system(command), 0);
}

static int make_host(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    run("cd %s && for k in a b; do openssl req -x509 -newkey rsa:2048 -nodes -keyout $k.key -out $k.pem -days 30 -subj /CN=a.example "
        "2>/dev/null; done",
        dir);
    run("cd %s && mkdir bin && for p in smtpd auth qmgr remote local dns route tlsmgr sts lmtp creds; do echo >bin/postino-$p; chmod 755 "
        "bin/postino-$p; "
        "done",
        dir);
    run("cd %s && chmod 755 . && echo x >open && chmod 644 open && echo x >closed && chmod 600 closed && echo junk >junk.pem && echo 'a:x' "
        ">passwd && chmod 600 passwd && (chown "
        "64501 passwd 2>/dev/null || true) "
        "&& openssl rsa -aes128 -passout pass:x -in a.key -out "
        "locked.key 2>/dev/null",
        dir);
    return 0;
}

static int remove_host(void **state)
{
    (void)state;
    run("rm -r %s", dir);
    return 0;
}

static struct settings *parse_host(const char *fmt, struct report *r)
{
    char text[2000];
    size_t n =
        (size_t)snprintf(text, sizeof text, "hostname = a.example users = 64500 directory { programs = %s/bin } aliases = {}\n", dir);
    for (const char *p = fmt; *p && n < sizeof text - 60; p++) /* @ is the directory */
        n += *p == '@' ? (size_t)snprintf(text + n, sizeof text - n, "%s", dir) : (size_t)snprintf(text + n, 2, "%c", *p);
    *r = (struct report){0};
    write_file(text);
    return parse_file(path, PARSE_HOST, r);
}

static void what_is_there_passes(void **state)
{
    (void)state;
    struct report r;
    struct settings *s = parse_host("tls { certificate = @/a.pem key = @/a.key } password_file = @/passwd\n"
                                    "listener s { port = 587 tls = required auth = required }\n",
                                    &r);
    if (!s || r.warning_count)
        fail_msg("%s%s", buf_text(&r.errors), buf_text(&r.warnings));
    settings_free(s);
    report_free(&r);
}

static void what_is_missing_or_wrong_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"tls { certificate = @/a.pem\n key = @/b.key }", ":3: key "},
        {"tls { certificate = @/none.pem\n key = @/a.key }", ":2: certificate "},
        {"tls { certificate = @/junk.pem key = @/a.key }", "can't be loaded"},
        {"tls { certificate = @/a.pem key = @/junk.pem }", "can't be used with the certificate"},
        {"tls { certificate = @/a.pem key = @/locked.key }", "without password"},
        {"tls { certificate = @/a.pem key = @/a.key }\nlistener s { tls = may\n auth = may }\npassword_file = @/none",
         ":5: password file "},
        {"domain b.example { mailboxes = \"hash:@/m\" directory = @\n owner = no-such-user }",
         ":3: domain \"b.example\": there is no user"},
        {"route x.example { via = \"smtp:\" tls = verify }\ntls { authorities = /none }", ":2: route \"x.example\" verifies"},
        {"route x.example { via = \"smtps:[a.example]\" }\ntls { authorities = /none }", ": route \"x.example\" verifies"},
        {"route x.example { via = \"smtps:[a.example]\"\n tls = dane }\ntls { authorities = /none }", ":3: route \"x.example\" verifies"},
        {"route x.example { via = \"smtp:[a.example]\" login = l tls = dane-only }\ntls { authorities = /none }\n"
         "login l { user = u secret = @/closed client_id = x\n token_url = \"https://a.example/\" }",
         ":5: login \"l\" fetches tokens"},
        {"route x.example { via = \"smtp:[a.example]\" login = l }\nlogin l { user = u\n secret = @/none }",
         ":4: login \"l\": secret file "},
        {"route x.example { via = \"smtp:[a.example]\" login = l }\nlogin l { user = u\n secret = @/open }",
         "is open to other users (mode 0644); run chmod 600"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct report r;
        struct settings *s = parse_host(bad[i].text, &r);
        if (s || r.error_count != 1 || !strstr(buf_text(&r.errors), bad[i].says))
            fail_msg("%s--> %zu: %s", bad[i].text, r.error_count, buf_text(&r.errors));
        report_free(&r);
    }
}

static void a_map_that_is_not_built_is_a_warning(void **state)
{
    (void)state;
    struct report r;
    struct settings *s = parse_host("domain b.example { mailboxes = \"hash:@/boxes\" directory = @ owner = 1000 }", &r);
    assert_non_null(s);
    assert_int_equal(r.warning_count, 1);
    assert_non_null(strstr(buf_text(&r.warnings), "build it with postino map hash:"));
    settings_free(s);
    report_free(&r);
}

static void a_missing_program_is_an_error(void **state)
{
    (void)state;
    struct report r;
    run("mv %s/bin/postino-dns %s/bin/postino-sdn", dir, dir);
    assert_null(parse_host("", &r));
    assert_non_null(strstr(buf_text(&r.errors), "postino-dns can't be executed"));
    run("mv %s/bin/postino-sdn %s/bin/postino-dns", dir, dir);
    report_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_makes_a_host),
        cmocka_unit_test(all_of_the_grammar_is_taken),
        cmocka_unit_test(limits_are_given_or_not),
        cmocka_unit_test(sources_and_who_names_them),
        cmocka_unit_test(a_list_is_replaced_by_equal_and_lengthened_by_plus),
        cmocka_unit_test(own_name_stays_out_where_the_file_speaks_of_it),
        cmocka_unit_test(every_via_form_is_taken),
        cmocka_unit_test(the_environment_has_no_say),
        cmocka_unit_test(given_settings_are_counted),
        cmocka_unit_test(the_files_that_we_hand_out_are_good),
        cmocka_unit_test(wrong_files_are_told_with_line_cause_and_next_step),
        cmocka_unit_test(all_errors_are_told_in_order),
        cmocka_unit_test(warnings_do_not_refuse),
        cmocka_unit_test(a_route_with_a_login_verifies),
        cmocka_unit_test(tls_from_the_first_byte_is_verified),
        cmocka_unit_test(many_errors_are_bounded),
        cmocka_unit_test(unset_hostname_is_the_systems_or_an_error),
        cmocka_unit_test(a_file_that_others_can_write_is_refused),
        cmocka_unit_test(a_file_of_another_user_is_refused),
        cmocka_unit_test(a_file_that_is_none_is_refused),
        cmocka_unit_test(what_is_there_passes),
        cmocka_unit_test(what_is_missing_or_wrong_is_told),
        cmocka_unit_test(a_map_that_is_not_built_is_a_warning),
        cmocka_unit_test(a_missing_program_is_an_error),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    fchmod(fd, 0644);
    close(fd);
    int failed = cmocka_run_group_tests(tests, make_host, remove_host);
    unlink(path);
    return failed;
}
