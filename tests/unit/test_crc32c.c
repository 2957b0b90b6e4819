#include "common/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* RFC 3720 B.4, as numbers. */
static void published_vectors(void **state)
{
    (void)state;
    unsigned char bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x62a8ab43);
    for (unsigned char i = 0; i < sizeof bytes; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x46dd794e);
    for (unsigned char i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(31 - i);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x113fdb5c);
}

static void nothing_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(0x12345678, "", 0), 0x12345678);
}

/* One bit at a time, straight from the definition. */
static uint32_t slow(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void any_split_at_any_alignment(void **state)
{
    (void)state;
    unsigned char bytes[80];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 167 + 13);
    for (size_t from = 0; from < 9; from++)
        for (size_t n = 0; n <= 64; n++)
            for (size_t split = 0; split <= n; split++) {
                uint32_t crc = crc32c(crc32c(0, bytes + from, split), bytes + from + split, n - split);
                assert_int_equal(crc, slow(bytes + from, n));
            }
}

/* The way that this machine does not take by itself. */
static void table_says_the_same(void **state)
{
    (void)state;
    unsigned char bytes[100];
    memset(bytes, 0x5a, sizeof bytes);
    for (size_t n = 0; n <= sizeof bytes; n++)
        assert_int_equal(crc32c_by_table(0, bytes, n), crc32c(0, bytes, n));
    assert_int_equal(crc32c_by_table(0, "123456789", 9), 0xe3069283);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(nothing_changes_nothing),
        cmocka_unit_test(any_split_at_any_alignment),
        cmocka_unit_test(table_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
