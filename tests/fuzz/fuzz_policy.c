/* A policy service's answer, in one piece and octet by octet: more never changes what was whole, and what is taken is printable, lies in the answer, and becomes a
 * decision whose words fit into a reply. */
#include "resolver/access_internal.h"
#include "resolver/policy_reply.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void act(struct span words)
{
    struct access_rule rule = {.text = "check_policy_service unix:/x"};
    struct access_rules rules = {.rules = &rule, .count = 1};
    struct access_facts facts = {.recipient = SPAN_LITERAL("bob@example.org")};
    struct access a;
    access_begin(&a, &rules, &facts);
    if (access_action_good(words)) {
        enum access_outcome outcome = access_action(&a, words, facts.recipient, "Recipient address rejected");
        if (outcome == OUTCOME_REFUSED ? a.code < 400 || a.code > 599 : a.code != 250)
            abort();
        for (size_t i = 0; i < a.reply.len; i++)
            if (a.reply.data[i] == '\r' || a.reply.data[i] == '\n')
                abort();
    }
    access_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span words, before;
    char *copy = malloc(size ? size : 1); /* exact, so that one octet too far is seen */
    memcpy(copy, data, size);
    enum policy_reply reply = policy_reply_parse(span_make(copy, size), &words), was = POLICY_REPLY_MORE;
    if ((reply == POLICY_REPLY_ACTION) != (words.n > 0))
        abort();
    for (size_t i = 0; i < words.n; i++)
        if (words.p < copy || words.p + words.n > copy + size || words.p[i] < ' ' || words.p[i] > '~')
            abort();
    for (size_t n = 0; n < size && was == POLICY_REPLY_MORE && size < 300; n++)
        was = policy_reply_parse(span_make(copy, n), &before);
    if (was != POLICY_REPLY_MORE && (was != reply || !span_equal(words, before)))
        abort();
    if (words.n)
        act(words);
    free(copy);
    return 0;
}
