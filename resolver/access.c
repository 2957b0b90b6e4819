/* The walk along the rules. */
#include "resolver/access_internal.h"

#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MOST   1024
#define PREPEND_MOST 8192

void access_begin(struct access *a, const struct access_rules *rules, const struct access_facts *facts)
{
    *a = (struct access){.rules = rules,
                         .facts = *facts,
                         .code = 250,
                         .reply = BUF_EMPTY(WORDS_MOST),
                         .rule = BUF_EMPTY(WORDS_MOST),
                         .prepend = BUF_EMPTY(PREPEND_MOST),
                         .log = BUF_EMPTY(PREPEND_MOST),
                         .deferred = BUF_EMPTY(WORDS_MOST)};
}

static void forget_questions(struct access *a)
{
    for (size_t i = 0; i < a->count; i++)
        buf_free(&a->questions[i].words);
    a->count = 0;
}

void access_free(struct access *a)
{
    forget_questions(a);
    free(a->questions);
    buf_free(&a->reply);
    buf_free(&a->rule);
    buf_free(&a->prepend);
    buf_free(&a->log);
    buf_free(&a->deferred);
    *a = (struct access){0};
}

/* ---- for the rules ------------------------------------------------------------------------------------------------------------- */

enum access_outcome access_refuse(struct access *a, unsigned code, const char *status, struct span what, const char *words)
{
    a->code = code;
    snprintf(a->status, sizeof a->status, "%s", status);
    buf_clear(&a->reply);
    buf_printf(&a->reply, "<%.*s>: %s", SPAN_ARG(what), words);
    return OUTCOME_REFUSED;
}

void access_log(struct access *a, const char *does, struct span what, struct span words)
{
    buf_printf(&a->log, "%s\t%s: <%.*s>: %.*s\n", a->rules->rules[a->at].text, does, SPAN_ARG(what), SPAN_ARG(words));
}

struct access_question *access_ask(struct access *a, enum access_question_kind kind, struct span name)
{
    if (a->questions == NULL && (a->questions = calloc(ACCESS_QUESTIONS, sizeof *a->questions)) == NULL)
        return NULL;
    if (a->count == ACCESS_QUESTIONS || name.n == 0 || name.n >= ACCESS_NAME)
        return NULL;
    struct access_question *q = &a->questions[a->count++];
    *q = (struct access_question){.kind = kind, .words = BUF_EMPTY(WORDS_MOST)};
    memcpy(q->name, name.p, name.n);
    return q;
}

bool access_answered(const struct access *a)
{
    return a->count > 0;
}

/* ---- the simple ones ----------------------------------------------------------------------------------------------------------- */

static enum access_outcome permit(struct access *a, const struct access_rule *r)
{
    (void)a, (void)r;
    return OUTCOME_PERMIT;
}

static enum access_outcome reject(struct access *a, const struct access_rule *r)
{
    (void)r;
    return access_refuse(a, 554, "5.7.1", a->facts.recipient, "Recipient address rejected: Access denied");
}

static enum access_outcome defer(struct access *a, const struct access_rule *r)
{
    (void)r;
    return access_refuse(a, 450, "4.7.1", a->facts.recipient, "Recipient address rejected: Try again later");
}

static enum access_outcome mynetworks(struct access *a, const struct access_rule *r)
{
    (void)r;
    return a->facts.trusted ? OUTCOME_PERMIT : OUTCOME_NEXT;
}

static enum access_outcome authenticated(struct access *a, const struct access_rule *r)
{
    (void)r;
    return a->facts.login.n > 0 ? OUTCOME_PERMIT : OUTCOME_NEXT;
}

static enum access_outcome unauth_pipelining(struct access *a, const struct access_rule *r)
{
    (void)r;
    if (!a->facts.pipelining)
        return OUTCOME_NEXT;
    return access_refuse(a, 503, "5.5.0", a->facts.recipient, "Recipient address rejected: Improper use of SMTP command pipelining");
}

static enum access_outcome clientcerts(struct access *a, const struct access_rule *r)
{
    (void)r;
    return a->facts.certificate_listed ? OUTCOME_PERMIT : OUTCOME_NEXT;
}

static enum access_outcome all_clientcerts(struct access *a, const struct access_rule *r)
{
    (void)r;
    return a->facts.certified ? OUTCOME_PERMIT : OUTCOME_NEXT;
}

/* A service that can't be asked defers: what the administrator wanted checked is not let in unchecked. */
static enum access_outcome policy(struct access *a, const struct access_rule *r)
{
    if (!access_answered(a))
        return access_ask(a, ACCESS_ASK_POLICY, r->words.argument) ? OUTCOME_ASK : OUTCOME_NEXT;
    const struct access_question *q = &a->questions[0];
    if (q->answer != ACCESS_YES || !access_action_good(buf_span(&q->words)))
        return access_refuse(a, 451, "4.3.5", a->facts.recipient, "Recipient address rejected: Server configuration problem");
    struct buf action = BUF_EMPTY(WORDS_MOST);
    buf_add_span(&action, buf_span(&q->words));
    enum access_outcome outcome = access_action(a, buf_span(&action), a->facts.recipient, "Recipient address rejected");
    buf_free(&action);
    return outcome;
}

static access_fn *const acts[ACCESS_WORD_COUNT] = {
    [ACCESS_permit] = permit,
    [ACCESS_reject] = reject,
    [ACCESS_defer] = defer,
    [ACCESS_permit_mynetworks] = mynetworks,
    [ACCESS_permit_sasl_authenticated] = authenticated,
    [ACCESS_permit_tls_clientcerts] = clientcerts,
    [ACCESS_permit_tls_all_clientcerts] = all_clientcerts,
    [ACCESS_check_ccert_access] = access_ccert,
    [ACCESS_check_client_access] = access_client,
    [ACCESS_check_helo_access] = access_helo,
    [ACCESS_check_sender_access] = access_sender,
    [ACCESS_check_recipient_access] = access_recipient,
    [ACCESS_reject_unknown_client_hostname] = access_unknown_client,
    [ACCESS_reject_invalid_helo_hostname] = access_invalid_helo,
    [ACCESS_reject_non_fqdn_helo_hostname] = access_non_fqdn_helo,
    [ACCESS_reject_unknown_helo_hostname] = access_unknown_helo,
    [ACCESS_reject_non_fqdn_sender] = access_non_fqdn_sender,
    [ACCESS_reject_unknown_sender_domain] = access_unknown_sender,
    [ACCESS_reject_non_fqdn_recipient] = access_non_fqdn_recipient,
    [ACCESS_reject_unknown_recipient_domain] = access_unknown_recipient,
    [ACCESS_reject_rbl_client] = access_rbl_client,
    [ACCESS_reject_dnsbl] = access_dnsbl,
    [ACCESS_check_policy_service] = policy,
    [ACCESS_reject_unauth_pipelining] = unauth_pipelining,
};

/* ---- the walk ------------------------------------------------------------------------------------------------------------------ */

static void warn(struct access *a, const struct access_rule *r)
{
    buf_printf(&a->log, "%s\treject_warning: %u %s %s\n", r->text, a->code, a->status, buf_text(&a->reply));
    a->code = 250;
    buf_clear(&a->reply);
}

static void decided_by(struct access *a, const struct access_rule *r)
{
    buf_clear(&a->rule);
    buf_add_text(&a->rule, r->text);
}

/* Nothing refused. What was put off until then has its turn. */
static void permitted(struct access *a)
{
    if (a->deferred.len > 0)
        decided_by(a, &a->rules->rules[a->deferred_by]);
    a->code = a->deferred.len > 0 ? 450 : 250;
    if (a->deferred.len == 0)
        return;
    memcpy(a->status, a->deferred_status, sizeof a->status);
    buf_clear(&a->reply);
    buf_add_span(&a->reply, buf_span(&a->deferred));
}

static void trace(struct access *a, const struct access_rule *r, enum access_outcome outcome)
{
    char said[1200];
    if (a->trace == NULL || outcome == OUTCOME_ASK)
        return;
    if (outcome == OUTCOME_REFUSED)
        snprintf(said, sizeof said, "%u %s %s%s", a->code, a->status, buf_text(&a->reply), r->words.warn ? " (only logged)" : "");
    else
        snprintf(said, sizeof said, "%s", outcome == OUTCOME_PERMIT ? "permits" : "says nothing");
    a->trace(r->text, said, a->trace_arg);
}

static bool all_answered(const struct access *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->questions[i].answer == ACCESS_OPEN)
            return false;
    return true;
}

enum access_step access_run(struct access *a)
{
    for (; a->at < a->rules->count; a->at++) {
        const struct access_rule *r = &a->rules->rules[a->at];
        if (!all_answered(a))
            return ACCESS_ASK;
        enum access_outcome outcome = acts[r->words.word](a, r);
        trace(a, r, outcome);
        if (outcome == OUTCOME_ASK)
            return ACCESS_ASK;
        forget_questions(a);
        if (outcome == OUTCOME_NEXT)
            continue;
        if (outcome == OUTCOME_REFUSED && r->words.warn) {
            warn(a, r);
            continue;
        }
        decided_by(a, r);
        if (outcome == OUTCOME_PERMIT)
            permitted(a);
        return ACCESS_DECIDED;
    }
    permitted(a);
    return ACCESS_DECIDED;
}
