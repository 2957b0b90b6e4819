/* Any bytes as a rule, as a zone, and as what a table or a policy service says: refused, or a decision whose words fit into a reply. */
#include "resolver/access_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_rule(const char *text)
{
    struct access_words words;
    struct error error;
    if (access_words_parse(text, &words, &error) == 0 && words.word >= ACCESS_WORD_COUNT)
        abort();
}

static void as_zone(struct span text)
{
    struct access_zone zone;
    struct error error;
    if (access_zone_parse(text, true, &zone, &error) == 0 && (zone.name.n == 0 || zone.answer_count > ACCESS_FILTERS || zone.weight == 0))
        abort();
}

static void as_action(struct span text)
{
    struct access_rule rule = {.text = "check_policy_service unix:/x"};
    struct access_rules rules = {.rules = &rule, .count = 1};
    struct access_facts facts = {.recipient = SPAN_LITERAL("bob@example.org")};
    struct access a;
    access_begin(&a, &rules, &facts);
    if (access_action_good(text)) {
        enum access_outcome outcome = access_action(&a, text, facts.recipient, "Recipient address rejected");
        if (outcome == OUTCOME_REFUSED && (a.code < 400 || a.code > 599 || a.status[0] != (char)('0' + a.code / 100)))
            abort();
        if (outcome != OUTCOME_REFUSED && a.code != 250)
            abort();
        if (a.prepend.len > 0 && memmem(a.prepend.data, a.prepend.len - 1, "\n", 1))
            abort();
    }
    access_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    if (!text)
        return 0;
    as_rule(text);
    as_zone(span_of(text));
    as_action(span_make((const char *)data, size));
    free(text);
    return 0;
}
