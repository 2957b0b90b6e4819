/* Domains and local parts beyond ASCII, as they are compared. */
#include "common/idn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

typedef void convert_fn(struct span, struct buf *);

static void ascii_or_nothing(struct span in, struct buf *out)
{
    buf_add_text(out, "<");
    bool good = idn_ascii(in, out);
    assert_true(good == (out->len > 1));
}

static void gives(convert_fn *convert, const char *in, const char *wanted)
{
    struct buf out = BUF_EMPTY(0);
    convert(span_of(in), &out);
    if (strcmp(buf_text(&out), wanted) != 0)
        fail_msg("%s: got %s, not %s", in, buf_text(&out), wanted);
    buf_free(&out);
}

static void domains_have_one_form(void **state)
{
    (void)state;
    gives(ascii_or_nothing, "Example.ORG", "<example.org");
    gives(ascii_or_nothing,
          "b\xc3\xbc"
          "cher.example",
          "<xn--bcher-kva.example");
    gives(ascii_or_nothing,
          "B\xc3\x9c"
          "CHER.Example",
          "<xn--bcher-kva.example");
    gives(ascii_or_nothing,
          "bu\xcc\x88"
          "cher.example",
          "<xn--bcher-kva.example");
    gives(ascii_or_nothing, "XN--bcher-KVA.example", "<xn--bcher-kva.example");
    gives(ascii_or_nothing, "\xd0\xbf\xd0\xbe\xd1\x87\xd1\x82\xd0\xb0.\xd1\x80\xd1\x84", "<xn--80a1acny.xn--p1ai");
    gives(ascii_or_nothing,
          "stra\xc3\x9f"
          "e.example",
          "<xn--strae-oqa.example"); /* not strasse */
}

static void names_that_dns_cannot_have_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "a b",
                                      "-\xc3\xbc",
                                      "\xc3\xbc..example",
                                      "a\xff",
                                      "xn--\xc3\xbc.example",
                                      "\xe2\x80\xae.example",
                                      "\xe2\x82\xac@x.example",
                                      "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80/x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        gives(ascii_or_nothing, bad[i], "<");
    struct buf longest = BUF_EMPTY(0);
    for (int i = 0; i < 120; i++)
        buf_add_text(&longest, "\xc3\xbc");
    gives(ascii_or_nothing, buf_text(&longest), "<");
    buf_free(&longest);
}

static void domains_are_shown_as_they_are_written(void **state)
{
    (void)state;
    gives(idn_unicode, "example.org", "example.org");
    gives(idn_unicode, "xn--bcher-kva.example",
          "b\xc3\xbc"
          "cher.example");
    gives(idn_unicode, "xn--zzzzzzzzzzz999999999.example", "xn--zzzzzzzzzzz999999999.example");
    gives(idn_unicode, "[192.0.2.1]", "[192.0.2.1]");
    gives(idn_unicode, "", "");
}

static void local_parts_are_compared_in_nfc(void **state)
{
    (void)state;
    gives(idn_nfc, "Joe", "Joe");
    gives(idn_nfc, "jo\xcc\x88rg", "j\xc3\xb6rg");
    gives(idn_nfc, "j\xc3\xb6rg", "j\xc3\xb6rg");
    gives(idn_nfc, "J\xc3\x96RG", "J\xc3\x96RG");
    gives(idn_nfc, "\xef\xbc\xa1", "\xef\xbc\xa1"); /* a wide A is another letter: not NFKC */
    gives(idn_nfc, "j\xff", "j\xff");
    gives(idn_nfc, "", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains_have_one_form),
        cmocka_unit_test(names_that_dns_cannot_have_are_none),
        cmocka_unit_test(domains_are_shown_as_they_are_written),
        cmocka_unit_test(local_parts_are_compared_in_nfc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
