/* postino why: the way of one recipient through relaying, routing and the rules of `access`, without a mail and without the running Postino.
 * DNS is asked as postino-dns would ask it; a policy service is not, as being asked may change its mind. */
#include "admin/admin.h"
#include "admin/queue_print.h"
#include "admin/why_door.h"
#include "common/address.h"
#include "resolver/access.h"
#include "resolver/context.h"
#include "resolver/routing.h"
#include "resolver/users.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unbound.h>

enum { TYPE_A = 1, TYPE_PTR = 12, TYPE_MX = 15, TYPE_AAAA = 28 };

struct asked {
    const char *client, *name, *helo, *from, *to, *login, *listener;
};

static struct ub_ctx *dns;

/* ---- DNS ----------------------------------------------------------------------------------------------------------------------- */

static int open_dns(const struct settings *s)
{
    struct nameservers servers;
    struct error error;
    context_servers(s, &servers);
    dns = context_new(NULL, s, &servers, &error);
    return dns ? 0 : admin_fail(-1, "why", "%s", error.text);
}

/* The answer, to be freed with ub_resolve_free(); YES: it has data. */
static enum access_answer ask(const char *name, int type, struct ub_result **r)
{
    *r = NULL;
    if (dns == NULL || ub_resolve(dns, name, type, 1, r) != 0)
        return ACCESS_UNKNOWN;
    if ((*r)->havedata)
        return ACCESS_YES;
    return (*r)->nxdomain || (*r)->rcode == 0 ? ACCESS_NO : ACCESS_UNKNOWN;
}

static enum access_answer has(const char *name, int type)
{
    struct ub_result *r;
    enum access_answer answer = ask(name, type, &r);
    ub_resolve_free(r);
    return answer;
}

/* A null MX (RFC 7505) is one that takes no mail: preference 0, and the root for a name. */
static bool is_null_mx(const struct ub_result *r)
{
    return r->data[0] && !r->data[1] && r->len[0] == 3 && r->data[0][2] == 0;
}

static void answer_mail(struct access_question *q)
{
    struct ub_result *r;
    q->answer = ask(q->name, TYPE_MX, &r);
    if (q->answer == ACCESS_YES && is_null_mx(r))
        q->answer = ACCESS_NO;
    else if (q->answer == ACCESS_NO && !r->nxdomain)
        q->answer = has(q->name, TYPE_A) == ACCESS_YES ? ACCESS_YES : has(q->name, TYPE_AAAA);
    ub_resolve_free(r);
    static const char *const words[] = {[ACCESS_YES] = "takes mail", [ACCESS_NO] = "takes no mail", [ACCESS_UNKNOWN] = "no answer"};
    printf("    dns: %s: %s\n", q->name, words[q->answer]);
}

static void answer_addresses(struct access_question *q)
{
    struct ub_result *r;
    q->answer = ask(q->name, TYPE_A, &r);
    printf("    dns: %s:", q->name);
    for (int i = 0; q->answer == ACCESS_YES && r->data[i] && q->count < ACCESS_ADDRESSES; i++) {
        if (r->len[i] != 4)
            continue;
        const unsigned char *p = (const unsigned char *)r->data[i];
        q->addresses[q->count++] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        printf(" %u.%u.%u.%u", p[0], p[1], p[2], p[3]);
    }
    puts(q->answer == ACCESS_UNKNOWN ? " no answer" : q->answer == ACCESS_NO ? " not there" : "");
    ub_resolve_free(r);
}

static void answer_policy(struct access_question *q)
{
    printf("    policy service %s: not asked; taken for DUNNO\n", q->name);
    q->answer = ACCESS_YES;
    buf_add_text(&q->words, "DUNNO");
}

static void answer_all(struct access *a)
{
    for (size_t i = 0; i < a->count; i++) {
        struct access_question *q = &a->questions[i];
        if (q->kind == ACCESS_ASK_MAIL)
            answer_mail(q);
        else if (q->kind == ACCESS_ASK_ADDRESSES)
            answer_addresses(q);
        else
            answer_policy(q);
    }
}

/* ---- the way ------------------------------------------------------------------------------------------------------------------- */

static void tell(const char *rule, const char *said, void *arg)
{
    (void)arg;
    printf("  %s: ", rule);
    queue_print_text(stdout, span_of(said));
    puts("");
}

static void print_lines(const char *p)
{
    for (size_t n; *p; p += n + (p[n] == '\n')) {
        n = strcspn(p, "\n");
        size_t rule = strcspn(p, "\t");
        printf("  by %.*s: %.*s\n", (int)(rule < n ? rule : 0), p, (int)(rule < n ? n - rule - 1 : n), rule < n ? p + rule + 1 : p);
    }
}

static int verdict(unsigned code, const char *status, const char *words, const char *by)
{
    printf("verdict: %u %s ", code, status);
    queue_print_text(stdout, span_of(words));
    printf("\n  by %s\n", by);
    return code == 250 ? EX_OK : code < 500 ? EX_TEMPFAIL : EX_NOPERM;
}

static const struct strings *rules_of(const struct settings *s, const char *listener)
{
    const struct settings_listener *l = settings_listener(s, span_of(listener));
    return l != NULL && l->access.n > 0 ? &l->access : &s->access;
}

static int walk(const struct settings *s, const struct asked *q, bool trusted)
{
    struct error error;
    struct access a;
    struct access_facts facts = {.client = span_of(q->client), .name = span_of(q->name), .helo = span_of(q->helo), .trusted = trusted};
    facts.login = span_of(q->login);
    facts.sender = span_of(q->from);
    facts.recipient = span_of(q->to);
    const struct strings *list = rules_of(s, q->listener);
    struct access_rules *rules = access_rules_new(list, s, &error);
    if (rules == NULL)
        return admin_fail(EX_CONFIG, "why", "%s", error.text);
    printf("access: %zu rules of %s\n", list->n, list == &s->access ? "`access` at the top" : q->listener);
    access_begin(&a, rules, &facts);
    a.trace = tell;
    while (access_run(&a) == ACCESS_ASK)
        answer_all(&a);
    print_lines(buf_text(&a.log));
    int status = verdict(a.code, a.code == 250 ? "2.1.5" : a.status, a.code == 250 ? "Ok" : buf_text(&a.reply),
                         a.rule.len > 0 ? buf_text(&a.rule)
                         : trusted      ? "relay_from, as no rule is against it"
                         : *q->login    ? "the login, as no rule is against it"
                                        : "routing, as no rule is against it");
    access_free(&a);
    access_rules_free(rules);
    return status;
}

static void print_targets(struct list targets)
{
    for (struct record_recipient r; record_recipient_next(&targets, &r);) {
        printf("  goes to <");
        queue_print_text(stdout, r.address);
        printf("> by %.*s %.*s", SPAN_ARG(r.transport), SPAN_ARG(r.nexthop));
        if (r.mailbox.n)
            printf(" to mailbox ");
        queue_print_text(stdout, r.mailbox);
        puts("");
    }
}

static int why(const struct settings *s, const struct asked *q)
{
    struct error error;
    struct ruling ruling;
    struct routing *routing = routing_new(s, users_find, &error);
    if (routing == NULL)
        return admin_fail(EX_CONFIG, "why", "%s", error.text);
    bool trusted = routing_client_may_relay(routing, span_of(q->client));
    why_door(s, q->client, q->listener, trusted);
    struct why_refusal refusal;
    if (why_listener(s, q->client, q->listener, q->login, &refusal)) {
        routing_free(routing);
        return verdict(refusal.code, refusal.status, refusal.words, refusal.by);
    }
    struct message_rcpt m = {.client = span_of(q->client), .helo = span_of(q->helo), .login = span_of(q->login)};
    m.sender = span_of(q->from);
    m.recipient = span_of(q->to);
    routing_decide(routing, &m, &ruling);
    printf("client: %s[%s], %s relay_from%s%s\n", q->name, q->client, trusted ? "in" : "not in", *q->login ? ", logged in as " : "",
           q->login);
    printf("routing: %u %s %s\n", ruling.code, ruling.status, buf_text(&ruling.reply));
    print_targets(ruling.targets);
    int status = ruling.code == 250 ? walk(s, q, trusted)
                                    : verdict(ruling.code, ruling.status, buf_text(&ruling.reply), ruling.rule ? ruling.rule : ruling.by);
    ruling_free(&ruling);
    routing_free(routing);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------------------------------------- */

static int usage(void)
{
    return admin_fail(
        EX_USAGE, "why",
        "usage: postino why --client ADDRESS --to RECIPIENT [--name NAME] [--helo NAME] [--from SENDER] [--login USER] [--listener NAME]");
}

static int take_options(int argc, char **argv, struct asked *q)
{
    static const struct option options[] = {{"client", required_argument, NULL, 'c'},   {"name", required_argument, NULL, 'n'},
                                            {"helo", required_argument, NULL, 'h'},     {"from", required_argument, NULL, 'f'},
                                            {"to", required_argument, NULL, 't'},       {"login", required_argument, NULL, 'u'},
                                            {"listener", required_argument, NULL, 'l'}, {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const char **to = option == 'c'   ? &q->client
                          : option == 'n' ? &q->name
                          : option == 'h' ? &q->helo
                          : option == 'f' ? &q->from
                          : option == 't' ? &q->to
                          : option == 'u' ? &q->login
                          : option == 'l' ? &q->listener
                                          : NULL;
        if (to == NULL)
            return -1;
        *to = optarg;
    }
    return optind == argc && q->client && q->to ? 0 : -1;
}

int cmd_why(struct admin *a, int argc, char **argv)
{
    struct asked q = {.name = "unknown", .helo = "", .from = "", .login = "", .listener = ""};
    struct sockaddr_storage ss;
    socklen_t len;
    if (take_options(argc, argv, &q) != 0)
        return usage();
    if (!address_to_socket(span_of(q.client), 0, &ss, &len))
        return admin_fail(EX_USAGE, "why", "--client %s: not an address; write one, as in 192.0.2.1", q.client);
    int status = admin_settings(a);
    if (status != EX_OK)
        return status;
    if (*q.listener && settings_listener(a->settings, span_of(q.listener)) == NULL)
        return admin_fail(EX_USAGE, "why", "there is no listener \"%s\" in %s", q.listener, a->path);
    if (open_dns(a->settings) != 0)
        return EX_OSERR;
    status = why(a->settings, &q);
    ub_ctx_delete(dns);
    return status;
}
