/* Maps with addresses for keys: the address, the address without its tag, @domain; each with the domain as A-labels, and then as U-labels. */
#include "resolver/routing_internal.h"

#include "common/idn.h"

#define KEY_MOST 1024

/* UNKNOWN: the key is in no map, or not with a value that will do. */
static enum outcome find(struct decision *d, const struct address_maps *maps, struct span key)
{
    struct buf value = BUF_EMPTY(0);
    enum outcome outcome = OUTCOME_UNKNOWN;
    for (size_t i = 0; i < maps->list->n && outcome == OUTCOME_UNKNOWN; i++) {
        struct error error;
        buf_clear(&value);
        enum map_result result = map_lookup(maps->maps[i], key, &value, &error);
        if (result == MAP_FAILED)
            outcome = decision_map_failed(d, maps->setting, &error);
        else if (result == MAP_FOUND && (!maps->will_do || maps->will_do(d, buf_span(&value))))
            outcome = OUTCOME_OK;
    }
    buf_free(&value);
    return outcome;
}

static enum outcome find_at(struct decision *d, const struct address_maps *maps, struct span local, struct span domain)
{
    struct buf key = BUF_EMPTY(KEY_MOST);
    struct span untagged = name_without_tag(d->routing->settings, local), names[] = {local, untagged, span_of("")};
    enum outcome outcome = OUTCOME_UNKNOWN;
    for (size_t step = 0; step < 3 && outcome == OUTCOME_UNKNOWN; step++) {
        if (step == 1 && untagged.n == 0)
            continue;
        buf_clear(&key);
        add_lower(&key, names[step]);
        if (domain.n > 0 || step > 0)
            buf_add_char(&key, '@');
        add_lower(&key, domain);
        outcome = find(d, maps, buf_span(&key));
    }
    buf_free(&key);
    return outcome;
}

enum outcome address_maps_find(struct decision *d, const struct address_maps *maps, const struct address *a)
{
    struct buf local = BUF_EMPTY(KEY_MOST), ascii = BUF_EMPTY(KEY_MOST), unicode = BUF_EMPTY(KEY_MOST);
    idn_nfc(a->local, &local);
    if (!idn_ascii(a->domain, &ascii))
        buf_add_span(&ascii, a->domain);
    idn_unicode(buf_span(&ascii), &unicode);
    enum outcome outcome = find_at(d, maps, buf_span(&local), buf_span(&ascii));
    if (outcome == OUTCOME_UNKNOWN && !span_equal(buf_span(&ascii), buf_span(&unicode)))
        outcome = find_at(d, maps, buf_span(&local), buf_span(&unicode));
    buf_free(&local);
    buf_free(&ascii);
    buf_free(&unicode);
    return outcome;
}
