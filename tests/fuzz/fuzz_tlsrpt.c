/* The record of a domain that wants reports, and a day of counts on disk; what is read is written as it was, and makes a report of printable text. */
#include "sts/report_json.h"
#include "sts/rua.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void record(struct span text)
{
    struct rua places[RUA_MOST];
    size_t n = rua_parse(text, places);
    must(n <= RUA_MOST && (n == 0 || rua_is_record(text)));
    for (size_t i = 0; i < n; i++) {
        must(strlen(places[i].text) < RUA_TEXT);
        must(places[i].kind == RUA_MAIL ? strchr(places[i].text, '@') != NULL : strncmp(places[i].text, "https://", 8) == 0);
        for (const char *p = places[i].text; *p; p++)
            must(*p > ' ' && *p <= '~');
    }
}

static void report(struct tally *t)
{
    static const struct reporter reporter = {"Organization \"x\" \xc3\xa9\xff", "a@b.example", "mx.example"};
    for (struct tally_domain *d = tally_first(t); d; d = STAILQ_NEXT(d, next)) {
        struct buf json = {0};
        report_json(&reporter, d, tally_day(t), &json);
        for (size_t i = 0; i < json.len; i++)
            must((unsigned char)json.data[i] >= ' ');
        buf_free(&json);
    }
}

static void day(struct span text)
{
    struct buf once = {0}, twice = {0};
    struct tally *t = tally_read(text);
    if (!t)
        return;
    tally_write(t, &once);
    struct tally *again = tally_read(buf_span(&once));
    must(again != NULL);
    tally_write(again, &twice);
    must(span_equal(buf_span(&once), buf_span(&twice)));
    report(t);
    tally_free(t);
    tally_free(again);
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_make((const char *)data, size);
    record(text);
    day(text);
    return 0;
}
