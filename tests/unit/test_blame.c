#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "delivery/blame.h"

static bool blames(const char *text)
{
    struct reply r = {0};
    size_t used;
    reply_begin(&r);
    assert_int_equal(reply_feed(&r, span_of(text), &used), REPLY_WHOLE);
    bool is = blame_is_of_address(&r);
    reply_free(&r);
    return is;
}

static void the_code_says_it(void **state)
{
    (void)state;
    assert_true(blames("550 5.7.25 go away\r\n"));
    assert_true(blames("554-5.7.25 go\r\n554 5.7.25 away\r\n"));
    assert_true(blames("550 4.7.25 a host that mixes the classes\r\n"));
    assert_false(blames("550 5.7.2 go away\r\n"));
    assert_false(blames("550 5.7.255 go away\r\n"));
    assert_false(blames("550 5.7.1 see 5.7.25\r\n"));
}

static void or_a_word_does(void **state)
{
    (void)state;
    static const char *const yes[] = {
        "550 5.7.1 We do not accept mail over IPv6\r\n",
        "550-5.7.1 [2001:db8::1] does not meet\r\n550-5.7.1 IPv6 sending guidelines regarding PTR records\r\n550 5.7.1 .\r\n",
        "554 no PTR for 192.0.2.1\r\n",
        "554 ptr\r\n",
        "550 Reverse DNS lookup failed\r\n",
        "550 missing reverse-dns entry\r\n",
        "521 your host has generic rDNS.\r\n",
        "550 cannot find your reverse hostname, [192.0.2.1]\r\n",
    };
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(blames(yes[i]));
}

static void but_not_a_part_of_one(void **state)
{
    (void)state;
    static const char *const no[] = {
        "550 5.1.1 ptrash: no such user\r\n",
        "550 5.1.1 <sculptr@a.example>: no such user\r\n",
        "550 5.1.1 myipv6 is unknown\r\n",
        "550 5.7.1 in reverse\r\n",
        "550\r\n",
        "550 ipv\r\n",
    };
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(blames(no[i]));
}

static void and_only_where_it_is_final(void **state)
{
    (void)state;
    assert_false(blames("450 4.7.25 no PTR\r\n"));
    assert_false(blames("421 IPv6 is slow today\r\n"));
    assert_false(blames("250 5.7.25 IPv6\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_code_says_it),
        cmocka_unit_test(or_a_word_does),
        cmocka_unit_test(but_not_a_part_of_one),
        cmocka_unit_test(and_only_where_it_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
