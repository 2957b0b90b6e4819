#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/tlspolicy.h"
#include "delivery/tlsa.h"

#define SUM "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* What is of use of the records, "usage selector matching length first-octet" each. */
static const char *usable(const char *records)
{
    static struct buf out;
    static struct tlsa r;
    struct span left = span_of(records);
    buf_clear(&out);
    while (tlsa_next(&left, &r))
        buf_printf(&out, "%s%u %u %u %zu %02x", out.len ? ", " : "", r.usage, r.selector, r.matching, r.length, r.data[0]);
    assert_int_equal(left.n, 0);
    assert_true(tlsa_usable(span_of(records)) == (out.len > 0));
    return buf_text(&out);
}

static void records_of_use_are_taken(void **state)
{
    (void)state;
    assert_string_equal(usable("3 1 1 " SUM), "3 1 1 32 00");
    assert_string_equal(usable("2 0 2 " SUM SUM ", 3 0 0 30aa"), "2 0 2 64 00, 3 0 0 2 30");
}

static void others_are_passed_over(void **state)
{
    (void)state;
    assert_string_equal(usable(""), "");
    assert_string_equal(usable(","), "");
    assert_string_equal(usable("0 1 1 " SUM ", 1 1 1 " SUM), ""); /* PKIX: RFC 7672 3.1.3 */
    assert_string_equal(usable("3 2 1 " SUM ", 3 1 3 " SUM ", 3 1 255 , 4 1 1 " SUM ", 33 1 1 " SUM ", -3 1 1 " SUM), "");
    assert_string_equal(usable("3 1 1 " SUM "00, 3 1 1 00, 3 1 2 " SUM ", 3 1 0 , 3 1 0, 3 1, 3"), "");
    assert_string_equal(usable("3 1 0 0g, 3 1 0 0, 3 1 0 AA, 3 1 0 -1, 3 1 0 0 0, 2 1 1 " SUM), "2 1 1 32 00");
}

static void a_certificate_that_is_too_long_is_passed_over(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY(100000);
    buf_add_text(&text, "3 0 0 ");
    for (size_t i = 0; i < TLSA_DATA; i++)
        buf_add_text(&text, "5a");
    assert_string_equal(usable(buf_text(&text)), "3 0 0 12288 5a");
    buf_add_text(&text, "5a");
    assert_string_equal(usable(buf_text(&text)), "");
    buf_free(&text);
}

static bool of_host_alone(const char *records)
{
    return tlsa_is_of_host_alone(span_of(records));
}

static void an_authority_is_seen_among_them(void **state)
{
    (void)state;
    assert_true(of_host_alone("3 1 1 " SUM));
    assert_true(of_host_alone("3 1 1 " SUM ", 3 0 2 " SUM SUM));
    assert_true(of_host_alone("3 1 1 " SUM ", 0 1 1 " SUM ", 2 1 1 00")); /* those are of no use */
    assert_false(of_host_alone("2 1 1 " SUM));
    assert_false(of_host_alone("3 1 1 " SUM ", 2 0 1 " SUM));
    assert_false(of_host_alone("2 0 1 " SUM ", 3 1 1 " SUM));
}

static void policies_are_read(void **state)
{
    (void)state;
    enum tlspolicy policy;
    struct span sums;
    for (int p = TLSPOLICY_NONE; p < TLSPOLICY_FINGERPRINT; p++) {
        assert_true(tlspolicy_parse(span_of(tlspolicy_word((enum tlspolicy)p)), &policy, &sums));
        assert_int_equal(policy, p);
        assert_int_equal(sums.n, 0);
    }
    assert_true(tlspolicy_parse(SPAN_LITERAL("required"), &policy, NULL));
    assert_int_equal(policy, TLSPOLICY_ENCRYPT);
    assert_true(tlspolicy_parse(SPAN_LITERAL("fingerprint:" SUM "," SUM), &policy, &sums));
    assert_int_equal(policy, TLSPOLICY_FINGERPRINT);
    assert_true(span_equal(sums, SPAN_LITERAL(SUM "," SUM)));
    static const char *const bad[] = {"",
                                      "maybe",
                                      "May",
                                      "dane:",
                                      "dane: ",
                                      "fingerprint",
                                      "fingerprint:",
                                      "fingerprint:" SUM ",",
                                      "fingerprint:" SUM "0",
                                      "fingerprint:," SUM};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(tlspolicy_parse(span_of(bad[i]), &policy, &sums));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_use_are_taken),
        cmocka_unit_test(others_are_passed_over),
        cmocka_unit_test(a_certificate_that_is_too_long_is_passed_over),
        cmocka_unit_test(an_authority_is_seen_among_them),
        cmocka_unit_test(policies_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
